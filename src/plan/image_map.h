// What an image costs in tokens, for one encoder: which sizes to count, and what the counts say:
// the knee, the steps, the settings that save, the traps. PURE: the counts are arguments; they are
// the engine's own, so nothing here knows how any family cuts a picture.
//
// The order of use: image_map_new; count all of `sizes` for the default and for each budget into
// image_map_add; for each reading count what image_map_refine asks for and give it to
// image_map_take_refined, which makes knees and steps exact to the pixel; then ask for levers and
// traps.
#ifndef WATTLAW_PLAN_IMAGE_MAP_H
#define WATTLAW_PLAN_IMAGE_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum {
    IMAGE_MAP_N_ASPECTS = 3, // square, 4:3, 16:9
    IMAGE_MAP_N_PHOTOS = 2,  // what levers are ranked by: 1920x1080, 4000x3000
    IMAGE_MAP_LONGEST_SIDE = 4096,
    IMAGE_MAP_MAX_SERIES = 200, // sizes of one aspect
    IMAGE_MAP_MAX_SIZES = 4096, // of one request
    IMAGE_MAP_MAX_BUDGETS = 12,
    IMAGE_MAP_N_DEFAULT_BUDGETS = 6,
    IMAGE_MAP_MAX_BUDGET = 1 << 20, // tokens of one image
    IMAGE_MAP_MAX_STEPS = 24,       // of one aspect
    IMAGE_MAP_MAX_LEVERS = 24,      // of one photo
    IMAGE_MAP_MAX_TRAPS = 32,
    IMAGE_MAP_TEXT_BYTES = 256,
};

struct image_map_size {
    uint32_t width, height;
};

struct image_map_cost {
    uint32_t image_tokens;
    uint32_t text_tokens; // wrapper
    uint32_t positions;
    uint32_t n_views;
    uint64_t effective_pixels; // 0 = not known
};

// What the text model sees: image and wrapper.
uint32_t image_map_tokens(const struct image_map_cost *cost);
uint64_t image_map_pixels(struct image_map_size size);

// Sizes of one aspect: unit x side for each of the sides, ascending.
struct image_map_series {
    struct image_map_size unit; // 4 x 3
    size_t first, n;            // of its sizes in the list
    uint32_t side[IMAGE_MAP_MAX_SERIES];
};

struct image_map_sizes {
    struct image_map_size at[IMAGE_MAP_MAX_SIZES];
    size_t n;
    size_t n_table; // the first ones: what people send, as the rows of a table
    struct image_map_series series[IMAGE_MAP_N_ASPECTS];
};

#define IMAGE_MAP_SHAPE_LIST(X)                                                                    \
    X(CONSTANT, "constant") /* every size costs the same */                                        \
    X(KNEE, "knee")         /* grows, then stays */                                                \
    X(STEPS, "steps")       /* the same in jumps: the number of views changes */                   \
    X(GROWS, "grows")       /* to the largest size counted */

enum image_map_shape {
#define X(suffix, name) IMAGE_MAP_##suffix,
    IMAGE_MAP_SHAPE_LIST(X)
#undef X
};
const char *image_map_shape_name(enum image_map_shape shape);

// The cost of one aspect against size.
struct image_map_knee {
    enum image_map_shape shape;
    struct image_map_size at; // the smallest size from which on the cost stays; 0 x 0 without one
    uint32_t tokens;          // from there on, or at the largest size
    uint32_t least_tokens;    // of the smallest size
    bool is_exact;            // every size between was counted
    size_t index;             // in the series, of the first counted size that is flat
};

struct image_map_step {
    struct image_map_size at; // the first size after it
    uint32_t before, after;   // tokens
    uint32_t views_before, views_after;
    bool is_exact;
    size_t index; // in the series, of the first counted size after it
};

struct image_map_steps {
    size_t n; // may be cut at IMAGE_MAP_MAX_STEPS
    struct image_map_step step[IMAGE_MAP_MAX_STEPS];
};

// One size under a budget beside the default. The size is 0 x 0 when there is none.
struct image_map_change {
    struct image_map_size size;
    uint32_t before, after;
};

// All counts with one budget.
struct image_map_reading {
    int32_t budget;                     // image_max_tokens; 0 = as the file says
    char problem[IMAGE_MAP_TEXT_BYTES]; // why it could not be counted; "" when it was
    struct image_map_cost *costs;       // of all sizes; NULL when it was not counted
    uint32_t max_image_tokens;          // of all sizes
    struct image_map_knee knee[IMAGE_MAP_N_ASPECTS];
    struct image_map_steps steps[IMAGE_MAP_N_ASPECTS];
    // Beside the default:
    bool is_same;                   // every size costs the same
    bool is_ignored;                // although the budget is below what the default costs
    struct image_map_change rise;   // the largest, although the budget is not above the default
    struct image_map_change excess; // the most image tokens (after) above the budget (before)
};

struct image_map {
    struct image_map_sizes sizes;
    size_t n_readings; // the first is the default
    struct image_map_reading reading[1 + IMAGE_MAP_MAX_BUDGETS];
};

// MEMORY is the only failure. image_map_free(NULL) is fine.
enum wl_status image_map_new(struct image_map **out, struct wl_err *err);
void image_map_free(struct image_map *map);

// 1/16, 1/8, 1/4, 1/2, 1 and 2 times the largest image; returns their number.
size_t image_map_default_budgets(const struct image_map *map,
                                 int32_t out[IMAGE_MAP_N_DEFAULT_BUDGETS]);

// Adds a reading, budget 0 first, and finds knees and steps as far as the sizes tell. `costs` has
// sizes.n entries and is copied; NULL with `problem` when the budget could not be counted.
// LIMIT when there are too many, MEMORY.
enum wl_status image_map_add(struct image_map *map, int32_t budget,
                             const struct image_map_cost *costs, const char *problem,
                             struct wl_err *err);
// The sizes between the counted ones where a knee or step of this reading lies; their number may
// be 0. `out` has room for IMAGE_MAP_MAX_SIZES.
size_t image_map_refine(const struct image_map *map, size_t reading, struct image_map_size *out);
// The costs of exactly these sizes.
void image_map_take_refined(struct image_map *map, size_t reading,
                            const struct image_map_cost *costs);

// NULL when it was not among the sizes, or the reading was not counted.
const struct image_map_cost *image_map_cost_of(const struct image_map *map, size_t reading,
                                               struct image_map_size size);

// Tokens of the series of one aspect without the dips of a few neighbours that rounding makes.
// `out` has room for IMAGE_MAP_MAX_SERIES.
void image_map_smooth(const struct image_map *map, size_t reading, size_t aspect, double *out);

// ---- levers ----

#define IMAGE_MAP_LEVER_LIST(X)                                                                    \
    X(SHRINK, "shrink") /* the picture to this size before it is sent */                           \
    X(BUDGET, "image_max_tokens")                                                                  \
    X(CROP, "crop") /* where it saves more than shrinking to as many pixels */

enum image_map_lever_kind {
#define X(suffix, name) IMAGE_MAP_LEVER_##suffix,
    IMAGE_MAP_LEVER_LIST(X)
#undef X
};
const char *image_map_lever_name(enum image_map_lever_kind kind);

struct image_map_lever {
    enum image_map_lever_kind kind;
    struct image_map_size size; // of SHRINK and CROP
    int32_t budget;             // of BUDGET
    uint32_t tokens;            // with it
    uint64_t effective_pixels;  // with it; 0 = not known
    double lost_share;          // of the picture's area, by CROP
};

struct image_map_photo {
    struct image_map_size size;
    struct image_map_cost cost; // without any lever
    bool can_shrink;            // some smaller size of its aspect costs less
    // The smallest size that still costs as much: shrinking to it loses nothing that the encoder
    // would see. 0 x 0 when there is none below the photo's own.
    struct image_map_size free_size;
    size_t n_levers; // the most saving first
    struct image_map_lever lever[IMAGE_MAP_MAX_LEVERS];
};

void image_map_levers(const struct image_map *map, size_t photo, struct image_map_photo *out);

// ---- traps ----

#define IMAGE_MAP_TRAP_LIST(X)                                                                     \
    X(BUDGET_RAISES, "budget-raises")   /* a lower budget costs more */                            \
    X(BUDGET_REFUSED, "budget-refused") /* the encoder does not load with it */                    \
    X(BUDGET_IGNORED, "budget-ignored")                                                            \
    X(BUDGET_EXCEEDED, "budget-exceeded")                                                          \
    X(BLOWN_UP, "blown-up")         /* a small picture costs as much as a large one */             \
    X(NOT_MONOTONE, "not-monotone") /* a larger picture costs less */                              \
    X(STEP, "step")                 /* one more pixel costs much more */                           \
    X(WRAPPER, "wrapper-text")      /* many tokens that are no picture */                          \
    X(CONTEXT, "context")           /* one image may not fit */                                    \
    X(MICRO_BATCH, "micro-batch")   /* an image must be decoded in one piece */

enum image_map_trap_kind {
#define X(suffix, name) IMAGE_MAP_TRAP_##suffix,
    IMAGE_MAP_TRAP_LIST(X)
#undef X
};
const char *image_map_trap_name(enum image_map_trap_kind kind);

struct image_map_trap {
    enum image_map_trap_kind kind;
    char text[IMAGE_MAP_TEXT_BYTES];
};

// Of the default and of every budget; returns their number. `is_non_causal`: the encoder's images
// must fit in one micro-batch.
size_t image_map_traps(const struct image_map *map, bool is_non_causal,
                       struct image_map_trap out[IMAGE_MAP_MAX_TRAPS]);

#endif
