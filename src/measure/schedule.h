// What a study runs and in which order. PURE.
#ifndef WATTLAW_MEASURE_SCHEDULE_H
#define WATTLAW_MEASURE_SCHEDULE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SCHEDULE_MAX_CELLS = 256, SCHEDULE_MAX_MODELS = 2 };
// A window of the paper check carries this cell number.
#define SCHEDULE_PAPER_CELL UINT32_MAX
// And that of a scored answer this one.
#define SCHEDULE_SCORED_CELL (UINT32_MAX - 1)

struct schedule_cell {
    uint32_t prompt_tokens; // exact; 0 for a text of the user's
    uint32_t generated_tokens;
    uint32_t prompt_index; // of the user's texts, when prompt_tokens is 0
    bool has_image;        // then with the study's prompt for pictures
    uint32_t image_size;   // index of the study's sizes
    uint32_t image_budget; // index of the study's budgets
};

// The grid: every prompt length with `generate` tokens, and two of the lengths also with a quarter
// and with twice as many, so that the cost of a generated token can be told from the fixed cost
// and from the cost of the context. Returns the number of cells (at most SCHEDULE_MAX_CELLS).
size_t schedule_grid(const uint32_t *prompts, size_t n_prompts, uint32_t generate,
                     struct schedule_cell cells[SCHEDULE_MAX_CELLS]);

// Adds every size under every budget. Returns the new number of cells.
size_t schedule_images(size_t n_sizes, size_t n_budgets, uint32_t generate,
                       struct schedule_cell cells[SCHEDULE_MAX_CELLS], size_t n);

// Cells of one image budget after each other (changing it reloads the encoder); text comes first.
// Which budget is first changes with the round.
void schedule_group_by_budget(const struct schedule_cell *cells, size_t n_budgets, uint32_t round,
                              uint32_t *order, size_t n);

// The order of one round: all cells, shuffled by (seed, round); neighbours in time are never
// neighbours in length for long, so slow drift does not look like a law.
void schedule_order(uint64_t seed, uint32_t round, size_t n_cells,
                    uint32_t order[SCHEDULE_MAX_CELLS]);
// Which model goes first for a cell in a round: a coin from (seed, round, cell).
bool schedule_is_swapped(uint64_t seed, uint32_t round, uint32_t cell);

struct schedule_rule {
    uint32_t min_repeats, max_repeats;
    double target_rel_ci; // half-width of the 95 % interval of the mean time, relative
};

// Whether `n` repeats with these times are enough.
bool schedule_is_enough(const struct schedule_rule *rule, const double *times_s, size_t n);

#endif
