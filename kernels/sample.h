/* Reading the lines of a crop (warp.h): positions, then pixels. */
#ifndef KERNELS_SAMPLE_H
#define KERNELS_SAMPLE_H

#include "warp.h"

/* Rounds half to even into 32 bits, for values that fit. */
static inline int32_t nearest(double value) {
    double shifted = value + 6755399441055744.0; /* 1.5 * 2**52 */
    int64_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    return (int32_t)bits;
}

/* Positions of the crop's pixels (x + i*step_x, y + i*step_y), i < count, all in the block that starts at column `block`.
 * OpenCV's guards against a zero divisor and against overflow have no work here: the crop is a rectangle, so the
 * divisor is 1 but for rounding, and its corners lie within a few times 32767 pixels. */
BODY void positions_body(const double *matrix, double block, double x, double y, double step_x, double step_y, int count,
                         int32_t *restrict to_x, int32_t *restrict to_y) {
    double m[9];
    memcpy(m, matrix, sizeof m);
    for (int i = 0; i < count; i++) {
        double row = y + step_y * i, column = x + step_x * i - block;
        double scale = POSITIONS / (m[6] * block + m[7] * row + m[8] + m[6] * column);
        to_x[i] = nearest((m[0] * block + m[1] * row + m[2] + m[0] * column) * scale);
        to_y[i] = nearest((m[3] * block + m[4] * row + m[5] + m[3] * column) * scale);
    }
}

static void positions_any(const double *m, double block, double x, double y, double step_x, double step_y, int count,
                          int32_t *to_x, int32_t *to_y) {
    positions_body(m, block, x, y, step_x, step_y, count, to_x, to_y);
}

#if CPU_X86
AVX2 static void positions_avx2(const double *m, double block, double x, double y, double step_x, double step_y, int count,
                                int32_t *to_x, int32_t *to_y) {
    positions_body(m, block, x, y, step_x, step_y, count, to_x, to_y);
}
#endif

/* Positions of a whole line of the crop, block by block where it crosses blocks. */
static inline void line_positions(const crop *of, int x, int y, int step_x, int step_y, int count) {
    for (int i = 0; i < count;) {
        int at = x + step_x * i, block = at / of->block * of->block, run = count - i;
        if (step_x > 0 && of->block - (at - block) < run)
            run = of->block - (at - block);
        if (step_x < 0 && at - block + 1 < run)
            run = at - block + 1;
#if CPU_X86
        if (cpu_avx2)
            positions_avx2(of->matrix, block, at, y + step_y * i, step_x, step_y, run, of->x + i, of->y + i);
        else
#endif
            positions_any(of->matrix, block, at, y + step_y * i, step_x, step_y, run, of->x + i, of->y + i);
        i += run;
    }
}

static inline uint8_t to_byte(int sum) {
    sum = (sum + (WEIGHT_SUM >> 1)) >> WEIGHT_BITS;
    return (uint8_t)(sum < 0 ? 0 : sum > 255 ? 255 : sum);
}

/* One pixel, its 4x4 neighbourhood clamped to the image. */
static inline void sample_pixel(const crop *of, int32_t x, int32_t y, uint8_t *to) {
    const int16_t *w = cubic_weights[y & (POSITIONS - 1)][x & (POSITIONS - 1)];
    int left = (x >> POSITION_BITS) - 1, top = (y >> POSITION_BITS) - 1, column[4], sum[3] = {0, 0, 0};
    for (int i = 0; i < 4; i++)
        column[i] = 3 * clamp_index(left + i, of->image_width);
    for (int j = 0; j < 4; j++, w += 4) {
        const uint8_t *row = of->pixels + clamp_index(top + j, of->image_height) * of->stride;
        const uint8_t *p = row + column[0], *q = row + column[1], *r = row + column[2], *s = row + column[3];
        for (int c = 0; c < 3; c++)
            sum[c] += p[c] * w[0] + q[c] * w[1] + r[c] * w[2] + s[c] * w[3];
    }
    for (int c = 0; c < 3; c++)
        to[c] = to_byte(sum[c]);
}

static inline void sample_line_any(const crop *of, int count, uint8_t *to) {
    for (int i = 0; i < count; i++)
        sample_pixel(of, of->x[i], of->y[i], to + 3 * i);
}

#if CPU_X86
/* Pixels of two rows of the neighbourhood at a time, 16 bytes each where 12 are needed; writes 4 bytes a pixel. */
AVX2 static void sample_line_avx2(const crop *of, int count, uint8_t *to) {
    const __m256i blue_green = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, -1, 3, -1, 6, -1, 9, -1, 1, -1, 4, -1, 7, -1, 10, -1));
    const __m256i red = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(2, -1, 5, -1, 8, -1, 11, -1, -1, -1, -1, -1, -1, -1, -1, -1));
    const __m128i half = _mm_set1_epi32(WEIGHT_SUM >> 1);
    const unsigned inside_x = of->image_width > 5 ? (unsigned)of->image_width - 5 : 0;
    const unsigned inside_y = of->image_height > 3 ? (unsigned)of->image_height - 3 : 0;
    const ptrdiff_t stride = of->stride;
    for (int i = 0; i < count; i++) {
        int32_t x = of->x[i], y = of->y[i];
        int left = (x >> POSITION_BITS) - 1, top = (y >> POSITION_BITS) - 1;
        if ((unsigned)left >= inside_x || (unsigned)top >= inside_y) {
            sample_pixel(of, x, y, to + 3 * i);
            continue;
        }
        const uint8_t *p = of->pixels + top * stride + 3 * left;
        __m256i weights = _mm256_load_si256((const __m256i *)cubic_weights[y & (POSITIONS - 1)][x & (POSITIONS - 1)]);
        __m256i upper = _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)p)),
                                                _mm_loadu_si128((const __m128i *)(p + stride)), 1);
        __m256i lower = _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)(p + 2 * stride))),
                                                _mm_loadu_si128((const __m128i *)(p + 3 * stride)), 1);
        __m256i first = _mm256_permute4x64_epi64(weights, 0x50), second = _mm256_permute4x64_epi64(weights, 0xFA);
        __m256i bg = _mm256_add_epi32(_mm256_madd_epi16(_mm256_shuffle_epi8(upper, blue_green), first),
                                      _mm256_madd_epi16(_mm256_shuffle_epi8(lower, blue_green), second));
        __m256i r = _mm256_add_epi32(_mm256_madd_epi16(_mm256_shuffle_epi8(upper, red), first),
                                     _mm256_madd_epi16(_mm256_shuffle_epi8(lower, red), second));
        __m256i both = _mm256_hadd_epi32(bg, r);
        __m128i sum = _mm_add_epi32(_mm256_castsi256_si128(both), _mm256_extracti128_si256(both, 1));
        sum = _mm_srai_epi32(_mm_add_epi32(sum, half), WEIGHT_BITS);
        sum = _mm_packus_epi16(_mm_packs_epi32(sum, sum), sum);
        int32_t pixel = _mm_cvtsi128_si32(sum);
        memcpy(to + 3 * i, &pixel, 4);
    }
}
#endif

/* Pixels of the upright box itself, clamped to the image. */
static inline void copy_line(const crop *of, int x, int y, int step_x, int step_y, int count, uint8_t *to) {
    for (int i = 0; i < count; i++) {
        int column = clamp_index(of->left + x + step_x * i, of->image_width);
        int row = clamp_index(of->top + y + step_y * i, of->image_height);
        memcpy(to + 3 * i, of->pixels + row * of->stride + 3 * column, 3);
    }
}

/* Row y of the picture: a line of the crop, forwards or backwards, along or across. */
static const uint8_t *crop_row(void *self, int y) {
    crop *of = self;
    int count = of->turned ? of->height : of->width, rows = of->turned ? of->width : of->height;
    y = of->flipped ? rows - 1 - y : y;
    int from_x = of->turned ? of->width - 1 - y : of->flipped ? of->width - 1 : 0;
    int from_y = of->turned ? (of->flipped ? of->height - 1 : 0) : y;
    int step = of->flipped ? -1 : 1, step_x = of->turned ? 0 : step, step_y = of->turned ? step : 0;
    if (of->copied) {
        int left = of->left, row = of->top + from_y;
        if (step_x == 1 && left >= 0 && left + count <= of->image_width && row >= 0 && row < of->image_height)
            return of->pixels + row * of->stride + 3 * left;
        copy_line(of, from_x, from_y, step_x, step_y, count, of->line);
        return of->line;
    }
    line_positions(of, from_x, from_y, step_x, step_y, count);
#if CPU_X86
    if (cpu_avx2)
        sample_line_avx2(of, count, of->line);
    else
#endif
        sample_line_any(of, count, of->line);
    return of->line;
}

/* The crop as a picture to resize. */
static inline picture crop_picture(crop *of) {
    return (picture){crop_row, of, of->turned ? of->height : of->width, of->turned ? of->width : of->height};
}

#endif
