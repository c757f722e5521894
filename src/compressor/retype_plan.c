#include "compressor/retype_plan.h"

#include <stdlib.h>

#include "base/units.h"
#include "compress/knapsack.h"

// What one matrix can have.
struct offer {
    enum ggml_type types[RETYPE_MAX_CHOICES];
    struct knapsack_choice choices[RETYPE_MAX_CHOICES];
    size_t n;
};

static uint64_t bytes_as(const struct retype_matrix *m, enum ggml_type type, uint64_t alignment) {
    uint64_t bytes = ggml_row_size(type, (int64_t)m->tensor->ne[0]) * m->tensor->ne[1];
    return (bytes + alignment - 1) / alignment * alignment;
}

static enum wl_status make_offer(const struct compress_source *source,
                                 const struct retype_matrix *m, uint64_t alignment,
                                 struct offer *offer, struct wl_err *err) {
    offer->n = retype_choices(m->tensor, m->part, offer->types);
    enum wl_status status = WL_OK;
    for (size_t i = 0; i < offer->n && status == WL_OK; i++) {
        struct retype_matrix as = *m;
        double error = 0;
        as.type = offer->types[i];
        if (as.type != m->tensor->type) {
            status = retype_sample_error(source, &as, &error, err);
        }
        offer->choices[i] = (struct knapsack_choice){
            .cost = (double)bytes_as(m, as.type, alignment), .loss = m->sensitivity * error};
    }
    retype_forget(source, m->tensor);
    return status;
}

static enum wl_status make_offers(const struct compress_source *source,
                                  const struct retype_matrix *matrices, size_t n,
                                  const struct retype_budget *budget, struct offer *offers,
                                  struct wl_err *err) {
    enum wl_status status = WL_OK;
    for (size_t i = 0; i < n && status == WL_OK; i++) {
        if (budget->go_on && !budget->go_on(budget->context, (double)i / (double)n)) {
            return wl_err_set(err, WL_INTERRUPTED, "interrupted");
        }
        status = make_offer(source, &matrices[i], budget->alignment, &offers[i], err);
    }
    return status;
}

// Bytes of all that is no matrix, and of the smallest file there can be.
static void count_bytes(const struct retype_matrix *matrices, size_t n,
                        const struct retype_budget *budget, const struct offer *offers,
                        uint64_t *fixed, uint64_t *least) {
    *fixed = budget->file_bytes;
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        *fixed -= bytes_as(&matrices[i], matrices[i].tensor->type, budget->alignment);
        double cheapest = offers[i].choices[0].cost;
        for (size_t c = 1; c < offers[i].n; c++) {
            double cost = offers[i].choices[c].cost;
            cheapest = cost < cheapest ? cost : cheapest;
        }
        sum += cheapest;
    }
    *least = *fixed + (uint64_t)sum;
}

static enum wl_status solve(struct retype_matrix *matrices, size_t n,
                            const struct retype_budget *budget, const struct offer *offers,
                            struct knapsack_part *parts, size_t *chosen, struct wl_err *err) {
    uint64_t fixed, least;
    char want[UNITS_TEXT_BYTES], need[UNITS_TEXT_BYTES];
    count_bytes(matrices, n, budget, offers, &fixed, &least);
    if (least > budget->budget_bytes) {
        return wl_err_set(err, WL_LIMIT,
                          "the file cannot have %s: with the smallest types it has %s (%llu bytes)",
                          units_bytes(want, (double)budget->budget_bytes),
                          units_bytes(need, (double)least), (unsigned long long)least);
    }
    for (size_t i = 0; i < n; i++) {
        parts[i] = (struct knapsack_part){offers[i].choices, offers[i].n};
    }
    enum wl_status status =
        knapsack_solve(parts, n, (double)(budget->budget_bytes - fixed), chosen, err);
    for (size_t i = 0; i < n && status == WL_OK; i++) {
        matrices[i].type = offers[i].types[chosen[i]];
    }
    return status;
}

enum wl_status retype_plan(const struct compress_source *source, struct retype_matrix *matrices,
                           size_t n, const struct retype_budget *budget, struct wl_err *err) {
    struct offer *offers = calloc(n, sizeof *offers);
    struct knapsack_part *parts = calloc(n, sizeof *parts);
    size_t *chosen = calloc(n, sizeof *chosen);
    if (!offers || !parts || !chosen) {
        free(offers);
        free(parts);
        free(chosen);
        return wl_err_set(err, WL_MEMORY, "no memory for the choice of types");
    }
    enum wl_status status = make_offers(source, matrices, n, budget, offers, err);
    status = status ? status : solve(matrices, n, budget, offers, parts, chosen, err);
    free(offers);
    free(parts);
    free(chosen);
    return status;
}

enum ggml_type retype_plan_commonest(const struct retype_matrix *matrices, size_t n) {
    uint64_t weights[GGML_TYPE_COUNT] = {0};
    enum ggml_type best = GGML_TYPE_F32;
    for (size_t i = 0; i < n; i++) {
        enum ggml_type type = matrices[i].type;
        weights[type] += matrices[i].tensor->n_elements;
        best = weights[type] > weights[best] ? type : best;
    }
    return best;
}
