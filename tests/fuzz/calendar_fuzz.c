/* Any second of the years 1 to 9999: the calendar of the C library; and any numbers standardised stay in their row. */
#include <time.h>

#include "need.h"

#include "series.h"

static const int64_t earliest = -62135596800, latest = 253402300799; /* as series.pyx has them */

static void calendar(input *in) {
    uint64_t bits = 0;
    for (int i = 0; i < 8; i++)
        bits = bits << 8 | next_byte(in);
    int64_t seconds = earliest + (int64_t)(bits % (uint64_t)(latest - earliest + 1));
    series_moment found = series_moment_of(seconds);
    time_t moment = seconds;
    struct tm right;
    char week[8];
    need(gmtime_r(&moment, &right) != NULL, "the C library knows it");
    strftime(week, sizeof week, "%V", &right);
    need(found.minute == right.tm_min && found.hour == right.tm_hour, "the time of day");
    need(found.day == right.tm_mday && found.month == right.tm_mon + 1, "the date");
    need(found.weekday == (right.tm_wday + 6) % 7 && found.of_year == right.tm_yday + 1, "the day");
    need(found.week == atoi(week), "the week");
    for (int all = 0; all <= 1; all++) {
        float *out = malloc(sizeof *out * (all ? 7 : 4)); /* of exactly this size */
        series_features(seconds, all, out);
        for (int i = 0; i < (all ? 7 : 4); i++)
            need(out[i] >= -0.5F && out[i] <= 0.6F, "a feature is small");
        free(out);
    }
}

static void standardized(input *in) {
    int64_t columns = next_in(in, 1, 40);
    size_t size = (size_t)columns;
    double *row = next_bytes(in, sizeof *row * size), *mean = next_bytes(in, sizeof *mean * size);
    double *scale = next_bytes(in, sizeof *scale * size);
    float *out = malloc(sizeof *out * size);
    for (size_t i = 0; i < size; i++)
        scale[i] = scale[i] == 0 ? 1 : scale[i]; /* scalers.py refuses zeros */
    series_standardize(row, mean, scale, out, columns);
    for (size_t i = 0; i < size; i++)
        need(out[i] == (float)row[i] || row[i] != row[i], "rounded");
    free(out);
    free(scale);
    free(mean);
    free(row);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length) {
    input in = {data, data + length};
    while (in.at < in.end)
        if (next_byte(&in) & 1)
            calendar(&in);
        else
            standardized(&in);
    return 0;
}
