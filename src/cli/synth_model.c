#include "cli/synth_model.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "base/units.h"
#include "catalog/gguf_file.h"
#include "engine/client.h"
#include "os/clock.h"

// What the engine can write, with the type most of its weights have. The engine has the last word.
static const struct {
    const char *name;
    const char *base;
} TYPES[] = {
    {"f32", "f32"},     {"f16", "f16"},       {"bf16", "bf16"},     {"q8_0", "q8_0"},
    {"q6_k", "q6_k"},   {"q5_k_m", "q5_k"},   {"q5_k_s", "q5_k"},   {"q5_1", "q5_1"},
    {"q5_0", "q5_0"},   {"q4_k_m", "q4_k"},   {"q4_k_s", "q4_k"},   {"q4_1", "q4_1"},
    {"q4_0", "q4_0"},   {"iq4_nl", "iq4_nl"}, {"iq4_xs", "iq4_xs"}, {"q3_k_l", "q3_k"},
    {"q3_k_m", "q3_k"}, {"q3_k_s", "q3_k"},   {"q2_k", "q2_k"},
};
enum { N_TYPES = sizeof TYPES / sizeof TYPES[0] };

static const char *const ALIASES[][2] = {
    {"q3_k", "q3_k_m"}, {"q4_k", "q4_k_m"}, {"q5_k", "q5_k_m"}};

static void lower(char *out, size_t size, const char *text) {
    str_copy(out, size, text);
    for (char *p = out; *p; p++) {
        *p = *p >= 'A' && *p <= 'Z' ? (char)(*p - 'A' + 'a') : *p;
    }
}

// The row of a type, or -1.
static int find_type(const char *name) {
    char low[32];
    lower(low, sizeof low, name);
    const char *wanted = low;
    for (size_t i = 0; i < sizeof ALIASES / sizeof ALIASES[0]; i++) {
        wanted = strcmp(low, ALIASES[i][0]) == 0 ? ALIASES[i][1] : wanted;
    }
    for (int i = 0; i < N_TYPES; i++) {
        if (strcmp(TYPES[i].name, wanted) == 0) {
            return i;
        }
    }
    return -1;
}

static enum wl_status unknown_type(const char *name, struct wl_err *err) {
    char list[256] = "";
    const char *names[N_TYPES + 1] = {NULL};
    size_t used = 0;
    for (int i = 0; i < N_TYPES; i++) {
        names[i] = TYPES[i].name;
        int n = snprintf(list + used, sizeof list - used, "%s%s", i ? ", " : "", TYPES[i].name);
        used += n > 0 ? (size_t)n : 0;
    }
    const char *nearest = str_nearest(name, names);
    return wl_err_set(err, WL_USAGE, "unknown type '%s'%s%s%s; expected one of %s", name,
                      nearest ? ", did you mean '" : "", nearest ? nearest : "",
                      nearest ? "'?" : "", list);
}

enum wl_status synth_model_check_type(const char *type, bool is_encoder, struct wl_err *err) {
    int row = find_type(type);
    if (!is_encoder) {
        return row < 0 ? unknown_type(type, err) : WL_OK;
    }
    const char *name = row < 0 ? "" : TYPES[row].name;
    if (strcmp(name, "f16") == 0 || strcmp(name, "q8_0") == 0 || strcmp(name, "f32") == 0) {
        return WL_OK;
    }
    return wl_err_set(err, WL_USAGE, "an image encoder cannot be '%s'; expected f16, q8_0 or f32",
                      type);
}

double synth_model_bytes(const struct plan_shape *shape, const char *type) {
    int row = find_type(type);
    if (row < 0) {
        return NAN;
    }
    double bits = gguf_type_bits_per_weight(gguf_type_by_name(TYPES[row].base));
    double bytes = plan_shape_bytes(shape, bits);
    double output_bits = shape->n_embd % 256 ? 8.5 : 6.5625; // q6_k, or q8_0 where it does not fit
    if (output_bits > bits) {
        bytes += (output_bits - bits) / 8 * shape->n_embd * shape->n_vocab;
    }
    return bytes + 40.0 * shape->n_vocab; // the vocabulary and its merges
}

double synth_model_encoder_bytes(const struct plan_vision *vision, uint32_t n_embd_out,
                                 const char *type) {
    int row = find_type(type);
    return row < 0
               ? NAN
               : plan_vision_bytes(vision, n_embd_out,
                                   gguf_type_bits_per_weight(gguf_type_by_name(TYPES[row].base)));
}

static double request_bytes(const struct synth_model_request *request, const char *type) {
    return request->is_encoder
               ? synth_model_encoder_bytes(request->vision, request->shape.n_embd, type)
               : synth_model_bytes(&request->shape, type);
}

enum wl_status synth_model_shape(const char *like, const struct plan_shape **out,
                                 struct wl_err *err) {
    *out = plan_shape_by_name(like);
    if (*out) {
        return WL_OK;
    }
    const char *names[128];
    size_t n = 0;
    for (; n < 127 && n < plan_shape_count(); n++) {
        names[n] = plan_shape_at(n)->name;
    }
    names[n] = NULL;
    const char *nearest = str_nearest(like, names);
    return wl_err_set(err, WL_NOT_FOUND, "unknown shape '%s'%s%s%s; 'wattlaw synth --list' has all",
                      like, nearest ? ", did you mean '" : "", nearest ? nearest : "",
                      nearest ? "'?" : "");
}

void synth_model_name_part(char *out, size_t size, const char *text) {
    static const char USUAL[] = "abcdefghijklmnopqrstuvwxyz0123456789._-";
    lower(out, size, text);
    for (char *p = out; *p; p++) {
        *p = strchr(USUAL, *p) ? *p : '-';
    }
}

// Made when it is not there.
static enum wl_status folder_for(const struct synth_model_request *request, char out[OS_PATH_BYTES],
                                 struct wl_err *err) {
    char cache[OS_PATH_BYTES];
    enum wl_status status;
    if (request->folder) {
        status = str_copy(out, OS_PATH_BYTES, request->folder)
                     ? WL_OK
                     : wl_err_set(err, WL_LIMIT, "path too long: '%.80s...'", request->folder);
    } else if ((status = os_cache_dir(cache, err)) == WL_OK) {
        status = os_path_join(out, cache, "models", err);
    }
    return status == WL_OK ? os_make_dirs(out, err) : status;
}

static enum wl_status default_path(const struct synth_model_request *request, const char *type,
                                   char out[OS_PATH_BYTES], struct wl_err *err) {
    char folder[OS_PATH_BYTES];
    char name[SYNTH_MODEL_NAME_BYTES], file[SYNTH_MODEL_NAME_BYTES + 64], seed[32] = "";
    enum wl_status status = folder_for(request, folder, err);
    if (status != WL_OK) {
        return status;
    }
    if (request->seed != SYNTH_MODEL_SEED) {
        snprintf(seed, sizeof seed, "-seed%" PRIu64, request->seed);
    }
    synth_model_name_part(name, sizeof name, request->shape.name);
    snprintf(file, sizeof file, "%ssynth-%s-%s%s.gguf", request->is_encoder ? "mmproj-" : "", name,
             type, seed);
    return os_path_join(out, folder, file, err);
}

struct difference {
    const char *what;
    uint64_t found, expected;
};

static bool first_difference(const struct difference *rows, size_t n, struct difference *out) {
    for (size_t i = 0; i < n; i++) {
        if (rows[i].found != rows[i].expected) {
            *out = rows[i];
            return true;
        }
    }
    return false;
}

static bool encoder_differs(const struct gguf_facts *facts,
                            const struct synth_model_request *request, struct difference *out) {
    uint32_t width = request->shape.n_embd;
    const struct difference rows[] = {
        {"output width", facts->projection_dim, width},
        {"parameters", facts->n_params, plan_vision_params(request->vision, width)},
        {"seed", facts->synth_seed, request->seed},
    };
    return first_difference(rows, sizeof rows / sizeof rows[0], out);
}

// What the file has other than asked for; false when it is the same model.
static bool text_differs(const struct gguf_facts *facts, const struct synth_model_request *request,
                         struct difference *out) {
    const struct plan_shape *shape = &request->shape;
    const struct difference rows[] = {
        {"layers", facts->n_layer, shape->n_layer},
        {"width", facts->n_embd, shape->n_embd},
        {"heads", facts->n_head, shape->n_head},
        {"KV heads", facts->n_head_kv, shape->n_head_kv},
        {"head size", facts->head_dim, shape->head_dim},
        {"feed-forward width", facts->n_ff, shape->n_ff},
        {"vocabulary", facts->n_vocab, shape->n_vocab},
        {"context", facts->n_ctx_train, shape->n_ctx_train},
        {"output matrices", facts->has_output, !shape->is_tied},
        {"seed", facts->synth_seed, request->seed},
    };
    return first_difference(rows, sizeof rows / sizeof rows[0], out);
}

static bool differs(const struct gguf_facts *facts, const struct synth_model_request *request,
                    struct difference *out) {
    return request->is_encoder ? encoder_differs(facts, request, out)
                               : text_differs(facts, request, out);
}

enum existing { EXISTING_NONE, EXISTING_SAME, EXISTING_OTHER, EXISTING_TRAINED, EXISTING_BROKEN };

// What is in the place of the file; `why` says it for EXISTING_OTHER and _BROKEN.
static enum existing look_at(const struct synth_model_request *request, const char *type,
                             struct synth_model *out, struct wl_err *why) {
    struct gguf_facts facts;
    struct difference difference;
    if (!os_exists(out->path)) {
        return EXISTING_NONE;
    }
    if (gguf_peek_file(out->path, &facts, why) != WL_OK ||
        os_file_size(out->path, &out->file_bytes, why) != WL_OK) {
        return EXISTING_BROKEN;
    }
    if (!facts.is_synthetic) {
        return EXISTING_TRAINED;
    }
    const char *kind = facts.is_mmproj ? facts.projector : facts.arch;
    const char *wanted = request->is_encoder ? request->vision->projector : request->shape.arch;
    if (strcmp(kind, wanted) != 0 || strcmp(facts.file_type, type) != 0) {
        wl_err_set(why, WL_USAGE, "%s %s instead of %s %s", kind, facts.file_type, wanted, type);
        return EXISTING_OTHER;
    }
    if (differs(&facts, request, &difference)) {
        wl_err_set(why, WL_USAGE, "%s %" PRIu64 " instead of %" PRIu64, difference.what,
                   difference.found, difference.expected);
        return EXISTING_OTHER;
    }
    out->n_params = facts.n_params;
    return EXISTING_SAME;
}

// Decides about a file that is there already: OK to write, or OK with is_reused.
static enum wl_status settle_existing(const struct synth_model_request *request, const char *type,
                                      struct synth_model *out, struct wl_err *err) {
    struct wl_err why = {0};
    enum existing existing = look_at(request, type, out, &why);
    if (existing == EXISTING_TRAINED) {
        return wl_err_set(err, WL_USAGE,
                          "'%s' is a model with trained weights; random ones do not overwrite it: "
                          "choose another file with --out",
                          out->path);
    }
    out->is_reused = existing == EXISTING_SAME && !request->is_forced;
    // In our own cache a left-over is ours to replace.
    bool may_replace =
        request->is_forced || (!request->out_path && (!request->folder || request->is_own_folder));
    if (existing == EXISTING_NONE || existing == EXISTING_SAME || may_replace) {
        return WL_OK;
    }
    return wl_err_set(err, WL_USAGE,
                      "'%s' exists and is %s (%s); --force overwrites it, --out chooses another "
                      "file",
                      out->path, existing == EXISTING_OTHER ? "another model" : "not readable",
                      why.message);
}

static void folder_of(char out[OS_PATH_BYTES], const char *path) {
    str_copy(out, OS_PATH_BYTES, path);
    char *slash = strrchr(out, '/');
    if (slash) {
        slash[slash == out] = '\0';
    } else {
        str_copy(out, OS_PATH_BYTES, ".");
    }
}

// Said before the engine is started; the engine looks again with the exact size.
static enum wl_status check_room(const struct synth_model_request *request, const char *type,
                                 const char *path, struct wl_err *err) {
    char folder[OS_PATH_BYTES], wanted[UNITS_TEXT_BYTES], there[UNITS_TEXT_BYTES];
    uint64_t free_bytes;
    folder_of(folder, path);
    if (!os_is_dir(folder)) {
        return wl_err_set(err, WL_NOT_FOUND, "cannot write '%s': no folder '%s'", path, folder);
    }
    double bytes = request_bytes(request, type);
    enum wl_status status = os_free_bytes(folder, &free_bytes, err);
    if (status != WL_OK || bytes <= (double)free_bytes) {
        return status;
    }
    return wl_err_set(err, WL_LIMIT, "cannot write '%s': it needs about %s but '%s' has %s free",
                      path, units_bytes(wanted, bytes), folder,
                      units_bytes(there, (double)free_bytes));
}

struct shown {
    struct progress *progress;
    const char *what;
};

static void show(void *context, const char *what, double done) {
    const struct shown *shown = context;
    (void)what;
    progress_update(shown->progress, done, -1, shown->what);
}

static struct engine_synth_options text_options(const struct synth_model_request *request) {
    const struct plan_shape *shape = &request->shape;
    return (struct engine_synth_options){
        .arch = shape->arch,
        .n_layer = shape->n_layer,
        .n_embd = shape->n_embd,
        .n_head = shape->n_head,
        .n_head_kv = shape->n_head_kv,
        .head_dim = shape->head_dim,
        .n_ff = shape->n_ff,
        .n_vocab = shape->n_vocab,
        .n_ctx = shape->n_ctx_train,
        .n_deepstack = request->vision ? request->vision->n_deepstack : 0,
        .is_tied = shape->is_tied,
        .rope_freq_base = shape->rope_freq_base,
    };
}

static struct engine_synth_vision encoder_options(const struct synth_model_request *request) {
    const struct plan_vision *v = request->vision;
    return (struct engine_synth_vision){
        .projector = v->projector,
        .n_layer = v->n_layer,
        .n_embd = v->n_embd,
        .n_head = v->n_head,
        .n_ff = v->n_ff,
        .patch_size = v->patch_size,
        .image_size = v->image_size,
        .n_merge = v->n_merge,
        .n_embd_out = request->shape.n_embd,
        .preproc_image_size = v->preproc_image_size,
        .n_deepstack = v->n_deepstack,
        .window_pattern = v->window_pattern,
    };
}

static enum wl_status write_with_engine(const struct synth_model_request *request, const char *type,
                                        struct progress *progress, struct synth_model *out,
                                        struct wl_err *err) {
    struct engine *engine = NULL;
    enum wl_status status = engine_start(NULL, &engine, err);
    if (status != WL_OK) {
        return status;
    }
    char what[SYNTH_MODEL_NAME_BYTES + 48];
    snprintf(what, sizeof what, "writing %s%.60s %s", request->is_encoder ? "the encoder of " : "",
             request->shape.name, type);
    struct shown shown = {progress, what};
    struct engine_synth_options options = {0};
    struct engine_synth_vision encoder;
    if (request->is_encoder) {
        encoder = encoder_options(request);
        options.vision = &encoder;
    } else {
        options = text_options(request);
    }
    options.path = out->path;
    options.type = type;
    options.name = request->shape.name;
    options.seed = request->seed;
    struct engine_synth_result result;
    int64_t start_ns = os_now_ns();
    status = engine_synth(engine, &options, progress ? show : NULL, &shown, &result, err);
    engine_stop(engine);
    if (status == WL_OK) {
        out->file_bytes = (uint64_t)result.file_bytes;
        out->n_params = (uint64_t)result.n_params;
        out->seconds = (double)(os_now_ns() - start_ns) * 1e-9;
    }
    return status;
}

enum wl_status synth_model_write(const struct synth_model_request *request,
                                 struct progress *progress, struct synth_model *out,
                                 struct wl_err *err) {
    *out = (struct synth_model){0};
    enum wl_status status = synth_model_check_type(request->type, request->is_encoder, err);
    if (status != WL_OK) {
        return status;
    }
    out->type = TYPES[find_type(request->type)].name;
    if (!request->out_path) {
        status = default_path(request, out->type, out->path, err);
    } else if (!str_copy(out->path, sizeof out->path, request->out_path)) {
        status = wl_err_set(err, WL_LIMIT, "path too long: '%.80s...'", request->out_path);
    }
    if (status == WL_OK) {
        status = settle_existing(request, out->type, out, err);
    }
    if (status != WL_OK || out->is_reused) {
        return status;
    }
    status = check_room(request, out->type, out->path, err);
    return status == WL_OK ? write_with_engine(request, out->type, progress, out, err) : status;
}

enum wl_status synth_model_make(const char *like, const char *type, const char *out_path_or_null,
                                struct progress *progress, char path[OS_PATH_BYTES],
                                struct wl_err *err) {
    const struct plan_shape *shape;
    enum wl_status status = synth_model_shape(like, &shape, err);
    if (status != WL_OK) {
        return status;
    }
    struct synth_model_request request = {
        .shape = *shape, .type = type, .seed = SYNTH_MODEL_SEED, .out_path = out_path_or_null};
    struct synth_model model;
    status = synth_model_write(&request, progress, &model, err);
    if (status == WL_OK) {
        str_copy(path, OS_PATH_BYTES, model.path);
    }
    return status;
}
