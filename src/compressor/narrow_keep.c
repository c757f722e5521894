#include "compressor/narrow_keep.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"
#include "compressor/narrow_record.h"
#include "os/file.h"

enum { MAX_ENTRIES = 100000 };
static const char PREFIX[] = "narrow-";

// "<checkpoint_dir>/narrow-<layer>.<what>"; returns `out`. The folder's name was found to fit.
static const char *path_of(const struct narrow_walk *walk, uint32_t layer, const char *what,
                           char out[OS_PATH_BYTES]) {
    char name[64];
    snprintf(name, sizeof name, "%s%u.%s", PREFIX, layer, what);
    if (os_path_join(out, walk->options->checkpoint_dir, name, NULL) != WL_OK) {
        out[0] = '\0';
    }
    return out;
}

uint32_t narrow_next(const struct plan *plan, uint32_t layer) {
    do {
        layer++;
    } while (layer < plan->n_layer && plan->layers[layer].is_removed);
    return layer;
}

enum wl_status narrow_tell(const struct narrow_walk *walk, const struct narrow_layer *layer,
                           struct wl_err *err) {
    const struct narrow_options *o = walk->options;
    if (!o->on_layer) {
        return WL_OK;
    }
    enum wl_status status = o->on_layer(o->context, layer, err);
    uint32_t end = narrow_next(o->plan, layer->layer);
    for (uint32_t i = layer->layer + 1; i < end && status == WL_OK; i++) {
        struct narrow_layer removed = {.layer = i,
                                       .is_removed = true,
                                       .error_cut = NAN,
                                       .error_repaired = NAN,
                                       .error_bias = NAN,
                                       .error_healed = NAN,
                                       .error_image = NAN,
                                       .attention_error_cut = NAN,
                                       .attention_error_repaired = NAN};
        status = o->on_layer(o->context, &removed, err);
    }
    return status;
}

// ---- taking up ----

static bool has_record(const struct narrow_walk *walk, uint32_t layer) {
    char path[OS_PATH_BYTES];
    struct narrow_record record;
    bool is_there = narrow_record_open(&record, walk->source, path_of(walk, layer, "block", path),
                                       layer, &walk->options->plan->layers[layer]);
    narrow_record_close(&record);
    return is_there;
}

static bool take_up_streams(struct narrow_walk *walk, uint32_t layer) {
    char path[OS_PATH_BYTES];
    size_t n = walk->text->n_tokens, n_embd = walk->source->n_embd;
    if (!states_take_up(&walk->now.original, path_of(walk, layer, "original", path), n, n_embd)) {
        return false;
    }
    if (!states_take_up(&walk->now.made, path_of(walk, layer, "made", path), n, n_embd)) {
        states_close(&walk->now.original);
        return false;
    }
    return true;
}

struct sweep {
    const struct narrow_walk *walk;
    uint32_t n_finished; // layers whose files stay
    uint32_t streams;    // of this block stay
};

static bool is_kept(const struct sweep *sweep, const char *name) {
    const struct plan *plan = sweep->walk->options->plan;
    char expected[64];
    for (uint32_t layer = 0; layer < sweep->n_finished; layer = narrow_next(plan, layer)) {
        snprintf(expected, sizeof expected, "%s%u.block", PREFIX, layer);
        if (strcmp(expected, name) == 0) {
            return true;
        }
    }
    static const char *const STREAMS[] = {"original", "made"};
    for (size_t i = 0; i < 2 && sweep->n_finished > 0; i++) {
        snprintf(expected, sizeof expected, "%s%u.%s", PREFIX, sweep->streams, STREAMS[i]);
        if (strcmp(expected, name) == 0) {
            return true;
        }
    }
    return false;
}

static bool sweep_entry(void *context, const char *name) {
    const struct sweep *sweep = context;
    char path[OS_PATH_BYTES];
    if (str_starts_with(name, PREFIX) && !is_kept(sweep, name) &&
        os_path_join(path, sweep->walk->options->checkpoint_dir, name, NULL) == WL_OK) {
        unlink(path);
    }
    return true;
}

enum wl_status narrow_keep_find(struct narrow_walk *walk, uint32_t *layer, struct wl_err *err) {
    const struct plan *plan = walk->options->plan;
    const char *dir = walk->options->checkpoint_dir;
    char path[OS_PATH_BYTES];
    enum wl_status status = os_make_dirs(dir, err);
    if (status == WL_OK) {
        status = os_path_join(path, dir, "narrow-0000000000.original.part", err);
    }
    if (status != WL_OK) {
        return status;
    }
    struct sweep sweep = {.walk = walk};
    bool is_whole = true;
    *layer = 0;
    for (uint32_t at = 0; at < plan->n_layer && is_whole; at = narrow_next(plan, at)) {
        is_whole = has_record(walk, at);
        // The streams behind a block may be gone already, or not yet named; those that are whole
        // and furthest on count.
        char made[OS_PATH_BYTES];
        if (is_whole && os_exists(path_of(walk, at, "made", made))) {
            struct narrow_streams before = walk->now;
            if (take_up_streams(walk, at)) {
                states_close(&before.original);
                states_close(&before.made);
                *layer = sweep.n_finished = narrow_next(plan, at);
                sweep.streams = at;
            } else {
                walk->now = before;
            }
        }
    }
    return os_list_dir(dir, MAX_ENTRIES, sweep_entry, &sweep, err);
}

enum wl_status narrow_keep_replay(struct narrow_walk *walk, uint32_t layer, struct wl_err *err) {
    const struct plan *plan = walk->options->plan;
    enum wl_status status = WL_OK;
    for (uint32_t at = 0; at < layer && status == WL_OK; at = narrow_next(plan, at)) {
        char path[OS_PATH_BYTES];
        struct narrow_record record;
        narrow_set_share(walk, (double)at / plan->n_layer, 1);
        status = narrow_look(walk, err);
        if (status != WL_OK) {
            return status;
        }
        if (!narrow_record_open(&record, walk->source, path_of(walk, at, "block", path), at,
                                &plan->layers[at])) {
            return wl_err_set(err, WL_IO, "cannot read '%s' again: start over without that folder",
                              path);
        }
        status = narrow_tell(walk, &record.layer, err);
        narrow_record_close(&record);
    }
    return status;
}

// ---- going on ----

enum wl_status narrow_keep_begin(struct narrow_walk *walk, uint32_t layer, struct wl_err *err) {
    if (!walk->options->checkpoint_dir) {
        walk->next = walk->now;
        return WL_OK;
    }
    char path[OS_PATH_BYTES];
    size_t n = walk->text->n_tokens, n_embd = walk->source->n_embd;
    walk->next.original.fd = walk->next.made.fd = -1;
    enum wl_status status = states_create(
        &walk->next.original, path_of(walk, layer, "original.part", path), n, n_embd, err);
    return status == WL_OK ? states_create(&walk->next.made,
                                           path_of(walk, layer, "made.part", path), n, n_embd, err)
                           : status;
}

static enum wl_status publish(struct narrow_walk *walk, struct states *states, uint32_t layer,
                              const char *part, const char *name, struct wl_err *err) {
    char path[OS_PATH_BYTES], new_path[OS_PATH_BYTES];
    return states_publish(states, path_of(walk, layer, part, path),
                          path_of(walk, layer, name, new_path), err);
}

static void forget_streams(const struct narrow_walk *walk, uint32_t layer) {
    char path[OS_PATH_BYTES];
    unlink(path_of(walk, layer, "original", path));
    unlink(path_of(walk, layer, "made", path));
}

enum wl_status narrow_keep_finish(struct narrow_walk *walk, const struct narrow_layer *layer,
                                  struct wl_err *err) {
    if (!walk->options->checkpoint_dir) {
        return WL_OK;
    }
    uint32_t number = layer->layer;
    char path[OS_PATH_BYTES];
    enum wl_status status =
        publish(walk, &walk->next.original, number, "original.part", "original", err);
    if (status == WL_OK) {
        status = publish(walk, &walk->next.made, number, "made.part", "made", err);
    }
    if (status == WL_OK) {
        status =
            narrow_record_write(walk->source, path_of(walk, number, "block", path), layer, err);
    }
    if (status != WL_OK) {
        return status;
    }
    states_close(&walk->now.original);
    states_close(&walk->now.made);
    walk->now = walk->next;
    const struct plan *plan = walk->options->plan;
    for (uint32_t at = 0; at < number; at = narrow_next(plan, at)) {
        if (narrow_next(plan, at) == number) {
            forget_streams(walk, at);
        }
    }
    return WL_OK;
}

void narrow_keep_abandon(const struct narrow_walk *walk, uint32_t layer) {
    char path[OS_PATH_BYTES];
    if (walk->options->checkpoint_dir) {
        unlink(path_of(walk, layer, "original.part", path));
        unlink(path_of(walk, layer, "made.part", path));
    }
}
