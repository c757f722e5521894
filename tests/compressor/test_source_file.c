// compressor/source.c on files: what is refused, each with one clear sentence; weights and
// embeddings as ggml itself reads them; nothing accepted that llama.cpp does not load.
//
// Exit codes: 0 right, 1 wrong, 77 skipped.
#include <llama.h>
#include <math.h>

#include "compressor/source.h"
#include "made_model.h"
#include "worker/backends.h"
#include "worker/log.h"

enum { RIGHT = 0, WRONG = 1, SKIPPED = 77 };

#define TINY " --layers 2 --embd 64 --heads 4 --kv-heads 2 --ff 256 --vocab 512 --type f16"
static const char LLAMA[] = "--arch llama" TINY;
static const char GEMMA3[] = "--arch gemma3" TINY;
static const char QWEN2VL[] = "--arch qwen2vl" TINY;

// ---- changes ----

static void change_nothing(struct made *made) {
    (void)made;
}
static void be_phi3(struct made *made) {
    gguf_set_val_str(made->keys, "general.architecture", "phi3");
}
static void have_experts(struct made *made) {
    gguf_set_val_u32(made->keys, "llama.expert_count", 8);
}
static void guess_ahead(struct made *made) {
    gguf_set_val_u32(made->keys, "llama.nextn_predict_layers", 1);
}
static void be_a_part(struct made *made) {
    gguf_set_val_u16(made->keys, "split.count", 2);
}
static void see_what_follows(struct made *made) {
    gguf_set_val_bool(made->keys, "llama.attention.causal", false);
}
static void add_router(struct made *made) {
    made_add(made, "blk.1.ffn_gate_inp.weight", 64, 8, 0, 1);
}
static void add_gate_bias(struct made *made) {
    made_add(made, "blk.1.ffn_gate.bias", 256, 1, 0, 1);
}
static void add_table(struct made *made) {
    made_add(made, "position_embd.weight", 64, 512, 0, 1);
}
static void add_layer(struct made *made) {
    made_add(made, "blk.2.attn_norm.weight", 64, 1, 0, 1);
}
static void add_odd_name(struct made *made) {
    made_add(made, "blk.01.attn_norm.weight", 64, 1, 0, 1);
}
static void list_widths(struct made *made) {
    static const uint32_t WIDTHS[] = {256, 128};
    gguf_set_arr_data(made->keys, "llama.feed_forward_length", GGUF_TYPE_UINT32, WIDTHS, 2);
}
static void list_heads(struct made *made) {
    static const uint32_t HEADS[] = {4, 2};
    gguf_set_arr_data(made->keys, "llama.attention.head_count", GGUF_TYPE_UINT32, HEADS, 2);
}
static void lose_width(struct made *made) {
    gguf_remove_key(made->keys, "llama.feed_forward_length");
}
static void misstate_width(struct made *made) {
    gguf_set_val_u32(made->keys, "llama.feed_forward_length", 128);
}
static void write_width_out(struct made *made) {
    gguf_set_val_str(made->keys, "llama.feed_forward_length", "256");
}
static void have_no_layers(struct made *made) {
    gguf_set_val_u32(made->keys, "llama.block_count", 0);
}
static void have_many_layers(struct made *made) {
    gguf_set_val_u32(made->keys, "llama.block_count", 1000000);
}
static void share_heads_unevenly(struct made *made) {
    gguf_set_val_u32(made->keys, "llama.attention.head_count_kv", 3);
}
static void have_wide_values(struct made *made) {
    gguf_set_val_u32(made->keys, "llama.attention.value_length", 32);
}
static void turn_half(struct made *made) {
    gguf_set_val_u32(made->keys, "llama.rope.dimension_count", 8);
}
static void have_no_epsilon(struct made *made) {
    gguf_remove_key(made->keys, "llama.attention.layer_norm_rms_epsilon");
}
static void turn_by_nan(struct made *made) {
    gguf_set_val_f32(made->keys, "llama.rope.freq_base", NAN);
}
static void stretch_by_yarn(struct made *made) {
    gguf_set_val_str(made->keys, "llama.rope.scaling.type", "yarn");
    gguf_set_val_f32(made->keys, "llama.rope.scaling.factor", 4);
}
static void amplify_rope(struct made *made) {
    gguf_set_val_f32(made->keys, "llama.rope.scaling.attn_factor", 1.2F);
}
static void stop_rope(struct made *made) {
    made_add(made, "rope_freqs.weight", 8, 1, 0, 0);
}
static void shorten_rope_factors(struct made *made) {
    made_add(made, "rope_freqs.weight", 7, 1, 1, 0);
}
static void lose_tensor(struct made *made) {
    made_rename(made, "blk.1.ffn_up.weight", "");
}
static void lose_embedding(struct made *made) {
    made_rename(made, "token_embd.weight", "");
}
static void deepen_tensor(struct made *made) {
    made_rename(made, "blk.1.ffn_norm.weight", "");
    made_add(made, "blk.1.ffn_norm.weight", 64, 2, 0, 1);
}
static void write_integers(struct made *made) {
    struct ggml_tensor *t = ggml_new_tensor_1d(made->tensors, GGML_TYPE_I32, 64);
    made_rename(made, "blk.1.ffn_norm.weight", "");
    ggml_set_name(t, "blk.1.ffn_norm.weight");
}
static void lose_tokens(struct made *made) {
    const char *tokens[] = {"a", "b"};
    gguf_set_arr_str(made->keys, "tokenizer.ggml.tokens", tokens, 2);
}
static void lose_sections(struct made *made) {
    gguf_remove_key(made->keys, "qwen2vl.rope.dimension_sections");
}
static void have_empty_sections(struct made *made) {
    static const int32_t SECTIONS[] = {0, 0, 0, 8};
    gguf_set_arr_data(made->keys, "qwen2vl.rope.dimension_sections", GGUF_TYPE_INT32, SECTIONS, 4);
}
static void have_negative_window(struct made *made) {
    gguf_set_val_i32(made->keys, "gemma3.attention.sliding_window", -1);
}
static void list_windows_short(struct made *made) {
    static const int8_t IS_WINDOWED[] = {1};
    gguf_set_arr_data(made->keys, "gemma3.attention.sliding_window_pattern", GGUF_TYPE_BOOL,
                      IS_WINDOWED, 1);
}

// ---- refusals ----

struct refusal {
    const char *synth;
    void (*change)(struct made *made);
    enum wl_status status; // WL_OK: it is not refused
    const char *says;      // part of the message
};

static const struct refusal REFUSALS[] = {
    {LLAMA, change_nothing, WL_OK, ""},
    {LLAMA, be_phi3, WL_UNSUPPORTED,
     "'phi3', expected one of llama, qwen2, qwen2vl, qwen3, gemma3"},
    {LLAMA, have_experts, WL_UNSUPPORTED, "a mixture of experts (key 'llama.expert_count')"},
    {LLAMA, guess_ahead, WL_UNSUPPORTED, "'llama.nextn_predict_layers'"},
    {LLAMA, be_a_part, WL_UNSUPPORTED, "one of 2 parts; join them first"},
    {LLAMA, see_what_follows, WL_UNSUPPORTED, "'llama.attention.causal'"},
    {LLAMA, add_router, WL_UNSUPPORTED, "'blk.1.ffn_gate_inp.weight' is not known"},
    {LLAMA, add_gate_bias, WL_UNSUPPORTED, "'blk.1.ffn_gate.bias' is not known"},
    {LLAMA, add_table, WL_UNSUPPORTED, "'position_embd.weight' is not known"},
    {LLAMA, add_layer, WL_INPUT, "'llama.block_count' is 2"},
    {LLAMA, add_odd_name, WL_UNSUPPORTED, "'blk.01.attn_norm.weight' is not known"},
    {LLAMA, list_widths, WL_UNSUPPORTED, "'llama.feed_forward_length' is a list of 2"},
    {LLAMA, list_heads, WL_UNSUPPORTED, "'llama.attention.head_count' is a list of 2"},
    {LLAMA, lose_width, WL_INPUT, "'llama.feed_forward_length' is missing"},
    {LLAMA, misstate_width, WL_INPUT, "'blk.0.ffn_gate.weight' is 64 x 256, expected 64 x 128"},
    {LLAMA, write_width_out, WL_INPUT, "'llama.feed_forward_length' is no integer"},
    {LLAMA, have_no_layers, WL_INPUT, "'llama.block_count' is 0, expected 1 to 512"},
    {LLAMA, have_many_layers, WL_INPUT, "'llama.block_count' is 1000000, expected 1 to 512"},
    {LLAMA, share_heads_unevenly, WL_INPUT, "expected a multiple of head_count_kv, 3"},
    {LLAMA, have_wide_values, WL_UNSUPPORTED, "'llama.attention.value_length' is 32"},
    {LLAMA, turn_half, WL_UNSUPPORTED, "'llama.rope.dimension_count' is 8"},
    {LLAMA, have_no_epsilon, WL_INPUT, "layer_norm_rms_epsilon' is missing"},
    {LLAMA, turn_by_nan, WL_INPUT, "'llama.rope.freq_base' is nan"},
    {LLAMA, stretch_by_yarn, WL_UNSUPPORTED, "'llama.rope.scaling.type' is 'yarn'"},
    {LLAMA, amplify_rope, WL_UNSUPPORTED, "'llama.rope.scaling.attn_factor' is 1.2"},
    {LLAMA, stop_rope, WL_INPUT, "'rope_freqs.weight' holds 0"},
    {LLAMA, shorten_rope_factors, WL_INPUT, "'rope_freqs.weight' is 7 x 1, expected 8 x 1"},
    {LLAMA, lose_tensor, WL_INPUT, "'blk.1.ffn_up.weight' is missing"},
    {LLAMA, lose_embedding, WL_INPUT, "'token_embd.weight' is missing"},
    {LLAMA, deepen_tensor, WL_INPUT, "'blk.1.ffn_norm.weight' is 64 x 2, expected 64 x 1"},
    {LLAMA, write_integers, WL_UNSUPPORTED,
     "'blk.1.ffn_norm.weight' is stored as i32, which holds no weights"},
    {LLAMA, lose_tokens, WL_INPUT, "has 2 tokens, expected 512"},
    {QWEN2VL, lose_sections, WL_INPUT, "'qwen2vl.rope.dimension_sections' is missing or wrong"},
    {QWEN2VL, have_empty_sections, WL_INPUT, "'qwen2vl.rope.dimension_sections'"},
    {GEMMA3, have_negative_window, WL_INPUT, "'gemma3.attention.sliding_window'"},
    {GEMMA3, list_windows_short, WL_INPUT, "has 1 elements, expected one per layer, 2"},
};

static bool make(const char *synth, void (*change)(struct made *made)) {
    static const char *last;
    struct made made;
    if (last != synth && !made_synth(synth, made_base_path())) {
        return false;
    }
    last = synth;
    if (!made_open(&made, made_base_path(), MADE_AS_IS)) {
        return false;
    }
    change(&made);
    return made_write(&made, made_path());
}

static bool check_message(enum wl_status status, const struct wl_err *err, enum wl_status expected,
                          const char *says) {
    bool is_right = status == expected && (status == WL_OK || strstr(err->message, says));
    if (!is_right) {
        printf("not ok: %s, expected %s with \"%s\"\n", wl_status_name(status),
               wl_status_name(expected), says);
    }
    if (status != WL_OK) {
        printf("%s: %s\n", is_right ? "ok" : "   ", err->message);
    }
    return is_right;
}

static bool check_refusal(const struct refusal *refusal) {
    struct compress_source source;
    struct wl_err err = {0};
    if (!make(refusal->synth, refusal->change)) {
        printf("not ok: no model to be refused with \"%s\"\n", refusal->says);
        return false;
    }
    enum wl_status status = compress_source_open(&source, made_path(), COMPRESS_CAREFUL, &err);
    bool is_right = check_message(status, &err, refusal->status, refusal->says);
    compress_source_close(&source); // fine after a failure too
    return is_right;
}

// ---- names that occur twice ----

static void add_two_biases(struct made *made) {
    made_add(made, "blk.0.attn_q.bias", 64, 1, 0, 1);
    made_add(made, "blk.1.attn_q.bias", 64, 1, 0, 1);
}

// Writes `to` over the first `from` of the file; both are equally long.
static bool overwrite(const char *path, const char *from, const char *to) {
    static char bytes[1 << 20];
    FILE *file = fopen(path, "r+b");
    size_t n = file ? fread(bytes, 1, sizeof bytes, file) : 0;
    const char *place = n ? memmem(bytes, n, from, strlen(from)) : NULL;
    bool is_ok = place && fseek(file, place - bytes, SEEK_SET) == 0 &&
                 fwrite(to, 1, strlen(to), file) == strlen(to);
    return file && fclose(file) == 0 && is_ok;
}

static bool check_twins(void) {
    struct compress_source source;
    struct wl_err err = {0};
    if (!make(LLAMA, add_two_biases) ||
        !overwrite(made_path(), "blk.1.attn_q.bias", "blk.0.attn_q.bias")) {
        printf("not ok: no model with two tensors of one name\n");
        return false;
    }
    enum wl_status status = compress_source_open(&source, made_path(), COMPRESS_CAREFUL, &err);
    return check_message(status, &err, WL_INPUT, "23 tensors have 22 names");
}

// ---- values ----

static void spoil_weight(struct made *made) {
    float *values = ggml_get_tensor(made->tensors, "blk.1.ffn_norm.weight")->data;
    values[63] = INFINITY;
}
static void spoil_token(struct made *made) {
    ggml_fp16_t *values = ggml_get_tensor(made->tensors, "token_embd.weight")->data;
    values[64 * 7 + 3] = 0x7E00; // not a number
}

static bool check_values(void) {
    struct compress_source source;
    struct compress_block block;
    struct wl_err err = {0};
    float x[2 * 64];
    const int32_t tokens[] = {3, 7}, outside[] = {3, 512}, negative[] = {-1};
    bool is_right = make(LLAMA, spoil_weight) &&
                    compress_source_open(&source, made_path(), COMPRESS_CAREFUL, &err) == WL_OK;
    if (!is_right) {
        printf("not ok: a model with an infinite weight: %s\n", err.message);
        return false;
    }
    is_right &= compress_source_load(&source, 0, &block, &err) == WL_OK;
    compress_block_release(&block);
    is_right &= check_message(compress_source_load(&source, 1, &block, &err), &err, WL_INPUT,
                              "'blk.1.ffn_norm.weight' holds a value that is not finite in row 0");
    is_right &= check_message(compress_source_load(&source, 2, &block, &err), &err, WL_INPUT,
                              "there is no layer 2");
    is_right &= compress_source_embed(&source, tokens, 2, x, &err) == WL_OK;
    is_right &= check_message(compress_source_embed(&source, outside, 2, x, &err), &err, WL_INPUT,
                              "token 1 is 512, expected 0 to 511");
    is_right &= check_message(compress_source_embed(&source, negative, 1, x, &err), &err, WL_INPUT,
                              "token 0 is -1, expected 0 to 511");
    compress_source_close(&source);
    is_right &= make(LLAMA, spoil_token) &&
                compress_source_open(&source, made_path(), COMPRESS_CAREFUL, &err) == WL_OK;
    is_right &= check_message(compress_source_embed(&source, tokens, 2, x, &err), &err, WL_INPUT,
                              "'token_embd.weight' holds a value that is not finite in row 7");
    compress_source_close(&source);
    return is_right;
}

// ---- types ----

struct stored {
    const char *type; // of synth
    enum compress_force force;
    enum wl_status careful; // what happens without force
};

static const struct stored STORED[] = {
    {"f32", COMPRESS_CAREFUL, WL_OK},           {"f16", COMPRESS_CAREFUL, WL_OK},
    {"bf16", COMPRESS_CAREFUL, WL_OK},          {"q8_0", COMPRESS_CAREFUL, WL_OK},
    {"q6_k", COMPRESS_CAREFUL, WL_OK},          {"q5_k_m", COMPRESS_FORCE, WL_UNSUPPORTED},
    {"q4_k_m", COMPRESS_FORCE, WL_UNSUPPORTED}, {"q4_0", COMPRESS_FORCE, WL_UNSUPPORTED},
};

static bool are_same(const float *a, const float *b, size_t n) {
    size_t i = 0;
    while (i < n && a[i] == b[i]) {
        i++;
    }
    return i == n;
}

// Every float of both files' blocks and embeddings is the same.
static bool is_equal(const struct compress_source *a, const struct compress_source *b) {
    enum { N = 3, WIDTH = 256 };
    static const int32_t TOKENS[N] = {0, 5, 511};
    float x[2][N * WIDTH];
    struct wl_err err;
    bool is_right = a->n_embd == WIDTH && a->n_layer == b->n_layer &&
                    compress_source_embed(a, TOKENS, N, x[0], &err) == WL_OK &&
                    compress_source_embed(b, TOKENS, N, x[1], &err) == WL_OK &&
                    are_same(x[0], x[1], N * WIDTH);
    for (uint32_t layer = 0; is_right && layer < a->n_layer; layer++) {
        struct compress_block one, other;
        is_right = compress_source_load(a, layer, &one, &err) == WL_OK &&
                   compress_source_load(b, layer, &other, &err) == WL_OK;
        size_t n = 2 * WIDTH + 4 * WIDTH * WIDTH - 2 * WIDTH * WIDTH / 2 + 3 * WIDTH * 512;
        is_right = is_right && are_same(one.memory, other.memory, n) &&
                   one.weights.attn_norm == one.memory &&
                   one.weights.down + 512 * (size_t)WIDTH == one.memory + n;
        compress_block_release(&one);
        compress_block_release(&other);
    }
    return is_right;
}

static bool check_stored(const struct stored *stored) {
    struct compress_source source = {0}, same = {0};
    struct wl_err err = {0};
    char synth[256];
    snprintf(synth, sizeof synth,
             "--arch llama --layers 2 --embd 256 --heads 4 --kv-heads 2 --ff 512 --vocab 512 "
             "--type %s",
             stored->type);
    struct made made;
    if (!made_synth(synth, made_base_path()) || !made_open(&made, made_base_path(), MADE_F32) ||
        !made_write(&made, made_path())) {
        printf("not ok: no model in %s\n", stored->type);
        return false;
    }
    bool is_right =
        check_message(compress_source_open(&source, made_base_path(), COMPRESS_CAREFUL, &err), &err,
                      stored->careful, "or force it");
    compress_source_close(&source);
    is_right &= compress_source_open(&source, made_base_path(), stored->force, &err) == WL_OK &&
                compress_source_open(&same, made_path(), COMPRESS_CAREFUL, &err) == WL_OK &&
                is_equal(&source, &same);
    printf("%s: weights stored as %s\n", is_right ? "ok" : "not ok", stored->type);
    compress_source_close(&source);
    compress_source_close(&same);
    return is_right;
}

// ---- what llama.cpp takes ----

struct extra {
    const char *name;
    int64_t width; // of a model of TINY
};

static const struct extra EXTRAS[] = {
    {"blk.0.attn_q.bias", 64},      {"blk.0.attn_k.bias", 32},   {"blk.0.attn_v.bias", 32},
    {"blk.0.attn_output.bias", 64}, {"blk.0.ffn_down.bias", 64}, {"rope_freqs.weight", 8},
};
static const char *const ARCHS[] = {"llama", "qwen2", "qwen2vl", "qwen3", "gemma3"};

static bool loads(const char *path) {
    struct llama_model_params params = llama_model_default_params();
    params.n_gpu_layers = 0;
    log_mute(true);
    struct llama_model *model = llama_model_load_from_file(path, params);
    log_mute(false);
    if (model) {
        llama_model_free(model);
    }
    return model != NULL;
}

// The rows of arch.def say of every tensor that may be there what llama.cpp says.
static bool check_extra(const char *arch, const struct extra *extra) {
    struct compress_source source;
    struct made made;
    struct wl_err err;
    if (!made_open(&made, made_base_path(), MADE_AS_IS)) {
        return false;
    }
    bool has_it = ggml_get_tensor(made.tensors, extra->name) != NULL;
    if (!has_it) {
        made_add(&made, extra->name, extra->width, 1, 1, 0);
    }
    bool is_made = made_write(&made, made_path());
    bool is_ours = compress_source_open(&source, made_path(), COMPRESS_CAREFUL, &err) == WL_OK;
    compress_source_close(&source);
    bool is_theirs = is_made && loads(made_path());
    printf("%s: %s %s %s%s\n", is_ours == is_theirs ? "ok" : "not ok", arch,
           is_ours ? "takes" : "refuses", extra->name,
           is_ours == is_theirs ? "" : ", but llama.cpp does not agree");
    return is_ours == is_theirs;
}

static bool check_arch(const char *arch) {
    char synth[256];
    bool is_right = true;
    snprintf(synth, sizeof synth, "--arch %s%s", arch, TINY);
    if (!made_synth(synth, made_base_path())) {
        printf("not ok: no model of %s\n", arch);
        return false;
    }
    for (size_t i = 0; i < sizeof EXTRAS / sizeof EXTRAS[0]; i++) {
        is_right &= check_extra(arch, &EXTRAS[i]);
    }
    return is_right;
}

int main(void) {
    struct wl_err err = {0};
    bool is_right = true;
    log_capture();
    if (backends_load(&err) != WL_OK) {
        printf("%s\n", err.message);
        return WRONG;
    }
    if (!made_begin()) {
        printf("skipped: $WATTLAW is not set, or there is no room in /tmp\n");
        return SKIPPED;
    }
    for (size_t i = 0; i < sizeof REFUSALS / sizeof REFUSALS[0]; i++) {
        is_right &= check_refusal(&REFUSALS[i]);
    }
    is_right &= check_twins();
    is_right &= check_values();
    for (size_t i = 0; i < sizeof STORED / sizeof STORED[0]; i++) {
        is_right &= check_stored(&STORED[i]);
    }
    for (size_t i = 0; i < sizeof ARCHS / sizeof ARCHS[0]; i++) {
        is_right &= check_arch(ARCHS[i]);
    }
    made_end();
    return is_right ? RIGHT : WRONG;
}
