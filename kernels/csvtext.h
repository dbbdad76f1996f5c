/* Where the rows and cells of a CSV text are, and what plain cells say, by the rules of pandas.read_csv's defaults.
 *
 * Comma, double quote, doubled inside quotes; lines end with \n, \r\n or \r; lines of blanks are skipped; the
 * first other line is the header. The first row may have more fields than the header (pandas makes an index of
 * what is in front); no later row may have more than either. Rows that are shorter count as filled up.
 *
 * Cells are judged strictly: a number or time that is not written in the plainest way is left to pandas.
 */
#ifndef KERNELS_CSVTEXT_H
#define KERNELS_CSVTEXT_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "cpu.h"

typedef unsigned char byte;

typedef struct {
    int64_t rows;                    /* below the header */
    int64_t names, columns;          /* fields of the header, of a row */
    int64_t header, header_stop;     /* the header's text, without its line end */
    int64_t crowded, crowded_fields; /* the first row with too many fields, from 1; 0 when there is none */
    int open_quote;                  /* the text ends inside a quoted field */
    int wide;                        /* some byte is not ASCII */
    int64_t *starts;                 /* of the last `keep` rows, a circle while scanning */
    int64_t keep, next;
} csv_outline;

static inline int csv_ends_line(byte c) { return c == '\n' || c == '\r'; }
static inline int csv_is_blank(byte c) { return c == ' ' || c == '\t'; }

/* One line that is not blank. Returns 0 when the scan has to end. */
BODY int csv_take_line(csv_outline *found, int64_t start, int64_t stop, int64_t fields) {
    if (!found->names) {
        found->names = fields;
        found->header = start;
        found->header_stop = stop;
        return 1;
    }
    found->rows++;
    if (found->rows == 1)
        found->columns = fields > found->names ? fields : found->names;
    if (fields > found->columns) {
        found->crowded = found->rows;
        found->crowded_fields = fields;
        return 0;
    }
    if (found->keep) {
        found->starts[found->next] = start;
        found->next = found->next + 1 == found->keep ? 0 : found->next + 1;
    }
    return 1;
}

/* Any text, byte by byte. */
static void csv_scan_any(const byte *text, int64_t from, int64_t size, csv_outline *found) {
    int64_t at = from;
    byte seen = 0;
    while (at < size) {
        int64_t start = at, fields = 1;
        while (at < size && csv_is_blank(text[at]))
            at++;
        if (at == size)
            break;
        if (csv_ends_line(text[at])) {
            at++;
            continue;
        }
        at = start;
        for (;;) { /* one field after the other */
            if (at < size && text[at] == '"') {
                at++;
                for (;;) {
                    const byte *quote = at < size ? memchr(text + at, '"', (size_t)(size - at)) : NULL;
                    if (!quote) {
                        found->open_quote = 1;
                        at = size;
                        break;
                    }
                    for (; text + at < quote; at++)
                        seen |= text[at];
                    at++;
                    if (at == size || text[at] != '"')
                        break;
                    at++;
                }
            }
            while (at < size && text[at] != ',' && !csv_ends_line(text[at]))
                seen |= text[at++];
            if (at == size || text[at] != ',')
                break;
            at++;
            fields++;
        }
        if (!csv_take_line(found, start, at, fields)) {
            found->open_quote = 0;
            break;
        }
        if (found->open_quote)
            break;
        if (at < size && text[at] == '\r' && at + 1 < size && text[at + 1] == '\n')
            at++;
        at++;
    }
    found->wide |= seen >> 7;
}

#if CPU_X86
typedef struct {
    uint64_t line, carriage, comma, quote, high;
} csv_marks;

/* One bit per byte of a block of 64. */
AVX2 static inline csv_marks csv_look(const byte *block) {
    __m256i low = _mm256_loadu_si256((const __m256i *)block), up = _mm256_loadu_si256((const __m256i *)(block + 32));
#define CSV_BITS(a, b) ((uint32_t)_mm256_movemask_epi8(a) | (uint64_t)(uint32_t)_mm256_movemask_epi8(b) << 32)
#define CSV_FIND(c) CSV_BITS(_mm256_cmpeq_epi8(low, _mm256_set1_epi8(c)), _mm256_cmpeq_epi8(up, _mm256_set1_epi8(c)))
    csv_marks marks = {CSV_FIND('\n'), CSV_FIND('\r'), CSV_FIND(','), CSV_FIND('"'), CSV_BITS(low, up)};
#undef CSV_FIND
#undef CSV_BITS
    return marks;
}

/* A line of the plain scan; -1: the plain scan is not for this text. */
AVX2 static inline int csv_plain_line(const byte *text, csv_outline *found, int64_t start, int64_t stop, int64_t commas) {
    if (stop > start && text[stop - 1] == '\r')
        stop--;
    if (stop == start)
        return 1;
    if (csv_is_blank(text[start]))
        return -1;
    return csv_take_line(found, start, stop, commas + 1);
}

/* Text without quotes whose lines end with \n or \r\n and begin with no blank. Returns 0 when it is another one. */
AVX2 static int csv_scan_plain(const byte *text, int64_t from, int64_t size, csv_outline *found) {
    int64_t start = from, commas = 0;
    uint64_t pending = 0; /* the block before ended with \r */
    byte last[64];
    for (int64_t base = from; base < size; base += 64) {
        const byte *block = text + base;
        if (size - base < 64) {
            memset(last, 0, sizeof last);
            memcpy(last, block, (size_t)(size - base));
            block = last;
        }
        csv_marks marks = csv_look(block);
        if (marks.quote || ((marks.carriage << 1 | pending) & ~marks.line))
            return 0;
        pending = marks.carriage >> 63;
        found->wide |= marks.high != 0;
        while (marks.line) {
            uint64_t lowest = marks.line & -marks.line, before = marks.comma & (lowest - 1);
            int64_t stop = base + __builtin_ctzll(marks.line);
            int taken = csv_plain_line(text, found, start, stop, commas + __builtin_popcountll(before));
            if (taken <= 0)
                return taken == 0;
            start = stop + 1;
            commas = 0;
            marks.comma ^= before;
            marks.line ^= lowest;
        }
        commas += __builtin_popcountll(marks.comma);
    }
    if (pending)
        return 0;
    return start == size || csv_plain_line(text, found, start, size, commas) >= 0;
}
#endif

/* Reverse numbers [from, to). */
static inline void csv_reverse(int64_t *at, int64_t from, int64_t to) {
    while (from < --to) {
        int64_t kept = at[from];
        at[from++] = at[to];
        at[to] = kept;
    }
}

/* The outline of a text; `starts` gets where the last `keep` rows begin, in their order. */
static csv_outline csv_rows_of(const byte *text, int64_t size, int64_t *starts, int64_t keep) {
    int64_t from = size >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0; /* a byte order mark */
    csv_outline empty = {.starts = starts, .keep = keep}, found = empty;
#if CPU_X86
    if (!cpu_avx2 || !csv_scan_plain(text, from, size, &found)) {
        found = empty;
        csv_scan_any(text, from, size, &found);
    }
#else
    csv_scan_any(text, from, size, &found);
#endif
    if (found.rows > keep) {
        csv_reverse(starts, 0, found.next);
        csv_reverse(starts, found.next, keep);
        csv_reverse(starts, 0, keep);
    }
    return found;
}

/* Upper bounds of lines and commas, for limits that are checked before anything else looks at a text. */
BODY void csv_size_body(const byte *text, int64_t size, int64_t *lines, int64_t *commas) {
    int64_t line = 0, comma = 0, at = 0;
    while (at + 1 < size) {
        int64_t stop = size - 1 - at > 255 ? at + 255 : size - 1;
        byte some_lines = 0, some_commas = 0; /* bytes, so that the loop is one of bytes: 255 at most */
        for (int64_t i = at; i < stop; i++) {
            some_lines += (byte)((text[i] == '\n') | ((text[i] == '\r') & (text[i + 1] != '\n')));
            some_commas += text[i] == ',';
        }
        line += some_lines;
        comma += some_commas;
        at = stop;
    }
    if (size) /* the last byte; what is behind the last line end is a line too */
        comma += text[size - 1] == ',';
    *lines = line + (size > 0);
    *commas = comma;
}

static void csv_size_any(const byte *text, int64_t size, int64_t *lines, int64_t *commas) {
    csv_size_body(text, size, lines, commas);
}

#if CPU_X86
AVX2 static void csv_size_avx2(const byte *text, int64_t size, int64_t *lines, int64_t *commas) {
    csv_size_body(text, size, lines, commas);
}
#endif

static inline void csv_size_of(const byte *text, int64_t size, int64_t *lines, int64_t *commas) {
#if CPU_X86
    if (cpu_avx2) {
        csv_size_avx2(text, size, lines, commas);
        return;
    }
#endif
    csv_size_any(text, size, lines, commas);
}

/* Cells of one row: spans[place[column]] = start and stop of the text inside quotes, for columns with a place >= 0.
 * A cell that is missing is empty. A quoted cell with quotes or anything else besides gets stop -1. */
static void csv_cells_of(const byte *text, int64_t at, int64_t size, const int32_t *place, int64_t columns,
                         int64_t (*spans)[2]) {
    int more = 1;
    for (int64_t column = 0; column < columns; column++) {
        int64_t start = at, stop;
        if (!more) {
            stop = start;
        } else if (at < size && text[at] == '"') {
            const byte *quote = memchr(text + at + 1, '"', (size_t)(size - at - 1));
            start = at + 1;
            stop = quote ? quote - text : -1;
            at = quote ? stop + 1 : size;
            while (at < size && text[at] != ',' && !csv_ends_line(text[at])) {
                stop = -1;
                at++;
                if (text[at - 1] == '"') { /* doubled: inside again */
                    quote = at < size ? memchr(text + at, '"', (size_t)(size - at)) : NULL;
                    at = quote ? quote - text + 1 : size;
                } else {
                    while (at < size && text[at] != ',' && !csv_ends_line(text[at]))
                        at++;
                }
            }
        } else {
            while (at < size && text[at] != ',' && !csv_ends_line(text[at]))
                at++;
            stop = at;
        }
        more = more && at < size && text[at] == ',';
        at += more;
        if (place[column] >= 0) {
            spans[place[column]][0] = start;
            spans[place[column]][1] = stop;
        }
    }
}

/* Powers that a double, and 64 bits, hold exactly. */
static const double csv_ten[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
enum { CSV_MOST_DIGITS = 19, CSV_MOST_EXPONENT = 27 /* 5^27 < 2^64 */, CSV_EXACT_EXPONENT = 22 };

/* digits * 10^exponent, correctly rounded. 10^e is 5^e * 2^e, and the power of two is exact; a product with 5^e is
 * exact in 128 bits, and a quotient is taken to 64 bits and a note whether something is left. */
static double csv_scaled(uint64_t digits, int exponent) {
    int size = exponent < 0 ? -exponent : exponent;
    if (digits <= (uint64_t)1 << 53 && size <= CSV_EXACT_EXPONENT) /* one correctly rounded operation */
        return exponent < 0 ? (double)digits / csv_ten[size] : (double)digits * csv_ten[size];
    uint64_t five = 1;
    for (int i = 0; i < size; i++)
        five *= 5;
    unsigned __int128 wide;
    int twos = exponent;
    uint64_t left = 0;
    if (exponent < 0) {
        int up = __builtin_clzll(digits);
        unsigned __int128 top = (unsigned __int128)(digits << up) << 63;
        wide = top / five;
        left = wide * five != top;
        twos -= up + 63;
    } else {
        wide = (unsigned __int128)digits * five;
    }
    uint64_t high = (uint64_t)(wide >> 64);
    if (high || (uint64_t)wide >> 62) { /* keep 62 bits: a double takes 53, the rest decides how to round */
        int down = high ? 66 - __builtin_clzll(high) : 2;
        left |= (wide & (((unsigned __int128)1 << down) - 1)) != 0;
        wide >>= down;
        twos += down;
    }
    return ldexp((double)((uint64_t)wide | left), twos);
}

/* Sign, digits, point, digits, exponent: the double that is nearest, as pandas reads since 3.1 (before, some numbers of
 * more than 15 digits were one unit in the last place off). */
static int csv_number(const byte *at, const byte *stop, double *value) {
    int negative = at < stop && *at == '-', some = 0, size = 0, decimals = 0, whole = 1, exponent = 0;
    uint64_t digits = 0;
    if (at < stop && (*at == '-' || *at == '+'))
        at++;
    for (; at < stop && size <= CSV_MOST_DIGITS; at++) {
        if (*at == '.' && whole) {
            whole = 0;
            continue;
        }
        if (*at < '0' || *at > '9')
            break;
        digits = digits * 10 + (uint64_t)(*at - '0');
        size += digits != 0;
        some = 1;
        decimals += !whole;
        if (decimals > CSV_MOST_EXPONENT)
            return 0;
    }
    if (!some || size > CSV_MOST_DIGITS)
        return 0;
    if (at < stop && (*at == 'e' || *at == 'E')) {
        int minus = 0, first = 1;
        whole = 0;
        if (++at < stop && (*at == '-' || *at == '+'))
            minus = *at++ == '-';
        for (; at < stop && *at >= '0' && *at <= '9' && exponent < 100; at++, first = 0)
            exponent = exponent * 10 + (*at - '0');
        if (first)
            return 0;
        exponent = minus ? -exponent : exponent;
    }
    exponent -= decimals;
    if (at != stop || exponent > CSV_MOST_EXPONENT || exponent < -CSV_MOST_EXPONENT)
        return 0;
    *value = digits ? csv_scaled(digits, exponent) : 0;
    if (negative && !(whole && !digits)) /* the whole number -0 is 0 */
        *value = -*value;
    return 1;
}

/* A whole number of at most 18 digits. */
static int csv_whole(const byte *at, const byte *stop, int64_t *value) {
    int negative = at < stop && *at == '-';
    int64_t number = 0;
    if (at < stop && (*at == '-' || *at == '+'))
        at++;
    if (at == stop || stop - at > 18)
        return 0;
    for (; at < stop; at++) {
        if (*at < '0' || *at > '9')
            return 0;
        number = number * 10 + (*at - '0');
    }
    *value = negative ? -number : number;
    return 1;
}

static inline int csv_two(const byte *at) {
    return at[0] >= '0' && at[0] <= '9' && at[1] >= '0' && at[1] <= '9' ? (at[0] - '0') * 10 + at[1] - '0' : -1;
}

/* Days since 1970-01-01 of a date of the Gregorian calendar: H. Hinnant, "chrono-Compatible Low-Level Date
 * Algorithms", days_from_civil; years from 0 on. */
static inline int64_t csv_days(int64_t year, int64_t month, int64_t day) {
    year -= month <= 2;
    int64_t era = year / 400, of_era = year - era * 400;
    int64_t of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

enum { CSV_NEITHER = 0, CSV_WHOLE = 1, CSV_DATE = 2, CSV_MINUTE = 3, CSV_SECOND = 4 };

/* YYYY-MM-DD, alone or with a blank or T and HH:MM or HH:MM:SS, of the years that nanoseconds reach from 1970
 * (pandas 2 knows no others). Gives seconds since 1970 and how it is written. */
static int csv_time(const byte *at, const byte *stop, int64_t *seconds) {
    static const int length[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int64_t size = stop - at;
    if ((size != 10 && size != 16 && size != 19) || at[4] != '-' || at[7] != '-')
        return CSV_NEITHER;
    int century = csv_two(at), years = csv_two(at + 2), month = csv_two(at + 5), day = csv_two(at + 8);
    int year = century * 100 + years, leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    if (century < 0 || years < 0 || year < 1678 || year > 2261 || month < 1 || month > 12 || day < 1 ||
        day > length[month - 1] + (leap && month == 2))
        return CSV_NEITHER;
    *seconds = csv_days(year, month, day) * 86400;
    if (size == 10)
        return CSV_DATE;
    int hour = csv_two(at + 11), minute = csv_two(at + 14), second = size == 19 ? csv_two(at + 17) : 0;
    if ((at[10] != ' ' && at[10] != 'T') || at[13] != ':' || (size == 19 && at[16] != ':') || hour < 0 || hour > 23 ||
        minute < 0 || minute > 59 || second < 0 || second > 59)
        return CSV_NEITHER;
    *seconds += hour * 3600 + minute * 60 + second;
    return size == 16 ? CSV_MINUTE : CSV_SECOND;
}

#endif
