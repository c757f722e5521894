// An analysis says of a model what llama.cpp says of files that are changed so,
// keeps the bounds that mathematics sets, survives its way through JSON, and
// refuses what it cannot use.
#include "analysis_test.h"
#include "base/json.h"
#include "base/rng.h"
#include "compressor/analysis.h"
#include "engine_states.h"
#include "made_model.h"
#include "text_model_test.h"

enum { MAX_TOKENS = 4096, N_SEQUENCES = 24, LENGTH = 48, SKIP = 8 };

// Random tokens; the last sequence is held out.
struct sample {
    int32_t tokens[MAX_TOKENS];
    uint32_t lengths[N_SEQUENCES];
    struct compress_text text;
};

static void make_sample(struct sample *s, uint32_t n_vocab) {
    struct rng rng;
    rng_seed(&rng, 3);
    s->text = (struct compress_text){
        .tokens = s->tokens, .lengths = s->lengths, .n_sequences = N_SEQUENCES};
    for (size_t i = 0; i < N_SEQUENCES; i++) {
        s->lengths[i] = LENGTH;
        s->text.n_tokens += LENGTH;
    }
    for (size_t i = 0; i < s->text.n_tokens; i++) {
        s->tokens[i] = (int32_t)rng_below(&rng, n_vocab);
    }
}

static const int32_t *held_out(const struct sample *s) {
    return s->tokens + s->text.n_tokens - LENGTH;
}

static struct analysis_options usual_options(void) {
    return (struct analysis_options){.n_held_out = 1, .n_tokens_kl = LENGTH, .scratch_dir = "/tmp"};
}

// False, and said so, when it failed.
static bool analyse(const char *path, const struct analysis_options *options, struct sample *s,
                    struct analysis *out) {
    struct wl_err err = {0};
    struct compress_source source;
    enum wl_status status = compress_source_open(&source, path, COMPRESS_CAREFUL, &err);
    if (status == WL_OK) {
        make_sample(s, source.n_vocab);
        status = analysis_run(&source, &s->text, options, out, &err);
        compress_source_close(&source);
    }
    CHECK_OK(status, err);
    return status == WL_OK;
}

// ---- bounds ----

static void check_spectrum(const struct analysis_spectrum *s) {
    CHECK(s->rank > 0 && s->chi_10 <= s->chi_1 && s->chi_1 <= s->rank);
    CHECK(s->entropy >= 0 && s->entropy <= log((double)s->rank) + 1e-6);
}

// The error of pruning never falls below the tail of the spectrum, but for the
// rounding of floats.
static void check_curve(const double *error, const double *tail, size_t n) {
    CHECK(fabs(error[n - 1]) < 1e-6 && tail[n - 1] < 1e-6);
    for (size_t i = 0; i < n; i++) {
        CHECK(error[i] >= 0.998 * tail[i] - 1e-6 && error[i] < 1.1);
        CHECK(i == 0 || (error[i] <= error[i - 1] && tail[i] <= tail[i - 1]));
    }
}

static void check_layer(const struct analysis_layer *layer, bool has_bonds) {
    check_curve(layer->ffn_error, layer->ffn_tail, ANALYSIS_WIDTHS);
    check_curve(layer->group_error, layer->group_tail, layer->n_groups);
    check_spectrum(&layer->ffn);
    check_spectrum(&layer->attention);
    for (size_t i = 0; i < ANALYSIS_BONDS; i++) {
        if (has_bonds) {
            check_spectrum(&layer->bonds[i]);
        } else {
            CHECK(layer->bonds[i].rank == 0);
        }
    }
    CHECK(layer->influence > 0 && layer->influence < 2);
    CHECK(layer->attention_share > 0 && layer->ffn_share > 0);
    CHECK(layer->ffn_sensitivity >= 0 && layer->attention_sensitivity >= 0);
    CHECK(layer->kl_no_attention > 0 && layer->kl_removed > 0);
}

static void the_bounds_hold_on_the_built_in_model(const char *path) {
    struct analysis_options options = usual_options();
    struct sample sample;
    struct analysis analysis;
    options.with_bonds = true;
    if (!analyse(path, &options, &sample, &analysis)) {
        return;
    }
    CHECK(analysis.n_tokens == (N_SEQUENCES - 1) * (LENGTH - 1));
    CHECK(analysis.n_tokens_kl == LENGTH - SKIP);
    CHECK(analysis.seconds > 0 && analysis.n_layer > 0);
    for (uint32_t i = 0; i < analysis.n_layer; i++) {
        CHECK(analysis.layers[i].layer == i);
        check_layer(&analysis.layers[i], true);
    }
    analysis_release(&analysis);
}

// ---- against llama.cpp ----

static const char SMALL[] = "--layers 3 --embd 64 --heads 4 --kv-heads 2 --ff 256 --vocab 5000 "
                            "--ctx 256 --type f32";

static void zero(struct made *made, const char *name) {
    struct ggml_tensor *tensor = ggml_get_tensor(made->tensors, name);
    memset(tensor->data, 0, ggml_nbytes(tensor));
}

// Strong enough that each part matters.
static bool make_small(void) {
    struct made made;
    if (!made_synth(SMALL, made_base_path()) || !made_open(&made, made_base_path(), MADE_SHARP)) {
        return false;
    }
    for (struct ggml_tensor *t = ggml_get_first_tensor(made.tensors); t;
         t = ggml_get_next_tensor(made.tensors, t)) {
        float *values = t->data;
        bool is_scaled = strstr(t->name, "ffn_") || strstr(t->name, "attn_v.w") ||
                         strstr(t->name, "attn_output") || strcmp(t->name, "output.weight") == 0;
        for (int64_t i = 0; is_scaled && !strstr(t->name, "norm") && i < ggml_nelements(t); i++) {
            values[i] *= 5;
        }
    }
    return made_write(&made, made_base_path());
}

static double kl_without(const struct sample *s, const char *first, const char *second) {
    struct made made;
    if (!made_open(&made, made_base_path(), MADE_AS_IS)) {
        return NAN;
    }
    zero(&made, first);
    if (second) {
        zero(&made, second);
    }
    if (!made_write(&made, made_path())) {
        return NAN;
    }
    return plain_kl(made_base_path(), made_path(), held_out(s), LENGTH, SKIP);
}

static void near(const char *what, double found, double expected) {
    bool is_near = fabs(found - expected) <= 1e-3 * expected + 1e-6;
    if (!is_near) {
        printf("%s is %g, llama.cpp says %g\n", what, found, expected);
    }
    CHECK(is_near && expected > 1e-4);
}

static void divergences_are_those_of_changed_files(void) {
    struct analysis_options options = usual_options();
    struct sample s;
    struct analysis analysis;
    if (!analyse(made_base_path(), &options, &s, &analysis)) {
        return;
    }
    for (uint32_t i = 0; i < analysis.n_layer; i++) {
        char output[64], down[64];
        snprintf(output, sizeof output, "blk.%u.attn_output.weight", i);
        snprintf(down, sizeof down, "blk.%u.ffn_down.weight", i);
        near("KL without attention", analysis.layers[i].kl_no_attention,
             kl_without(&s, output, NULL));
        near("KL without a block", analysis.layers[i].kl_removed, kl_without(&s, output, down));
    }
    analysis_release(&analysis);
}

static double cosine(const float *a, const float *b, size_t n) {
    double ab = 0, aa = 0, bb = 0;
    for (size_t i = 0; i < n; i++) {
        ab += (double)a[i] * (double)b[i];
        aa += (double)a[i] * (double)a[i];
        bb += (double)b[i] * (double)b[i];
    }
    return ab / sqrt(aa * bb);
}

// Mean over all sequences that are learnt from, without their first tokens.
static void influence_is_that_of_the_engines_states(void) {
    struct analysis_options options = usual_options();
    struct sample s;
    struct analysis analysis;
    double sum[3] = {0};
    if (!analyse(made_base_path(), &options, &s, &analysis)) {
        return;
    }
    for (size_t i = 0; i + 1 < N_SEQUENCES; i++) {
        struct engine_states states;
        const struct engine_input in = {.tokens = s.tokens + i * LENGTH, .n_tokens = LENGTH};
        CHECK(engine_states_run(made_base_path(), &in, &states));
        for (uint32_t layer = 1; states.after && layer < states.n_layer; layer++) {
            for (size_t t = 1; t < LENGTH; t++) {
                sum[layer] += 1 - cosine(states.after[layer - 1] + t * states.n_embd,
                                         states.after[layer] + t * states.n_embd, states.n_embd);
            }
        }
        engine_states_release(&states);
    }
    for (uint32_t layer = 1; layer < 3; layer++) {
        near("influence", analysis.layers[layer].influence,
             sum[layer] / ((N_SEQUENCES - 1) * (LENGTH - 1)));
    }
    analysis_release(&analysis);
}

// Every other neuron of block 1 leads nowhere, and KV head 1's output neither.
static bool make_idle(void) {
    struct made made;
    if (!made_open(&made, made_base_path(), MADE_AS_IS)) {
        return false;
    }
    float *down = ggml_get_tensor(made.tensors, "blk.1.ffn_down.weight")->data;
    float *output = ggml_get_tensor(made.tensors, "blk.1.attn_output.weight")->data;
    for (size_t row = 0; row < 64; row++) {
        for (size_t i = 0; i < 256; i += 2) {
            down[row * 256 + i] = 0;
        }
        memset(output + row * 64 + 32, 0, 32 * sizeof *output);
    }
    return made_write(&made, made_path());
}

static void what_leads_nowhere_costs_nothing(void) {
    struct analysis_options options = usual_options();
    struct sample s;
    struct analysis analysis;
    CHECK(make_idle());
    if (!analyse(made_path(), &options, &s, &analysis)) {
        return;
    }
    const struct analysis_layer *idle = &analysis.layers[1], *busy = &analysis.layers[0];
    CHECK(idle->widths[7] == 128 && idle->ffn_error[7] < 1e-6 && busy->ffn_error[7] > 1e-3);
    CHECK(idle->group_error[0] < 1e-6 && busy->group_error[0] > 1e-3);
    CHECK(idle->ffn_sensitivity * idle->ffn_error[7] < 1e-6);
    CHECK(busy->ffn_sensitivity * busy->ffn_error[7] > 1e-4);
    analysis_release(&analysis);
}

// ---- JSON ----

static bool is_same(const json_t *json, const struct analysis *b) {
    json_t *again = analysis_json(b);
    bool is_same = json_equal(json, again);
    json_decref(again);
    return is_same;
}

// A change of the document, as it would be in a file that somebody edited.
struct edit {
    const char *key; // of block 0; "" = of the whole
    const char *sub; // a member or NULL
    const char *value;
    const char *says;
};

static const struct edit EDITS[] = {
    {"", "layers", "[]", "'layers': expected an array of 1 to"},
    {"", "layers", "{}", "'layers'"},
    {"", "layers", "[7]", "block 0"},
    {"", "arch", "7", "arch"},
    {"", "arch", "\"a name that is longer than an architecture's\"", "up to 31 bytes"},
    {"", "n_tokens", "0", "n_tokens"},
    {"", "seconds", "null", "seconds"},
    {"layer", NULL, "1", "'layer': expected 0 to 0, found 1"},
    {"influence", NULL, "null", "influence: expected a number from 0 to 2"},
    {"influence", NULL, "-0.1", "found -0.1"},
    {"kl_removed", NULL, "1e300", "kl_removed"},
    {"kl_removed", NULL, "\"x\"", "kl_removed"},
    {"widths", NULL, "[1, 2]", "'widths': expected an array of 16"},
    {"widths", NULL, "[9,8,9,9,9,9,9,9,9,9,9,9,9,9,9,9]", "never fall"},
    {"widths", NULL, "[0,8,9,9,9,9,9,9,9,9,9,9,9,9,9,9]", "from 1"},
    {"ffn_error", NULL, "[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0.5]", "never rise"},
    {"ffn_tail", NULL, "[3,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]", "from 0 to 2, found 3"},
    {"group_error", NULL, "[]", "'group_error': expected an array of 1 to 128"},
    {"group_tail", NULL, "[0]", "'group_tail': expected an array of 2"},
    {"ffn", NULL, "3", "'ffn': expected an object"},
    {"ffn", "chi_10", "100000", "'chi_10'"},
    {"ffn", "entropy", "100", "entropy"},
    {"bonds", NULL, "[1]", "'bonds': expected an array of none or 5"},
};

static void apply(json_t *document, const struct edit *edit) {
    json_t *block = json_array_get(json_object_get(document, "layers"), 0), *value = NULL;
    json_t *object = edit->key[0] == '\0' ? document
                     : edit->sub          ? json_object_get(block, edit->key)
                                          : block;
    char text[256];
    int n = snprintf(text, sizeof text, "[%s]", edit->value);
    CHECK(wl_json_parse(text, (size_t)n, &value, NULL) == WL_OK);
    json_object_set(object, edit->sub ? edit->sub : edit->key, json_array_get(value, 0));
    json_decref(value);
}

static void json_comes_back_and_wrong_json_is_refused(void) {
    struct analysis_options options = usual_options();
    struct sample s;
    struct analysis analysis, again;
    struct wl_err err = {0};
    options.with_bonds = true;
    if (!analyse(made_base_path(), &options, &s, &analysis)) {
        return;
    }
    json_t *json = analysis_json(&analysis);
    CHECK_OK(analysis_parse(json, &again, &err), err);
    CHECK(is_same(json, &again) && again.n_layer == analysis.n_layer);
    analysis_release(&again);
    for (size_t i = 0; i < sizeof EDITS / sizeof EDITS[0]; i++) {
        json_t *wrong = json_deep_copy(json);
        apply(wrong, &EDITS[i]);
        CHECK(analysis_parse(wrong, &again, &err) == WL_INPUT && !again.layers);
        CHECK(message_has(&err, EDITS[i].says));
        json_decref(wrong);
    }
    json_t *list = json_array();
    CHECK(analysis_parse(list, &again, &err) == WL_INPUT);
    CHECK(analysis_parse(NULL, &again, &err) == WL_INPUT);
    json_decref(list);
    json_decref(json);
    analysis_release(&analysis);
}

// ---- progress, wrong texts ----

struct watch {
    int n_asked, stop_at;
    double last;
    bool went_back;
};

static bool look(void *context, double share_done) {
    struct watch *w = context;
    w->went_back |= share_done < w->last || share_done > 1;
    w->last = share_done;
    return ++w->n_asked != w->stop_at;
}

static void it_reports_and_stops(void) {
    struct sample s;
    struct analysis analysis;
    struct wl_err err = {0};
    struct compress_source source;
    struct watch watch = {0};
    struct analysis_options options = usual_options();
    options.go_on = look;
    options.context = &watch;
    if (analyse(made_base_path(), &options, &s, &analysis)) {
        CHECK(!watch.went_back && fabs(watch.last - 1) < 1e-6);
        analysis_release(&analysis);
    }
    int n = watch.n_asked;
    CHECK_OK(compress_source_open(&source, made_base_path(), COMPRESS_CAREFUL, &err), err);
    for (int stop_at = 1; stop_at <= n; stop_at += n / 6 > 0 ? n / 6 : 1) {
        watch = (struct watch){.stop_at = stop_at};
        CHECK(analysis_run(&source, &s.text, &options, &analysis, &err) == WL_INTERRUPTED);
        CHECK(watch.n_asked == stop_at && !analysis.layers);
    }
    compress_source_close(&source);
}

static void wrong_texts_are_refused(void) {
    struct sample s;
    struct analysis analysis;
    struct wl_err err = {0};
    struct compress_source source;
    CHECK_OK(compress_source_open(&source, made_base_path(), COMPRESS_CAREFUL, &err), err);
    make_sample(&s, source.n_vocab);
    struct analysis_options options = usual_options();
    options.n_held_out = 0;
    CHECK(analysis_run(&source, &s.text, &options, &analysis, &err) == WL_INPUT);
    options.n_held_out = N_SEQUENCES;
    CHECK(analysis_run(&source, &s.text, &options, &analysis, &err) == WL_INPUT);
    CHECK(message_has(&err, "24 of 24 sequences are held out"));
    options = usual_options();
    options.n_tokens_kl = 0;
    CHECK(analysis_run(&source, &s.text, &options, &analysis, &err) == WL_INPUT);
    options = usual_options();
    options.scratch_dir = "/no/such/folder";
    CHECK(analysis_run(&source, &s.text, &options, &analysis, &err) != WL_OK);
    CHECK(message_has(&err, "/no/such/folder"));
    options = usual_options();
    s.tokens[5] = COMPRESS_IMAGE_TOKEN;
    CHECK(analysis_run(&source, &s.text, &options, &analysis, &err) == WL_INPUT);
    CHECK(message_has(&err, "token 5 is of an image that is not there"));
    s.tokens[5] = (int32_t)source.n_vocab;
    CHECK(analysis_run(&source, &s.text, &options, &analysis, &err) == WL_INPUT);
    s.tokens[5] = 0;
    s.lengths[0] = 1;
    CHECK(analysis_run(&source, &s.text, &options, &analysis, &err) == WL_INPUT);
    CHECK(message_has(&err, "sequence 0 has 1 tokens"));
    compress_source_close(&source);
}

int main(void) {
    char path[OS_PATH_BYTES];
    setenv("OPENBLAS_NUM_THREADS", "1", 1);
    need_model(test_path(path, source_dir(), "models/builtin/builtin.gguf"));
    the_bounds_hold_on_the_built_in_model(path);
    if (!made_begin() || !make_small()) {
        printf("skipped the made models: $WATTLAW is not set, or there is no room "
               "in /tmp\n");
        return n_wrong ? TEST_WRONG : TEST_SKIPPED;
    }
    divergences_are_those_of_changed_files();
    influence_is_that_of_the_engines_states();
    what_leads_nowhere_costs_nothing();
    json_comes_back_and_wrong_json_is_refused();
    it_reports_and_stops();
    wrong_texts_are_refused();
    made_end();
    return n_wrong ? TEST_WRONG : TEST_RIGHT;
}
