/* Any bytes as JSON: places are inside the text and between quotes, and what is taken out fits what was measured. */
#include "need.h"

#include "jsonscan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length) {
    if (length < 2)
        return 0;
    input in = {data + 2, data + length};
    ptrdiff_t size = (ptrdiff_t)length - 2, max_depth = data[0] % 20, long_text = data[1] % 20;
    char *text = next_bytes(&in, (size_t)size);
    json_outline_found found = json_look(text, size, max_depth, long_text);
    need(found.depth >= 0 && found.depth <= max_depth + 1, "it looks no further than the limit");
    need(found.spans >= 0 && found.spans <= JSON_SPANS, "no more places than there is room for");
    ptrdiff_t last = 0;
    for (ptrdiff_t i = 0; i < found.spans; i++) {
        ptrdiff_t start = found.start[i], stop = found.stop[i];
        need(start > last && stop - start >= long_text && stop < size, "places are in order and inside");
        need(text[start - 1] == '"' && text[stop] == '"', "between quotes");
        last = stop;
        const unsigned char *first = (const unsigned char *)text + start;
        ptrdiff_t plain = json_unescape(first, stop - start, NULL);
        need(json_is_ascii(first, stop - start) && plain >= 0 && plain <= stop - start, "a string of ASCII");
        unsigned char *out = malloc(plain ? (size_t)plain : 1);
        need(json_unescape(first, stop - start, out) == plain, "it is as long as it was measured");
        for (ptrdiff_t k = 0; k < plain; k++)
            need(out[k] < 0x80, "ASCII comes out");
        free(out);
    }
    free(text);
    return 0;
}
