// Tiny pairs of a text model and an image encoder with random weights, one for each family that
// libmtmd has an own way with images for: 5 ms to load, below 3 MB each. Made by the engine's
// SYNTH.
#ifndef WATTLAW_TESTS_WORKER_TINY_PAIR_H
#define WATTLAW_TESTS_WORKER_TINY_PAIR_H

#include "drive.h"

enum { TINY_PATH_BYTES = 512, TINY_EMBD = 128 };

struct tiny_family {
    const char *name;      // of the pair
    const char *projector; // as SYNTH and clip.projector_type have it
    const char *arch;      // of the text model
    const char *keys;      // JSON: the image's sizes
};

// "mlp-tiles" is llava-1.6, "pixtral-merge" mistral-small-3.1. The rest are named as projectors.
static const struct tiny_family TINY_FAMILIES[] = {
    {"qwen2vl_merger", "qwen2vl_merger", "qwen2vl", "{\"patch_size\": 14, \"image_size\": 560}"},
    {"qwen2.5vl_merger", "qwen2.5vl_merger", "qwen2vl",
     "{\"patch_size\": 14, \"image_size\": 560, \"window_pattern\": 2}"},
    {"qwen3vl_merger", "qwen3vl_merger", "qwen3vl",
     "{\"patch_size\": 16, \"image_size\": 768, \"n_deepstack\": 1}"},
    {"idefics3", "idefics3", "llama",
     "{\"patch_size\": 16, \"image_size\": 128, \"merge\": 2, \"preproc_image_size\": 512}"},
    {"gemma3", "gemma3", "gemma3", "{\"patch_size\": 14, \"image_size\": 224}"},
    {"gemma4v", "gemma4v", "gemma3", "{\"patch_size\": 16, \"image_size\": 224}"},
    {"internvl", "internvl", "qwen2", "{\"patch_size\": 14, \"image_size\": 112}"},
    {"lfm2", "lfm2", "llama", "{\"patch_size\": 16, \"image_size\": 256}"},
    {"pixtral", "pixtral", "llama", "{\"patch_size\": 16, \"image_size\": 1024}"},
    {"pixtral-merge", "pixtral", "llama",
     "{\"patch_size\": 14, \"image_size\": 1540, \"merge\": 2}"},
    {"mlp", "mlp", "llama", "{\"patch_size\": 14, \"image_size\": 112}"},
    {"mlp-tiles", "mlp", "llama",
     "{\"patch_size\": 14, \"image_size\": 112, \"pinpoints\": [112, 224, 224, 112, 224, 224]}"},
    {"resampler", "resampler", "qwen2", "{\"patch_size\": 14, \"image_size\": 448}"},
    {"llama4", "llama4", "llama", "{\"patch_size\": 14, \"image_size\": 112}"},
};
enum { TINY_N_FAMILIES = sizeof TINY_FAMILIES / sizeof TINY_FAMILIES[0] };

static inline const struct tiny_family *tiny_family(const char *name) {
    for (int i = 0; i < TINY_N_FAMILIES; i++) {
        if (strcmp(TINY_FAMILIES[i].name, name) == 0) {
            return &TINY_FAMILIES[i];
        }
    }
    return NULL;
}

// The SYNTH requests of a family, to be changed and sent by tests that want another size.
static inline json_t *tiny_text_request(const struct tiny_family *family, const char *path) {
    json_t *encoder = json_loads(family->keys, 0, NULL);
    json_int_t n_deepstack = json_integer_value(json_object_get(encoder, "n_deepstack"));
    json_decref(encoder);
    return json_pack("{s:s, s:s, s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:I}", "path", path,
                     "arch", family->arch, "name", family->name, "n_layer", 2, "n_embd", TINY_EMBD,
                     "n_head", 4, "n_head_kv", 2, "head_dim", TINY_EMBD / 4, "n_ff", 160, "n_vocab",
                     512, "n_ctx", 8192, "n_deepstack", n_deepstack);
}

static inline json_t *tiny_vision_request(const struct tiny_family *family, const char *path) {
    json_t *request = json_pack("{s:s, s:s, s:s, s:i, s:i, s:i, s:i, s:i}", "path", path,
                                "projector", family->projector, "name", family->name, "v_layer", 2,
                                "v_embd", 32, "v_head", 2, "v_ff", 64, "n_embd_out", TINY_EMBD);
    json_t *keys = json_loads(family->keys, 0, NULL);
    json_object_update(request, keys);
    json_decref(keys);
    return request;
}

static inline bool tiny_synth(struct drive *drive, json_t *request) {
    struct drive_answer answer = drive_call(drive, ENGINE_SYNTH, request, 60);
    bool is_ok = answer.outcome == DRIVE_RESULT;
    if (!is_ok) {
        fprintf(stderr, "tiny pair: %s\n", wl_json_opt_string(answer.json, "message", "died"));
    }
    drive_answer_release(&answer);
    return is_ok;
}

// Writes <dir>/<family>.gguf and <dir>/mmproj-<family>.gguf; false (and a word on stderr) when it
// cannot. `family` is a name of TINY_FAMILIES.
static inline bool tiny_pair(struct drive *drive, const char *family, const char *dir,
                             char model[TINY_PATH_BYTES], char mmproj[TINY_PATH_BYTES]) {
    const struct tiny_family *row = tiny_family(family);
    snprintf(model, TINY_PATH_BYTES, "%s/%s.gguf", dir, family);
    snprintf(mmproj, TINY_PATH_BYTES, "%s/mmproj-%s.gguf", dir, family);
    return row && tiny_synth(drive, tiny_text_request(row, model)) &&
           tiny_synth(drive, tiny_vision_request(row, mmproj));
}

#endif
