// "replay:FILE": a recorded trace (replay_trace.h), its readings handed out at the pace at which
// they were taken, counted from the moment of opening. Label and errors are the original's.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/str.h"
#include "base/units.h"
#include "meter/replay_trace.h"
#include "meter/source.h"
#include "os/file.h"

enum { PACE_ROWS = 17 };

struct replay {
    FILE *file;
    char path[OS_PATH_BYTES];
    const struct os_clock *clock;
    int64_t t0_ns; // of the first reading
    struct replay_header header;
    uint64_t line;
    bool has_next;
    struct replay_row next;
    int64_t end_ns;        // of the last reading handed out, since t0
    enum wl_status status; // of a row that cannot be read, for the next read
    struct wl_err err;
};

static void probe(const struct meter_env *env, struct meter_verdict *out) {
    (void)env;
    out->availability = METER_ON_REQUEST;
    out->is_external = true;
    str_copy(out->reason, sizeof out->reason,
             "'replay:FILE' hands out the recorded trace of any source at its own pace");
    str_copy(out->fix, sizeof out->fix, "wattlaw watch --meters replay:FILE -- PROGRAM");
}

static int64_t now_ns(const struct replay *replay) {
    return replay->clock->now_ns(replay->clock->context);
}

// One line into `text`; *is_end at the end of the file. A last line without newline is half
// written and is left out.
static enum wl_status read_line(struct replay *replay, char *text, size_t size, bool *is_end,
                                struct wl_err *err) {
    *is_end = !fgets(text, (int)size, replay->file);
    if (ferror(replay->file)) {
        return wl_err_errno(err, errno, "cannot read '%s'", replay->path);
    }
    replay->line++;
    size_t len = *is_end ? 0 : strlen(text);
    if (!*is_end && (len == 0 || text[len - 1] != '\n')) {
        if (!feof(replay->file)) {
            return wl_err_set(err, WL_INPUT, "'%s', line %llu: longer than %zu bytes, or no text",
                              replay->path, (unsigned long long)replay->line, size - 2);
        }
        *is_end = true;
    }
    return WL_OK;
}

static enum wl_status read_header(struct replay *replay, struct wl_err *err) {
    char text[REPLAY_HEADER_BYTES];
    bool is_end;
    enum wl_status status = read_line(replay, text, sizeof text, &is_end, err);
    if (status == WL_OK && is_end) {
        return wl_err_set(err, WL_INPUT, "'%s' is empty, expected a trace", replay->path);
    }
    if (status == WL_OK && (status = replay_header_parse(text, &replay->header, err)) != WL_OK) {
        wl_err_prefix(err, "'%s', line 1", replay->path);
    }
    return status;
}

static enum wl_status read_row(struct replay *replay, struct wl_err *err) {
    char text[REPLAY_ROW_BYTES + 2];
    struct replay_row before = replay->next;
    bool had_row = replay->has_next, is_end;
    replay->has_next = false;
    enum wl_status status = read_line(replay, text, sizeof text, &is_end, err);
    if (status != WL_OK || is_end) {
        return status;
    }
    status =
        replay_row_parse(text, &replay->header.info, had_row ? &before : NULL, &replay->next, err);
    replay->has_next = status == WL_OK;
    if (status != WL_OK) {
        wl_err_prefix(err, "'%s', line %llu", replay->path, (unsigned long long)replay->line);
    }
    return status;
}

// How often it was read, from the first rows: what looks like a gap in a trace of one reading per
// second is none.
static int64_t find_pace_ns(struct replay *replay) {
    struct replay_row first = replay->next;
    uint64_t line = replay->line;
    long offset = ftell(replay->file);
    int64_t last_ns = first.t_after_ns;
    int64_t n = 0;
    while (n + 1 < PACE_ROWS && read_row(replay, NULL) == WL_OK && replay->has_next) {
        n++;
        last_ns = replay->next.t_after_ns;
    }
    clearerr(replay->file);
    fseek(replay->file, offset, SEEK_SET);
    replay->line = line;
    replay->next = first;
    replay->has_next = true;
    return n ? (last_ns - first.t_after_ns) / n : 0;
}

static void describe(struct replay *replay, struct meter_info *info) {
    struct meter_info *original = &replay->header.info;
    char name[METER_NAME_BYTES];
    int64_t pace_ns = find_pace_ns(replay);
    str_copy(name, sizeof name, info->name);
    *info = *original;
    str_copy(info->name, sizeof info->name, name);
    snprintf(info->title, sizeof info->title, "replay of %s: %.50s", original->name,
             original->title);
    info->poll_period_ns = pace_ns > info->poll_period_ns ? pace_ns : info->poll_period_ns;
}

static void close_source(void *state) {
    struct replay *replay = state;
    if (replay && replay->file) {
        fclose(replay->file);
    }
    free(replay);
}

static enum wl_status start(struct replay *replay, const char *path, struct wl_err *err) {
    if (!path || !path[0] || !str_copy(replay->path, sizeof replay->path, path)) {
        return wl_err_set(err, WL_USAGE, "expected a trace's path behind 'replay:'");
    }
    struct stat st;
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode)) { // a pipe would block
        return wl_err_set(err, WL_INPUT, "'%s' is not a file, expected a trace", path);
    }
    replay->file = fopen(path, "re");
    if (!replay->file) {
        return wl_err_errno(err, errno, "cannot open '%s'", path);
    }
    enum wl_status status = read_header(replay, err);
    if (status == WL_OK) {
        status = read_row(replay, err);
    }
    if (status == WL_OK && !replay->has_next) {
        status = wl_err_set(err, WL_INPUT, "'%s' has no readings", path);
    }
    return status;
}

static enum wl_status open_source(const struct meter_env *env, const char *argument,
                                  struct meter_info *info, void **out, struct wl_err *err) {
    struct replay *replay = calloc(1, sizeof *replay);
    if (!replay) {
        return wl_err_set(err, WL_MEMORY, "out of memory");
    }
    enum wl_status status = start(replay, argument, err);
    if (status != WL_OK) {
        close_source(replay);
        return status;
    }
    describe(replay, info);
    replay->clock = meter_env_clock(env);
    replay->t0_ns = now_ns(replay) - replay->next.t_before_ns;
    *out = replay;
    return WL_OK;
}

static bool is_due(const struct replay *replay, int64_t t_ns) {
    return replay->has_next && replay->t0_ns + replay->next.t_after_ns <= t_ns;
}

static enum wl_status say_end(const struct replay *replay, struct wl_err *err) {
    char length[UNITS_TEXT_BYTES];
    return wl_err_set(err, WL_IO, "the trace '%s' has ended after %s", replay->path,
                      units_seconds(length, (double)replay->end_ns * 1e-9));
}

static enum wl_status read_source(void *state, struct meter_reading *out, struct wl_err *err) {
    struct replay *replay = state;
    int64_t t_ns = now_ns(replay);
    if (!is_due(replay, t_ns)) {
        out->is_empty = true;
        if (replay->status != WL_OK && err) {
            *err = replay->err;
        }
        return replay->has_next || replay->status != WL_OK ? replay->status : say_end(replay, err);
    }
    out->t_before_ns = replay->t0_ns + replay->next.t_before_ns;
    out->t_after_ns = replay->t0_ns + replay->next.t_after_ns;
    memcpy(out->channel, replay->next.channel, sizeof out->channel);
    replay->end_ns = replay->next.t_after_ns;
    replay->status = read_row(replay, &replay->err);
    out->has_more = is_due(replay, t_ns);
    return WL_OK;
}

const struct meter_source meter_source_replay = {.name = "replay",
                                                 .title = "a recorded trace",
                                                 .probe = probe,
                                                 .open = open_source,
                                                 .read = read_source,
                                                 .close = close_source};
