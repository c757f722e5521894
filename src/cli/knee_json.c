// The JSON of `wattlaw knee`: everything that was counted.
#include <stdio.h>

#include "base/json.h"
#include "cli/knee_result.h"
#include "plan/families.h"

static const char *const ASPECT_NAMES[IMAGE_MAP_N_ASPECTS] = {"1:1", "4:3", "16:9"};

static json_t *size_json(struct image_map_size size) {
    return size.width > 0 ? json_pack("[I, I]", (json_int_t)size.width, (json_int_t)size.height)
                          : json_null();
}

static json_t *cost_json(struct image_map_size size, const struct image_map_cost *cost) {
    json_t *pixels =
        cost->effective_pixels ? json_integer((json_int_t)cost->effective_pixels) : json_null();
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o}", "width", (json_int_t)size.width,
                     "height", (json_int_t)size.height, "tokens",
                     (json_int_t)image_map_tokens(cost), "image_tokens",
                     (json_int_t)cost->image_tokens, "text_tokens", (json_int_t)cost->text_tokens,
                     "positions", (json_int_t)cost->positions, "views", (json_int_t)cost->n_views,
                     "effective_pixels", pixels);
}

static json_t *steps_json(const struct image_map_steps *steps) {
    json_t *array = json_array();
    for (size_t i = 0; i < steps->n; i++) {
        const struct image_map_step *s = &steps->step[i];
        json_array_append_new(
            array, json_pack("{s:o, s:I, s:I, s:I, s:I, s:b}", "at", size_json(s->at),
                             "tokens_before", (json_int_t)s->before, "tokens_after",
                             (json_int_t)s->after, "views_before", (json_int_t)s->views_before,
                             "views_after", (json_int_t)s->views_after, "is_exact", s->is_exact));
    }
    return array;
}

// [width, height, image tokens, text tokens, positions, views, effective pixels]
static json_t *points_json(const struct image_map *map, const struct image_map_reading *reading,
                           const struct image_map_series *series) {
    json_t *array = json_array();
    for (size_t i = series->first; i < series->first + series->n; i++) {
        const struct image_map_cost *c = &reading->costs[i];
        json_array_append_new(
            array, json_pack("[I, I, I, I, I, I, I]", (json_int_t)map->sizes.at[i].width,
                             (json_int_t)map->sizes.at[i].height, (json_int_t)c->image_tokens,
                             (json_int_t)c->text_tokens, (json_int_t)c->positions,
                             (json_int_t)c->n_views, (json_int_t)c->effective_pixels));
    }
    return array;
}

static json_t *series_json(const struct image_map *map, const struct image_map_reading *reading) {
    json_t *array = json_array();
    for (size_t a = 0; a < IMAGE_MAP_N_ASPECTS; a++) {
        const struct image_map_knee *knee = &reading->knee[a];
        json_array_append_new(array,
                              json_pack("{s:s, s:s, s:o, s:b, s:I, s:I, s:o, s:o}", "aspect",
                                        ASPECT_NAMES[a], "shape", image_map_shape_name(knee->shape),
                                        "knee", size_json(knee->at), "is_exact", knee->is_exact,
                                        "tokens_above", (json_int_t)knee->tokens, "least_tokens",
                                        (json_int_t)knee->least_tokens, "steps",
                                        steps_json(&reading->steps[a]), "points",
                                        points_json(map, reading, &map->sizes.series[a])));
    }
    return array;
}

static json_t *change_json(const struct image_map_change *change) {
    return change->size.width > 0
               ? json_pack("{s:o, s:I, s:I}", "size", size_json(change->size), "before",
                           (json_int_t)change->before, "after", (json_int_t)change->after)
               : json_null();
}

static json_t *reading_json(const struct image_map *map, const struct image_map_reading *reading) {
    json_t *budget = reading->budget > 0 ? json_integer(reading->budget) : json_null();
    if (!reading->costs) {
        return json_pack("{s:o, s:s}", "image_max_tokens", budget, "problem", reading->problem);
    }
    json_t *sizes = json_array();
    for (size_t i = 0; i < map->sizes.n_table; i++) {
        json_array_append_new(sizes, cost_json(map->sizes.at[i], &reading->costs[i]));
    }
    return json_pack("{s:o, s:n, s:I, s:b, s:b, s:o, s:o, s:o, s:o}", "image_max_tokens", budget,
                     "problem", "max_image_tokens", (json_int_t)reading->max_image_tokens,
                     "is_ignored", reading->is_ignored, "is_as_default",
                     reading->budget > 0 && reading->is_same, "raises", change_json(&reading->rise),
                     "exceeds_budget", change_json(&reading->excess), "sizes", sizes, "aspects",
                     series_json(map, reading));
}

static json_t *lever_json(const struct image_map_photo *photo,
                          const struct image_map_lever *lever) {
    json_t *pixels =
        lever->effective_pixels ? json_integer((json_int_t)lever->effective_pixels) : json_null();
    json_t *object =
        json_pack("{s:s, s:I, s:I, s:o}", "lever", image_map_lever_name(lever->kind), "tokens",
                  (json_int_t)lever->tokens, "saved",
                  (json_int_t)image_map_tokens(&photo->cost) - (json_int_t)lever->tokens,
                  "effective_pixels", pixels);
    if (lever->kind == IMAGE_MAP_LEVER_BUDGET) {
        json_object_set_new(object, "image_max_tokens", json_integer(lever->budget));
    } else {
        json_object_set_new(object, "size", size_json(lever->size));
    }
    if (lever->kind == IMAGE_MAP_LEVER_CROP) {
        json_object_set_new(object, "lost_share", wl_json_real(lever->lost_share));
    }
    return object;
}

static json_t *photos_json(const struct image_map *map) {
    json_t *array = json_array();
    for (size_t p = 0; p < IMAGE_MAP_N_PHOTOS; p++) {
        struct image_map_photo photo;
        json_t *levers = json_array();
        image_map_levers(map, p, &photo);
        for (size_t i = 0; i < photo.n_levers; i++) {
            json_array_append_new(levers, lever_json(&photo, &photo.lever[i]));
        }
        json_array_append_new(
            array, json_pack("{s:o, s:o, s:b, s:o, s:o}", "size", size_json(photo.size), "now",
                             cost_json(photo.size, &photo.cost), "can_shrink", photo.can_shrink,
                             "free_size", size_json(photo.free_size), "levers", levers));
    }
    return array;
}

static json_t *traps_json(const struct knee_result *result) {
    struct image_map_trap traps[IMAGE_MAP_MAX_TRAPS];
    size_t n = image_map_traps(result->map, result->vision->is_non_causal, traps);
    json_t *array = json_array();
    for (size_t i = 0; i < n; i++) {
        json_array_append_new(array,
                              json_pack("{s:s, s:s}", "trap", image_map_trap_name(traps[i].kind),
                                        "text", traps[i].text));
    }
    return array;
}

static json_t *vision_json(const struct knee_result *result) {
    const struct engine_vision *v = result->vision;
    const struct plan_family *family = plan_family_of(v->projector);
    return json_pack(
        "{s:s, s:s?, s:b, s:s, s:s, s:s, s:I, s:I, s:I, s:o, s:b, s:b, s:{s:s, s:s, s:s, s:s}}",
        "mmproj", result->mmproj, "model", result->model, "has_wrapper_counts",
        result->model != NULL, "projector", v->projector, "family", family->title, "name", v->name,
        "n_params", (json_int_t)v->n_params, "patch_size", (json_int_t)v->patch_size, "image_size",
        (json_int_t)v->image_size, "pixels_per_token",
        v->pixels_per_token > 0 ? wl_json_real(v->pixels_per_token) : json_null(), "is_mrope",
        v->is_mrope, "is_non_causal", v->is_non_causal, "advice", "how", family->how, "key",
        family->key, "caution", family->caution, "memory", family->memory);
}

void knee_result_print_json(const struct knee_result *result) {
    const struct image_map *map = result->map;
    json_t *readings = json_array();
    for (size_t i = 0; i < map->n_readings; i++) {
        json_array_append_new(readings, reading_json(map, &map->reading[i]));
    }
    json_t *document =
        json_pack("{s:i, s:o, s:o, s:o, s:o}", "schema_version", 1, "encoder", vision_json(result),
                  "budgets", readings, "photos", photos_json(map), "traps", traps_json(result));
    struct buf text;
    buf_init(&text, 64 << 20);
    wl_json_write_pretty(&text, document);
    printf("%s\n", buf_text(&text));
    buf_release(&text);
    json_decref(document);
}
