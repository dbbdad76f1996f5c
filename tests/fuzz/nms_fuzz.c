/* Any boxes, NaN and infinity too: those that stay are some of them, each once, and both bodies agree. */
#include "need.h"

#include "nms.h"

enum { MOST = 200 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length) {
    input in = {data, data + length};
    ptrdiff_t pitch = 6 + next_byte(&in) % 3, count = 1 + next_byte(&in) % MOST;
    nms_limits limit = {(float)next_byte(&in) / 255, (float)next_byte(&in) / 255, (float)(next_byte(&in) & 1)};
    int small = next_byte(&in) & 1; /* whole numbers of a byte: boxes that overlap */
    size_t floats = (size_t)(pitch * (count - 1) + 6);
    float *rows = malloc(sizeof *rows * floats);
    for (size_t i = 0; i < floats; i++) {
        rows[i] = (float)next_byte(&in);
        if (!small) {
            uint32_t bits = (uint32_t)rows[i] << 24 | next_byte(&in) << 16 | next_byte(&in) << 8 | next_byte(&in);
            memcpy(rows + i, &bits, sizeof bits);
        }
    }
    int64_t *kept = malloc(sizeof *kept * (size_t)count), *other = malloc(sizeof *other * (size_t)count);
    cpu_detect();
    ptrdiff_t stay = nms_keep(rows, pitch, count, limit, kept);
    cpu_avx2 = 0;
    need(nms_keep(rows, pitch, count, limit, other) == stay, "both bodies keep as many");
    need(memcmp(kept, other, sizeof *kept * (size_t)stay) == 0, "both bodies keep the same");
    uint8_t seen[MOST] = {0};
    need(stay >= 1 && stay <= count, "the strongest stays");
    for (ptrdiff_t i = 0; i < stay; i++) {
        need(kept[i] >= 0 && kept[i] < count && !seen[kept[i]], "each is one of them, once");
        seen[kept[i]] = 1;
    }
    free(other);
    free(kept);
    free(rows);
    return 0;
}
