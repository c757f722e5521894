#include "worker/counter.h"

#include "base/json.h"
#include "worker/log.h"
#include "worker/model_facts.h"
#include "worker/stand_in.h"
#include "worker/vision_skeleton.h"

// Without one llama.cpp draws dots into the log.
static bool on_progress(float done, void *context) {
    (void)done;
    (void)context;
    return true;
}

enum wl_status counter_open_text(const char *path, struct llama_model **out, struct wl_err *err) {
    struct model_facts facts;
    enum wl_status status = model_facts_read(path, &facts, err);
    if (status != WL_OK) {
        return status;
    }
    struct llama_model_params params = llama_model_default_params();
    params.no_alloc = true;
    params.load_mode = LLAMA_LOAD_MODE_NONE;
    params.n_gpu_layers = 0;
    params.progress_callback = on_progress;
    log_clear();
    *out = llama_model_load_from_file(path, params);
    return *out ? WL_OK
                : wl_err_set(err, WL_INPUT, "cannot read the model '%.300s': %s", path,
                             log_reason());
}

// False when libmtmd refuses the skeleton: a family that looks into its tensors, or a real fault,
// which the whole file will show again.
static bool open_skeleton(struct vision *vision, const struct vision_options *options,
                          const struct vision_facts *facts, const struct llama_model *text,
                          bool is_stand_in) {
    struct vision_skeleton skeleton;
    struct wl_err ignored;
    if (vision_skeleton_make(&skeleton, options->mmproj, &ignored) != WL_OK) {
        return false;
    }
    enum wl_status status =
        vision_open_counter(vision, options, facts, skeleton.path, text, is_stand_in, &ignored);
    vision_skeleton_discard(&skeleton);
    return status == WL_OK;
}

enum wl_status counter_open(struct vision *vision, const json_t *request, struct wl_err *err) {
    struct vision_options options = {.threads = 1, .flash_attn = LLAMA_FLASH_ATTN_TYPE_AUTO};
    struct vision_facts facts;
    struct llama_model *text = NULL;
    const char *model = wl_json_opt_string(request, "model", "");
    bool is_stand_in = !*model;
    const char *mmproj;
    enum wl_status status;
    if ((status = wl_json_get_string(request, "mmproj", &mmproj, err)) ||
        (status = vision_options_parse(request, &options, err)) ||
        (status = vision_file_read(options.mmproj, &facts, err)) ||
        (status = is_stand_in ? stand_in_make(vision_family_of(facts.projector), &text, err)
                              : counter_open_text(model, &text, err))) {
        return status;
    }
    if (!open_skeleton(vision, &options, &facts, text, is_stand_in)) {
        status =
            vision_open_counter(vision, &options, &facts, options.mmproj, text, is_stand_in, err);
    }
    if (status == WL_OK) {
        vision->text = text;
    } else {
        llama_model_free(text);
    }
    return status;
}
