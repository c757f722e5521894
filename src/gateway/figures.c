#include "gateway/figures.h"

#include <math.h>
#include <string.h>

#include "base/str.h"
#include "base/units.h"

static const char *const ENDPOINTS[FIGURES_N_ENDPOINTS] = {
    "chat", "completion", "embedding", "messages", "responses", "rerank", "canary", "other"};
// From a microwatt-hour (a token of a tiny model) to a watt-hour (a long answer of a large one).
static const double WH_BOUNDS[] = {1e-6, 3e-6, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3,
                                   0.01, 0.03, 0.1,  0.3,  1,    3,    10};
static const double SECOND_BOUNDS[] = {0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1,
                                       2.5,   5,    10,    25,   50,  100,  250, 600};

void figures_init(struct figures *figures) {
    memset(figures, 0, sizeof *figures);
}

static void begin_model(struct figures_model *model, const char *name) {
    str_copy(model->name, sizeof model->name, name);
    histogram_init(&model->wh, WH_BOUNDS, sizeof WH_BOUNDS / sizeof WH_BOUNDS[0]);
    histogram_init(&model->first_s, SECOND_BOUNDS, sizeof SECOND_BOUNDS / sizeof SECOND_BOUNDS[0]);
    histogram_init(&model->total_s, SECOND_BOUNDS, sizeof SECOND_BOUNDS / sizeof SECOND_BOUNDS[0]);
}

static size_t place_of(const struct figures *figures, const char *name) {
    size_t i = 0;
    while (i < figures->n_models && i < FIGURES_MAX_MODELS &&
           strcmp(figures->models[i].name, name) != 0) {
        i++;
    }
    return i;
}

// Names come from clients: what was refused takes no place for a new one, and behind the last place
// is one for all further ones.
static struct figures_model *model_of(struct figures *figures, const char *name, bool is_refused) {
    size_t i = place_of(figures, name);
    if (i == figures->n_models && is_refused) {
        name = "";
        i = place_of(figures, name);
    }
    if (i == figures->n_models) {
        figures->n_models++;
        begin_model(&figures->models[i], i == FIGURES_MAX_MODELS ? "other" : name);
    }
    return &figures->models[i];
}

static size_t endpoint_of(const char *name) {
    size_t i = 0;
    while (i < FIGURES_N_ENDPOINTS - 1 && strcmp(ENDPOINTS[i], name) != 0) {
        i++;
    }
    return i;
}

static uint64_t count(int64_t n) {
    return n > 0 ? (uint64_t)n : 0;
}

static double joules(double value) {
    return value > 0 ? value : 0; // also for NaN: a counter must not fall
}

void figures_add(struct figures *figures, const struct ledger_row *row, double prompt_net_j,
                 size_t n_images_changed) {
    struct figures_model *model = model_of(figures, row->model, row->end == LEDGER_REFUSED);
    model->n_requests[endpoint_of(row->endpoint)][row->end]++;
    figures->n_images += count(row->n_images);
    figures->n_images_changed += n_images_changed;
    figures->pixels_in += count(row->pixels_in);
    figures->pixels_out += count(row->pixels_out);
    figures->n_turns_dropped += count(row->n_turns_dropped);
    if (row->end == LEDGER_REFUSED) {
        return;
    }
    model->prompt_tokens += count(row->prompt_tokens);
    model->cached_tokens += count(row->cached_tokens);
    model->completion_tokens += count(row->completion_tokens);
    histogram_add(&model->total_s, row->total_s);
    histogram_add(&model->first_s, row->first_s);
    histogram_add(&model->wh, row->gross_j / UNITS_J_PER_WH);
    double net_j = isfinite(row->net_j) ? row->net_j : row->gross_j;
    if (isnan(prompt_net_j)) {
        figures->whole_j += joules(net_j);
    } else {
        double prompt_j = fmin(joules(prompt_net_j), joules(net_j));
        figures->prompt_j += prompt_j;
        figures->answer_j += joules(net_j) - prompt_j;
    }
    figures->floor_j += joules(row->gross_j - net_j);
}

// ---- text ----

static void write_requests(const struct figures *figures, struct buf *out) {
    metric_family(out, "wattlaw_requests_total", "counter", "Requests, by how they ended.");
    for (size_t m = 0; m < figures->n_models; m++) {
        const struct figures_model *model = &figures->models[m];
        for (size_t e = 0; e < FIGURES_N_ENDPOINTS; e++) {
            for (int end = 0; end < LEDGER_N_ENDS; end++) {
                struct metric_label labels[] = {{"endpoint", ENDPOINTS[e]},
                                                {"model", model->name},
                                                {"end", ledger_end_name((enum ledger_end)end)},
                                                {NULL, NULL}};
                if (model->n_requests[e][end]) {
                    metric_sample(out, "wattlaw_requests_total", labels,
                                  (double)model->n_requests[e][end]);
                }
            }
        }
    }
}

static void write_tokens(const struct figures *figures, struct buf *out) {
    metric_family(out, "wattlaw_tokens_total", "counter",
                  "Tokens of prompts (pictures included), of them those that were not computed "
                  "again, and of answers.");
    for (size_t m = 0; m < figures->n_models; m++) {
        const struct figures_model *model = &figures->models[m];
        const uint64_t values[] = {model->prompt_tokens, model->cached_tokens,
                                   model->completion_tokens};
        static const char *const KINDS[] = {"prompt", "cached", "completion"};
        for (int i = 0; i < 3; i++) {
            struct metric_label labels[] = {
                {"kind", KINDS[i]}, {"model", model->name}, {NULL, NULL}};
            metric_sample(out, "wattlaw_tokens_total", labels, (double)values[i]);
        }
    }
}

static void write_histogram(const struct figures *figures, const char *name, const char *help,
                            size_t offset, struct buf *out) {
    metric_family(out, name, "histogram", help);
    for (size_t m = 0; m < figures->n_models; m++) {
        const struct figures_model *model = &figures->models[m];
        struct metric_label labels[] = {{"model", model->name}, {NULL, NULL}};
        metric_histogram(out, name, labels,
                         (const struct histogram *)(const void *)((const char *)model + offset));
    }
}

static void write_one(struct buf *out, const char *name, const char *help, uint64_t value) {
    metric_family(out, name, "counter", help);
    metric_sample(out, name, NULL, (double)value);
}

static void write_images(const struct figures *figures, struct buf *out) {
    metric_family(out, "wattlaw_images_total", "counter",
                  "Pictures, and whether they were shrunk.");
    struct metric_label labels[] = {{"changed", "yes"}, {NULL, NULL}};
    metric_sample(out, "wattlaw_images_total", labels, (double)figures->n_images_changed);
    labels[0].value = "no";
    metric_sample(out, "wattlaw_images_total", labels,
                  (double)(figures->n_images - figures->n_images_changed));
    metric_family(out, "wattlaw_image_pixels_total", "counter",
                  "Pixels of pictures as they came in and as they went on.");
    struct metric_label sides[] = {{"side", "in"}, {NULL, NULL}};
    metric_sample(out, "wattlaw_image_pixels_total", sides, (double)figures->pixels_in);
    sides[0].value = "out";
    metric_sample(out, "wattlaw_image_pixels_total", sides, (double)figures->pixels_out);
}

static void write_phases(const struct figures *figures, const char *source, const char *scope,
                         struct buf *out) {
    static const char *const PHASES[] = {"prompt", "answer", "whole", "floor"};
    const double values[] = {figures->prompt_j, figures->answer_j, figures->whole_j,
                             figures->floor_j};
    metric_family(out, "wattlaw_request_energy_joules_total", "counter",
                  "Energy of requests that have ended: above idle for their prompts, for their "
                  "answers, for both where they cannot be told apart, and the idle floor of all.");
    for (int i = 0; i < 4; i++) {
        struct metric_label labels[] = {
            {"phase", PHASES[i]}, {"source", source}, {"scope", scope}, {NULL, NULL}};
        metric_sample(out, "wattlaw_request_energy_joules_total", labels, values[i]);
    }
}

void figures_write(const struct figures *figures, const char *source, const char *scope,
                   struct buf *out) {
    write_requests(figures, out);
    write_tokens(figures, out);
    write_phases(figures, source, scope, out);
    write_histogram(figures, "wattlaw_request_energy_wh", "Gross energy of a request in Wh.",
                    offsetof(struct figures_model, wh), out);
    write_histogram(figures, "wattlaw_time_to_first_token_seconds",
                    "From the request to the first piece of its answer.",
                    offsetof(struct figures_model, first_s), out);
    write_histogram(figures, "wattlaw_request_seconds",
                    "From the request to the end of its answer.",
                    offsetof(struct figures_model, total_s), out);
    write_images(figures, out);
    write_one(out, "wattlaw_turns_dropped_total", "Turns that were dropped from long requests.",
              figures->n_turns_dropped);
    write_one(out, "wattlaw_unauthorized_total", "Requests without a key that is known.",
              figures->n_unauthorized);
    write_one(out, "wattlaw_too_large_total", "Requests that were too large to be read.",
              figures->n_too_large);
}
