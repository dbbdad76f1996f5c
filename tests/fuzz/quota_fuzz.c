/* Any sequence of calls on the shared limits: never more inside than the limit, never a place outside. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quota.h"

enum { ENTRIES = 5, PROCESSES = 3 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length) {
    quota_entry *table = calloc(ENTRIES, sizeof *table);
    uint32_t *rows = calloc(ENTRIES * PROCESSES, sizeof *rows);
    int inside[ENTRIES][PROCESSES] = {0};
    int64_t now = 0;
    for (size_t i = 0; i + 3 < length; i += 4) {
        int64_t place = quota_place(table, ENTRIES, 1 + data[i] % 9);
        int own = data[i + 1] % PROCESSES, limit = 1 + data[i + 2] % 4;
        if (place < -1 || place >= ENTRIES)
            abort();
        if (place < 0)
            continue;
        now += data[i + 3];
        switch (data[i + 1] >> 4 & 3) {
        case 0:
            if (quota_enter(rows, PROCESSES, ENTRIES, own, place, limit))
                inside[place][own]++;
            break;
        case 1:
            if (inside[place][own]) {
                quota_leave(rows, ENTRIES, own, place);
                inside[place][own]--;
            }
            break;
        case 2:
            quota_forget(rows, ENTRIES, own);
            for (int each = 0; each < ENTRIES; each++)
                inside[each][own] = 0;
            break;
        default:
            if (quota_take(&table[place], now, 1 + data[i], 1 + data[i + 2]) < 0)
                abort();
        }
        int64_t total = 0;
        for (int each = 0; each < PROCESSES; each++)
            total += inside[place][each];
        if (total != quota_inside(rows, PROCESSES, ENTRIES, place)) {
            fprintf(stderr, "counted wrongly\n");
            abort();
        }
    }
    free(table);
    free(rows);
    return 0;
}
