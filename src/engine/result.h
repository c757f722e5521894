// What the engine answers, as plain structs, and the decoding of its JSON. PURE.
//
// The engine is untrusted: every field is checked for presence, type and range, and figures that
// contradict each other (a phase that ends before it begins, more tokens than asked for, a time
// outside the request) are PROTOCOL errors that name the field. A decoded struct can be used
// without another look.
#ifndef WATTLAW_ENGINE_RESULT_H
#define WATTLAW_ENGINE_RESULT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum {
    ENGINE_MAX_PHASES = 64, // several images: their prefills alternate with the text's
    ENGINE_MAX_RUN_IMAGES = 16,
    ENGINE_MAX_TYPES = 48,           // ggml has about 40 tensor types
    ENGINE_SHORT_BYTES = 32,         // names of phases, types, modes
    ENGINE_NAME_BYTES = 256,         // names of models
    ENGINE_TEMPLATE_BYTES = 4100,    // the first 4096 bytes of a chat template
    ENGINE_MAX_TEXT_BYTES = 1 << 20, // of one answer
    ENGINE_MAX_TOKENS = 16777216,    // of one prompt or answer (fits the TOKENS frame)
};

struct engine_phase {
    // "load"; of a run: "image_decode", "preprocess", "vision" (image encoder), "image_prefill",
    // "prefill" (text), "decode"
    char name[ENGINE_SHORT_BYTES];
    int64_t t0_ns, t1_ns;     // CLOCK_MONOTONIC
    int64_t cpu0_ns, cpu1_ns; // CPU time of the engine process
    int64_t peak_rss_bytes;   // largest RSS of the engine in the phase; 0 = not known
    uint32_t n_tokens;
};

// One image of a run, as it went through.
struct engine_run_image {
    uint32_t width, height;                 // of the file, upright: nominal pixels
    uint32_t decoded_width, decoded_height; // smaller where the JPEG decoder scaled
    uint32_t image_tokens, n_views;
    uint64_t effective_pixels; // 0 when the family does not tell
};

// What an image of one size costs.
struct engine_image_count {
    uint32_t image_tokens;     // embeddings that the text model sees
    uint32_t text_tokens;      // wrapper: markers of tiles, begin and end of image
    uint32_t positions;        // of the context window that they take (M-RoPE: fewer than tokens)
    uint32_t n_views;          // images that the encoder is run on (tiles and overview)
    uint64_t effective_pixels; // what the encoder sees; 0 when the family does not tell
};

// What the header of an image says.
struct engine_image {
    uint32_t width, height; // upright
    char format[ENGINE_SHORT_BYTES];
};

struct engine_type_count {
    char name[ENGINE_SHORT_BYTES]; // "q8_0"
    uint32_t n_tensors;
};

// The image encoder that is loaded.
struct engine_vision {
    char projector[ENGINE_SHORT_BYTES]; // "qwen2vl_merger", "idefics3", ...
    char name[ENGINE_NAME_BYTES];
    int64_t file_bytes, n_params;
    uint32_t n_layer, n_embd, n_ff, n_head, patch_size, image_size; // 0 when the file has none
    uint32_t n_embd_out;     // width of the text model's embeddings
    double pixels_per_token; // of the picture that the encoder sees; 0 when it varies
    // As asked; 0 = the file's or the family's. A maximum below the family's minimum lowers that
    // too, and then both are here.
    int32_t image_min_tokens;
    int32_t image_max_tokens;
    bool is_mrope;      // positions are two-dimensional
    bool is_non_causal; // an image must fit in one micro-batch
    bool is_stand_in;   // counting only: the text model is not the real one
};

struct engine_model {
    char arch[ENGINE_SHORT_BYTES * 2];
    char name[ENGINE_NAME_BYTES]; // "" when the file has none
    char description[ENGINE_NAME_BYTES];
    char file_type[ENGINE_NAME_BYTES];
    int64_t n_params, file_bytes, tensor_bytes;
    uint32_t n_layer, n_embd, n_head, n_head_kv, n_ff, n_vocab;
    uint32_t n_ctx_train, n_ctx;
    struct engine_type_count types[ENGINE_MAX_TYPES];
    uint32_t n_types;
    int64_t bytes_per_token;    // weights read to decode one token
    int64_t flops_per_token;    // 2 x active parameters, without attention
    int64_t kv_bytes_per_token; // at type_k and type_v
    uint32_t threads, threads_batch, n_ubatch;
    char type_k[ENGINE_SHORT_BYTES], type_v[ENGINE_SHORT_BYTES];
    char load_mode[ENGINE_SHORT_BYTES];  // "mmap", "none"
    char flash_attn[ENGINE_SHORT_BYTES]; // "auto", "on", "off"
    bool repack;
    bool has_vision; // an image encoder is loaded with it (the `vision` of LOAD's result)
    struct engine_vision vision;
    bool is_synthetic;      // random weights: good for cost, useless for accuracy
    bool has_chat_template; // then chat_template is its first 4096 bytes
    char chat_template[ENGINE_TEMPLATE_BYTES];
};

enum engine_stop {
    ENGINE_STOP_EOS,     // the model ended its answer
    ENGINE_STOP_LENGTH,  // n_predict reached
    ENGINE_STOP_CONTEXT, // n_ctx full
    ENGINE_STOP_TIME,    // max_seconds reached
    ENGINE_STOP_CANCEL,
};

struct engine_run_result {
    char *text; // valid UTF-8, NUL-terminated
    size_t text_bytes;
    uint32_t n_prompt; // text and image tokens
    uint32_t n_image_tokens;
    uint32_t n_positions; // of the context window; n_prompt without M-RoPE
    struct engine_run_image images[ENGINE_MAX_RUN_IMAGES];
    uint32_t n_images;
    uint32_t n_generated;
    enum engine_stop stop;
    struct engine_phase phases[ENGINE_MAX_PHASES]; // in time order, not overlapping
    uint32_t n_phases;
    int64_t *token_t_ns; // n_generated entries, ascending; NULL unless token_times was asked for
};

// What the request allows the answer to be.
struct engine_bounds {
    int64_t t_min_ns, t_max_ns; // every time stamp lies in here: request sent, answer received
    uint32_t n_prompt;          // 0 = any
    uint32_t n_predict;
    uint32_t n_images; // asked for
};

const char *engine_stop_name(enum engine_stop stop);
// The first phase of that name, or NULL. (Prefills of text and of images can alternate.)
const struct engine_phase *engine_result_phase(const struct engine_run_result *result,
                                               const char *name);
void engine_run_result_release(struct engine_run_result *result); // zeroed ones are fine

// PROTOCOL errors that say which field. `out` is zeroed first and needs no release on failure.
enum wl_status engine_model_decode(const json_t *model, struct engine_model *out,
                                   struct wl_err *err);
enum wl_status engine_vision_decode(const json_t *vision, struct engine_vision *out,
                                    struct wl_err *err);
// `counts` has room for n, which the answer must have exactly.
enum wl_status engine_counts_decode(const json_t *result, size_t n,
                                    struct engine_image_count *counts, struct wl_err *err);
enum wl_status engine_image_decode(const json_t *result, struct engine_image *out,
                                   struct wl_err *err);
enum wl_status engine_phase_decode(const json_t *phase, const struct engine_bounds *bounds,
                                   struct engine_phase *out, struct wl_err *err);
// Without token_t_ns, which engine_token_times_decode adds.
enum wl_status engine_run_result_decode(const json_t *result, const struct engine_bounds *bounds,
                                        struct engine_run_result *out, struct wl_err *err);
// The payload of a TOKEN_TIMES frame: must hold exactly out->n_generated ascending times.
enum wl_status engine_token_times_decode(const void *payload, size_t len,
                                         const struct engine_bounds *bounds,
                                         struct engine_run_result *out, struct wl_err *err);
// The payload of a TOKENS frame. *ids is malloc'd (NULL for none).
enum wl_status engine_tokens_decode(const void *payload, size_t len, int32_t **ids, size_t *n,
                                    struct wl_err *err);
// An ERROR frame's {status, message}: always returns a failure, with the engine's own words in err.
enum wl_status engine_error_decode(const json_t *error, struct wl_err *err);

#endif
