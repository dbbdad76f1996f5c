/* One look over a JSON text: how deep it is, and where its long strings of ASCII are. Any bytes may come. */
#ifndef KERNELS_JSONSCAN_H
#define KERNELS_JSONSCAN_H

#include <stddef.h>
#include <string.h>

/* More long strings than any request has; further ones are left to the JSON parser. */
enum { JSON_SPANS = 16 };

typedef struct {
    ptrdiff_t depth, spans, start[JSON_SPANS], stop[JSON_SPANS];
} json_outline_found;

static inline int json_hex(unsigned char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The ASCII character of the escape that `text` starts with, or -1; and how long the escape is. */
static inline int json_escaped(const unsigned char *text, ptrdiff_t size, ptrdiff_t *used) {
    static const char letters[] = "\"\\/bfnrt", means[] = "\"\\/\b\f\n\r\t";
    *used = 2;
    if (size < 2)
        return -1;
    const char *known = text[1] ? strchr(letters, text[1]) : NULL;
    if (known)
        return means[known - letters];
    if (text[1] != 'u' || size < 6)
        return -1;
    *used = 6;
    int value = 0;
    for (int i = 2; i < 6; i++) {
        int digit = json_hex(text[i]);
        if (digit < 0)
            return -1;
        value = value * 16 + digit;
    }
    return value < 0x80 ? value : -1;
}

/* Length of the text without escapes, -1 when one is no escape or not of ASCII; written to `out` unless NULL. */
static inline ptrdiff_t json_unescape(const unsigned char *text, ptrdiff_t size, unsigned char *out) {
    ptrdiff_t at = 0, length = 0;
    for (;;) {
        const unsigned char *hit = size > at ? memchr(text + at, '\\', (size_t)(size - at)) : NULL;
        ptrdiff_t plain = (hit ? hit - text : size) - at, used;
        if (out && plain)
            memcpy(out + length, text + at, (size_t)plain);
        at += plain;
        length += plain;
        if (!hit)
            return length;
        int character = json_escaped(hit, size - at, &used);
        if (character < 0)
            return -1;
        if (out)
            out[length] = (unsigned char)character;
        at += used;
        length++;
    }
}

/* Whether the string is ASCII, also without its escapes. No early exit: the loop vectorises. */
static inline int json_is_ascii(const unsigned char *text, ptrdiff_t size) {
    unsigned char odd = 0, escapes = 0;
    for (ptrdiff_t i = 0; i < size; i++) {
        odd |= (unsigned char)((text[i] < 0x20) | (text[i] >= 0x80));
        escapes |= text[i] == '\\';
    }
    return !odd && (!escapes || json_unescape(text, size, NULL) >= 0);
}

/* See json_outline() in jsonscan.pyi. */
static inline json_outline_found json_look(const char *text, ptrdiff_t size, ptrdiff_t max_depth,
                                           ptrdiff_t long_text) {
    json_outline_found found = {0, 0, {0}, {0}};
    const char *end = text + size;
    ptrdiff_t depth = 0;
    for (const char *at = text; at < end; at++) {
        if (*at == '"') { /* strings make up nearly all of a body: find their end with memchr, not byte by byte */
            const char *first = at + 1, *back;
            do {
                at = end - at > 1 ? memchr(at + 1, '"', (size_t)(end - at - 1)) : NULL;
                if (!at)
                    return found;
                back = at - 1;
                while (*back == '\\')
                    back--;
            } while (!((at - back) & 1));
            if (depth == 1 && at - first >= long_text && found.spans < JSON_SPANS &&
                json_is_ascii((const unsigned char *)first, at - first)) {
                found.start[found.spans] = first - text;
                found.stop[found.spans++] = at - text;
            }
        } else if (*at == '{' || *at == '[') {
            if (++depth > found.depth && (found.depth = depth) > max_depth)
                return found;
        } else if (*at == '}' || *at == ']') {
            depth--;
        }
    }
    return found;
}

#endif
