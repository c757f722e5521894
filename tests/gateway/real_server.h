// A real llama-server with the built-in model, where there is one: $WATTLAW_LLAMA_SERVER, or that
// of tools/setup.
#ifndef TESTS_GATEWAY_REAL_SERVER_H
#define TESTS_GATEWAY_REAL_SERVER_H

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "gateway/upstream.h"

struct real_server {
    struct upstream_server settings;
    char program[1024], model[1024], mmproj[1024];
    char folder[64], socket[96];
};

// False (after a word) when there is none. Makes a folder for the socket.
static inline bool real_server_find(struct real_server *real) {
    const char *program = getenv("WATTLAW_LLAMA_SERVER");
    *real = (struct real_server){.folder = "/tmp/wattlaw-upstream-XXXXXX"};
    snprintf(real->program, sizeof real->program, "%s",
             program ? program : TEST_SOURCE_DIR "/.deps/bin/llama-server");
    if (access(real->program, X_OK) != 0) {
        printf("no llama-server at '%s': set WATTLAW_LLAMA_SERVER\n", real->program);
        return false;
    }
    snprintf(real->model, sizeof real->model, "%s/models/builtin/builtin.gguf", TEST_SOURCE_DIR);
    snprintf(real->mmproj, sizeof real->mmproj, "%s/models/builtin/mmproj-builtin.gguf",
             TEST_SOURCE_DIR);
    if (!mkdtemp(real->folder)) {
        return false;
    }
    snprintf(real->socket, sizeof real->socket, "%s/llama.sock", real->folder);
    real->settings = (struct upstream_server){.program = real->program,
                                              .model = real->model,
                                              .mmproj = real->mmproj,
                                              .alias = "tiny",
                                              .threads = 1,
                                              .n_ctx = 1024,
                                              .n_slots = 2,
                                              .wait_policy = "passive",
                                              .load_mode = "mmap",
                                              .type_k = "f16",
                                              .type_v = "f16",
                                              .flash_attn = "auto",
                                              .image_max_tokens = 128,
                                              .socket_path = real->socket};
    return true;
}

#endif
