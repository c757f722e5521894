#include "compress/vocab_index.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define DAMAGED "; the file's vocabulary is damaged: get the file again"

// Bytes in two places: a merge holds what it makes with a space in between.
struct bytes {
    const char *head;
    size_t head_len;
    const char *tail;
    size_t tail_len;
};

// ---- tokens

// FNV-1a, which can go on where it stopped.
static uint64_t hash_more(uint64_t hash, const char *text, size_t len) {
    for (size_t i = 0; i < len; i++) {
        hash = (hash ^ (unsigned char)text[i]) * 0x100000001b3;
    }
    return hash;
}

static uint64_t hash_of(const struct bytes *bytes) {
    uint64_t hash = hash_more(0xcbf29ce484222325, bytes->head, bytes->head_len);
    return hash_more(hash, bytes->tail, bytes->tail_len);
}

static int compare_u64(uint64_t a, uint64_t b) {
    return (a > b) - (a < b);
}

// qsort takes no context, so the bytes of a word being sorted are beside it.
struct sortable {
    struct vocab_word word;
    const char *text;
};

static int compare_bytes(const struct sortable *a, const struct sortable *b) {
    int order = compare_u64(a->word.hash, b->word.hash);
    order = order ? order : compare_u64(a->word.len, b->word.len);
    return order ? order : memcmp(a->text, b->text, a->word.len);
}

static int compare_sortables(const void *a, const void *b) {
    const struct sortable *x = a, *y = b;
    int order = compare_bytes(x, y);
    return order ? order : compare_u64(x->word.token, y->word.token);
}

static enum wl_status gather(const struct vocab *vocab, struct sortable *sorted, size_t *n,
                             struct wl_err *err) {
    for (size_t i = 0; i < vocab->n_tokens; i++) {
        const char *text = vocab->tokens[i];
        size_t len = strlen(text);
        if (len > VOCAB_MAX_TOKEN_BYTES) {
            return wl_err_set(err, WL_LIMIT,
                              "token %zu '%.40s...': expected at most %d bytes, found %zu" DAMAGED,
                              i, text, VOCAB_MAX_TOKEN_BYTES, len);
        }
        if (len > 0) {
            struct bytes bytes = {.head = text, .head_len = len};
            sorted[(*n)++] = (struct sortable){
                .word = {.hash = hash_of(&bytes), .len = (uint32_t)len, .token = (uint32_t)i},
                .text = text};
        }
    }
    return WL_OK;
}

static enum wl_status check_unique(const struct sortable *sorted, size_t n, struct wl_err *err) {
    for (size_t i = 1; i < n; i++) {
        if (compare_bytes(&sorted[i - 1], &sorted[i]) == 0) {
            return wl_err_set(
                err, WL_INPUT,
                "token %u '%.40s': expected one of its own, found the text of token %u" DAMAGED,
                sorted[i].word.token, sorted[i].text, sorted[i - 1].word.token);
        }
    }
    return WL_OK;
}

static enum wl_status add_words(struct vocab_index *index, struct sortable *sorted,
                                struct wl_err *err) {
    size_t n = 0;
    enum wl_status status = gather(index->vocab, sorted, &n, err);
    if (status) {
        return status;
    }
    qsort(sorted, n, sizeof *sorted, compare_sortables);
    status = check_unique(sorted, n, err);
    for (size_t i = 0; !status && i < n; i++) {
        index->words[i] = sorted[i].word;
        if (sorted[i].word.len > index->max_len) {
            index->max_len = sorted[i].word.len;
        }
    }
    index->n_words = n;
    return status;
}

// < 0: the word comes before the bytes.
static int compare_word(const struct vocab_index *index, const struct vocab_word *word,
                        uint64_t hash, const struct bytes *bytes) {
    int order = compare_u64(word->hash, hash);
    order = order ? order : compare_u64(word->len, bytes->head_len + bytes->tail_len);
    if (order) {
        return order;
    }
    const char *text = index->vocab->tokens[word->token];
    order = memcmp(text, bytes->head, bytes->head_len);
    return order || bytes->tail_len == 0
               ? order
               : memcmp(text + bytes->head_len, bytes->tail, bytes->tail_len);
}

static uint32_t find_bytes(const struct vocab_index *index, const struct bytes *bytes) {
    uint64_t hash = hash_of(bytes);
    size_t low = 0, high = index->n_words;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct vocab_word *word = &index->words[middle];
        int order = compare_word(index, word, hash, bytes);
        if (order == 0) {
            return word->token;
        }
        low = order < 0 ? middle + 1 : low;
        high = order < 0 ? high : middle;
    }
    return VOCAB_NONE;
}

uint32_t vocab_index_find(const struct vocab_index *index, const char *text, size_t len) {
    struct bytes bytes = {.head = text, .head_len = len};
    return find_bytes(index, &bytes);
}

// ---- merges

static enum wl_status find_side(const struct vocab_index *index, size_t merge, const char *text,
                                size_t len, uint32_t *out, struct wl_err *err) {
    *out = vocab_index_find(index, text, len);
    if (*out != VOCAB_NONE) {
        return WL_OK;
    }
    int shown = len < 40 ? (int)len : 40;
    return wl_err_set(err, WL_INPUT,
                      "merge %zu '%.80s': expected to join two tokens, found that '%.*s' is "
                      "none" DAMAGED,
                      merge, index->vocab->merges[merge], shown, text);
}

// "a b": no token that merges make has a space in it (GPT-2 writes that as U+0120).
static enum wl_status parse_merge(const struct vocab_index *index, size_t merge,
                                  struct vocab_merge *out, struct wl_err *err) {
    const char *text = index->vocab->merges[merge];
    const char *space = strchr(text, ' ');
    if (!space || space == text || !space[1]) {
        return wl_err_set(
            err, WL_INPUT,
            "merge %zu '%.80s': expected two tokens with a space between them" DAMAGED, merge,
            text);
    }
    struct bytes bytes = {text, (size_t)(space - text), space + 1, strlen(space + 1)};
    enum wl_status status = find_side(index, merge, bytes.head, bytes.head_len, &out->left, err);
    status =
        status ? status : find_side(index, merge, bytes.tail, bytes.tail_len, &out->right, err);
    if (status) {
        return status;
    }
    out->joined = find_bytes(index, &bytes);
    return out->joined != VOCAB_NONE
               ? WL_OK
               : wl_err_set(err, WL_INPUT,
                            "merge %zu '%.80s': expected that both together are a token, found "
                            "none" DAMAGED,
                            merge, text);
}

static int compare_pairs(const void *a, const void *b) {
    const struct vocab_pair *x = a, *y = b;
    int order = compare_u64(x->sides, y->sides);
    return order ? order : compare_u64(x->rank, y->rank);
}

static uint64_t sides_of(uint32_t left, uint32_t right) {
    return (uint64_t)left << 32 | right;
}

static enum wl_status add_merges(struct vocab_index *index, struct wl_err *err) {
    size_t n = index->vocab->n_merges;
    for (size_t i = 0; i < n; i++) {
        struct vocab_merge *merge = &index->merges[i];
        enum wl_status status = parse_merge(index, i, merge, err);
        if (status) {
            return status;
        }
        index->pairs[i] = (struct vocab_pair){sides_of(merge->left, merge->right), (uint32_t)i};
    }
    qsort(index->pairs, n, sizeof *index->pairs, compare_pairs);
    return WL_OK;
}

uint32_t vocab_index_rank(const struct vocab_index *index, uint32_t left, uint32_t right) {
    uint64_t sides = sides_of(left, right);
    size_t low = 0, high = index->vocab->n_merges;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        bool is_before = index->pairs[middle].sides < sides;
        low = is_before ? middle + 1 : low;
        high = is_before ? high : middle;
    }
    bool is_found = low < index->vocab->n_merges && index->pairs[low].sides == sides;
    return is_found ? index->pairs[low].rank : VOCAB_NONE;
}

// ---- both

static enum wl_status check_sizes(const struct vocab *vocab, struct wl_err *err) {
    if (vocab->n_tokens == 0) {
        return wl_err_set(err, WL_INPUT, "the vocabulary has no tokens: nothing to choose from");
    }
    if (vocab->n_tokens > VOCAB_MAX_TOKENS) {
        return wl_err_set(err, WL_LIMIT, "the vocabulary: expected at most %d tokens, found %zu",
                          VOCAB_MAX_TOKENS, vocab->n_tokens);
    }
    if (vocab->n_merges > VOCAB_MAX_MERGES) {
        return wl_err_set(err, WL_LIMIT, "the vocabulary: expected at most %d merges, found %zu",
                          VOCAB_MAX_MERGES, vocab->n_merges);
    }
    return WL_OK;
}

enum wl_status vocab_index_init(struct vocab_index *index, const struct vocab *vocab,
                                struct wl_err *err) {
    *index = (struct vocab_index){.vocab = vocab};
    enum wl_status status = check_sizes(vocab, err);
    if (status) {
        return status;
    }
    struct sortable *sorted = calloc(vocab->n_tokens + 1, sizeof *sorted);
    index->words = calloc(vocab->n_tokens + 1, sizeof *index->words);
    index->merges = calloc(vocab->n_merges + 1, sizeof *index->merges);
    index->pairs = calloc(vocab->n_merges + 1, sizeof *index->pairs);
    if (sorted && index->words && index->merges && index->pairs) {
        status = add_words(index, sorted, err);
        status = status ? status : add_merges(index, err);
    } else {
        status = wl_err_set(err, WL_MEMORY, "no memory for a vocabulary of %zu tokens, %zu merges",
                            vocab->n_tokens, vocab->n_merges);
    }
    free(sorted);
    if (status) {
        vocab_index_release(index);
    }
    return status;
}

void vocab_index_release(struct vocab_index *index) {
    free(index->words);
    free(index->merges);
    free(index->pairs);
    *index = (struct vocab_index){0};
}
