// Records: one measured window each, with its values, energies, phases and raw samples, written in
// one transaction: a record is there whole or not at all.
#ifndef WATTLAW_STORE_STORE_RECORD_H
#define WATTLAW_STORE_STORE_RECORD_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "record/record.h"
#include "store/store.h"
#include "store/store_sample.h"

// Sets record->id; record->model_id must name a model of the store. `samples` may be NULL with n 0.
// Durable when it returns OK. INPUT when the model already has a record of that seq (two processes
// resumed the same study). BUSY when another process holds the store.
enum wl_status store_record_add(struct store *store, struct record *record,
                                const struct store_sample *samples, size_t n_samples,
                                struct wl_err *err);

// Replaces values, energies, phases and flags of a record that is there (record->id) by these; its
// samples stay. One transaction, durable.
enum wl_status store_record_renew_energies(struct store *store, const struct record *record,
                                           struct wl_err *err);

// In the order they ran. free(*out). None is success. Values of metrics that this version does not
// know are skipped; those that the file lacks are NaN.
enum wl_status store_record_list_study(struct store *store, int64_t study_id, struct record **out,
                                       size_t *n, struct wl_err *err);
enum wl_status store_record_list_model(struct store *store, int64_t model_id, struct record **out,
                                       size_t *n, struct wl_err *err);

// counts[c] = records of cell c that are neither warm-up nor paper check: what a resumed study need
// not run again. Cells >= n_cells are not counted.
enum wl_status store_record_count_cells(struct store *store, int64_t model_id, uint32_t *counts,
                                        size_t n_cells, struct wl_err *err);
// One more than the largest seq in the study; 0 when it has no record.
enum wl_status store_record_next_seq(struct store *store, int64_t study_id, uint32_t *out,
                                     struct wl_err *err);

#endif
