/* Any bytes as a CSV: both scans agree, every place is inside the text, and nothing is undefined. */
#include <stdio.h>
#include <stdlib.h>

#include "csvtext.h"

enum { KEEP = 64, COLUMNS = 16 };

static void need(int holds, const char *what) {
    if (!holds) {
        fprintf(stderr, "does not hold: %s\n", what);
        abort();
    }
}

static void check_cells(const byte *text, int64_t size, int64_t at) {
    int32_t place[COLUMNS];
    int64_t spans[COLUMNS][2];
    for (int i = 0; i < COLUMNS; i++)
        place[i] = i;
    csv_cells_of(text, at, size, place, COLUMNS, spans);
    for (int i = 0; i < COLUMNS; i++) {
        double number;
        int64_t whole;
        if (spans[i][1] < 0)
            continue;
        need(spans[i][0] <= spans[i][1] && spans[i][1] <= size, "a cell is inside the text");
        csv_number(text + spans[i][0], text + spans[i][1], &number);
        csv_whole(text + spans[i][0], text + spans[i][1], &whole);
        csv_time(text + spans[i][0], text + spans[i][1], &whole);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length) {
    int64_t starts[KEEP], lines, commas, size = (int64_t)length;
    byte *text = malloc(length ? length : 1); /* of exactly this size: a step too far is found */
    memcpy(text, data, length);
    csv_size_of(text, size, &lines, &commas);
    csv_outline found = csv_rows_of(text, size, starts, KEEP);
    need(found.rows >= 0 && found.rows <= lines, "no more rows than lines");
    need(found.names <= commas + 1, "no more names than commas");
    int64_t kept = found.rows < KEEP ? found.rows : KEEP;
    for (int64_t i = 0; i < kept && !found.crowded; i++) {
        need(starts[i] >= 0 && starts[i] < size && (!i || starts[i] > starts[i - 1]), "rows are in order");
        check_cells(text, size, starts[i]);
    }
    csv_outline other = {.starts = starts, .keep = KEEP};
    csv_scan_any(text, size >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0, size, &other);
    need(other.rows == found.rows && other.names == found.names && other.columns == found.columns &&
             other.crowded == found.crowded && other.open_quote == found.open_quote,
         "both scans see the same");
    free(text);
    return 0;
}
