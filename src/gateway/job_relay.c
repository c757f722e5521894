// A stream on its way to the client: pieces go on as they came, but for the last ones, into which
// the energy goes when it is known.
#include <string.h>

#include "gateway/job.h"
#include "openai/json_text.h"
#include "os/clock.h"

static const char DONE[] = "[DONE]";
enum { EMPTY_ANSWER_BYTES = 65536 };

void job_begin_stream(struct job *job) {
    if (job->exchange) {
        job->is_streaming = true;
        job_add_headers(job, false);
        http_stream_begin(job->exchange, 200, "text/event-stream; charset=utf-8");
    }
}

// A client that is slower than the model: the model server waits in its turn.
static void send_on(struct job *job, const char *bytes, size_t n) {
    if (!job->exchange || !job->is_streaming) {
        return;
    }
    if (http_stream_write(job->exchange, bytes, n) && job->call && !job->is_paused &&
        http_stream_is_full(job->exchange)) {
        job->is_paused = true;
        http_call_pause(job->call, true);
    }
}

void job_flush_held(struct job *job) {
    if (job->held) {
        send_on(job, buf_text(&job->held_raw), job->held_raw.len);
        json_decref(job->held);
        job->held = NULL;
        buf_clear(&job->held_raw);
    }
}

static void hold(struct job *job, json_t *piece, const struct sse_event *event) {
    job_flush_held(job);
    if (buf_append(&job->held_raw, event->raw, event->n_raw)) {
        job->held = json_incref(piece);
    } else {
        send_on(job, event->raw, event->n_raw);
    }
}

static void note_piece(struct job *job, json_t *value, const struct openai_piece *piece) {
    if (piece->has_text) {
        int64_t now_ns = os_now_ns();
        job->first_ns = job->first_ns ? job->first_ns : now_ns;
        job->n_pieces++;
        if (job->is_metered) {
            power_piece(job->gateway->power, &job->user, 1);
        }
    }
    job->ended |= piece->ended;
    json_decref(job->last_piece);
    job->last_piece = json_incref(value);
}

// ---- our own endpoints ----

static void assemble(struct job *job, const json_t *value) {
    struct wl_err err = {0};
    if (openai_assembly_add(&job->assembly, value, &err) != WL_OK) {
        job_refuse(job, LEDGER_UPSTREAM_DIED, 502, "model_server_error", NULL, "%s", err.message);
    }
}

static void relay(struct job *job, json_t *value, const struct openai_piece *piece,
                  const struct sse_event *event) {
    if (piece->is_usage) {
        if (job->request.wants_usage) {
            json_decref(job->tail);
            job->tail = json_incref(value);
        }
    } else if (piece->is_finish) {
        hold(job, value, event);
    } else {
        job_flush_held(job);
        send_on(job, event->raw, event->n_raw);
    }
}

static void note_error(struct job *job, const json_t *value) {
    const json_t *error = json_object_get(value, "error");
    const char *message = json_string_value(json_object_get(error, "message"));
    openai_fault_set(&job->fault, WL_IO, "model_server_error", NULL, "%s",
                     message ? message : "the model server tells of an error");
}

static void take_piece(struct job *job, const struct sse_event *event) {
    struct openai_piece piece;
    json_t *value = NULL;
    if (openai_json_parse(event->data, event->n_data, &value, NULL) != WL_OK) {
        send_on(job, event->raw, event->n_raw); // not ours to judge
        return;
    }
    openai_piece_read(value, &piece);
    openai_usage_read(value, &job->usage);
    note_piece(job, value, &piece);
    job_note_text(job, value);
    if (piece.is_error) {
        note_error(job, value);
    }
    if (job->is_assembling) {
        assemble(job, value);
    } else {
        relay(job, value, &piece, event);
    }
    json_decref(value);
}

// ---- forms that are passed on as they are (Anthropic's, OpenAI's newer one) ----

static int64_t token_count(const json_t *usage, const char *name) {
    const json_t *value = json_object_get(usage, name);
    return json_is_integer(value) && json_integer_value(value) >= 0 ? json_integer_value(value)
                                                                    : OPENAI_ABSENT;
}

static void take_opaque_usage(struct job *job, const json_t *usage) {
    int64_t input = token_count(usage, "input_tokens");
    int64_t apart = token_count(usage, "cache_read_input_tokens"); // Anthropic: not in input
    int64_t cached = token_count(json_object_get(usage, "input_tokens_details"), "cached_tokens");
    int64_t output = token_count(usage, "output_tokens");
    if (input != OPENAI_ABSENT) {
        job->usage.prompt_tokens = input + (apart > 0 ? apart : 0);
    }
    cached = apart != OPENAI_ABSENT ? apart : cached;
    job->usage.cached_tokens = cached != OPENAI_ABSENT ? cached : job->usage.cached_tokens;
    job->usage.completion_tokens = output != OPENAI_ABSENT ? output : job->usage.completion_tokens;
}

void job_take_opaque(struct job *job, const json_t *value) {
    take_opaque_usage(job, json_object_get(value, "usage"));
    take_opaque_usage(job, json_object_get(json_object_get(value, "message"), "usage"));
    take_opaque_usage(job, json_object_get(json_object_get(value, "response"), "usage"));
}

static void take_opaque_event(struct job *job, const struct sse_event *event) {
    bool is_delta = strstr(event->name, "delta") && strcmp(event->name, "message_delta") != 0;
    struct openai_piece piece = {.has_text = is_delta};
    json_t *value = NULL;
    if (!is_delta) {
        openai_json_parse(event->data, event->n_data, &value, NULL);
        job_take_opaque(job, value);
    }
    note_piece(job, value, &piece);
    json_decref(value);
    send_on(job, event->raw, event->n_raw);
}

// ---- all ----

static void take_event(struct job *job, const struct sse_event *event) {
    if (!event->data) {
        if (!job->is_done_seen) {
            send_on(job, event->raw, event->n_raw); // a ping, or an empty line
        }
    } else if (!job->is_read) {
        take_opaque_event(job, event);
    } else if (event->n_data == sizeof DONE - 1 && memcmp(event->data, DONE, event->n_data) == 0) {
        job->is_done_seen = true; // told when the energy is
    } else {
        take_piece(job, event);
    }
}

void job_take_events(struct job *job, const char *bytes, size_t n) {
    struct sse_event event;
    struct wl_err err = {0};
    if (sse_feed(&job->sse, bytes, n, &err) != WL_OK) {
        openai_fault_set(&job->fault, err.status, "model_server_error", NULL, "%s", err.message);
        job_close(job, LEDGER_UPSTREAM_DIED);
        return;
    }
    while (job->state == JOB_RELAYING && sse_next(&job->sse, &event)) {
        take_event(job, &event);
    }
}

// ---- limits ----

// Nothing has come: the names that the model server would have told.
static bool begin_empty(struct job *job) {
    json_t *piece = json_pack("{s:s, s:I, s:s}", "id", job->id, "created",
                              (json_int_t)(job->begin_wall_ms / 1000), "model", job->row.model);
    bool is_fine = piece != NULL;
    job->status = 200;
    if (job->is_assembling) {
        openai_assembly_init(&job->assembly, job->request.endpoint, EMPTY_ANSWER_BYTES);
        is_fine = is_fine && openai_assembly_add(&job->assembly, piece, NULL) == WL_OK;
    } else {
        job_begin_stream(job);
        job->last_piece = json_incref(piece);
    }
    json_decref(piece);
    return is_fine;
}

void job_stop_at_limit(struct job *job) {
    bool is_empty = job->state == JOB_ASKING && job->request.endpoint != OPENAI_EMBEDDING;
    http_call_cancel(job->call);
    job->call = NULL;
    if ((is_empty && begin_empty(job)) || job->is_sse) {
        job->finish = "length";
        job_close(job, LEDGER_BUDGET);
    } else { // half a document is none
        job_refuse(job, LEDGER_BUDGET, 504, "limit_reached", NULL,
                   "the answer was not there within the time or energy of a request");
    }
}
