/* Any numbers for classes, NaN and infinity too: the first largest, in both bodies; and no more is kept than there is. */
#include "need.h"

#include "ctc.h"

/* The first of the largest numbers that are above -inf, else 0. */
static int32_t plain_best(const float *step, ptrdiff_t classes) {
    int32_t best = -1;
    for (ptrdiff_t i = 0; i < classes; i++)
        if (step[i] > (best < 0 ? -INFINITY : step[best]))
            best = (int32_t)i;
    return best < 0 ? 0 : best;
}

static float next_float(input *in, int wild) {
    uint32_t bits = next_byte(in);
    if (!wild)
        return (float)bits / 8;
    bits = bits << 24 | (uint32_t)next_byte(in) << 16;
    float made;
    memcpy(&made, &bits, sizeof made);
    return made;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length) {
    input in = {data, data + length};
    int wild = next_byte(&in) & 1;
    ptrdiff_t classes = next_in(&in, 1, 1200), steps = next_in(&in, 1, 300);
    float *step = malloc(sizeof *step * (size_t)classes);
    for (ptrdiff_t i = 0; i < classes; i++)
        step[i] = next_float(&in, wild);
    cpu_detect();
    need(ctc_best(step, classes) == plain_best(step, classes), "the first of the largest");
    cpu_avx2 = 0;
    need(ctc_best(step, classes) == plain_best(step, classes), "without AVX2 too");
    free(step);

    size_t size = (size_t)steps;
    int32_t *given = malloc(sizeof *given * size), *kept = malloc(sizeof *kept * size), *at = malloc(sizeof *at * size);
    float *values = malloc(sizeof *values * size), *kept_values = malloc(sizeof *kept_values * size);
    for (size_t t = 0; t < size; t++) {
        given[t] = next_byte(&in) % 4;
        values[t] = (float)t;
    }
    ptrdiff_t count = ctc_keep(given, values, steps, kept, at, kept_values);
    need(count >= 0 && count <= steps, "no more than there are");
    for (ptrdiff_t i = 0; i < count; i++) {
        need(at[i] >= 0 && at[i] < steps && (!i || at[i] > at[i - 1]), "steps in order");
        need(kept[i] && kept[i] == given[at[i]] && kept_values[i] == values[at[i]], "what was there");
        need(!at[i] || given[at[i] - 1] != kept[i], "each run once");
    }
    float sum = pairwise_sum(kept_values, count), right = 0; /* whole numbers: any order gives the same */
    for (ptrdiff_t i = 0; i < count; i++)
        right += kept_values[i];
    need(sum == right, "the sum");
    free(kept_values);
    free(values);
    free(at);
    free(kept);
    free(given);
    return 0;
}
