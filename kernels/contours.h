/* Borders of the regions of a binary map, in the order and with the points of cv2.findContours (OpenCV 4.10)
 * in mode RETR_LIST with CHAIN_APPROX_SIMPLE.
 *
 * Suzuki and Abe's border following: a raster scan finds the start of every outer border and hole border, the
 * border is followed and its pixels are marked, so that each border starts once.
 *
 *   mark   0 background · 1 region · 2 followed · -126 followed, and its right neighbour is background
 *
 *   3 2 1
 *   4 . 0    directions; a step along the border looks round from the one after where it came from
 *   5 6 7
 *
 * The map has a frame of one zero on every side. OpenCV lists what it found last first.
 */
#ifndef KERNELS_CONTOURS_H
#define KERNELS_CONTOURS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "quad.h"
#include "scratch.h"

enum { MARK_REGION = 1, MARK_FOLLOWED = 2, MARK_RIGHT = -126 };
enum { CONTOUR_MARKS, CONTOUR_POINTS, CONTOUR_STARTS, CONTOUR_FIRST_FREE };

typedef struct {
    int8_t *marks; /* [height + 2][pitch], framed */
    ptrdiff_t pitch;
    int width, height;
    point *points; /* of all borders, one after the other */
    ptrdiff_t *starts; /* of each border in `points`, and the end of the last */
    ptrdiff_t borders, used;
    scratch *mine;
} contour_list;

/* Room for `more` points and one more border; 0 when memory is out. */
static inline int contour_room(contour_list *to, ptrdiff_t more) {
    to->points = scratch_need(to->mine, CONTOUR_POINTS, sizeof(point) * (size_t)(to->used + more), 1);
    to->starts = scratch_need(to->mine, CONTOUR_STARTS, sizeof(ptrdiff_t) * (size_t)(to->borders + 2), 1);
    return to->points && to->starts;
}

static const int step_x[8] = {1, 1, 0, -1, -1, -1, 0, 1}, step_y[8] = {0, -1, -1, -1, 0, 1, 1, 1};

/* Follow the border that starts at framed pixel (x, y) and append its corners. 0 when memory is out. */
static inline int follow_border(contour_list *to, int x, int y, int hole) {
    ptrdiff_t round[16];
    for (int i = 0; i < 16; i++)
        round[i] = step_x[i & 7] + step_y[i & 7] * to->pitch;
    int8_t *start = to->marks + y * to->pitch + x, *last = start, *here = start;
    int behind = hole ? 0 : 4, first = behind;
    to->starts[to->borders++] = to->used;
    do
        first = (first - 1) & 7;
    while (!start[round[first]] && first != behind);
    if (!start[round[first]]) {
        *start = MARK_RIGHT;
        if (!contour_room(to, 1))
            return 0;
        to->points[to->used++] = (point){x - 1, y - 1};
        return 1;
    }
    last += round[first];
    for (int direction = first, came = first ^ 4;;) {
        int from = direction;
        do
            direction++;
        while (!here[round[direction & 7]]);
        direction &= 7;
        /* Passed direction 0 on the way: the right neighbour is background. */
        if ((unsigned)(direction - 1) < (unsigned)from)
            *here = MARK_RIGHT;
        else if (*here == MARK_REGION)
            *here = MARK_FOLLOWED;
        if (direction != came) {
            if (!contour_room(to, 1))
                return 0;
            to->points[to->used++] = (point){x - 1, y - 1};
        }
        came = direction;
        x += step_x[direction];
        y += step_y[direction];
        int8_t *next = here + round[direction];
        if (next == start && here == last)
            return 1;
        here = next;
        direction ^= 4;
    }
}

/* First column from x on whose mark differs from `value`; `end` if there is none. */
static inline int skip_equal(const int8_t *row, int x, int end, int8_t value) {
    uint64_t same = 0x0101010101010101ull * (uint8_t)value, eight;
    for (; x + 8 <= end; x += 8) {
        memcpy(&eight, row + x, 8);
        if (eight != same)
            break;
    }
    while (x < end && row[x] == value)
        x++;
    return x;
}

/* Find all borders of to->marks. 0 when memory is out. */
static inline int find_contours(contour_list *to) {
    to->borders = to->used = 0;
    if (!contour_room(to, 256))
        return 0;
    for (int y = 1; y <= to->height; y++) {
        const int8_t *row = to->marks + y * to->pitch;
        int8_t before = 0;
        for (int x = 1;; x++) {
            x = skip_equal(row, x, to->width + 1, before);
            if (x > to->width)
                break;
            int outer = before == 0 && row[x] == MARK_REGION, hole = row[x] == 0 && before >= MARK_REGION;
            if ((outer || hole) && !follow_border(to, hole ? x - 1 : x, y, hole))
                return 0;
            before = row[x];
        }
    }
    to->starts[to->borders] = to->used;
    return 1;
}

#endif
