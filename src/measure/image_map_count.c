#include "measure/image_map_count.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

struct counting {
    const struct image_map_request *request;
    struct engine *engine;
    struct image_map *map;
    // Scratch for one request.
    struct engine_image_size *sizes;
    struct engine_image_count *counts;
    struct image_map_size *refined;
    struct image_map_cost *costs;
};

static enum wl_status counting_init(struct counting *c, const struct image_map_request *request,
                                    struct wl_err *err) {
    *c = (struct counting){.request = request,
                           .sizes = calloc(IMAGE_MAP_MAX_SIZES, sizeof *c->sizes),
                           .counts = calloc(IMAGE_MAP_MAX_SIZES, sizeof *c->counts),
                           .refined = calloc(IMAGE_MAP_MAX_SIZES, sizeof *c->refined),
                           .costs = calloc(IMAGE_MAP_MAX_SIZES, sizeof *c->costs)};
    if (!c->sizes || !c->counts || !c->refined || !c->costs) {
        wl_err_set(err, WL_MEMORY, "no memory for the counts of images");
        return WL_MEMORY;
    }
    enum wl_status status = image_map_new(&c->map, err);
    if (status != WL_OK || !c->map) {
        return WL_MEMORY;
    }
    return engine_start(request->engine, &c->engine, err);
}

static void counting_release(struct counting *c) {
    engine_stop(c->engine);
    image_map_free(c->map);
    free(c->sizes);
    free(c->counts);
    free(c->refined);
    free(c->costs);
}

static void report(const struct counting *c, double done, const char *what) {
    if (c->request->on_progress) {
        c->request->on_progress(c->request->context, done, what);
    }
}

static enum wl_status open_counter(struct counting *c, int32_t budget, struct engine_vision *vision,
                                   struct wl_err *err) {
    const struct engine_counter_options options = {
        .mmproj = c->request->mmproj, .model = c->request->model, .image_max_tokens = budget};
    if (!engine_is_running(c->engine)) { // the budget before made it crash
        enum wl_status status = engine_restart(c->engine, err);
        if (status != WL_OK) {
            return status;
        }
    }
    return engine_open_counter(c->engine, &options, vision, err);
}

// Fills c->costs with those of `sizes`.
static enum wl_status count(struct counting *c, const struct image_map_size *sizes, size_t n,
                            struct wl_err *err) {
    for (size_t i = 0; i < n; i++) {
        c->sizes[i] = (struct engine_image_size){sizes[i].width, sizes[i].height};
    }
    enum wl_status status = engine_count_images(c->engine, c->sizes, n, c->counts, err);
    for (size_t i = 0; i < n && status == WL_OK; i++) {
        c->costs[i] = (struct image_map_cost){.image_tokens = c->counts[i].image_tokens,
                                              .text_tokens = c->counts[i].text_tokens,
                                              .positions = c->counts[i].positions,
                                              .n_views = c->counts[i].n_views,
                                              .effective_pixels = c->counts[i].effective_pixels};
    }
    return status;
}

static enum wl_status refine(struct counting *c, struct wl_err *err) {
    size_t reading = c->map->n_readings - 1;
    size_t n = image_map_refine(c->map, reading, c->refined);
    enum wl_status status = n > 0 ? count(c, c->refined, n, err) : WL_OK;
    if (status == WL_OK && n > 0) {
        image_map_take_refined(c->map, reading, c->costs);
    }
    return status;
}

static enum wl_status read_budget(struct counting *c, int32_t budget, struct engine_vision *vision,
                                  struct wl_err *err) {
    enum wl_status status = open_counter(c, budget, vision, err);
    if (status == WL_OK) {
        status = count(c, c->map->sizes.at, c->map->sizes.n, err);
    }
    if (status == WL_OK) {
        status = image_map_add(c->map, budget, c->costs, NULL, err);
    }
    return status == WL_OK ? refine(c, err) : status;
}

// Only an interruption, or a machine without memory, ends the whole.
static enum wl_status try_budget(struct counting *c, int32_t budget, struct wl_err *err) {
    struct engine_vision vision;
    struct wl_err problem = {0};
    size_t n_before = c->map->n_readings;
    enum wl_status status = read_budget(c, budget, &vision, &problem);
    if (status == WL_OK || c->map->n_readings > n_before) {
        return status == WL_INTERRUPTED ? wl_err_set(err, status, "%s", problem.message) : WL_OK;
    }
    if (status == WL_INTERRUPTED || status == WL_MEMORY) {
        return wl_err_set(err, status, "%s", problem.message);
    }
    return image_map_add(c->map, budget, NULL, problem.message, err);
}

static enum wl_status try_budgets(struct counting *c, struct wl_err *err) {
    int32_t chosen[IMAGE_MAP_N_DEFAULT_BUDGETS];
    const int32_t *budgets = c->request->budgets;
    size_t n = c->request->n_budgets;
    if (n == 0) {
        n = image_map_default_budgets(c->map, chosen);
        budgets = chosen;
    }
    enum wl_status status = WL_OK;
    for (size_t i = 0; i < n && status == WL_OK; i++) {
        char what[64];
        snprintf(what, sizeof what, "image_max_tokens %" PRId32, budgets[i]);
        report(c, (double)(i + 1) / (double)(n + 1), what);
        status = try_budget(c, budgets[i], err);
    }
    return status;
}

enum wl_status image_map_count(const struct image_map_request *request,
                               struct engine_vision *vision, struct image_map **out,
                               struct wl_err *err) {
    struct counting c;
    *out = NULL;
    enum wl_status status = counting_init(&c, request, err);
    if (status == WL_OK) {
        report(&c, 0, "opening the image encoder");
        status = read_budget(&c, 0, vision, err);
    }
    if (status == WL_OK) {
        status = try_budgets(&c, err);
    }
    if (status == WL_OK) {
        report(&c, 1, "done");
        *out = c.map;
        c.map = NULL;
    }
    counting_release(&c);
    return status;
}
