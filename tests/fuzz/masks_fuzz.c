/* Masks to run lengths and back give the mask; any text as run lengths fills a mask exactly or is refused. */
#include "need.h"

#include "masks.h"

static void there_and_back(input *in) {
    int width = next_in(in, 1, 140), height = next_in(in, 1, 140), size = next_byte(in) & 1 ? 4 : 1;
    ptrdiff_t stride = (ptrdiff_t)size * (width + next_in(in, 0, 3));
    char *mask = next_bytes(in, (size_t)(stride * (height - 1) + (ptrdiff_t)size * width));
    size_t length = 0;
    const char *runs = mask_runs(mask, stride, height, width, size, &length);
    need(runs != NULL && length > 0, "there is a text");
    char *text = malloc(length);
    memcpy(text, runs, length);
    mask_done();
    uint8_t *columns = malloc((size_t)width * height);
    need(mask_fill(text, length, 1, columns, (int64_t)width * height) == 0, "its own text is read");
    static const char zero[4] = {0};
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++)
            need(columns[x * height + y] == (memcmp(mask + y * stride + x * size, zero, (size_t)size) != 0),
                 "the same mask comes back");
    free(columns);
    free(text);
    free(mask);
}

static void any_text(input *in) {
    int64_t total = next_in(in, 0, 3000);
    size_t length = (size_t)(in->end - in->at);
    char *text = next_bytes(in, length);
    uint8_t *out = malloc(total ? (size_t)total : 1);
    memset(out, 9, (size_t)total);
    if (mask_fill(text, length, 7, out, total) == 0)
        for (int64_t i = 0; i < total; i++)
            need(out[i] == 0 || out[i] == 7, "every pixel is written");
    free(out);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length) {
    input in = {data, data + length};
    if (next_byte(&in) & 1)
        there_and_back(&in);
    else
        any_text(&in);
    return 0;
}
