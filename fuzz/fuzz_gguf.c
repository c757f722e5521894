// gguf_peek on arbitrary bytes: no crash, no endless work, and what it reports is consistent.
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "catalog/gguf_peek.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void require(int is_true) {
    if (!is_true) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
    struct gguf_facts facts;
    struct wl_err err = {0};
    enum wl_status status = gguf_peek_memory(data, len, &facts, &err);
    require(status == WL_OK || status == WL_INPUT || status == WL_LIMIT);
    if (status != WL_OK) {
        require(err.status == status && err.message[0]);
        return 0;
    }
    // A file that passed holds what it claims to hold.
    require(facts.header_bytes <= len && facts.header_bytes <= GGUF_MAX_HEADER_BYTES);
    require(facts.tensor_bytes == 0 || len > facts.header_bytes);
    require(memchr(facts.name, '\0', sizeof facts.name) != NULL);
    require(memchr(facts.arch, '\0', sizeof facts.arch) != NULL);
    uint64_t n_tensors = facts.n_unknown_types;
    for (size_t i = 0; i < GGUF_MAX_TYPES; i++) {
        n_tensors += facts.type_tensors[i];
    }
    require(n_tensors == facts.n_tensors);
    return 0;
}
