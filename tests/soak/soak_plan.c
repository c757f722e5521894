// What clients ask, and how they behave: drawn from the seed.
#include <stdio.h>
#include <string.h>

#include "soak.h"

#define KIND_NAME(name, weight) #name,
#define KIND_WEIGHT(name, weight) weight,
static const char *const NAMES[] = {SOAK_KIND_LIST(KIND_NAME)};
static const uint32_t WEIGHTS[] = {SOAK_KIND_LIST(KIND_WEIGHT)};

const struct soak_key SOAK_KEYS[SOAK_N_KEYS] = {
    {"open", "wl-soak-open", 0, 0, 0, true},       {"tokens", "wl-soak-tokens", 0, 3000, 0, false},
    {"rate", "wl-soak-rate", 40, 0, 0, false},     {"energy", "wl-soak-energy", 0, 0, 0.02, false},
    {"all", "wl-soak-all", 300, 9000, 0.2, false}, {"zero", "wl-soak-zero", 0, 40, 0, false},
};

const char *soak_kind_name(enum soak_kind kind) {
    return NAMES[kind];
}

enum soak_kind soak_plan_choose(struct soak *soak) {
    uint32_t sum = 0;
    for (int i = 0; i < KIND_N; i++) {
        sum += WEIGHTS[i];
    }
    uint32_t at = rng_below(&soak->rng, sum);
    int kind = 0;
    while (at >= WEIGHTS[kind]) {
        at -= WEIGHTS[kind++];
    }
    return (enum soak_kind)kind;
}

// ---- bodies ----

static uint32_t up_to(struct soak *soak, uint32_t most) {
    return rng_below(&soak->rng, most + 1);
}

static bool one_in(struct soak *soak, uint32_t n) {
    return rng_below(&soak->rng, n) == 0;
}

static void put_words(struct soak *soak, struct buf *out, uint32_t most) {
    for (uint32_t n = up_to(soak, most); n > 0; n--) {
        buf_puts(out, " word");
    }
}

static void put_user(struct buf *out, const char *text) {
    buf_printf(out, "{\"role\":\"user\",\"content\":\"%s\"}", text);
}

// `orders` is what the fake model server does with it.
static void put_chat(struct soak *soak, struct buf *out, const char *orders, bool is_stream) {
    struct buf text;
    buf_init(&text, 4096);
    buf_puts(&text, orders);
    put_words(soak, &text, 12);
    buf_puts(out, "{\"model\":\"stub\",\"messages\":[");
    if (one_in(soak, 3)) {
        buf_puts(out, "{\"role\":\"system\",\"content\":\"be brief\"},");
    }
    put_user(out, buf_text(&text));
    buf_puts(out, "]");
    if (is_stream) {
        buf_puts(out, one_in(soak, 2) ? ",\"stream\":true"
                                      : ",\"stream\":true,\"stream_options\":{\"include_usage\":"
                                        "true}");
    }
    if (one_in(soak, 4)) {
        buf_printf(out, ",\"max_tokens\":%u", 1 + up_to(soak, 30));
    }
    buf_puts(out, one_in(soak, 5) ? ",\"x_unknown\":{\"a\":[1,2.5,null]}}" : "}");
    buf_release(&text);
}

static void put_turns(struct soak *soak, struct buf *out) {
    buf_puts(out, "{\"messages\":[{\"role\":\"system\",\"content\":\"be brief\"}");
    for (uint32_t n = up_to(soak, 60); n > 0; n--) {
        buf_puts(out, ",{\"role\":\"user\",\"content\":\"a question");
        put_words(soak, out, 20);
        buf_puts(out, "\"},{\"role\":\"assistant\",\"content\":\"an answer");
        put_words(soak, out, 20);
        buf_puts(out, "\"}");
    }
    buf_puts(out, ",{\"role\":\"user\",\"content\":\"tokens=3 last\"}]}");
}

static void put_pictures(struct soak *soak, struct buf *out, bool is_bad) {
    static const char *const DETAILS[] = {"auto", "low", "high", "none"};
    uint32_t n = 1 + up_to(soak, 2), bad = is_bad ? rng_below(&soak->rng, n) : n;
    buf_puts(out, "{\"messages\":[{\"role\":\"user\",\"content\":[");
    for (uint32_t i = 0; i < n; i++) {
        buf_puts(out, "{\"type\":\"image_url\",\"image_url\":{\"url\":\"");
        soak_picture(&soak->rng, i == bad, out);
        buf_printf(out, "\",\"detail\":\"%s\"}},", DETAILS[up_to(soak, 3)]);
    }
    buf_printf(out, "{\"type\":\"text\",\"text\":\"tokens=4 what is it\"}]}]%s}",
               one_in(soak, 3) ? ",\"stream\":true" : "");
}

// ---- requests ----

static void put_key(struct soak *soak, struct buf *out, size_t key) {
    if (soak->has_keys) {
        buf_printf(out, one_in(soak, 4) ? "x-api-key: %s\r\n" : "Authorization: Bearer %s\r\n",
                   SOAK_KEYS[key].secret);
    }
}

static void put_chunks(struct soak *soak, struct buf *out, const struct buf *body) {
    for (size_t at = 0; at < body->len;) {
        size_t n = 1 + up_to(soak, 4000);
        n = n < body->len - at ? n : body->len - at;
        buf_printf(out, "%zx\r\n", n);
        buf_append(out, body->data + at, n);
        buf_puts(out, "\r\n");
        at += n;
    }
    buf_puts(out, "0\r\n\r\n");
}

static void put_post(struct soak *soak, struct buf *out, const char *path, size_t key,
                     const struct buf *body) {
    buf_printf(out, "POST %s HTTP/1.1\r\nHost: soak\r\nContent-Type: application/json\r\n", path);
    put_key(soak, out, key);
    if (one_in(soak, 6)) {
        buf_puts(out, "Transfer-Encoding: chunked\r\n\r\n");
        put_chunks(soak, out, body);
    } else {
        buf_printf(out, "Content-Length: %zu\r\n\r\n", body->len);
        buf_append(out, buf_text(body), body->len);
    }
}

static void put_get(struct soak *soak, struct buf *out, const char *path, size_t key) {
    buf_printf(out, "GET %s HTTP/1.1\r\nHost: soak\r\n", path);
    put_key(soak, out, key);
    buf_puts(out, "\r\n");
}

static size_t choose_key(struct soak *soak, struct soak_plan *plan) {
    size_t key = soak->has_keys && !one_in(soak, 3) ? up_to(soak, SOAK_N_KEYS - 1) : SOAK_KEY_OPEN;
    plan->is_clean = plan->is_clean && key == SOAK_KEY_OPEN;
    return key;
}

static void ask(struct soak *soak, struct soak_plan *plan, const char *path,
                const struct buf *body) {
    put_post(soak, &plan->bytes, path, choose_key(soak, plan), body);
}

// ---- kinds ----

static void chat(struct soak *soak, struct soak_plan *plan, bool is_stream, const char *orders) {
    struct buf body;
    buf_init(&body, 1 << 20);
    put_chat(soak, &body, orders, is_stream);
    plan->is_stream = is_stream;
    ask(soak, plan, one_in(soak, 8) ? "/chat/completions" : "/v1/chat/completions", &body);
    buf_release(&body);
}

static void good_chat(struct soak *soak, struct soak_plan *plan, bool is_stream) {
    char orders[64];
    snprintf(orders, sizeof orders, "tokens=%u delay=%u prompt=%u", 1 + up_to(soak, 30),
             up_to(soak, 3), one_in(soak, 2) ? up_to(soak, 40) : 0);
    plan->is_clean = true;
    chat(soak, plan, is_stream, orders);
}

static void simple(struct soak *soak, struct soak_plan *plan, const char *path, const char *text) {
    struct buf body;
    buf_init(&body, 1 << 16);
    buf_puts(&body, text);
    plan->is_clean = true;
    ask(soak, plan, path, &body);
    buf_release(&body);
}

static void pictures(struct soak *soak, struct soak_plan *plan, bool is_bad) {
    struct buf body;
    buf_init(&body, 64 << 20);
    put_pictures(soak, &body, is_bad);
    plan->is_clean = !is_bad;
    ask(soak, plan, "/v1/chat/completions", &body);
    buf_release(&body);
}

static void turns(struct soak *soak, struct soak_plan *plan) {
    struct buf body;
    buf_init(&body, 1 << 20);
    put_turns(soak, &body);
    plan->is_clean = true;
    ask(soak, plan, "/v1/chat/completions", &body);
    buf_release(&body);
}

static void page(struct soak *soak, struct soak_plan *plan) {
    static const char *const PATHS[] = {"/",
                                        "/health",
                                        "/metrics",
                                        "/v1/energy",
                                        "/v1/energy?days=1",
                                        "/v1/energy?days=x",
                                        "/v1/energy/live",
                                        "/v1/nowhere",
                                        "/v1/models/stub",
                                        "/v1/chat/completions"};
    plan->is_rowless = true;
    put_get(soak, &plan->bytes, PATHS[rng_below(&soak->rng, 10)], up_to(soak, 1));
}

static void forward(struct soak *soak, struct soak_plan *plan) {
    struct buf body;
    plan->is_rowless = true;
    if (one_in(soak, 2)) {
        put_get(soak, &plan->bytes, "/v1/models", choose_key(soak, plan));
        return;
    }
    buf_init(&body, 1 << 16);
    put_chat(soak, &body, "", false);
    ask(soak, plan, "/v1/chat/completions/input_tokens", &body);
    buf_release(&body);
}

static void feedback(struct soak *soak, struct soak_plan *plan) {
    struct buf body;
    size_t n = soak->n_last_ids;
    const char *id = n ? soak->last_ids[rng_below(&soak->rng, n < 16 ? (uint32_t)n : 16)] : "wl-no";
    buf_init(&body, 4096);
    buf_printf(&body, "{\"id\":\"%s\",\"score\":%g,\"note\":\"soak\"}", id,
               rng_uniform(&soak->rng) * 1.2);
    plan->is_rowless = true;
    ask(soak, plan, "/v1/feedback", &body);
    buf_release(&body);
}

static void no_key(struct soak *soak, struct soak_plan *plan) {
    bool has_keys = soak->has_keys;
    soak->has_keys = false;
    plan->is_rowless = true;
    chat(soak, plan, false, "");
    soak->has_keys = has_keys;
}

static void bad_json(struct soak *soak, struct soak_plan *plan) {
    static const char *const PATHS[] = {
        "/v1/chat/completions", "/v1/chat/completions", "/v1/completions", "/v1/embeddings",
        "/v1/messages",         "/v1/responses",        "/v1/rerank",      "/v1/feedback"};
    struct buf body;
    uint32_t path = up_to(soak, 7);
    buf_init(&body, 4 << 20);
    if (one_in(soak, 4)) {
        put_turns(soak, &body);
    } else if (one_in(soak, 3)) {
        buf_puts(&body, "{\"prompt\":[\"a b\",\"c\"],\"n\":2,\"input\":[\"a\"],\"best_of\":3}");
    } else {
        put_chat(soak, &body, "words", one_in(soak, 2));
    }
    soak_mutate(&soak->rng, &body);
    plan->is_rowless = path == 7;
    ask(soak, plan, PATHS[path], &body);
    buf_release(&body);
}

static void aborting(struct soak *soak, struct soak_plan *plan) {
    bool is_stream = plan->kind == KIND_abort_stream || one_in(soak, 2);
    chat(soak, plan, is_stream, "tokens=100 delay=4 prompt=100");
    size_t n_head = (size_t)(strstr(buf_text(&plan->bytes), "\r\n\r\n") - plan->bytes.data) + 4;
    size_t n_body = plan->bytes.len - n_head;
    plan->resets = one_in(soak, 2);
    switch (plan->kind) {
    case KIND_abort_headers: plan->abort_written = rng_below(&soak->rng, (uint32_t)n_head); break;
    case KIND_abort_body:
        plan->abort_written = n_head + rng_below(&soak->rng, (uint32_t)n_body);
        break;
    case KIND_abort_waiting: plan->abort_ms = up_to(soak, 150); break;
    default: plan->abort_read = 1 + up_to(soak, 9000);
    }
}

static void slow_writer(struct soak *soak, struct soak_plan *plan) {
    good_chat(soak, plan, false);
    plan->write_step = 1 + up_to(soak, 30);
    plan->pause_ms = 1 + up_to(soak, 20);
}

// More than the sockets and the gateway hold for it, now and then.
static void slow_reader(struct soak *soak, struct soak_plan *plan) {
    char orders[64];
    snprintf(orders, sizeof orders, "tokens=%u wide=2000",
             one_in(soak, 4) ? 5000 : up_to(soak, 900));
    chat(soak, plan, true, orders);
    plan->read_step = 20000 + up_to(soak, 40000);
    plan->pause_ms = 1 + up_to(soak, 4);
}

static void bad_server(struct soak *soak, struct soak_plan *plan) {
    char orders[64] = "";
    uint32_t n = up_to(soak, 6);
    switch (plan->kind) {
    case KIND_server_status:
        snprintf(orders, sizeof orders, "status=%u", 400 + 100 * up_to(soak, 1) + up_to(soak, 31));
        break;
    case KIND_server_dies: snprintf(orders, sizeof orders, "die=%u tokens=9 delay=1", n); break;
    case KIND_server_garbage: snprintf(orders, sizeof orders, "garbage"); break;
    case KIND_server_odd:
        snprintf(orders, sizeof orders, "odd=%u", rng_below(&soak->rng, 1000000));
        break;
    case KIND_server_silent: snprintf(orders, sizeof orders, "silent"); break;
    default: snprintf(orders, sizeof orders, "exit=%u tokens=9 delay=1", n);
    }
    chat(soak, plan, one_in(soak, 2), orders);
}

void soak_plan_make(struct soak *soak, enum soak_kind kind, struct soak_plan *plan) {
    *plan = (struct soak_plan){.kind = kind,
                               .n_answers = 1,
                               .abort_written = SIZE_MAX,
                               .abort_read = SIZE_MAX,
                               .abort_ms = INT64_MAX};
    buf_init(&plan->bytes, 256 << 20);
    switch (kind) {
    case KIND_chat: good_chat(soak, plan, false); break;
    case KIND_chat_stream: good_chat(soak, plan, true); break;
    case KIND_completion:
        simple(soak, plan, "/v1/completions", "{\"prompt\":\"tokens=5 a b c\",\"stream\":false}");
        break;
    case KIND_embedding:
        simple(soak, plan, "/v1/embeddings", "{\"input\":\"a b c d\",\"model\":\"stub\"}");
        break;
    case KIND_messages:
        simple(soak, plan, "/v1/messages",
               "{\"max_tokens\":9,\"messages\":[{\"role\":\"user\",\"content\":\"a b\"}]}");
        plan->is_clean = plan->is_clean && !soak->is_limited;
        break;
    case KIND_pictures: pictures(soak, plan, false); break;
    case KIND_turns: turns(soak, plan); break;
    case KIND_forward: forward(soak, plan); break;
    case KIND_page: page(soak, plan); break;
    case KIND_feedback: feedback(soak, plan); break;
    case KIND_pipelined:
        good_chat(soak, plan, one_in(soak, 2));
        good_chat(soak, plan, one_in(soak, 2));
        plan->is_stream = plan->is_clean = false; // they differ
        plan->n_answers = 2;
        break;
    case KIND_no_key: no_key(soak, plan); break;
    case KIND_bad_picture: pictures(soak, plan, true); break;
    case KIND_bad_json: bad_json(soak, plan); break;
    case KIND_bad_http:
        plan->is_rowless = true;
        soak_raw_request(soak, &plan->bytes);
        break;
    case KIND_abort_headers:
    case KIND_abort_body:
    case KIND_abort_waiting:
    case KIND_abort_stream: aborting(soak, plan); break;
    case KIND_slow_writer: slow_writer(soak, plan); break;
    case KIND_slow_reader: slow_reader(soak, plan); break;
    default: bad_server(soak, plan);
    }
}
