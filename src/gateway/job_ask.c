// The request goes to the model server, and what comes back is taken: a stream goes to job_relay.c,
// a whole answer is collected.
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/str.h"
#include "gateway/job.h"
#include "gateway/log.h"
#include "openai/json_text.h"
#include "os/clock.h"

enum {
    MAX_REPLY_BYTES = 256 << 20, // embeddings of many texts
    MAX_EVENT_BYTES = 8 << 20,
    MAX_ASSEMBLED_BYTES = 64 << 20,
    MAX_HEADERS = 16,
    MAX_PATH_BYTES = 2048,
    CONNECT_MS = 5000,
};

// ---- what goes there ----

struct header_list {
    const char *lines[MAX_HEADERS + 1];
    char passed[4][300];
    size_t n, n_passed;
};

static void put(struct header_list *list, const char *line) {
    if (list->n < MAX_HEADERS) {
        list->lines[list->n++] = line;
    }
}

// Headers of the client that change what its request means.
static void pass(struct header_list *list, struct http_exchange *exchange, const char *name) {
    const char *value = http_exchange_header(exchange, name);
    if (value && list->n_passed < 4 && strlen(value) < 200) {
        char *line = list->passed[list->n_passed++];
        snprintf(line, sizeof list->passed[0], "%s: %s", name, value);
        put(list, line);
    }
}

static void make_headers(struct job *job, struct header_list *list, char *id, size_t id_size) {
    *list = (struct header_list){0};
    for (const char *const *h = upstream_headers(job->gateway->upstream); h && *h; h++) {
        put(list, *h);
    }
    snprintf(id, id_size, "X-Request-Id: %s", job->id);
    put(list, id);
    pass(list, job->exchange, "Content-Type");
    pass(list, job->exchange, "anthropic-version");
    pass(list, job->exchange, "anthropic-beta");
}

static const char *body_of(const struct job *job, size_t *n) {
    if (job->is_read && job->request.is_changed) {
        *n = job->body.len;
        return buf_text(&job->body);
    }
    return http_exchange_body(job->exchange, n);
}

// ---- what comes back ----

static bool is_event_stream(const char *content_type) {
    return strncasecmp(content_type, "text/event-stream", 17) == 0;
}

// When to come again is known by who refuses.
static void pass_back_retry_after(struct job *job, struct http_call *call) {
    const char *after = job->status >= 400 ? http_call_header(call, "Retry-After") : NULL;
    if (after && job->exchange) {
        http_exchange_add_header(job->exchange, "Retry-After", after);
    }
}

static void on_head(void *context, struct http_call *call, long status, const char *content_type) {
    struct job *job = context;
    job->state = JOB_RELAYING;
    job->status = (unsigned)status;
    pass_back_retry_after(job, call);
    str_copy(job->reply_type, sizeof job->reply_type, content_type);
    job->is_sse = status == 200 && is_event_stream(content_type);
    if (job->is_sse) {
        sse_init(&job->sse, MAX_EVENT_BYTES);
        bool is_ours = job->is_assembling && job->is_read;
        if (is_ours) {
            openai_assembly_init(&job->assembly, job->request.endpoint, MAX_ASSEMBLED_BYTES);
        } else {
            job_begin_stream(job);
        }
        job->is_assembling = is_ours;
    } else {
        job->is_assembling = false;
        buf_init(&job->reply, MAX_REPLY_BYTES);
    }
}

static void on_data(void *context, struct http_call *call, const char *bytes, size_t n) {
    struct job *job = context;
    (void)call;
    if (job->is_sse) {
        job_take_events(job, bytes, n);
    } else if (!buf_append(&job->reply, bytes, n)) {
        job_refuse(job, LEDGER_UPSTREAM_DIED, 502, "answer_too_large", NULL,
                   "the model server's answer has more than %d bytes", MAX_REPLY_BYTES);
    }
}

// Nobody was there, so nothing was computed: it may come once more when the model server is up. The
// meter goes on counting it as there.
static bool try_again(struct job *job) {
    if (job->is_retried || !job->is_granted) {
        return false;
    }
    struct gateway *gateway = job->gateway;
    job->is_retried = true;
    job->is_granted = false;
    budget_settle(&job->account->budget, job->need, (double[BUDGET_N_KINDS]){0});
    job->account->budget.spent[BUDGET_REQUESTS]--;
    job->account->n_running--;
    gateway->n_running--;
    job->is_inside = false;
    job_enqueue(job);
    upstream_leave(gateway->upstream);
    return true;
}

static void on_end(void *context, struct http_call *call, enum wl_status status,
                   const char *message) {
    struct job *job = context;
    (void)call;
    job->call = NULL;
    if (status == WL_OK && (!job->is_sse || job->is_done_seen || !job->is_read)) {
        job_close(job, LEDGER_ANSWERED);
        return;
    }
    upstream_suspect(job->gateway->upstream);
    if (status == WL_NOT_FOUND && try_again(job)) {
        return;
    }
    if (job->state == JOB_RELAYING && job->is_sse) {
        openai_fault_set(&job->fault, WL_IO, "model_server_died", NULL,
                         "the model server ended in the middle of the answer%s%s",
                         message[0] ? ": " : "", message);
        job_close(job, LEDGER_UPSTREAM_DIED);
    } else if (status == WL_NOT_FOUND) {
        job_refuse(job, LEDGER_REFUSED, 503, "model_server_unavailable", NULL,
                   "the model server cannot be reached: %s", message);
    } else if (status == WL_TIMEOUT) {
        job_refuse(job, LEDGER_UPSTREAM_DIED, 504, "model_server_timeout", NULL,
                   "the model server did not answer in time: %s", message);
    } else {
        job_refuse(job, LEDGER_UPSTREAM_DIED, 502, "model_server_died", NULL,
                   "the model server did not answer: %s", message);
    }
}

// ---- sending ----

static void enter(struct job *job) {
    struct gateway *gateway = job->gateway;
    upstream_enter(gateway->upstream);
    job->is_inside = true;
    job->sent_ns = os_now_ns();
    if (!job->is_granted) {
        return; // it costs nothing
    }
    gateway->n_running++;
    if (gateway->power && !job->is_metered) {
        double size = job->input_tokens != OPENAI_ABSENT ? (double)job->input_tokens : 0;
        job->is_metered = power_enter(gateway->power, &job->user, size, NULL) == WL_OK;
    }
}

void job_ask(struct job *job) {
    struct gateway *gateway = job->gateway;
    struct header_list headers;
    struct wl_err err = {0};
    char id[LEDGER_ID_BYTES + 20], path[MAX_PATH_BYTES], url[UPSTREAM_URL_BYTES + MAX_PATH_BYTES];
    size_t n;
    const char *body = body_of(job, &n);
    if (!route_upstream_path(job->route, http_exchange_path(job->exchange), path, sizeof path)) {
        job_refuse(job, LEDGER_REFUSED, 414, "uri_too_long", NULL, "the path is too long");
        return;
    }
    job->state = JOB_ASKING;
    enter(job);
    make_headers(job, &headers, id, sizeof id);
    snprintf(url, sizeof url, "%s%s", upstream_url(gateway->upstream), path);
    struct http_call_options options = {
        .method = job->route->method,
        .url = url,
        .unix_socket = upstream_unix_socket(gateway->upstream),
        .headers = headers.lines,
        .body = body,
        .n_body = n,
        .connect_ms = CONNECT_MS,
        .total_ms = (int64_t)(gateway->settings.answer_s * 1e3),
        .on_head = on_head,
        .on_data = on_data,
        .on_end = on_end,
        .context = job,
    };
    if (http_call_start(gateway->client, &options, &job->call, &err) != WL_OK) {
        job_refuse(job, LEDGER_REFUSED, 502, NULL, NULL, "%s", err.message);
    }
}
