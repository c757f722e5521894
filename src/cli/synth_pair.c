#include "cli/synth_pair.h"

#include <stdio.h>

#include "base/str.h"

// A folder of its own, because by its width alone the encoder would fit other models too.
static enum wl_status own_folder(const char *name, char out[OS_PATH_BYTES], struct wl_err *err) {
    char cache[OS_PATH_BYTES], models[OS_PATH_BYTES];
    char part[SYNTH_MODEL_NAME_BYTES], folder[SYNTH_MODEL_NAME_BYTES + 16];
    synth_model_name_part(part, sizeof part, name);
    snprintf(folder, sizeof folder, "synth-%s", part);
    enum wl_status status = os_cache_dir(cache, err);
    if (status == WL_OK) {
        status = os_path_join(models, cache, "models", err);
    }
    return status == WL_OK ? os_path_join(out, models, folder, err) : status;
}

static enum wl_status check_out(const char *folder, struct wl_err *err) {
    if (str_ends_with(folder, ".gguf") || (os_exists(folder) && !os_is_dir(folder))) {
        return wl_err_set(err, WL_USAGE,
                          "--out: a model that sees images is two files; expected a folder, found "
                          "'%s'",
                          folder);
    }
    return WL_OK;
}

enum wl_status synth_pair_write(const struct synth_pair_request *request, struct progress *progress,
                                struct synth_pair *out, struct wl_err *err) {
    char folder[OS_PATH_BYTES];
    *out = (struct synth_pair){0};
    struct synth_model_request part = request->text;
    enum wl_status status = request->folder ? check_out(request->folder, err)
                                            : own_folder(part.shape.name, folder, err);
    if (status != WL_OK) {
        return status;
    }
    part.folder = request->folder ? request->folder : folder;
    part.is_own_folder = !request->folder;
    if ((status = synth_model_check_type(request->mmproj_type, true, err)) ||
        (status = synth_model_write(&part, progress, &out->text, err))) {
        return status;
    }
    part.is_encoder = true;
    part.type = request->mmproj_type;
    return synth_model_write(&part, progress, &out->encoder, err);
}
