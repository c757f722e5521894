// wattlaw-compressor: makes a smaller model out of a GGUF file for wattlaw, which starts it and
// talks to it over file descriptor 3 as it does to wattlaw-engine (docs/protocol.md). One request
// at a time: COMPRESS, CERTIFY, ANALYZE, PING.
#include <ggml.h>
#include <llama.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "base/json.h"
#include "compressor/analysis_job.h"
#include "compressor/job.h"
#include "engine/protocol.h"
#include "worker/backends.h"
#include "worker/frame_io.h"
#include "worker/log.h"

#ifndef WATTLAW_VERSION
#define WATTLAW_VERSION "0"
#endif

enum { MAX_REQUEST_BYTES = 1 << 20 };

static const char USAGE[] =
    "wattlaw-compressor is started by wattlaw and talks to it over file descriptor 3, which must "
    "be\n"
    "a socket. Run `wattlaw compress --help` instead, or `wattlaw-compressor --version`.\n";

static void on_ggml_abort(const char *message) {
    fprintf(stderr, "llama.cpp gave up: %s\n", message);
}

static bool is_socket(int fd) {
    struct stat st;
    return fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode);
}

static bool start_backends(void) {
    struct wl_err err;
    log_capture();
    if (backends_load(&err) != WL_OK) {
        fprintf(stderr, "wattlaw-compressor: %s\n", err.message);
        return false;
    }
    llama_backend_init();
    return true;
}

static enum wl_status answer(struct frame_io *io, const struct engine_header *header,
                             const struct buf *payload, json_t **result, struct wl_err *err) {
    struct reply reply = {.io = io, .request_id = header->request_id};
    json_t *request = NULL;
    enum wl_status status = WL_OK;
    if (header->type == ENGINE_PING) {
        *result = json_object();
    } else {
        status = wl_json_parse(buf_text(payload), payload->len, &request, err);
    }
    if (status == WL_OK && header->type == ENGINE_COMPRESS) {
        status = job_request(&reply, request, result, err);
    }
    if (status == WL_OK && header->type == ENGINE_CERTIFY) {
        status = job_certify(request, result, err);
    }
    if (status == WL_OK && header->type == ENGINE_ANALYZE) {
        status = analysis_job_request(&reply, request, result, err);
    }
    json_decref(request);
    return status;
}

static void dispatch(struct frame_io *io, const struct engine_header *header,
                     const struct buf *payload) {
    if (header->type != ENGINE_COMPRESS && header->type != ENGINE_CERTIFY &&
        header->type != ENGINE_ANALYZE && header->type != ENGINE_PING) {
        return; // a CANCEL that came after its request had ended
    }
    struct wl_err err = {0};
    json_t *result = NULL;
    io->is_active = true;
    io->is_cancelled = false;
    io->active_id = header->request_id;
    enum wl_status status = answer(io, header, payload, &result, &err);
    io->is_active = false;
    if (status == WL_OK) {
        frame_write_json(io, ENGINE_RESULT, header->request_id, result);
    } else {
        json_decref(result);
        frame_write_error(io, header->request_id, &err);
    }
}

static int serve(int fd) {
    struct frame_io io = {.fd = fd};
    struct engine_header header;
    struct wl_err err = {0};
    struct buf payload;
    buf_init(&payload, MAX_REQUEST_BYTES);
    frame_write_json(&io, ENGINE_HELLO, 0,
                     json_pack("{s:s, s:s, s:s, s:o, s:[s, s, s]}", "engine", "wattlaw-compressor",
                               "version", WATTLAW_VERSION, "llama", llama_version(), "backends",
                               backends_json(), "caps", "compress", "certify", "analyze"));
    while (!io.is_closed && frame_read(&io, &header, &payload, &err)) {
        dispatch(&io, &header, &payload);
    }
    buf_release(&payload);
    return err.status != WL_OK && err.status != WL_IO;
}

int main(int argc, char **argv) {
    if (argc == 2 && strcmp(argv[1], "--version") == 0) {
        printf("wattlaw-compressor %s (protocol %d), llama.cpp %s, ggml %s\n", WATTLAW_VERSION,
               ENGINE_VERSION, llama_version(), ggml_version());
        return 0;
    }
    if (argc > 1 || !is_socket(ENGINE_FD)) {
        fputs(USAGE, stderr);
        return 2;
    }
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none); // a crash must not write a core file of the model's size
    setenv("GGML_NO_BACKTRACE", "1", 1);
    signal(SIGINT, SIG_IGN); // Ctrl-C reaches both processes; the client decides and hangs up
    signal(SIGPIPE, SIG_IGN);
    ggml_set_abort_callback(on_ggml_abort);
    return start_backends() ? serve(ENGINE_FD) : 1;
}
