#include "cli/compress_recipe.h"

#include <string.h>

#include "base/buf.h"
#include "catalog/catalog.h"

enum { MAX_SCRIPT_BYTES = 1 << 20 };
static const char SCRIPT[] = "heal.py", TEXT[] = "text.jsonl", README[] = "README.md";

static enum wl_status copy_script(const char *folder, struct wl_err *err) {
    char from[OS_PATH_BYTES], to[OS_PATH_BYTES];
    struct buf buf;
    buf_init(&buf, MAX_SCRIPT_BYTES);
    catalog_data_dir("recipe", from);
    enum wl_status status =
        from[0] ? WL_OK : wl_err_set(err, WL_NOT_FOUND, "the recipe is not installed");
    if (status == WL_OK) {
        status = os_path_join(to, from, SCRIPT, err);
    }
    if (status == WL_OK) {
        status = os_slurp(to, &buf, err);
    }
    if (status == WL_OK) {
        status = os_path_join(to, folder, SCRIPT, err);
    }
    if (status == WL_OK) {
        status = os_write_atomic(to, buf.data, buf.len, err);
    }
    buf_release(&buf);
    return status;
}

static enum wl_status write_readme(const char *folder, const char *original, const char *compressed,
                                   struct wl_err *err) {
    char path[OS_PATH_BYTES];
    struct buf buf;
    buf_init(&buf, MAX_SCRIPT_BYTES);
    buf_printf(
        &buf,
        "# Healing on a GPU\n\n"
        "%s: the calibration text of `wattlaw compress`, much of it written by the original\n"
        "model itself, as token numbers and as text. %s: full distillation with PyTorch.\n\n"
        "    python3 %s --teacher %s \\\n        --student %s \\\n"
        "        --text %s --out healed.gguf\n\n"
        "Then judge the result: `wattlaw study -m ORIGINAL --vs healed.gguf`.\n",
        TEXT, SCRIPT, SCRIPT, original, compressed, TEXT);
    enum wl_status status =
        buf.is_failed ? wl_err_set(err, WL_MEMORY, "no memory for the README") : WL_OK;
    if (status == WL_OK) {
        status = os_path_join(path, folder, README, err);
    }
    if (status == WL_OK) {
        status = os_write_atomic(path, buf.data, buf.len, err);
    }
    buf_release(&buf);
    return status;
}

enum wl_status compress_recipe_make(const char *folder, const char *original,
                                    const char *compressed, char text[OS_PATH_BYTES],
                                    struct wl_err *err) {
    enum wl_status status = os_make_dirs(folder, err);
    if (status == WL_OK) {
        status = copy_script(folder, err);
    }
    if (status == WL_OK) {
        status = write_readme(folder, original, compressed, err);
    }
    return status == WL_OK ? os_path_join(text, folder, TEXT, err) : status;
}
