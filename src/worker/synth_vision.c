#include "worker/synth_vision.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "worker/synth_file.h"

enum {
    MAX_LAYERS = SYNTH_MAX_VISION_LAYERS,
    MAX_WIDTH = 1 << 16,
    MAX_ROW = 1 << 20, // of a matrix, as for text models
    MAX_FF = 1 << 18,
    MAX_HEADS = 1024,
    MAX_PATCH = 64,
    MAX_SIDE = 1 << 14,
    MAX_PIXELS = 1 << 28,
    MAX_MERGE = 8,
    MAX_DEEPSTACK = 16,
    MAX_TILES = 64,
    RESAMPLER_HEAD = 128, // libmtmd's constant
};

static const struct projector {
    const char *name;
    uint32_t parts;
    enum synth_activation activation;
    const char *merge_key;
    uint32_t merge;
} PROJECTORS[] = {
#define PROJECTOR(name_, parts_, activation_, merge_key_, merge_)                                  \
    {.name = name_,                                                                                \
     .parts = parts_,                                                                              \
     .activation = activation_,                                                                    \
     .merge_key = merge_key_,                                                                      \
     .merge = merge_},
#include "worker/synth_vision.def"
#undef PROJECTOR
};
enum { N_PROJECTORS = sizeof PROJECTORS / sizeof PROJECTORS[0] };

struct field {
    const char *key;
    size_t offset; // of the uint32_t in struct synth_vision
    int64_t min;
    int64_t max;
    int64_t fallback; // -1: required
};

#define AT(member) offsetof(struct synth_vision, member)
static const struct field FIELDS[] = {
    {"v_layer", AT(n_layer), 1, MAX_LAYERS, -1},
    {"v_embd", AT(n_embd), 32, MAX_WIDTH, -1},
    {"v_head", AT(n_head), 1, MAX_HEADS, -1},
    {"v_ff", AT(n_ff), 32, MAX_FF, -1},
    {"patch_size", AT(patch_size), 4, MAX_PATCH, -1},
    {"image_size", AT(image_size), 32, MAX_SIDE, -1},
    {"n_embd_out", AT(n_embd_out), 32, MAX_ROW, -1},
    {"merge", AT(n_merge), 0, MAX_MERGE, 0},
    {"preproc_image_size", AT(preproc_image_size), 0, MAX_SIDE, 0},
    {"min_pixels", AT(min_pixels), 0, MAX_PIXELS, 0},
    {"max_pixels", AT(max_pixels), 0, MAX_PIXELS, 0},
    {"min_tiles", AT(min_tiles), 0, MAX_TILES, 0},
    {"max_tiles", AT(max_tiles), 0, MAX_TILES, 0},
    {"n_deepstack", AT(n_deepstack), 0, MAX_DEEPSTACK, 0},
    {"window_pattern", AT(window_pattern), 1, MAX_LAYERS, 8},
};

static enum wl_status parse_projector(const json_t *request, struct synth_vision *v,
                                      struct wl_err *err) {
    char known[256] = "";
    const char *name = wl_json_opt_string(request, "projector", "");
    for (int i = 0; i < N_PROJECTORS; i++) {
        const struct projector *p = &PROJECTORS[i];
        size_t used = strlen(known);
        snprintf(known + used, sizeof known - used, "%s%s", i ? ", " : "", p->name);
        if (strcmp(p->name, name) == 0) {
            v->projector = p->name;
            v->parts = p->parts;
            v->activation = p->activation;
            v->merge_key = p->merge_key;
            v->n_merge = p->merge;
            return WL_OK;
        }
    }
    return wl_err_set(err, WL_INPUT, "synth: projector is '%.64s', expected one of %s", name,
                      known);
}

static enum wl_status parse_fields(const json_t *request, struct synth_vision *v,
                                   struct wl_err *err) {
    uint32_t default_merge = v->n_merge;
    for (size_t i = 0; i < sizeof FIELDS / sizeof FIELDS[0]; i++) {
        const struct field *field = &FIELDS[i];
        int64_t value = wl_json_opt_i64(request, field->key, field->fallback);
        if (value < field->min || value > field->max) {
            return wl_err_set(err, WL_INPUT,
                              "synth: %s is %" PRId64 ", expected %" PRId64 " to %" PRId64,
                              field->key, value, field->min, field->max);
        }
        uint32_t small = (uint32_t)value;
        memcpy((char *)v + field->offset, &small, sizeof small);
    }
    v->n_merge = v->n_merge ? v->n_merge : default_merge;
    return WL_OK;
}

static enum wl_status parse_pinpoints(const json_t *request, struct synth_vision *v,
                                      struct wl_err *err) {
    const json_t *list = json_object_get(request, "pinpoints");
    size_t n = json_array_size(list);
    if (n % 2 != 0 || n > 2 * SYNTH_MAX_PINPOINTS || (n > 0 && !(v->parts & MLP))) {
        return wl_err_set(err, WL_INPUT,
                          "synth: pinpoints has %zu numbers, expected pairs of width and height, "
                          "up to %d, for the projector mlp only",
                          n, SYNTH_MAX_PINPOINTS);
    }
    for (size_t i = 0; i < n; i++) {
        json_int_t value = json_integer_value(json_array_get(list, i));
        if (value < v->image_size || value > MAX_SIDE) {
            return wl_err_set(err, WL_INPUT,
                              "synth: pinpoints[%zu] is %" JSON_INTEGER_FORMAT ", expected %" PRIu32
                              " (image_size) to %d",
                              i, value, v->image_size, MAX_SIDE);
        }
        v->pinpoints[i] = (int32_t)value;
    }
    v->n_pinpoints = n;
    return WL_OK;
}

static enum wl_status parse_type(const json_t *request, struct synth_vision *v,
                                 struct wl_err *err) {
    const char *type = wl_json_opt_string(request, "type", "f16");
    if (strcmp(type, "f16") != 0 && strcmp(type, "q8_0") != 0 && strcmp(type, "f32") != 0) {
        return wl_err_set(err, WL_INPUT,
                          "synth: type of an image encoder is '%.64s', expected f16, q8_0 or f32",
                          type);
    }
    return synth_mix_by_name(type, true, &v->mix, err);
}

static enum wl_status check_widths(const struct synth_vision *v, struct wl_err *err) {
    if (v->n_embd % v->n_head != 0 || v->n_embd / v->n_head % 4 != 0) {
        return wl_err_set(err, WL_INPUT,
                          "synth: v_embd %" PRIu32 " is not made of %" PRIu32
                          " heads of a multiple of 4",
                          v->n_embd, v->n_head);
    }
    // libmtmd would take the feed-forward part's two matrices for each other.
    if (v->n_ff == v->n_embd) {
        return wl_err_set(err, WL_INPUT,
                          "synth: v_ff %" PRIu32 " equals v_embd; the loader needs another",
                          v->n_ff);
    }
    if ((uint64_t)v->n_embd * v->n_merge * v->n_merge > MAX_ROW) {
        return wl_err_set(err, WL_INPUT,
                          "synth: v_embd %" PRIu32 " x merge %" PRIu32 " squared is above %d",
                          v->n_embd, v->n_merge, MAX_ROW);
    }
    if ((v->parts & RESAMPLER) && v->n_embd_out % RESAMPLER_HEAD != 0) {
        return wl_err_set(err, WL_INPUT,
                          "synth: n_embd_out is %" PRIu32 ", expected a multiple of %d for %s",
                          v->n_embd_out, RESAMPLER_HEAD, v->projector);
    }
    return WL_OK;
}

static enum wl_status check_image(const struct synth_vision *v, struct wl_err *err) {
    uint32_t grid = v->image_size / v->patch_size;
    if (grid < v->n_merge || ((v->parts & POSITIONS) && grid % v->n_merge != 0)) {
        return wl_err_set(err, WL_INPUT,
                          "synth: image_size %" PRIu32 " is %" PRIu32 " patches of %" PRIu32
                          " wide, expected a multiple of merge %" PRIu32,
                          v->image_size, grid, v->patch_size, v->n_merge);
    }
    if (v->n_merge > 1 && !v->merge_key) {
        return wl_err_set(err, WL_INPUT, "synth: merge is %" PRIu32 ", expected 1 for %s",
                          v->n_merge, v->projector);
    }
    if (v->max_pixels > 0 && v->min_pixels > v->max_pixels) {
        return wl_err_set(err, WL_INPUT,
                          "synth: min_pixels %" PRIu32 " is above max_pixels %" PRIu32,
                          v->min_pixels, v->max_pixels);
    }
    if (v->max_tiles > 0 && v->min_tiles > v->max_tiles) {
        return wl_err_set(err, WL_INPUT, "synth: min_tiles %" PRIu32 " is above max_tiles %" PRIu32,
                          v->min_tiles, v->max_tiles);
    }
    if (v->n_deepstack > 0 && (!(v->parts & DEEPSTACK) || v->n_deepstack >= v->n_layer)) {
        return wl_err_set(err, WL_INPUT,
                          "synth: n_deepstack is %" PRIu32
                          ", expected 0, or below v_layer for qwen3vl_merger",
                          v->n_deepstack);
    }
    return WL_OK;
}

enum wl_status synth_vision_parse(const json_t *request, struct synth_vision *vision,
                                  struct wl_err *err) {
    *vision = (struct synth_vision){
        .seed = (uint64_t)wl_json_opt_i64(request, "seed", 1),
        .name = wl_json_opt_string(request, "name", ""),
    };
    enum wl_status status;
    if ((status = parse_projector(request, vision, err)) ||
        (status = parse_fields(request, vision, err)) ||
        (status = parse_pinpoints(request, vision, err)) ||
        (status = parse_type(request, vision, err)) || (status = check_widths(vision, err))) {
        return status;
    }
    vision->parts |= vision->n_merge > 1 ? MERGES : 0;
    vision->parts |= vision->n_pinpoints > 0 ? TILES : 0;
    return check_image(vision, err);
}
