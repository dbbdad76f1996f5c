/* Rectangles around points, as cv2.minAreaRect and cv2.boxPoints of OpenCV 4.10 give them.
 *
 * Results must agree to the last bit, since they are truncated to whole pixels afterwards: float operations keep
 * OpenCV's order, and the hull starts at the vertex that OpenCV's starts at (it decides between equal areas).
 * Sources: Andrew's monotone chain for the hull; Toussaint's rotating calipers for the rectangle.
 */
#ifndef KERNELS_QUAD_H
#define KERNELS_QUAD_H

#include <float.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct {
    int32_t x, y;
} point;

typedef struct {
    float x, y;
} corner;

/* Sorts by x, then y; equal points keep their order. */
typedef struct {
    uint64_t key;
    int32_t index;
} sort_item;

/* Room for `count` points: QUAD_WORK(count) bytes, cut up by hull_work_over. */
typedef struct {
    sort_item *items, *spare; /* count each */
    int32_t *chain;           /* count */
    int32_t *hull, *turned;   /* 2 * count each: a chain's ends belong to two chains */
    corner *vertex, *edge;    /* 2 * count each */
    float *inverse;           /* 2 * count */
} hull_work;

#define QUAD_WORK(count) ((size_t)(count) * (2 * sizeof(sort_item) + 5 * sizeof(int32_t) + 4 * sizeof(corner) + 2 * sizeof(float)))

static inline hull_work hull_work_over(void *memory, ptrdiff_t count) {
    hull_work work;
    work.items = memory;
    work.spare = work.items + count;
    work.vertex = (corner *)(work.spare + count);
    work.edge = work.vertex + 2 * count;
    work.inverse = (float *)(work.edge + 2 * count);
    work.chain = (int32_t *)(work.inverse + 2 * count);
    work.hull = work.chain + count;
    work.turned = work.hull + 2 * count;
    return work;
}

enum { SORTED_RUN = 12 };

/* Merge sort over insertion-sorted runs; returns whichever of the two arrays holds the result. */
static inline sort_item *sort_points(const point *points, ptrdiff_t count, sort_item *items, sort_item *spare) {
    for (ptrdiff_t i = 0; i < count; i++) {
        uint32_t x = (uint32_t)points[i].x ^ 0x80000000u, y = (uint32_t)points[i].y ^ 0x80000000u;
        sort_item item = {(uint64_t)x << 32 | y, (int32_t)i};
        ptrdiff_t run = i - i % SORTED_RUN, j = i;
        for (; j > run && items[j - 1].key > item.key; j--)
            items[j] = items[j - 1];
        items[j] = item;
    }
    for (ptrdiff_t run = SORTED_RUN; run < count; run *= 2) {
        for (ptrdiff_t start = 0; start < count; start += 2 * run) {
            ptrdiff_t middle = start + run < count ? start + run : count;
            ptrdiff_t end = start + 2 * run < count ? start + 2 * run : count;
            ptrdiff_t left = start, right = middle;
            for (ptrdiff_t i = start; i < end; i++)
                spare[i] = left < middle && (right >= end || items[left].key <= items[right].key) ? items[left++]
                                                                                                  : items[right++];
        }
        sort_item *filled = spare;
        spare = items;
        items = filled;
    }
    return items;
}

/* Which way b lies of the line from a through o: the sign of a 2x2 determinant, exact below 2**29. */
static inline int64_t turn(point a, point o, point b) {
    return (int64_t)(o.x - a.x) * (b.y - o.y) - (int64_t)(o.y - a.y) * (b.x - o.x);
}

/* Strictly convex chain over the sorted points first..last (either direction) that turns with `sign`. */
static inline ptrdiff_t convex_chain(const point *points, const sort_item *sorted, ptrdiff_t first, ptrdiff_t last, int sign,
                                     int32_t *chain) {
    ptrdiff_t count = 0, step = last < first ? -1 : 1;
    if (sorted[first].key == sorted[last].key) {
        chain[0] = sorted[first].index;
        return 1;
    }
    for (ptrdiff_t i = first;; i += step) {
        point next = points[sorted[i].index];
        while (count > 1 && sign * turn(points[chain[count - 2]], points[chain[count - 1]], next) <= 0)
            count--;
        chain[count++] = sorted[i].index;
        if (i == last)
            return count;
    }
}

/* Start where OpenCV does: a hull whose indices run round the input in order starts at the lowest index, one that
 * runs against it at the highest. */
static inline void turn_to_start(int32_t *hull, ptrdiff_t count, int32_t *turned) {
    ptrdiff_t rises = 0, start = 0;
    for (ptrdiff_t i = 0; i < count; i++)
        rises += hull[i] < hull[i + 1 < count ? i + 1 : 0];
    if (count < 3 || (rises != 1 && rises != count - 1))
        return;
    for (ptrdiff_t i = 1; i < count; i++)
        if (rises == 1 ? hull[i] > hull[start] : hull[i] < hull[start])
            start = i;
    for (ptrdiff_t i = 0; i < count; i++)
        turned[i] = hull[start + i < count ? start + i : start + i - count];
    memcpy(hull, turned, sizeof *hull * (size_t)count);
}

/* Indices of the strictly convex hull, from the rightmost point through the largest y. Returns how many. */
static inline ptrdiff_t convex_hull(const point *points, ptrdiff_t count, hull_work *work) {
    const sort_item *sorted = sort_points(points, count, work->items, work->spare);
    ptrdiff_t low = 0, high = 0, found = 0, end = count - 1, chain;
    for (ptrdiff_t i = 1; i < count; i++) {
        int32_t y = points[sorted[i].index].y;
        low = y < points[sorted[low].index].y ? i : low;
        high = y > points[sorted[high].index].y ? i : high;
    }
    if (sorted[0].key == sorted[end].key) {
        work->hull[0] = sorted[0].index;
        return 1;
    }
    chain = convex_chain(points, sorted, end, high, 1, work->chain);
    for (ptrdiff_t i = 0; i < chain - 1; i++)
        work->hull[found++] = work->chain[i];
    chain = convex_chain(points, sorted, 0, high, -1, work->chain);
    for (ptrdiff_t i = chain - 1; i > 0; i--)
        work->hull[found++] = work->chain[i];
    chain = convex_chain(points, sorted, 0, low, 1, work->chain);
    for (ptrdiff_t i = 0; i < chain - 1; i++)
        work->hull[found++] = work->chain[i];
    chain = convex_chain(points, sorted, end, low, -1, work->chain);
    for (ptrdiff_t i = chain - 1; i > 0; i--)
        work->hull[found++] = work->chain[i];
    turn_to_start(work->hull, found, work->turned);
    return found;
}

typedef struct {
    corner centre;
    float width, height, angle; /* degrees */
} rectangle;

/* The smallest-area rectangle found so far: its base direction, extents, and two points on its sides. */
typedef struct {
    float area, a, b, width, height;
    ptrdiff_t left, bottom;
} candidate;

static inline rectangle rectangle_of(const candidate *best, const corner *vertex) {
    float a1 = best->a, b1 = best->b, a2 = -best->b, b2 = best->a;
    float c1 = a1 * vertex[best->left].x + vertex[best->left].y * b1;
    float c2 = a2 * vertex[best->bottom].x + vertex[best->bottom].y * b2;
    float scale = 1.0f / (a1 * b2 - a2 * b1);
    float origin_x = (c1 * b2 - c2 * b1) * scale, origin_y = (a1 * c2 - a2 * c1) * scale;
    float across_x = a1 * best->width, across_y = b1 * best->width;
    float down_x = a2 * best->height, down_y = b2 * best->height;
    rectangle found;
    found.centre.x = origin_x + (across_x + down_x) * 0.5f;
    found.centre.y = origin_y + (across_y + down_y) * 0.5f;
    found.width = (float)sqrt((double)across_x * across_x + (double)across_y * across_y);
    found.height = (float)sqrt((double)down_x * down_x + (double)down_y * down_y);
    found.angle = (float)((float)atan2(across_y, across_x) * 180 / M_PI);
    return found;
}

/* An edge turned back by as many quarter turns as the side it belongs to is round from the bottom. */
static inline corner unturned(corner edge, int side) {
    switch (side) {
    case 1:
        return (corner){edge.y, -edge.x};
    case 2:
        return (corner){-edge.x, -edge.y};
    case 3:
        return (corner){-edge.y, edge.x};
    default:
        return edge;
    }
}

/* Turn four calipers round a hull of 3 or more vertices. */
static inline rectangle rotate_calipers(const corner *vertex, ptrdiff_t count, corner *edge, float *inverse) {
    ptrdiff_t touch[4] = {0, 0, 0, 0}; /* bottom, right, top, left */
    corner least = vertex[0], most = vertex[0];
    for (ptrdiff_t i = 0; i < count; i++) {
        corner here = vertex[i], next = vertex[i + 1 < count ? i + 1 : 0];
        if (here.x < least.x)
            least.x = here.x, touch[3] = i;
        if (here.x > most.x)
            most.x = here.x, touch[1] = i;
        if (here.y > most.y)
            most.y = here.y, touch[2] = i;
        if (here.y < least.y)
            least.y = here.y, touch[0] = i;
        double dx = next.x - here.x, dy = next.y - here.y;
        edge[i] = (corner){(float)dx, (float)dy};
        inverse[i] = (float)(1.0 / sqrt(dx * dx + dy * dy));
    }
    candidate best = {FLT_MAX, 0, 0, 0, 0, 0, 0};
    for (ptrdiff_t k = 0; k < count; k++) {
        int side = 0;
        corner first = edge[touch[0]];
        for (int i = 1; i < 4; i++) {
            corner other = unturned(edge[touch[i]], i);
            if (other.y * first.x + -other.x * first.y < 0)
                side = i, first = other;
        }
        ptrdiff_t at = touch[side];
        corner lead = {edge[at].x * inverse[at], edge[at].y * inverse[at]};
        lead = unturned(lead, side);
        touch[side] = at + 1 == count ? 0 : at + 1;

        float dx = vertex[touch[1]].x - vertex[touch[3]].x, dy = vertex[touch[1]].y - vertex[touch[3]].y;
        float width = dx * lead.x + dy * lead.y;
        dx = vertex[touch[2]].x - vertex[touch[0]].x, dy = vertex[touch[2]].y - vertex[touch[0]].y;
        float height = -dx * lead.y + dy * lead.x;
        if (width * height <= best.area)
            best = (candidate){width * height, lead.x, lead.y, width, height, touch[3], touch[0]};
    }
    return rectangle_of(&best, vertex);
}

/* cv2.minAreaRect of whole points; count >= 1. */
static inline rectangle smallest_rectangle(const point *points, ptrdiff_t count, hull_work *work) {
    ptrdiff_t found = convex_hull(points, count, work);
    for (ptrdiff_t i = 0; i < found; i++)
        work->vertex[i] = (corner){(float)points[work->hull[i]].x, (float)points[work->hull[i]].y};
    if (found > 2)
        return rotate_calipers(work->vertex, found, work->edge, work->inverse);
    corner from = work->vertex[0], to = work->vertex[found - 1];
    double dx = to.x - from.x, dy = to.y - from.y;
    rectangle flat = {{(from.x + to.x) * 0.5f, (from.y + to.y) * 0.5f}, (float)sqrt(dx * dx + dy * dy), 0, 0};
    flat.angle = (float)((float)atan2(dy, dx) * 180 / M_PI);
    return flat;
}

/* PaddleX's order: sorted by x; of the left two the upper is first, of the right two the upper is second; clockwise. */
static inline void ordered_corners(rectangle of, corner to[4]) {
    double angle = of.angle * M_PI / 180.0;
    float b = (float)cos(angle) * 0.5f, a = (float)sin(angle) * 0.5f;
    corner by_x[4];
    by_x[0].x = of.centre.x - a * of.height - b * of.width;
    by_x[0].y = of.centre.y + b * of.height - a * of.width;
    by_x[1].x = of.centre.x + a * of.height - b * of.width;
    by_x[1].y = of.centre.y - b * of.height - a * of.width;
    by_x[2] = (corner){2 * of.centre.x - by_x[0].x, 2 * of.centre.y - by_x[0].y};
    by_x[3] = (corner){2 * of.centre.x - by_x[1].x, 2 * of.centre.y - by_x[1].y};
    for (int i = 1; i < 4; i++) {
        corner moved = by_x[i];
        int j = i;
        for (; j > 0 && by_x[j - 1].x > moved.x; j--)
            by_x[j] = by_x[j - 1];
        by_x[j] = moved;
    }
    int left = by_x[1].y > by_x[0].y ? 0 : 1, right = by_x[3].y > by_x[2].y ? 2 : 3;
    to[0] = by_x[left], to[1] = by_x[right], to[2] = by_x[5 - right], to[3] = by_x[1 - left];
}

#endif
