#include "base/status.h"

#include <stddef.h>

struct status_row {
    int exit_code;
    int http_code;
    const char *name;
};

static const struct status_row ROWS[] = {
#define X(suffix, exit_code, http_code, name) {exit_code, http_code, name},
    WL_STATUS_LIST(X)
#undef X
};

static const struct status_row *row_of(enum wl_status status) {
    size_t i = (size_t)status;
    return i < sizeof ROWS / sizeof ROWS[0] ? &ROWS[i] : NULL;
}

const char *wl_status_name(enum wl_status status) {
    const struct status_row *row = row_of(status);
    return row ? row->name : "unknown";
}

int wl_status_exit_code(enum wl_status status) {
    const struct status_row *row = row_of(status);
    return row ? row->exit_code : 1;
}

int wl_status_http_code(enum wl_status status) {
    const struct status_row *row = row_of(status);
    return row ? row->http_code : 500;
}
