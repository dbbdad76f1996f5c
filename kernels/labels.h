/* A label map as a JSON array of integers, resized to its nearest neighbours on the way.
 *
 *   rows[y]      source row of output row y       text of an output row: "7,7,12,0,"
 *   columns[x]   source column of output column x
 *
 * A row's text is made once and copied for the rows below it that have the same source row.
 */
#ifndef KERNELS_LABELS_H
#define KERNELS_LABELS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { LABEL_SHORT = 256 /* labels below it come from a table */ };

/* Text of the labels 0 to 255 with their comma, and its length. */
typedef struct {
    char text[LABEL_SHORT][4];
    uint8_t length[LABEL_SHORT];
} label_table;

static label_table label_texts; /* filled once, at import */

/* Digits of `value` and a comma; returns where the next label goes. */
static inline char *label_put(char *to, unsigned value) {
    unsigned power = 1;
    while (value / power >= 10)
        power *= 10;
    for (; power; power /= 10)
        *to++ = (char)('0' + value / power % 10);
    *to++ = ',';
    return to;
}

static inline void label_fill_table(void) {
    for (unsigned value = 0; value < LABEL_SHORT; value++)
        label_texts.length[value] = (uint8_t)(label_put(label_texts.text[value], value) - label_texts.text[value]);
}

/* Digits of the largest label of a map, with its comma. */
static inline int label_width(unsigned largest) {
    char text[16];
    return (int)(label_put(text, largest) - text);
}

#define LABEL_ROWS(name, type)                                                                               \
    static inline unsigned name##_largest(const type *map, ptrdiff_t stride, ptrdiff_t height,               \
                                          ptrdiff_t width) {                                                 \
        unsigned largest = 0;                                                                                \
        for (ptrdiff_t y = 0; y < height; y++) {                                                             \
            const type *row = (const type *)((const char *)map + y * stride);                                \
            type most = 0; /* of the map's own type: the loop vectorises */                                  \
            for (ptrdiff_t x = 0; x < width; x++)                                                            \
                most = row[x] > most ? row[x] : most;                                                        \
            largest = most > largest ? most : largest;                                                       \
        }                                                                                                    \
        return largest;                                                                                      \
    }                                                                                                        \
    /* One digit each: a label and its comma are one 16-bit store. */                                        \
    static inline char *name##_digits(const type *row, const int32_t *columns, ptrdiff_t count, char *to) {  \
        for (ptrdiff_t x = 0; x < count; x++) {                                                              \
            to[2 * x] = (char)('0' + row[columns[x]]);                                                       \
            to[2 * x + 1] = ',';                                                                             \
        }                                                                                                    \
        return to + 2 * count;                                                                               \
    }                                                                                                        \
    /* Up to three digits: four bytes are stored, fewer may count. Needs room for three more. */             \
    static inline char *name##_numbers(const type *row, const int32_t *columns, ptrdiff_t count, char *to) { \
        for (ptrdiff_t x = 0; x < count; x++) {                                                              \
            unsigned value = row[columns[x]];                                                                \
            if (value >= LABEL_SHORT) {                                                                      \
                to = label_put(to, value);                                                                   \
                continue;                                                                                    \
            }                                                                                                \
            memcpy(to, label_texts.text[value], 4);                                                          \
            to += label_texts.length[value];                                                                 \
        }                                                                                                    \
        return to;                                                                                           \
    }                                                                                                        \
    /* The whole array; `to` has room for 5 + height * width * label_width. Returns the end of the text. */  \
    static inline char *name##_json(const type *map, ptrdiff_t stride, const int32_t *rows,                  \
                                    ptrdiff_t height, const int32_t *columns, ptrdiff_t width,               \
                                    unsigned largest, char *to) {                                            \
        char *before = to;                                                                                   \
        *to++ = '[';                                                                                         \
        for (ptrdiff_t y = 0; y < height; y++) {                                                             \
            if (y && rows[y] == rows[y - 1]) {                                                               \
                size_t length = (size_t)(to - before);                                                       \
                memcpy(to, before, length);                                                                  \
                before = to;                                                                                 \
                to += length;                                                                                \
                continue;                                                                                    \
            }                                                                                                \
            const type *row = (const type *)((const char *)map + rows[y] * stride);                          \
            before = to;                                                                                     \
            to = largest < 10 ? name##_digits(row, columns, width, to)                                       \
                              : name##_numbers(row, columns, width, to);                                     \
        }                                                                                                    \
        to[-1] = ']';                                                                                        \
        return to;                                                                                           \
    }

LABEL_ROWS(label8, uint8_t)
LABEL_ROWS(label16, uint16_t)

#endif
