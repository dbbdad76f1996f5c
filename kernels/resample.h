/* Bilinear resize of packed BGR rows into normalised float planes, a row at a time.
 *
 * The fixed point is that of OpenCV 4.10's INTER_LINEAR on uint8: 11-bit weights; across, a sample is
 * (p*a0 + q*a1) >> 4 (15 bits); down, ((s*b0 >> 16) + (t*b1 >> 16) + 2) >> 2. Its special cases (equal
 * sizes, exactly half) give the same values and need no branch.
 *
 *   source row y   --across-->  int16 planes [3][columns], the last two are kept
 *   two such rows  --down---->  one row of each float plane: v / divisor * scale + shift
 */
#ifndef KERNELS_RESAMPLE_H
#define KERNELS_RESAMPLE_H

#include <math.h>
#include <stdint.h>

#include "cpu.h"
#include "scratch.h"

enum { WEIGHT_ONE = 2048 };
enum { RESAMPLE_OFFSETS, RESAMPLE_WEIGHTS, RESAMPLE_ROWS, RESAMPLE_FIRST_FREE };

/* Where pixels come from. `row` returns row y, 3*width bytes, valid until the next call. */
typedef struct {
    const uint8_t *(*row)(void *self, int y);
    void *self;
    int width, height;
} picture;

/* Where they go: a window of the resized picture, at (left, top), on a canvas of `pad`. */
typedef struct {
    float *plane[3]; /* by channel of the source: already swapped when the caller wants RGB */
    ptrdiff_t stride; /* floats from row to row */
    int columns, rows;
    int width, height, left, top;
    float scale[3], shift[3], divisor, pad; /* scale and shift by channel of the source too */
} canvas;

typedef struct {
    int index;       /* first of two neighbours */
    int16_t w0, w1;  /* their weights */
} tap;

/* Neighbours of destination pixel `at` on an axis of `from` pixels resized to `to`. */
static inline tap tap_of(int at, int from, int to) {
    double ratio = 1.0 / ((double)to / from);
    float centre = (float)((at + 0.5) * ratio - 0.5);
    tap t;
    t.index = (int)floorf(centre);
    centre -= (float)t.index;
    t.w0 = (int16_t)lrintf((1.0f - centre) * WEIGHT_ONE);
    t.w1 = (int16_t)lrintf(centre * WEIGHT_ONE);
    return t;
}

/* Byte offsets and weight pairs of the columns left..left+count-1; outside the row the edge pixel counts whole. */
static inline void tap_columns(int from, int to, int left, int count, int32_t *offset, int32_t *weights) {
    for (int x = 0; x < count; x++) {
        tap t = tap_of(left + x, from, to);
        if (t.index < 0)
            t = (tap){0, WEIGHT_ONE, 0};
        else if (t.index >= from - 1)
            t = from > 1 ? (tap){from - 2, 0, WEIGHT_ONE} : (tap){0, WEIGHT_ONE, 0};
        offset[x] = 3 * t.index;
        weights[x] = (int32_t)((uint16_t)t.w0 | (uint32_t)(uint16_t)t.w1 << 16);
    }
}

/* Columns x..count-1 of one source row, one by one. `next` is 3, or 0 in a row of one pixel. */
static inline void across_from(const uint8_t *row, int next, int x, int count, const int32_t *offset,
                               const int32_t *weights, int16_t *blue, int16_t *green, int16_t *red) {
    for (; x < count; x++) {
        const uint8_t *p = row + offset[x], *q = p + next;
        int a0 = (int16_t)weights[x], a1 = weights[x] >> 16;
        blue[x] = (int16_t)((p[0] * a0 + q[0] * a1) >> 4);
        green[x] = (int16_t)((p[1] * a0 + q[1] * a1) >> 4);
        red[x] = (int16_t)((p[2] * a0 + q[2] * a1) >> 4);
    }
}

#if CPU_X86
/* Four columns a turn; reads 8 bytes where 6 are needed, so the last columns are left to across_from. */
AVX2 static void across_avx2(const uint8_t *row, int bytes, int count, const int32_t *offset, const int32_t *weights,
                             int16_t *blue, int16_t *green, int16_t *red) {
    const __m128i pairs = _mm_setr_epi8(0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1);
    const __m128i planes = _mm_setr_epi8(0, 1, 8, 9, 2, 3, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15);
    int x = 0;
    while (count - x >= 4 && offset[x + 3] + 8 <= bytes) {
        __m128i sum[4];
        for (int i = 0; i < 4; i++) {
            __m128i pixels = _mm_loadl_epi64((const __m128i *)(row + offset[x + i]));
            pixels = _mm_madd_epi16(_mm_shuffle_epi8(pixels, pairs), _mm_set1_epi32(weights[x + i]));
            sum[i] = _mm_srai_epi32(pixels, 4);
        }
        __m128i first = _mm_shuffle_epi8(_mm_packs_epi32(sum[0], sum[1]), planes);
        __m128i second = _mm_shuffle_epi8(_mm_packs_epi32(sum[2], sum[3]), planes);
        __m128i low = _mm_unpacklo_epi32(first, second);
        _mm_storel_epi64((__m128i *)(blue + x), low);
        _mm_storel_epi64((__m128i *)(green + x), _mm_unpackhi_epi64(low, low));
        _mm_storel_epi64((__m128i *)(red + x), _mm_unpackhi_epi32(first, second));
        x += 4;
    }
    across_from(row, 3, x, count, offset, weights, blue, green, red);
}
#endif

static inline void across(const uint8_t *row, int width, int count, const int32_t *offset, const int32_t *weights,
                          int16_t *planes, int pitch) {
#if CPU_X86
    if (cpu_avx2 && width > 1) {
        across_avx2(row, 3 * width, count, offset, weights, planes, planes + pitch, planes + 2 * pitch);
        return;
    }
#endif
    across_from(row, width > 1 ? 3 : 0, 0, count, offset, weights, planes, planes + pitch, planes + 2 * pitch);
}

typedef struct {
    float divisor, scale, shift;
} levels;

BODY void down_body(const int16_t *upper, const int16_t *lower, int16_t b0, int16_t b1, int count, levels by, float *out) {
    if (by.divisor == 1.0f)
        for (int x = 0; x < count; x++) {
            int value = (((upper[x] * b0) >> 16) + ((lower[x] * b1) >> 16) + 2) >> 2;
            out[x] = (float)value * by.scale + by.shift;
        }
    else
        for (int x = 0; x < count; x++) {
            int value = (((upper[x] * b0) >> 16) + ((lower[x] * b1) >> 16) + 2) >> 2;
            out[x] = (float)value / by.divisor * by.scale + by.shift;
        }
}

static void down_any(const int16_t *upper, const int16_t *lower, int16_t b0, int16_t b1, int count, levels by, float *out) {
    down_body(upper, lower, b0, b1, count, by, out);
}

#if CPU_X86
AVX2 static void down_avx2(const int16_t *upper, const int16_t *lower, int16_t b0, int16_t b1, int count, levels by,
                           float *out) {
    down_body(upper, lower, b0, b1, count, by, out);
}
#endif

static inline int clamp_index(int index, int size) { return index < 0 ? 0 : index < size ? index : size - 1; }

static inline void fill(float *from, int count, float value) {
    for (int x = 0; x < count; x++)
        from[x] = value;
}

/* The last two source rows, resized across. */
typedef struct {
    int16_t *planes[2];
    int y[2];
} row_pair;

/* Planes of source row y; never overwrites those of row `other`. */
static inline const int16_t *row_planes(row_pair *kept, const picture *from, int y, int other, int count, int pitch,
                                        const int32_t *offset, const int32_t *weights) {
    for (int i = 0; i < 2; i++)
        if (kept->y[i] == y)
            return kept->planes[i];
    int i = kept->y[0] == other ? 1 : 0;
    across(from->row(from->self, y), from->width, count, offset, weights, kept->planes[i], pitch);
    kept->y[i] = y;
    return kept->planes[i];
}

/* Resize the picture onto the canvas. 0, or -1 when memory is out. */
static inline int resample(const picture *from, const canvas *to) {
    int count = to->width - to->left, rows = to->height - to->top;
    count = count < 0 ? 0 : count < to->columns ? count : to->columns;
    rows = count == 0 || rows < 0 ? 0 : rows < to->rows ? rows : to->rows;
    int pitch = (count + 31) & ~31;
    scratch *mine = scratch_mine();
    if (!mine)
        return -1;
    int32_t *offset = scratch_need(mine, RESAMPLE_OFFSETS, sizeof(int32_t) * (size_t)(pitch + 1), 0);
    int32_t *weights = scratch_need(mine, RESAMPLE_WEIGHTS, sizeof(int32_t) * (size_t)(pitch + 1), 0);
    int16_t *planes = scratch_need(mine, RESAMPLE_ROWS, sizeof(int16_t) * 6 * (size_t)(pitch + 1), 0);
    if (!offset || !weights || !planes)
        return -1;
    tap_columns(from->width, to->width, to->left, count, offset, weights);

    row_pair kept = {{planes, planes + 3 * pitch}, {-1, -1}};
    for (int y = 0; y < rows; y++) {
        tap t = tap_of(to->top + y, from->height, to->height);
        int above = clamp_index(t.index, from->height), below = clamp_index(t.index + 1, from->height);
        const int16_t *upper = row_planes(&kept, from, above, below, count, pitch, offset, weights);
        const int16_t *lower = row_planes(&kept, from, below, above, count, pitch, offset, weights);
        for (int c = 0; c < 3; c++) {
            float *out = to->plane[c] + y * to->stride;
            levels by = {to->divisor, to->scale[c], to->shift[c]};
#if CPU_X86
            if (cpu_avx2)
                down_avx2(upper + c * pitch, lower + c * pitch, t.w0, t.w1, count, by, out);
            else
#endif
                down_any(upper + c * pitch, lower + c * pitch, t.w0, t.w1, count, by, out);
            fill(out + count, to->columns - count, to->pad);
        }
    }
    for (int c = 0; c < 3; c++)
        for (int y = rows; y < to->rows; y++)
            fill(to->plane[c] + y * to->stride, to->columns, to->pad);
    return 0;
}

#endif
