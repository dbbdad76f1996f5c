/* Greedy non-maximum suppression: the strongest box stays and drops what overlaps it, then the next one.
 *
 *   rows (class, score, x1, y1, x2, y2) --by falling score--> columns x1[] y1[] x2[] y2[] area[] class[] alive[]
 *
 * so that one box is compared with all weaker ones in straight loops over columns. Every step is rounded to float32,
 * in the order in which NumPy's scalars are combined.
 */
#ifndef KERNELS_NMS_H
#define KERNELS_NMS_H

#include <stdint.h>
#include <string.h>

#include "cpu.h"
#include "scratch.h"

enum { NMS_KEYS, NMS_COLUMNS };

typedef struct {
    float *x1, *y1, *x2, *y2, *area, *kind;
    int32_t *alive;
} nms_columns;

typedef struct {
    float same, other, plus;
} nms_limits;

/* Unsigned numbers that lie as the floats do; a NaN comes before or behind all of them, by its sign. */
static inline uint32_t nms_rank(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

static int nms_falling(const void *one, const void *other) {
    uint64_t a = *(const uint64_t *)one, b = *(const uint64_t *)other;
    return (a < b) - (a > b);
}

BODY void nms_drop_body(const nms_columns *c, ptrdiff_t best, ptrdiff_t count, nms_limits limit) {
    float x1 = c->x1[best], y1 = c->y1[best], x2 = c->x2[best], y2 = c->y2[best];
    float area = c->area[best], kind = c->kind[best];
    for (ptrdiff_t i = best + 1; i < count; i++) {
        float left = c->x1[i] > x1 ? c->x1[i] : x1, top = c->y1[i] > y1 ? c->y1[i] : y1;
        float right = c->x2[i] < x2 ? c->x2[i] : x2, bottom = c->y2[i] < y2 ? c->y2[i] : y2;
        float wide = right - left + limit.plus, high = bottom - top + limit.plus;
        float common = (wide > 0 ? wide : 0) * (high > 0 ? high : 0);
        float share = common / (area + c->area[i] - common);
        c->alive[i] &= -(int32_t)(share < (c->kind[i] == kind ? limit.same : limit.other));
    }
}

static void nms_drop_any(const nms_columns *c, ptrdiff_t best, ptrdiff_t count, nms_limits limit) {
    nms_drop_body(c, best, count, limit);
}

#if CPU_X86
AVX2 static void nms_drop_avx2(const nms_columns *c, ptrdiff_t best, ptrdiff_t count, nms_limits limit) {
    nms_drop_body(c, best, count, limit);
}
#endif

static inline void nms_drop(const nms_columns *c, ptrdiff_t best, ptrdiff_t count, nms_limits limit) {
#if CPU_X86
    if (cpu_avx2) {
        nms_drop_avx2(c, best, count, limit);
        return;
    }
#endif
    nms_drop_any(c, best, count, limit);
}

/* Places of the boxes that stay, strongest first, into `kept`; how many, or -1 when memory is out.
 * `pitch`: floats from row to row. Of equal scores the later row is the stronger. */
static inline ptrdiff_t nms_keep(const float *rows, ptrdiff_t pitch, ptrdiff_t count, nms_limits limit, int64_t *kept) {
    scratch *mine = scratch_mine();
    if (!mine)
        return -1;
    uint64_t *keys = scratch_need(mine, NMS_KEYS, sizeof *keys * (size_t)count, 0);
    float *columns = scratch_need(mine, NMS_COLUMNS, sizeof *columns * 7 * (size_t)count, 0);
    if (!keys || !columns)
        return -1;
    for (ptrdiff_t i = 0; i < count; i++)
        keys[i] = (uint64_t)nms_rank(rows[i * pitch + 1]) << 32 | (uint32_t)i;
    qsort(keys, (size_t)count, sizeof *keys, nms_falling);

    nms_columns c = {columns, columns + count, columns + 2 * count, columns + 3 * count, columns + 4 * count,
                     columns + 5 * count, (int32_t *)(void *)(columns + 6 * count)};
    for (ptrdiff_t i = 0; i < count; i++) {
        const float *row = rows + (ptrdiff_t)(uint32_t)keys[i] * pitch;
        c.kind[i] = row[0];
        c.x1[i] = row[2], c.y1[i] = row[3], c.x2[i] = row[4], c.y2[i] = row[5];
        c.area[i] = (row[4] - row[2] + limit.plus) * (row[5] - row[3] + limit.plus);
        c.alive[i] = -1;
    }
    ptrdiff_t stay = 0;
    for (ptrdiff_t i = 0; i < count; i++)
        if (c.alive[i]) {
            kept[stay++] = (int64_t)(uint32_t)keys[i];
            nms_drop(&c, i, count, limit);
        }
    scratch_trim(mine);
    return stay;
}

#endif
