/* Numbers of a time series: standardised windows, and what calendars say about times. */
#ifndef KERNELS_SERIES_H
#define KERNELS_SERIES_H

#include <stdint.h>

/* (x - mean) / scale of one row, in double as scikit-learn does, kept in double and rounded to float. */
static inline void series_standardize(double *row, const double *mean, const double *scale, float *out,
                                      int64_t columns) {
    for (int64_t i = 0; i < columns; i++) {
        row[i] = (row[i] - mean[i]) / scale[i];
        out[i] = (float)row[i];
    }
}

static inline int64_t series_floor(int64_t value, int64_t by) { return value / by - (value % by < 0); }

typedef struct {
    int64_t minute, hour, day, weekday, of_year, month, week; /* weekday 0 is Monday; day, month, week from 1 */
} series_moment;

static inline int series_leap(int64_t year) { return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0; }

/* ISO 8601 weeks of a year: 53 when it begins on a Thursday, or on a Wednesday and is leap. `first` is the weekday
 * of January 1st. */
static inline int64_t series_weeks(int64_t first, int leap) { return first == 3 || (first == 2 && leap) ? 53 : 52; }

/* H. Hinnant, "chrono-Compatible Low-Level Date Algorithms", civil_from_days. */
static inline series_moment series_moment_of(int64_t seconds) {
    static const int before[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
    int64_t days = series_floor(seconds, 86400), of_day = seconds - days * 86400;
    int64_t shifted = days + 719468, era = series_floor(shifted, 146097), of_era = shifted - era * 146097;
    int64_t years = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    int64_t from_march = of_era - (365 * years + years / 4 - years / 100), month = (5 * from_march + 2) / 153;
    series_moment made = {.minute = of_day / 60 % 60, .hour = of_day / 3600};
    made.day = from_march - (153 * month + 2) / 5 + 1;
    made.month = month < 10 ? month + 3 : month - 9;
    int64_t year = years + era * 400 + (made.month <= 2);
    int leap = series_leap(year);
    made.of_year = before[made.month - 1] + made.day + (leap && made.month > 2);
    made.weekday = days + 3 - series_floor(days + 3, 7) * 7; /* 1970-01-01 was a Thursday */
    int64_t first = made.weekday - (made.of_year - 1) % 7;
    first += first < 0 ? 7 : 0;
    made.week = (made.of_year - 1 - made.weekday + 10) / 7;
    if (made.week < 1) {
        int before_leap = series_leap(year - 1);
        int64_t before_first = ((first - 365 - before_leap) % 7 + 7) % 7;
        made.week = series_weeks(before_first, before_leap);
    } else if (made.week > series_weeks(first, leap)) {
        made.week = 1;
    }
    return made;
}

/* Calendar features of PaddleX, each between -0.5 and about 0.5: hour, day, weekday, day of the year; with `all`
 * minute in front, and month and week behind. */
static inline void series_features(int64_t seconds, int all, float *out) {
    series_moment at = series_moment_of(seconds);
    if (all)
        *out++ = (float)((double)at.minute / 59.0 - 0.5);
    *out++ = (float)((double)at.hour / 23.0 - 0.5);
    *out++ = (float)((double)at.day / 30.0 - 0.5);
    *out++ = (float)((double)at.weekday / 6.0 - 0.5);
    *out++ = (float)((double)at.of_year / 364.0 - 0.5);
    if (all) {
        *out++ = (float)((double)at.month / 11.0 - 0.5);
        *out++ = (float)((double)at.week / 51.0 - 0.5);
    }
}

#endif
