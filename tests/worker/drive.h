// Drives the real engine over a socket pair, for tests/worker and bench: start, send a request,
// collect its events, get the answer. Every wait has a deadline, so a hang is a failure.
#ifndef WATTLAW_TESTS_WORKER_DRIVE_H
#define WATTLAW_TESTS_WORKER_DRIVE_H

#include <jansson.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/json.h"
#include "engine/protocol.h"
#include "os/clock.h"
#include "os/process.h"

enum drive_outcome { DRIVE_RESULT, DRIVE_ERROR, DRIVE_DIED, DRIVE_HUNG };

struct drive {
    int fd;
    pid_t pid;
    uint32_t id;
};

struct drive_events {
    json_t *phases;  // [{phase, edge, t_ns, cpu_ns}]
    struct buf text; // of the TOKEN events
    size_t n_tokens; // TOKEN events
    int32_t *ids;    // of a TOKENS frame
    size_t n_ids;
    int64_t *times; // of a TOKEN_TIMES frame
    size_t n_times;
    size_t n_progress;
};

struct drive_answer {
    enum drive_outcome outcome;
    json_t *json; // RESULT's or ERROR's object, NULL otherwise
    struct drive_events events;
};

static inline const char *drive_engine_path(void) {
    const char *path = getenv("WATTLAW_ENGINE");
    return path && *path ? path : "build/bin/wattlaw-engine";
}

// Reads exactly `len` bytes before the deadline. 1 done, 0 end of file, -1 deadline.
static inline int drive_read(struct drive *drive, void *out, size_t len, int64_t deadline_ns) {
    for (size_t at = 0; at < len;) {
        int64_t left_ms = (deadline_ns - os_now_ns()) / 1000000;
        struct pollfd entry = {.fd = drive->fd, .events = POLLIN};
        if (left_ms <= 0 || poll(&entry, 1, (int)left_ms) <= 0) {
            return -1;
        }
        ssize_t n = recv(drive->fd, (char *)out + at, len - at, 0);
        if (n <= 0) {
            return 0;
        }
        at += (size_t)n;
    }
    return 1;
}

// The next frame; the payload is in `payload`. Same return values.
static inline int drive_frame(struct drive *drive, struct engine_header *header,
                              struct buf *payload, int64_t deadline_ns) {
    unsigned char bytes[ENGINE_HEADER_BYTES];
    int got = drive_read(drive, bytes, sizeof bytes, deadline_ns);
    struct wl_err err;
    if (got != 1 || engine_header_decode(bytes, 'e', header, &err) != WL_OK) {
        return got == 1 ? 0 : got;
    }
    buf_release(payload);
    buf_init(payload, (size_t)header->payload_bytes + 1);
    char *room = malloc((size_t)header->payload_bytes + 1);
    got = drive_read(drive, room, header->payload_bytes, deadline_ns);
    if (got == 1) {
        buf_append(payload, room, header->payload_bytes);
    }
    free(room);
    return got;
}

static inline bool drive_send(struct drive *drive, uint16_t type, json_t *request) {
    struct buf text;
    buf_init(&text, 1 << 24);
    wl_json_write(&text, request);
    struct engine_header header = {
        .type = type, .request_id = ++drive->id, .payload_bytes = (uint32_t)text.len};
    unsigned char bytes[ENGINE_HEADER_BYTES];
    engine_header_encode(&header, bytes);
    bool is_ok = send(drive->fd, bytes, sizeof bytes, MSG_NOSIGNAL) == (ssize_t)sizeof bytes &&
                 send(drive->fd, text.data, text.len, MSG_NOSIGNAL) == (ssize_t)text.len;
    buf_release(&text);
    json_decref(request);
    return is_ok;
}

static inline void drive_take_binary(struct drive_events *events, uint16_t type,
                                     const struct buf *payload) {
    if (type == ENGINE_TOKENS) {
        events->n_ids = payload->len / 4;
        events->ids = malloc(payload->len + 1);
        memcpy(events->ids, buf_text(payload), payload->len);
    } else if (type == ENGINE_TOKEN_TIMES) {
        events->n_times = payload->len / 8;
        events->times = malloc(payload->len + 1);
        memcpy(events->times, buf_text(payload), payload->len);
    }
}

static inline void drive_take_event(struct drive_events *events, uint16_t type, json_t *json) {
    if (type == ENGINE_PHASE) {
        json_array_append(events->phases, json);
    } else if (type == ENGINE_TOKEN) {
        events->n_tokens++;
        buf_puts(&events->text, wl_json_opt_string(json, "text", ""));
    } else if (type == ENGINE_PROGRESS) {
        events->n_progress++;
    }
}

// Waits for the answer of the last request that was sent.
static inline struct drive_answer drive_wait(struct drive *drive, double seconds) {
    struct drive_answer answer = {.outcome = DRIVE_HUNG};
    answer.events.phases = json_array();
    buf_init(&answer.events.text, 1 << 24);
    int64_t deadline_ns = os_now_ns() + (int64_t)(seconds * 1e9);
    struct buf payload;
    buf_init(&payload, 1);
    for (;;) {
        struct engine_header header;
        int got = drive_frame(drive, &header, &payload, deadline_ns);
        if (got != 1) {
            answer.outcome = got == 0 ? DRIVE_DIED : DRIVE_HUNG;
            break;
        }
        json_t *json = NULL;
        wl_json_parse(buf_text(&payload), payload.len, &json, NULL);
        drive_take_binary(&answer.events, header.type, &payload);
        if (header.type == ENGINE_RESULT || header.type == ENGINE_ERROR) {
            answer.outcome = header.type == ENGINE_RESULT ? DRIVE_RESULT : DRIVE_ERROR;
            answer.json = json;
            break;
        }
        drive_take_event(&answer.events, header.type, json);
        json_decref(json);
    }
    buf_release(&payload);
    return answer;
}

static inline struct drive_answer drive_call(struct drive *drive, uint16_t type, json_t *request,
                                             double seconds) {
    if (!drive_send(drive, type, request)) {
        struct drive_answer dead = {.outcome = DRIVE_DIED};
        return dead;
    }
    return drive_wait(drive, seconds);
}

static inline void drive_answer_release(struct drive_answer *answer) {
    json_decref(answer->json);
    json_decref(answer->events.phases);
    buf_release(&answer->events.text);
    free(answer->events.ids);
    free(answer->events.times);
    *answer = (struct drive_answer){0};
}

// Starts the engine and reads HELLO into *hello (NULL when not wanted). The engine's log goes to
// `log_fd`, -1 for our own stderr.
static inline bool drive_start(struct drive *drive, const char *const *env, int log_fd,
                               json_t **hello) {
    int fds[2];
    struct wl_err err = {0};
    if (os_socket_pair(fds, &err) != WL_OK) {
        return false;
    }
    const char *argv[] = {drive_engine_path(), NULL};
    struct os_spawn spawn = {.argv = argv,
                             .extra_env = env,
                             .socket_fd = fds[1],
                             .output_fd = log_fd,
                             .dies_with_parent = true};
    *drive = (struct drive){.fd = fds[0]};
    bool is_ok = os_spawn(&spawn, &drive->pid, &err) == WL_OK;
    close(fds[1]);
    struct engine_header header = {0};
    struct buf payload;
    buf_init(&payload, 1);
    is_ok = is_ok && drive_frame(drive, &header, &payload, os_now_ns() + 20000000000) == 1 &&
            header.type == ENGINE_HELLO;
    if (is_ok && hello) {
        wl_json_parse(buf_text(&payload), payload.len, hello, &err);
    }
    buf_release(&payload);
    return is_ok;
}

// Hangs up and waits; -1 when the engine did not end by itself within 10 s.
static inline int drive_stop(struct drive *drive) {
    close(drive->fd);
    int wait_status = 0;
    if (os_wait(drive->pid, 10000000000, &wait_status, NULL) != WL_OK) {
        os_kill(drive->pid);
        return -1;
    }
    return wait_status;
}

// "<models>/stories260k-f32.gguf", or NULL when it is not there (the caller skips with 77).
static inline const char *drive_model(const char *name) {
    static char path[4096];
    const char *dir = getenv("WATTLAW_TEST_MODELS");
    snprintf(path, sizeof path, "%s/%s", dir && *dir ? dir : "../shared/models", name);
    return access(path, R_OK) == 0 ? path : NULL;
}

#endif
