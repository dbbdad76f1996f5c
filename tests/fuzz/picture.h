/* Canvases and images for the targets that resize. */
#ifndef TESTS_FUZZ_PICTURE_H
#define TESTS_FUZZ_PICTURE_H

#include "need.h"
#include "resample.h"

/* A canvas with planes of exactly its size, one behind the other. The caller frees `plane[0]`. */
static inline canvas next_canvas(input *in, int width, int height) {
    canvas to = {.columns = next_in(in, 1, 70), .rows = next_in(in, 1, 20), .width = width, .height = height,
                 .left = next_in(in, 0, 80), .top = next_in(in, 0, 80), .pad = 0.5f};
    to.left = to.left < width ? to.left : width; /* as resize.pyx does */
    to.top = to.top < height ? to.top : height;
    to.stride = to.columns + next_in(in, 0, 2);
    to.divisor = next_byte(in) & 1 ? 255.0f : 1.0f;
    size_t plane = (size_t)(to.stride * (to.rows - 1) + to.columns);
    to.plane[0] = malloc(3 * plane * sizeof(float));
    for (int c = 0; c < 3; c++) {
        to.plane[c] = to.plane[0] + (size_t)c * plane;
        to.scale[c] = (float)next_byte(in) / 100;
        to.shift[c] = (float)next_byte(in) / 100;
    }
    return to;
}

/* Resize with both bodies: all of the canvas is written, and to the same values. */
static inline void resize_both(const picture *from, const canvas *to) {
    size_t floats = 3 * (size_t)(to->stride * (to->rows - 1) + to->columns);
    float *first = malloc(floats * sizeof(float));
    for (int pass = 0; pass < 2; pass++) {
        cpu_detect();
        cpu_avx2 = cpu_avx2 && pass == 0;
        memset(to->plane[0], 0xff, floats * sizeof(float)); /* NaN */
        need(resample(from, to) == 0, "there is memory");
        for (int c = 0; c < 3; c++)
            for (int y = 0; y < to->rows; y++)
                for (int x = 0; x < to->columns; x++)
                    need(to->plane[c][y * to->stride + x] < 1e4f, "every pixel is written");
        if (pass)
            need(memcmp(first, to->plane[0], floats * sizeof(float)) == 0, "both bodies agree");
        else
            memcpy(first, to->plane[0], floats * sizeof(float));
    }
    free(first);
}

#endif
