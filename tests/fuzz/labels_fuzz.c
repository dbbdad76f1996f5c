/* Any label map, resized to any places inside it: the text is what printf would write, and fits its buffer. */
#include "need.h"

#include "labels.h"

static int32_t *places(input *in, int count, int size) {
    int32_t *made = malloc(sizeof *made * (size_t)count);
    for (int i = 0; i < count; i++)
        made[i] = next_in(in, 0, size - 1);
    return made;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length) {
    input in = {data, data + length};
    int wide = next_byte(&in) & 1, height = next_in(&in, 1, 30), width = next_in(&in, 1, 30);
    int rows_count = next_in(&in, 1, 40), columns_count = next_in(&in, 1, 40);
    ptrdiff_t size = wide ? 2 : 1, stride = size * (width + next_in(&in, 0, 2));
    int32_t *rows = places(&in, rows_count, height), *columns = places(&in, columns_count, width);
    void *map = next_bytes(&in, (size_t)(stride * (height - 1) + size * width));
    label_fill_table();
    unsigned largest = wide ? label16_largest(map, stride, height, width) : label8_largest(map, stride, height, width);
    size_t room = 5 + (size_t)rows_count * (size_t)columns_count * (size_t)label_width(largest);
    char *text = malloc(room), *right = malloc(room + 8), *to = right;
    char *end = wide ? label16_json(map, stride, rows, rows_count, columns, columns_count, largest, text)
                     : label8_json(map, stride, rows, rows_count, columns, columns_count, largest, text);
    *to++ = '[';
    for (int y = 0; y < rows_count; y++)
        for (int x = 0; x < columns_count; x++) {
            const char *pixel = (const char *)map + rows[y] * stride + columns[x] * size;
            uint16_t value = (uint8_t)*pixel;
            if (wide)
                memcpy(&value, pixel, sizeof value);
            to += sprintf(to, "%u,", value);
        }
    to[-1] = ']';
    need(end - text == to - right && memcmp(text, right, (size_t)(end - text)) == 0, "the text of printf");
    free(right);
    free(text);
    free(map);
    free(columns);
    free(rows);
    return 0;
}
