// What is known already about the tokens of pictures, by model and size. Bounded: what was not
// asked for lately is forgotten. PURE.
#ifndef WATTLAW_GATEWAY_PICTURE_COSTS_H
#define WATTLAW_GATEWAY_PICTURE_COSTS_H

#include <stdbool.h>
#include <stdint.h>

#include "gateway/picture_choice.h"

enum {
    PICTURE_COSTS_SETS = 1024,
    PICTURE_COSTS_WAYS = 4, // a size has this many places
    PICTURE_COSTS_MODELS = 8,
    PICTURE_COSTS_NAME_BYTES = 256
};

struct picture_costs_entry {
    uint32_t model; // its number; 0: free
    struct picture_size size;
    uint32_t used; // when, as told by `now`
    int64_t n_tokens;
};

struct picture_costs_model {
    char name[PICTURE_COSTS_NAME_BYTES];
    uint32_t number; // of its own, never given again; 0: free
    uint32_t used;
    int64_t n_base;        // tokens of the question without a picture; -1: not known
    int64_t dark_until_ns; // it could not be asked; not tried again before
};

struct picture_costs {
    struct picture_costs_entry entries[PICTURE_COSTS_SETS][PICTURE_COSTS_WAYS];
    struct picture_costs_model models[PICTURE_COSTS_MODELS];
    uint32_t now, last_number; // uses; numbers given
};

// Zeroed ones are empty. The model's row, made where there is none in place of the one that was not
// used for longest; NULL when the name is too long. Valid until another name is looked up.
struct picture_costs_model *picture_costs_model(struct picture_costs *costs, const char *name);
bool picture_costs_get(struct picture_costs *costs, const struct picture_costs_model *model,
                       struct picture_size size, int64_t *n_tokens);
void picture_costs_put(struct picture_costs *costs, const struct picture_costs_model *model,
                       struct picture_size size, int64_t n_tokens);

#endif
