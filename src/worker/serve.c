#include "worker/serve.h"

#include <ggml.h>
#include <llama.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "worker/backends.h"
#include "worker/count.h"
#include "worker/describe.h"
#include "worker/frame_io.h"
#include "worker/image_slots.h"
#include "worker/run.h"
#include "worker/session.h"
#include "worker/synth.h"
#include "worker/tokenize.h"

#ifndef WATTLAW_VERSION
#define WATTLAW_VERSION "0"
#endif

enum {
    MAX_REQUEST_BYTES = (1 << 26) + 4, // the largest request of ENGINE_FRAME_LIST, an image
    KEPT_REQUEST_BYTES = 1 << 20,      // a larger one's memory is given back
};

struct engine {
    struct frame_io io;
    struct session session;
    struct image_slots slots;
};

// Called by ggml before it aborts the process. The parent reads it as our last words.
static void on_ggml_abort(const char *message) {
    fprintf(stderr, "llama.cpp gave up: %s\n", message);
}

static enum wl_status on_load(struct engine *engine, const struct reply *reply, const json_t *in,
                              json_t **result, struct wl_err *err) {
    return session_load(&engine->session, reply, in, result, err);
}

static enum wl_status on_describe(struct engine *engine, const struct reply *reply,
                                  const json_t *in, json_t **result, struct wl_err *err) {
    (void)reply;
    (void)in;
    enum wl_status status = session_require_model(&engine->session, err);
    if (status == WL_OK) {
        *result = json_pack("{s:o, s:o}", "model", describe_model(&engine->session), "memory",
                            describe_memory(&engine->session.ram));
    }
    if (status == WL_OK && engine->session.vision.mtmd) {
        json_object_set_new(*result, "vision", vision_json(&engine->session.vision));
    }
    return status;
}

static enum wl_status on_tokenize(struct engine *engine, const struct reply *reply,
                                  const json_t *in, json_t **result, struct wl_err *err) {
    return tokenize_request(&engine->session, reply, in, result, err);
}

static enum wl_status on_run(struct engine *engine, const struct reply *reply, const json_t *in,
                             json_t **result, struct wl_err *err) {
    return run_request(&engine->session, &engine->slots, reply, in, result, err);
}

static enum wl_status on_vision(struct engine *engine, const struct reply *reply, const json_t *in,
                                json_t **result, struct wl_err *err) {
    return session_vision(&engine->session, reply, in, result, err);
}

static enum wl_status on_counter(struct engine *engine, const struct reply *reply, const json_t *in,
                                 json_t **result, struct wl_err *err) {
    (void)reply;
    return session_counter(&engine->session, in, result, err);
}

static enum wl_status on_count(struct engine *engine, const struct reply *reply, const json_t *in,
                               json_t **result, struct wl_err *err) {
    (void)reply;
    return count_request(&engine->session, in, result, err);
}

static enum wl_status on_unload(struct engine *engine, const struct reply *reply, const json_t *in,
                                json_t **result, struct wl_err *err) {
    (void)reply;
    (void)in;
    (void)err;
    session_unload(&engine->session);
    *result = json_object();
    return WL_OK;
}

static enum wl_status on_synth(struct engine *engine, const struct reply *reply, const json_t *in,
                               json_t **result, struct wl_err *err) {
    (void)engine;
    return synth_request(reply, in, result, err);
}

static enum wl_status on_ping(struct engine *engine, const struct reply *reply, const json_t *in,
                              json_t **result, struct wl_err *err) {
    (void)engine;
    (void)reply;
    (void)in;
    (void)err;
    *result = json_object();
    return WL_OK;
}

typedef enum wl_status handler_fn(struct engine *engine, const struct reply *reply,
                                  const json_t *in, json_t **result, struct wl_err *err);

static const struct {
    uint16_t type;
    handler_fn *handle;
} HANDLERS[] = {
    {ENGINE_LOAD, on_load},   {ENGINE_DESCRIBE, on_describe}, {ENGINE_TOKENIZE, on_tokenize},
    {ENGINE_RUN, on_run},     {ENGINE_UNLOAD, on_unload},     {ENGINE_SYNTH, on_synth},
    {ENGINE_PING, on_ping},   {ENGINE_VISION, on_vision},     {ENGINE_COUNTER, on_counter},
    {ENGINE_COUNT, on_count},
};

static handler_fn *handler_of(uint16_t type) {
    for (size_t i = 0; i < sizeof HANDLERS / sizeof HANDLERS[0]; i++) {
        if (HANDLERS[i].type == type) {
            return HANDLERS[i].handle;
        }
    }
    return NULL;
}

static enum wl_status parse_payload(const struct buf *payload, json_t **in, struct wl_err *err) {
    if (payload->len == 0) {
        *in = json_object();
        return WL_OK;
    }
    enum wl_status status = wl_json_parse(buf_text(payload), payload->len, in, err);
    if (status == WL_OK && !json_is_object(*in)) {
        status = wl_err_set(err, WL_INPUT, "request: expected a JSON object");
    }
    return status;
}

// The one binary request has its own way; all others are JSON.
static enum wl_status answer(struct engine *engine, const struct engine_header *header,
                             const struct buf *payload, json_t **result, struct wl_err *err) {
    if (header->type == ENGINE_IMAGE) {
        return image_slots_request(&engine->slots, payload->data, payload->len, result, err);
    }
    struct reply reply = {.io = &engine->io, .request_id = header->request_id};
    json_t *in = NULL;
    enum wl_status status = parse_payload(payload, &in, err);
    if (status == WL_OK) {
        status = handler_of(header->type)(engine, &reply, in, result, err);
    }
    json_decref(in);
    return status;
}

static void dispatch(struct engine *engine, const struct engine_header *header,
                     const struct buf *payload) {
    if (header->type != ENGINE_IMAGE && !handler_of(header->type)) {
        return; // a CANCEL that came after its request had ended
    }
    struct wl_err err = {0};
    json_t *result = NULL;
    engine->io.is_active = true;
    engine->io.is_cancelled = false;
    engine->io.active_id = header->request_id;
    enum wl_status status = answer(engine, header, payload, &result, &err);
    engine->io.is_active = false;
    if (status == WL_OK) {
        frame_write_json(&engine->io, ENGINE_RESULT, header->request_id, result);
    } else {
        frame_write_error(&engine->io, header->request_id, &err);
    }
}

static bool say_hello(struct frame_io *io) {
    const char *policy = getenv("OMP_WAIT_POLICY");
    json_t *hello = json_pack(
        "{s:s, s:s, s:s, s:o, s:[s, s, s, s], s:s}", "engine", "wattlaw-engine", "version",
        WATTLAW_VERSION, "llama", llama_version(), "backends", backends_json(), "caps", "run",
        "tokenize", "synth", "vision", "omp_wait_policy", policy ? policy : "default");
    return frame_write_json(io, ENGINE_HELLO, 0, hello);
}

int serve(int fd) {
    struct engine engine = {.io = {.fd = fd}};
    struct engine_header header;
    struct wl_err err = {0};
    struct buf payload;
    buf_init(&payload, MAX_REQUEST_BYTES);
    ggml_set_abort_callback(on_ggml_abort);
    say_hello(&engine.io);
    while (!engine.io.is_closed && frame_read(&engine.io, &header, &payload, &err)) {
        dispatch(&engine, &header, &payload);
        if (payload.capacity > KEPT_REQUEST_BYTES) {
            buf_release(&payload);
        }
    }
    // The client hung up, or spoke nonsense: then it hears why.
    bool has_failed = err.status != WL_OK && err.status != WL_IO;
    if (has_failed) {
        fprintf(stderr, "wattlaw-engine: %s\n", err.message);
        engine.io.is_closed = false;
        frame_write_error(&engine.io, 0, &err);
    }
    session_unload(&engine.session);
    image_slots_release(&engine.slots);
    buf_release(&payload);
    return has_failed ? 1 : 0;
}
