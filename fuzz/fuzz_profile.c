// Any text as a profile: refused in words, or a profile whose limits are limits, and which can be
// laid over itself.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "plan/profile.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition) {
    if (!condition) {
        abort();
    }
}

static void check_limits(const struct request_limits *limits) {
    require(limits->input_tokens == LIMITS_NONE || limits->input_tokens >= 0);
    require(limits->output_tokens == LIMITS_NONE || limits->output_tokens >= 0);
    require(limits->seconds >= 0 && limits->joules >= 0); // and no NaN
}

static bool is_tighter(int64_t a, int64_t b) { // or the same
    return b == LIMITS_NONE || (a != LIMITS_NONE && a <= b);
}

static void check_model(const struct profile *profile, const char *model) {
    struct request_limits limits;
    profile_limits(profile, model, &limits);
    check_limits(&limits);
    require(is_tighter(limits.input_tokens, profile->limits.input_tokens));
    require(is_tighter(limits.output_tokens, profile->limits.output_tokens));
    require(limits.seconds <= profile->limits.seconds && limits.joules <= profile->limits.joules);
}

static void check(const struct profile *profile) {
    check_limits(&profile->limits);
    require(profile->n_models <= PROFILE_MAX_MODELS);
    require(profile->images.n_allowed_hosts <= PROFILE_MAX_HOSTS);
    require(profile->images.max_images >= 0);
    for (size_t i = 0; i < profile->images.n_allowed_hosts; i++) {
        require(profile->images.allowed_hosts[i][0] != '\0');
        require(memchr(profile->images.allowed_hosts[i], '\0', PROFILE_HOST_BYTES) != NULL);
    }
    for (int i = 0; i < PROFILE_N_DETAILS; i++) {
        require(profile->images.detail[i].tokens >= 0 && profile->images.detail[i].pixels >= 0);
    }
    for (size_t i = 0; i < profile->n_models; i++) {
        check_limits(&profile->models[i].limits);
        check_model(profile, profile->models[i].model);
    }
    check_model(profile, "");
    check_model(profile, "another");
}

static void lay_over_itself(struct profile *profile, const char *text, size_t n) {
    json_t *root;
    struct wl_err err = {0};
    require(wl_json_parse(text, n, &root, &err) == WL_OK);
    require(profile_read(root, profile, &err) == WL_OK || err.message[0]);
    json_decref(root);
    check(profile);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct profile profile;
    struct wl_err err = {0};
    char *text = malloc(size ? size : 1); // exact, so that reading past the end is seen
    require(text != NULL);
    memcpy(text, data, size);
    profile_init(&profile);
    enum wl_status status = profile_parse(text, size, &profile, &err);
    if (status != WL_OK) {
        require(err.status == status && err.message[0]);
    } else {
        check(&profile);
        lay_over_itself(&profile, text, size);
    }
    profile_release(&profile);
    free(text);
    return 0;
}
