// One connection of a client: writes at its pace, reads at its pace, leaves when its plan says so,
// and looks at what comes back.
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/str.h"
#include "soak.h"

static const int64_t DEADLINE_MS = 45000;
static const int64_t BORED_MS = 400; // after so long without a byte nobody waits for bad HTTP

enum part { HEAD, BODY, CHUNK_SIZE, CHUNK, CHUNK_END, TRAILER };

struct soak_client {
    struct soak *soak;
    struct soak_plan plan;
    int fd;
    size_t n_written, n_read, n_whole;
    int64_t begin_ms, next_write_ms, next_read_ms, heard_ms;
    bool is_patient; // waits until the gateway closes
    bool is_odd;     // what came is no HTTP

    // The answer that comes.
    enum part part;
    struct buf in; // not yet understood
    size_t at;
    struct buf body;
    int status;
    size_t n_left;
    bool is_chunked;
    char id[40];
};

// ---- answers ----

static const char *find(const char *text, size_t n, const char *what) {
    return memmem(text, n, what, strlen(what));
}

// The last object of a stream that tells a usage, or the whole answer.
static json_t *read_usage(const struct soak_client *c) {
    if (!c->plan.is_stream) {
        return json_loadb(buf_text(&c->body), c->body.len, 0, NULL);
    }
    const char *text = buf_text(&c->body), *last = NULL;
    for (const char *at = text; (at = strstr(at, "data: {")); at++) {
        const char *end = strchr(at, '\n');
        if (end && find(at, (size_t)(end - at), "\"usage\"")) {
            last = at;
        }
    }
    return last ? json_loads(last + 6, JSON_DISABLE_EOF_CHECK, NULL) : NULL;
}

static int64_t count_of(const json_t *usage, const char *name) {
    const json_t *value = json_object_get(usage, name);
    return json_is_integer(value) ? json_integer_value(value) : -1;
}

static void keep_answer(struct soak_client *c) {
    struct soak *soak = c->soak;
    if (soak->n_answers == soak->answers_capacity) {
        soak->answers_capacity = soak->answers_capacity * 2 + 1024;
        soak->answers = realloc(soak->answers, soak->answers_capacity * sizeof *soak->answers);
    }
    struct soak_answer *answer = &soak->answers[soak->n_answers++];
    *answer =
        (struct soak_answer){.status = c->status, .prompt_tokens = -1, .completion_tokens = -1};
    str_copy(answer->id, sizeof answer->id, c->id);
    str_copy(soak->last_ids[soak->n_last_ids++ % 16], sizeof soak->last_ids[0], c->id);
    if (c->status == 200 && c->plan.is_clean) {
        json_t *told = read_usage(c);
        answer->prompt_tokens = count_of(json_object_get(told, "usage"), "prompt_tokens");
        answer->completion_tokens = count_of(json_object_get(told, "usage"), "completion_tokens");
        json_decref(told);
    }
}

// What is passed on as it is ends with our comment.
static bool has_done(const struct buf *body) {
    return find(buf_text(body), body->len, "data: [DONE]\n\n") != NULL;
}

static void look_at_stream(struct soak_client *c) {
    bool is_done = has_done(&c->body);
    bool is_error = find(buf_text(&c->body), c->body.len, "data: {\"error\"") != NULL;
    bool may_be_anything = c->plan.kind == KIND_server_odd;
    if (is_done == is_error && !may_be_anything) {
        soak_problem(c->soak, "%s: a stream ended without [DONE] or error, or with both: %s",
                     soak_kind_name(c->plan.kind), c->id);
    }
    if (c->plan.is_clean && !is_done && c->begin_ms >= c->soak->calm_since_ms) {
        soak_problem(c->soak, "%s: a stream failed although nothing was wrong: %s",
                     soak_kind_name(c->plan.kind), c->id);
    }
}

static void look_at_whole(struct soak_client *c) {
    json_t *value = json_loadb(buf_text(&c->body), c->body.len, 0, NULL);
    bool may_be_anything = c->plan.kind == KIND_page || c->plan.kind == KIND_server_garbage ||
                           c->plan.kind == KIND_server_odd;
    if (!value && !may_be_anything) {
        soak_problem(c->soak, "%s: status %d and no JSON: %.100s", soak_kind_name(c->plan.kind),
                     c->status, buf_text(&c->body));
    }
    if (c->status >= 400 && value && !json_object_get(value, "error") && !may_be_anything) {
        soak_problem(c->soak, "%s: status %d without an error: %.100s",
                     soak_kind_name(c->plan.kind), c->status, buf_text(&c->body));
    }
    json_decref(value);
}

static void take_answer(struct soak_client *c) {
    struct soak_counts *counts = &c->soak->counts[c->plan.kind];
    counts->n_whole++;
    counts->n_by_class[c->status / 100]++;
    c->n_whole++;
    if (c->plan.kind == KIND_bad_http) {
        return;
    }
    if (c->id[0] && !c->plan.is_rowless) {
        keep_answer(c);
    }
    if (c->plan.is_clean && c->status != 200 && c->begin_ms >= c->soak->calm_since_ms) {
        soak_problem(c->soak, "%s: status %d although nothing is wrong: %.300s",
                     soak_kind_name(c->plan.kind), c->status, buf_text(&c->body));
    }
    if (c->body.len > 5 && memcmp(c->body.data, "data:", 5) == 0) {
        look_at_stream(c);
    } else {
        look_at_whole(c);
    }
}

// ---- HTTP ----

static void next_answer(struct soak_client *c) {
    c->part = HEAD;
    c->is_chunked = false;
    c->n_left = 0;
    c->status = 0;
    c->id[0] = '\0';
    buf_clear(&c->body);
}

static void copy_value(char *out, size_t size, const char *head, const char *name) {
    const char *at = strcasestr(head, name);
    out[0] = '\0';
    if (at) {
        at += strlen(name);
        size_t n = strcspn(at, "\r\n");
        snprintf(out, size, "%.*s", (int)(n < size ? n : size - 1), at);
    }
}

static bool take_head(struct soak_client *c) {
    char length[32], coding[32], *text = c->in.data + c->at;
    const char *end = find(text, c->in.len - c->at, "\r\n\r\n");
    if (!end) {
        return false;
    }
    size_t n = (size_t)(end - text) + 4;
    text[n - 2] = '\0';
    if (sscanf(text, "HTTP/1.%*d %d", &c->status) != 1 || c->status < 100 || c->status > 599) {
        c->is_odd = true;
        return false;
    }
    copy_value(length, sizeof length, text, "\r\nContent-Length: ");
    copy_value(coding, sizeof coding, text, "\r\nTransfer-Encoding: ");
    copy_value(c->id, sizeof c->id, text, "\r\nX-Request-Id: ");
    c->is_chunked = strcasecmp(coding, "chunked") == 0;
    c->n_left = (size_t)strtoull(length, NULL, 10);
    c->at += n;
    if (c->status < 200) {
        next_answer(c); // 100 Continue
    } else {
        c->part = c->is_chunked ? CHUNK_SIZE : BODY;
    }
    return true;
}

static bool take_body(struct soak_client *c, enum part next) {
    size_t n = c->in.len - c->at;
    n = n < c->n_left ? n : c->n_left;
    buf_append(&c->body, c->in.data + c->at, n);
    c->at += n;
    c->n_left -= n;
    if (c->n_left == 0) {
        c->part = next;
    }
    return c->n_left == 0;
}

static bool take_line(struct soak_client *c, char *out, size_t size) {
    const char *text = c->in.data + c->at, *end = find(text, c->in.len - c->at, "\r\n");
    if (!end) {
        return false;
    }
    snprintf(out, size, "%.*s", (int)(end - text), text);
    c->at += (size_t)(end - text) + 2;
    return true;
}

// One step; false when more bytes are needed.
static bool understand(struct soak_client *c) {
    char line[256];
    switch (c->part) {
    case HEAD: return take_head(c);
    case BODY:
        if (!take_body(c, HEAD)) {
            return false;
        }
        take_answer(c);
        next_answer(c);
        return true;
    case CHUNK_SIZE:
        if (!take_line(c, line, sizeof line)) {
            return false;
        }
        c->n_left = (size_t)strtoull(line, NULL, 16);
        c->part = c->n_left ? CHUNK : TRAILER;
        return true;
    case CHUNK: return take_body(c, CHUNK_END);
    case CHUNK_END:
        c->part = CHUNK_SIZE;
        return take_line(c, line, sizeof line) || (c->part = CHUNK_END, false);
    case TRAILER:
        if (!take_line(c, line, sizeof line)) {
            return false;
        }
        if (line[0] == '\0') {
            take_answer(c);
            next_answer(c);
        }
        return true;
    }
    return false;
}

static void understand_all(struct soak_client *c) {
    while (!c->is_odd && c->at < c->in.len && understand(c)) {
    }
    c->in.len -= c->at;
    memmove(c->in.data, c->in.data + c->at, c->in.len);
    c->at = 0;
}

// ---- the socket ----

struct soak_client *soak_client_begin(struct soak *soak, struct soak_plan *plan) {
    struct soak_client *c = calloc(1, sizeof *c);
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)soak->gateway.port),
                             .sin_addr = {htonl(INADDR_LOOPBACK)}};
    c->soak = soak;
    c->plan = *plan;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    c->begin_ms = c->heard_ms = soak_now_ms();
    c->is_patient = rng_below(&soak->rng, 12) == 0;
    buf_init(&c->in, 64 << 20);
    buf_init(&c->body, 256 << 20);
    if (plan->read_step) {
        int small = 65536;
        setsockopt(c->fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
        c->next_read_ms = c->begin_ms + 1000;
    }
    soak->counts[plan->kind].n_begun++;
    if (connect(c->fd, (struct sockaddr *)&to, sizeof to) != 0 && errno != EINPROGRESS) {
        soak->counts[plan->kind].n_cut++;
        soak_client_end(c);
        return NULL;
    }
    return c;
}

int soak_client_fd(const struct soak_client *c) {
    return c->fd;
}

short soak_client_events(const struct soak_client *c, int64_t now_ms) {
    bool writes = c->n_written < c->plan.bytes.len && now_ms >= c->next_write_ms;
    bool reads = now_ms >= c->next_read_ms;
    return (short)((writes ? POLLOUT : 0) | (reads ? POLLIN : 0));
}

static void leave(struct soak_client *c) {
    if (c->plan.resets) {
        struct linger at_once = {.l_onoff = 1};
        setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    }
}

// False when it leaves.
static bool write_some(struct soak_client *c, int64_t now_ms) {
    size_t n = c->plan.bytes.len - c->n_written;
    n = c->plan.write_step && n > c->plan.write_step ? c->plan.write_step : n;
    if (c->plan.abort_written != SIZE_MAX && n > c->plan.abort_written - c->n_written) {
        n = c->plan.abort_written - c->n_written;
    }
    ssize_t n_sent = send(c->fd, c->plan.bytes.data + c->n_written, n, MSG_NOSIGNAL);
    if (n_sent < 0) {
        // It was refused before all of it was sent: the answer may be there to be read.
        bool is_over = errno != EAGAIN && errno != ENOTCONN;
        c->n_written = is_over ? c->plan.bytes.len : c->n_written;
        return c->plan.abort_written == SIZE_MAX || !is_over;
    }
    c->n_written += (size_t)n_sent;
    c->heard_ms = now_ms;
    c->next_write_ms = now_ms + (c->plan.write_step ? c->plan.pause_ms : 0);
    return c->n_written < c->plan.abort_written;
}

static bool read_some(struct soak_client *c, int64_t now_ms) {
    static char bytes[65536];
    size_t n =
        c->plan.read_step && c->plan.read_step < sizeof bytes ? c->plan.read_step : sizeof bytes;
    ssize_t n_come = recv(c->fd, bytes, n, 0);
    if (n_come <= 0) {
        return n_come < 0 && errno == EAGAIN;
    }
    c->n_read += (size_t)n_come;
    c->heard_ms = now_ms;
    c->next_read_ms = now_ms + (c->plan.read_step ? c->plan.pause_ms : 0);
    buf_append(&c->in, bytes, (size_t)n_come);
    understand_all(c);
    bool has_all = c->n_whole >= c->plan.n_answers && c->plan.kind != KIND_bad_http;
    return !has_all && c->n_read < c->plan.abort_read;
}

// What the client that has come to its end can say.
static void judge_end(struct soak_client *c) {
    bool leaves = c->plan.abort_written != SIZE_MAX || c->plan.abort_read != SIZE_MAX ||
                  c->plan.abort_ms != INT64_MAX || c->plan.kind == KIND_bad_http;
    if (c->n_whole < c->plan.n_answers) {
        c->soak->counts[c->plan.kind].n_cut++;
        if (!leaves && c->begin_ms >= c->soak->calm_since_ms) {
            soak_problem(c->soak, "%s: cut off after %zu bytes although nothing is wrong",
                         soak_kind_name(c->plan.kind), c->n_read);
        }
    }
    if (c->is_odd) {
        soak_problem(c->soak, "%s: what came is no HTTP", soak_kind_name(c->plan.kind));
    }
}

static bool goes_on(struct soak_client *c, short events, int64_t now_ms) {
    if (now_ms - c->begin_ms > DEADLINE_MS) {
        soak_problem(c->soak, "%s: no end after %lld s (%zu of %zu bytes sent, %zu read)",
                     soak_kind_name(c->plan.kind), (long long)DEADLINE_MS / 1000, c->n_written,
                     c->plan.bytes.len, c->n_read);
        return false;
    }
    if (now_ms - c->begin_ms >= c->plan.abort_ms) {
        return false;
    }
    if (c->plan.kind == KIND_bad_http && !c->is_patient && now_ms - c->heard_ms > BORED_MS) {
        return false;
    }
    if (events & POLLOUT && !write_some(c, now_ms)) {
        return false;
    }
    return !(events & (POLLIN | POLLHUP | POLLERR)) || now_ms < c->next_read_ms ||
           read_some(c, now_ms);
}

bool soak_client_step(struct soak_client *c, short events, int64_t now_ms) {
    if (goes_on(c, events, now_ms)) {
        return true;
    }
    judge_end(c);
    leave(c);
    soak_client_end(c);
    return false;
}

void soak_client_end(struct soak_client *c) {
    if (c) {
        close(c->fd);
        buf_release(&c->plan.bytes);
        buf_release(&c->in);
        buf_release(&c->body);
        free(c);
    }
}
