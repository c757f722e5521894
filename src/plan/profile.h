// A profile: a model with the settings of its levers, the limits in front of it, and the figures
// that justify them; one JSON file from `tune` to `run`, `study` and `serve`. docs/profile.md has
// every field. PURE.
#ifndef WATTLAW_PLAN_PROFILE_H
#define WATTLAW_PLAN_PROFILE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "account/limits.h"
#include "base/buf.h"
#include "base/err.h"

enum {
    PROFILE_SCHEMA_VERSION = 1,
    PROFILE_NAME_BYTES = 1024, // of a model: a path may be one
    PROFILE_WORD_BYTES = 16,
    PROFILE_HOST_BYTES = 256,
    PROFILE_MAX_HOSTS = 64,
    PROFILE_MAX_MODELS = 64,
    PROFILE_MAX_BYTES = 1 << 20,
};

// Numbers 0 and texts "" where the profile says nothing.
struct profile_engine {
    int64_t threads, threads_batch, ctx, ubatch;
    int64_t slots;                                               // requests at once
    int64_t cache_ram_mib;                                       // kept prompts; -1: nothing said
    int64_t image_min_tokens, image_max_tokens;                  // of one picture
    char load_mode[PROFILE_WORD_BYTES];                          // mmap, none
    char type_k[PROFILE_WORD_BYTES], type_v[PROFILE_WORD_BYTES]; // f32, f16, q8_0, q4_0
    char flash_attn[PROFILE_WORD_BYTES];                         // auto, on, off
    char wait[PROFILE_WORD_BYTES];                               // active, passive
    double idle_unload_s;
};

// What one picture may cost, as OpenAI's `detail` asks for it.
struct profile_detail {
    int64_t tokens, pixels; // 0: no limit
};
enum { PROFILE_AUTO, PROFILE_LOW, PROFILE_HIGH, PROFILE_N_DETAILS }; // as enum openai_detail

struct profile_images {
    struct profile_detail detail[PROFILE_N_DETAILS];
    int64_t max_images; // of one request; 0: nothing said
    bool first;         // pictures before the text of their message
    char allowed_hosts[PROFILE_MAX_HOSTS][PROFILE_HOST_BYTES];
    size_t n_allowed_hosts;
};

enum profile_policy { PROFILE_REJECT, PROFILE_TRUNCATE }; // of a request that is too long

struct profile_model_limits {
    char model[PROFILE_NAME_BYTES];
    struct request_limits limits;
};

struct profile {
    char model[PROFILE_NAME_BYTES], mmproj[PROFILE_NAME_BYTES]; // names or paths
    struct profile_engine engine;
    struct request_limits limits; // of every request
    enum profile_policy policy;
    struct profile_model_limits *models; // of those for one model
    size_t n_models;
    struct profile_images images;
    json_t *evidence; // what `tune` measured; as it is; NULL
};

void profile_init(struct profile *profile);
void profile_release(struct profile *profile);
// Takes what the object says; the rest of `profile` stays, so that one can be laid over another.
// INPUT names the field, what was expected and found; LIMIT; MEMORY.
enum wl_status profile_read(json_t *object, struct profile *profile, struct wl_err *err);
// The same from a file's text, which must say its schema_version.
enum wl_status profile_parse(const char *text, size_t n, struct profile *profile,
                             struct wl_err *err);
// The limits for one model: those of every request, tightened by its own.
void profile_limits(const struct profile *profile, const char *model, struct request_limits *out);

#endif
