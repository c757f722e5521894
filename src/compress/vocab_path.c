#include "compress/vocab_path.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"

// ---- the heap

static void push(struct vocab_path *path, uint64_t item) {
    size_t at = path->n_heap++;
    while (at > 0 && path->heap[(at - 1) / 2] > item) {
        path->heap[at] = path->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    path->heap[at] = item;
}

static uint64_t pop(struct vocab_path *path) {
    uint64_t least = path->heap[0], last = path->heap[--path->n_heap];
    size_t at = 0;
    for (size_t child = 1; child < path->n_heap; child = 2 * at + 1) {
        if (child + 1 < path->n_heap && path->heap[child + 1] < path->heap[child]) {
            child++;
        }
        if (path->heap[child] >= last) {
            break;
        }
        path->heap[at] = path->heap[child];
        at = child;
    }
    path->heap[at] = last;
    return least;
}

// ---- merging

// A token's characters as symbols, which are its first steps; 0 when one is no token.
static size_t split(struct vocab_path *path, const char *text) {
    size_t n = 0;
    for (size_t len; *text; text += len) {
        len = str_utf8_len(text);
        uint32_t token = len ? vocab_index_find(path->index, text, len) : VOCAB_NONE;
        if (token == VOCAB_NONE) {
            return 0;
        }
        path->steps[n] = token;
        path->symbols[n] = (struct vocab_symbol){token, (uint32_t)n - 1, (uint32_t)n + 1};
        n++;
    }
    if (n > 0) {
        path->symbols[0].before = VOCAB_NONE;
        path->symbols[n - 1].after = VOCAB_NONE;
    }
    return n;
}

// Symbols `left` and the one after it, if a merge joins them.
static void offer(struct vocab_path *path, uint32_t left) {
    uint32_t right = left == VOCAB_NONE ? VOCAB_NONE : path->symbols[left].after;
    if (right == VOCAB_NONE) {
        return;
    }
    uint32_t rank =
        vocab_index_rank(path->index, path->symbols[left].token, path->symbols[right].token);
    if (rank != VOCAB_NONE) {
        push(path, (uint64_t)rank << 32 | left);
    }
}

// False when the symbols have changed since the merge was offered.
static bool join(struct vocab_path *path, const struct vocab_merge *merge, uint32_t left) {
    struct vocab_symbol *symbols = path->symbols;
    uint32_t right = symbols[left].after;
    if (symbols[left].token != merge->left || right == VOCAB_NONE ||
        symbols[right].token != merge->right) {
        return false;
    }
    symbols[left].token = merge->joined;
    symbols[left].after = symbols[right].after;
    symbols[right].token = VOCAB_NONE;
    if (symbols[left].after != VOCAB_NONE) {
        symbols[symbols[left].after].before = left;
    }
    return true;
}

size_t vocab_path_find(struct vocab_path *path, uint32_t token) {
    size_t n_symbols = split(path, path->index->vocab->tokens[token]);
    size_t n = n_symbols;
    path->n_heap = 0;
    for (size_t i = 0; i < n_symbols; i++) {
        offer(path, (uint32_t)i);
    }
    while (path->n_heap > 0) {
        uint64_t item = pop(path);
        const struct vocab_merge *merge = &path->index->merges[item >> 32];
        uint32_t left = (uint32_t)item;
        if (join(path, merge, left)) {
            path->steps[n++] = merge->joined;
            offer(path, path->symbols[left].before);
            offer(path, left);
        }
    }
    if (n > 0 && path->steps[n - 1] == token) {
        return n;
    }
    path->steps[0] = token;
    return 1;
}

// ---- memory

enum wl_status vocab_path_init(struct vocab_path *path, const struct vocab_index *index,
                               struct wl_err *err) {
    // A token of n characters: n symbols, n - 1 joins, each of which offers one merge more than
    // it takes away.
    size_t n = (size_t)index->max_len + 1;
    *path = (struct vocab_path){.index = index,
                                .symbols = calloc(n, sizeof *path->symbols),
                                .heap = calloc(n, 2 * sizeof *path->heap),
                                .steps = calloc(n, 2 * sizeof *path->steps)};
    if (!path->symbols || !path->heap || !path->steps) {
        vocab_path_release(path);
        return wl_err_set(err, WL_MEMORY, "no memory for a token of %u bytes", index->max_len);
    }
    return WL_OK;
}

void vocab_path_release(struct vocab_path *path) {
    free(path->symbols);
    free(path->heap);
    free(path->steps);
    *path = (struct vocab_path){0};
}
