#include "compressor/trim.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "compress/vocab.h"
#include "compressor/certificate.h"
#include "compressor/target.h"
#include "compressor/trim_check.h"
#include "compressor/trim_words.h"
#include "os/file.h"
#include "worker/gguf_file.h"

// The number of tokens is rounded up to a multiple, for the rows of the output matrix.
enum { SMALL_MULTIPLE = 32, LARGE_MULTIPLE = 256, LARGE_VOCABULARY = 32768 };
#define KEYS "tokenizer.ggml."

struct trim {
    struct gguf_file file;
    struct trim_words tokens, merges;
    int32_t *types;   // [tokens.n]
    uint64_t *counts; // [tokens.n] of the text that is not held out
    bool *needed;     // [tokens.n]
    struct vocab_trim kept;
    struct compress_target *target;
};

void trim_result_release(struct trim_result *result) {
    free(result->new_ids);
    *result = (struct trim_result){0};
}

static void close_trim(struct trim *t) {
    compress_target_free(t->target);
    vocab_trim_release(&t->kept);
    trim_words_release(&t->tokens);
    trim_words_release(&t->merges);
    free(t->types);
    free(t->counts);
    free(t->needed);
    gguf_file_close(&t->file);
}

// ---- what is there ----

static enum wl_status read_types(struct trim *t, const char *path, struct wl_err *err) {
    const struct gguf_kv *kv = gguf_file_find(&t->file, KEYS "token_type");
    t->types = calloc(t->tokens.n + 1, sizeof *t->types);
    t->counts = calloc(t->tokens.n + 1, sizeof *t->counts);
    t->needed = calloc(t->tokens.n + 1, sizeof *t->needed);
    if (!t->types || !t->counts || !t->needed) {
        return wl_err_set(err, WL_MEMORY, "no memory for %zu tokens", t->tokens.n);
    }
    if (!kv || !kv->is_array || kv->type != GGUF_TYPE_INT32 || kv->n != t->tokens.n) {
        return wl_err_set(err, WL_INPUT, "'%s': key '%stoken_type': expected %zu numbers", path,
                          KEYS, t->tokens.n);
    }
    memcpy(t->types, kv->data, t->tokens.n * sizeof *t->types);
    return WL_OK;
}

static enum wl_status read_vocabulary(struct trim *t, const char *path, struct wl_err *err) {
    char model[64] = "";
    gguf_file_string(&t->file, KEYS "model", model, sizeof model);
    if (strcmp(model, "gpt2") != 0) {
        return wl_err_set(err, WL_UNSUPPORTED,
                          "'%s' has the tokenizer '%s': tokens can be taken out of byte-level BPE "
                          "('gpt2') only; leave --vocabulary out",
                          path, model);
    }
    enum wl_status status =
        trim_words_read(&t->file, KEYS "tokens", VOCAB_MAX_TOKENS, &t->tokens, err);
    if (status == WL_OK) {
        status = trim_words_read(&t->file, KEYS "merges", VOCAB_MAX_MERGES, &t->merges, err);
    }
    return status == WL_OK ? read_types(t, path, err) : status;
}

// Keys that name tokens: tokenizer.ggml.bos_token_id and so on.
static bool names_tokens(const struct gguf_kv *kv) {
    static const char END[] = "_token_id";
    size_t n = sizeof END - 1, begin = sizeof KEYS - 1;
    return kv->key_len > n + begin && memcmp(kv->key, KEYS, begin) == 0 &&
           (memcmp(kv->key + kv->key_len - n, END, n) == 0 ||
            memcmp(kv->key + kv->key_len - n - 1, "_token_ids", n + 1) == 0);
}

static void need_named(struct trim *t) {
    for (uint64_t i = 0; i < t->file.n_kv; i++) {
        const struct gguf_kv *kv = &t->file.kvs[i];
        char key[GGUF_NAME_BYTES];
        if (!names_tokens(kv) || kv->key_len >= sizeof key) {
            continue;
        }
        memcpy(key, kv->key, kv->key_len);
        key[kv->key_len] = '\0';
        for (uint64_t j = 0; j < kv->n; j++) {
            uint64_t id = gguf_file_uint(&t->file, key, j, UINT64_MAX);
            if (id < t->tokens.n) {
                t->needed[id] = true;
            }
        }
    }
}

static enum wl_status count_tokens(struct trim *t, const struct compress_text *text,
                                   struct wl_err *err) {
    for (size_t i = 0; i < text->n_tokens; i++) {
        int32_t token = text->tokens[i];
        if (token == COMPRESS_IMAGE_TOKEN) {
            continue;
        }
        if (token < 0 || (size_t)token >= t->tokens.n) {
            return wl_err_set(err, WL_INPUT,
                              "token %zu of the text is %" PRId32 ", but there are %zu tokens", i,
                              token, t->tokens.n);
        }
        t->counts[token]++;
    }
    return WL_OK;
}

// ---- what stays ----

static enum wl_status choose_from(struct trim *t, uint64_t min_count, size_t n_first,
                                  struct wl_err *err) {
    struct vocab vocab = {.tokens = (const char *const *)t->tokens.items,
                          .types = t->types,
                          .n_tokens = t->tokens.n,
                          .merges = (const char *const *)t->merges.items,
                          .n_merges = t->merges.n};
    size_t multiple = t->tokens.n > LARGE_VOCABULARY ? LARGE_MULTIPLE : SMALL_MULTIPLE;
    vocab_trim_release(&t->kept);
    t->kept = (struct vocab_trim){0};
    return vocab_trim_choose(&vocab, t->counts, t->needed, min_count, n_first, multiple, &t->kept,
                             err);
}

// Rarer and rarer tokens go until there are no more than wanted.
static enum wl_status choose(struct trim *t, const struct trim_options *options,
                             struct wl_err *err) {
    uint64_t min_count = 1;
    enum wl_status status = choose_from(t, min_count, options->n_first, err);
    while (status == WL_OK && options->n_wanted > 0 && t->kept.n_kept > options->n_wanted) {
        size_t before = t->kept.n_kept;
        min_count *= 2;
        status = choose_from(t, min_count, options->n_first, err);
        if (status == WL_OK && min_count > UINT32_MAX && t->kept.n_kept >= before) {
            return wl_err_set(err, WL_LIMIT,
                              "%zu tokens cannot go (bytes, control tokens, what they need), "
                              "wanted are %" PRIu32,
                              t->kept.n_kept, options->n_wanted);
        }
    }
    return status;
}

// ---- the new file ----

static enum wl_status set_ids(struct trim *t, struct wl_err *err) {
    enum wl_status status = WL_OK;
    for (uint64_t i = 0; i < t->file.n_kv && status == WL_OK; i++) {
        const struct gguf_kv *kv = &t->file.kvs[i];
        char key[GGUF_NAME_BYTES];
        if (!names_tokens(kv) || kv->is_array || kv->key_len >= sizeof key) {
            continue;
        }
        memcpy(key, kv->key, kv->key_len);
        key[kv->key_len] = '\0';
        uint64_t id = gguf_file_uint(&t->file, key, 0, UINT64_MAX);
        if (id < t->tokens.n) {
            status = compress_target_set_u32(t->target, key, (uint32_t)t->kept.renumber[id], err);
        }
    }
    return status;
}

static enum wl_status pick_arrays(struct trim *t, struct wl_err *err) {
    static const char *const ARRAYS[] = {KEYS "tokens", KEYS "token_type", KEYS "scores"};
    enum wl_status status = WL_OK;
    for (size_t i = 0; i < sizeof ARRAYS / sizeof ARRAYS[0] && status == WL_OK; i++) {
        if (gguf_file_find(&t->file, ARRAYS[i])) {
            status = compress_target_pick(t->target, ARRAYS[i], t->kept.kept, t->kept.n_kept, err);
        }
    }
    return status == WL_OK ? compress_target_pick(t->target, KEYS "merges", t->kept.merges,
                                                  t->kept.n_merges, err)
                           : status;
}

static enum wl_status pick_rows(struct trim *t, struct wl_err *err) {
    static const char *const TABLES[] = {"token_embd.weight", "output.weight", "output.bias"};
    enum wl_status status = WL_OK;
    for (uint64_t i = 0; i < t->file.n_tensors && status == WL_OK; i++) {
        const char *name = t->file.tensors[i].name;
        for (size_t j = 0; j < sizeof TABLES / sizeof TABLES[0] && status == WL_OK; j++) {
            if (strcmp(name, TABLES[j]) == 0) {
                status = compress_target_rows(t->target, name, t->kept.kept, t->kept.n_kept, err);
            }
        }
    }
    return status;
}

static enum wl_status set_size(struct trim *t, struct wl_err *err) {
    char arch[64], key[128];
    if (!gguf_file_string(&t->file, "general.architecture", arch, sizeof arch)) {
        return WL_OK;
    }
    snprintf(key, sizeof key, "%s.vocab_size", arch);
    return gguf_file_find(&t->file, key)
               ? compress_target_set_u32(t->target, key, (uint32_t)t->kept.n_kept, err)
               : WL_OK;
}

struct writing {
    const struct trim_options *options;
};

static bool on_written(void *context, uint64_t written_bytes, uint64_t total_bytes) {
    const struct writing *writing = context;
    double share = total_bytes ? (double)written_bytes / (double)total_bytes : 1;
    return !writing->options->go_on || writing->options->go_on(writing->options->context, share);
}

static enum wl_status write_file(struct trim *t, const char *out,
                                 const struct trim_options *options, struct wl_err *err) {
    struct writing writing = {options};
    bool is_done = false;
    enum wl_status status = compress_target_new(&t->file, &t->target, err);
    status = status == WL_OK ? pick_arrays(t, err) : status;
    status = status == WL_OK ? pick_rows(t, err) : status;
    status = status == WL_OK ? set_ids(t, err) : status;
    status = status == WL_OK ? set_size(t, err) : status;
    status = status == WL_OK ? certificate_reserve(t->target, err) : status;
    if (status == WL_OK) {
        status = compress_target_write(t->target, out, on_written, &writing, &is_done, err);
    }
    return status == WL_OK && !is_done ? wl_err_set(err, WL_INTERRUPTED, "interrupted") : status;
}

// ---- all of it ----

static enum wl_status fill_result(const struct trim *t, const char *in, const char *out,
                                  struct trim_result *result, struct wl_err *err) {
    result->n_before = (uint32_t)t->tokens.n;
    result->n_after = (uint32_t)t->kept.n_kept;
    result->new_ids = calloc(t->tokens.n + 1, sizeof *result->new_ids);
    if (!result->new_ids) {
        return wl_err_set(err, WL_MEMORY, "no memory for %zu tokens", t->tokens.n);
    }
    memcpy(result->new_ids, t->kept.renumber, t->tokens.n * sizeof *result->new_ids);
    enum wl_status status = os_file_size(in, &result->in_bytes, err);
    return status == WL_OK ? os_file_size(out, &result->out_bytes, err) : status;
}

static struct compress_text without_held_out(const struct compress_text *text, size_t n_held_out) {
    struct compress_text learnt = *text;
    while (n_held_out-- > 0 && learnt.n_sequences > 0) {
        learnt.n_tokens -= learnt.lengths[--learnt.n_sequences];
    }
    return learnt;
}

static enum wl_status judge(const char *in, const char *out, const struct compress_text *text,
                            const struct trim_options *options, struct trim_result *result,
                            struct wl_err *err) {
    enum wl_status status = trim_check(in, out, text, options, result, err);
    if (status == WL_OK && result->growth > options->max_growth) {
        status = wl_err_set(err, WL_GATE,
                            "with %" PRIu32 " of %" PRIu32 " tokens held-out text gets %.1f %% "
                            "longer, accepted are %.1f %%; give more text, or keep more tokens",
                            result->n_after, result->n_before, 100 * result->growth,
                            100 * options->max_growth);
    }
    if (status != WL_OK) {
        unlink(out);
    }
    return status;
}

enum wl_status trim_run(const char *in, const char *out, const struct compress_text *text,
                        const struct trim_options *options, struct trim_result *result,
                        struct wl_err *err) {
    struct trim t = {0};
    struct compress_text learnt = without_held_out(text, options->n_held_out);
    *result = (struct trim_result){0};
    enum wl_status status = gguf_file_open(&t.file, in, err);
    if (status != WL_OK) {
        return status;
    }
    status = read_vocabulary(&t, in, err);
    if (status == WL_OK) {
        need_named(&t);
        status = count_tokens(&t, &learnt, err);
    }
    status = status == WL_OK ? choose(&t, options, err) : status;
    status = status == WL_OK ? write_file(&t, out, options, err) : status;
    status = status == WL_OK ? fill_result(&t, in, out, result, err) : status;
    status = status == WL_OK ? judge(in, out, text, options, result, err) : status;
    close_trim(&t);
    if (status != WL_OK) {
        trim_result_release(result);
    }
    return status;
}
