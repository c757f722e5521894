// A made-up sweep of image sizes for the report's tests: squares of 28 px cells under a clamp, as
// Qwen2-VL cuts pictures, and questions with known answers. Every figure follows a known law.
#ifndef WATTLAW_TESTS_REPORT_VISION_SAMPLE_H
#define WATTLAW_TESTS_REPORT_VISION_SAMPLE_H

#include "report_sample.h"

enum { IMAGES_CELL = 28, IMAGES_SIDES = 11, IMAGES_SIZES = IMAGES_SIDES + 2, IMAGES_REPEATS = 4 };
enum { IMAGES_BUDGETS = 2, IMAGES_RECORDS = IMAGES_SIZES * IMAGES_BUDGETS * IMAGES_REPEATS };
enum { IMAGES_DEFAULT_TOKENS = 441, IMAGES_SMALL_TOKENS = 144 }; // squares of 21 and 12 cells
enum { IMAGES_QUESTIONS = 120, IMAGES_GROUPS = 4 };              // text and three budgets
enum { IMAGES_ANSWERS = IMAGES_QUESTIONS * IMAGES_GROUPS };
enum { IMAGES_ALL_RECORDS = SAMPLE_RECORDS + IMAGES_RECORDS + IMAGES_ANSWERS };

static const uint32_t IMAGES_SIZE[IMAGES_SIZES][2] = {
    {100, 100}, {148, 148}, {196, 196},   {296, 296},   {392, 392}, {488, 488}, {588, 588},
    {708, 708}, {884, 884}, {1176, 1176}, {1568, 1568}, {456, 256}, {312, 624}};
static const uint32_t IMAGES_BUDGET[IMAGES_BUDGETS] = {0, IMAGES_SMALL_TOKENS};
// image_s = fixed + per_kpx * effective kilopixels
static const double IMAGES_FIXED_S = 0.012, IMAGES_PER_KPX_S = 0.00092;

// Cells along one side: rounded, and under the clamp the sides shrink alike.
static inline uint32_t images_tokens(uint32_t width, uint32_t height, uint32_t max_tokens) {
    double most = max_tokens > 0 ? max_tokens : IMAGES_DEFAULT_TOKENS;
    double w = round(width / (double)IMAGES_CELL), h = round(height / (double)IMAGES_CELL);
    if (w * h > most) {
        double shrink = sqrt(most / ((double)width * height)) * IMAGES_CELL;
        w = floor(width / (double)IMAGES_CELL * shrink + 1e-9);
        h = floor(height / (double)IMAGES_CELL * shrink + 1e-9);
    }
    return (uint32_t)(fmax(w, 1) * fmax(h, 1));
}

static inline void images_record(struct rng *rng, uint32_t cell, uint32_t repeat, uint32_t seq,
                                 struct record *r) {
    const uint32_t *size = IMAGES_SIZE[cell % IMAGES_SIZES];
    uint32_t budget = IMAGES_BUDGET[cell / IMAGES_SIZES];
    record_init(r);
    r->id = (int64_t)seq + 1;
    r->seq = seq;
    r->cell = SAMPLE_CELLS + cell;
    r->repeat = repeat;
    r->generated_tokens = 8;
    uint32_t tokens = images_tokens(size[0], size[1], budget);
    r->vision =
        (struct record_vision){.n_images = 1,
                               .width = size[0],
                               .height = size[1],
                               .effective_pixels = (uint64_t)tokens * IMAGES_CELL * IMAGES_CELL,
                               .image_tokens = tokens,
                               .n_views = 1,
                               .image_max_tokens = budget};
    r->prompt_tokens = 20 + tokens;
    double kpx = (double)r->vision.effective_pixels / 1000;
    double image_s = sample_noise(rng, IMAGES_FIXED_S + IMAGES_PER_KPX_S * kpx, 0.02);
    double load_s = 0.004 * size[0] * size[1] / 1e6;
    double time_s = image_s + load_s + sample_noise(rng, 0.35, 0.01);
    r->t0_ns = (int64_t)seq * 20000000000;
    r->t1_ns = r->t0_ns + (int64_t)(time_s * 1e9);
    r->wall_ns = INT64_C(1771061160000000000) + r->t0_ns;
    r->value[METRIC_time_s] = time_s;
    r->value[METRIC_image_s] = image_s;
    r->value[METRIC_vision_s] = 0.7 * image_s;
    r->value[METRIC_image_prefill_s] = 0.3 * image_s;
    r->value[METRIC_image_load_s] = load_s;
    r->value[METRIC_image_core_s] = 3.7 * image_s;
    sample_energy(r, sample_noise(rng, 4.7 * time_s, 0.01), 1.6, time_s);
    r->value[METRIC_image_net_j] = sample_noise(rng, 3.1 * image_s, 0.01);
}

// Question `item` of a group: text, the default budget, 144 tokens, 64 tokens.
static inline bool images_is_right(int group, int item) {
    static const int WRONG[IMAGES_GROUPS] = {3, 7, 7, 24};
    // The smaller budget gets other questions wrong, a few of them the same.
    int shifted = group == 2 ? item + 3 : item;
    return shifted % IMAGES_QUESTIONS >= WRONG[group];
}

static inline void images_answer_record(struct rng *rng, int group, uint32_t seq,
                                        struct record *r) {
    static const uint32_t BUDGETS[IMAGES_GROUPS] = {0, 0, IMAGES_SMALL_TOKENS, 64};
    record_init(r);
    r->id = (int64_t)seq + 1;
    r->seq = seq;
    r->cell = UINT32_MAX - 1;
    r->generated_tokens = 12;
    r->flags = RECORD_SCORED;
    uint32_t tokens = group > 0 ? images_tokens(640, 640, BUDGETS[group]) : 0;
    if (group > 0) {
        r->vision = (struct record_vision){.n_images = 1,
                                           .width = 640,
                                           .height = 640,
                                           .effective_pixels = (uint64_t)tokens * 784,
                                           .image_tokens = tokens,
                                           .n_views = 1,
                                           .image_max_tokens = BUDGETS[group]};
    }
    double kpx = tokens * 0.784;
    double time_s = sample_noise(rng, 0.3 + IMAGES_PER_KPX_S * kpx, 0.03);
    r->t1_ns = (int64_t)(time_s * 1e9);
    r->value[METRIC_time_s] = time_s;
    sample_energy(r, sample_noise(rng, 4.5 * time_s, 0.01), 1.6, time_s);
}

struct images_sample {
    struct record records[IMAGES_ALL_RECORDS]; // text, images, answers
    struct report_answer answers[IMAGES_ANSWERS];
    char items[IMAGES_QUESTIONS * 2][16];
    char tokens_json[32768];
};

// {"budgets": [...]} as the measuring side writes it: the first budget last.
static inline void images_counts(char *out, size_t size) {
    size_t used = (size_t)snprintf(out, size, "{\"budgets\":[");
    for (size_t b = IMAGES_BUDGETS; b-- > 0;) {
        used += (size_t)snprintf(out + used, size - used, "{\"image_max_tokens\":%u,\"counts\":[",
                                 IMAGES_BUDGET[b]);
        for (uint32_t side = IMAGES_CELL; side <= 2240; side += IMAGES_CELL) {
            uint32_t tokens = images_tokens(side, side, IMAGES_BUDGET[b]);
            used += (size_t)snprintf(out + used, size - used, "%s[%u,%u,%u,%u]",
                                     side > IMAGES_CELL ? "," : "", side, side, tokens,
                                     tokens * IMAGES_CELL * IMAGES_CELL);
        }
        used += (size_t)snprintf(out + used, size - used, "]}%s", b > 0 ? "," : "");
    }
    snprintf(out + used, size - used, "]}");
}

static inline void images_sample_fill(struct images_sample *s, int model) {
    static const char *const KINDS[2][2] = {{"sum", "copy"}, {"digit", "colour"}};
    struct rng rng;
    rng_seed(&rng, 77 + (uint64_t)model);
    sample_records(model, s->records);
    uint32_t seq = SAMPLE_RECORDS;
    for (uint32_t i = 0; i < IMAGES_RECORDS; i++, seq++) {
        images_record(&rng, i % (IMAGES_SIZES * IMAGES_BUDGETS),
                      i / (IMAGES_SIZES * IMAGES_BUDGETS), seq, &s->records[seq]);
    }
    for (int i = 0; i < IMAGES_ANSWERS; i++, seq++) {
        int group = i / IMAGES_QUESTIONS, item = i % IMAGES_QUESTIONS, is_image = group > 0;
        char *name = s->items[is_image * IMAGES_QUESTIONS + item];
        snprintf(name, sizeof s->items[0], "%s-%03d", is_image ? "picture" : "text", item);
        images_answer_record(&rng, group, seq, &s->records[seq]);
        s->answers[i] = (struct report_answer){.record_id = s->records[seq].id,
                                               .item = name,
                                               .kind = KINDS[is_image][item % 2],
                                               .defect = group == 3 && item < 2 ? "empty" : "fine",
                                               .is_right = images_is_right(group, item)};
    }
    images_counts(s->tokens_json, sizeof s->tokens_json);
}

static const char IMAGES_OPTIONS[] =
    "{\"prompts\":[16,32],\"generate\":64,\"images\":{\"budgets\":[0,144],\"sizes\":[]}}";

// One model or two; the samples stay the caller's.
static inline struct report_input images_input(const struct images_sample *base,
                                               const struct images_sample *vs) {
    struct report_input input = sample_input(base->records, vs ? vs->records : NULL, vs ? 2 : 1);
    const struct images_sample *samples[] = {base, vs};
    input.options_json = IMAGES_OPTIONS;
    for (size_t i = 0; i < input.n_models; i++) {
        input.model[i].n_records = IMAGES_ALL_RECORDS;
        input.model[i].image_tokens_json = samples[i]->tokens_json;
        input.model[i].answers = samples[i]->answers;
        input.model[i].n_answers = IMAGES_ANSWERS;
    }
    return input;
}

#endif
