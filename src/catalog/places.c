// Who keeps GGUF files where:
//   llama.cpp  common/common.cpp fs_get_cache_directory; since 2026 LLAMA_CACHE may also hold the
//              Hugging Face layout, which the walk understands everywhere
//   Hugging Face  huggingface_hub's constants.py
//   Ollama     envconfig/config.go; the Linux service runs as a user with home /usr/share/ollama
//   LM Studio, Jan, GPT4All  their documentation of the data folder
#include "catalog/places.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/str.h"

static const char OLLAMA[] = "ollama";

bool places_is_ollama(const struct catalog_place *place) {
    return strcmp(place->source, OLLAMA) == 0;
}

struct list {
    struct catalog *catalog;
    struct wl_err *err;
    enum wl_status status; // MEMORY once anything failed
};

static void add(struct list *list, const char *source, const char *path) {
    struct catalog *catalog = list->catalog;
    if (list->status != WL_OK || path[0] != '/' || catalog->n_places == CATALOG_MAX_PLACES) {
        return;
    }
    for (size_t i = 0; i < catalog->n_places; i++) {
        const struct catalog_place *other = &catalog->places[i];
        // The same folder may hold Ollama's layout and plain files.
        if (strcmp(other->path, path) == 0 &&
            (strcmp(other->source, OLLAMA) == 0) == (strcmp(source, OLLAMA) == 0)) {
            return;
        }
    }
    char *copy = strdup(path);
    if (!copy) {
        list->status = wl_err_set(list->err, WL_MEMORY, "out of memory");
        return;
    }
    catalog->places[catalog->n_places++] =
        (struct catalog_place){.source = source, .path = copy, .exists = os_is_dir(path)};
}

// <base>/<rest>; nothing when the base is not set to a folder.
static void add_under(struct list *list, const char *source, const char *base, const char *rest) {
    char path[OS_PATH_BYTES];
    if (base && base[0] == '/' && os_path_join(path, base, rest, NULL) == WL_OK) {
        size_t len = strlen(path);
        if (len > 1 && path[len - 1] == '/') {
            path[len - 1] = '\0';
        }
        add(list, source, path);
    }
}

// <xdg>/<rest> when that variable is set, else ~/<fallback>/<rest>.
static void add_xdg(struct list *list, const char *source, const struct catalog_env *env,
                    const char *xdg, const char *fallback, const char *rest) {
    char base[OS_PATH_BYTES];
    if (xdg && xdg[0] == '/') {
        add_under(list, source, xdg, rest);
    } else if (env->home && os_path_join(base, env->home, fallback, NULL) == WL_OK) {
        add_under(list, source, base, rest);
    }
}

static void add_models_path(struct list *list, const char *models_path) {
    for (const char *part = models_path; part && *part;) {
        size_t len = strcspn(part, ":");
        char path[OS_PATH_BYTES];
        if (len > 0 && len < sizeof path) {
            memcpy(path, part, len);
            path[len] = '\0';
            add_under(list, "path", path, "");
        }
        part += len + (part[len] == ':');
    }
}

static void add_apps(struct list *list, const struct catalog_env *env) {
    add_under(list, "lm-studio", env->home, ".lmstudio/models");
    add_under(list, "lm-studio", env->home, ".cache/lm-studio/models");
    static const char *const JAN_MODELS[] = {"Jan/data/llamacpp/models", "Jan/data/models"};
    for (size_t i = 0; i < 2; i++) {
        add_xdg(list, "jan", env, env->data_home, ".local/share", JAN_MODELS[i]);
        add_xdg(list, "jan", env, env->config_home, ".config", JAN_MODELS[i]);
    }
    add_under(list, "jan", env->home, "jan/models");
    add_xdg(list, "gpt4all", env, env->data_home, ".local/share", "nomic.ai/GPT4All");
#ifdef __APPLE__
    add_under(list, "llama.cpp", env->home, "Library/Caches/llama.cpp");
    add_under(list, "jan", env->home, "Library/Application Support/Jan/data/llamacpp/models");
    add_under(list, "jan", env->home, "Library/Application Support/Jan/data/models");
    add_under(list, "gpt4all", env->home, "Library/Application Support/nomic.ai/GPT4All");
#endif
}

enum wl_status places_list(const struct catalog_env *env, struct catalog *catalog,
                           struct wl_err *err) {
    catalog->places = calloc(CATALOG_MAX_PLACES, sizeof *catalog->places);
    if (!catalog->places) {
        return wl_err_set(err, WL_MEMORY, "out of memory");
    }
    catalog->n_places = 0;
    struct list list = {.catalog = catalog, .err = err, .status = WL_OK};
    add_under(&list, "builtin", env->builtin, "");
    add_models_path(&list, env->models_path);
    add_xdg(&list, "wattlaw", env, env->data_home, ".local/share", "wattlaw/models");
    add_xdg(&list, "synth", env, env->cache_home, ".cache", "wattlaw/models");
    add_under(&list, "llama.cpp", env->llama_cache, "");
    add_xdg(&list, "llama.cpp", env, env->cache_home, ".cache", "llama.cpp");
    add_under(&list, "huggingface", env->hf_hub_cache, "");
    add_under(&list, "huggingface", env->hf_home, "hub");
    add_xdg(&list, "huggingface", env, env->cache_home, ".cache", "huggingface/hub");
    add_under(&list, OLLAMA, env->ollama_models, "");
    add_under(&list, OLLAMA, env->home, ".ollama/models");
    add_under(&list, OLLAMA, env->system_root ? env->system_root : "/",
              "usr/share/ollama/.ollama/models");
    add_apps(&list, env);
    return list.status;
}

// From the folder of the program: bin/ and lib/wattlaw/, in an installation (its lib may have
// another level) and in the build tree.
static bool find_data(const char *what, char out[OS_PATH_BYTES]) {
    static const char *const FROM[] = {"../share/wattlaw", "../../share/wattlaw",
                                       "../../../share/wattlaw"};
    char dir[OS_PATH_BYTES], data[OS_PATH_BYTES];
    if (os_executable_dir(dir, NULL) != WL_OK) {
        return false;
    }
    for (size_t i = 0; i < sizeof FROM / sizeof FROM[0]; i++) {
        if (os_path_join(data, dir, FROM[i], NULL) == WL_OK &&
            os_path_join(out, data, what, NULL) == WL_OK && os_is_dir(out)) {
            return true;
        }
    }
    return false;
}

void catalog_data_dir(const char *what, char out[OS_PATH_BYTES]) {
    const char *data = getenv("WATTLAW_DATA");
    bool is_named = data && data[0];
    bool is_found = is_named ? os_path_join(out, data, what, NULL) == WL_OK && os_is_dir(out)
                             : find_data(what, out);
    if (!is_found) {
        out[0] = '\0';
    }
}

void catalog_env_from_process(struct catalog_env *env) {
    static char builtin[OS_PATH_BYTES]; // the same for the whole life of the process
    catalog_data_dir("models", builtin);
    *env = (struct catalog_env){
        .builtin = builtin,
        .home = getenv("HOME"),
        .models_path = getenv("WATTLAW_MODELS_PATH"),
        .data_home = getenv("XDG_DATA_HOME"),
        .cache_home = getenv("XDG_CACHE_HOME"),
        .config_home = getenv("XDG_CONFIG_HOME"),
        .llama_cache = getenv("LLAMA_CACHE"),
        .hf_hub_cache = getenv("HF_HUB_CACHE"),
        .hf_home = getenv("HF_HOME"),
        .ollama_models = getenv("OLLAMA_MODELS"),
    };
}
