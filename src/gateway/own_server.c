#include "gateway/own_server.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"
#include "catalog/catalog.h"

enum {
    DEFAULT_CTX = 4096,
    DEFAULT_CACHE_RAM_MIB = 256, // of prompts that were computed; llama-server itself takes 8 GiB
};

// Relative to the folder of the running program: the build tree, installed.
static const char *const PLACES[] = {"llama-server", "../lib/wattlaw/llama-server",
                                     "../libexec/wattlaw/llama-server"};

static bool is_program(const char *path) {
    return access(path, X_OK) == 0 && !os_is_dir(path);
}

static bool find_in_path(char out[OS_PATH_BYTES]) {
    const char *path = getenv("PATH");
    while (path && *path) {
        size_t n = strcspn(path, ":");
        snprintf(out, OS_PATH_BYTES, "%.*s/llama-server", (int)n, path);
        if (n > 0 && is_program(out)) {
            return true;
        }
        path += n + (path[n] == ':');
    }
    return false;
}

static enum wl_status find_program(const char *stated, char out[OS_PATH_BYTES],
                                   struct wl_err *err) {
    const char *variable = getenv("WATTLAW_LLAMA_SERVER");
    const char *named = stated[0] ? stated : variable && variable[0] ? variable : NULL;
    if (named) {
        str_copy(out, OS_PATH_BYTES, named);
        return is_program(named) ? WL_OK
                                 : wl_err_set(err, WL_NOT_FOUND, "'%s' is not a program", named);
    }
    char dir[OS_PATH_BYTES];
    enum wl_status status = os_executable_dir(dir, err);
    for (size_t i = 0; status == WL_OK && i < sizeof PLACES / sizeof PLACES[0]; i++) {
        if (os_path_join(out, dir, PLACES[i], NULL) == WL_OK && is_program(out)) {
            return WL_OK;
        }
    }
    if (status == WL_OK && !find_in_path(out)) {
        status = wl_err_set(err, WL_NOT_FOUND,
                            "cannot find llama-server beside '%.200s', in ../lib/wattlaw or in "
                            "PATH; name it with --server, or serve one that runs with --upstream",
                            dir);
    }
    return status;
}

static const char *word(const char *text) {
    return text[0] ? text : NULL;
}

static enum wl_status find_files(const struct profile *profile, struct own_server *out,
                                 struct wl_err *err) {
    const char *name = profile->model[0] ? profile->model : CATALOG_BUILTIN;
    enum wl_status status = catalog_resolve(NULL, name, out->model, err);
    if (status != WL_OK || strcmp(profile->mmproj, "none") == 0) {
        return status;
    }
    if (profile->mmproj[0]) {
        return strcmp(profile->mmproj, CATALOG_BUILTIN) == 0
                   ? catalog_find_mmproj(out->model, out->mmproj, err)
                   : catalog_resolve(NULL, profile->mmproj, out->mmproj, err);
    }
    if (catalog_find_mmproj(out->model, out->mmproj, NULL) != WL_OK) {
        out->mmproj[0] = '\0'; // a model that sees nothing
    }
    return WL_OK;
}

// What clients call the model: what its owner typed, or the file's name.
static void set_alias(const struct profile *profile, struct own_server *out) {
    const char *name = profile->model[0] ? profile->model : CATALOG_BUILTIN;
    const char *slash = strrchr(name, '/');
    str_copy(out->alias, sizeof out->alias, slash ? slash + 1 : name);
    size_t len = strlen(out->alias);
    if (str_ends_with(out->alias, ".gguf")) {
        out->alias[len - 5] = '\0';
    }
}

static enum wl_status make_socket_dir(struct own_server *out, struct wl_err *err) {
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    bool is_usable = runtime && runtime[0] == '/' && strlen(runtime) < 60; // sockets have 107 bytes
    snprintf(out->socket_dir, sizeof out->socket_dir, "%s/wattlaw-XXXXXX",
             is_usable && access(runtime, W_OK) == 0 ? runtime : "/tmp");
    if (!mkdtemp(out->socket_dir)) {
        return wl_err_errno(err, errno, "cannot make a folder '%s' for the model server's socket",
                            out->socket_dir);
    }
    snprintf(out->socket_path, sizeof out->socket_path, "%.4000s/server.sock", out->socket_dir);
    return WL_OK;
}

void own_server_remove_socket_dir(const struct own_server *server) {
    if (server->socket_dir[0]) {
        unlink(server->socket_path);
        rmdir(server->socket_dir);
    }
}

enum wl_status own_server_set(const struct gateway_settings *settings,
                              const struct profile *profile, const struct own_server *previous,
                              struct own_server *out, struct wl_err *err) {
    *out = (struct own_server){0};
    enum wl_status status = find_program(settings->server, out->program, err);
    if (status == WL_OK) {
        status = find_files(profile, out, err);
    }
    if (status == WL_OK && previous) {
        memcpy(out->socket_dir, previous->socket_dir, sizeof out->socket_dir);
        memcpy(out->socket_path, previous->socket_path, sizeof out->socket_path);
    } else if (status == WL_OK) {
        status = make_socket_dir(out, err);
    }
    set_alias(profile, out);
    return status;
}

// OpenMP's "active" spins for ever, also while nobody asks: a core for nothing. What llama.cpp does
// without a word, spinning for a while, is what is meant by it here.
static const char *wait_policy(const char *stated) {
    return strcmp(stated, "active") == 0 ? NULL : word(stated);
}

struct upstream_server own_server_options(const struct own_server *server,
                                          const struct gateway_settings *settings,
                                          const struct profile *profile) {
    const struct profile_engine *e = &profile->engine;
    return (struct upstream_server){
        .program = server->program,
        .model = server->model,
        .mmproj = word(server->mmproj),
        .alias = server->alias,
        .more_args = (const char *const *)settings->server_args,
        .threads = (uint32_t)e->threads,
        .threads_batch = (uint32_t)e->threads_batch,
        .n_ctx = e->ctx ? (uint32_t)e->ctx : DEFAULT_CTX,
        .n_ubatch = (uint32_t)e->ubatch,
        .n_slots = e->slots ? (uint32_t)e->slots : 1,
        .image_min_tokens = (int32_t)e->image_min_tokens,
        .image_max_tokens = (int32_t)e->image_max_tokens,
        .cache_ram_mib = e->cache_ram_mib < 0 ? DEFAULT_CACHE_RAM_MIB : (uint32_t)e->cache_ram_mib,
        .load_mode = word(e->load_mode),
        .type_k = word(e->type_k),
        .type_v = word(e->type_v),
        .flash_attn = word(e->flash_attn),
        .wait_policy = wait_policy(e->wait),
        .idle_unload_s = e->idle_unload_s,
        .socket_path = server->socket_path,
    };
}
