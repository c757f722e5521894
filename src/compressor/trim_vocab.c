#include "compressor/trim_vocab.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { TYPE_NORMAL = 1, TYPE_UNUSED = 5 };
// New sizes are multiples of it: the output matrix is computed in rows of so many.
enum { LARGE_VOCABULARY = 32768, LARGE_STEP = 256, SMALL_STEP = 32 };

static const char SPACE[] = "\xe2\x96\x81"; // how SentencePiece writes it

// ---- reading ----

static uint64_t load_u64(const unsigned char *data) {
    uint64_t value = 0;
    for (size_t i = 8; i-- > 0;) {
        value = value << 8 | data[i];
    }
    return value;
}

// The reader has checked that all of it lies in the file.
static enum wl_status read_texts(const struct gguf_file *file, const char *key, char **memory,
                                 const char ***out, size_t *n, struct wl_err *err) {
    const struct gguf_kv *kv = gguf_file_find(file, key);
    if (!kv || !kv->is_array || kv->type != GGUF_TYPE_STRING) {
        return wl_err_set(err, WL_INPUT, "key '%s' is missing, or no list of texts", key);
    }
    uint64_t total = 0;
    for (uint64_t i = 0, at = 0; i < kv->n; i++) {
        uint64_t len = load_u64(kv->data + at);
        total += len + 1;
        at += 8 + len;
    }
    *memory = malloc((size_t)total + 1);
    *out = calloc((size_t)kv->n + 1, sizeof **out);
    if (!*memory || !*out) {
        return wl_err_set(err, WL_MEMORY, "no memory for the key '%s'", key);
    }
    char *next = *memory;
    const unsigned char *data = kv->data;
    for (uint64_t i = 0; i < kv->n; i++) {
        size_t len = (size_t)load_u64(data);
        if (memchr(data + 8, '\0', len)) {
            return wl_err_set(err, WL_UNSUPPORTED, "key '%s': text %" PRIu64 " has a zero byte",
                              key, i);
        }
        (*out)[i] = next;
        memcpy(next, data + 8, len);
        next[len] = '\0';
        next += len + 1;
        data += 8 + len;
    }
    *n = (size_t)kv->n;
    return WL_OK;
}

static enum wl_status check_length(const struct gguf_kv *kv, const char *key, size_t n,
                                   struct wl_err *err) {
    return kv->is_array && kv->n == n
               ? WL_OK
               : wl_err_set(err, WL_INPUT,
                            "key '%s' has %" PRIu64 " elements, expected one for each of %zu "
                            "tokens",
                            key, kv->n, n);
}

static enum wl_status read_types(struct trim_vocab *v, const struct gguf_file *file,
                                 struct wl_err *err) {
    static const char KEY[] = "tokenizer.ggml.token_type";
    const struct gguf_kv *kv = gguf_file_find(file, KEY);
    size_t n = v->vocab.n_tokens;
    enum wl_status status = kv ? check_length(kv, KEY, n, err) : WL_OK;
    if (status != WL_OK) {
        return status;
    }
    v->types = calloc(n + 1, sizeof *v->types);
    if (!v->types) {
        return wl_err_set(err, WL_MEMORY, "no memory for the types of %zu tokens", n);
    }
    for (size_t i = 0; i < n; i++) {
        v->types[i] = (int32_t)gguf_file_uint(file, KEY, i, TYPE_NORMAL);
    }
    v->vocab.types = v->types;
    return WL_OK;
}

static enum wl_status read_scores(struct trim_vocab *v, const struct gguf_file *file,
                                  struct wl_err *err) {
    static const char KEY[] = "tokenizer.ggml.scores";
    const struct gguf_kv *kv = gguf_file_find(file, KEY);
    size_t n = v->vocab.n_tokens;
    if (!kv || kv->type != GGUF_TYPE_FLOAT32) {
        return wl_err_set(err, WL_INPUT, "key '%s' is missing, or no list of float32", KEY);
    }
    enum wl_status status = check_length(kv, KEY, n, err);
    float *scores = status == WL_OK ? calloc(n + 1, sizeof *scores) : NULL;
    if (scores) {
        memcpy(scores, kv->data, n * sizeof *scores);
        status = vocab_spm_init(&v->spm, &v->vocab, scores, err);
        v->vocab.merges = v->spm.merges;
        v->vocab.n_merges = v->spm.n_merges;
    } else if (status == WL_OK) {
        status = wl_err_set(err, WL_MEMORY, "no memory for the scores of %zu tokens", n);
    }
    free(scores);
    return status;
}

static enum wl_status read_all(struct trim_vocab *v, const struct gguf_file *file,
                               struct wl_err *err) {
    enum wl_status status = read_texts(file, "tokenizer.ggml.tokens", &v->token_memory, &v->tokens,
                                       &v->vocab.n_tokens, err);
    if (status != WL_OK) {
        return status;
    }
    v->vocab.tokens = v->tokens;
    status = read_types(v, file, err);
    if (status != WL_OK || v->is_spm) {
        return status ? status : read_scores(v, file, err);
    }
    status = read_texts(file, "tokenizer.ggml.merges", &v->merge_memory, &v->merges,
                        &v->vocab.n_merges, err);
    v->vocab.merges = v->merges;
    return status;
}

enum wl_status trim_vocab_open(struct trim_vocab *v, const struct gguf_file *file,
                               struct wl_err *err) {
    char model[64] = "";
    *v = (struct trim_vocab){0};
    gguf_file_string(file, "tokenizer.ggml.model", model, sizeof model);
    v->is_spm = strcmp(model, "llama") == 0;
    if (!v->is_spm && strcmp(model, "gpt2") != 0) {
        return wl_err_set(err, WL_UNSUPPORTED,
                          "key 'tokenizer.ggml.model' is '%s': tokens can be taken out of 'gpt2' "
                          "and 'llama' vocabularies only; leave --vocabulary out",
                          model);
    }
    enum wl_status status = read_all(v, file, err);
    if (status != WL_OK) {
        trim_vocab_close(v);
    }
    return status;
}

void trim_vocab_close(struct trim_vocab *v) {
    vocab_spm_release(&v->spm);
    free(v->token_memory);
    free(v->merge_memory);
    free(v->tokens);
    free(v->merges);
    free(v->types);
    *v = (struct trim_vocab){0};
}

// ---- what must stay ----

static bool is_within(const char *text, size_t len, const char *begin, const char *end) {
    size_t begin_len = strlen(begin), end_len = strlen(end);
    return len > begin_len + end_len && memcmp(text, begin, begin_len) == 0 &&
           memcmp(text + len - end_len, end, end_len) == 0;
}

bool trim_is_token_key(const struct gguf_kv *kv) {
    static const char BEGIN[] = "tokenizer.ggml.";
    bool is_number = kv->type == GGUF_TYPE_UINT32 || kv->type == GGUF_TYPE_INT32 ||
                     kv->type == GGUF_TYPE_UINT64 || kv->type == GGUF_TYPE_INT64;
    return is_number &&
           is_within(kv->key, kv->key_len, BEGIN, kv->is_array ? "_token_ids" : "_token_id");
}

void trim_vocab_need(const struct trim_vocab *v, const struct gguf_file *file, bool *needed) {
    size_t n = v->vocab.n_tokens;
    for (size_t i = 0; i < n; i++) {
        const char *text = v->vocab.tokens[i];
        bool is_marker = v->types[i] != TYPE_UNUSED && is_within(text, strlen(text), "<|", "|>");
        needed[i] = needed[i] || is_marker || (v->is_spm && strcmp(text, SPACE) == 0);
    }
    for (uint64_t i = 0; i < file->n_kv; i++) {
        const struct gguf_kv *kv = &file->kvs[i];
        char key[256];
        if (!trim_is_token_key(kv) || kv->key_len >= sizeof key) {
            continue;
        }
        memcpy(key, kv->key, kv->key_len);
        key[kv->key_len] = '\0';
        for (uint64_t j = 0; j < kv->n; j++) {
            uint64_t token = gguf_file_uint(file, key, j, UINT64_MAX);
            if (token < n) {
                needed[token] = true;
            }
        }
    }
}

// ---- choosing ----

enum wl_status trim_vocab_choose(const struct trim_vocab *v, const struct trim_choice *choice,
                                 struct vocab_trim *out, struct wl_err *err) {
    size_t step = v->vocab.n_tokens >= LARGE_VOCABULARY ? LARGE_STEP : SMALL_STEP;
    size_t wanted = choice->n_wanted / step * step;
    enum wl_status status = vocab_trim_choose(&v->vocab, choice->counts, choice->needed, 1,
                                              choice->n_first, step, out, err);
    if (status != WL_OK || choice->n_wanted == 0 || out->n_kept <= choice->n_wanted) {
        return status;
    }
    // Too many occur: what must stay is filled up with the most used ones.
    vocab_trim_release(out);
    status = vocab_trim_choose(&v->vocab, choice->counts, choice->needed, UINT64_MAX,
                               choice->n_first, wanted ? wanted : step, out, err);
    if (status == WL_OK && out->n_kept > choice->n_wanted) {
        vocab_trim_release(out);
        status = vocab_trim_choose(&v->vocab, choice->counts, choice->needed, UINT64_MAX,
                                   choice->n_first, step, out, err);
        size_t least = out->n_kept;
        vocab_trim_release(out);
        return status ? status
                      : wl_err_set(err, WL_LIMIT,
                                   "a vocabulary of %" PRIu32 " tokens: %zu must stay at least",
                                   choice->n_wanted, least);
    }
    return status;
}
