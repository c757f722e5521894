// How long the result, the original and the rivals take for a token, all of them in turns.
#include <math.h>
#include <stdlib.h>

#include "base/json.h"
#include "compressor/costs_time.h"
#include "compressor/job_state.h"
#include "compressor/quantile.h"
#include "os/clock.h"

enum { N_PROMPT = 128, N_DECODE = 32, MAX_ROUNDS = 7, MIN_ROUNDS = 3 };
enum { ORIGINAL, MADE, FIRST_RIVAL }; // places in the list of files
static const double ENOUGH_S = 60;    // after which no further round is begun

struct timing {
    struct job *job;
    json_t *rivals;           // of the result
    size_t n;                 // files: the original, the result, the rivals
    struct costs_time *times; // [n][MAX_ROUNDS]
    uint32_t n_rounds;
    struct costs_work work;
    struct text_watch watch;
};

static const char *path_of(const struct timing *t, size_t i) {
    return i == ORIGINAL ? t->job->path
           : i == MADE   ? t->job->made.path
                       : wl_json_opt_string(json_array_get(t->rivals, i - FIRST_RIVAL), "path", "");
}

// A model of the user's own may be of a kind that does not load: it has no times.
static bool may_fail(const struct timing *t, size_t i, enum wl_status status) {
    return i >= FIRST_RIVAL && (status == WL_INPUT || status == WL_UNSUPPORTED) &&
           wl_json_opt_bool(json_array_get(t->rivals, i - FIRST_RIVAL), "is_file", false);
}

static enum wl_status time_file(struct timing *t, size_t i, struct wl_err *err) {
    struct costs_time *time = &t->times[i * MAX_ROUNDS + t->n_rounds];
    enum wl_status status = costs_time(path_of(t, i), &t->work, &t->watch, time, err);
    if (may_fail(t, i, status)) {
        *time = (struct costs_time){NAN, NAN};
        status = WL_OK;
    }
    return status;
}

// Forwards and backwards in turn, so that none is always behind the same other one.
static enum wl_status time_round(struct timing *t, struct wl_err *err) {
    enum wl_status status = WL_OK;
    for (size_t k = 0; k < t->n && status == WL_OK; k++) {
        size_t i = t->n_rounds % 2 == 0 ? k : t->n - 1 - k;
        size_t n_done = t->n_rounds * t->n + k;
        t->watch.share_done = (double)n_done / (double)(MAX_ROUNDS * t->n);
        status = time_file(t, i, err);
    }
    t->n_rounds += status == WL_OK;
    return status;
}

static enum wl_status time_rounds(struct timing *t, struct wl_err *err) {
    int64_t begin_ns = os_now_ns();
    enum wl_status status = WL_OK;
    while (status == WL_OK && t->n_rounds < MAX_ROUNDS) {
        double seconds = (double)(os_now_ns() - begin_ns) * 1e-9;
        if (t->n_rounds >= MIN_ROUNDS && seconds > ENOUGH_S) {
            break;
        }
        status = time_round(t, err);
    }
    return status;
}

// ---- as JSON ----

static json_t *spread_json(double *values, size_t n) {
    double median = quantile_in_place(values, n, 0.5); // sorted now
    return json_pack("{s:o, s:o, s:o}", "median", wl_json_real(median), "low",
                     wl_json_real(values[0]), "high", wl_json_real(values[n - 1]));
}

static double seconds_of(const struct costs_time *time, bool is_prompt) {
    return is_prompt ? time->prompt_s : time->decode_s;
}

static json_t *ms_json(const struct timing *t, size_t i, bool is_prompt) {
    double ms[MAX_ROUNDS];
    for (uint32_t r = 0; r < t->n_rounds; r++) {
        ms[r] = 1e3 * seconds_of(&t->times[i * MAX_ROUNDS + r], is_prompt);
    }
    return spread_json(ms, t->n_rounds);
}

// Of throughput, against the original in the same round.
static json_t *ratio_json(const struct timing *t, size_t i, bool is_prompt) {
    double ratio[MAX_ROUNDS];
    for (uint32_t r = 0; r < t->n_rounds; r++) {
        ratio[r] = seconds_of(&t->times[ORIGINAL * MAX_ROUNDS + r], is_prompt) /
                   seconds_of(&t->times[i * MAX_ROUNDS + r], is_prompt);
    }
    return spread_json(ratio, t->n_rounds);
}

static json_t *speed_json(const struct timing *t, size_t i) {
    if (isnan(t->times[i * MAX_ROUNDS].decode_s)) {
        return json_null();
    }
    return json_pack("{s:I, s:I, s:I, s:o, s:o, s:o, s:o}", "n", (json_int_t)t->n_rounds,
                     "n_prompt", (json_int_t)t->work.n_prompt, "n_decode",
                     (json_int_t)t->work.n_decode, "prompt_ms", ms_json(t, i, true), "decode_ms",
                     ms_json(t, i, false), "prompt_ratio", ratio_json(t, i, true), "decode_ratio",
                     ratio_json(t, i, false));
}

static void tell(const struct timing *t) {
    json_object_set_new(t->job->result, "speed_original", speed_json(t, ORIGINAL));
    json_object_set_new(t->job->result, "speed", speed_json(t, MADE));
    for (size_t i = FIRST_RIVAL; i < t->n; i++) {
        json_object_set_new(json_array_get(t->rivals, i - FIRST_RIVAL), "speed", speed_json(t, i));
    }
}

// ---- all of it ----

static uint32_t at_most(uint32_t n, uint32_t n_ctx) {
    return n_ctx > 0 && n > n_ctx / 2 ? n_ctx / 2 : n;
}

enum wl_status job_speed(struct job *job, struct wl_err *err) {
    uint32_t n_ctx = job->source.n_ctx_train;
    json_t *rivals = json_object_get(job->result, "rivals");
    struct timing t = {.job = job,
                       .rivals = rivals,
                       .n = FIRST_RIVAL + json_array_size(rivals),
                       .work = {.n_prompt = at_most(N_PROMPT, n_ctx),
                                .n_decode = at_most(N_DECODE, n_ctx),
                                .threads = (int32_t)wl_json_opt_i64(job->request, "threads", 0)},
                       .watch = {.go_on = job_go_on, .context = job}};
    t.times = calloc(t.n * MAX_ROUNDS, sizeof *t.times);
    if (!t.times) {
        return wl_err_set(err, WL_MEMORY, "no memory for the times of %zu files", t.n);
    }
    enum wl_status status = time_rounds(&t, err);
    if (status == WL_OK) {
        tell(&t);
    }
    free(t.times);
    return status;
}
