#include "worker/vision.h"

#include <inttypes.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/str.h"
#include "os/clock.h"
#include "worker/log.h"
#include "worker/utf8.h"

// A bound against overflow in libmtmd, which multiplies by the pixels of a token (48 x 48 at most).
enum { MAX_IMAGE_TOKENS = 262144 };
enum { MAX_STRIDE = 1024 };
#define LOOK_EVERY_NS 20000000

static enum wl_status take_budget(const json_t *request, const char *key, int32_t *out,
                                  struct wl_err *err) {
    int64_t value = wl_json_opt_i64(request, key, 0);
    if (value < 0 || value > MAX_IMAGE_TOKENS) {
        return wl_err_set(err, WL_INPUT, "%s is %" PRId64 ", expected 0 (as the file says) to %d",
                          key, value, MAX_IMAGE_TOKENS);
    }
    *out = (int32_t)value;
    return WL_OK;
}

enum wl_status vision_options_parse(const json_t *request, struct vision_options *options,
                                    struct wl_err *err) {
    options->mmproj = wl_json_opt_string(request, "mmproj", "");
    enum wl_status status =
        take_budget(request, "image_min_tokens", &options->image_min_tokens, err);
    if (status == WL_OK) {
        status = take_budget(request, "image_max_tokens", &options->image_max_tokens, err);
    }
    if (status == WL_OK && options->image_max_tokens > 0 &&
        options->image_min_tokens > options->image_max_tokens) {
        status = wl_err_set(err, WL_INPUT,
                            "image_min_tokens is %" PRId32 ", above image_max_tokens %" PRId32,
                            options->image_min_tokens, options->image_max_tokens);
    }
    return status;
}

// A node takes a microsecond in a tiny encoder and a second in a big one.
static void adapt_stride(struct vision_watch *watch) {
    int64_t now_ns = os_now_ns();
    int64_t piece_ns = now_ns - watch->last_ns;
    watch->last_ns = now_ns;
    if (piece_ns < LOOK_EVERY_NS / 2 && watch->stride < MAX_STRIDE) {
        watch->stride *= 2;
    } else if (piece_ns > 2 * LOOK_EVERY_NS && watch->stride > 1) {
        watch->stride /= 2;
    }
}

// libmtmd asks of each node whether we want to see it, computes up to the one that we do and shows
// it; a "no" then ends the graph.
static bool on_node(struct ggml_tensor *node, bool is_question, void *context) {
    (void)node;
    struct vision_watch *watch = context;
    if (!watch->must_stop) {
        return !is_question;
    }
    if (is_question) {
        bool is_wanted = --watch->countdown == 0;
        watch->countdown = is_wanted ? watch->stride : watch->countdown;
        return is_wanted;
    }
    adapt_stride(watch);
    return !watch->must_stop(watch->context);
}

static bool is_below_minimum(void) {
    return strstr(log_reason(), "is less than image_min_pixels") != NULL;
}

// "mismatch between text model (n_embd = 64) and mmproj (n_embd = 96)": the second number.
static uint32_t projector_width(const char *reason) {
    static const char BEFORE[] = "and mmproj (n_embd = ";
    const char *at = strstr(reason, BEFORE);
    uint32_t width = 0;
    for (at = at ? at + sizeof BEFORE - 1 : ""; *at >= '0' && *at <= '9' && width < 1u << 24;
         at++) {
        width = 10 * width + (uint32_t)(*at - '0');
    }
    return width;
}

static enum wl_status explain(const struct vision *v, const struct llama_model *model,
                              struct wl_err *err) {
    const char *reason = log_reason();
    uint32_t width = projector_width(reason);
    if (width > 0) {
        return wl_err_set(err, WL_INPUT,
                          "the image encoder '%.300s' does not fit this text model: its projector "
                          "gives %" PRIu32 " values per token, the model wants %" PRId32
                          "; take the mmproj file that was made with this model",
                          v->path, width, llama_model_n_embd_inp(model));
    }
    if (is_below_minimum()) {
        return wl_err_set(err, WL_INPUT,
                          "image_min_tokens %" PRId32 " is above the most that the image encoder "
                          "'%.300s' allows for an image; lower it, or raise image_max_tokens",
                          v->image_min_tokens, v->path);
    }
    return wl_err_set(err, WL_INPUT, "cannot load the image encoder '%.300s' (projector '%s'): %s",
                      v->path, v->facts.projector, *reason ? reason : "llama.cpp gave no reason");
}

static void load_once(struct vision *v, const char *tensor_path,
                      const struct vision_options *options, const struct llama_model *model,
                      bool is_counter) {
    struct mtmd_context_params params = mtmd_context_params_default();
    params.use_gpu = false;
    params.print_timings = false;
    params.media_marker = VISION_MARKER;
    params.n_threads = options->threads;
    params.flash_attn_type = options->flash_attn;
    // Builds the graph without computing it: here a missing tensor shows, not at the first image.
    params.warmup = !is_counter;
    params.image_min_tokens = v->image_min_tokens > 0 ? v->image_min_tokens : -1;
    params.image_max_tokens = v->image_max_tokens > 0 ? v->image_max_tokens : -1;
    params.cb_eval = is_counter ? NULL : on_node;
    params.cb_eval_user_data = v->watch;
    log_clear();
    v->mtmd = mtmd_init_from_file(tensor_path, model, params);
}

// A maximum below the family's minimum is refused by libmtmd; what was meant is the maximum.
static void load_mtmd(struct vision *v, const char *tensor_path,
                      const struct vision_options *options, const struct llama_model *model,
                      bool is_counter) {
    load_once(v, tensor_path, options, model, is_counter);
    if (!v->mtmd && v->image_max_tokens > 0 && v->image_min_tokens == 0 && is_below_minimum()) {
        v->image_min_tokens = v->image_max_tokens;
        load_once(v, tensor_path, options, model, is_counter);
    }
}

static enum wl_status prepare(struct vision *v, const struct vision_options *options,
                              const struct vision_facts *facts, struct wl_err *err) {
    *v = (struct vision){
        .facts = *facts,
        .family = vision_family_of(facts->projector),
        .image_min_tokens = options->image_min_tokens,
        .image_max_tokens = options->image_max_tokens,
        .watch = calloc(1, sizeof *v->watch),
    };
    if (!str_copy(v->path, sizeof v->path, options->mmproj)) {
        return wl_err_set(err, WL_LIMIT, "the path of the image encoder is too long");
    }
    return v->watch ? WL_OK : wl_err_set(err, WL_MEMORY, "no memory for the image encoder");
}

static enum wl_status finish(struct vision *v, const struct llama_model *model,
                             struct wl_err *err) {
    enum wl_status status = v->mtmd ? WL_OK : explain(v, model, err);
    if (status == WL_OK && !mtmd_support_vision(v->mtmd)) {
        status = wl_err_set(err, WL_UNSUPPORTED, "'%.300s' encodes no images", v->path);
    }
    if (status != WL_OK) {
        vision_close(v);
    }
    return status;
}

// Qwen's text models know two-dimensional positions; with another the answers would be nonsense
// although the widths fit. (Of other families some text models do, some do not.)
static enum wl_status check_positions(const struct vision *v, const struct llama_model *model,
                                      struct wl_err *err) {
    enum llama_rope_type rope = llama_model_rope_type(model);
    bool is_mrope = rope == LLAMA_ROPE_TYPE_MROPE || rope == LLAMA_ROPE_TYPE_IMROPE;
    bool is_needed = v->family->is_mrope && strncmp(v->facts.projector, "qwen", 4) == 0;
    return !is_needed || is_mrope
               ? WL_OK
               : wl_err_set(err, WL_INPUT,
                            "the image encoder '%.300s' (projector '%s') does not fit this text "
                            "model: it needs one with M-RoPE positions, such as qwen2vl",
                            v->path, v->facts.projector);
}

enum wl_status vision_open(struct vision *out, const struct vision_options *options,
                           const struct vision_facts *facts, const struct llama_model *model,
                           struct wl_err *err) {
    enum wl_status status = prepare(out, options, facts, err);
    if (status == WL_OK) {
        status = check_positions(out, model, err);
    }
    if (status != WL_OK) {
        vision_close(out);
        return status;
    }
    load_mtmd(out, out->path, options, model, false);
    out->n_embd_out = (uint32_t)llama_model_n_embd_inp(model);
    return finish(out, model, err);
}

enum wl_status vision_open_counter(struct vision *out, const struct vision_options *options,
                                   const struct vision_facts *facts, const char *tensor_path,
                                   const struct llama_model *model, bool is_stand_in,
                                   struct wl_err *err) {
    enum wl_status status = prepare(out, options, facts, err);
    out->is_stand_in = is_stand_in;
    if (status == WL_OK && !is_stand_in) {
        status = check_positions(out, model, err);
    }
    if (status != WL_OK) {
        vision_close(out);
        return status;
    }
    load_mtmd(out, tensor_path, options, model, true);
    out->n_embd_out = is_stand_in ? facts->projection_dim : (uint32_t)llama_model_n_embd_inp(model);
    return finish(out, model, err);
}

// Otherwise the next encoder's figures of RAM would have this one's in them.
static void give_memory_back(void) {
#ifdef __GLIBC__
    malloc_trim(0);
#endif
}

void vision_close(struct vision *vision) {
    if (vision->mtmd) {
        mtmd_free(vision->mtmd);
        give_memory_back();
    }
    if (vision->text) {
        llama_model_free(vision->text);
    }
    free(vision->watch);
    *vision = (struct vision){0};
}

void vision_set_watch(const struct vision *vision, bool (*must_stop)(void *context),
                      void *context) {
    *vision->watch = (struct vision_watch){.must_stop = must_stop,
                                           .context = context,
                                           .stride = 1,
                                           .countdown = 1,
                                           .last_ns = os_now_ns()};
}

static bool look(void *context) {
    return interrupt_look(context);
}

void vision_set_interrupt(const struct vision *vision, struct interrupt *interrupt) {
    vision_set_watch(vision, interrupt ? look : NULL, interrupt);
}

uint32_t vision_cell(const struct vision *vision) {
    const struct vision_family *family = vision->family;
    uint32_t merge = vision->facts.merge ? vision->facts.merge : family->merge;
    bool is_fixed = family->cut != VISION_UNKNOWN && family->cut != VISION_RESAMPLED;
    return is_fixed ? vision->facts.patch_size * merge : 0;
}

json_t *vision_json(const struct vision *vision) {
    const struct vision_facts *f = &vision->facts;
    double cell = vision_cell(vision);
    json_t *out =
        json_pack("{s:s, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "projector",
                  f->projector, "name", json_text(f->name), "file_bytes", (json_int_t)f->file_bytes,
                  "n_params", (json_int_t)f->n_params, "n_layer", (json_int_t)f->n_layer, "n_embd",
                  (json_int_t)f->n_embd, "n_ff", (json_int_t)f->n_ff, "n_head",
                  (json_int_t)f->n_head, "patch_size", (json_int_t)f->patch_size, "image_size",
                  (json_int_t)f->image_size, "n_embd_out", (json_int_t)vision->n_embd_out);
    json_t *rest = json_pack("{s:f, s:i, s:i, s:b, s:b, s:b}", "pixels_per_token", cell * cell,
                             "image_min_tokens", (int)vision->image_min_tokens, "image_max_tokens",
                             (int)vision->image_max_tokens, "is_mrope",
                             (int)mtmd_decode_use_mrope(vision->mtmd), "is_non_causal",
                             (int)mtmd_decode_use_non_causal(vision->mtmd, NULL), "is_stand_in",
                             (int)vision->is_stand_in);
    json_object_update(out, rest);
    json_decref(rest);
    return out;
}
