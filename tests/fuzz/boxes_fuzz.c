/* Any probability map and any settings within the bounds of boxes.pyx: no undefined behaviour, boxes on the page. */
#include <stdio.h>
#include <stdlib.h>

#include "db.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length) {
    if (length < 8)
        return 0;
    int width = 1 + data[0] % 48;
    size_t left = length - 8, height = left / (size_t)width;
    if (!height || height > 256)
        return 0;
    db_options of = {.stride = width, .width = width, .height = (int)height,
                     .page_width = 1 + (data[1] << 7), .page_height = 1 + (data[2] << 7),
                     .thresh = (float)data[3] / 255, .box_thresh = data[4] / 255.0,
                     .unclip_ratio = 0.1 + data[5] * data[5] / 66.0, .min_size = 1 + data[6] % 8,
                     .max_candidates = 1 + data[7] * 4, .dilation = data[7] & 1};
    float *map = malloc(sizeof(float) * (size_t)width * height);
    for (size_t i = 0; i < (size_t)width * height; i++)
        map[i] = (float)data[8 + i] / 255;
    of.map = map;
    contour_list found = {0};
    ptrdiff_t candidates = db_find(&of, &found);
    db_box *boxes = malloc(sizeof(db_box) * (size_t)(candidates > 0 ? candidates : 1));
    ptrdiff_t count = candidates < 0 ? 0 : db_boxes_of(&of, &found, candidates, boxes);
    for (ptrdiff_t i = 0; i < count; i++)
        for (int corner = 0; corner < 4; corner++) {
            int x = boxes[i].corners[corner][0], y = boxes[i].corners[corner][1];
            if (x < 0 || x > of.page_width || y < 0 || y > of.page_height) {
                fprintf(stderr, "a corner is off the page\n");
                abort();
            }
        }
    free(boxes);
    free(map);
    return 0;
}
