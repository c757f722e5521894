#include "gateway/power_idle.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MIN_BINS = 3 };

void power_idle_init(struct power_idle *idle, double given_w, double given_sd_w, double bin_s) {
    *idle = (struct power_idle){.is_given = isfinite(given_w),
                                .given_w = given_w,
                                .given_sd_w = isfinite(given_sd_w) ? given_sd_w : 0,
                                .bin_s = bin_s,
                                .level_w = (double)NAN,
                                .level_sd_w = (double)NAN};
}

void power_idle_break(struct power_idle *idle) {
    idle->energy_j = idle->seconds = 0;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, size_t n) {
    qsort(values, n, sizeof *values, by_value);
    return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

// Asked for at each border of a request, while a bin is full once a second: so it is found then.
static void find_level(struct power_idle *idle) {
    // Of a normal distribution: sd = 1.4826 MAD, standard error of the median = 1.2533 sd /
    // sqrt(n).
    static const double MAD_TO_SD = 1.4826, MEDIAN_ERROR = 1.2533;
    double values[POWER_IDLE_BINS];
    if (idle->n < MIN_BINS) {
        return;
    }
    memcpy(values, idle->watts, idle->n * sizeof *values);
    idle->level_w = median(values, idle->n);
    for (size_t i = 0; i < idle->n; i++) {
        values[i] = fabs(idle->watts[i] - idle->level_w);
    }
    idle->level_sd_w = MEDIAN_ERROR * MAD_TO_SD * median(values, idle->n) / sqrt((double)idle->n);
}

void power_idle_add(struct power_idle *idle, double energy_j, double seconds) {
    idle->energy_j += energy_j;
    idle->seconds += seconds;
    if (idle->seconds >= idle->bin_s) {
        idle->watts[idle->at] = idle->energy_j / idle->seconds;
        idle->at = (idle->at + 1) % POWER_IDLE_BINS;
        idle->n += idle->n < POWER_IDLE_BINS;
        find_level(idle);
        power_idle_break(idle);
    }
}

void power_idle_level(const struct power_idle *idle, double *watts, double *sd_w) {
    *watts = idle->is_given ? idle->given_w : idle->level_w;
    *sd_w = idle->is_given ? idle->given_sd_w : idle->level_sd_w;
}
