// What stock llama.cpp loads for the architectures that take per-layer sizes (relabel.def).
#ifndef WATTLAW_COMPRESSOR_RELABEL_RULES_H
#define WATTLAW_COMPRESSOR_RELABEL_RULES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { RELABEL_NAME_BYTES = 64 };

enum relabel_twin { RELABEL_DECI, RELABEL_OPENELM, RELABEL_TWINS };
enum relabel_need { RELABEL_UNKNOWN, RELABEL_OPTIONAL, RELABEL_REQUIRED };
enum relabel_part { RELABEL_TABLE, RELABEL_ATTENTION, RELABEL_FFN };
enum relabel_width {
    RELABEL_ONE, // as rows: the tensor has one dimension
    RELABEL_EMBD,
    RELABEL_VOCAB, // as many as token_embd.weight has
    RELABEL_Q,     // of all query heads
    RELABEL_KV,
    RELABEL_FF,
    RELABEL_HEAD,
    RELABEL_HALF_HEAD,
};

struct relabel_rule {
    const char *name; // without "blk.<N>."
    enum relabel_part part;
    enum relabel_width columns, rows;
    enum relabel_need need[RELABEL_TWINS];
};

extern const struct relabel_rule RELABEL_RULES[];
extern const size_t RELABEL_N_RULES;

// "blk.3.attn_q.weight"; returns `out`.
const char *relabel_tensor_name(const struct relabel_rule *rule, size_t layer,
                                char out[RELABEL_NAME_BYTES]);
// The rule of a tensor, and its layer (0 for tables); NULL when there is none.
const struct relabel_rule *relabel_rule_of(const char *name, size_t *layer);

#endif
