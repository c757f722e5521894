// A made-up study for the HTML report's tests, with phases: an encoder with cells of 28 x 28 pixels
// and a limit of 256 tokens, swept under three budgets, and questions answered under four. Costs
// follow the effective pixels, so the knee is where the exact counts have it.
#ifndef WATTLAW_TESTS_REPORT_PICTURES_SAMPLE_H
#define WATTLAW_TESTS_REPORT_PICTURES_SAMPLE_H

#include "report_sample.h"

enum { PICTURES_REPEATS = 5, PICTURES_SIZES = 13, PICTURES_BUDGETS = 3 };
enum { PICTURES_GROUPS = 5, PICTURES_KINDS = 4, PICTURES_PER_KIND = 45 };
enum {
    PICTURES_WINDOWS = PICTURES_SIZES * PICTURES_BUDGETS * PICTURES_REPEATS,
    PICTURES_ANSWERS = PICTURES_GROUPS * PICTURES_KINDS * PICTURES_PER_KIND,
    PICTURES_RECORDS = SAMPLE_RECORDS + PICTURES_WINDOWS + PICTURES_ANSWERS,
    PICTURES_ITEM_BYTES = 32,
    PICTURES_JSON_BYTES = 65536,
};

static const uint32_t PICTURES_SIDES[PICTURES_SIZES][2] = {
    {84, 84},   {112, 112}, {154, 154},   {224, 224}, {302, 302}, {372, 372}, {448, 448},
    {538, 538}, {672, 672}, {1196, 1196}, {896, 896}, {896, 224}, {1120, 560}};
static const uint32_t PICTURES_BUDGET[PICTURES_BUDGETS] = {0, 121, 49};
static const uint32_t PICTURES_GROUP[PICTURES_GROUPS] = {0, 0, 121, 49, 16}; // [0] is text
static const char *const PICTURES_KIND[PICTURES_KINDS] = {"number", "count", "status", "colour"};

struct pictures_sample {
    struct record records[PICTURES_RECORDS];
    struct report_answer answers[PICTURES_ANSWERS];
    char item[PICTURES_ANSWERS][PICTURES_ITEM_BYTES];
    size_t n_records, n_answers;
    char image_tokens[PICTURES_JSON_BYTES];
};

static inline uint32_t pictures_tokens(uint32_t width, uint32_t height, uint32_t image_max_tokens) {
    const double limit = image_max_tokens ? image_max_tokens : 256, cell = 28;
    double columns = fmax(1, round(width / cell)), rows = fmax(1, round(height / cell));
    if (columns * rows > limit) {
        double shrink = sqrt(limit / (width / cell * height / cell));
        columns = fmax(1, floor(width / cell * shrink + 1e-9));
        rows = fmax(1, floor(height / cell * shrink + 1e-9));
    }
    return (uint32_t)(columns * rows);
}

static inline void pictures_phase(struct record *r, const char *name, double seconds,
                                  uint32_t n_tokens, double watts) {
    struct record_phase *phase = &r->phase[r->n_phases++];
    *phase = (struct record_phase){.t0_ns = r->t1_ns,
                                   .t1_ns = r->t1_ns + (int64_t)(seconds * 1e9),
                                   .duration_ns = (int64_t)(seconds * 1e9),
                                   .cpu_ns = (int64_t)(seconds * 3.7e9),
                                   .n_tokens = n_tokens,
                                   .gross_j = (watts + 1.6) * seconds,
                                   .net_j = watts * seconds};
    snprintf(phase->name, sizeof phase->name, "%s", name);
    r->t1_ns = phase->t1_ns;
}

// The image's part of a request that sees `tokens` image tokens.
static inline void pictures_image(struct rng *rng, double drift, uint32_t tokens, double megapixels,
                                  struct record *r) {
    const double watts = 5.2;
    double encode = drift * sample_noise(rng, 0.003 + 0.00078 * 0.784 * tokens, 0.012);
    double prefill = drift * sample_noise(rng, 0.0006 + 0.000075 * tokens, 0.02);
    pictures_phase(r, "image_decode", sample_noise(rng, 0.0008 + 0.009 * megapixels, 0.02), 0, 3);
    pictures_phase(r, "preprocess", sample_noise(rng, 0.0005 + 0.004 * megapixels, 0.02), 0, 3);
    pictures_phase(r, "vision", encode, tokens, watts);
    pictures_phase(r, "image_prefill", prefill, tokens, watts);
    r->value[METRIC_vision_s] = encode;
    r->value[METRIC_image_prefill_s] = prefill;
    r->value[METRIC_image_s] = encode + prefill;
    r->value[METRIC_image_core_s] = 3.7 * (encode + prefill);
    r->value[METRIC_image_net_j] = sample_noise(rng, watts * (encode + prefill), 0.01);
}

// One request about one picture (width 0: about text alone).
static inline void pictures_record(struct rng *rng, double speed, uint32_t width, uint32_t height,
                                   uint32_t image_max_tokens, struct record *r) {
    const double watts = 5.2;
    uint32_t tokens = width ? pictures_tokens(width, height, image_max_tokens) : 0;
    double drift = sample_noise(rng, speed, 0.008), net_j = 0;
    r->prompt_tokens = 24;
    r->generated_tokens = 16;
    r->t0_ns = r->t1_ns = (int64_t)r->seq * 20000000000;
    r->wall_ns = INT64_C(1771061160000000000) + r->t0_ns;
    if (tokens) {
        pictures_image(rng, drift, tokens, (double)width * height / 1e6, r);
        r->vision = (struct record_vision){.n_images = 1,
                                           .width = width,
                                           .height = height,
                                           .effective_pixels = (uint64_t)tokens * 784,
                                           .image_tokens = tokens,
                                           .n_views = 1,
                                           .image_max_tokens = image_max_tokens};
    }
    pictures_phase(r, "prefill", drift * sample_noise(rng, 0.006, 0.02), 24, watts);
    pictures_phase(r, "decode", drift * sample_noise(rng, 0.021, 0.02), 15, watts);
    for (uint32_t i = 0; i < r->n_phases; i++) {
        net_j += r->phase[i].net_j;
    }
    double time_s = (double)(r->t1_ns - r->t0_ns) / 1e9;
    r->value[METRIC_time_s] = time_s;
    r->value[METRIC_cpu_core_s] = 3.7 * time_s;
    sample_energy(r, net_j + 1.6 * time_s, 1.6, time_s);
}

static inline struct record *pictures_next(struct pictures_sample *out) {
    struct record *r = &out->records[out->n_records];
    record_init(r);
    r->seq = (uint32_t)out->n_records;
    r->id = (int64_t)++out->n_records;
    return r;
}

static inline void pictures_sweep(struct rng *rng, double speed, struct pictures_sample *out) {
    for (uint32_t i = 0; i < PICTURES_WINDOWS; i++) {
        const uint32_t *side = PICTURES_SIDES[i % PICTURES_SIZES];
        struct record *r = pictures_next(out);
        r->cell = 100 + i % (PICTURES_SIZES * PICTURES_BUDGETS);
        r->repeat = i / (PICTURES_SIZES * PICTURES_BUDGETS);
        pictures_record(rng, speed, side[0], side[1],
                        PICTURES_BUDGET[i / PICTURES_SIZES % PICTURES_BUDGETS], r);
    }
}

// Questions are the same under every budget. Fewer tokens hurt numbers first.
static inline void pictures_questions(struct rng *rng, double speed, struct pictures_sample *out) {
    static const double RIGHT[PICTURES_KINDS][PICTURES_GROUPS] = {{0.97, 0.96, 0.96, 0.78, 0.33},
                                                                  {0.99, 0.98, 0.98, 0.96, 0.8},
                                                                  {1, 1, 1, 1, 0.96},
                                                                  {0.94, 0.93, 0.93, 0.92, 0.88}};
    for (uint32_t i = 0; i < PICTURES_ANSWERS; i++) {
        uint32_t group = i / (PICTURES_KINDS * PICTURES_PER_KIND);
        uint32_t question = i % (PICTURES_KINDS * PICTURES_PER_KIND);
        uint32_t kind = question % PICTURES_KINDS;
        struct rng own; // a question's difficulty, the same in every group
        rng_seed(&own, 9000 + question);
        struct record *r = pictures_next(out);
        r->cell = 5000 + group;
        r->flags = RECORD_SCORED;
        pictures_record(rng, speed, group ? 672 : 0, group ? 672 : 0, PICTURES_GROUP[group], r);
        size_t k = out->n_answers++;
        bool is_right = rng_uniform(&own) < RIGHT[kind][group];
        snprintf(out->item[k], PICTURES_ITEM_BYTES, "q%u", question);
        out->answers[k] = (struct report_answer){.record_id = r->id,
                                                 .item = out->item[k],
                                                 .kind = PICTURES_KIND[kind],
                                                 .defect = !is_right && k % 3 == 0 ? "empty" : "",
                                                 .is_right = is_right};
    }
}

// The exact counts of squares, as the measuring side stores them.
static inline void pictures_counts(char out[PICTURES_JSON_BYTES]) {
    size_t used = (size_t)snprintf(out, PICTURES_JSON_BYTES, "{\"budgets\":[");
    for (int b = 0; b < PICTURES_BUDGETS; b++) {
        used += (size_t)snprintf(out + used, PICTURES_JSON_BYTES - used,
                                 "%s{\"image_max_tokens\":%u,\"counts\":[", b ? "," : "",
                                 PICTURES_BUDGET[b]);
        for (uint32_t side = 56; side <= 1400; side += 14) {
            uint32_t tokens = pictures_tokens(side, side, PICTURES_BUDGET[b]);
            used += (size_t)snprintf(out + used, PICTURES_JSON_BYTES - used, "%s[%u,%u,%u,%u]",
                                     side > 56 ? "," : "", side, side, tokens, tokens * 784);
        }
        used += (size_t)snprintf(out + used, PICTURES_JSON_BYTES - used, "]}");
    }
    snprintf(out + used, PICTURES_JSON_BYTES - used, "]}");
}

// What report_sample.h makes of text, and then pictures and questions. `model` is 0 or 1.
static inline void pictures_fill(int model, struct pictures_sample *out) {
    struct rng rng;
    double speed = model == 0 ? 1 : 0.56;
    memset(out, 0, sizeof *out);
    sample_records(model, out->records);
    out->n_records = SAMPLE_RECORDS;
    rng_seed(&rng, 70 + (uint64_t)model);
    pictures_sweep(&rng, speed, out);
    pictures_questions(&rng, speed, out);
    pictures_counts(out->image_tokens);
}

// `vs` may be NULL.
static inline struct report_input pictures_input(const struct pictures_sample *base,
                                                 const struct pictures_sample *vs) {
    const struct pictures_sample *const samples[2] = {base, vs};
    struct report_input input = sample_input(base->records, vs ? vs->records : NULL, vs ? 2 : 1);
    input.options_json = "{\"prompts\":[16,32,64,128,256,512,1024,2048],\"generate\":64,\"seed\":7,"
                         "\"images\":{\"budgets\":[0,121,49]}}";
    for (size_t m = 0; m < input.n_models; m++) {
        input.model[m].n_records = samples[m]->n_records;
        input.model[m].image_tokens_json = samples[m]->image_tokens;
        input.model[m].answers = samples[m]->answers;
        input.model[m].n_answers = samples[m]->n_answers;
    }
    return input;
}

#endif
