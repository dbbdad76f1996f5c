/* Growing a quad as Clipper 6.4 does: ClipperOffset with round joins, then the union of the result.
 *
 * Only the offset path is made here. The union removes what a convex hull does not see (repeated and collinear
 * vertices, and the dents of a fraction of a pixel that rounding leaves), and the next step takes the hull.
 */
#ifndef KERNELS_OFFSET_H
#define KERNELS_OFFSET_H

#include "quad.h"

enum { OFFSET_JOINS = 64 /* points beside those of the arcs, generously */ };

typedef struct {
    double x, y;
} direction;

static inline direction normal_of(point from, point to) {
    double dx = to.x - from.x, dy = to.y - from.y;
    double scale = 1.0 / sqrt(dx * dx + dy * dy);
    dx *= scale;
    dy *= scale;
    return (direction){dy, -dx};
}

/* Clipper rounds halves away from zero. */
static inline int32_t away(double value) { return (int32_t)(value < 0 ? value - 0.5 : value + 0.5); }

static inline point moved(point from, direction by, double distance) {
    return (point){away(from.x + by.x * distance), away(from.y + by.y * distance)};
}

/* Arc steps of a full turn: chords stay within a quarter pixel of the circle (Clipper's default tolerance). */
static inline double arc_steps(double distance) {
    double tolerance = distance * 0.25 < 0.25 ? distance * 0.25 : 0.25;
    double steps = M_PI / acos(1 - tolerance / distance);
    return steps > distance * M_PI ? distance * M_PI : steps;
}

/* Room for the points of a quad grown by this distance, twice over for start_as_clipper. */
static inline ptrdiff_t grow_room(double distance) { return 2 * ((ptrdiff_t)arc_steps(distance) + OFFSET_JOINS); }

/* Drop repeated corners and turn the path so that it runs the way Clipper offsets outwards. Returns how many remain. */
static inline int clean_path(const point from[4], point to[4]) {
    int last = 3, count = 1;
    int64_t area = 0;
    while (last > 0 && from[0].x == from[last].x && from[0].y == from[last].y)
        last--;
    to[0] = from[0];
    for (int i = 1; i <= last; i++)
        if (to[count - 1].x != from[i].x || to[count - 1].y != from[i].y)
            to[count++] = from[i];
    for (int i = 0, j = count - 1; i < count; j = i++)
        area += (int64_t)(to[j].x + to[i].x) * (to[j].y - to[i].y);
    for (int i = 0; area > 0 && i < count / 2; i++) {
        point kept = to[i];
        to[i] = to[count - 1 - i], to[count - 1 - i] = kept;
    }
    return count;
}

/* Grow a quad of whole corners by `distance` > 0. Returns how many points were written to `to`; 0 when the corners
 * do not span three points, as Clipper refuses such a path. */
static inline ptrdiff_t grow_quad(const point quad[4], double distance, point *to) {
    point path[4];
    direction normal[4];
    int corners = clean_path(quad, path);
    ptrdiff_t count = 0;
    if (corners < 3)
        return 0;
    double steps = arc_steps(distance), sine = sin(2 * M_PI / steps), cosine = cos(2 * M_PI / steps);
    for (int i = 0; i < corners; i++)
        normal[i] = normal_of(path[i], path[i + 1 < corners ? i + 1 : 0]);
    for (int i = 0, k = corners - 1; i < corners; i++) {
        direction in = normal[k], out = normal[i];
        double turned = in.x * out.y - out.x * in.y, along = in.x * out.x + out.y * in.y;
        if (fabs(turned * distance) < 1.0 && along > 0) {
            to[count++] = moved(path[i], in, distance);
            continue; /* k stays: the next corner is joined to the side before this one */
        }
        if (fabs(turned * distance) >= 1.0)
            turned = turned > 1.0 ? 1.0 : turned < -1.0 ? -1.0 : turned;
        if (turned * distance < 0) {
            to[count++] = moved(path[i], in, distance);
            to[count++] = path[i];
        } else {
            int arc = (int)away(steps / (2 * M_PI) * fabs(atan2(turned, along)));
            for (int step = 0; step < (arc > 1 ? arc : 1); step++) {
                to[count++] = moved(path[i], in, distance);
                double x = in.x;
                in.x = in.x * cosine - sine * in.y;
                in.y = x * sine + in.y * cosine;
            }
        }
        to[count++] = moved(path[i], out, distance);
        k = i;
    }
    return count;
}

/* Clipper's union starts its polygon after the rightmost of the topmost points. The start decides between rectangles
 * of equal area. Returns where the path begins now; `points` has room for 2 * count. */
static inline const point *start_as_clipper(point *points, ptrdiff_t count) {
    ptrdiff_t top = 0;
    for (ptrdiff_t i = 1; i < count; i++)
        if (points[i].y < points[top].y || (points[i].y == points[top].y && points[i].x >= points[top].x))
            top = i;
    memcpy(points + count, points, sizeof *points * (size_t)(top + 1));
    return points + top + 1;
}

#endif
