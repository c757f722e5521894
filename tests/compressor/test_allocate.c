// Plans under budgets, from curves with a known optimum: what is found is what all plans together
// have to offer, costs are those of the plan, and a model of many sizes is made only where it pays.
#include <math.h>
#include <stdint.h>

#include "compressor/allocate.h"
#include "compressor/pack.h"
#include "made_model.h"
#include "text_model_test.h"

static const char SMALL[] =
    "--arch llama --layers 5 --embd 64 --heads 4 --kv-heads 4 --ff 128 --vocab 512";
static const char LARGER[] =
    "--arch llama --layers 16 --embd 64 --heads 8 --kv-heads 4 --ff 512 --vocab 512 --type q8_0";
static const char *builtin_path;

// ---- analyses by hand

struct fixture {
    struct compress_source source;
    struct block_shape shape;
    struct analysis analysis;
    struct costs costs;
    struct allocate_options options;
};

// Errors that fall like a power of what is missing; blocks of `worth`, which may differ by block.
static void fill_layer(struct analysis_layer *layer, const struct block_shape *shape,
                       uint32_t number, double worth) {
    *layer = (struct analysis_layer){.layer = number,
                                     .n_groups = shape->n_head_kv,
                                     .ffn_sensitivity = worth,
                                     .attention_sensitivity = 2 * worth,
                                     .kl_no_attention = 1.5 * worth,
                                     .kl_removed = 2 * worth};
    for (uint32_t i = 0; i < ANALYSIS_WIDTHS; i++) {
        double missing = 1 - (i + 1.0) / ANALYSIS_WIDTHS;
        layer->widths[i] = shape->n_ff * (i + 1) / ANALYSIS_WIDTHS;
        layer->ffn_error[i] = layer->ffn_tail[i] = missing * missing;
    }
    for (uint32_t i = 0; i < shape->n_head_kv; i++) {
        double missing = 1 - (i + 1.0) / shape->n_head_kv;
        layer->group_error[i] = 0.7 * missing;
    }
}

static bool begin(struct fixture *f, const char *path, const char *shape,
                  double (*worth)(uint32_t layer)) {
    struct wl_err err = {0};
    *f = (struct fixture){.options = {.kind = ALLOCATE_WEIGHTS,
                                      .budget = 0.6,
                                      .joules_per_s = 10,
                                      .n_prompt = 256,
                                      .n_decode = 64,
                                      .may_remove = true,
                                      .may_cut_heads = true,
                                      .mix_gain = 0.03}};
    f->costs.prompt =
        (struct cost_terms){.base = 1e-3, .block = 1e-4, .per_head_kv = 2e-4, .per_neuron = 5e-6};
    f->costs.decode = (struct cost_terms){
        .base = 4e-3, .block = 2e-4, .per_head_kv = 3e-4, .per_neuron = 1e-5, .slow_share = 0.1};
    if ((shape && !made_synth(shape, path)) ||
        compress_source_open(&f->source, path, COMPRESS_FORCE, &err) != WL_OK ||
        compress_source_shape(&f->source, 0, &f->shape, &err) != WL_OK) {
        printf("cannot make or open '%s' (%s): %s\n", path, shape ? shape : "", err.message);
        n_wrong++;
        return false;
    }
    f->analysis.n_layer = f->source.n_layer;
    f->analysis.layers = calloc(f->source.n_layer, sizeof *f->analysis.layers);
    snprintf(f->analysis.arch, sizeof f->analysis.arch, "%s", f->source.arch->name);
    for (uint32_t i = 0; i < f->source.n_layer; i++) {
        fill_layer(&f->analysis.layers[i], &f->shape, i, worth(i));
    }
    return true;
}

static void end(struct fixture *f) {
    free(f->analysis.layers);
    compress_source_close(&f->source);
}

static double all_alike(uint32_t layer) {
    (void)layer;
    return 0.1;
}

static double middle_is_cheap(uint32_t layer) {
    return layer % 2 == 1 ? 0.005 : 0.3;
}

static double all_differ(uint32_t layer) {
    return 0.1 + 0.07 * ((layer * 7 + 3) % 5);
}

// ---- every uniform plan

static double loss_by_hand(const struct analysis_layer *layer, const struct block_shape *shape,
                           uint32_t n_head_kv, uint32_t n_ff) {
    double width = (double)n_ff * ANALYSIS_WIDTHS / shape->n_ff; // measured ones only
    double missing = 1 - width / ANALYSIS_WIDTHS;
    return layer->ffn_sensitivity * missing * missing +
           (n_head_kv == shape->n_head_kv
                ? 0
                : layer->attention_sensitivity * layer->group_error[n_head_kv - 1]);
}

static double removal_by_hand(const struct analysis *analysis, uint32_t removed) {
    double sum = 0, roots = 0;
    for (uint32_t i = 0; i <= analysis->n_layer; i++) {
        if (i < analysis->n_layer && removed >> i & 1) {
            roots += sqrt(analysis->layers[i].kl_removed);
        } else {
            sum += roots * roots;
            roots = 0;
        }
    }
    return sum;
}

static uint32_t count_bits(uint32_t bits) {
    uint32_t n = 0;
    for (; bits; bits &= bits - 1) {
        n++;
    }
    return n;
}

static bool may_be(const struct fixture *f, uint32_t n_head_kv, uint32_t n_ff) {
    struct plan plan;
    struct wl_err err = {0};
    CHECK_OK(plan_init(&plan, &f->source, &err), err);
    for (uint32_t i = 0; i < plan.n_layer; i++) {
        plan.layers[i] = (struct plan_layer){.n_head_kv = n_head_kv, .n_ff = n_ff};
    }
    bool is_fine = plan_check(&plan, &f->source, &err) == WL_OK;
    plan_release(&plan);
    return is_fine;
}

// The least loss of all plans with the same sizes in the blocks that stay.
static double best_by_hand(const struct fixture *f) {
    double best = INFINITY, all = 0, per_block = 4.0 * 64 * 64 + 3.0 * 64 * 128;
    for (uint32_t removed = 0; removed < 1U << f->source.n_layer; removed += 2) {
        for (uint32_t kv = 1; kv <= 4; kv++) {
            for (uint32_t n_ff = 32; n_ff <= 128 && may_be(f, kv, n_ff); n_ff += 32) {
                uint32_t stay = f->source.n_layer - count_bits(removed);
                double weights = stay * (kv * 64.0 * 64 + 3.0 * 64 * n_ff), loss = 0;
                for (uint32_t i = 0; i < f->source.n_layer; i++) {
                    bool stays = !(removed >> i & 1);
                    loss += stays ? loss_by_hand(&f->analysis.layers[i], &f->shape, kv, n_ff) : 0;
                }
                loss += removal_by_hand(&f->analysis, removed);
                all = per_block * f->source.n_layer;
                bool may_be = 2 * count_bits(removed) <= f->source.n_layer;
                bool fits = weights <= f->options.budget * all;
                best = may_be && fits && loss < best ? loss : best;
            }
        }
    }
    return best;
}

static void uniform_is_the_best_there_is(void) {
    struct fixture f;
    if (!begin(&f, made_base_path(), SMALL, all_differ)) {
        return;
    }
    for (int step = 5; step <= 20; step++) {
        struct plan plan;
        struct allocate_result result;
        struct wl_err err = {0};
        f.options.budget = step / 20.0;
        double best = best_by_hand(&f);
        enum wl_status status =
            allocate_plan(&f.source, &f.analysis, NULL, &f.options, &plan, &result, &err);
        CHECK_OK(status, err);
        if (status == WL_OK) {
            CHECK(fabs(result.loss - best) < 1e-9 && result.uniform_loss == result.loss);
            CHECK(result.cost <= f.options.budget && !plan.is_mixed && !plan.layers[0].is_removed);
            CHECK(step < 20 || result.loss == 0);
            plan_release(&plan);
        }
    }
    end(&f);
}

// ---- costs are the plan's

static void check_cost(struct fixture *f, enum allocate_budget kind, double budget) {
    struct plan plan;
    struct allocate_result result;
    struct plan_sizes sizes, whole;
    struct wl_err err = {0};
    f->options.kind = kind;
    f->options.budget = budget;
    CHECK_OK(plan_init(&plan, &f->source, &err), err);
    CHECK_OK(plan_sizes(&plan, &f->source, &whole, &err), err);
    plan_release(&plan);
    enum wl_status status =
        allocate_plan(&f->source, &f->analysis, &f->costs, &f->options, &plan, &result, &err);
    CHECK_OK(status, err);
    if (status != WL_OK) {
        return;
    }
    CHECK_OK(plan_sizes(&plan, &f->source, &sizes, &err), err);
    double prompt_s = costs_prompt_s(&f->costs, &plan), decode_s = costs_decode_s(&f->costs, &plan);
    double truth[] = {[ALLOCATE_WEIGHTS] =
                          (double)sizes.block_weights / (double)whole.block_weights,
                      [ALLOCATE_BYTES] = (double)sizes.file_bytes,
                      [ALLOCATE_DECODE] = 1 / decode_s,
                      [ALLOCATE_PROMPT] = 1 / prompt_s,
                      [ALLOCATE_JOULES] = 10 * (256 * prompt_s + 64 * decode_s)};
    bool is_speed = kind == ALLOCATE_DECODE || kind == ALLOCATE_PROMPT;
    CHECK(fabs(result.cost / truth[kind] - 1) < 1e-9);
    CHECK(is_speed ? result.cost >= budget * (1 - 1e-12) : result.cost <= budget * (1 + 1e-12));
    CHECK(result.loss > 0);
    plan_release(&plan);
}

static void costs_are_those_of_the_plan(void) {
    for (int is_mixed = 0; is_mixed < 2; is_mixed++) {
        struct fixture f;
        struct plan plan;
        struct wl_err err = {0};
        if (!begin(&f, made_base_path(), LARGER, middle_is_cheap)) {
            return;
        }
        f.options.may_mix = is_mixed;
        CHECK_OK(plan_init(&plan, &f.source, &err), err);
        double prompt_s = costs_prompt_s(&f.costs, &plan);
        double decode_s = costs_decode_s(&f.costs, &plan);
        check_cost(&f, ALLOCATE_WEIGHTS, 0.55);
        check_cost(&f, ALLOCATE_BYTES, 0.7 * (double)f.source.file.file_bytes);
        check_cost(&f, ALLOCATE_DECODE, 1.4 / decode_s);
        check_cost(&f, ALLOCATE_PROMPT, 1.4 / prompt_s);
        check_cost(&f, ALLOCATE_JOULES, 0.7 * 10 * (256 * prompt_s + 64 * decode_s));
        plan_release(&plan);
        end(&f);
    }
}

// ---- sizes of its own

static void mixes_only_where_it_pays(void) {
    static double (*const WORTH[])(uint32_t) = {all_alike, middle_is_cheap};
    for (int differs = 0; differs < 2; differs++) {
        struct fixture f;
        struct plan plan;
        struct allocate_result result;
        struct wl_err err = {0};
        if (!begin(&f, made_base_path(), LARGER, WORTH[differs])) {
            return;
        }
        f.options.may_mix = true;
        f.options.may_remove = false;
        f.options.mix_gain = 0.3; // alike ones differ by a step or two, which is worth less
        enum wl_status status =
            allocate_plan(&f.source, &f.analysis, NULL, &f.options, &plan, &result, &err);
        CHECK_OK(status, err);
        if (status == WL_OK) {
            CHECK(plan.is_mixed == (differs == 1));
            CHECK(differs ? result.loss < 0.7 * result.uniform_loss
                          : result.loss == result.uniform_loss);
            CHECK(plan.layers[0].n_head_kv > 0 && !plan.layers[0].is_removed);
            if (differs) { // what is cheap pays for the rest
                CHECK(plan.layers[1].n_ff < plan.layers[0].n_ff);
            }
            plan_release(&plan);
        }
        end(&f);
    }
}

// The built-in model is a qwen2vl, which has no twin, and keeps all of its heads.
static void no_twin_is_no_error(void) {
    struct fixture f;
    struct plan plan;
    struct allocate_result result;
    struct wl_err err = {0};
    if (!begin(&f, builtin_path, NULL, middle_is_cheap)) {
        return;
    }
    f.options.may_mix = true;
    enum wl_status status =
        allocate_plan(&f.source, &f.analysis, NULL, &f.options, &plan, &result, &err);
    CHECK_OK(status, err);
    if (status == WL_OK) {
        CHECK(!plan.is_mixed && result.loss == result.uniform_loss && result.loss > 0);
        CHECK(result.cost <= 0.6);
        plan_release(&plan);
    }
    end(&f);
}

static void what_may_not_be_stays(void) {
    struct fixture f;
    struct plan plan;
    struct allocate_result result;
    struct wl_err err = {0};
    if (!begin(&f, made_base_path(), LARGER, middle_is_cheap)) {
        return;
    }
    f.options.may_mix = true;
    f.options.may_remove = f.options.may_cut_heads = false;
    CHECK_OK(allocate_plan(&f.source, &f.analysis, NULL, &f.options, &plan, &result, &err), err);
    for (uint32_t i = 0; i < plan.n_layer; i++) {
        CHECK(!plan.layers[i].is_removed && plan.layers[i].n_head_kv == f.shape.n_head_kv);
        CHECK(plan.layers[i].n_ff % pack_step(&f.source) == 0);
    }
    plan_release(&plan);
    for (uint32_t i = 0; i < f.analysis.n_layer; i++) { // not measured: not done
        f.analysis.layers[i].kl_removed = f.analysis.layers[i].kl_no_attention = NAN;
    }
    f.options.may_remove = f.options.may_cut_heads = true;
    CHECK_OK(allocate_plan(&f.source, &f.analysis, NULL, &f.options, &plan, &result, &err), err);
    for (uint32_t i = 0; i < plan.n_layer; i++) {
        CHECK(!plan.layers[i].is_removed && plan.layers[i].n_head_kv > 0);
    }
    plan_release(&plan);
    end(&f);
}

// ---- what is wrong

static void refuses(const struct fixture *f, const struct costs *costs, enum wl_status status,
                    const char *word) {
    struct plan plan;
    struct allocate_result result;
    struct wl_err err = {0};
    CHECK(allocate_plan(&f->source, &f->analysis, costs, &f->options, &plan, &result, &err) ==
          status);
    CHECK(message_has(&err, word));
    CHECK(plan.layers == NULL);
}

static void says_what_is_wrong(void) {
    struct fixture f;
    if (!begin(&f, made_base_path(), SMALL, all_alike)) {
        return;
    }
    f.options.budget = 0.01;
    refuses(&f, NULL, WL_LIMIT, "1.00 % of the block weights is out of reach");
    f.options.may_remove = false;
    refuses(&f, NULL, WL_LIMIT, "removing blocks was not allowed");
    f.options.kind = ALLOCATE_BYTES;
    f.options.budget = 1000;
    refuses(&f, NULL, WL_LIMIT, "out of reach");
    f.options.kind = ALLOCATE_DECODE;
    refuses(&f, NULL, WL_USAGE, "not measured");
    f.options.budget = 1e6;
    refuses(&f, &f.costs, WL_LIMIT, "tok/s");
    f.options.kind = ALLOCATE_JOULES;
    f.options.joules_per_s = NAN;
    refuses(&f, &f.costs, WL_USAGE, "power");
    f.options.kind = ALLOCATE_WEIGHTS;
    f.options.budget = 0;
    refuses(&f, NULL, WL_USAGE, "above 0");
    f.options.budget = 0.5;
    f.analysis.layers[2].ffn_error[3] = NAN;
    refuses(&f, NULL, WL_INPUT, "block 2");
    f.analysis.layers[2].ffn_error[3] = 0.5;
    f.analysis.layers[3].n_groups = 3;
    refuses(&f, NULL, WL_INPUT, "block 3");
    f.analysis.n_layer = 4;
    refuses(&f, NULL, WL_INPUT, "4 blocks");
    f.analysis.n_layer = 5;
    snprintf(f.analysis.arch, sizeof f.analysis.arch, "qwen3");
    refuses(&f, NULL, WL_INPUT, "qwen3");
    end(&f);
}

static void written_forms(void) {
    enum allocate_budget kind;
    double budget;
    struct wl_err err = {0};
    CHECK_OK(allocate_parse("20tok/s", &kind, &budget, &err), err);
    CHECK(kind == ALLOCATE_DECODE && budget == 20);
    CHECK(allocate_parse("much", &kind, &budget, &err) == WL_USAGE && message_has(&err, "much"));
}

int main(void) {
    char builtin[OS_PATH_BYTES];
    builtin_path = test_path(builtin, source_dir(), "models/builtin/builtin.gguf");
    written_forms();
    no_twin_is_no_error();
    if (!made_begin()) {
        printf("skipped: there is no working wattlaw synth\n");
        return n_wrong ? TEST_WRONG : TEST_SKIPPED;
    }
    uniform_is_the_best_there_is();
    costs_are_those_of_the_plan();
    mixes_only_where_it_pays();
    what_may_not_be_stays();
    says_what_is_wrong();
    made_end();
    return n_wrong ? TEST_WRONG : TEST_RIGHT;
}
