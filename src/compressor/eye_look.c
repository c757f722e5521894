#include "compressor/eye_look.h"

#include <ggml-backend.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "image/image.h"
#include "os/file.h"
#include "os/machine.h"
#include "worker/gguf_file.h"
#include "worker/log.h"

enum { ASK_EVERY_NODES = 8, MAX_WIDTH = 1 << 24, MAX_TAPS = 64 };
static const char FIRST_NORM[] = "v.blk.0.ln1.weight";
static const char BEHIND[] = "layer_out-";

// ---- nodes ----

static const char *name_of(const struct ggml_tensor *tensor) {
    while (tensor && tensor->op != GGML_OP_NONE && tensor->src[0] &&
           (tensor->op == GGML_OP_CONT || tensor->op == GGML_OP_TRANSPOSE)) {
        tensor = tensor->src[0];
    }
    return tensor ? tensor->name : "";
}

// The input of block 0 has a name of its own in some graphs only; its first norm is known by its
// weight.
static bool is_first_norm(const struct ggml_tensor *node) {
    return node->op == GGML_OP_MUL && node->src[1] && strcmp(node->src[1]->name, FIRST_NORM) == 0 &&
           node->src[0]->src[0];
}

static bool is_last(const struct eye_look *look, const struct ggml_tensor *node) {
    return (look->parts & EYE_LAST) && node->op == GGML_OP_MUL_MAT &&
           strcmp(name_of(node->src[0]), look->last) == 0;
}

static bool is_behind(const struct ggml_tensor *node) {
    return node->op == GGML_OP_ADD && strncmp(node->name, BEHIND, sizeof BEHIND - 1) == 0;
}

static bool is_wanted(const struct eye_look *look, const struct ggml_tensor *node) {
    return ((look->parts & EYE_INPUT) && is_first_norm(node)) ||
           (look->n_input_rows > 0 && node->op == GGML_OP_ROPE) ||
           ((look->parts & EYE_BEHIND) && is_behind(node)) || is_last(look, node);
}

// ---- what is seen ----

static bool fail(struct eye_look *look, enum wl_status status) {
    look->status = status;
    return false;
}

static bool show(struct eye_look *look, const struct eye_sight *sight) {
    enum wl_status status = look->see(look->see_context, sight, look->err);
    return status == WL_OK || fail(look, status);
}

// malloc'd; NULL, and a failure, when there is no room or it is laid out otherwise.
static void *copy_out(struct eye_look *look, const struct ggml_tensor *tensor,
                      enum ggml_type type) {
    if (tensor->type != type || !ggml_is_contiguous(tensor)) {
        fail(look, wl_err_set(look->err, WL_UNSUPPORTED,
                              "libmtmd computes '%s' in another way than is known", tensor->name));
        return NULL;
    }
    void *out = malloc(ggml_nbytes(tensor));
    if (!out) {
        fail(look, wl_err_set(look->err, WL_MEMORY, "no memory for the states of a picture"));
        return NULL;
    }
    ggml_backend_tensor_get(tensor, out, 0, ggml_nbytes(tensor));
    return out;
}

static bool show_tensor(struct eye_look *look, enum eye_part part, uint32_t layer,
                        const struct ggml_tensor *tensor) {
    float *x = copy_out(look, tensor, GGML_TYPE_F32);
    struct eye_sight sight = {.part = part,
                              .layer = layer,
                              .x = x,
                              .width = (size_t)tensor->ne[0],
                              .n_rows = (size_t)ggml_nrows(tensor)};
    bool is_fine = x && show(look, &sight);
    free(x);
    return is_fine;
}

static bool take_input(struct eye_look *look, const struct ggml_tensor *tensor) {
    if (tensor->ne[2] * tensor->ne[3] != 1) {
        return fail(look, wl_err_set(look->err, WL_UNSUPPORTED,
                                     "libmtmd encodes several pictures at once"));
    }
    if (!look->has_rope) {
        return show_tensor(look, EYE_INPUT, 0, tensor);
    }
    free(look->input);
    look->input = copy_out(look, tensor, GGML_TYPE_F32);
    look->width = (size_t)tensor->ne[0];
    look->n_input_rows = look->input ? (size_t)tensor->ne[1] : 0;
    return look->input != NULL;
}

// Of each patch four numbers, [4][n]: row, column, row, column.
static bool take_positions(struct eye_look *look, const struct ggml_tensor *positions) {
    size_t n = look->n_input_rows;
    if (!positions || (size_t)ggml_nelements(positions) != 4 * n) {
        return fail(look, wl_err_set(look->err, WL_UNSUPPORTED,
                                     "libmtmd counts the places of %zu patches in another way "
                                     "than is known",
                                     n));
    }
    int32_t *places = copy_out(look, positions, GGML_TYPE_I32);
    struct eye_sight sight = {.part = EYE_INPUT,
                              .x = look->input,
                              .width = look->width,
                              .n_rows = n,
                              .rows = places,
                              .columns = places ? places + n : NULL};
    bool is_fine = places && show(look, &sight);
    free(places);
    look->n_input_rows = 0;
    return is_fine;
}

static bool take(struct eye_look *look, const struct ggml_tensor *node) {
    if (is_first_norm(node)) {
        return take_input(look, node->src[0]->src[0]);
    }
    if (node->op == GGML_OP_ROPE) {
        return take_positions(look, node->src[1]);
    }
    if (is_behind(node)) {
        unsigned long layer = strtoul(node->name + sizeof BEHIND - 1, NULL, 10);
        return show_tensor(look, EYE_BEHIND, (uint32_t)layer, node);
    }
    return show_tensor(look, EYE_LAST, 0, node->src[1]);
}

// Only who looks can stop: otherwise every question would cost time that may be measured.
static bool is_time_to_ask(const struct eye_look *look) {
    return look->parts != 0 && look->watch && look->watch->go_on &&
           look->n_nodes % ASK_EVERY_NODES == 0;
}

// As vision.c: libmtmd asks of each node whether we want to see it, computes up to the one that we
// do and shows it; a "no" then ends the graph.
static bool on_node(struct ggml_tensor *node, bool is_question, void *context) {
    struct eye_look *look = context;
    bool is_shown = look->parts != 0 && is_wanted(look, node);
    if (is_question) {
        look->n_nodes++;
        look->n_embd_out = (size_t)node->ne[0];
        return is_shown || is_time_to_ask(look);
    }
    if (look->watch && text_watch_stops(look->watch)) {
        log_mute(true); // llama.cpp reports what we stopped as an error
        return fail(look, wl_err_set(look->err, WL_INTERRUPTED, "'%s': cancelled", look->path));
    }
    return !is_shown || take(look, node);
}

// ---- loading ----

static void load(struct eye_look *look, const struct llama_model *text,
                 const struct eye_look_options *options, int32_t image_min_tokens) {
    struct mtmd_context_params params = mtmd_context_params_default();
    params.use_gpu = false;
    params.print_timings = false;
    params.warmup = false;
    params.n_threads = options->threads > 0 ? options->threads : os_n_usable_cores();
    params.flash_attn_type =
        options->is_exact ? LLAMA_FLASH_ATTN_TYPE_DISABLED : LLAMA_FLASH_ATTN_TYPE_AUTO;
    params.image_max_tokens = options->image_max_tokens > 0 ? options->image_max_tokens : -1;
    params.image_min_tokens = image_min_tokens > 0 ? image_min_tokens : -1;
    params.cb_eval = on_node;
    params.cb_eval_user_data = look;
    log_clear();
    look->mtmd = mtmd_init_from_file(look->path, text, params);
}

enum wl_status eye_text_width(const char *path, uint32_t *out, struct wl_err *err) {
    struct gguf_file file;
    char arch[64] = "", key[128];
    enum wl_status status = gguf_file_open(&file, path, err);
    if (status != WL_OK) {
        return status;
    }
    gguf_file_string(&file, "general.architecture", arch, sizeof arch);
    snprintf(key, sizeof key, "%s.embedding_length", arch);
    uint64_t width = gguf_file_uint(&file, key, 0, 0);
    snprintf(key, sizeof key, "%s.n_deepstack_layers", arch);
    uint64_t n_taps = gguf_file_uint(&file, key, 0, 0);
    gguf_file_close(&file);
    if (width == 0 || width > MAX_WIDTH || n_taps > MAX_TAPS) {
        return wl_err_set(err, WL_INPUT, "'%s': the key '%s.embedding_length' is no width", path,
                          arch);
    }
    *out = (uint32_t)(width * (n_taps + 1));
    return WL_OK;
}

enum wl_status eye_look_open(struct eye_look *look, const struct llama_model *text,
                             const struct eye_look_options *options, struct wl_err *err) {
    look->n_embd_text = options->n_embd_text;
    load(look, text, options, 0);
    if (!look->mtmd && options->image_max_tokens > 0) { // perhaps below the family's minimum
        load(look, text, options, options->image_max_tokens);
    }
    if (!look->mtmd) {
        const char *reason = log_reason();
        return wl_err_set(err, WL_INPUT, "cannot load the image encoder '%.300s': %s", look->path,
                          *reason ? reason : "llama.cpp gave no reason");
    }
    return mtmd_support_vision(look->mtmd)
               ? WL_OK
               : wl_err_set(err, WL_UNSUPPORTED, "'%.300s' encodes no images", look->path);
}

void eye_look_close(struct eye_look *look) {
    if (look->mtmd) {
        mtmd_free(look->mtmd);
    }
    free(look->input);
    look->mtmd = NULL;
    look->input = NULL;
}

// ---- pictures ----

static enum wl_status decode(const char *path, struct mtmd_bitmap **out, struct wl_err *err) {
    struct buf bytes;
    struct image image = {0};
    buf_init(&bytes, IMAGE_LIMITS.max_bytes);
    enum wl_status status = os_slurp(path, &bytes, err);
    if (status == WL_OK) {
        status = image_decode(bytes.data, bytes.len, NULL, 0, 0, &image, err);
    }
    buf_release(&bytes);
    if (status == WL_OK) {
        *out = mtmd_bitmap_init(image.width, image.height, image.rgb);
    }
    image_release(&image);
    return status == WL_OK ? WL_OK : wl_err_prefix(err, "picture '%.300s'", path);
}

enum wl_status eye_look_picture(const struct eye_look *look, const char *path,
                                struct mtmd_input_chunks **out, struct wl_err *err) {
    struct mtmd_bitmap *bitmap = NULL;
    enum wl_status status = decode(path, &bitmap, err);
    if (status != WL_OK) {
        return status;
    }
    const struct mtmd_bitmap *bitmaps[] = {bitmap};
    const char *marker = mtmd_get_marker(look->mtmd);
    struct mtmd_input_text text = {
        .text = marker, .text_len = strlen(marker), .parse_special = true};
    struct mtmd_input_chunks *chunks = mtmd_input_chunks_init();
    log_clear();
    int32_t code = mtmd_tokenize(look->mtmd, chunks, &text, bitmaps, 1);
    mtmd_bitmap_free(bitmap);
    if (code != 0) {
        const char *reason = log_reason();
        mtmd_input_chunks_free(chunks);
        return wl_err_set(err, WL_INPUT, "picture '%.300s' cannot be prepared: %s", path,
                          *reason ? reason : "libmtmd gave no reason");
    }
    *out = chunks;
    return WL_OK;
}

static enum wl_status encode_chunk(struct eye_look *look, const struct mtmd_input_chunk *chunk,
                                   struct wl_err *err) {
    look->status = WL_OK;
    look->err = err;
    log_clear();
    int32_t code = mtmd_encode_chunk(look->mtmd, chunk);
    log_mute(false);
    if (look->status != WL_OK) {
        return look->status;
    }
    if (code != 0) {
        const char *reason = log_reason();
        return wl_err_set(err, WL_FAILED, "'%.300s' could not encode a picture: %s", look->path,
                          *reason ? reason : "libmtmd gave no reason");
    }
    struct eye_sight sight = {.part = EYE_TOKENS,
                              .x = mtmd_get_output_embd(look->mtmd),
                              .n_rows = mtmd_input_chunk_get_n_tokens(chunk),
                              .width = look->n_embd_out};
    if (sight.width != look->n_embd_text) {
        return wl_err_set(err, WL_INPUT,
                          "the image encoder '%.300s' gives %zu values per token, the text model "
                          "takes %" PRIu32 "; take the text model that it was made with",
                          look->path, sight.width, look->n_embd_text);
    }
    return look->parts & EYE_TOKENS ? look->see(look->see_context, &sight, err) : WL_OK;
}

enum wl_status eye_look_encode(struct eye_look *look, const struct mtmd_input_chunks *chunks,
                               struct wl_err *err) {
    enum wl_status status = WL_OK;
    for (size_t i = 0; i < mtmd_input_chunks_size(chunks) && status == WL_OK; i++) {
        const struct mtmd_input_chunk *chunk = mtmd_input_chunks_get(chunks, i);
        if (mtmd_input_chunk_get_type(chunk) == MTMD_INPUT_CHUNK_TYPE_IMAGE) {
            status = encode_chunk(look, chunk, err);
        }
    }
    return status;
}
