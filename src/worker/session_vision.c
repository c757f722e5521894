// The session's image encoder: with a LOAD, instead of the one there is, or alone for counting.
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "worker/counter.h"
#include "worker/image_count.h"
#include "worker/phase.h"
#include "worker/session.h"

// The most tokens that one piece of an image can take, found by counting: large pictures of every
// common aspect, and small ones, because budgets are not monotonic in every family.
static uint32_t largest_piece(const struct vision *vision) {
    static const uint32_t SIZES[][2] = {{4096, 4096}, {4096, 3072}, {3072, 4096},
                                        {4096, 2304}, {2304, 4096}, {1024, 1024},
                                        {8192, 1024}, {1024, 8192}, {448, 448}};
    uint32_t largest = 0;
    for (size_t i = 0; i < sizeof SIZES / sizeof SIZES[0]; i++) {
        struct image_count count;
        struct wl_err ignored;
        if (image_count_size(vision, SIZES[i][0], SIZES[i][1], &count, &ignored) == WL_OK) {
            largest = count.max_chunk_tokens > largest ? count.max_chunk_tokens : largest;
        }
    }
    return largest;
}

// For messages; the path belonged to the LOAD.
static const char *name_of(const struct session *s) {
    return *s->facts.name ? s->facts.name : "that is loaded";
}

static enum wl_status make_room(struct session *s, struct wl_err *err) {
    struct load_options *o = &s->options;
    uint32_t need =
        mtmd_decode_use_non_causal(s->vision.mtmd, NULL) ? largest_piece(&s->vision) : 0;
    if (need <= o->n_ubatch) {
        return WL_OK;
    }
    o->n_ubatch = need;
    o->n_batch = o->n_batch > need ? o->n_batch : need;
    return s->ctx ? session_make_context(s, name_of(s), err) : WL_OK;
}

enum wl_status session_open_vision(struct session *session, const struct vision_options *options,
                                   const struct vision_facts *facts, struct wl_err *err) {
    enum wl_status status = vision_open(&session->vision, options, facts, session->model, err);
    if (status == WL_OK) {
        status = make_room(session, err);
    }
    return status;
}

static enum wl_status find_file(const struct session *s, struct vision_options *options,
                                char path[OS_PATH_BYTES], struct wl_err *err) {
    if (*options->mmproj) {
        return WL_OK;
    }
    if (!s->vision.mtmd) {
        return wl_err_set(err, WL_USAGE, "no image encoder is loaded; say which with mmproj");
    }
    snprintf(path, OS_PATH_BYTES, "%s", s->vision.path); // the encoder that has it is closed first
    options->mmproj = path;
    return WL_OK;
}

enum wl_status session_vision(struct session *session, const struct reply *reply,
                              const json_t *request, json_t **result, struct wl_err *err) {
    struct vision_options options = {.threads = session->options.threads_batch,
                                     .flash_attn = session->options.flash_attn};
    char path[OS_PATH_BYTES];
    struct vision_facts facts;
    struct phase phase;
    enum wl_status status;
    if ((status = session_require_model(session, err)) ||
        (status = vision_options_parse(request, &options, err)) ||
        (status = find_file(session, &options, path, err))) {
        return status;
    }
    phase_begin(&phase, "load", reply);
    status = vision_file_read(options.mmproj, &facts, err);
    if (status == WL_OK) {
        struct ram_prediction before = session->ram;
        status = session_check_ram(session, name_of(session), facts.tensor_bytes, err);
        session->ram = status == WL_OK ? session->ram : before;
    }
    if (status == WL_OK) {
        vision_close(&session->vision); // two at once would be a peak of RAM that nobody asked for
        status = session_open_vision(session, &options, &facts, err);
    }
    phase_end(&phase, reply);
    if (status == WL_OK) {
        *result = json_pack("{s:o, s:o}", "phase", phase_json(&phase), "vision",
                            vision_json(&session->vision));
    }
    return status;
}

// Only a text model: for prompts without images.
static enum wl_status open_text_counter(struct session *session, const char *path, json_t **result,
                                        struct wl_err *err) {
    enum wl_status status = counter_open_text(path, &session->model, err);
    if (status == WL_OK) {
        session->vocab = llama_model_get_vocab(session->model);
        *result = json_object();
    }
    return status;
}

enum wl_status session_counter(struct session *session, const json_t *request, json_t **result,
                               struct wl_err *err) {
    const char *mmproj = wl_json_opt_string(request, "mmproj", NULL);
    const char *model = wl_json_opt_string(request, "model", "");
    session_unload(session);
    if (mmproj && !*mmproj && *model) {
        return open_text_counter(session, model, result, err);
    }
    enum wl_status status = counter_open(&session->vision, request, err);
    if (status == WL_OK) {
        *result = json_pack("{s:o}", "vision", vision_json(&session->vision));
    }
    return status;
}
