/* What the C targets share: a promise that has to hold, and numbers out of the bytes that are left. */
#ifndef TESTS_FUZZ_NEED_H
#define TESTS_FUZZ_NEED_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static inline void need(int holds, const char *what) {
    if (!holds) {
        fprintf(stderr, "does not hold: %s\n", what);
        abort();
    }
}

typedef struct {
    const uint8_t *at, *end;
} input;

/* The next byte; 0 behind the end. */
static inline unsigned next_byte(input *in) { return in->at < in->end ? *in->at++ : 0; }

/* A number from `low` to `high`. */
static inline int next_in(input *in, int low, int high) {
    unsigned two = next_byte(in) << 8;
    two |= next_byte(in);
    return low + (int)(two % (unsigned)(high - low + 1));
}

/* Memory of exactly this size, so that a step too far is found, filled from the input. */
static inline void *next_bytes(input *in, size_t size) {
    uint8_t *made = malloc(size ? size : 1);
    for (size_t i = 0; i < size; i++)
        made[i] = (uint8_t)next_byte(in);
    return made;
}

#endif
