#include "compress/vocab.h"

#include <stdlib.h>

#include "compress/vocab_index.h"
#include "compress/vocab_path.h"

enum { N_BYTES = 256 };
enum { TYPE_NORMAL = 1, TYPE_UNUSED = 5 }; // llama.cpp's; all others stay

struct choice {
    const struct vocab *vocab;
    struct vocab_index index;
    struct vocab_path path;
    bool *is_kept;
    size_t n_kept;
};

// ---- what stays

// Keeps a token and what BPE passes through to make it; nothing when these are more than `room`.
static void keep(struct choice *choice, uint32_t token, size_t room) {
    size_t n = vocab_path_find(&choice->path, token), n_new = 0;
    uint32_t *steps = choice->path.steps;
    for (size_t i = 0; i < n; i++) {
        if (!choice->is_kept[steps[i]]) {
            choice->is_kept[steps[i]] = true;
            steps[n_new++] = steps[i];
        }
    }
    if (n_new <= room) {
        choice->n_kept += n_new;
        return;
    }
    for (size_t i = 0; i < n_new; i++) {
        choice->is_kept[steps[i]] = false;
    }
}

static bool is_printable(int byte) {
    return (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
}

// GPT-2 writes each byte as a character that can be seen: itself in Latin-1, or else the next one
// from U+0100 on. A vocabulary that lacks some cannot write them before and after.
static void keep_bytes(struct choice *choice) {
    int next = N_BYTES;
    for (int byte = 0; byte < N_BYTES; byte++) {
        int code = is_printable(byte) ? byte : next++;
        char two[] = {(char)(0xc0 | code >> 6), (char)(0x80 | (code & 63))};
        char one[] = {(char)code};
        uint32_t token = code < 128 ? vocab_index_find(&choice->index, one, sizeof one)
                                    : vocab_index_find(&choice->index, two, sizeof two);
        if (token != VOCAB_NONE) {
            keep(choice, token, SIZE_MAX);
        }
    }
}

static void keep_wanted(struct choice *choice, const uint64_t *counts, const bool *needed,
                        uint64_t min_count, size_t n_first) {
    for (size_t i = 0; i < choice->vocab->n_tokens; i++) {
        int32_t type = choice->vocab->types[i];
        bool is_special = type != TYPE_NORMAL && type != TYPE_UNUSED;
        bool is_wanted =
            counts[i] >= min_count || i < n_first || (needed && needed[i]) || is_special;
        if (is_wanted && !choice->is_kept[i]) {
            keep(choice, (uint32_t)i, SIZE_MAX);
        }
    }
}

// ---- rounding up

struct candidate {
    uint64_t count;
    uint32_t token;
};

static int compare_candidates(const void *a, const void *b) {
    const struct candidate *x = a, *y = b;
    int order = (x->count < y->count) - (x->count > y->count);
    return order ? order : (x->token > y->token) - (x->token < y->token);
}

static size_t rounded_up(const struct choice *choice, size_t multiple) {
    size_t n = choice->n_kept > 0 ? choice->n_kept : 1, n_tokens = choice->vocab->n_tokens;
    size_t over = multiple > 1 ? n % multiple : 0;
    size_t missing = over ? multiple - over : 0;
    return missing < n_tokens - n ? n + missing : n_tokens;
}

// One pass is enough: what was too much for the room stays so, because each token of it that
// others bring in takes one from the room too. And no room is left at the end: the shortest token
// that is out needs no other.
static enum wl_status fill(struct choice *choice, const uint64_t *counts, size_t multiple,
                           struct wl_err *err) {
    size_t target = rounded_up(choice, multiple), n = 0;
    if (choice->n_kept == target) {
        return WL_OK;
    }
    struct candidate *rest = calloc(choice->vocab->n_tokens + 1, sizeof *rest);
    if (!rest) {
        return wl_err_set(err, WL_MEMORY, "no memory to sort %zu tokens", choice->vocab->n_tokens);
    }
    for (size_t i = 0; i < choice->vocab->n_tokens; i++) {
        if (!choice->is_kept[i]) {
            rest[n++] = (struct candidate){counts[i], (uint32_t)i};
        }
    }
    qsort(rest, n, sizeof *rest, compare_candidates);
    for (size_t i = 0; i < n && choice->n_kept < target; i++) {
        if (!choice->is_kept[rest[i].token]) {
            keep(choice, rest[i].token, target - choice->n_kept);
        }
    }
    free(rest);
    return WL_OK;
}

// ---- the answer

// A merge of which anything is gone must go: where the tokenizer finds it, it makes a token that
// is none.
static bool is_whole(const struct choice *choice, const struct vocab_merge *merge) {
    return choice->is_kept[merge->left] && choice->is_kept[merge->right] &&
           choice->is_kept[merge->joined];
}

static enum wl_status write_trim(const struct choice *choice, struct vocab_trim *out,
                                 struct wl_err *err) {
    const struct vocab *vocab = choice->vocab;
    out->kept = calloc(choice->n_kept + 1, sizeof *out->kept);
    out->renumber = calloc(vocab->n_tokens + 1, sizeof *out->renumber);
    out->merges = calloc(vocab->n_merges + 1, sizeof *out->merges);
    if (!out->kept || !out->renumber || !out->merges) {
        vocab_trim_release(out);
        return wl_err_set(err, WL_MEMORY, "no memory for the numbers of %zu tokens",
                          vocab->n_tokens);
    }
    for (size_t i = 0; i < vocab->n_tokens; i++) {
        out->renumber[i] = choice->is_kept[i] ? (int32_t)out->n_kept : -1;
        if (choice->is_kept[i]) {
            out->kept[out->n_kept++] = (uint32_t)i;
        }
    }
    for (size_t i = 0; i < vocab->n_merges; i++) {
        if (is_whole(choice, &choice->index.merges[i])) {
            out->merges[out->n_merges++] = (uint32_t)i;
        }
    }
    return WL_OK;
}

static enum wl_status init(struct choice *choice, const struct vocab *vocab, struct wl_err *err) {
    *choice = (struct choice){.vocab = vocab};
    enum wl_status status = vocab_index_init(&choice->index, vocab, err);
    status = status ? status : vocab_path_init(&choice->path, &choice->index, err);
    if (status) {
        return status;
    }
    choice->is_kept = calloc(vocab->n_tokens + 1, sizeof *choice->is_kept);
    return choice->is_kept
               ? WL_OK
               : wl_err_set(err, WL_MEMORY, "no memory to mark %zu tokens", vocab->n_tokens);
}

static void release(struct choice *choice) {
    free(choice->is_kept);
    vocab_path_release(&choice->path);
    vocab_index_release(&choice->index);
}

enum wl_status vocab_trim_choose(const struct vocab *vocab, const uint64_t *counts,
                                 const bool *needed, uint64_t min_count, size_t n_first,
                                 size_t multiple, struct vocab_trim *out, struct wl_err *err) {
    *out = (struct vocab_trim){0};
    struct choice choice;
    enum wl_status status = init(&choice, vocab, err);
    if (!status) {
        keep_bytes(&choice);
        keep_wanted(&choice, counts, needed, min_count, n_first);
        status = fill(&choice, counts, multiple, err);
    }
    status = status ? status : write_trim(&choice, out, err);
    release(&choice);
    return status;
}

void vocab_trim_release(struct vocab_trim *trim) {
    free(trim->kept);
    free(trim->renumber);
    free(trim->merges);
    *trim = (struct vocab_trim){0};
}
