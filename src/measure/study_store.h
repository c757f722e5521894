// How a study is kept: its row, its models, its windows with their raw samples, its idle baselines.
// Used by study.c only.
#ifndef WATTLAW_MEASURE_STUDY_STORE_H
#define WATTLAW_MEASURE_STUDY_STORE_H

#include "measure/idle.h"
#include "measure/study.h"
#include "measure/window.h"

// The unfinished study with the same options if there is one (unless options->is_fresh), else a new
// one. *is_new tells which.
enum wl_status study_store_begin(struct store *store, const struct study_options *options,
                                 int64_t *study_id, bool *is_new, struct wl_err *err);
// Adds model `index` of the study, or finds it when the study goes on. *model_id is the store's.
enum wl_status study_store_model(struct store *store, int64_t study_id,
                                 const struct study_options *options, size_t index,
                                 const struct subject *subject, int64_t *model_id,
                                 struct wl_err *err);
// Machine, energy sources and engine, as they are now.
enum wl_status study_store_facts(struct store *store, int64_t study_id,
                                 const struct subject *subject, struct wl_err *err);
enum wl_status study_store_window(struct store *store, struct window *window, struct wl_err *err);
enum wl_status study_store_idle(struct store *store, int64_t study_id, const struct idle *idle,
                                const char *model_label, const char *when, struct wl_err *err);
// Once the idle power after the runs is known: the net energies of the model's records between the
// two baselines.
enum wl_status study_store_renew_net(struct store *store, int64_t model_id,
                                     const struct subject *subject, const struct idle *before,
                                     const struct idle *after, struct wl_err *err);
// The model as the engine described it (docs/protocol.md, DESCRIBE).
json_t *study_model_json(const struct engine_model *model);
// What watches: one object per open source.
json_t *study_meters_json(const struct subject *subject);

#endif
