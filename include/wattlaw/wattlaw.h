/*
 * libwattlaw: energy meters, windows, areas under curves, counters and laws of cost, in C.
 *
 *     struct wattlaw_error error;
 *     struct wattlaw_meter *meter = NULL;
 *     struct wattlaw_window *window = NULL;
 *     struct wattlaw_energy energy = {.size = sizeof energy};
 *     if (wattlaw_meter_open("auto", NULL, &meter, &error) == WATTLAW_OK &&
 *         wattlaw_window_start(meter, &window, &error) == WATTLAW_OK) {
 *         work();
 *         if (wattlaw_window_stop(window, &energy, &error) == WATTLAW_OK) {
 *             printf("%g J, 95 %% between %g and %g\n", energy.joules, energy.low_j,
 * energy.high_j);
 *         }
 *     }
 *     wattlaw_meter_close(meter);
 *
 * UNSTABLE: until version 1.0 anything here may change. Structs that begin with `size` are filled
 * by the caller with sizeof the struct, so that they can grow; output beyond that size is not
 * written. Functions that can fail return a status, 0 being success, and write a message to `error`
 * (which may be NULL). *_free and *_close take NULL. The library prints nothing, never exits and
 * keeps no global state; it starts a thread only to read a meter while a window is open (unless
 * `polls_itself`) and for meters that are slow to answer. One object must not be used by two
 * threads at once. Times are nanoseconds of CLOCK_MONOTONIC.
 */
#ifndef WATTLAW_WATTLAW_H
#define WATTLAW_WATTLAW_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__) && __GNUC__ >= 4
#define WATTLAW_API __attribute__((visibility("default")))
#else
#define WATTLAW_API
#endif

#define WATTLAW_VERSION_MAJOR 0
#define WATTLAW_VERSION_MINOR 1
#define WATTLAW_VERSION_PATCH 0

/* "0.1.0", of the library that runs, not of this header. */
WATTLAW_API const char *wattlaw_version(void);

enum wattlaw_status {
    WATTLAW_OK = 0,
    WATTLAW_FAILED = 1,
    WATTLAW_UNTRUSTED = 3,
    WATTLAW_INTERRUPTED = 5,
    WATTLAW_INPUT = 6,     /* an argument or data from outside is wrong */
    WATTLAW_NOT_FOUND = 7, /* no such meter; no samples for the window */
    WATTLAW_PERMISSION = 8,
    WATTLAW_UNSUPPORTED = 9,
    WATTLAW_LIMIT = 10,
    WATTLAW_IO = 11,
    WATTLAW_TIMEOUT = 12,
    WATTLAW_BUSY = 15,
    WATTLAW_MEMORY = 16
};
/* "ok", "bad-input", ...; "unknown" for a number outside the list. */
WATTLAW_API const char *wattlaw_status_name(enum wattlaw_status status);

struct wattlaw_error {
    enum wattlaw_status status;
    char message[768]; /* what, where, expected, found; lower case, no full stop */
};

WATTLAW_API int64_t wattlaw_now_ns(void);
/* Frees text that this library returned. */
WATTLAW_API void wattlaw_free(void *text);

/* ---- Areas under curves ---------------------------------------------------------------------- */

struct wattlaw_sample {
    int64_t t_ns;
    double value;
};

struct wattlaw_area_options {
    size_t size;
    double baseline;           /* subtracted from every value; samples are not clamped to it */
    int64_t nominal_period_ns; /* 0: the median interval of the samples */
};

struct wattlaw_area {
    size_t size;
    double area_value_s; /* unit of the values times seconds: J for watts, %s for CPU % */
    double mean;         /* of the value itself */
    double peak;
    double coverage; /* 0..1: share of the window outside gaps (more than 3 nominal periods) */
    uint64_t n_samples;
    uint64_t n_gaps;
    int64_t max_gap_ns;
    double error_bound; /* never exceeded by a signal that is monotone between its samples */
    double error_sd;    /* steps at unknown times */
};

/* Trapezoid over [t0_ns, t1_ns], edges interpolated. `options` may be NULL. */
WATTLAW_API enum wattlaw_status wattlaw_area(const struct wattlaw_sample *samples, size_t n,
                                             int64_t t0_ns, int64_t t1_ns,
                                             const struct wattlaw_area_options *options,
                                             struct wattlaw_area *out, struct wattlaw_error *error);

/* ---- Counters that wrap and reset ------------------------------------------------------------ */

struct wattlaw_counter;

struct wattlaw_counter_options {
    size_t size;
    uint64_t range;           /* what a wrap adds; 0: it never wraps */
    double max_rate_per_s;    /* more than this was a reset; 0: no cap */
    int64_t update_period_ns; /* the device refreshes it this often; 0: at every read */
    double quantum;           /* smallest step; 0: 1 */
    uint64_t max_readings;    /* kept for windows; 0: 100000 */
};

struct wattlaw_delta {
    size_t size;
    double delta; /* counter units */
    double mean_rate_per_s;
    double coverage; /* 0..1: share of the window outside resets */
    double sd;
    double error_bound;
    uint64_t n_readings;
};

WATTLAW_API enum wattlaw_status wattlaw_counter_new(const struct wattlaw_counter_options *options,
                                                    struct wattlaw_counter **out,
                                                    struct wattlaw_error *error);
WATTLAW_API enum wattlaw_status wattlaw_counter_feed(struct wattlaw_counter *counter, uint64_t raw,
                                                     int64_t t_ns, struct wattlaw_error *error);
WATTLAW_API uint64_t wattlaw_counter_total(const struct wattlaw_counter *counter);
WATTLAW_API uint32_t wattlaw_counter_wraps(const struct wattlaw_counter *counter);
WATTLAW_API uint32_t wattlaw_counter_resets(const struct wattlaw_counter *counter);
WATTLAW_API enum wattlaw_status wattlaw_counter_window(const struct wattlaw_counter *counter,
                                                       int64_t t0_ns, int64_t t1_ns,
                                                       struct wattlaw_delta *out,
                                                       struct wattlaw_error *error);
WATTLAW_API void wattlaw_counter_free(struct wattlaw_counter *counter);
/* The longest pause between readings that still reads twice per wrap. */
WATTLAW_API int64_t wattlaw_counter_max_poll_ns(uint64_t range, double max_rate_per_s);

/* ---- Laws: cost = a + b*prompt + c*generated (+ q*prompt^2) (+ x*prompt*generated) ------------
 */

struct wattlaw_law;

struct wattlaw_law_point {
    double prompt_tokens;
    double generated_tokens;
    double cost; /* in any unit */
};

enum wattlaw_law_term {
    WATTLAW_LAW_FIXED = 0,
    WATTLAW_LAW_PROMPT = 1,
    WATTLAW_LAW_GENERATED = 2,
    WATTLAW_LAW_QUADRATIC = 3,
    WATTLAW_LAW_INTERACTION = 4
};

struct wattlaw_coefficient {
    size_t size;
    int is_used; /* 0: left out, because it does not vary or does not matter; value is 0 */
    double value;
    double low; /* 95 % interval */
    double high;
};

struct wattlaw_law_quality {
    size_t size;
    uint64_t n;
    uint64_t n_outliers; /* counted here, left out of the fit */
    double r2;
    double residual_sd;
    double mean_abs_pct_error; /* at lengths left out of the fit in turn; NaN with fewer than 4 */
    double p_quadratic;        /* p-values; NaN when it could not be tested */
    double p_interaction;
    double p_lack_of_fit;
};

struct wattlaw_prediction {
    size_t size;
    double value;
    double mean_low; /* 95 % interval of the mean cost */
    double mean_high;
    double run_low; /* 95 % prediction interval of one run */
    double run_high;
    int is_extrapolated;
};

struct wattlaw_ratio {
    size_t size;
    double value; /* cost under `changed` over cost under `base` */
    double low;   /* 95 % interval; NaN when base is not clearly above 0 */
    double high;
    double p_equal;
};

/* Robust weighted least squares; noise that grows with the cost is expected. */
WATTLAW_API enum wattlaw_status wattlaw_law_fit(const struct wattlaw_law_point *points, size_t n,
                                                struct wattlaw_law **out,
                                                struct wattlaw_error *error);
WATTLAW_API enum wattlaw_status wattlaw_law_coefficient(const struct wattlaw_law *law,
                                                        enum wattlaw_law_term term,
                                                        struct wattlaw_coefficient *out,
                                                        struct wattlaw_error *error);
WATTLAW_API enum wattlaw_status wattlaw_law_quality(const struct wattlaw_law *law,
                                                    struct wattlaw_law_quality *out,
                                                    struct wattlaw_error *error);
WATTLAW_API enum wattlaw_status wattlaw_law_predict(const struct wattlaw_law *law,
                                                    double prompt_tokens, double generated_tokens,
                                                    struct wattlaw_prediction *out,
                                                    struct wattlaw_error *error);
WATTLAW_API enum wattlaw_status wattlaw_law_compare(const struct wattlaw_law *base,
                                                    const struct wattlaw_law *changed,
                                                    double prompt_tokens, double generated_tokens,
                                                    struct wattlaw_ratio *out,
                                                    struct wattlaw_error *error);
/* JSON text, as the reports contain it; wattlaw_free(*text). */
WATTLAW_API enum wattlaw_status wattlaw_law_to_json(const struct wattlaw_law *law, char **text,
                                                    struct wattlaw_error *error);
WATTLAW_API enum wattlaw_status wattlaw_law_from_json(const char *text, size_t len,
                                                      struct wattlaw_law **out,
                                                      struct wattlaw_error *error);
WATTLAW_API void wattlaw_law_free(struct wattlaw_law *law);

/* ---- Energy meters --------------------------------------------------------------------------- */

struct wattlaw_meter;
struct wattlaw_window;

struct wattlaw_meter_entry {
    size_t size; /* of the first entry; all entries are taken to have it */
    char name[32];
    char title[96];
    int is_available;
    char label[16];   /* "measured", "calibrated", "estimated" */
    char scope[8];    /* "cpu", "soc", "board", "wall": what the joules include */
    char reason[384]; /* why it can or cannot be used */
    char fix[1024];   /* commands that would make it usable, or "" */
};

struct wattlaw_meter_options {
    size_t size;
    const char *root; /* in front of /proc and /sys; NULL: the machine itself */
    int32_t pid;      /* whose CPU time an estimate counts; 0: the whole machine */
    int32_t
        polls_itself; /* 1: you call wattlaw_meter_read; 0: a thread does between start and stop */
};

struct wattlaw_energy {
    size_t size;
    double joules; /* gross: everything in the window */
    double low_j;  /* 95 % interval, the source's gain error included */
    double high_j;
    double mean_w;
    double seconds;
    double coverage; /* 0..1: share of the window that was observed */
    int is_resolved; /* 0: the interval is wider than the value; do not print the value */
    int has_reset;   /* 1: a counter was reset in the window; not usable */
    char label[16];
    char scope[8];
};

/* Best source first. Writes at most max_entries; *n is how many there are. */
WATTLAW_API enum wattlaw_status wattlaw_meter_list(const struct wattlaw_meter_options *options,
                                                   struct wattlaw_meter_entry *entries,
                                                   size_t max_entries, size_t *n,
                                                   struct wattlaw_error *error);
/* A listed name, or "auto" for the best available source. `options` may be NULL. */
WATTLAW_API enum wattlaw_status wattlaw_meter_open(const char *name,
                                                   const struct wattlaw_meter_options *options,
                                                   struct wattlaw_meter **out,
                                                   struct wattlaw_error *error);
/* Takes one reading. Only needed with `polls_itself`: then call this between the start and the stop
 * of a window at least every wattlaw_meter_max_poll_ns(), because a counter must not wrap unseen
 * and a power gauge must be sampled. */
WATTLAW_API enum wattlaw_status wattlaw_meter_read(struct wattlaw_meter *meter,
                                                   struct wattlaw_error *error);
WATTLAW_API int64_t wattlaw_meter_max_poll_ns(const struct wattlaw_meter *meter);
/* All windows of a meter must have been stopped before. */
WATTLAW_API void wattlaw_meter_close(struct wattlaw_meter *meter);

/* Both take a reading at the edge. Stopping frees the window, also when it fails. For a source
 * whose value comes late, stopping waits for it (at most 10 s). */
WATTLAW_API enum wattlaw_status wattlaw_window_start(struct wattlaw_meter *meter,
                                                     struct wattlaw_window **out,
                                                     struct wattlaw_error *error);
WATTLAW_API enum wattlaw_status wattlaw_window_stop(struct wattlaw_window *window,
                                                    struct wattlaw_energy *out,
                                                    struct wattlaw_error *error);

#ifdef __cplusplus
}
#endif

#endif
