// What can be asked of calib.c, and what follows from it.
#include <inttypes.h>
#include <string.h>

#include "compressor/calib_maker.h"

static const double USUAL_SHARES[CALIB_SOURCES] = {0.5, 0.2, 0.3};

void compress_calib_defaults(struct calib_options *options) {
    *options = (struct calib_options){.n_tokens = 40960,
                                      .max_self_tokens = 12288,
                                      .held_out = 0.2,
                                      .min_length = 256,
                                      .max_length = 512,
                                      .seed = 1};
}

static enum wl_status check_sizes(const struct calib_options *o, struct wl_err *err) {
    if (o->n_tokens < CALIB_MIN_TOKENS || o->n_tokens > CALIB_MAX_TOKENS) {
        return wl_err_set(err, WL_USAGE, "calibration: expected %d to %d tokens, found %zu",
                          CALIB_MIN_TOKENS, CALIB_MAX_TOKENS, o->n_tokens);
    }
    if (!(o->held_out >= 0 && o->held_out <= 0.9)) {
        return wl_err_set(err, WL_USAGE, "calibration: expected to hold 0 to 0.9 out, found %g",
                          o->held_out);
    }
    if (o->min_length < CALIB_MIN_LENGTH || o->max_length > CALIB_MAX_LENGTH ||
        o->min_length > o->max_length) {
        return wl_err_set(err, WL_USAGE,
                          "calibration: expected sequences of %d to %d tokens, found %" PRIu32
                          " to %" PRIu32,
                          CALIB_MIN_LENGTH, CALIB_MAX_LENGTH, o->min_length, o->max_length);
    }
    return WL_OK;
}

static bool is_absent(const struct calib_options *o, int source) {
    return (source == CALIB_TEXT && !o->text_path) ||
           (source == CALIB_TASKS && o->n_task_paths == 0);
}

static enum wl_status check_shares(const struct calib_options *o, struct wl_err *err) {
    static const char *const NAMES[] = {"text", "tasks", "self"};
    for (int i = 0; i < CALIB_SOURCES; i++) {
        if (!(o->shares[i] >= 0 && o->shares[i] <= 1e6)) {
            return wl_err_set(err, WL_USAGE, "calibration: the share of %s is %g, expected 0 to 1",
                              NAMES[i], o->shares[i]);
        }
        if (o->shares[i] > 0 && is_absent(o, i)) {
            return wl_err_set(err, WL_USAGE,
                              "calibration: %s has a share of %g but no file was given", NAMES[i],
                              o->shares[i]);
        }
    }
    return WL_OK;
}

enum wl_status calib_check_options(const struct calib_options *options, struct wl_err *err) {
    enum wl_status status = check_sizes(options, err);
    return status == WL_OK ? check_shares(options, err) : status;
}

void calib_choose_shares(const struct calib_options *o, double shares[CALIB_SOURCES]) {
    double total = o->shares[0] + o->shares[1] + o->shares[2];
    memcpy(shares, total > 0 ? o->shares : USUAL_SHARES, sizeof USUAL_SHARES);
    for (int source = CALIB_TEXT; source <= CALIB_TASKS; source++) {
        if (is_absent(o, source)) {
            int other = source == CALIB_TEXT ? CALIB_TASKS : CALIB_TEXT;
            shares[is_absent(o, other) ? CALIB_SELF : other] += shares[source];
            shares[source] = 0;
        }
    }
    total = shares[0] + shares[1] + shares[2];
    for (int i = 0; i < CALIB_SOURCES; i++) {
        shares[i] /= total;
    }
}

static size_t share_of(double share, size_t n) {
    return (size_t)(share * (double)n + 0.5);
}

struct calib_budget calib_budget_of(const struct calib_maker *m, size_t n) {
    const double *shares = m->shares;
    double documents = shares[CALIB_TEXT] + shares[CALIB_TASKS];
    struct calib_budget budget = {.n = n, .n_self = share_of(shares[CALIB_SELF], n)};
    size_t most = m->options->max_self_tokens;
    if (most > 0 && documents > 0) {
        size_t limit = share_of((double)most / (double)m->options->n_tokens, n);
        budget.n_self = budget.n_self < limit ? budget.n_self : limit;
    }
    size_t n_documents = n - budget.n_self;
    budget.n_text = documents > 0 ? share_of(shares[CALIB_TEXT] / documents, n_documents) : 0;
    budget.n_text = budget.n_text > n_documents ? n_documents : budget.n_text;
    budget.n_tasks = n_documents - budget.n_text;
    return budget;
}
