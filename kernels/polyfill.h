/* Mean of a map over a filled quad, with the pixels that cv2.fillPoly fills: the lines between the corners
 * (Bresenham, 8-connected, from left to right) and the spans between the edges (16-bit fixed point).
 *
 * A quad here is convex, so in each row its pixels are one run; only the run's ends are kept.
 */
#ifndef KERNELS_POLYFILL_H
#define KERNELS_POLYFILL_H

#include <limits.h>
#include <stdint.h>

#include "cpu.h"
#include "quad.h"

enum { FIXED_BITS = 16, FIXED_ONE = 1 << FIXED_BITS };

typedef struct {
    int32_t from, to; /* columns, both filled; from > to: none */
} run;

typedef struct {
    run *rows;
    int width, height;
} filling;

static inline void fill_pixel(filling *in, int64_t x, int64_t y) {
    run *row = in->rows + y;
    row->from = x < row->from ? (int32_t)x : row->from;
    row->to = x > row->to ? (int32_t)x : row->to;
}

typedef struct {
    int64_t x, y;
} place;

static inline int outside(const filling *in, place at) {
    return (at.x < 0) + (at.x >= in->width) * 2 + (at.y < 0) * 4 + (at.y >= in->height) * 8;
}

/* Move `end` along the line to the side of the map that it lies beyond; returns what it still lies beyond. */
static inline int cut_rows(const filling *in, place *end, place other, int beyond) {
    if (beyond & 12) {
        int64_t side = beyond < 8 ? 0 : in->height - 1;
        end->x += (int64_t)((double)(side - end->y) * (other.x - end->x) / (other.y - end->y));
        end->y = side;
        beyond = (end->x < 0) + (end->x >= in->width) * 2;
    }
    return beyond;
}

static inline int cut_columns(const filling *in, place *end, place other, int beyond) {
    if (beyond) {
        int64_t side = beyond == 1 ? 0 : in->width - 1;
        end->y += (int64_t)((double)(side - end->x) * (other.y - end->y) / (other.x - end->x));
        end->x = side;
    }
    return 0;
}

/* Cohen-Sutherland in OpenCV's order and rounding. 0 when nothing of the line is on the map. */
static inline int cut_line(const filling *in, place *a, place *b) {
    int beyond_a = outside(in, *a), beyond_b = outside(in, *b);
    if ((beyond_a & beyond_b) == 0 && (beyond_a | beyond_b) != 0) {
        beyond_a = cut_rows(in, a, *b, beyond_a);
        beyond_b = cut_rows(in, b, *a, beyond_b);
        if ((beyond_a & beyond_b) == 0 && (beyond_a | beyond_b) != 0) {
            beyond_a = cut_columns(in, a, *b, beyond_a);
            beyond_b = cut_columns(in, b, *a, beyond_b);
        }
    }
    return (beyond_a | beyond_b) == 0;
}

static inline void fill_line(filling *in, place a, place b) {
    if (!cut_line(in, &a, &b))
        return;
    if (b.x < a.x) {
        place kept = a;
        a = b, b = kept;
    }
    int64_t dx = b.x - a.x, dy = b.y - a.y, down = dy < 0 ? -1 : 1;
    dy *= down;
    int steep = dy > dx;
    int64_t major = steep ? dy : dx, minor = steep ? dx : dy, error = major - 2 * minor;
    for (int64_t i = 0; i <= major; i++) {
        fill_pixel(in, a.x, a.y);
        int side = error < 0;
        error += side ? 2 * major - 2 * minor : -2 * minor;
        a.x += steep ? side : 1;
        a.y += steep ? down : side * down;
    }
}

typedef struct {
    int64_t top, bottom, x, slope; /* rows top..bottom-1; x at the top and per row, fixed point */
} side;

/* The side from a to b, with OpenCV's treatment of corners off the map. 0 for a level one. */
static inline int side_of(const filling *in, place a, place b, side *to) {
    place from = {a.x * FIXED_ONE + (FIXED_ONE >> 1), a.y}, until = {b.x * FIXED_ONE + (FIXED_ONE >> 1), b.y};
    if (outside(in, a) || outside(in, b)) {
        place cut_a = a, cut_b = b;
        from.x = a.x * FIXED_ONE, until.x = b.x * FIXED_ONE;
        cut_line(in, &cut_a, &cut_b);
        if (cut_a.y != cut_b.y) {
            from = (place){cut_a.x * FIXED_ONE, cut_a.y};
            until = (place){cut_b.x * FIXED_ONE, cut_b.y};
        }
    }
    if (a.y == b.y)
        return 0;
    to->slope = (until.x - from.x) / (until.y - from.y);
    to->top = a.y < b.y ? a.y : b.y;
    to->bottom = a.y < b.y ? b.y : a.y;
    to->x = a.y < b.y ? from.x + (a.y - from.y) * to->slope : until.x + (b.y - until.y) * to->slope;
    return 1;
}

static inline void fill_spans(filling *in, const side *sides, int count) {
    for (int y = 0; y < in->height && count > 1; y++) {
        int64_t least = INT64_MAX, most = INT64_MIN;
        int active = 0;
        for (int i = 0; i < count; i++)
            if (sides[i].top <= y && y < sides[i].bottom) {
                int64_t x = sides[i].x + (y - sides[i].top) * sides[i].slope;
                least = x < least ? x : least;
                most = x > most ? x : most;
                active++;
            }
        least >>= FIXED_BITS;
        most >>= FIXED_BITS;
        if (active > 1 && least < in->width && most >= 0) {
            fill_pixel(in, least < 0 ? 0 : least, y);
            fill_pixel(in, most < in->width ? most : in->width - 1, y);
        }
    }
}

/* Runs of the quad on a width x height map; `rows` has room for height. */
static inline void fill_quad(filling *in, const point quad[4]) {
    side sides[4];
    int count = 0;
    for (int y = 0; y < in->height; y++)
        in->rows[y] = (run){INT32_MAX, INT32_MIN};
    for (int i = 0, k = 3; i < 4; k = i++) {
        place a = {quad[k].x, quad[k].y}, b = {quad[i].x, quad[i].y};
        fill_line(in, a, b);
        count += side_of(in, a, b, sides + count);
    }
    fill_spans(in, sides, count);
}

/* Sum of count floats in doubles. */
BODY double run_sum_body(const float *from, int count) {
    double lane[16] = {0}, sum = 0;
    int i = 0;
    for (; i + 16 <= count; i += 16)
        for (int k = 0; k < 16; k++)
            lane[k] += from[i + k];
    for (; i < count; i++)
        sum += from[i];
    for (int k = 0; k < 16; k++)
        sum += lane[k];
    return sum;
}

static double run_sum_any(const float *from, int count) { return run_sum_body(from, count); }

#if CPU_X86
AVX2 static double run_sum_avx2(const float *from, int count) { return run_sum_body(from, count); }
#endif

/* Mean of the map over the filling; 0 when it is empty. `map` is the pixel at (0, 0), `stride` floats apart. */
static inline double filled_mean(const filling *in, const float *map, ptrdiff_t stride) {
    double sum = 0;
    int64_t pixels = 0;
    for (int y = 0; y < in->height; y++) {
        run row = in->rows[y];
        if (row.from > row.to)
            continue;
        int count = row.to - row.from + 1;
        const float *from = map + y * stride + row.from;
#if CPU_X86
        sum += cpu_avx2 ? run_sum_avx2(from, count) : run_sum_any(from, count);
#else
        sum += run_sum_any(from, count);
#endif
        pixels += count;
    }
    return pixels ? sum / pixels : 0;
}

#endif
