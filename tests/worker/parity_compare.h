// Compares what a model pair gave with the reference that models/train/parity.py wrote, and makes
// wrong references, which a comparison that is worth something must notice. PURE.
#ifndef WATTLAW_TESTS_WORKER_PARITY_COMPARE_H
#define WATTLAW_TESTS_WORKER_PARITY_COMPARE_H

#include <jansson.h>
#include <stdio.h>

#include "parity_pair.h"

enum { PARITY_ANSWERS_OFF = 1 }; // answers that may differ: a near tie can fall either way

// In the order of the reference's "cases" and "answers".
struct parity_found {
    struct pair_figures *cases, *answers;
    size_t n_cases, n_answers;
    size_t n_vocab, width;
};

struct parity_outcome {
    size_t n_faults;
    double embedding, logits; // largest differences
    size_t n_argmax;          // cases whose likeliest token was clear enough to be compared
    size_t n_answers_equal;
};

// The largest difference to accept in "logits" or "embedding"; NaN where the reference lacks it.
double parity_tolerance(const json_t *reference, const char *what);

// Writes a line for each fault to `out` (NULL = nothing).
struct parity_outcome parity_compare(const json_t *reference, const struct parity_found *found,
                                     FILE *out);

// A way of being wrong. `apply` changes a reference in place and is NULL where it is the run that
// must be wrong (pair_ask's is_turned).
struct parity_fault {
    const char *name, *what;
    void (*apply)(json_t *reference);
};
extern const struct parity_fault PARITY_FAULTS[]; // ends with a name NULL

#endif
