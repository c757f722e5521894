// Studies and the one or two models each of them measures. Texts named *_json are stored as they
// are; text that is not JSON (or nested deeper than base/json.h allows) is refused with INPUT.
#ifndef WATTLAW_STORE_STORE_STUDY_H
#define WATTLAW_STORE_STORE_STUDY_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "store/store.h"

enum { STORE_UUID_BYTES = 37 };

// Stored as text; the order does not matter.
enum store_study_state { STORE_STUDY_RUNNING, STORE_STUDY_DONE, STORE_STUDY_INTERRUPTED };
const char *store_study_state_name(enum store_study_state state); // "running", "done", ...

// Of a struct that a store function filled, the texts belong to it (store_study_release). Of one
// that the caller fills for store_study_create, they stay the caller's. NULL JSON counts as "{}"
// (meters: "[]"), a NULL title as "".
struct store_study {
    int64_t id;
    char uuid[STORE_UUID_BYTES]; // empty for create: the store makes one
    char *title;
    int64_t created_wall_ns; // CLOCK_REALTIME
    uint64_t seed;
    char *options_json; // the study's plan and settings, enough to resume and repeat it
    char *machine_json;
    char *meters_json;
    char *engine_json;
    enum store_study_state state;
    uint32_t n_models;  // filled by find and list
    uint32_t n_records; // likewise
};

void store_study_release(struct store_study *study); // frees the texts, zeroes the struct
void store_study_free_list(struct store_study *studies, size_t n);

// Sets study->id, and study->uuid where it was empty.
enum wl_status store_study_create(struct store *store, struct store_study *study,
                                  struct wl_err *err);
enum wl_status store_study_set_state(struct store *store, int64_t study_id,
                                     enum store_study_state state, struct wl_err *err);
// Replaces one of the JSON texts ("options", "machine", "meters", "engine"), e.g. once the engine
// has said what it is. USAGE for another name.
enum wl_status store_study_set_json(struct store *store, int64_t study_id, const char *which,
                                    const char *json, struct wl_err *err);
// Removes a study with all that belongs to it. NOT_FOUND when there is none.
enum wl_status store_study_delete(struct store *store, int64_t study_id, struct wl_err *err);

// NOT_FOUND when there is none.
enum wl_status store_study_find_id(struct store *store, int64_t study_id, struct store_study *out,
                                   struct wl_err *err);
// A whole uuid, or the first 4 or more characters of one; INPUT when several begin so.
enum wl_status store_study_find_uuid(struct store *store, const char *uuid, struct store_study *out,
                                     struct wl_err *err);
// The one created last.
enum wl_status store_study_find_latest(struct store *store, struct store_study *out,
                                       struct wl_err *err);
// What a user types: "latest", a number (id) or a uuid's beginning.
enum wl_status store_study_find(struct store *store, const char *name, struct store_study *out,
                                struct wl_err *err);
// Newest first; free with store_study_free_list.
enum wl_status store_study_list(struct store *store, struct store_study **out, size_t *n,
                                struct wl_err *err);

// Ownership of the texts as in struct store_study.
struct store_model {
    int64_t id;
    int64_t study_id;
    char role[8]; // "base" or "vs"; one of each per study
    char *label;  // what the report calls it
    char *path;
    uint64_t file_bytes;
    char *hash; // "sha256:..." or "quick:..."; "" when unknown
    char *describe_json;
};

void store_model_release(struct store_model *model);
void store_model_free_list(struct store_model *models, size_t n);
// Sets model->id.
enum wl_status store_model_add(struct store *store, struct store_model *model, struct wl_err *err);
// "base" first.
enum wl_status store_model_list(struct store *store, int64_t study_id, struct store_model **out,
                                size_t *n, struct wl_err *err);

#endif
