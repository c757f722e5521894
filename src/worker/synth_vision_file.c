// The keys of a synthetic image encoder.
#include <stdio.h>

#include "worker/synth_file.h"
#include "worker/synth_vision.h"

enum { MINICPMV_VERSION = 4 };

static void set_u32(struct gguf_context *gguf, const char *key, uint32_t value) {
    char full[128];
    snprintf(full, sizeof full, "clip.vision.%s", key);
    gguf_set_val_u32(gguf, full, value);
}

static void set_if(struct gguf_context *gguf, const char *key, uint32_t value) {
    if (value > 0) {
        set_u32(gguf, key, value);
    }
}

static void set_activation(struct gguf_context *gguf, enum synth_activation activation) {
    gguf_set_val_bool(gguf, "clip.use_gelu", activation == GELU);
    gguf_set_val_bool(gguf, "clip.use_silu", activation == SILU);
}

static void set_tower(struct gguf_context *gguf, const struct synth_vision *v) {
    static const float HALVES[3] = {0.5f, 0.5f, 0.5f};
    set_u32(gguf, "block_count", v->n_layer);
    set_u32(gguf, "embedding_length", v->n_embd);
    set_u32(gguf, "feed_forward_length", v->n_ff);
    set_u32(gguf, "attention.head_count", v->n_head);
    set_u32(gguf, "patch_size", v->patch_size);
    set_u32(gguf, "image_size", v->image_size);
    set_u32(gguf, "projection_dim", v->n_embd_out);
    gguf_set_val_f32(gguf, "clip.vision.attention.layer_norm_epsilon", 1e-6f);
    gguf_set_arr_data(gguf, "clip.vision.image_mean", GGUF_TYPE_FLOAT32, HALVES, 3);
    gguf_set_arr_data(gguf, "clip.vision.image_std", GGUF_TYPE_FLOAT32, HALVES, 3);
    set_activation(gguf, v->activation);
}

static void set_deepstack(struct gguf_context *gguf, const struct synth_vision *v) {
    int8_t is_deep[SYNTH_MAX_VISION_LAYERS] = {
        0}; // as the converter writes it: one bool for each block
    for (uint32_t i = 0; i < v->n_deepstack; i++) {
        is_deep[synth_vision_deep_layer(v, i)] = 1;
    }
    gguf_set_arr_data(gguf, "clip.vision.is_deepstack_layers", GGUF_TYPE_BOOL, is_deep, v->n_layer);
}

static void set_family(struct gguf_context *gguf, const struct synth_vision *v) {
    if (v->merge_key) {
        set_u32(gguf, v->merge_key, v->n_merge);
    }
    set_if(gguf, "preproc_image_size", v->preproc_image_size);
    set_if(gguf, "image_min_pixels", v->min_pixels);
    set_if(gguf, "image_max_pixels", v->max_pixels);
    set_if(gguf, "preproc_min_tiles", v->min_tiles);
    set_if(gguf, "preproc_max_tiles", v->max_tiles);
    if (v->parts & WINDOWS) {
        set_u32(gguf, "n_wa_pattern", v->window_pattern);
    }
    if (v->parts & DEEPSTACK) {
        set_deepstack(gguf, v);
    }
    if (v->parts & RESAMPLER) {
        gguf_set_val_i32(gguf, "clip.minicpmv_version", MINICPMV_VERSION);
        gguf_set_val_u32(gguf, "clip.minicpmv_query_num", SYNTH_RESAMPLER_QUERIES);
    }
    if (v->parts & TILES) {
        gguf_set_arr_data(gguf, "clip.vision.image_grid_pinpoints", GGUF_TYPE_INT32, v->pinpoints,
                          v->n_pinpoints);
        gguf_set_val_str(gguf, "clip.vision.mm_patch_merge_type", "spatial_unpad");
    }
}

enum wl_status synth_vision_plan(const json_t *request, struct synth_file *file,
                                 struct wl_err *err) {
    struct synth_vision vision;
    enum wl_status status = synth_vision_parse(request, &vision, err);
    if (status != WL_OK) {
        return status;
    }
    file->seed = vision.seed;
    const char *name = *vision.name ? vision.name : vision.projector;
    synth_file_set_general(file, "clip", "mmproj", name, vision.mix.ftype);
    gguf_set_val_bool(file->gguf, "clip.has_vision_encoder", true);
    gguf_set_val_str(file->gguf, "clip.projector_type", vision.projector);
    set_tower(file->gguf, &vision);
    set_family(file->gguf, &vision);
    return synth_vision_tensors(&vision, &file->tensors, err);
}
