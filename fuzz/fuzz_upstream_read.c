// Any JSON as what a model server says of itself: facts within their bounds, or none at all.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "gateway/counting_pieces.h"
#include "gateway/upstream_read.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition) {
    if (!condition) {
        abort();
    }
}

// What goes into logs and pages.
static void check_text(const char *text, size_t size) {
    require(memchr(text, '\0', size) != NULL);
    for (; *text; text++) {
        require((unsigned char)*text >= ' ' && *text != 127);
    }
}

static void read_with(bool (*read)(const json_t *json, struct upstream_facts *facts),
                      const json_t *json, struct upstream_facts *facts) {
    struct upstream_facts before;
    memcpy(&before, facts, sizeof before);
    if (!read(json, facts)) {
        require(memcmp(&before, facts, sizeof before) == 0);
    }
    check_text(facts->engine, sizeof facts->engine);
    check_text(facts->model, sizeof facts->model);
    require(facts->n_slots <= INT32_MAX && facts->n_ctx <= INT32_MAX);
}

static void read_all(const json_t *json) {
    struct upstream_facts facts;
    memset(&facts, 0, sizeof facts); // padding, too
    read_with(upstream_read_props, json, &facts);
    read_with(upstream_read_version, json, &facts);
    read_with(upstream_read_models, json, &facts);
    read_with(upstream_read_tags, json, &facts);
    const char *text = upstream_error_text(json);
    require(!text || *text);
    require(!upstream_says_loading(json) || text);
    require(!upstream_has_endpoint(503, json) && !upstream_has_endpoint(405, json));
    require(upstream_has_endpoint(200, json) && upstream_has_endpoint(400, json));
    require(counting_read_chat(json) >= -1 && counting_read_tokens(json) >= -1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    json_t *json = NULL;
    char *text = malloc(size ? size : 1); // exact, so that reading past the end is seen
    require(text != NULL);
    memcpy(text, data, size);
    wl_json_parse(text, size, &json, NULL);
    free(text);
    read_all(json);
    read_all(NULL);
    json_decref(json);
    return 0;
}
