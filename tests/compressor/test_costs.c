// What parts cost: the fit finds the terms that made up the times, every architecture's small files
// load in llama.cpp, and what is measured is a price that less of a part lowers. No time is judged:
// the machine may be busy.
#include <math.h>
#include <stdint.h>

#include "base/json.h"
#include "compressor/costs.h"
#include "compressor/costs_fit.h"
#include "made_model.h"
#include "text_model_test.h"

static char scratch[OS_PATH_BYTES];

// ---- fit

static const struct costs_variant VARIANTS[] = {
    {4, 4096, 8, 16384}, {2, 4096, 8, 16384}, {4, 2048, 8, 16384}, {4, 2080, 8, 16384},
    {4, 4096, 4, 16384}, {2, 4096, 8, 8192},  {2, 2048, 4, 16384},
};
enum { N_VARIANTS = sizeof VARIANTS / sizeof VARIANTS[0], N_VOCAB = 100000, N_PROMPT = 100 };

static double time_of(const struct cost_terms *t, const struct costs_variant *v) {
    double slow = v->n_ff % 256 ? 1 + t->slow_share : 1;
    return t->base + t->per_vocabulary * v->n_vocab +
           v->n_layer * (t->block + t->per_head_kv * v->n_head_kv + t->per_neuron * slow * v->n_ff);
}

static bool is_near(double a, double b) {
    return fabs(a - b) <= 1e-6 * fabs(b) + 1e-15;
}

static void check_terms(const struct cost_terms *found, const struct cost_terms *truth) {
    CHECK(is_near(found->block, truth->block));
    CHECK(is_near(found->per_head_kv, truth->per_head_kv));
    CHECK(is_near(found->per_neuron, truth->per_neuron));
    CHECK(is_near(found->slow_share, truth->slow_share));
    CHECK(found->residual_share >= 0 && found->residual_share < 1e-6);
}

static void fit_finds_the_terms(void) {
    const struct cost_terms truth = {.base = 1e-4,
                                     .block = 2e-4,
                                     .per_head_kv = 3e-5,
                                     .per_neuron = 5e-7,
                                     .slow_share = 0.8,
                                     .per_vocabulary = 4e-8};
    struct cost_terms decode, prompt;
    struct wl_err err = {0};
    double times[N_VARIANTS];
    for (size_t i = 0; i < N_VARIANTS; i++) {
        times[i] = time_of(&truth, &VARIANTS[i]);
    }
    CHECK_OK(costs_fit_decode(VARIANTS, times, N_VARIANTS, N_VOCAB, &decode, &err), err);
    check_terms(&decode, &truth);
    CHECK(is_near(decode.per_vocabulary, truth.per_vocabulary));
    CHECK(is_near(decode.base, truth.base + truth.per_vocabulary * N_VOCAB));
    struct cost_terms of_prompt = truth;
    of_prompt.per_vocabulary = truth.per_vocabulary / N_PROMPT;
    for (size_t i = 0; i < N_VARIANTS; i++) {
        times[i] = time_of(&of_prompt, &VARIANTS[i]);
    }
    CHECK_OK(
        costs_fit_prompt(VARIANTS, times, N_VARIANTS, N_VOCAB, N_PROMPT, &decode, &prompt, &err),
        err);
    check_terms(&prompt, &truth);
    CHECK(prompt.per_vocabulary == 0);
    CHECK(is_near(prompt.base, truth.base + truth.per_vocabulary * N_VOCAB / N_PROMPT));
}

// Noise of a tenth shows in the residual, and no term falls below 0.
static void fit_tells_its_residual(void) {
    const struct cost_terms truth = {.block = 2e-4, .per_neuron = 5e-7};
    struct cost_terms found;
    struct wl_err err = {0};
    double times[N_VARIANTS];
    for (size_t i = 0; i < N_VARIANTS; i++) {
        times[i] = time_of(&truth, &VARIANTS[i]) * (i % 2 ? 1.1 : 0.9);
    }
    CHECK_OK(costs_fit_decode(VARIANTS, times, N_VARIANTS, N_VOCAB, &found, &err), err);
    CHECK(found.residual_share > 0.01 && found.residual_share < 0.3);
    CHECK(found.base >= 0 && found.block >= 0 && found.per_head_kv >= 0 && found.per_neuron >= 0 &&
          found.slow_share >= 0 && found.per_vocabulary >= 0);
    times[2] = 0;
    CHECK(costs_fit_decode(VARIANTS, times, N_VARIANTS, N_VOCAB, &found, &err) == WL_FAILED);
}

static void one_block_is_in_the_base(void) {
    const struct costs_variant one[] = {{1, 512, 2, 512}, {1, 256, 2, 512}, {1, 512, 2, 256}};
    const struct cost_terms truth = {.base = 1e-4, .block = 1e-4, .per_neuron = 1e-6};
    struct cost_terms found;
    struct wl_err err = {0};
    double times[3];
    for (size_t i = 0; i < 3; i++) {
        times[i] = time_of(&truth, &one[i]);
    }
    CHECK_OK(costs_fit_decode(one, times, 3, 512, &found, &err), err);
    CHECK(is_near(found.base, 2e-4) && found.block == 0 && found.per_head_kv == 0);
    CHECK(is_near(found.per_neuron, 1e-6));
}

// ---- plans and JSON

static void plans_cost_their_parts(void) {
    struct costs costs = {.prompt = {.base = 1, .block = 10, .per_head_kv = 100, .per_neuron = 1},
                          .decode = {.base = 2, .block = 3, .per_neuron = 1, .slow_share = 0.5}};
    struct plan_layer layers[] = {{.n_head_kv = 2, .n_ff = 256},
                                  {.is_removed = true, .n_head_kv = 2, .n_ff = 256},
                                  {.n_head_kv = 0, .n_ff = 100}};
    struct plan plan = {.layers = layers, .n_layer = 3, .is_mixed = true};
    CHECK(costs_prompt_s(&costs, &plan) == 1 + (10 + 200 + 256) + (10 + 100));
    CHECK(costs_decode_s(&costs, &plan) == 2 + (3 + 256) + (3 + 150));
}

static void json_keeps_all(void) {
    struct costs costs = {.prompt = {1e-3, 2e-4, 3e-5, 4e-7, 0.25, 0, 0.01},
                          .decode = {2e-3, 3e-4, 4e-5, 5e-7, 0, 6e-8, 0.02},
                          .n_runs = 5,
                          .seconds = 60.5};
    struct costs back;
    struct wl_err err = {0};
    json_t *json = costs_json(&costs);
    CHECK_OK(costs_parse(json, &back, &err), err);
    CHECK(memcmp(&costs.prompt, &back.prompt, sizeof costs.prompt) == 0);
    CHECK(memcmp(&costs.decode, &back.decode, sizeof costs.decode) == 0);
    CHECK(back.n_runs == 5 && back.seconds == 60.5);
    json_object_set_new(json_object_get(json, "decode"), "block", json_real(-1));
    CHECK(costs_parse(json, &back, &err) == WL_INPUT && message_has(&err, "block"));
    json_object_del(json_object_get(json, "decode"), "block");
    CHECK(costs_parse(json, &back, &err) == WL_INPUT && message_has(&err, "decode"));
    CHECK(costs_parse(NULL, &back, &err) == WL_INPUT);
    json_decref(json);
}

// ---- measuring

struct look {
    int n_asked;
    double stop_at, last; // shares
};

static bool look(void *context, double share_done) {
    struct look *l = context;
    l->n_asked++;
    CHECK(share_done >= l->last && share_done <= 1);
    l->last = share_done;
    return share_done < l->stop_at;
}

static bool count_entry(void *context, const char *name) {
    (void)name;
    ++*(int *)context;
    return true;
}

static void scratch_is_empty(void) {
    int n = 0;
    os_list_dir(scratch, 100, count_entry, &n, NULL);
    CHECK(n == 0);
}

static void check_costs(const struct costs *costs, const struct compress_source *source) {
    const struct cost_terms *both[] = {&costs->prompt, &costs->decode};
    struct plan plan;
    struct wl_err err = {0};
    for (int i = 0; i < 2; i++) {
        const struct cost_terms *t = both[i];
        CHECK(t->base >= 0 && t->block >= 0 && t->per_head_kv >= 0 && t->per_neuron >= 0);
        CHECK(t->base + t->block + t->per_head_kv + t->per_neuron > 0 && t->residual_share >= 0);
    }
    CHECK_OK(plan_init(&plan, source, &err), err);
    double prompt_s = costs_prompt_s(costs, &plan), decode_s = costs_decode_s(costs, &plan);
    plan.layers[plan.n_layer - 1].is_removed = true;
    CHECK(prompt_s > 0 && costs_prompt_s(costs, &plan) <= prompt_s);
    CHECK(decode_s > 0 && costs_decode_s(costs, &plan) <= decode_s);
    plan_release(&plan);
}

static void measures(const char *path, const char *what) {
    struct compress_source source;
    struct costs costs;
    struct wl_err err = {0};
    struct look l = {.stop_at = 2};
    struct costs_options options = {.n_prompt = 32,
                                    .n_decode = 4,
                                    .n_rounds = 2,
                                    .threads = 1,
                                    .scratch_dir = scratch,
                                    .go_on = look,
                                    .context = &l};
    CHECK_OK(compress_source_open(&source, path, COMPRESS_FORCE, &err), err);
    enum wl_status status = costs_measure(&source, &options, &costs, &err);
    CHECK_OK(status, err);
    if (status == WL_OK) {
        check_costs(&costs, &source);
        CHECK(costs.n_runs == 2 && costs.seconds > 0 && l.n_asked > 0);
        printf("%s: %.2f s; decode residual %.0f %%\n", what, costs.seconds,
               100 * costs.decode.residual_share);
    } else {
        printf("(%s)\n", what);
    }
    compress_source_close(&source);
    scratch_is_empty();
}

static void every_architecture(void) {
    static const char *const SHAPES[] = {
        "--arch llama --layers 3 --embd 64 --heads 4 --kv-heads 2 --ff 768 --vocab 1024",
        "--arch llama --layers 1 --embd 64 --heads 1 --kv-heads 1 --ff 64 --vocab 512",
        "--arch llama --layers 4 --embd 256 --heads 4 --kv-heads 4 --ff 512 --vocab 600 --type "
        "q6_k",
        "--arch qwen2 --layers 4 --embd 64 --heads 4 --kv-heads 2 --ff 256 --vocab 512",
        "--arch qwen3 --layers 2 --embd 64 --heads 4 --kv-heads 2 --ff 256 --vocab 512",
        "--arch gemma3 --layers 7 --embd 64 --heads 4 --kv-heads 2 --ff 256 --vocab 512",
    };
    if (!made_begin()) {
        printf("no architectures but the built-in one: there is no working wattlaw synth\n");
        return;
    }
    for (size_t i = 0; i < sizeof SHAPES / sizeof SHAPES[0]; i++) {
        if (made_synth(SHAPES[i], made_base_path())) {
            measures(made_base_path(), SHAPES[i]);
        } else {
            printf("cannot make %s\n", SHAPES[i]);
            n_wrong++;
        }
    }
    made_end();
}

static void says_what_is_wrong(const char *path) {
    struct compress_source source;
    struct costs costs;
    struct wl_err err = {0};
    struct look l = {.stop_at = 0};
    struct costs_options options = {.n_prompt = 32,
                                    .n_decode = 4,
                                    .n_rounds = 2,
                                    .threads = 1,
                                    .scratch_dir = scratch,
                                    .go_on = look,
                                    .context = &l};
    CHECK_OK(compress_source_open(&source, path, COMPRESS_FORCE, &err), err);
    CHECK(costs_measure(&source, &options, &costs, &err) == WL_INTERRUPTED);
    scratch_is_empty();
    l = (struct look){.stop_at = 0.3};
    CHECK(costs_measure(&source, &options, &costs, &err) == WL_INTERRUPTED);
    scratch_is_empty();
    options.go_on = NULL;
    options.n_rounds = 0;
    CHECK(costs_measure(&source, &options, &costs, &err) == WL_USAGE);
    options.n_rounds = 1;
    options.scratch_dir = "/nowhere/at/all";
    CHECK(costs_measure(&source, &options, &costs, &err) != WL_OK);
    CHECK(message_has(&err, "/nowhere/at/all"));
    compress_source_close(&source);
}

int main(void) {
    char builtin[OS_PATH_BYTES];
    test_path(builtin, source_dir(), "models/builtin/builtin.gguf");
    fit_finds_the_terms();
    fit_tells_its_residual();
    one_block_is_in_the_base();
    plans_cost_their_parts();
    json_keeps_all();
    need_model(builtin);
    test_folder(scratch);
    measures(builtin, "built-in");
    every_architecture();
    says_what_is_wrong(builtin);
    test_folder_remove(scratch);
    return n_wrong ? TEST_WRONG : TEST_RIGHT;
}
