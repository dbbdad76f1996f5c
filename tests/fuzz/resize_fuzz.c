/* Any image, size, window and canvas: nothing outside is read or written, and both bodies agree. */
#include "picture.h"

typedef struct {
    const uint8_t *pixels;
    ptrdiff_t stride;
} plain_image;

static const uint8_t *image_row(void *self, int y) {
    const plain_image *image = self;
    return image->pixels + y * image->stride;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length) {
    input in = {data, data + length};
    int width = next_in(&in, 1, 80), height = next_in(&in, 1, 24);
    plain_image image = {NULL, 3 * (ptrdiff_t)width + next_in(&in, 0, 5)};
    int far = next_byte(&in) & 1; /* as large as a canvas may be */
    canvas to = next_canvas(&in, next_in(&in, 1, far ? 32767 : 100), next_in(&in, 1, far ? 32767 : 100));
    image.pixels = next_bytes(&in, (size_t)(image.stride * (height - 1) + 3 * width));
    picture from = {image_row, &image, width, height};
    resize_both(&from, &to);
    free(to.plane[0]);
    free((void *)(uintptr_t)image.pixels);
    return 0;
}
