#include "gateway/upstream_settings.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "base/str.h"

enum { OWN_ARGS = 56 }; // at most that many are ours; the rest is for more_args

static const struct {
    const char *name;
    size_t offset;
    bool is_needed;
} STRINGS[] = {
#define STRING(field, is_needed)                                                                   \
    { #field, offsetof(struct upstream_server, field), is_needed }
    STRING(program, true),     STRING(model, true),       STRING(mmproj, false),
    STRING(alias, false),      STRING(load_mode, false),  STRING(type_k, false),
    STRING(type_v, false),     STRING(flash_attn, false), STRING(wait_policy, false),
    STRING(socket_path, true),
#undef STRING
};
enum { N_STRINGS = sizeof STRINGS / sizeof *STRINGS };

static const char **string_of(const struct upstream_server *settings, size_t i) {
    return (const char **)(void *)((char *)settings + STRINGS[i].offset);
}

static size_t count_more(const struct upstream_server *settings) {
    size_t n = 0;
    while (settings->more_args && settings->more_args[n]) {
        n++;
    }
    return n;
}

static enum wl_status check(const struct upstream_server *settings, struct wl_err *err) {
    struct sockaddr_un address;
    for (size_t i = 0; i < N_STRINGS; i++) {
        const char *text = *string_of(settings, i);
        if (STRINGS[i].is_needed && (!text || !*text)) {
            return wl_err_set(err, WL_INPUT, "the model server's settings lack '%s'",
                              STRINGS[i].name);
        }
    }
    const char *path = settings->socket_path;
    if (path[0] != '/' || !str_ends_with(path, ".sock") ||
        strlen(path) >= sizeof address.sun_path) {
        return wl_err_set(
            err, WL_INPUT,
            "the model server's socket '%s' must be a whole path that ends in '.sock' "
            "and has fewer than %zu bytes",
            path, sizeof address.sun_path);
    }
    size_t n = count_more(settings);
    if (n > UPSTREAM_MAX_ARGS - OWN_ARGS) {
        return wl_err_set(err, WL_INPUT, "%zu more arguments for the model server, at most %d", n,
                          UPSTREAM_MAX_ARGS - OWN_ARGS);
    }
    return WL_OK;
}

static bool copy_more(const struct upstream_server *from, struct upstream_server *out) {
    size_t n = count_more(from);
    char **list = calloc(n + 1, sizeof *list);
    out->more_args = (const char *const *)list;
    for (size_t i = 0; list && i < n; i++) {
        if (!(list[i] = strdup(from->more_args[i]))) {
            return false;
        }
    }
    return list;
}

enum wl_status upstream_settings_copy(const struct upstream_server *from,
                                      struct upstream_server *out, struct wl_err *err) {
    enum wl_status status = check(from, err);
    *out = (struct upstream_server){0};
    if (status != WL_OK) {
        return status;
    }
    *out = *from;
    bool is_whole = true;
    for (size_t i = 0; i < N_STRINGS; i++) {
        const char *text = *string_of(from, i);
        *string_of(out, i) = text ? strdup(text) : NULL;
        is_whole = is_whole && (!text || *string_of(out, i));
    }
    if (!copy_more(from, out) || !is_whole) {
        upstream_settings_release(out);
        return wl_err_set(err, WL_MEMORY, "no memory for the model server's settings");
    }
    return WL_OK;
}

void upstream_settings_release(struct upstream_server *settings) {
    for (size_t i = 0; i < N_STRINGS; i++) {
        free((void *)*string_of(settings, i));
    }
    for (size_t i = 0; settings->more_args && settings->more_args[i]; i++) {
        free((void *)settings->more_args[i]);
    }
    free((void *)settings->more_args);
    *settings = (struct upstream_server){0};
}
