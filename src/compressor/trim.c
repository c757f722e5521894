#include "compressor/trim.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "compressor/certificate.h"
#include "compressor/target.h"
#include "compressor/trim_check.h"
#include "compressor/trim_vocab.h"
#include "os/file.h"

// Where the time goes, in shares.
static const double CHOICE_END = 0.3, WRITE_END = 0.6;

struct run {
    const struct trim_options *options;
    const struct compress_text *text;
    const char *in, *out;
    char unproven[OS_PATH_BYTES]; // where the file is until it has been tried
    struct gguf_file file;
    struct text_watch watch;
    struct text_model before, after;
    struct trim_vocab vocab;
    struct vocab_trim trim;
    struct compress_target *target;
    uint64_t *counts;
    bool *needed;
    double begin, share; // of the stage that runs
};

static bool go_on(void *context, double share_done) {
    const struct run *run = context;
    return !run->options->go_on ||
           run->options->go_on(run->options->context, run->begin + run->share * share_done);
}

static enum wl_status enter(struct run *run, double begin, double end, struct wl_err *err) {
    run->begin = begin;
    run->share = end - begin;
    return go_on(run, 0)
               ? WL_OK
               : wl_err_set(err, WL_INTERRUPTED, "interrupted: '%s' was not written", run->out);
}

// ---- what there is ----

// Before llama.cpp is asked, which looks for the other parts.
static enum wl_status check_parts(const struct run *run, struct wl_err *err) {
    return gguf_file_uint(&run->file, "split.count", 0, 1) > 1
               ? wl_err_set(err, WL_UNSUPPORTED,
                            "'%s' is one of several parts; join them first: llama-gguf-split "
                            "--merge <first part> <file>",
                            run->in)
               : WL_OK;
}

static enum wl_status check_file(const struct run *run, struct wl_err *err) {
    size_t n = run->vocab.vocab.n_tokens;
    for (uint64_t i = 0; i < run->file.n_tensors; i++) {
        const struct gguf_tensor *tensor = &run->file.tensors[i];
        if (strcmp(tensor->name, "token_embd.weight") == 0) {
            return tensor->ne[1] == n && run->before.n_vocab == n
                       ? WL_OK
                       : wl_err_set(err, WL_INPUT,
                                    "'%s' has %zu tokens, but 'token_embd.weight' has %" PRIu64
                                    " rows",
                                    run->in, n, tensor->ne[1]);
        }
    }
    return wl_err_set(err, WL_INPUT, "'%s' has no tensor 'token_embd.weight'", run->in);
}

static enum wl_status open_run(struct run *run, struct wl_err *err) {
    if (snprintf(run->unproven, sizeof run->unproven, "%s.unproven", run->out) >=
        (int)sizeof run->unproven) {
        run->unproven[0] = '\0';
        return wl_err_set(err, WL_LIMIT, "the path '%.100s...' is too long", run->out);
    }
    enum wl_status status = gguf_file_open(&run->file, run->in, err);
    status = status ? status : check_parts(run, err);
    if (status != WL_OK) {
        return status;
    }
    status = trim_vocab_open(&run->vocab, &run->file, err);
    if (status != WL_OK) {
        return wl_err_prefix(err, "cannot trim '%s'", run->in);
    }
    status = text_model_load(&run->before, run->in, TEXT_MODEL_VOCABULARY, &run->watch, err);
    return status ? status : check_file(run, err);
}

// ---- what stays ----

static enum wl_status check_text(const struct run *run, struct wl_err *err) {
    const struct compress_text *text = run->text;
    size_t n = 0;
    for (size_t s = 0; s < text->n_sequences && n <= text->n_tokens; s++) {
        n += text->lengths[s];
    }
    return n == text->n_tokens && n > 0 && run->options->n_held_out < text->n_sequences
               ? WL_OK
               : wl_err_set(err, WL_INPUT,
                            "the text has %zu tokens in %zu sequences, %zu of them held out: "
                            "nothing to count",
                            text->n_tokens, text->n_sequences, run->options->n_held_out);
}

// Held-out text does not vote.
static enum wl_status count(struct run *run, struct wl_err *err) {
    const struct compress_text *text = run->text;
    size_t n_learnt = text->n_sequences - run->options->n_held_out, at = 0;
    uint32_t n_vocab = (uint32_t)run->vocab.vocab.n_tokens;
    for (size_t s = 0; s < text->n_sequences; s++) {
        for (uint32_t i = 0; i < text->lengths[s]; i++, at++) {
            int32_t token = text->tokens[at];
            if (token == COMPRESS_IMAGE_TOKEN) {
                continue;
            }
            if (token < 0 || (uint32_t)token >= n_vocab) {
                return wl_err_set(err, WL_INPUT,
                                  "token %zu of the text is %" PRId32 ", expected 0 to %" PRIu32
                                  ": it is not of this model's vocabulary",
                                  at, token, n_vocab - 1);
            }
            run->counts[token] += s < n_learnt;
        }
    }
    return WL_OK;
}

static enum wl_status choose(struct run *run, struct wl_err *err) {
    size_t n = run->vocab.vocab.n_tokens;
    run->counts = calloc(n, sizeof *run->counts);
    run->needed = calloc(n, sizeof *run->needed);
    if (!run->counts || !run->needed) {
        return wl_err_set(err, WL_MEMORY, "no memory to count %zu tokens", n);
    }
    enum wl_status status = check_text(run, err);
    status = status ? status : count(run, err);
    status = status ? status : trim_need_template(&run->before, run->needed, err);
    if (status != WL_OK) {
        return status;
    }
    trim_vocab_need(&run->vocab, &run->file, run->needed);
    const struct trim_choice choice = {.counts = run->counts,
                                       .needed = run->needed,
                                       .n_wanted = run->options->n_wanted,
                                       .n_first = run->options->n_first};
    status = trim_vocab_choose(&run->vocab, &choice, &run->trim, err);
    return status ? wl_err_prefix(err, "cannot trim '%s'", run->in) : WL_OK;
}

// ---- the file ----

static enum wl_status pick_arrays(struct run *run, struct wl_err *err) {
    static const char *const KEYS[] = {"tokenizer.ggml.tokens", "tokenizer.ggml.scores",
                                       "tokenizer.ggml.token_type"};
    enum wl_status status = WL_OK;
    for (size_t i = 0; i < sizeof KEYS / sizeof KEYS[0] && status == WL_OK; i++) {
        const struct gguf_kv *kv = gguf_file_find(&run->file, KEYS[i]);
        if (kv && kv->n != run->vocab.vocab.n_tokens) {
            return wl_err_set(err, WL_INPUT, "key '%s' has %" PRIu64 " elements, expected %zu",
                              KEYS[i], kv->n, run->vocab.vocab.n_tokens);
        }
        status =
            kv ? compress_target_pick(run->target, KEYS[i], run->trim.kept, run->trim.n_kept, err)
               : WL_OK;
    }
    return status || run->vocab.is_spm
               ? status
               : compress_target_pick(run->target, "tokenizer.ggml.merges", run->trim.merges,
                                      run->trim.n_merges, err);
}

// A number outside of the vocabulary stands for none and stays.
static uint32_t renumber(const struct run *run, uint64_t token) {
    return token < run->vocab.vocab.n_tokens ? (uint32_t)run->trim.renumber[token]
                                             : (uint32_t)token;
}

static enum wl_status renumber_key(struct run *run, const struct gguf_kv *kv, struct wl_err *err) {
    char key[256];
    if (kv->key_len >= sizeof key) {
        return wl_err_set(err, WL_LIMIT, "a key that names a token is too long");
    }
    memcpy(key, kv->key, kv->key_len);
    key[kv->key_len] = '\0';
    if (!kv->is_array) {
        uint64_t token = gguf_file_uint(&run->file, key, 0, 0);
        return compress_target_set_u32(run->target, key, renumber(run, token), err);
    }
    uint32_t *tokens = calloc((size_t)kv->n + 1, sizeof *tokens);
    if (!tokens) {
        return wl_err_set(err, WL_MEMORY, "no memory for the key '%s'", key);
    }
    for (uint64_t i = 0; i < kv->n; i++) {
        tokens[i] = renumber(run, gguf_file_uint(&run->file, key, i, 0));
    }
    enum wl_status status = compress_target_set_u32s(run->target, key, tokens, (size_t)kv->n, err);
    free(tokens);
    return status;
}

// Where no key names the end of a turn llama.cpp takes the first of several markers that it comes
// across, in an order that depends on the number of tokens: so it is named.
static enum wl_status name_end_of_turn(struct run *run, struct wl_err *err) {
    static const char KEY[] = "tokenizer.ggml.eot_token_id";
    llama_token token = llama_vocab_eot(run->before.vocab);
    bool is_there =
        token >= 0 && (uint32_t)token < run->before.n_vocab && run->trim.renumber[token] >= 0;
    return is_there && !gguf_file_find(&run->file, KEY)
               ? compress_target_set_u32(run->target, KEY, (uint32_t)run->trim.renumber[token], err)
               : WL_OK;
}

static enum wl_status set_keys(struct run *run, struct wl_err *err) {
    char arch[64] = "", key[96];
    gguf_file_string(&run->file, "general.architecture", arch, sizeof arch);
    snprintf(key, sizeof key, "%s.vocab_size", arch);
    enum wl_status status = pick_arrays(run, err);
    for (uint64_t i = 0; i < run->file.n_kv && status == WL_OK; i++) {
        status = trim_is_token_key(&run->file.kvs[i]) ? renumber_key(run, &run->file.kvs[i], err)
                                                      : WL_OK;
    }
    status = status ? status : name_end_of_turn(run, err);
    if (status == WL_OK && gguf_file_find(&run->file, key)) {
        status = compress_target_set_u32(run->target, key, (uint32_t)run->trim.n_kept, err);
    }
    // A copy of the whole tokenizer, which llama.cpp does not read, would contradict.
    return status ? status : compress_target_remove(run->target, "tokenizer.huggingface.json", err);
}

static enum wl_status cut_tensors(struct run *run, struct wl_err *err) {
    static const char *const NAMES[] = {"token_embd.weight", "output.weight", "output.bias",
                                        "per_layer_token_embd.weight"};
    enum wl_status status = WL_OK;
    for (uint64_t i = 0; i < run->file.n_tensors; i++) {
        const struct gguf_tensor *tensor = &run->file.tensors[i];
        for (size_t j = 0; j < sizeof NAMES / sizeof NAMES[0] && status == WL_OK; j++) {
            if (strcmp(tensor->name, NAMES[j]) == 0) {
                status = compress_target_rows(run->target, tensor->name, run->trim.kept,
                                              run->trim.n_kept, err);
            }
        }
    }
    return status;
}

static bool on_written(void *context, uint64_t written_bytes, uint64_t total_bytes) {
    return go_on(context, total_bytes ? (double)written_bytes / (double)total_bytes : 1);
}

static enum wl_status write_file(struct run *run, struct wl_err *err) {
    bool is_done = false;
    enum wl_status status = compress_target_new(&run->file, &run->target, err);
    status = status ? status : set_keys(run, err);
    status = status ? status : cut_tensors(run, err);
    status = status ? status : certificate_reserve(run->target, err);
    if (status == WL_OK) {
        status = compress_target_write(run->target, run->unproven, on_written, run, &is_done, err);
    }
    return status == WL_OK && !is_done
               ? wl_err_set(err, WL_INTERRUPTED, "interrupted: '%s' was not written", run->out)
               : status;
}

// ---- whether it is as good ----

static enum wl_status prove(struct run *run, struct trim_check *check, struct wl_err *err) {
    enum wl_status status =
        text_model_load(&run->after, run->unproven, TEXT_MODEL_VOCABULARY, &run->watch, err);
    if (status != WL_OK) {
        return status;
    }
    *check = (struct trim_check){.before = &run->before,
                                 .after = &run->after,
                                 .new_ids = run->trim.renumber,
                                 .text = run->text,
                                 .n_held_out = run->options->n_held_out,
                                 .go_on = go_on,
                                 .context = run};
    status = trim_check_run(check, err);
    if (status != WL_OK) {
        return wl_err_prefix(err, "cannot trim '%s'", run->in);
    }
    if (isfinite(check->growth) && check->growth > run->options->max_growth) {
        return wl_err_set(
            err, WL_GATE,
            "cannot trim '%s': with %zu of %zu tokens held-out text becomes %.2g %% "
            "longer, at most %.2g %% is allowed; keep more of them, or give more text",
            run->in, run->trim.n_kept, run->vocab.vocab.n_tokens, 100 * check->growth,
            100 * run->options->max_growth);
    }
    return WL_OK;
}

static enum wl_status publish(struct run *run, const struct trim_check *check,
                              struct trim_result *result, struct wl_err *err) {
    *result = (struct trim_result){.n_before = (uint32_t)run->vocab.vocab.n_tokens,
                                   .n_after = (uint32_t)run->trim.n_kept,
                                   .growth = check->growth,
                                   .coverage = check->coverage,
                                   .new_ids = run->trim.renumber,
                                   .in_bytes = run->file.file_bytes,
                                   .out_bytes = compress_target_bytes(run->target)};
    if (rename(run->unproven, run->out) != 0) {
        *result = (struct trim_result){0};
        return wl_err_set(err, WL_IO, "cannot rename '%s' to '%s'", run->unproven, run->out);
    }
    run->trim.renumber = NULL; // the result's now
    return WL_OK;
}

// ---- all of it ----

static enum wl_status run_stages(struct run *run, struct trim_result *result, struct wl_err *err) {
    struct trim_check check;
    enum wl_status status = enter(run, 0, CHOICE_END, err);
    status = status ? status : open_run(run, err);
    status = status ? status : choose(run, err);
    status = status ? status : enter(run, CHOICE_END, WRITE_END, err);
    status = status ? status : write_file(run, err);
    status = status ? status : enter(run, WRITE_END, 1, err);
    status = status ? status : prove(run, &check, err);
    return status ? status : publish(run, &check, result, err);
}

enum wl_status trim_run(const char *in, const char *out, const struct compress_text *text,
                        const struct trim_options *options, struct trim_result *result,
                        struct wl_err *err) {
    struct run run = {.options = options, .text = text, .in = in, .out = out};
    run.watch = (struct text_watch){.go_on = go_on, .context = &run};
    *result = (struct trim_result){0};
    enum wl_status status = run_stages(&run, result, err);
    text_model_unload(&run.before);
    text_model_unload(&run.after);
    compress_target_free(run.target);
    if (run.unproven[0]) {
        unlink(run.unproven);
    }
    vocab_trim_release(&run.trim);
    trim_vocab_close(&run.vocab);
    gguf_file_close(&run.file);
    free(run.counts);
    free(run.needed);
    return status;
}

void trim_result_release(struct trim_result *result) {
    free(result->new_ids);
    *result = (struct trim_result){0};
}
