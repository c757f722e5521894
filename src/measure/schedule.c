#include "measure/schedule.h"

#include <math.h>

#include "base/rng.h"
#include "stats/describe.h"

static size_t add_cell(struct schedule_cell *cells, size_t n, uint32_t prompt, uint32_t generated) {
    for (size_t i = 0; i < n; i++) {
        if (cells[i].prompt_tokens == prompt && cells[i].generated_tokens == generated) {
            return n;
        }
    }
    if (n < SCHEDULE_MAX_CELLS) {
        cells[n++] = (struct schedule_cell){.prompt_tokens = prompt, .generated_tokens = generated};
    }
    return n;
}

size_t schedule_grid(const uint32_t *prompts, size_t n_prompts, uint32_t generate,
                     struct schedule_cell cells[SCHEDULE_MAX_CELLS]) {
    size_t n = 0;
    for (size_t i = 0; i < n_prompts; i++) {
        n = add_cell(cells, n, prompts[i], generate);
    }
    uint32_t fewer = generate >= 8 ? generate / 4 : 1;
    const size_t at[] = {n_prompts / 4, (n_prompts * 3) / 4};
    for (size_t k = 0; k < 2 && n_prompts; k++) {
        size_t i = at[k] < n_prompts ? at[k] : n_prompts - 1;
        n = add_cell(cells, n, prompts[i], fewer);
        n = add_cell(cells, n, prompts[i], generate * 2);
    }
    return n;
}

size_t schedule_images(size_t n_sizes, size_t n_budgets, uint32_t generate,
                       struct schedule_cell cells[SCHEDULE_MAX_CELLS], size_t n) {
    for (size_t budget = 0; budget < n_budgets; budget++) {
        for (size_t size = 0; size < n_sizes && n < SCHEDULE_MAX_CELLS; size++) {
            cells[n++] = (struct schedule_cell){.generated_tokens = generate,
                                                .has_image = true,
                                                .image_size = (uint32_t)size,
                                                .image_budget = (uint32_t)budget};
        }
    }
    return n;
}

void schedule_group_by_budget(const struct schedule_cell *cells, size_t n_budgets, uint32_t round,
                              uint32_t *order, size_t n) {
    uint32_t sorted[SCHEDULE_MAX_CELLS];
    size_t n_sorted = 0;
    for (size_t group = 0; group <= n_budgets; group++) {
        size_t budget = n_budgets ? (group + n_budgets - 1 + round) % n_budgets : 0;
        for (size_t i = 0; i < n; i++) {
            const struct schedule_cell *cell = &cells[order[i]];
            bool is_now =
                group == 0 ? !cell->has_image : cell->has_image && cell->image_budget == budget;
            if (is_now) {
                sorted[n_sorted++] = order[i];
            }
        }
    }
    for (size_t i = 0; i < n_sorted; i++) {
        order[i] = sorted[i];
    }
}

// One seed from several numbers, so that rounds and cells are independent of each other.
static void seed_from(struct rng *rng, uint64_t seed, uint64_t a, uint64_t b) {
    rng_seed(rng, seed ^ (a + 1) * 0x9e3779b97f4a7c15u ^ (b + 1) * 0xc2b2ae3d27d4eb4fu);
}

void schedule_order(uint64_t seed, uint32_t round, size_t n_cells,
                    uint32_t order[SCHEDULE_MAX_CELLS]) {
    struct rng rng;
    seed_from(&rng, seed, round, 0);
    for (size_t i = 0; i < n_cells; i++) {
        order[i] = (uint32_t)i;
    }
    rng_shuffle_u32(&rng, order, n_cells);
}

bool schedule_is_swapped(uint64_t seed, uint32_t round, uint32_t cell) {
    struct rng rng;
    seed_from(&rng, seed, round, (uint64_t)cell + 1);
    return rng_below(&rng, 2) == 1;
}

bool schedule_is_enough(const struct schedule_rule *rule, const double *times_s, size_t n) {
    if (n < rule->min_repeats) {
        return false;
    }
    if (n >= rule->max_repeats) {
        return true;
    }
    struct stats_summary summary;
    if (n < 3 || stats_describe(times_s, n, &summary, NULL) != WL_OK) {
        return false;
    }
    double half_width = (summary.ci95_mean.high - summary.ci95_mean.low) / 2;
    return half_width <= rule->target_rel_ci * fabs(summary.mean);
}
