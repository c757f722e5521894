// A stand-in for wattlaw-engine: speaks the protocol without llama.cpp, burns a stated CPU time and
// RAM, and misbehaves on request. For tests of the client and of everything that measures.
//
// What it costs (milliseconds are CPU time of this process, burnt in one thread):
//   FAKE_ENGINE_PREFILL_MS_PER_TOKEN  0.02      FAKE_ENGINE_DECODE_MS_PER_TOKEN  0.2
//   FAKE_ENGINE_PREFILL_MS_PER_TOKEN2 0         (times prompt tokens squared, for attention's
//   curve) FAKE_ENGINE_RUN_MS  0 (fixed part, in the prefill phase)   FAKE_ENGINE_LOAD_MS  1
//   FAKE_ENGINE_RAM_MIB 0 (touched at LOAD, freed at UNLOAD)
//   FAKE_ENGINE_VISION_MS_PER_TOKEN 0.05      FAKE_ENGINE_VISION_MS_PER_TOKEN2 0
//   FAKE_ENGINE_IMAGE_MS 0.1 (decoding and preparing one image)
// How it misbehaves: FAKE_ENGINE_FAULT=<a name of FAULTS below>; faults in a run begin with the
// FAKE_ENGINE_FAULT_AFTER-th one (1).
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/str.h"
#include "base/units.h"
#include "engine/protocol.h"
#include "fake_images.h"
#include "os/clock.h"

// X(name, what it does)
#define FAULTS(X)                                                                                  \
    X(none, "plausible answers")                                                                   \
    X(crash_at_start, "aborts before HELLO")                                                       \
    X(crash_in_load, "prints an assertion and aborts")                                             \
    X(crash_in_run, "segmentation fault between prefill and decode")                               \
    X(killed_in_run, "SIGKILL, as the kernel does when memory runs out")                           \
    X(exit_silently, "exits with 0 in a run, no word said")                                        \
    X(hang_hello, "never says HELLO")                                                              \
    X(hang_load, "never answers LOAD")                                                             \
    X(hang_run, "never answers RUN, nor a CANCEL")                                                 \
    X(truncate_frame, "exits in the middle of a RESULT")                                           \
    X(lie_length, "announces 4 GiB")                                                               \
    X(lie_short, "announces more than it sends")                                                   \
    X(garbage, "random bytes for an answer")                                                       \
    X(garbage_json, "a RESULT that is no JSON")                                                    \
    X(wrong_version, "HELLO of protocol version 9")                                                \
    X(wrong_hello, "HELLO of another program")                                                     \
    X(wrong_id, "the answer to a request nobody made")                                             \
    X(wrong_frame, "TOKENS in a RUN")                                                              \
    X(wrong_count, "one generated token more than asked for")                                      \
    X(flood_log, "prints 4 MiB before each answer")                                                \
    X(flood_tokens, "TOKEN events without end")                                                    \
    X(huge_text, "an answer of 2 MiB")                                                             \
    X(nan_times, "NaN for a time")                                                                 \
    X(negative_times, "a phase before the machine started")                                        \
    X(reversed_times, "a phase that ends before it begins")                                        \
    X(future_times, "a phase that ends in an hour")                                                \
    X(byte_by_byte, "correct answers, one byte at a time")                                         \
    X(early_error, "answers a request before reading it")                                          \
    X(close_socket, "closes the socket in a run and stays alive")                                  \
    X(wrong_image_sum, "images whose tokens do not add up")                                        \
    X(missing_image, "a run that tells of one image less than it got")                             \
    X(extra_positions, "more positions than tokens")                                               \
    X(swollen_prefill, "a prefill of more tokens than the prompt has")                             \
    X(larger_decode, "an image that grew when it was decoded")                                     \
    X(short_counts, "one count less than sizes asked for")                                         \
    X(huge_count, "an image of 2^40 tokens")                                                       \
    X(bad_vision, "an image encoder of a width below 0")                                           \
    X(no_vision, "a LOAD that forgets the image encoder")                                          \
    X(bad_slot, "an image of no width")                                                            \
    X(crash_in_count, "an assertion while counting")                                               \
    X(ignore_eof, "stays alive after the client closed the socket")

enum fault {
#define X(name, meaning) FAULT_##name,
    FAULTS(X)
#undef X
};

static const char *const FAULT_NAMES[] = {
#define X(name, meaning) #name,
    FAULTS(X)
#undef X
};

static enum fault fault;
static uint32_t request_id;
static unsigned n_runs;
static char *ballast; // the RAM of the loaded model
static bool is_loaded;
static struct fake_encoder encoder;
static struct fake_picture slots[FAKE_SLOTS];

static double setting(const char *name, double fallback) {
    const char *text = getenv(name);
    double value;
    return text && str_parse_double(text, &value) ? value : fallback;
}

static enum fault fault_by_name(const char *name) {
    for (size_t i = 0; i < sizeof FAULT_NAMES / sizeof FAULT_NAMES[0]; i++) {
        if (name && strcmp(FAULT_NAMES[i], name) == 0) {
            return (enum fault)i;
        }
    }
    return FAULT_none;
}

static void hang(void) {
    for (;;) {
        pause();
    }
}

// ---- bytes

static void send_bytes(const void *data, size_t len) {
    const char *bytes = data;
    while (len) {
        size_t step = fault == FAULT_byte_by_byte ? 1 : len;
        ssize_t n = send(ENGINE_FD, bytes, step, MSG_NOSIGNAL);
        if (n <= 0) {
            _exit(0); // the client left
        }
        bytes += n;
        len -= (size_t)n;
    }
}

static void send_header(uint16_t type, uint32_t len) {
    unsigned char header[ENGINE_HEADER_BYTES];
    uint32_t id = fault == FAULT_wrong_id && type == ENGINE_RESULT ? request_id + 7 : request_id;
    engine_header_encode(
        &(struct engine_header){.type = type, .request_id = id, .payload_bytes = len}, header);
    if (fault == FAULT_wrong_version) {
        header[4] = 9;
    }
    send_bytes(header, sizeof header);
}

static void send_frame(uint16_t type, const void *data, size_t len) {
    send_header(type, (uint32_t)len);
    send_bytes(data, len);
}

static void send_text(uint16_t type, const char *text) {
    send_frame(type, text, strlen(text));
}

static void send_json(uint16_t type, json_t *object) {
    struct buf text;
    buf_init(&text, 1 << 24);
    wl_json_write(&text, object);
    send_frame(type, text.data, text.len);
    buf_release(&text);
    json_decref(object);
}

static void send_error(const char *status, const char *message) {
    send_json(ENGINE_ERROR, json_pack("{s:s, s:s}", "status", status, "message", message));
}

static void receive_bytes(void *data, size_t len) {
    char *bytes = data;
    while (len) {
        ssize_t n = recv(ENGINE_FD, bytes, len, 0);
        if (n <= 0) {
            if (fault == FAULT_ignore_eof) {
                hang();
            }
            exit(0);
        }
        bytes += n;
        len -= (size_t)n;
    }
}

// The one request that is not JSON: {"slot", "width", "height"}, no sides when it is freed.
static json_t *image_body(const unsigned char *payload, size_t n) {
    uint32_t slot = n >= 4 ? (uint32_t)payload[0] | (uint32_t)payload[1] << 8 : FAKE_SLOTS;
    struct fake_picture picture = {0};
    if (n > 4) {
        picture = fake_picture_read(payload + 4, n - 4);
    }
    return json_pack("{s:I, s:I, s:I}", "slot", (json_int_t)slot, "width",
                     (json_int_t)picture.width, "height", (json_int_t)picture.height);
}

// The body is the caller's; a client that sends nonsense ends this process.
static uint16_t receive_request(json_t **body) {
    unsigned char bytes[ENGINE_HEADER_BYTES];
    struct engine_header header;
    struct wl_err err;
    receive_bytes(bytes, sizeof bytes);
    if (engine_header_decode(bytes, 'c', &header, &err) != WL_OK) {
        fprintf(stderr, "fake_engine: %s\n", err.message);
        exit(3);
    }
    if (header.type != ENGINE_CANCEL) {
        request_id = header.request_id;
    }
    if (fault == FAULT_early_error && header.payload_bytes > 1000000) {
        send_error("limit", "too much to read");
        hang();
    }
    char *payload = malloc((size_t)header.payload_bytes + 1);
    receive_bytes(payload, header.payload_bytes);
    if (header.type == ENGINE_IMAGE) {
        *body = image_body((const unsigned char *)payload, header.payload_bytes);
        free(payload);
        return header.type;
    }
    if (wl_json_parse(payload, header.payload_bytes, body, &err) != WL_OK) {
        fprintf(stderr, "fake_engine: %s\n", err.message);
        exit(3);
    }
    free(payload);
    return header.type;
}

static bool is_cancelled(void) {
    struct pollfd fd = {.fd = ENGINE_FD, .events = POLLIN};
    json_t *body;
    if (poll(&fd, 1, 0) <= 0) {
        return false;
    }
    uint16_t type = receive_request(&body);
    json_decref(body);
    return type == ENGINE_CANCEL;
}

// ---- work

static void burn_ms(double ms) {
    int64_t end_ns = os_own_cpu_ns() + (int64_t)(ms * 1e6);
    volatile unsigned sink = 0;
    while (os_own_cpu_ns() < end_ns) {
        for (int i = 0; i < 500; i++) {
            sink = sink * 1664525u + 1013904223u;
        }
    }
}

struct phase {
    const char *name;
    int64_t t0_ns, t1_ns, cpu0_ns, cpu1_ns;
    uint32_t n_tokens;
};

static void send_edge(const char *name, const char *edge, int64_t t_ns, int64_t cpu_ns) {
    send_json(ENGINE_PHASE, json_pack("{s:s, s:s, s:I, s:I}", "phase", name, "edge", edge, "t_ns",
                                      (json_int_t)t_ns, "cpu_ns", (json_int_t)cpu_ns));
}

static void phase_begin(struct phase *phase, const char *name) {
    *phase = (struct phase){.name = name, .t0_ns = os_now_ns(), .cpu0_ns = os_own_cpu_ns()};
}

static void phase_end(struct phase *phase, uint32_t n_tokens) {
    phase->cpu1_ns = os_own_cpu_ns();
    phase->t1_ns = os_now_ns();
    phase->n_tokens = n_tokens;
}

static json_t *phase_json(struct phase phase) {
    switch (fault) {
    case FAULT_negative_times: phase.t0_ns = -phase.t0_ns; break;
    case FAULT_reversed_times: phase.t1_ns = phase.t0_ns - 1; break;
    case FAULT_future_times: phase.t1_ns += 3600 * UNITS_NS_PER_S; break;
    default: break;
    }
    json_int_t peak_bytes = (json_int_t)(16 + setting("FAKE_ENGINE_RAM_MIB", 0)) << 20;
    return json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I}", "phase", phase.name, "t0_ns",
                     (json_int_t)phase.t0_ns, "t1_ns", (json_int_t)phase.t1_ns, "cpu0_ns",
                     (json_int_t)phase.cpu0_ns, "cpu1_ns", (json_int_t)phase.cpu1_ns, "n_tokens",
                     (json_int_t)phase.n_tokens, "peak_rss_bytes", peak_bytes);
}

static void flood_log(void) {
    for (int i = 0; i < 65536; i++) {
        fprintf(stderr, "fake_engine: this is line %6d of a long log of no use to anyone\n", i);
    }
}

// ---- requests

static json_t *model_json(const json_t *load) {
    json_t *model =
        json_pack("{s:s, s:s, s:s, s:I, s:I, s:I, s:i, s:i, s:i, s:i, s:i, s:i, s:i}", "arch",
                  "llama", "name", "fake", "description", "a model that only costs", "n_params",
                  (json_int_t)1000000, "file_bytes", (json_int_t)4200000, "tensor_bytes",
                  (json_int_t)4000000, "n_layer", 4, "n_embd", 64, "n_head", 8, "n_head_kv", 4,
                  "n_ff", 172, "n_vocab", 512, "n_ctx_train", 65536);
    json_t *rest = json_pack(
        "{s:I, s:{s:i, s:i}, s:s, s:b, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:s, s:s, s:s, s:s, "
        "s:b, s:b}",
        "n_ctx", wl_json_opt_i64(load, "n_ctx", 0) ? wl_json_opt_i64(load, "n_ctx", 0) : 4096,
        "types", "f32", 9, "q8_0", 28, "file_type", "Q8_0", "has_chat_template", 1, "chat_template",
        "{{ messages }}", "bytes_per_token", (json_int_t)3900000, "flops_per_token",
        (json_int_t)1900000, "kv_bytes_per_token", (json_int_t)512, "threads",
        wl_json_opt_i64(load, "threads", 0) ? wl_json_opt_i64(load, "threads", 0) : 1,
        "threads_batch",
        wl_json_opt_i64(load, "threads_batch", 0) ? wl_json_opt_i64(load, "threads_batch", 0) : 1,
        "n_ubatch", wl_json_opt_i64(load, "n_ubatch", 512), "type_k",
        wl_json_opt_string(load, "type_k", "f16"), "type_v",
        wl_json_opt_string(load, "type_v", "f16"), "load_mode",
        wl_json_opt_string(load, "load_mode", "mmap"), "flash_attn",
        wl_json_opt_string(load, "flash_attn", "auto"), "repack",
        (int)wl_json_opt_bool(load, "repack", true), "is_synthetic", 1);
    json_object_update(model, rest);
    json_decref(rest);
    return model;
}

static json_t *loaded_model;

static void unload(void) {
    free(ballast);
    ballast = NULL;
    json_decref(loaded_model);
    loaded_model = NULL;
    is_loaded = false;
    encoder = (struct fake_encoder){0};
}

static json_t *vision_json(void) {
    json_t *vision = fake_vision_json(&encoder);
    if (fault == FAULT_bad_vision) {
        json_object_set_new(vision, "n_embd", json_integer(-1));
    }
    return vision;
}

static void take_encoder(const json_t *body, bool is_stand_in) {
    encoder = (struct fake_encoder){
        .is_loaded = true,
        .is_stand_in = is_stand_in,
        .min_tokens = wl_json_opt_i64(body, "image_min_tokens", 0),
        .max_tokens = wl_json_opt_i64(body, "image_max_tokens", 0),
    };
}

static void serve_vision(const json_t *body) {
    struct phase phase;
    if (!is_loaded || (!encoder.is_loaded && !json_object_get(body, "mmproj"))) {
        send_error("usage", "no model or no image encoder is loaded");
        return;
    }
    phase_begin(&phase, "load");
    take_encoder(body, false);
    phase_end(&phase, 0);
    send_json(ENGINE_RESULT,
              json_pack("{s:o, s:o}", "phase", phase_json(phase), "vision", vision_json()));
}

static void serve_counter(const json_t *body) {
    unload();
    if (!*wl_json_opt_string(body, "mmproj", "")) {
        send_json(ENGINE_RESULT, json_object());
        return;
    }
    take_encoder(body, !*wl_json_opt_string(body, "model", ""));
    send_json(ENGINE_RESULT, json_pack("{s:o}", "vision", vision_json()));
}

static struct fake_picture size_of(const json_t *size) {
    return (struct fake_picture){(uint32_t)json_integer_value(json_array_get(size, 0)),
                                 (uint32_t)json_integer_value(json_array_get(size, 1))};
}

// A token for each byte of the contents, and ten for each image.
static void count_prompt(const json_t *body) {
    const json_t *messages = json_object_get(body, "messages");
    size_t n = strlen(wl_json_opt_string(body, "text", ""));
    for (size_t i = 0; i < json_array_size(messages); i++) {
        n += strlen(wl_json_opt_string(json_array_get(messages, i), "content", ""));
    }
    n += 10 * json_array_size(json_object_get(body, "sizes"));
    json_int_t told = fault == FAULT_huge_count ? (json_int_t)1 << 40 : (json_int_t)n;
    send_json(ENGINE_RESULT, fault == FAULT_short_counts ? json_pack("{s:s}", "n_tokens", "7")
                                                         : json_pack("{s:I}", "n_tokens", told));
}

static void serve_count(const json_t *body) {
    const json_t *sizes = json_object_get(body, "sizes");
    json_t *counts = json_array();
    if (fault == FAULT_crash_in_count) {
        fprintf(stderr, "fake.c:13: GGML_ASSERT(nx > 0) failed\n");
        abort();
    }
    if (json_object_get(body, "messages") || json_object_get(body, "text")) {
        json_decref(counts);
        count_prompt(body);
        return;
    }
    if (!encoder.is_loaded) {
        json_decref(counts);
        send_error("usage", "no image encoder is loaded");
        return;
    }
    for (size_t i = fault == FAULT_short_counts; i < json_array_size(sizes); i++) {
        json_t *count = fake_count_json(&encoder, size_of(json_array_get(sizes, i)));
        if (fault == FAULT_huge_count) {
            json_array_set_new(count, 0, json_integer(INT64_C(1) << 40));
        }
        json_array_append_new(counts, count);
    }
    send_json(ENGINE_RESULT, json_pack("{s:o}", "counts", counts));
}

static void serve_image(const json_t *body) {
    uint32_t slot = (uint32_t)wl_json_opt_i64(body, "slot", FAKE_SLOTS);
    if (slot >= FAKE_SLOTS) {
        send_error("bad-input", "no such slot");
        return;
    }
    slots[slot] = (struct fake_picture){(uint32_t)wl_json_opt_i64(body, "width", 0),
                                        (uint32_t)wl_json_opt_i64(body, "height", 0)};
    json_int_t width = fault == FAULT_bad_slot ? 0 : slots[slot].width;
    send_json(ENGINE_RESULT, slots[slot].width
                                 ? json_pack("{s:I, s:I, s:s}", "width", width, "height",
                                             (json_int_t)slots[slot].height, "format", "png")
                                 : json_object());
}

static void serve_load(const json_t *body) {
    struct phase phase;
    const char *path = wl_json_opt_string(body, "path", "");
    size_t ram_bytes = (size_t)(setting("FAKE_ENGINE_RAM_MIB", 0) * UNITS_BYTES_PER_MIB);
    int64_t max_ram_bytes = wl_json_opt_i64(body, "max_ram_bytes", 0);
    if (strstr(path, "missing")) {
        send_error("not-found", "no such file");
        return;
    }
    if (max_ram_bytes && (uint64_t)max_ram_bytes < ram_bytes) {
        send_error("memory", "the model would not fit");
        return;
    }
    if (fault == FAULT_crash_in_load) {
        fprintf(stderr,
                "llama_model_load: loading\n....\nfake.c:12: GGML_ASSERT(n_dims >= 1) failed\n");
        abort();
    }
    if (fault == FAULT_hang_load) {
        hang();
    }
    unload();
    phase_begin(&phase, "load");
    ballast = malloc(ram_bytes + 1);
    memset(ballast, 1, ram_bytes + 1);
    burn_ms(setting("FAKE_ENGINE_LOAD_MS", 1));
    phase_end(&phase, 0);
    loaded_model = model_json(body);
    is_loaded = true;
    json_t *result = json_pack("{s:o, s:O}", "phase", phase_json(phase), "model", loaded_model);
    if (json_object_get(body, "mmproj") && fault != FAULT_no_vision) {
        take_encoder(body, false);
        json_object_set_new(result, "vision", vision_json());
    }
    send_json(ENGINE_RESULT, result);
}

// One token per 4 bytes, and one in front.
static uint32_t count_tokens(size_t text_bytes, bool has_special) {
    return (uint32_t)((text_bytes + 3) / 4) + has_special;
}

static void serve_tokenize(const json_t *body) {
    const char *text = wl_json_opt_string(body, "text", "");
    uint32_t n = count_tokens(strlen(text), wl_json_opt_bool(body, "add_special", false));
    unsigned char *ids = calloc(n + 1, 4);
    for (uint32_t i = 0; i < n; i++) {
        ids[i * 4] = (unsigned char)(i % 251); // little-endian i32
    }
    send_frame(ENGINE_TOKENS, ids, (size_t)n * 4);
    send_json(ENGINE_RESULT, json_pack("{s:I}", "n_tokens", (json_int_t)n));
    free(ids);
}

enum { MAX_IMAGES = 16, N_IMAGE_PHASES = 4 };

struct run {
    uint32_t n_prompt, n_predict, n_generated;
    bool is_streaming, has_token_times;
    const char *stop;
    struct fake_picture images[MAX_IMAGES];
    uint32_t n_images, n_image_tokens;
    struct phase image_phases[N_IMAGE_PHASES]; // before the text's prefill
    struct phase prefill, decode;
    struct buf text, times;
};

static size_t prompt_bytes(const json_t *body) {
    size_t len = strlen(wl_json_opt_string(body, "prompt", ""));
    const json_t *messages = json_object_get(body, "messages");
    for (size_t i = 0; i < json_array_size(messages); i++) {
        len += strlen(wl_json_opt_string(json_array_get(messages, i), "content", ""));
    }
    return len;
}

static void emit_token(struct run *run) {
    static const char *const WORDS[] = {"once ", "upon ", "a ", "time ", "there ", "was "};
    const char *word = WORDS[run->n_generated % (sizeof WORDS / sizeof WORDS[0])];
    int64_t t_ns = os_now_ns();
    unsigned char bytes[8];
    for (int i = 0; i < 8; i++) {
        bytes[i] = (unsigned char)((uint64_t)t_ns >> (8 * i));
    }
    buf_append(&run->times, bytes, sizeof bytes);
    buf_puts(&run->text, word);
    run->n_generated++;
    if (run->is_streaming) {
        send_json(ENGINE_TOKEN, json_pack("{s:i, s:s, s:I}", "id", (int)run->n_generated, "text",
                                          word, "t_ns", (json_int_t)t_ns));
    }
}

// Faults that strike once the prompt is done; most do not come back.
static void run_fault(const struct run *run) {
    char noise[64];
    switch (fault) {
    case FAULT_crash_in_run:
        fprintf(stderr, "fake_engine: about to touch what it must not\n");
        signal(SIGSEGV, SIG_DFL);
        raise(SIGSEGV);
        break;
    case FAULT_killed_in_run: raise(SIGKILL); break;
    case FAULT_exit_silently: _exit(0);
    case FAULT_hang_run: hang(); break;
    case FAULT_close_socket:
        close(ENGINE_FD);
        hang();
        break;
    case FAULT_truncate_frame:
        send_header(ENGINE_RESULT, 1000);
        send_bytes("{\"text\": \"half", 14);
        _exit(0);
    case FAULT_lie_length:
        send_header(ENGINE_RESULT, UINT32_MAX);
        hang();
        break;
    case FAULT_lie_short:
        send_header(ENGINE_RESULT, 1000);
        send_bytes("{}", 2);
        hang();
        break;
    case FAULT_garbage:
        for (size_t i = 0; i < sizeof noise; i++) {
            noise[i] = (char)(i * 37 + 11);
        }
        send_bytes(noise, sizeof noise);
        hang();
        break;
    case FAULT_garbage_json:
        send_text(ENGINE_RESULT, "{\"text\": oops");
        hang();
        break;
    case FAULT_nan_times: send_text(ENGINE_RESULT, "{\"phases\": [{\"t0_ns\": NaN}]}"); break;
    case FAULT_wrong_frame: send_frame(ENGINE_TOKENS, "\0\0\0\0", 4); break;
    case FAULT_flood_tokens:
        for (struct run flood = *run;;) {
            emit_token(&flood);
        }
    default: break;
    }
}

static void generate(struct run *run) {
    double decode_ms = setting("FAKE_ENGINE_DECODE_MS_PER_TOKEN", 0.2);
    emit_token(run); // the first token belongs to the prefill phase
    phase_end(&run->prefill, run->n_prompt - run->n_image_tokens);
    send_edge("prefill", "end", run->prefill.t1_ns, run->prefill.cpu1_ns);
    phase_begin(&run->decode, "decode");
    send_edge("decode", "begin", run->decode.t0_ns, run->decode.cpu0_ns);
    while (run->n_generated < run->n_predict) {
        if (is_cancelled()) {
            run->stop = "cancel";
            break;
        }
        burn_ms(decode_ms);
        emit_token(run);
    }
    phase_end(&run->decode, run->n_generated - 1);
    send_edge("decode", "end", run->decode.t1_ns, run->decode.cpu1_ns);
}

static json_t *images_json(const struct run *run) {
    json_t *images = json_array();
    for (uint32_t i = fault == FAULT_missing_image; i < run->n_images; i++) {
        json_t *image = fake_run_image_json(&encoder, run->images[i]);
        if (fault == FAULT_larger_decode) {
            json_object_set_new(image, "decoded_width", json_integer(run->images[i].width + 1));
        }
        json_array_append_new(images, image);
    }
    json_int_t n_tokens = run->n_image_tokens - (fault == FAULT_wrong_image_sum);
    json_int_t n_positions = run->n_prompt + (fault == FAULT_extra_positions);
    return json_pack("{s:I, s:I, s:o}", "n_image_tokens", n_tokens, "n_positions", n_positions,
                     "images", images);
}

static void send_run_result(struct run *run) {
    json_t *phases = json_array();
    for (uint32_t i = 0; i < N_IMAGE_PHASES && run->n_images; i++) {
        json_array_append_new(phases, phase_json(run->image_phases[i]));
    }
    run->prefill.n_tokens += fault == FAULT_swollen_prefill;
    json_array_append_new(phases, phase_json(run->prefill));
    json_array_append_new(phases, phase_json(run->decode));
    if (fault == FAULT_huge_text) {
        for (int i = 0; i < 1 << 17; i++) {
            buf_puts(&run->text, "0123456789abcdef");
        }
    }
    if (run->has_token_times) {
        send_frame(ENGINE_TOKEN_TIMES, run->times.data, run->times.len);
    }
    uint32_t n_told = run->n_generated + (fault == FAULT_wrong_count);
    json_t *result = json_pack("{s:s, s:I, s:I, s:s, s:o}", "text", buf_text(&run->text),
                               "n_prompt", (json_int_t)run->n_prompt, "n_generated",
                               (json_int_t)n_told, "stop", run->stop, "phases", phases);
    if (run->n_images) {
        json_t *images = images_json(run);
        json_object_update(result, images);
        json_decref(images);
    }
    send_json(ENGINE_RESULT, result);
}

// False when an image cannot be had.
static bool take_images(struct run *run, const json_t *body) {
    const json_t *images = json_object_get(body, "images");
    for (size_t i = 0; i < json_array_size(images) && i < MAX_IMAGES; i++) {
        json_int_t slot = json_integer_value(json_array_get(images, i));
        if (!encoder.is_loaded || slot < 0 || slot >= FAKE_SLOTS || slots[slot].width == 0) {
            return false;
        }
        run->images[run->n_images++] = slots[slot];
        run->n_image_tokens += fake_image_tokens(&encoder, slots[slot]);
    }
    run->n_prompt += run->n_image_tokens + FAKE_WRAPPER * run->n_images;
    return true;
}

static void work_on_images(struct run *run) {
    double n = run->n_image_tokens;
    double image_ms = run->n_images * setting("FAKE_ENGINE_IMAGE_MS", 0.1);
    const struct {
        const char *name;
        double ms;
        uint32_t n_tokens;
    } steps[N_IMAGE_PHASES] = {
        {"image_decode", image_ms, 0},
        {"preprocess", image_ms, 0},
        {"vision",
         n * setting("FAKE_ENGINE_VISION_MS_PER_TOKEN", 0.05) +
             n * n * setting("FAKE_ENGINE_VISION_MS_PER_TOKEN2", 0),
         run->n_image_tokens},
        {"image_prefill", n * setting("FAKE_ENGINE_PREFILL_MS_PER_TOKEN", 0.02),
         run->n_image_tokens},
    };
    for (uint32_t i = 0; i < N_IMAGE_PHASES; i++) {
        struct phase *phase = &run->image_phases[i];
        phase_begin(phase, steps[i].name);
        send_edge(steps[i].name, "begin", phase->t0_ns, phase->cpu0_ns);
        burn_ms(steps[i].ms);
        phase_end(phase, steps[i].n_tokens);
        send_edge(steps[i].name, "end", phase->t1_ns, phase->cpu1_ns);
    }
}

static void serve_run(const json_t *body) {
    if (!is_loaded) {
        send_error("bad-input", "no model is loaded");
        return;
    }
    uint32_t n_prompt = (uint32_t)wl_json_opt_i64(body, "n_prompt", 0);
    struct run run = {
        .n_prompt = n_prompt ? n_prompt : count_tokens(prompt_bytes(body), true),
        .n_predict = (uint32_t)wl_json_opt_i64(body, "n_predict", 16),
        .is_streaming = wl_json_opt_bool(body, "stream", false),
        .has_token_times = wl_json_opt_bool(body, "token_times", false),
        .stop = "length",
    };
    double n = run.n_prompt;
    if (!take_images(&run, body)) {
        send_error("usage", "no image encoder, or nothing in that slot");
        return;
    }
    buf_init(&run.text, 1 << 24);
    buf_init(&run.times, 1 << 24);
    if (run.n_images) {
        work_on_images(&run);
    }
    phase_begin(&run.prefill, "prefill");
    send_edge("prefill", "begin", run.prefill.t0_ns, run.prefill.cpu0_ns);
    burn_ms(setting("FAKE_ENGINE_RUN_MS", 0) +
            n * setting("FAKE_ENGINE_PREFILL_MS_PER_TOKEN", 0.02) +
            n * n * setting("FAKE_ENGINE_PREFILL_MS_PER_TOKEN2", 0));
    if (++n_runs >= (unsigned)setting("FAKE_ENGINE_FAULT_AFTER", 1)) {
        run_fault(&run);
    }
    generate(&run);
    if (fault == FAULT_flood_log) {
        flood_log();
    }
    send_run_result(&run);
    buf_release(&run.text);
    buf_release(&run.times);
}

static void serve_synth(const json_t *body) {
    static const char CONTENT[] = "GGUF, but not really";
    const char *path = wl_json_opt_string(body, "path", "");
    for (int i = 0; i <= 4; i++) {
        if (is_cancelled()) {
            send_error("interrupted", "the file was not finished");
            return;
        }
        burn_ms(1);
        send_json(ENGINE_PROGRESS, json_pack("{s:s, s:f}", "what", "writing", "done", i / 4.0));
    }
    FILE *file = fopen(path, "wb");
    if (!file) {
        send_error("io", "cannot create the file");
        return;
    }
    fwrite(CONTENT, 1, sizeof CONTENT - 1, file);
    fclose(file);
    send_json(ENGINE_RESULT,
              json_pack("{s:i, s:i}", "file_bytes", (int)sizeof CONTENT - 1, "n_params", 1000));
}

static void serve(uint16_t type, const json_t *body) {
    switch (type) {
    case ENGINE_LOAD: serve_load(body); break;
    case ENGINE_TOKENIZE: serve_tokenize(body); break;
    case ENGINE_RUN: serve_run(body); break;
    case ENGINE_SYNTH: serve_synth(body); break;
    case ENGINE_VISION: serve_vision(body); break;
    case ENGINE_COUNTER: serve_counter(body); break;
    case ENGINE_COUNT: serve_count(body); break;
    case ENGINE_IMAGE: serve_image(body); break;
    case ENGINE_DESCRIBE:
        if (is_loaded) {
            json_t *result = json_pack("{s:O}", "model", loaded_model);
            if (encoder.is_loaded) {
                json_object_set_new(result, "vision", vision_json());
            }
            send_json(ENGINE_RESULT, result);
        } else {
            send_error("bad-input", "no model is loaded");
        }
        break;
    case ENGINE_UNLOAD:
        unload();
        send_json(ENGINE_RESULT, json_object());
        break;
    case ENGINE_PING: send_json(ENGINE_RESULT, json_object()); break;
    default: break; // a CANCEL that came too late
    }
}

static void say_hello(void) {
    const char *name = fault == FAULT_wrong_hello ? "llama-server" : "wattlaw-engine";
    const char *policy = getenv("OMP_WAIT_POLICY");
    send_json(ENGINE_HELLO,
              json_pack("{s:s, s:s, s:s, s:[s], s:[s,s,s,s], s:s}", "engine", name, "version",
                        "0.0-fake", "llama", "none", "backends", "fake", "caps", "run", "tokenize",
                        "synth", "vision", "omp_wait_policy", policy ? policy : ""));
}

int main(void) {
    fault = fault_by_name(getenv("FAKE_ENGINE_FAULT"));
    if (fault == FAULT_crash_at_start) {
        fprintf(stderr, "fake_engine: error: no backend could be loaded\n");
        abort();
    }
    if (fault == FAULT_hang_hello) {
        hang();
    }
    say_hello();
    for (;;) {
        json_t *body = NULL;
        uint16_t type = receive_request(&body);
        if (fault == FAULT_flood_log && type != ENGINE_RUN) {
            flood_log();
        }
        serve(type, body);
        json_decref(body);
    }
}
