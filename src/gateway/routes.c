#include "gateway/routes.h"

#include <string.h>

#include "base/str.h"

#define PASSED(path, kind, name)                                                                   \
    { "POST", path, kind, name, path, OPENAI_CHAT, false, false }

// Clients whose base address lacks the /v1 are understood as well.
static const struct route ROUTES[] = {
    {"POST", "/v1/chat/completions", ROUTE_GENERATE, "chat", "/v1/chat/completions", OPENAI_CHAT,
     false, false},
    {"POST", "/chat/completions", ROUTE_GENERATE, "chat", "/v1/chat/completions", OPENAI_CHAT,
     false, false},
    {"POST", "/v1/completions", ROUTE_GENERATE, "completion", "/v1/completions", OPENAI_COMPLETION,
     false, false},
    {"POST", "/v1/embeddings", ROUTE_GENERATE, "embedding", "/v1/embeddings", OPENAI_EMBEDDING,
     false, false},
    {"POST", "/embeddings", ROUTE_GENERATE, "embedding", "/v1/embeddings", OPENAI_EMBEDDING, false,
     false},
    PASSED("/v1/messages", ROUTE_OPAQUE, "messages"),
    PASSED("/v1/responses", ROUTE_OPAQUE, "responses"),
    PASSED("/v1/rerank", ROUTE_OPAQUE, "rerank"),
    PASSED("/v1/messages/count_tokens", ROUTE_FORWARD, "count"),
    PASSED("/v1/chat/completions/input_tokens", ROUTE_FORWARD, "count"),
    PASSED("/v1/responses/input_tokens", ROUTE_FORWARD, "count"),
    PASSED("/tokenize", ROUTE_FORWARD, "count"),
    PASSED("/detokenize", ROUTE_FORWARD, "count"),
    {"GET", "/v1/models", ROUTE_FORWARD, "models", "/v1/models", OPENAI_CHAT, false, false},
    {"GET", "/models", ROUTE_FORWARD, "models", "/v1/models", OPENAI_CHAT, false, false},
    {"GET", "/", ROUTE_PAGE, "page", NULL, OPENAI_CHAT, true, false},
    {"GET", "/health", ROUTE_HEALTH, "health", NULL, OPENAI_CHAT, true, false},
    {"GET", "/v1/health", ROUTE_HEALTH, "health", NULL, OPENAI_CHAT, true, false},
    {"GET", "/metrics", ROUTE_METRICS, "metrics", NULL, OPENAI_CHAT, false, true},
    {"GET", "/v1/energy", ROUTE_ENERGY, "energy", NULL, OPENAI_CHAT, false, false},
    {"GET", "/v1/energy/live", ROUTE_LIVE, "live", NULL, OPENAI_CHAT, false, true},
    {"POST", "/v1/feedback", ROUTE_FEEDBACK, "feedback", NULL, OPENAI_CHAT, false, false},
};
static const struct route ONE_MODEL = {"GET", "/v1/models/", ROUTE_FORWARD, "models",
                                       NULL,  OPENAI_CHAT,   false,         false};

// "." and ".." would mean a path that is no route.
static bool has_dot_segment(const char *path) {
    for (const char *at = strchr(path, '/'); at; at = strchr(at, '/')) {
        size_t n = strcspn(++at, "/");
        if ((n == 1 && at[0] == '.') || (n == 2 && at[0] == '.' && at[1] == '.')) {
            return true;
        }
    }
    return false;
}

static bool is_one_model(const char *path) {
    return str_starts_with(path, ONE_MODEL.path) && path[strlen(ONE_MODEL.path)] &&
           !has_dot_segment(path);
}

const struct route *route_find(const char *method, const char *path, bool *is_path_known) {
    *is_path_known = false;
    bool is_get = strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0;
    for (size_t i = 0; i < sizeof ROUTES / sizeof ROUTES[0]; i++) {
        const struct route *route = &ROUTES[i];
        if (strcmp(route->path, path) == 0) {
            *is_path_known = true;
            if (strcmp(route->method, is_get ? "GET" : method) == 0) {
                return route;
            }
        }
    }
    if (is_one_model(path)) {
        *is_path_known = true;
        return is_get ? &ONE_MODEL : NULL;
    }
    return NULL;
}

bool route_is_upstream(const struct route *route) {
    return route->kind == ROUTE_GENERATE || route->kind == ROUTE_OPAQUE ||
           route->kind == ROUTE_FORWARD;
}

static bool is_plain(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c && strchr("-._~/:", c));
}

bool route_upstream_path(const struct route *route, const char *path, char *out, size_t size) {
    static const char HEX[] = "0123456789ABCDEF";
    size_t n = 0;
    if (route->upstream) {
        return str_copy(out, size, route->upstream);
    }
    for (; *path; path++) {
        if (n + 4 > size) {
            return false;
        }
        if (is_plain(*path)) {
            out[n++] = *path;
        } else {
            out[n++] = '%';
            out[n++] = HEX[(unsigned char)*path >> 4];
            out[n++] = HEX[(unsigned char)*path & 15];
        }
    }
    out[n] = '\0';
    return true;
}
