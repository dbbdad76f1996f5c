/* DB post-processing of a probability map in quad mode (PaddleX 3.7.2, DBPostProcess with the fast score). */
#ifndef KERNELS_DB_H
#define KERNELS_DB_H

#include "contours.h"
#include "offset.h"
#include "polyfill.h"

enum { DB_HULL = CONTOUR_FIRST_FREE, DB_ROWS, DB_GROWN };

typedef struct {
    const float *map;
    ptrdiff_t stride; /* floats from row to row */
    int width, height;
    int page_width, page_height;
    float thresh;
    double box_thresh, unclip_ratio, min_size;
    ptrdiff_t max_candidates;
    int dilation;
} db_options;

typedef struct {
    int16_t corners[4][2];
    double score;
} db_box;

BODY void mark_row_body(const float *restrict map, int width, float thresh, int8_t *restrict to) {
    for (int x = 0; x < width; x++)
        to[x] = map[x] > thresh;
}

static void mark_row_any(const float *map, int width, float thresh, int8_t *to) { mark_row_body(map, width, thresh, to); }

#if CPU_X86
AVX2 static void mark_row_avx2(const float *map, int width, float thresh, int8_t *to) {
    mark_row_body(map, width, thresh, to);
}
#endif

/* A 2x2 square, anchored at its lower right: a mark spreads right and down. From the last row up, in place. */
static inline void dilate_marks(contour_list *to) {
    for (int y = to->height; y >= 1; y--) {
        int8_t *row = to->marks + y * to->pitch, *above = row - to->pitch;
        for (int x = to->width; x >= 1; x--)
            row[x] |= row[x - 1] | above[x] | above[x - 1];
    }
}

/* Binary map with its frame. 0 when memory is out. */
static inline int mark_map(const db_options *of, contour_list *to) {
    to->width = of->width, to->height = of->height, to->pitch = of->width + 2;
    to->marks = scratch_need(to->mine, CONTOUR_MARKS, (size_t)(to->pitch * (of->height + 2)), 0);
    if (!to->marks)
        return 0;
    memset(to->marks, 0, (size_t)to->pitch);
    memset(to->marks + to->pitch * (of->height + 1), 0, (size_t)to->pitch);
    for (int y = 0; y < of->height; y++) {
        int8_t *row = to->marks + (y + 1) * to->pitch;
        row[0] = row[of->width + 1] = 0;
#if CPU_X86
        if (cpu_avx2)
            mark_row_avx2(of->map + y * of->stride, of->width, of->thresh, row + 1);
        else
#endif
            mark_row_any(of->map + y * of->stride, of->width, of->thresh, row + 1);
    }
    if (of->dilation)
        dilate_marks(to);
    return 1;
}

static inline int on_map(double value, int size) { return value < 0 ? 0 : value > size - 1 ? size - 1 : (int)value; }

/* Mean probability of the quad: bounding box clipped to the map, corners shifted to it and truncated. */
static inline double quad_score(const db_options *of, const corner quad[4], run *rows) {
    float least_x = quad[0].x, most_x = quad[0].x, least_y = quad[0].y, most_y = quad[0].y;
    for (int i = 1; i < 4; i++) {
        least_x = quad[i].x < least_x ? quad[i].x : least_x;
        most_x = quad[i].x > most_x ? quad[i].x : most_x;
        least_y = quad[i].y < least_y ? quad[i].y : least_y;
        most_y = quad[i].y > most_y ? quad[i].y : most_y;
    }
    int left = on_map(floor(least_x), of->width), right = on_map(ceil(most_x), of->width);
    int top = on_map(floor(least_y), of->height), bottom = on_map(ceil(most_y), of->height);
    point shifted[4];
    for (int i = 0; i < 4; i++)
        shifted[i] = (point){(int32_t)(quad[i].x - (float)left), (int32_t)(quad[i].y - (float)top)};
    filling in = {rows, right - left + 1, bottom - top + 1};
    fill_quad(&in, shifted);
    return filled_mean(&in, of->map + top * of->stride + left, of->stride);
}

/* How far a quad grows: area * ratio / perimeter, its sides in float32 as OpenCV measures them. */
static inline double grow_distance(const corner quad[4], double ratio) {
    double area = 0, length = 0;
    for (int i = 0, k = 3; i < 4; k = i++) {
        float dx = quad[i].x - quad[k].x, dy = quad[i].y - quad[k].y;
        area += (double)quad[k].x * quad[i].y - (double)quad[k].y * quad[i].x;
        length += sqrtf(dx * dx + dy * dy);
    }
    return fabs(area * 0.5) * ratio / length;
}

static inline int16_t on_page(float value, double ratio, int limit) {
    double scaled = rint(value * ratio);
    return (int16_t)(scaled < 0 ? 0 : scaled > limit ? limit : scaled);
}

static inline float short_side(rectangle of) { return of.width < of.height ? of.width : of.height; }

/* Corners and short side of the smallest rectangle around the points. 0 when memory is out. */
static inline int box_points(scratch *mine, const point *points, ptrdiff_t count, corner to[4], float *side_length) {
    void *memory = scratch_need(mine, DB_HULL, QUAD_WORK(count), 0);
    if (!memory)
        return 0;
    hull_work work = hull_work_over(memory, count);
    rectangle around = smallest_rectangle(points, count, &work);
    ordered_corners(around, to);
    *side_length = short_side(around);
    return 1;
}

/* The box of one border. 1 when there is one, 0 when it is dropped, -1 when memory is out. */
static inline int db_box_of(const db_options *of, scratch *mine, const point *points, ptrdiff_t count, run *rows,
                            db_box *to) {
    corner quad[4];
    float side_length;
    if (!box_points(mine, points, count, quad, &side_length))
        return -1;
    if (side_length < of->min_size)
        return 0;
    to->score = quad_score(of, quad, rows);
    if (of->box_thresh > to->score)
        return 0;
    double distance = grow_distance(quad, of->unclip_ratio);
    point whole[4], *grown = scratch_need(mine, DB_GROWN, sizeof(point) * (size_t)grow_room(distance), 0);
    if (!grown)
        return -1;
    for (int i = 0; i < 4; i++)
        whole[i] = (point){(int32_t)quad[i].x, (int32_t)quad[i].y};
    count = grow_quad(whole, distance, grown);
    if (!count)
        return 0;
    if (!box_points(mine, start_as_clipper(grown, count), count, quad, &side_length))
        return -1;
    if (side_length < of->min_size + 2)
        return 0;
    for (int i = 0; i < 4; i++) {
        to->corners[i][0] = on_page(quad[i].x, (double)of->page_width / of->width, of->page_width);
        to->corners[i][1] = on_page(quad[i].y, (double)of->page_height / of->height, of->page_height);
    }
    return 1;
}

/* Mark the map and list its borders, so that the caller knows how many boxes there may be. -1 when memory is out. */
static ptrdiff_t db_find(const db_options *of, contour_list *found) {
    found->mine = scratch_mine();
    if (!found->mine || !mark_map(of, found) || !find_contours(found))
        return -1;
    return found->borders < of->max_candidates ? found->borders : of->max_candidates;
}

/* Boxes of the `candidates` last borders, last first. Returns how many, or -1 when memory is out. */
static ptrdiff_t db_boxes_of(const db_options *of, const contour_list *found, ptrdiff_t candidates, db_box *boxes) {
    run *rows = scratch_need(found->mine, DB_ROWS, sizeof(run) * (size_t)of->height, 0);
    ptrdiff_t count = 0;
    if (!rows)
        return -1;
    for (ptrdiff_t i = found->borders - 1; i >= found->borders - candidates; i--) {
        const point *points = found->points + found->starts[i];
        int got = db_box_of(of, found->mine, points, found->starts[i + 1] - found->starts[i], rows, boxes + count);
        if (got < 0)
            return -1;
        count += got;
    }
    scratch_trim(found->mine);
    return count;
}

#endif
