#include "compressor/calib_part.h"

#include <stdlib.h>
#include <string.h>

enum wl_status calib_part_init(struct calib_part *part, size_t max_tokens, struct wl_err *err) {
    size_t max_sequences = max_tokens / 2 + 1;
    *part = (struct calib_part){
        .tokens = calloc(max_tokens + 1, sizeof *part->tokens),
        .is_first = calloc(max_tokens + 1, sizeof *part->is_first),
        .lengths = calloc(max_sequences, sizeof *part->lengths),
        .documents = calloc(max_sequences, sizeof *part->documents),
        .sources = calloc(max_sequences, sizeof *part->sources),
    };
    if (!part->tokens || !part->is_first || !part->lengths || !part->documents || !part->sources) {
        calib_part_release(part);
        return wl_err_set(err, WL_MEMORY, "no memory for %zu tokens", max_tokens);
    }
    return WL_OK;
}

void calib_part_release(struct calib_part *part) {
    free(part->tokens);
    free(part->positions);
    free(part->embeddings);
    free(part->is_first);
    free(part->lengths);
    free(part->documents);
    free(part->sources);
    *part = (struct calib_part){0};
}

void calib_part_add(struct calib_part *part, struct calib_origin origin, const int32_t *tokens,
                    size_t n, size_t end) {
    size_t room = end > part->n_tokens ? end - part->n_tokens : 0;
    n = n > room ? room : n;
    n = room - n == 1 && n > 2 ? n - 1 : n; // one token would be no sequence
    if (n < 2 || !part->tokens) {
        return;
    }
    memcpy(part->tokens + part->n_tokens, tokens, n * sizeof *tokens);
    part->is_first[part->n_tokens] = 1;
    part->lengths[part->n_sequences] = (uint32_t)n;
    part->documents[part->n_sequences] = origin.document;
    part->sources[part->n_sequences] = (uint8_t)origin.source;
    part->n_from[origin.source] += n;
    part->n_tokens += n;
    part->n_sequences++;
}

// The sequences of `from` in the given order.
static void copy_in_order(const struct calib_part *from, const uint32_t *order,
                          const size_t *begins, struct calib_part *to) {
    for (size_t i = 0; i < from->n_sequences; i++) {
        uint32_t s = order[i];
        struct calib_origin origin = {(enum calib_source)from->sources[s], from->documents[s]};
        calib_part_add(to, origin, from->tokens + begins[s], from->lengths[s], SIZE_MAX);
    }
}

enum wl_status calib_part_shuffle(struct calib_part *part, struct rng *rng, struct wl_err *err) {
    struct calib_part shuffled = {0};
    uint32_t *order = calloc(part->n_sequences + 1, sizeof *order);
    size_t *begins = calloc(part->n_sequences + 1, sizeof *begins);
    enum wl_status status = calib_part_init(&shuffled, part->n_tokens, err);
    if (order && begins && status == WL_OK) {
        for (uint32_t i = 0; i < part->n_sequences; i++) {
            order[i] = i;
            begins[i + 1] = begins[i] + part->lengths[i];
        }
        rng_shuffle_u32(rng, order, part->n_sequences);
        copy_in_order(part, order, begins, &shuffled);
        calib_part_release(part);
        *part = shuffled;
    } else {
        calib_part_release(&shuffled);
        status = wl_err_set(err, WL_MEMORY, "no memory for an order of sequences");
    }
    free(order);
    free(begins);
    return status;
}
