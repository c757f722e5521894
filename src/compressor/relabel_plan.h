// What relabel*.c share: the model that is given another name.
#ifndef WATTLAW_COMPRESSOR_RELABEL_PLAN_H
#define WATTLAW_COMPRESSOR_RELABEL_PLAN_H

#include <stdbool.h>

#include "compressor/relabel.h"
#include "compressor/relabel_rules.h"

enum { RELABEL_KEY_BYTES = 128, RELABEL_MAX_SIZE = 1 << 24, RELABEL_N_JOINED = 3 };

struct relabel_model {
    char arch[32];
    enum relabel_twin twin;
    bool has_halves; // rotates i with i + head_dim / 2
    uint32_t n_layers, n_embd, head_dim;
};

extern const char *const RELABEL_TWIN_NAMES[RELABEL_TWINS];
extern const char *const RELABEL_JOINED[RELABEL_N_JOINED]; // what openelm has as one matrix

// "<arch>.<key>"; returns `out`.
const char *relabel_key(const char *arch, const char *key, char out[RELABEL_KEY_BYTES]);
// Checks what can be checked before anything is cut.
enum wl_status relabel_read(const struct gguf_file *source, struct relabel_model *model,
                            struct wl_err *err);

#endif
