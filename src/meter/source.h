// What a source file provides: `const struct meter_source meter_source_<name>`, and a line
// METER_SOURCE(<name>) in sources.def. Only files in this folder include this header.
#ifndef WATTLAW_METER_SOURCE_H
#define WATTLAW_METER_SOURCE_H

#include "meter/meter.h"

struct meter_source {
    const char *name;
    const char *title;
    // Cheap and without side effects. Name and title are filled in already.
    void (*probe)(const struct meter_env *env, struct meter_verdict *out);
    // `argument` is what followed the colon, or NULL. Name and title of *info are filled in
    // already.
    enum wl_status (*open)(const struct meter_env *env, const char *argument,
                           struct meter_info *info, void **state, struct wl_err *err);
    // Times and all validity are zero on entry; the source fills every channel it announced.
    enum wl_status (*read)(void *state, struct meter_reading *out, struct wl_err *err);
    void (*close)(void *state);
    void (*set_pid)(void *state, pid_t pid); // NULL: it does not look at processes
};

#define METER_SOURCE(name) extern const struct meter_source meter_source_##name;
#include "meter/sources.def"
#undef METER_SOURCE

static inline const struct os_clock *meter_env_clock(const struct meter_env *env) {
    return env->clock ? env->clock : &OS_CLOCK_REAL;
}

#endif
