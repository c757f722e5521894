// wattlaw-engine: runs language models for wattlaw, which starts it and talks to it over file
// descriptor 3 (docs/protocol.md).
#include <ggml.h>
#include <llama.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "engine/protocol.h"
#include "worker/backends.h"
#include "worker/log.h"
#include "worker/serve.h"

#ifndef WATTLAW_VERSION
#define WATTLAW_VERSION "0"
#endif

static const char USAGE[] =
    "wattlaw-engine is started by wattlaw and talks to it over file descriptor 3, which must be a\n"
    "socket. Run `wattlaw --help` instead, or one of:\n"
    "  wattlaw-engine --version     versions of wattlaw, llama.cpp and ggml\n"
    "  wattlaw-engine --self-check  load the CPU back ends and list them\n";

static int print_version(void) {
    printf("wattlaw-engine %s (protocol %d), llama.cpp %s, ggml %s\n", WATTLAW_VERSION,
           ENGINE_VERSION, llama_version(), ggml_version());
    return 0;
}

static bool start_backends(void) {
    struct wl_err err;
    log_capture();
    if (backends_load(&err) != WL_OK) {
        fprintf(stderr, "wattlaw-engine: %s\n", err.message);
        return false;
    }
    llama_backend_init();
    return true;
}

static int self_check(void) {
    print_version();
    if (!start_backends()) {
        return 1;
    }
    json_t *names = backends_json();
    for (size_t i = 0; i < json_array_size(names); i++) {
        printf("%s\n", json_string_value(json_array_get(names, i)));
    }
    json_decref(names);
    printf("%s\n", llama_print_system_info());
    return 0;
}

static bool is_socket(int fd) {
    struct stat st;
    return fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode);
}

// A crash must not write a core file of the model's size, nor start a debugger for a backtrace.
static void make_crashes_cheap(void) {
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    setenv("GGML_NO_BACKTRACE", "1", 1);
}

int main(int argc, char **argv) {
    if (argc == 2 && strcmp(argv[1], "--version") == 0) {
        return print_version();
    }
    if (argc == 2 && strcmp(argv[1], "--self-check") == 0) {
        return self_check();
    }
    if (argc == 2 && strcmp(argv[1], "--help") == 0) {
        fputs(USAGE, stdout);
        return 0;
    }
    if (argc > 1 || !is_socket(ENGINE_FD)) {
        fputs(USAGE, stderr);
        return 2;
    }
    make_crashes_cheap();
    signal(SIGINT, SIG_IGN); // Ctrl-C reaches both processes; the client decides and hangs up
    signal(SIGPIPE, SIG_IGN);
    return start_backends() ? serve(ENGINE_FD) : 1;
}
