#include "plan/profile.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/json_fields.h"
#include "base/str.h"

static const char *const FIELDS[] = {"schema_version", "model",  "mmproj", "engine",   "limits",
                                     "policy",         "models", "images", "evidence", NULL};
static const int64_t MAX_TOKENS = INT32_MAX;
static const int64_t MAX_PIXELS = INT64_C(1) << 40;
static const char *const LOAD_MODES[] = {"mmap", "none", NULL};
static const char *const TYPES[] = {"f32",  "f16",  "bf16",   "q8_0", "q4_0",
                                    "q4_1", "q5_0", "iq4_nl", "q5_1", NULL};
static const char *const FLASH[] = {"auto", "on", "off", NULL};
static const char *const WAITS[] = {"active", "passive", NULL};
static const char *const POLICIES[] = {"reject", "truncate", NULL};

void profile_init(struct profile *profile) {
    *profile = (struct profile){.engine.cache_ram_mib = -1};
    limits_none(&profile->limits);
}

void profile_release(struct profile *profile) {
    free(profile->models);
    json_decref(profile->evidence);
    profile_init(profile);
}

// ---- engine ----

struct number_field {
    const char *name;
    int64_t max;
    size_t offset;
};

#define ENGINE_NUMBER(name, max)                                                                   \
    { #name, max, offsetof(struct profile_engine, name) }

static const struct number_field ENGINE_NUMBERS[] = {
    ENGINE_NUMBER(threads, 1024),
    ENGINE_NUMBER(threads_batch, 1024),
    ENGINE_NUMBER(ctx, 1 << 24),
    ENGINE_NUMBER(ubatch, 65536),
    ENGINE_NUMBER(slots, 1024),
    ENGINE_NUMBER(cache_ram_mib, 1 << 24),
    ENGINE_NUMBER(image_min_tokens, 1 << 20),
    ENGINE_NUMBER(image_max_tokens, 1 << 20),
};

struct word_field {
    const char *name;
    const char *const *words;
    size_t offset;
};

#define ENGINE_WORD(name, words)                                                                   \
    { #name, words, offsetof(struct profile_engine, name) }

static const struct word_field ENGINE_WORDS[] = {
    ENGINE_WORD(load_mode, LOAD_MODES), ENGINE_WORD(type_k, TYPES), ENGINE_WORD(type_v, TYPES),
    ENGINE_WORD(flash_attn, FLASH),     ENGINE_WORD(wait, WAITS),
};

static enum wl_status read_engine(json_t *object, struct profile_engine *engine,
                                  struct wl_err *err) {
    static const char *const NAMES[] = {"threads",
                                        "threads_batch",
                                        "ctx",
                                        "ubatch",
                                        "slots",
                                        "cache_ram_mib",
                                        "image_min_tokens",
                                        "image_max_tokens",
                                        "load_mode",
                                        "type_k",
                                        "type_v",
                                        "flash_attn",
                                        "wait",
                                        "idle_unload_s",
                                        NULL};
    enum wl_status status = json_fields_check(object, "an object {\"threads\": ...}", NAMES, err);
    for (size_t i = 0; i < sizeof ENGINE_NUMBERS / sizeof ENGINE_NUMBERS[0] && status == WL_OK;
         i++) {
        const struct number_field *f = &ENGINE_NUMBERS[i];
        status = json_fields_i64(object, f->name, 0, f->max,
                                 (int64_t *)(void *)((char *)engine + f->offset), err);
    }
    for (size_t i = 0; i < sizeof ENGINE_WORDS / sizeof ENGINE_WORDS[0] && status == WL_OK; i++) {
        const struct word_field *f = &ENGINE_WORDS[i];
        int word = -1;
        status = json_fields_word(object, f->name, f->words, &word, err);
        if (status == WL_OK && word >= 0) {
            str_copy((char *)engine + f->offset, PROFILE_WORD_BYTES, f->words[word]);
        }
    }
    return status == WL_OK
               ? json_fields_double(object, "idle_unload_s", 0, 1e9, &engine->idle_unload_s, err)
               : status;
}

// ---- images ----

static enum wl_status read_detail(const json_t *images, const char *name,
                                  struct profile_detail *detail, struct wl_err *err) {
    static const char *const NAMES[] = {"tokens", "pixels", NULL};
    json_t *object = json_object_get(images, name);
    if (!object) {
        return WL_OK;
    }
    enum wl_status status =
        json_fields_check(object, "an object {\"tokens\": ..., \"pixels\": ...}", NAMES, err);
    if (status == WL_OK) {
        status = json_fields_i64(object, "tokens", 0, MAX_TOKENS, &detail->tokens, err);
    }
    if (status == WL_OK) {
        status = json_fields_i64(object, "pixels", 0, MAX_PIXELS, &detail->pixels, err);
    }
    return status == WL_OK ? WL_OK : wl_err_prefix(err, "%s", name);
}

static enum wl_status read_hosts(const json_t *list, struct profile_images *images,
                                 struct wl_err *err) {
    if (!list) {
        return WL_OK;
    }
    size_t n = json_array_size(list);
    if (!json_is_array(list) || n > PROFILE_MAX_HOSTS) {
        return json_fields_wrong("allowed_hosts", "a list of at most 64 host names", list, err);
    }
    for (size_t i = 0; i < n; i++) {
        const char *host = json_string_value(json_array_get(list, i));
        if (!host || !host[0] || !str_copy(images->allowed_hosts[i], PROFILE_HOST_BYTES, host)) {
            return json_fields_wrong("allowed_hosts", "host names of 1 to 255 bytes",
                                     json_array_get(list, i), err);
        }
    }
    images->n_allowed_hosts = n;
    return WL_OK;
}

static enum wl_status read_images(json_t *object, struct profile_images *images,
                                  struct wl_err *err) {
    static const char *const NAMES[] = {"auto",  "low",           "high", "max_images",
                                        "first", "allowed_hosts", NULL};
    static const char *const DETAILS[PROFILE_N_DETAILS] = {"auto", "low", "high"};
    enum wl_status status = json_fields_check(object, "an object {\"auto\": ...}", NAMES, err);
    for (int i = 0; i < PROFILE_N_DETAILS && status == WL_OK; i++) {
        status = read_detail(object, DETAILS[i], &images->detail[i], err);
    }
    if (status == WL_OK) {
        status = json_fields_i64(object, "max_images", 1, 1024, &images->max_images, err);
    }
    if (status == WL_OK) {
        status = json_fields_bool(object, "first", &images->first, err);
    }
    return status == WL_OK ? read_hosts(json_object_get(object, "allowed_hosts"), images, err)
                           : status;
}

// ---- limits ----

#define FIELD_NAME(name) #name,
static const char *const LIMIT_FIELDS[] = {LIMITS_FIELD_LIST(FIELD_NAME) NULL};

static enum wl_status read_limits(json_t *object, struct request_limits *limits,
                                  struct wl_err *err) {
    enum wl_status status =
        json_fields_check(object, "an object {\"input_tokens\": ...}", LIMIT_FIELDS, err);
    return status == WL_OK ? limits_read(object, limits, err) : status;
}

// Later ones of the same model are put over the earlier.
static struct profile_model_limits *model_limits(struct profile *profile, const char *model) {
    for (size_t i = 0; i < profile->n_models; i++) {
        if (strcmp(profile->models[i].model, model) == 0) {
            return &profile->models[i];
        }
    }
    struct profile_model_limits *more =
        realloc(profile->models, (profile->n_models + 1) * sizeof *more);
    if (!more) {
        return NULL;
    }
    profile->models = more;
    more += profile->n_models++;
    str_copy(more->model, sizeof more->model, model);
    limits_none(&more->limits);
    return more;
}

static enum wl_status read_models(json_t *object, struct profile *profile, struct wl_err *err) {
    if (!json_is_object(object) || json_object_size(object) > PROFILE_MAX_MODELS) {
        return json_fields_wrong("models", "an object {\"NAME\": {limits}} of at most 64 models",
                                 object, err);
    }
    const char *name;
    json_t *value;
    json_object_foreach(object, name, value) {
        struct profile_model_limits *model =
            strlen(name) < PROFILE_NAME_BYTES ? model_limits(profile, name) : NULL;
        if (!model) {
            return wl_err_set(err, WL_LIMIT, "models: a name is too long, or memory is short");
        }
        enum wl_status status = read_limits(value, &model->limits, err);
        if (status != WL_OK) {
            return wl_err_prefix(err, "models: '%.80s'", name);
        }
    }
    return WL_OK;
}

void profile_limits(const struct profile *profile, const char *model, struct request_limits *out) {
    *out = profile->limits;
    for (size_t i = 0; i < profile->n_models; i++) {
        if (strcmp(profile->models[i].model, model) == 0) {
            limits_tighten(out, &profile->models[i].limits);
        }
    }
}

// ---- the whole ----

typedef enum wl_status (*read_part)(json_t *part, struct profile *profile, struct wl_err *err);

static enum wl_status engine_part(json_t *part, struct profile *profile, struct wl_err *err) {
    return read_engine(part, &profile->engine, err);
}
static enum wl_status limits_part(json_t *part, struct profile *profile, struct wl_err *err) {
    return read_limits(part, &profile->limits, err);
}
static enum wl_status images_part(json_t *part, struct profile *profile, struct wl_err *err) {
    return read_images(part, &profile->images, err);
}
static enum wl_status evidence_part(json_t *part, struct profile *profile, struct wl_err *err) {
    (void)err;
    json_decref(profile->evidence);
    profile->evidence = json_incref(part);
    return WL_OK;
}

static const struct {
    const char *name;
    read_part read;
} PARTS[] = {{"engine", engine_part},
             {"limits", limits_part},
             {"models", read_models},
             {"images", images_part},
             {"evidence", evidence_part}};

static enum wl_status check_version(const json_t *object, struct wl_err *err) {
    const json_t *version = json_object_get(object, "schema_version");
    if (version && json_integer_value(version) != PROFILE_SCHEMA_VERSION) {
        return wl_err_set(err, WL_UNSUPPORTED,
                          "schema_version is %lld, this program knows %d: use the wattlaw that "
                          "wrote the profile, or a newer one",
                          (long long)json_integer_value(version), PROFILE_SCHEMA_VERSION);
    }
    return WL_OK;
}

enum wl_status profile_read(json_t *object, struct profile *profile, struct wl_err *err) {
    int policy = (int)profile->policy;
    enum wl_status status =
        json_fields_check(object, "an object {\"schema_version\": 1, ...}", FIELDS, err);
    if (status == WL_OK) {
        status = check_version(object, err);
    }
    if (status == WL_OK) {
        status = json_fields_text(object, "model", profile->model, sizeof profile->model, err);
    }
    if (status == WL_OK) {
        status = json_fields_text(object, "mmproj", profile->mmproj, sizeof profile->mmproj, err);
    }
    if (status == WL_OK) {
        status = json_fields_word(object, "policy", POLICIES, &policy, err);
        profile->policy = (enum profile_policy)policy;
    }
    for (size_t i = 0; i < sizeof PARTS / sizeof PARTS[0] && status == WL_OK; i++) {
        json_t *part = json_object_get(object, PARTS[i].name);
        status = part ? PARTS[i].read(part, profile, err) : WL_OK;
        if (status != WL_OK) {
            wl_err_prefix(err, "%s", PARTS[i].name);
        }
    }
    return status;
}

enum wl_status profile_parse(const char *text, size_t n, struct profile *profile,
                             struct wl_err *err) {
    json_t *root;
    enum wl_status status = wl_json_parse(text, n, &root, err);
    if (status != WL_OK) {
        return status;
    }
    status = json_is_object(root) && !json_object_get(root, "schema_version")
                 ? json_fields_wrong("schema_version", "1", NULL, err)
                 : profile_read(root, profile, err);
    json_decref(root);
    return status;
}
