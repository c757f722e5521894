#include "worker/backends.h"

#include <ggml-backend.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "os/file.h"
#include "worker/utf8.h"

#ifndef WATTLAW_ENGINE_BACKENDS_DIR
#define WATTLAW_ENGINE_BACKENDS_DIR ""
#endif

static bool installed_dir(char out[OS_PATH_BYTES]) {
    char exe_dir[OS_PATH_BYTES];
    return os_executable_dir(exe_dir, NULL) == WL_OK &&
           os_path_join(out, exe_dir, "backends", NULL) == WL_OK;
}

static bool has_cpu(void) {
    return ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU) != NULL;
}

static void load_from(const char *dir) {
    if (dir && *dir && !has_cpu() && os_is_dir(dir)) {
        ggml_backend_load_all_from_path(dir);
    }
}

static bool is_cpu_only(ggml_backend_reg_t reg) {
    for (size_t i = 0; i < ggml_backend_reg_dev_count(reg); i++) {
        ggml_backend_dev_t dev = ggml_backend_reg_dev_get(reg, i);
        if (ggml_backend_dev_type(dev) != GGML_BACKEND_DEVICE_TYPE_CPU) {
            return false;
        }
    }
    return ggml_backend_reg_dev_count(reg) > 0;
}

static void unload_others(void) {
    for (size_t i = ggml_backend_reg_count(); i-- > 0;) {
        ggml_backend_reg_t reg = ggml_backend_reg_get(i);
        if (!is_cpu_only(reg)) {
            ggml_backend_unload(reg);
        }
    }
}

enum wl_status backends_load(struct wl_err *err) {
    char installed[OS_PATH_BYTES] = "";
    load_from(getenv("WATTLAW_BACKENDS_DIR"));
    load_from(installed_dir(installed) ? installed : NULL);
    load_from(WATTLAW_ENGINE_BACKENDS_DIR);
    if (!has_cpu()) {
        ggml_backend_load_all();
    }
    unload_others();
    if (!has_cpu()) {
        return wl_err_set(
            err, WL_UNSUPPORTED,
            "no CPU back end of ggml was found: looked in $WATTLAW_BACKENDS_DIR, '%s' "
            "and '%s'; run tools/setup again or set WATTLAW_BACKENDS_DIR",
            installed, WATTLAW_ENGINE_BACKENDS_DIR);
    }
    return WL_OK;
}

json_t *backends_json(void) {
    json_t *names = json_array();
    for (size_t i = 0; i < ggml_backend_dev_count(); i++) {
        ggml_backend_dev_t dev = ggml_backend_dev_get(i);
        char text[256];
        snprintf(text, sizeof text, "%s: %s", ggml_backend_dev_name(dev),
                 ggml_backend_dev_description(dev));
        json_array_append_new(names, json_text(text));
    }
    return names;
}
