#include "compress/vocab_spm.h"

#include <stdlib.h>
#include <string.h>

#include "compress/vocab_index.h"

enum { MAX_SPLIT_BYTES = 1024 }; // a token longer than this is left whole

struct split {
    float score;
    uint32_t token, at; // bytes of the left part
};

struct splits {
    struct split *items;
    size_t n, capacity;
    size_t n_bytes; // of the merges' texts
};

static enum wl_status no_memory(const struct vocab *vocab, struct wl_err *err) {
    return wl_err_set(err, WL_MEMORY, "no memory for the merges of %zu tokens", vocab->n_tokens);
}

static enum wl_status add(struct splits *splits, const struct vocab *vocab,
                          const struct split *split, size_t len, struct wl_err *err) {
    if (splits->n == VOCAB_MAX_MERGES) {
        return wl_err_set(err, WL_LIMIT,
                          "the vocabulary: expected tokens that can be made in at most %d ways",
                          VOCAB_MAX_MERGES);
    }
    if (splits->n == splits->capacity) {
        size_t capacity = splits->capacity ? 2 * splits->capacity : 1024;
        struct split *items = realloc(splits->items, capacity * sizeof *items);
        if (!items) {
            return no_memory(vocab, err);
        }
        splits->items = items;
        splits->capacity = capacity;
    }
    splits->items[splits->n++] = *split;
    splits->n_bytes += len + 2; // the space and the end
    return WL_OK;
}

// Every way to make the token of two others. One with a space in it (an added one) cannot be
// written as a merge; it stays anyway.
static enum wl_status split_token(const struct vocab_index *index, uint32_t token, float score,
                                  struct splits *splits, struct wl_err *err) {
    const char *text = index->vocab->tokens[token];
    size_t len = strlen(text);
    if (len > MAX_SPLIT_BYTES || strchr(text, ' ')) {
        return WL_OK;
    }
    for (size_t at = 1; at < len; at++) {
        bool is_within = ((unsigned char)text[at] & 0xc0) == 0x80; // a character
        if (is_within || vocab_index_find(index, text, at) == VOCAB_NONE ||
            vocab_index_find(index, text + at, len - at) == VOCAB_NONE) {
            continue;
        }
        const struct split split = {score, token, (uint32_t)at};
        enum wl_status status = add(splits, index->vocab, &split, len, err);
        if (status != WL_OK) {
            return status;
        }
    }
    return WL_OK;
}

static int by_rank(const void *a, const void *b) { // highest score first
    const struct split *x = a, *y = b;
    int order = (x->score < y->score) - (x->score > y->score);
    order = order ? order : (x->token > y->token) - (x->token < y->token);
    return order ? order : (x->at > y->at) - (x->at < y->at);
}

static enum wl_status write_merges(const struct vocab *vocab, const struct splits *splits,
                                   struct vocab_spm *out, struct wl_err *err) {
    out->merges = calloc(splits->n + 1, sizeof *out->merges);
    out->memory = malloc(splits->n_bytes + 1);
    if (!out->merges || !out->memory) {
        return no_memory(vocab, err);
    }
    char *next = out->memory;
    for (size_t i = 0; i < splits->n; i++) {
        const struct split *split = &splits->items[i];
        const char *text = vocab->tokens[split->token];
        size_t rest = strlen(text) - split->at;
        out->merges[i] = next;
        memcpy(next, text, split->at);
        next[split->at] = ' ';
        memcpy(next + split->at + 1, text + split->at, rest + 1);
        next += split->at + 1 + rest + 1;
    }
    out->n_merges = splits->n;
    return WL_OK;
}

enum wl_status vocab_spm_init(struct vocab_spm *spm, const struct vocab *vocab, const float *scores,
                              struct wl_err *err) {
    struct vocab bare = *vocab;
    struct vocab_index index;
    struct splits splits = {0};
    *spm = (struct vocab_spm){0};
    bare.n_merges = 0;
    enum wl_status status = vocab_index_init(&index, &bare, err);
    if (status != WL_OK) {
        return status;
    }
    for (size_t i = 0; i < vocab->n_tokens && status == WL_OK; i++) {
        status = split_token(&index, (uint32_t)i, scores[i], &splits, err);
    }
    if (status == WL_OK) {
        if (splits.n > 0) {
            qsort(splits.items, splits.n, sizeof *splits.items, by_rank);
        }
        status = write_merges(vocab, &splits, spm, err);
    }
    free(splits.items);
    vocab_index_release(&index);
    if (status != WL_OK) {
        vocab_spm_release(spm);
    }
    return status;
}

void vocab_spm_release(struct vocab_spm *spm) {
    free(spm->merges);
    free(spm->memory);
    *spm = (struct vocab_spm){0};
}
