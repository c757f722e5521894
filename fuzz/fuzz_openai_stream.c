// Any bytes as a stream of server-sent events, in pieces of any size: the same events however they
// are cut, every byte passed on, and an answer put together of them that stays within its bounds.
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "openai/assemble.h"
#include "openai/json_text.h"
#include "openai/sse.h"

enum { MAX_EVENT_BYTES = 4096, MAX_ANSWER_BYTES = 65536 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition) {
    if (!condition) {
        abort();
    }
}

struct reading {
    struct buf raw, events;
    struct openai_usage usage;
    struct openai_assembly assembly;
    enum wl_status status; // of the stream
    enum wl_status assembly_status;
};

static void check_usage(const struct openai_usage *usage) {
    require(usage->prompt_tokens >= OPENAI_ABSENT && usage->completion_tokens >= OPENAI_ABSENT);
    require(usage->cached_tokens >= OPENAI_ABSENT);
    require(usage->completion_tokens == OPENAI_ABSENT ||
            usage->completion_tokens >= usage->usage_tokens);
    require(isnan(usage->prompt_ms) || usage->prompt_ms >= 0);
}

static void read_piece(struct reading *reading, const json_t *value) {
    struct openai_piece piece;
    struct wl_err err = {0};
    openai_piece_read(value, &piece);
    require(piece.is_finish || piece.ended == 0);
    require(!piece.is_usage || (!piece.is_finish && !piece.has_text));
    openai_usage_read(value, &reading->usage);
    check_usage(&reading->usage);
    if (reading->assembly_status == WL_OK) {
        reading->assembly_status = openai_assembly_add(&reading->assembly, value, &err);
        require(reading->assembly_status == WL_OK || err.message[0]);
        require(reading->assembly.n_bytes <= MAX_ANSWER_BYTES);
    }
}

static void read_event(struct reading *reading, const struct sse_event *event) {
    require(event->n_raw > 0 && event->n_raw <= MAX_EVENT_BYTES + 1);
    require(strlen(event->name) < SSE_NAME_BYTES);
    buf_append(&reading->raw, event->raw, event->n_raw);
    if (!event->data) {
        return;
    }
    require(event->n_data < event->n_raw && event->data[event->n_data] == '\0');
    buf_puts(&reading->events, event->name);
    buf_append(&reading->events, "|", 1);
    buf_append(&reading->events, event->data, event->n_data + 1);
    json_t *value;
    if (openai_json_parse(event->data, event->n_data, &value, NULL) == WL_OK) {
        read_piece(reading, value);
        json_decref(value);
    }
}

// In pieces as long as the bytes of `lengths` say, one after the other and again; 0: all at once.
static void read_stream(struct reading *reading, const char *text, size_t n,
                        enum openai_endpoint endpoint, const uint8_t *lengths, size_t n_lengths) {
    struct sse sse;
    struct sse_event event;
    *reading = (struct reading){0};
    buf_init(&reading->raw, SIZE_MAX / 2);
    buf_init(&reading->events, SIZE_MAX / 2);
    openai_usage_none(&reading->usage);
    openai_assembly_init(&reading->assembly, endpoint, MAX_ANSWER_BYTES);
    sse_init(&sse, MAX_EVENT_BYTES);
    for (size_t at = 0, i = 0; at < n && reading->status == WL_OK; i++) {
        size_t len = n_lengths ? lengths[i % n_lengths] + 1u : n;
        len = len < n - at ? len : n - at;
        reading->status = sse_feed(&sse, text + at, len, NULL);
        at += len;
        while (sse_next(&sse, &event)) {
            read_event(reading, &event);
        }
    }
    const char *rest;
    size_t n_rest = sse_rest(&sse, &rest);
    require(n_rest <= MAX_EVENT_BYTES);
    buf_append(&reading->raw, rest, n_rest);
    sse_release(&sse);
}

static void check_answer(struct reading *reading) {
    json_t *reply = openai_assembly_take(&reading->assembly, "length");
    struct buf out;
    json_t *again;
    buf_init(&out, SIZE_MAX / 2);
    require(reply && json_array_size(json_object_get(reply, "choices")) > 0);
    const struct openai_energy energy = {.gross_j = 1, .net_j = 1};
    require(openai_reply_add_energy(reply, &reading->usage, &energy));
    require(openai_json_write(&out, reply));
    require(openai_json_parse(out.data, out.len, &again, NULL) == WL_OK);
    require(json_equal(reply, again));
    json_decref(reply);
    json_decref(again);
    buf_release(&out);
}

static void release(struct reading *reading) {
    buf_release(&reading->raw);
    buf_release(&reading->events);
    openai_assembly_release(&reading->assembly);
}

static bool is_same(const struct buf *a, const struct buf *b) {
    return a->len == b->len && memcmp(buf_text(a), buf_text(b), a->len) == 0;
}

// What is written comes back, but for the ends of its lines.
static void check_write(const char *text, size_t n) {
    struct buf out;
    struct sse sse;
    struct sse_event event;
    buf_init(&out, SIZE_MAX / 2);
    sse_write(&out, text, n);
    sse_init(&sse, SIZE_MAX / 2);
    require(sse_feed(&sse, out.data, out.len, NULL) == WL_OK && sse_next(&sse, &event));
    require(event.n_raw == out.len && event.data && !sse_next(&sse, &event));
    require(memchr(text, '\r', n) || (event.n_data == n && memcmp(event.data, text, n) == 0));
    sse_release(&sse);
    buf_release(&out);
}

// The first byte: the endpoint, and how many of the next bytes are lengths.
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 2) {
        return 0;
    }
    enum openai_endpoint endpoint = (enum openai_endpoint)(data[0] % 2);
    size_t n_lengths = (data[0] >> 4) + 1u < size - 1 ? (data[0] >> 4) + 1u : size - 1;
    const char *text = (const char *)data + 1 + n_lengths;
    size_t n = size - 1 - n_lengths;
    struct reading whole, cut;
    read_stream(&whole, text, n, endpoint, NULL, 0);
    read_stream(&cut, text, n, endpoint, data + 1, n_lengths);
    require(whole.status == cut.status);
    if (whole.status == WL_OK) {
        require(whole.raw.len == n && memcmp(buf_text(&whole.raw), text, n) == 0);
        require(is_same(&whole.raw, &cut.raw) && is_same(&whole.events, &cut.events));
        require(whole.assembly_status == cut.assembly_status);
    }
    if (cut.assembly_status == WL_OK) {
        check_answer(&cut);
    }
    release(&whole);
    release(&cut);
    check_write(text, n);
    return 0;
}
