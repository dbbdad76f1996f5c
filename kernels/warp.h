/* The picture of a text line: perspective crop with cubic interpolation and replicated border, a line at a time.
 *
 * Pixels equal those of cv2.warpPerspective in OpenCV 4.10: positions in 1/32 pixel from doubles that are
 * accumulated per block of columns, and 15-bit weights from a table whose entries are corrected to sum to one.
 *
 * The picture may be turned (90 degrees counter-clockwise) and flipped (180 degrees): a row of it is then a
 * column of the crop, or runs backwards. A crop whose corners are whole pixels of an upright box is a plain
 * copy: its positions are whole, and a whole position's weights give back the pixel itself.
 */
#ifndef KERNELS_WARP_H
#define KERNELS_WARP_H

#include "quad.h"
#include "resample.h"

enum { POSITION_BITS = 5, POSITIONS = 1 << POSITION_BITS, WEIGHT_BITS = 15, WEIGHT_SUM = 1 << WEIGHT_BITS };
enum { WARP_POSITIONS = RESAMPLE_FIRST_FREE, WARP_ROW };

/* [fraction of y][fraction of x][4 rows][4 columns] */
static int16_t cubic_weights[POSITIONS][POSITIONS][16] __attribute__((aligned(32)));

/* Keys' cubic with a = -0.75, in float32 like OpenCV's. */
static inline void cubic_taps(float x, float to[4]) {
    const float a = -0.75f;
    to[0] = ((a * (x + 1) - 5 * a) * (x + 1) + 8 * a) * (x + 1) - 4 * a;
    to[1] = ((a + 2) * x - (a + 3)) * x * x + 1;
    to[2] = ((a + 2) * (1 - x) - (a + 3)) * (1 - x) * (1 - x) + 1;
    to[3] = 1.0f - to[0] - to[1] - to[2];
}

/* Add what rounding lost to the largest of the four lower-right taps, take what it gained from the smallest. */
static inline void correct_sum(int16_t *weights, int excess) {
    static const int places[4] = {10, 11, 14, 15};
    int smallest = 10, largest = 10;
    for (int i = 0; i < 4; i++) {
        if (weights[places[i]] < weights[smallest])
            smallest = places[i];
        else if (weights[places[i]] > weights[largest])
            largest = places[i];
    }
    int place = excess < 0 ? largest : smallest;
    weights[place] = (int16_t)(weights[place] - excess);
}

/* Once, at import. */
static void fill_cubic_weights(void) {
    float taps[POSITIONS][4];
    for (int i = 0; i < POSITIONS; i++)
        cubic_taps((float)i / POSITIONS, taps[i]);
    for (int y = 0; y < POSITIONS; y++)
        for (int x = 0; x < POSITIONS; x++) {
            int16_t *weights = cubic_weights[y][x];
            int sum = 0;
            for (int k = 0; k < 16; k++) {
                long rounded = lrintf(taps[y][k / 4] * taps[x][k % 4] * WEIGHT_SUM);
                weights[k] = (int16_t)(rounded > INT16_MAX ? INT16_MAX : rounded);
                sum += weights[k];
            }
            if (sum != WEIGHT_SUM)
                correct_sum(weights, sum - WEIGHT_SUM);
        }
}

/* Solve a*x = b by Gaussian elimination with partial pivoting, in place; 0 when singular. */
static inline int solve8(double a[8][8], double b[8]) {
    for (int i = 0; i < 8; i++) {
        int pivot = i;
        for (int j = i + 1; j < 8; j++)
            if (fabs(a[j][i]) > fabs(a[pivot][i]))
                pivot = j;
        if (fabs(a[pivot][i]) < DBL_EPSILON * 100)
            return 0;
        for (int k = i; k < 8 && pivot != i; k++) {
            double kept = a[i][k];
            a[i][k] = a[pivot][k], a[pivot][k] = kept;
        }
        double kept = b[i];
        b[i] = b[pivot], b[pivot] = kept;
        double inverse = -1 / a[i][i];
        for (int j = i + 1; j < 8; j++) {
            double factor = a[j][i] * inverse;
            for (int k = i + 1; k < 8; k++)
                a[j][k] += factor * a[i][k];
            b[j] += factor * b[i];
        }
    }
    for (int i = 7; i >= 0; i--) {
        for (int k = i + 1; k < 8; k++)
            b[i] -= a[i][k] * b[k];
        b[i] /= a[i][i];
    }
    return 1;
}

/* The matrix that takes positions in a width x height crop to positions in the image; 0 when there is none. */
static inline int crop_matrix(const corner from[4], int width, int height, double to[9]) {
    const corner target[4] = {{0, 0}, {(float)width, 0}, {(float)width, (float)height}, {0, (float)height}};
    double a[8][8] = {{0}}, m[9];
    for (int i = 0; i < 4; i++) {
        a[i][0] = a[i + 4][3] = from[i].x;
        a[i][1] = a[i + 4][4] = from[i].y;
        a[i][2] = a[i + 4][5] = 1;
        a[i][6] = -from[i].x * target[i].x;
        a[i][7] = -from[i].y * target[i].x;
        a[i + 4][6] = -from[i].x * target[i].y;
        a[i + 4][7] = -from[i].y * target[i].y;
        m[i] = target[i].x;
        m[i + 4] = target[i].y;
    }
    if (!solve8(a, m))
        return 0;
    m[8] = 1;
    double determinant = m[0] * (m[4] * m[8] - m[5] * m[7]) - m[1] * (m[3] * m[8] - m[5] * m[6]) +
                         m[2] * (m[3] * m[7] - m[4] * m[6]);
    if (determinant == 0)
        return 0;
    double d = 1 / determinant;
    to[0] = (m[4] * m[8] - m[5] * m[7]) * d;
    to[1] = (m[2] * m[7] - m[1] * m[8]) * d;
    to[2] = (m[1] * m[5] - m[2] * m[4]) * d;
    to[3] = (m[5] * m[6] - m[3] * m[8]) * d;
    to[4] = (m[0] * m[8] - m[2] * m[6]) * d;
    to[5] = (m[2] * m[3] - m[0] * m[5]) * d;
    to[6] = (m[3] * m[7] - m[4] * m[6]) * d;
    to[7] = (m[1] * m[6] - m[0] * m[7]) * d;
    to[8] = (m[0] * m[4] - m[1] * m[3]) * d;
    return 1;
}

typedef struct {
    const uint8_t *pixels;
    ptrdiff_t stride;
    int image_width, image_height;
    corner corners[4];
    int width, height; /* of the crop, before the turn */
    int turned, flipped;
    int copied;           /* an upright box of whole pixels at (left, top) */
    int left, top;
    int block;            /* columns per block of OpenCV's loop */
    double matrix[9];
    int32_t *x, *y;       /* positions of one line, in 1/32 pixel */
    uint8_t *line;        /* its pixels */
} crop;

static inline float distance_of(corner a, corner b) {
    float dx = a.x - b.x, dy = a.y - b.y;
    return sqrtf(dx * dx + dy * dy);
}

static inline int whole_edge(corner a, corner b, corner c, corner d) {
    float first = distance_of(a, b), second = distance_of(c, d);
    return (int)(first > second ? first : second);
}

/* Corners and size of a box's crop. 0 when it has no whole pixel. */
static inline int crop_measure(const point quad[4], crop *of) {
    _Alignas(8) char memory[QUAD_WORK(4)];
    hull_work work = hull_work_over(memory, 4);
    ordered_corners(smallest_rectangle(quad, 4, &work), of->corners);
    of->width = whole_edge(of->corners[0], of->corners[1], of->corners[2], of->corners[3]);
    of->height = whole_edge(of->corners[0], of->corners[3], of->corners[1], of->corners[2]);
    if (of->width < 1 || of->height < 1)
        return 0;
    of->turned = (double)of->height / of->width >= 1.5;
    return 1;
}

/* Within a thousandth of a pixel: a position's error is then far below half of 1/32 pixel. */
static inline int near(float a, float b) { return fabsf(a - b) < 1e-3f; }

static inline int is_copy(const crop *of) {
    const corner *c = of->corners;
    return near(c[0].x, rintf(c[0].x)) && near(c[0].y, rintf(c[0].y)) && near(c[0].y, c[1].y) && near(c[1].x, c[2].x) &&
           near(c[2].y, c[3].y) && near(c[0].x, c[3].x) && near(c[1].x - c[0].x, (float)of->width) &&
           near(c[3].y - c[0].y, (float)of->height);
}

/* After crop_measure: find out how to read it. 0, or -1 when memory is out, or 1 when the box has no inverse. */
static inline int crop_prepare(crop *of) {
    int longest = of->width > of->height ? of->width : of->height;
    scratch *mine = scratch_mine();
    of->x = mine ? scratch_need(mine, WARP_POSITIONS, 2 * sizeof(int32_t) * (size_t)(longest + 8), 0) : NULL;
    of->line = mine ? scratch_need(mine, WARP_ROW, 3 * (size_t)longest + 16, 0) : NULL;
    if (!of->x || !of->line)
        return -1;
    of->y = of->x + longest + 8;
    of->copied = is_copy(of);
    of->left = (int)rintf(of->corners[0].x);
    of->top = (int)rintf(of->corners[0].y);
    int rows = of->height < 16 ? of->height : 16;
    of->block = 1024 / rows < of->width ? 1024 / rows : of->width;
    return of->copied || crop_matrix(of->corners, of->width, of->height, of->matrix) ? 0 : 1;
}

#endif
