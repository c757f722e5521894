// What the gateway has done, counted for Prometheus (/metrics).
#ifndef WATTLAW_GATEWAY_FIGURES_H
#define WATTLAW_GATEWAY_FIGURES_H

#include <stddef.h>
#include <stdint.h>

#include "account/metrics.h"
#include "store/ledger.h"

enum {
    FIGURES_MAX_MODELS = 32, // further ones are counted together, as "other"
    FIGURES_N_ENDPOINTS = 8,
};

struct figures_model {
    char name[LEDGER_MODEL_BYTES];
    uint64_t n_requests[FIGURES_N_ENDPOINTS][LEDGER_N_ENDS];
    uint64_t prompt_tokens, cached_tokens, completion_tokens;
    struct histogram wh, first_s, total_s;
};

struct figures {
    struct figures_model models[FIGURES_MAX_MODELS + 1];
    size_t n_models;
    uint64_t n_images, n_images_changed, pixels_in, pixels_out, n_turns_dropped;
    uint64_t n_unauthorized, n_too_large; // before a request was read
    // Of requests that have ended: net of prompts, of answers, of both where they cannot be told
    // apart; and the idle floor of all.
    double prompt_j, answer_j, whole_j, floor_j;
};

void figures_init(struct figures *figures);
// A request that has ended, as the ledger has it; `prompt_net_j` is the part of net_j that its
// prompt took; NaN: not known.
void figures_add(struct figures *figures, const struct ledger_row *row, double prompt_net_j,
                 size_t n_images_changed);
// The text of those above; the caller adds what it knows itself.
void figures_write(const struct figures *figures, const char *source, const char *scope,
                   struct buf *out);

#endif
