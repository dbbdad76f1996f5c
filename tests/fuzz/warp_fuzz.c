/* Any quad on any image: each line of its crop lies in the image or in its buffer, and both bodies agree. */
#include "picture.h"

#include "sample.h"

enum { MOST_PIXELS = 1 << 18 };

/* All lines of the crop, with and without AVX2. */
static void read_lines(crop *of) {
    picture whole = crop_picture(of);
    uint8_t *first = malloc(3 * (size_t)whole.width);
    for (int y = 0; y < whole.height; y++) {
        cpu_detect();
        memcpy(first, whole.row(whole.self, y), 3 * (size_t)whole.width);
        cpu_avx2 = 0;
        need(memcmp(first, whole.row(whole.self, y), 3 * (size_t)whole.width) == 0, "both bodies agree");
    }
    free(first);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length) {
    input in = {data, data + length};
    crop of = {.image_width = next_in(&in, 1, 64), .image_height = next_in(&in, 1, 64)};
    of.stride = 3 * (ptrdiff_t)of.image_width + next_in(&in, 0, 4);
    int shift = (int)next_byte(&in) % 12, flipped = (int)next_byte(&in) & 1;
    point quad[4];
    for (int i = 0; i < 4; i++) {
        quad[i].x = next_in(&in, -32767, 32767) / (1 << shift);
        quad[i].y = next_in(&in, -32767, 32767) / (1 << shift);
    }
    if (!crop_measure(quad, &of) || (int64_t)of.width * of.height > MOST_PIXELS)
        return 0;
    fill_cubic_weights();
    of.flipped = flipped;
    of.pixels = next_bytes(&in, (size_t)(of.stride * (of.image_height - 1) + 3 * of.image_width));
    if (crop_prepare(&of) == 0) {
        read_lines(&of);
        canvas to = next_canvas(&in, next_in(&in, 1, 200), next_in(&in, 1, 60));
        picture whole = crop_picture(&of);
        resize_both(&whole, &to);
        free(to.plane[0]);
    }
    free((void *)(uintptr_t)of.pixels);
    return 0;
}
