// "METHOD path" of any bytes: a route only for its own method and path, and one of the model server
// only where it has a path there.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/routes.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition) {
    if (!condition) {
        abort();
    }
}

static void check(const struct route *route, const char *method, const char *path,
                  bool is_path_known) {
    require(is_path_known || !route);
    if (!route) {
        return;
    }
    bool is_head = strcmp(method, "HEAD") == 0;
    require(strcmp(route->method, is_head ? "GET" : method) == 0);
    bool is_prefix = strncmp(route->path, path, strlen(route->path)) == 0;
    require(is_prefix &&
            (strlen(path) == strlen(route->path) || strcmp(route->name, "models") == 0));
    require(!route_is_upstream(route) || !route->is_open);
    require(!route_is_upstream(route) || route->upstream || route->kind == ROUTE_FORWARD);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char *text = malloc(size + 1);
    require(text != NULL);
    memcpy(text, data, size);
    text[size] = '\0';
    char *path = strchr(text, ' ');
    bool is_path_known = false;
    if (path) {
        *path++ = '\0';
        check(route_find(text, path, &is_path_known), text, path, is_path_known);
    }
    free(text);
    return 0;
}
