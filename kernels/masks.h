/* Masks as COCO's compressed run lengths, column by column, and back.
 *
 *   mask [h, w], rows     64 columns at a time: one bit per pixel     columns: words of 64 bits, top to bottom
 *   any integer      -->  rows[y] = bits of columns x..x+63      -->  (a transpose of 64 x 64 bits)
 *
 * The runs of the column-major stream are then where a bit differs from the one before. A run length, from
 * the fourth on its difference to the one two before, is written as groups of five bits, lowest first; 0x20 marks
 * a group that is followed by more, and '0' is added (rleToString of cocoapi's maskApi.c).
 */
#ifndef KERNELS_MASKS_H
#define KERNELS_MASKS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "scratch.h"

enum { MASK_ROWS, MASK_WORDS, MASK_TEXT };
enum { GROUPS = 13 /* that a 64-bit number can take */ };

typedef struct {
    char *text;
    size_t used, room;
    int64_t before, last; /* the two runs before */
    size_t runs;
} run_text;

/* Append a run. 0, or -1 when memory is out. */
static inline int run_put(scratch *mine, run_text *to, int64_t length) {
    if (to->room - to->used < GROUPS) {
        to->text = scratch_need(mine, MASK_TEXT, 2 * to->room, 1);
        if (!to->text)
            return -1;
        to->room *= 2;
    }
    int64_t number = to->runs > 2 ? length - to->before : length;
    for (int more = 1; more;) {
        int group = number & 0x1f;
        number >>= 5;
        more = group & 0x10 ? number != -1 : number != 0;
        to->text[to->used++] = (char)((group | (more ? 0x20 : 0)) + '0');
    }
    to->before = to->last;
    to->last = length;
    to->runs++;
    return 0;
}

/* Transpose 64 x 64 bits: bit x of rows[y] becomes bit y of rows[x] (Hacker's Delight, 7-3). */
static inline void bits_transpose(uint64_t rows[64]) {
    uint64_t mask = 0x00000000ffffffffu;
    for (int j = 32; j; j >>= 1, mask ^= mask << j)
        for (int k = 0; k < 64; k = ((k | j) + 1) & ~j) {
            uint64_t t = ((rows[k] >> j) ^ rows[k | j]) & mask;
            rows[k | j] ^= t;
            rows[k] ^= t << j;
        }
}

/* The pixels of a row, `count` (1 to 64) of `size` (1 or 4) bytes, to bits: whether each is not 0. */
static inline uint64_t bits_of(const char *pixels, int size, int count) {
    uint8_t set[64] = {0}; /* whole bytes first: these loops vectorise */
    const int32_t *words = (const int32_t *)pixels;
    if (size == 1)
        for (int i = 0; i < count; i++)
            set[i] = pixels[i] != 0;
    else
        for (int i = 0; i < count; i++)
            set[i] = words[i] != 0;
    uint64_t bits = 0;
    for (int i = 0; i < 8; i++) { /* then the lowest bits of eight bytes side by side, by multiplication */
        uint64_t eight;
        memcpy(&eight, set + 8 * i, 8);
        bits |= (eight * UINT64_C(0x0102040810204080) >> 56) << (8 * i);
    }
    return bits;
}

/* Runs of one column of `height` bits that starts at place `at` of the stream; `start` is the first place of the
 * run that is going on, `bit` the last bit seen. 0, or -1 when memory is out. */
static inline int column_runs(scratch *mine, run_text *to, const uint64_t *words, ptrdiff_t height, int64_t at,
                              int64_t *start, uint64_t *bit) {
    for (ptrdiff_t y = 0; y < height; y += 64, words++) {
        uint64_t changed = *words ^ (*words << 1 | *bit);
        int count = height - y < 64 ? (int)(height - y) : 64;
        if (count < 64)
            changed &= (UINT64_C(1) << count) - 1;
        *bit = *words >> (count - 1) & 1;
        for (; changed; changed &= changed - 1) {
            int64_t place = at + y + __builtin_ctzll(changed);
            if (run_put(mine, to, place - *start))
                return -1;
            *start = place;
        }
    }
    return 0;
}

/* Run lengths of a mask of `height` rows, `stride` bytes apart, of `width` pixels of `size` bytes (1 or 4).
 * Returns the text, in this thread's scratch until mask_done(), and its length; NULL when memory is out. */
static inline const char *mask_runs(const char *mask, ptrdiff_t stride, ptrdiff_t height, ptrdiff_t width, int size,
                                    size_t *length) {
    scratch *mine = scratch_mine();
    if (!mine)
        return NULL;
    ptrdiff_t tiles = (height + 63) / 64;
    uint64_t *words = scratch_need(mine, MASK_WORDS, sizeof(uint64_t) * 64 * (size_t)(tiles + 1), 0);
    run_text to = {scratch_need(mine, MASK_TEXT, 4096, 0), 0, 4096, 0, 0, 0};
    if (!words || !to.text)
        return NULL;
    int64_t start = 0;
    uint64_t bit = 0;
    for (ptrdiff_t left = 0; left < width; left += 64) {
        int count = width - left < 64 ? (int)(width - left) : 64;
        for (ptrdiff_t tile = 0; tile < tiles; tile++) {
            uint64_t square[64] = {0};
            int rows = height - 64 * tile < 64 ? (int)(height - 64 * tile) : 64;
            for (int y = 0; y < rows; y++)
                square[y] = bits_of(mask + (64 * tile + y) * stride + left * size, size, count);
            bits_transpose(square);
            for (int x = 0; x < count; x++)
                words[x * tiles + tile] = square[x];
        }
        for (int x = 0; x < count; x++)
            if (column_runs(mine, &to, words + x * tiles, height, (left + x) * height, &start, &bit))
                return NULL;
    }
    if (run_put(mine, &to, (int64_t)height * width - start))
        return NULL;
    *length = to.used;
    return to.text;
}

static inline void mask_done(void) {
    scratch *mine = scratch_mine();
    if (mine)
        scratch_trim(mine);
}

/* Runs of `text` as bytes 0 and `value` in `out`. 0, or -1 when they do not fill exactly `total` bytes. */
static inline int mask_fill(const char *text, size_t length, uint8_t value, uint8_t *out, int64_t total) {
    int64_t before = 0, last = 0, filled = 0;
    size_t at = 0;
    for (size_t run = 0; at < length; run++) {
        uint64_t number = 0;
        int shift = 0, group;
        do {
            group = text[at++] - '0';
            if (group < 0 || group > 0x3f || shift > 30)
                return -1;
            number |= (uint64_t)(group & 0x1f) << shift;
            shift += 5;
        } while (group & 0x20 && at < length);
        if (group & 0x20)
            return -1;
        if (group & 0x10)
            number |= ~UINT64_C(0) << shift;
        int64_t count = (int64_t)number + (run > 2 ? before : 0);
        if (count < 0 || count > total - filled)
            return -1;
        memset(out + filled, run & 1 ? value : 0, (size_t)count);
        filled += count;
        before = last;
        last = count;
    }
    return filled == total ? 0 : -1;
}

#endif
