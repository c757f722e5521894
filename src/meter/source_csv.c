// To be written in this issue.
#include "base/str.h"
#include "meter/source.h"

static void probe(const struct meter_env *env, struct meter_verdict *out) {
    (void)env;
    str_copy(out->reason, sizeof out->reason, "not built yet");
}

static enum wl_status open_source(const struct meter_env *env, const char *argument,
                                  struct meter_info *info, void **state, struct wl_err *err) {
    (void)env, (void)argument, (void)info, (void)state;
    return wl_err_set(err, WL_UNSUPPORTED, "not built yet");
}

static enum wl_status read_source(void *state, struct meter_reading *out, struct wl_err *err) {
    (void)state, (void)out;
    return wl_err_set(err, WL_UNSUPPORTED, "not built yet");
}

static void close_state(void *state) {
    (void)state;
}

const struct meter_source meter_source_csv = {.name = "csv",
                                              .title = "csv",
                                              .probe = probe,
                                              .open = open_source,
                                              .read = read_source,
                                              .close = close_state};
