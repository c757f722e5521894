// What a user could take instead: the original at lower bits, and models of the user's own, such as
// the next smaller one of the family.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/str.h"
#include "compressor/job_state.h"
#include "compressor/retype.h"
#include "compressor/text_model.h"

enum { MAX_RIVALS = 8, LABEL_BYTES = 128 };

struct rival {
    struct job *job;
    size_t index, n;  // of the rivals, for progress
    const char *wish; // a type, or a file
    bool is_file;
    char path[OS_PATH_BYTES], label[LABEL_BYTES];
};

static bool rival_goes_on(void *context, double share_done) {
    const struct rival *rival = context;
    return job_go_on(rival->job, ((double)rival->index + share_done) / (double)rival->n);
}

// ---- its file ----

static enum wl_status retype_original(struct rival *rival, enum ggml_type type,
                                      struct wl_err *err) {
    struct retype_result retyped = {0};
    struct retype_options options = {.type = type,
                                     .keeps_order = true,
                                     .scratch_dir = rival->job->work.path,
                                     .go_on = rival_goes_on,
                                     .context = rival};
    enum wl_status status = retype_run(rival->job->path, rival->path, &options, &retyped, err);
    retype_result_release(&retyped);
    return status;
}

static enum wl_status find_file(struct rival *rival, struct wl_err *err) {
    const char *slash = strrchr(rival->wish, '/');
    snprintf(rival->label, LABEL_BYTES, "%s", slash ? slash + 1 : rival->wish);
    rival->is_file = true;
    return str_copy(rival->path, sizeof rival->path, rival->wish)
               ? WL_OK
               : wl_err_set(err, WL_LIMIT, "path too long: '%.80s...'", rival->wish);
}

static enum wl_status make_file(struct rival *rival, enum ggml_type type, struct wl_err *err) {
    char name[64];
    snprintf(name, sizeof name, "rival-%.16s.gguf", rival->wish);
    snprintf(rival->label, LABEL_BYTES, "the original in %.16s", rival->wish);
    enum wl_status status = work_file(&rival->job->work, name, rival->path, err);
    return status == WL_OK && !os_exists(rival->path) ? retype_original(rival, type, err) : status;
}

static enum wl_status get_file(struct rival *rival, struct wl_err *err) {
    enum ggml_type type;
    if (retype_parse(rival->wish, &type, err) == WL_OK) {
        return make_file(rival, type, err);
    }
    if (os_exists(rival->wish)) {
        return find_file(rival, err);
    }
    return wl_err_prefix(err, "rival '%.300s' is no file, and no type", rival->wish);
}

// ---- how far it is from the original ----

static bool has_same_tokens(const struct text_model *a, const struct text_model *b) {
    bool is_same = a->n_vocab == b->n_vocab;
    for (uint32_t i = 0; i < a->n_vocab && is_same; i++) {
        const char *x = llama_vocab_get_text(a->vocab, (llama_token)i);
        const char *y = llama_vocab_get_text(b->vocab, (llama_token)i);
        is_same = x && y && strcmp(x, y) == 0;
    }
    return is_same;
}

// Distributions over other tokens cannot be compared.
static enum wl_status check_tokens(struct rival *rival, struct wl_err *err) {
    struct text_watch watch = {.go_on = rival_goes_on, .context = rival};
    struct text_model original = {0}, own = {0};
    enum wl_status status =
        text_model_load(&original, rival->job->path, TEXT_MODEL_VOCABULARY, &watch, err);
    if (status == WL_OK) {
        status = text_model_load(&own, rival->path, TEXT_MODEL_VOCABULARY, &watch, err);
    }
    if (status == WL_OK && !has_same_tokens(&original, &own)) {
        status = wl_err_set(err, WL_UNSUPPORTED, "'%s' has other tokens than the original",
                            rival->label);
    }
    text_model_unload(&own);
    text_model_unload(&original);
    return status;
}

// A model of the user's own may be of another kind: then *verdict is null and *refusal says why.
static enum wl_status judge(struct rival *rival, json_t **verdict, json_t **refusal,
                            struct wl_err *err) {
    struct verify_result result;
    enum wl_status status = rival->is_file ? check_tokens(rival, err) : WL_OK;
    if (status == WL_OK) {
        struct job_changed changed = {.path = rival->path}; // with the original's encoder
        status = job_compare(rival->job, &changed, rival_goes_on, rival, &result, err);
    }
    bool is_refused =
        rival->is_file && (status == WL_INPUT || status == WL_UNSUPPORTED || status == WL_LIMIT);
    *verdict = status == WL_OK ? job_verdict_json(&result) : json_null();
    *refusal = is_refused ? json_string(err->message) : json_null();
    return is_refused ? WL_OK : status;
}

static enum wl_status add(struct rival *rival, json_t *rivals, struct wl_err *err) {
    json_t *verdict = NULL, *refusal = NULL;
    uint64_t bytes = 0;
    enum wl_status status = get_file(rival, err);
    if (status == WL_OK) {
        status = os_file_size(rival->path, &bytes, err);
    }
    if (status == WL_OK) {
        status = judge(rival, &verdict, &refusal, err);
    }
    if (status != WL_OK) {
        json_decref(verdict);
        json_decref(refusal);
        return status;
    }
    json_array_append_new(rivals,
                          json_pack("{s:s?, s:s, s:b, s:s, s:I, s:o, s:o}", "type",
                                    rival->is_file ? NULL : rival->wish, "name", rival->label,
                                    "is_file", rival->is_file, "path", rival->path, "bytes",
                                    (json_int_t)bytes, "verdict", verdict, "refusal", refusal));
    return WL_OK;
}

enum wl_status job_rivals(struct job *job, struct wl_err *err) {
    const json_t *wishes = json_object_get(job->request, "rivals");
    size_t n = json_array_size(wishes);
    if (n > MAX_RIVALS) {
        return wl_err_set(err, WL_LIMIT, "rivals: expected at most %d, found %zu", MAX_RIVALS, n);
    }
    json_t *rivals = json_array();
    enum wl_status status = WL_OK;
    for (size_t i = 0; i < n && status == WL_OK; i++) {
        struct rival rival = {.job = job, .index = i, .n = n};
        rival.wish = json_string_value(json_array_get(wishes, i));
        status = rival.wish ? add(&rival, rivals, err)
                            : wl_err_set(err, WL_INPUT, "rivals: expected types or files");
    }
    json_object_set_new(job->result, "rivals", rivals);
    return status;
}
