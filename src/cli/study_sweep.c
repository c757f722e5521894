#include "cli/study_sweep.h"

#include <errno.h>
#include <stdlib.h>

enum { MAX_SIDE = 16384, MAX_BUDGET = 1 << 20 };

// One number from 0 or 1 to `max`; *text moves behind it.
static bool read_number(const char **text, long max, uint32_t *out) {
    char *end;
    if (**text < '0' || **text > '9') {
        return false;
    }
    errno = 0;
    long value = strtol(*text, &end, 10);
    if (errno || value < 0 || value > max) {
        return false;
    }
    *out = (uint32_t)value;
    *text = end;
    return true;
}

static bool read_size(const char **text, struct engine_image_size *out) {
    if (!read_number(text, MAX_SIDE, &out->width) || out->width == 0) {
        return false;
    }
    out->height = out->width;
    if (**text == 'x') {
        ++*text;
        return read_number(text, MAX_SIDE, &out->height) && out->height > 0;
    }
    return true;
}

enum wl_status study_sweep_sizes(const char *text, struct study_image_options *images,
                                 struct wl_err *err) {
    const char *at = text;
    images->n_sizes = 0;
    for (;;) {
        if (images->n_sizes == STUDY_MAX_IMAGE_SIZES ||
            !read_size(&at, &images->sizes[images->n_sizes++]) || (*at && *at != ',')) {
            return wl_err_set(err, WL_USAGE,
                              "--sizes: expected up to %d sizes such as 224,448,640x480 with sides "
                              "of 1 to %d, found '%.60s'",
                              STUDY_MAX_IMAGE_SIZES, MAX_SIDE, text);
        }
        if (!*at++) {
            return WL_OK;
        }
    }
}

enum wl_status study_sweep_budgets(const char *text, uint32_t budgets[STUDY_MAX_BUDGETS], size_t *n,
                                   struct wl_err *err) {
    const char *at = text;
    *n = 0;
    for (;;) {
        if (*n == STUDY_MAX_BUDGETS || !read_number(&at, MAX_BUDGET, &budgets[(*n)++]) ||
            (*at && *at != ',')) {
            return wl_err_set(err, WL_USAGE,
                              "--budgets: expected up to %d token numbers such as 0,256,64, found "
                              "'%.60s'",
                              STUDY_MAX_BUDGETS, text);
        }
        if (!*at++) {
            return WL_OK;
        }
    }
}
