// The model server behind the gateway: stubs of each kind, and a real llama-server of our own.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "gateway/upstream.h"
#include "gateway/upstream_words.h"
#include "loop.h"
#include "os/clock.h"
#include "real_server.h"
#include "stub_server.h"

struct bench {
    uv_loop_t loop;
    struct http_client *client;
    struct stub stub;
    struct upstream *upstream;
    struct upstream_facts facts;
    int n_changes, n_lines;
    char lines[8192];
    bool is_closed;
};

static void on_change(void *context) {
    struct bench *b = context;
    b->n_changes++;
}

static void on_log(void *context, const char *line) {
    struct bench *b = context;
    size_t n = strlen(b->lines);
    b->n_lines++;
    snprintf(b->lines + n, sizeof b->lines - n, "%s\n", line);
}

static void on_closed(void *context) {
    *(bool *)context = true;
}

static void open_bench(struct bench *b) {
    struct wl_err err;
    memset(b, 0, sizeof *b);
    uv_loop_init(&b->loop);
    assert_int_equal(http_client_open(&b->loop, 2, &b->client, &err), WL_OK);
}

static void open_upstream(struct bench *b, const char *url, const char *key,
                          const struct upstream_server *server) {
    struct wl_err err = {0};
    struct upstream_options options = {.loop = &b->loop,
                                       .client = b->client,
                                       .url = url,
                                       .api_key = key,
                                       .server = server,
                                       .probe_ms = 100,
                                       .on_change = on_change,
                                       .on_log = on_log,
                                       .context = b};
    if (upstream_open(&options, &b->upstream, &err) != WL_OK) {
        fail_msg("%s", err.message);
    }
}

static void close_bench(struct bench *b) {
    if (b->upstream) {
        upstream_close(b->upstream, on_closed, &b->is_closed);
        assert_true(loop_until(&b->loop, &b->is_closed));
    }
    http_client_close(b->client);
    http_server_close(b->stub.server);
    assert_true(loop_is_empty(&b->loop));
}

// Until it is in this state; prints what it is instead.
static void wait_for(struct bench *b, enum upstream_health health) {
    int64_t start_ns = os_now_ns();
    do {
        loop_run_for(&b->loop, 10);
        upstream_facts(b->upstream, &b->facts);
        if (os_now_ns() - start_ns > 30000000000) {
            fail_msg("it is '%s' instead of '%s': %s\n%s", upstream_health_name(b->facts.health),
                     upstream_health_name(health), b->facts.problem, b->lines);
        }
    } while (b->facts.health != health);
}

// Until it is down for this reason.
static void wait_for_problem(struct bench *b, const char *words) {
    int64_t start_ns = os_now_ns();
    do {
        loop_run_for(&b->loop, 10);
        upstream_facts(b->upstream, &b->facts);
        if (os_now_ns() - start_ns > 10000000000) {
            fail_msg("'%s' is not the problem: %s", words, b->facts.problem);
        }
    } while (!strstr(b->facts.problem, words));
    assert_int_equal(b->facts.health, UPSTREAM_DOWN);
}

static void open_stub(struct bench *b, const struct stub_answer *answers) {
    open_bench(b);
    assert_true(stub_open(&b->stub, &b->loop, 0, answers));
    open_upstream(b, b->stub.url, NULL, NULL);
}

// ---- kinds ----

static void test_a_llama_server(void **state) {
    struct bench b;
    (void)state;
    open_stub(&b, STUB_LLAMA);
    assert_int_equal(b.stub.n_requests, 0);
    wait_for(&b, UPSTREAM_UP);
    assert_int_equal(b.facts.kind, UPSTREAM_LLAMA_SERVER);
    assert_string_equal(b.facts.engine, "llama.cpp b11669");
    assert_string_equal(b.facts.model, "tiny");
    assert_int_equal(b.facts.n_models, 2);
    assert_int_equal(b.facts.n_slots, 3);
    assert_int_equal(b.facts.n_ctx, 2048);
    assert_true(b.facts.can_count && b.facts.has_messages && b.facts.has_responses);
    assert_true(b.facts.sees_images);
    assert_string_equal(b.facts.problem, "");
    assert_int_equal(b.n_changes, 1);
    assert_string_equal(upstream_url(b.upstream), b.stub.url);
    assert_null(upstream_unix_socket(b.upstream));
    assert_null(upstream_headers(b.upstream)[0]);
    int n = b.stub.n_requests;
    loop_run_for(&b.loop, 350);
    assert_in_range(b.stub.n_requests - n, 1, 4); // one request for each look
    assert_string_equal(b.stub.last_path, "/health");
    assert_int_equal(b.n_changes, 1);
    close_bench(&b);
}

static void test_a_vllm(void **state) {
    struct bench b;
    (void)state;
    open_stub(&b, STUB_VLLM);
    wait_for(&b, UPSTREAM_UP);
    assert_int_equal(b.facts.kind, UPSTREAM_VLLM);
    assert_string_equal(b.facts.engine, "0.9.2");
    assert_int_equal(b.facts.n_ctx, 8192);
    assert_true(b.facts.can_count && b.facts.has_responses);
    assert_false(b.facts.has_messages || b.facts.sees_images);
    close_bench(&b);
}

static void test_an_ollama(void **state) {
    struct bench b;
    (void)state;
    open_stub(&b, STUB_OLLAMA);
    wait_for(&b, UPSTREAM_UP);
    assert_int_equal(b.facts.kind, UPSTREAM_OLLAMA);
    assert_string_equal(b.facts.engine, "0.5.1");
    assert_string_equal(b.facts.model, "llama3:8b");
    assert_true(b.facts.has_responses); // 404 because of the model
    assert_false(b.facts.can_count || b.facts.has_messages);
    close_bench(&b);
}

static void test_any_other(void **state) {
    struct bench b;
    (void)state;
    open_stub(&b, STUB_OTHER);
    wait_for(&b, UPSTREAM_UP);
    assert_int_equal(b.facts.kind, UPSTREAM_OTHER);
    assert_false(b.facts.can_count || b.facts.has_messages || b.facts.has_responses);
    assert_int_equal(b.facts.n_slots, 0);
    close_bench(&b);
}

static void test_a_key_is_sent(void **state) {
    static const struct stub_answer NO[] = {{"/health", 200, "{}"}, {NULL, 401, "{}"}};
    struct bench b;
    (void)state;
    open_bench(&b);
    assert_true(stub_open(&b.stub, &b.loop, 0, NO));
    open_upstream(&b, b.stub.url, "secret", NULL);
    wait_for_problem(&b, "API key");
    assert_null(strstr(b.facts.problem, "secret"));
    assert_string_equal(b.stub.last_key, "Bearer secret");
    assert_string_equal(upstream_headers(b.upstream)[0], "Authorization: Bearer secret");
    close_bench(&b);
}

// ---- misfortunes ----

static void test_one_that_loads(void **state) {
    static const struct stub_answer LOADING[] = {
        {NULL, 503, "{\"error\":{\"message\":\"Loading model\",\"type\":\"unavailable_error\"}}"}};
    struct bench b;
    (void)state;
    open_stub(&b, LOADING);
    wait_for(&b, UPSTREAM_STARTING);
    loop_run_for(&b.loop, 600);
    b.stub.answers = STUB_LLAMA;
    wait_for(&b, UPSTREAM_UP);
    assert_true(b.facts.can_count);
    b.stub.answers = LOADING;
    wait_for(&b, UPSTREAM_STARTING);
    assert_int_equal(b.facts.kind, UPSTREAM_LLAMA_SERVER); // the last that is known
    close_bench(&b);
}

static void test_garbage(void **state) {
    static const char *const GARBAGE[] = {
        "",
        "{",
        "[]",
        "<html>hello</html>",
        "{\"data\":7}",
        "{\"data\":{}}",
        "{\"default_generation_settings\":3,\"data\":\"x\",\"version\":[],\"models\":1}"};
    struct bench b;
    (void)state;
    for (size_t i = 0; i < sizeof GARBAGE / sizeof *GARBAGE; i++) {
        const struct stub_answer answers[] = {{NULL, 200, GARBAGE[i]}};
        open_stub(&b, answers);
        wait_for_problem(&b, "/v1/models");
        assert_int_equal(b.facts.kind, UPSTREAM_UNKNOWN);
        close_bench(&b);
    }
}

static void test_wild_facts(void **state) {
    static const struct stub_answer WILD[] = {
        {"/props", 200,
         "{\"default_generation_settings\":{\"n_ctx\":-5},\"total_slots\":99999999999,"
         "\"modalities\":[],\"build_info\":{}}"},
        {"/v1/models", 200, "{\"data\":[{\"id\":\"a\\nb\\u001b[2Jc\"}, 3]}"},
        {NULL, 200, "{}"}};
    struct bench b;
    (void)state;
    open_stub(&b, WILD);
    wait_for(&b, UPSTREAM_UP);
    assert_int_equal(b.facts.n_ctx, 0);
    assert_int_equal(b.facts.n_slots, 0);
    assert_string_equal(b.facts.engine, "llama.cpp");
    assert_string_equal(b.facts.model, "a?b?[2Jc");
    close_bench(&b);
}

static void test_too_long_an_answer(void **state) {
    char *text = malloc(2 << 20);
    struct bench b;
    (void)state;
    memset(text, ' ', 2 << 20);
    memcpy(text, "{\"data\":[]", 10);
    memcpy(text + (2 << 20) - 2, "}", 2);
    const struct stub_answer answers[] = {{NULL, 200, text}};
    open_stub(&b, answers);
    wait_for_problem(&b, "too much");
    close_bench(&b);
    free(text);
}

static void test_silence(void **state) {
    struct bench b;
    (void)state;
    open_stub(&b, STUB_LLAMA);
    b.stub.is_silent = true;
    wait_for_problem(&b, "does not answer");
    b.stub.is_silent = false;
    wait_for(&b, UPSTREAM_UP);
    b.stub.is_silent = true;
    loop_run_for(&b.loop, 600); // late is not gone
    upstream_facts(b.upstream, &b.facts);
    assert_int_equal(b.facts.health, UPSTREAM_UP);
    wait_for_problem(&b, "does not answer");
    close_bench(&b);
}

// Refused at first; there later; gone; another one in its place.
static void test_one_that_comes_and_goes(void **state) {
    struct bench b;
    struct stub stub;
    (void)state;
    open_bench(&b);
    assert_true(stub_open(&stub, &b.loop, 0, STUB_LLAMA));
    uint16_t port = http_server_port(stub.server);
    char url[80];
    snprintf(url, sizeof url, "%s/v1/", stub.url); // as clients are told
    http_server_close(stub.server);
    loop_run_for(&b.loop, 20);
    open_upstream(&b, url, NULL, NULL);
    wait_for_problem(&b, "cannot be reached");
    assert_true(stub_open(&b.stub, &b.loop, port, STUB_LLAMA));
    wait_for(&b, UPSTREAM_UP);
    int64_t since_ns = b.facts.since_ns;
    assert_true(since_ns > 0 && since_ns <= os_now_ns());
    http_server_close(b.stub.server);
    loop_run_for(&b.loop, 20);
    upstream_suspect(b.upstream);
    wait_for(&b, UPSTREAM_DOWN);
    assert_true(b.facts.since_ns > since_ns);
    assert_true(stub_open(&b.stub, &b.loop, port, STUB_OLLAMA));
    wait_for(&b, UPSTREAM_UP);
    assert_int_equal(b.facts.kind, UPSTREAM_OLLAMA);
    assert_false(b.facts.can_count);
    close_bench(&b);
}

static void test_another_in_its_place(void **state) {
    struct bench b;
    (void)state;
    open_stub(&b, STUB_LLAMA);
    wait_for(&b, UPSTREAM_UP);
    b.stub.answers = STUB_OLLAMA; // never seen down
    for (int i = 0; i < 100 && b.facts.kind != UPSTREAM_OLLAMA; i++) {
        loop_run_for(&b.loop, 20);
        upstream_facts(b.upstream, &b.facts);
    }
    assert_int_equal(b.facts.kind, UPSTREAM_OLLAMA);
    assert_int_equal(b.facts.health, UPSTREAM_UP);
    assert_int_equal(b.facts.n_slots, 0);
    close_bench(&b);
}

static void test_bad_addresses(void **state) {
    static const char *const BAD[] = {"",           "localhost:8080", "ftp://x",
                                      "http://",    "http:///x",      "http://a b",
                                      "http://x?y", "unix:relative",  "http://:80"};
    struct bench b;
    struct wl_err err;
    (void)state;
    open_bench(&b);
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) {
        struct upstream_options options = {.loop = &b.loop, .client = b.client, .url = BAD[i]};
        assert_int_equal(upstream_open(&options, &b.upstream, &err), WL_INPUT);
        assert_null(b.upstream);
    }
    struct upstream_options options = {.loop = &b.loop, .client = b.client};
    assert_int_equal(upstream_open(&options, &b.upstream, &err), WL_INPUT);
    options.url = "http://x";
    options.api_key = "two\r\nlines";
    assert_int_equal(upstream_open(&options, &b.upstream, &err), WL_INPUT);
    close_bench(&b);
}

static void test_the_words_of_the_dead(void **state) {
    char out[200];
    (void)state;
    upstream_words("0.00.015.326 W srv: careful\n"
                   "0.00.015.326 E gguf_init: invalid magic\n"
                   "0.00.015.463 E llama_load: failed\n"
                   "0.00.015.463 E llama_load: failed\n"
                   "0.00.015.463 E cmn  common_init: failed too\n"
                   "0.00.015.904 E srv  llama_server: exiting\n",
                   false, out, sizeof out);
    assert_string_equal(out, "gguf_init: invalid magic; cmn  common_init: failed too; "
                             "srv  llama_server: exiting");
    upstream_words("error: invalid argument: --x\n", false, out, sizeof out);
    assert_string_equal(out, "error: invalid argument: --x");
    upstream_words("hello\nworld\x01\n\n", true, out, sizeof out);
    assert_string_equal(out, "world?");
    upstream_words("", true, out, sizeof out);
    assert_string_equal(out, "");
}

// ---- a real one of our own ----

struct own {
    struct bench b;
    struct real_server real;
};

static bool open_own(struct own *o, const char *model) {
    if (!real_server_find(&o->real)) {
        return false;
    }
    open_bench(&o->b);
    o->real.settings.model = model ? model : o->real.model;
    open_upstream(&o->b, NULL, NULL, &o->real.settings);
    return true;
}

static void close_own(struct own *o) {
    pid_t pid = o->b.facts.pid;
    close_bench(&o->b);
    assert_true(pid == 0 || (kill(pid, 0) != 0 && errno == ESRCH));
    assert_int_not_equal(access(o->real.socket, F_OK), 0);
    assert_int_equal(rmdir(o->real.folder), 0);
}

static void test_our_own(void **state) {
    struct own o;
    struct stat info;
    (void)state;
    if (!open_own(&o, NULL)) {
        skip();
    }
    upstream_facts(o.b.upstream, &o.b.facts);
    assert_int_equal(o.b.facts.health, UPSTREAM_STARTING);
    wait_for(&o.b, UPSTREAM_UP);
    const struct upstream_facts *facts = &o.b.facts;
    assert_int_equal(facts->kind, UPSTREAM_LLAMA_SERVER);
    assert_string_equal(facts->model, "tiny");
    assert_int_equal(facts->n_slots, 2);
    assert_int_equal(facts->n_ctx, 1024);
    assert_true(facts->can_count && facts->has_messages && facts->has_responses);
    assert_true(facts->sees_images);
    assert_true(facts->pid > 0 && facts->load_ns > 0);
    assert_int_equal(facts->n_starts, 1);
    assert_int_equal(facts->n_deaths, 0);
    assert_string_equal(upstream_unix_socket(o.b.upstream), o.real.socket);
    assert_int_equal(stat(o.real.folder, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0700);
    close_own(&o);
}

// What /proc/<pid>/<name> has, its NULs as spaces.
static const char *read_proc(pid_t pid, const char *name) {
    static char text[65536];
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, name);
    FILE *file = fopen(path, "r");
    size_t n = file ? fread(text, 1, sizeof text - 1, file) : 0;
    text[n] = '\0';
    for (size_t i = 0; i < n; i++) {
        text[i] = text[i] ? text[i] : ' ';
    }
    if (file) {
        fclose(file);
    }
    return text;
}

static void test_what_it_is_started_with(void **state) {
    static const char *const MORE[] = {"--timeout", "77", NULL};
    static const char *const PARTS[] = {
        " --alias tiny ",           " --parallel 2 ",      " --ctx-size 2048 ",
        " --cache-ram 0 ",          " --threads 1 ",       " --mmproj ",
        " --image-max-tokens 128 ", " --flash-attn auto ", " --cache-type-k f16 ",
        " --load-mode mmap ",       " --timeout 77 "};
    struct own o;
    (void)state;
    if (!real_server_find(&o.real)) {
        skip();
    }
    o.real.settings.more_args = MORE;
    open_bench(&o.b);
    open_upstream(&o.b, NULL, NULL, &o.real.settings);
    wait_for(&o.b, UPSTREAM_UP);
    assert_non_null(strstr(read_proc(o.b.facts.pid, "environ"), " OMP_WAIT_POLICY=passive "));
    const char *line = read_proc(o.b.facts.pid, "cmdline");
    for (size_t i = 0; i < sizeof PARTS / sizeof *PARTS; i++) {
        if (!strstr(line, PARTS[i])) {
            fail_msg("'%s' is not in: %s", PARTS[i], line);
        }
    }
    assert_null(strstr(line, "--image-min-tokens"));
    assert_null(strstr(line, "--threads-batch"));
    close_own(&o);
}

// In a process of its own, which then waits to be killed.
static void run_gateway(struct own *o, int fd) {
    open_bench(&o->b);
    open_upstream(&o->b, NULL, NULL, &o->real.settings);
    wait_for(&o->b, UPSTREAM_UP);
    if (write(fd, &o->b.facts.pid, sizeof o->b.facts.pid) > 0) {
        pause();
    }
    _exit(0);
}

static bool is_alive(pid_t pid) {
    const char *stat = read_proc(pid, "stat"), *end = strrchr(stat, ')');
    return end && end[2] != 'Z' && end[2] != 'X';
}

static void test_it_dies_with_the_gateway(void **state) {
    struct own o;
    int fds[2];
    pid_t server = 0;
    (void)state;
    if (!real_server_find(&o.real)) {
        skip();
    }
    assert_int_equal(pipe(fds), 0);
    pid_t gateway = fork();
    if (gateway == 0) {
        run_gateway(&o, fds[1]);
    }
    assert_int_equal(read(fds[0], &server, sizeof server), sizeof server);
    assert_true(is_alive(server));
    kill(gateway, SIGKILL);
    waitpid(gateway, NULL, 0);
    for (int i = 0; i < 300 && is_alive(server); i++) {
        usleep(10000);
    }
    assert_false(is_alive(server));
    close(fds[0]);
    close(fds[1]);
    unlink(o.real.socket); // nobody was left to do it
    rmdir(o.real.folder);
}

static void test_a_killed_one_comes_back(void **state) {
    struct own o;
    (void)state;
    if (!open_own(&o, NULL)) {
        skip();
    }
    wait_for(&o.b, UPSTREAM_UP);
    pid_t pid = o.b.facts.pid;
    for (int i = 1; i <= 2; i++) {
        kill(pid, SIGKILL);
        do {
            loop_run_for(&o.b.loop, 10);
            upstream_facts(o.b.upstream, &o.b.facts);
        } while (o.b.facts.n_deaths < (uint64_t)i);
        assert_non_null(strstr(o.b.lines, "killed by signal 9"));
        wait_for(&o.b, UPSTREAM_UP);
        assert_int_not_equal(o.b.facts.pid, pid);
        assert_int_equal(o.b.facts.n_deaths, i);
        assert_int_equal(o.b.facts.n_starts, i + 1);
        pid = o.b.facts.pid;
    }
    close_own(&o);
}

static void test_a_model_that_does_not_load(void **state) {
    struct own o;
    (void)state;
    char model[] = "/tmp/wattlaw-bad-XXXXXX";
    int fd = mkstemp(model);
    assert_int_equal(write(fd, "hello", 5), 5);
    close(fd);
    if (!open_own(&o, model)) {
        unlink(model);
        skip();
    }
    wait_for(&o.b, UPSTREAM_FAILED);
    assert_int_equal(o.b.facts.n_starts, 5);
    assert_int_equal(o.b.facts.n_deaths, 5);
    assert_non_null(strstr(o.b.facts.problem, "exited with code 1"));
    assert_non_null(strstr(o.b.facts.problem, "invalid magic"));
    struct upstream_server better = o.real.settings;
    struct wl_err err;
    better.model = o.real.model;
    assert_int_equal(upstream_change(o.b.upstream, &better, &err), WL_OK);
    wait_for(&o.b, UPSTREAM_UP);
    close_own(&o);
    unlink(model);
}

static void test_sleep_and_waking(void **state) {
    struct own o;
    (void)state;
    if (!real_server_find(&o.real)) {
        skip();
    }
    o.real.settings.idle_unload_s = 0.4;
    open_bench(&o.b);
    open_upstream(&o.b, NULL, NULL, &o.real.settings);
    upstream_enter(o.b.upstream);
    wait_for(&o.b, UPSTREAM_UP);
    loop_run_for(&o.b.loop, 700);
    upstream_facts(o.b.upstream, &o.b.facts);
    assert_int_equal(o.b.facts.health, UPSTREAM_UP); // a request is there
    pid_t pid = o.b.facts.pid;
    upstream_leave(o.b.upstream);
    wait_for(&o.b, UPSTREAM_ASLEEP);
    loop_run_for(&o.b.loop, 1000);
    assert_true(kill(pid, 0) != 0 && errno == ESRCH);
    assert_int_not_equal(access(o.real.socket, F_OK), 0);
    upstream_facts(o.b.upstream, &o.b.facts);
    assert_int_equal(o.b.facts.pid, 0);
    assert_int_equal(o.b.facts.n_deaths, 0);
    assert_int_equal(o.b.facts.n_starts, 1); // it is not looked after
    upstream_suspect(o.b.upstream);
    loop_run_for(&o.b.loop, 100);
    upstream_enter(o.b.upstream);
    upstream_facts(o.b.upstream, &o.b.facts);
    assert_int_equal(o.b.facts.health, UPSTREAM_STARTING);
    wait_for(&o.b, UPSTREAM_UP);
    upstream_leave(o.b.upstream);
    wait_for(&o.b, UPSTREAM_ASLEEP);
    upstream_enter(o.b.upstream); // while it ends
    wait_for(&o.b, UPSTREAM_UP);
    assert_int_equal(o.b.facts.n_starts, 3);
    upstream_leave(o.b.upstream);
    wait_for(&o.b, UPSTREAM_ASLEEP);
    upstream_enter(o.b.upstream); // who left again before it had ended
    upstream_leave(o.b.upstream);
    wait_for(&o.b, UPSTREAM_UP);
    wait_for(&o.b, UPSTREAM_ASLEEP);
    assert_int_equal(o.b.facts.n_starts, 4);
    assert_int_equal(o.b.facts.n_deaths, 0);
    close_own(&o);
}

static void test_other_settings(void **state) {
    struct own o;
    struct wl_err err;
    (void)state;
    if (!open_own(&o, NULL)) {
        skip();
    }
    wait_for(&o.b, UPSTREAM_UP);
    struct upstream_server other = o.real.settings;
    other.n_slots = 1;
    other.n_ctx = 512;
    other.socket_path = NULL; // as it is
    upstream_enter(o.b.upstream);
    assert_int_equal(upstream_change(o.b.upstream, &other, &err), WL_OK);
    loop_run_for(&o.b.loop, 300);
    upstream_facts(o.b.upstream, &o.b.facts);
    assert_int_equal(o.b.facts.n_slots, 2); // not under a request
    upstream_leave(o.b.upstream);
    upstream_facts(o.b.upstream, &o.b.facts);
    assert_int_equal(o.b.facts.health, UPSTREAM_STARTING);
    wait_for(&o.b, UPSTREAM_UP);
    assert_int_equal(o.b.facts.n_slots, 1);
    assert_int_equal(o.b.facts.n_ctx, 512);
    assert_int_equal(o.b.facts.n_deaths, 0);
    other.socket_path = "/tmp/another.sock";
    assert_int_equal(upstream_change(o.b.upstream, &other, &err), WL_INPUT);
    close_own(&o);
}

// A socket that an earlier run left behind does not matter; anything else of that name does.
static void test_what_lies_in_the_way(void **state) {
    struct own o;
    (void)state;
    if (!real_server_find(&o.real)) {
        skip();
    }
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    snprintf(address.sun_path, sizeof address.sun_path, "%s", o.real.socket);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    close(fd);
    open_bench(&o.b);
    open_upstream(&o.b, NULL, NULL, &o.real.settings);
    wait_for(&o.b, UPSTREAM_UP);
    close_bench(&o.b);
    FILE *file = fopen(o.real.socket, "w");
    assert_non_null(file);
    fclose(file);
    open_bench(&o.b);
    open_upstream(&o.b, NULL, NULL, &o.real.settings);
    upstream_facts(o.b.upstream, &o.b.facts);
    assert_int_equal(o.b.facts.health, UPSTREAM_DOWN);
    assert_non_null(strstr(o.b.facts.problem, "is no socket"));
    close_bench(&o.b);
    assert_int_equal(access(o.real.socket, F_OK), 0); // not ours: it stays
    unlink(o.real.socket);
    chmod(o.real.folder, 0755);
    open_bench(&o.b);
    open_upstream(&o.b, NULL, NULL, &o.real.settings);
    upstream_facts(o.b.upstream, &o.b.facts);
    assert_non_null(strstr(o.b.facts.problem, "0700"));
    close_own(&o);
}

static void test_no_such_program(void **state) {
    struct own o;
    (void)state;
    if (!real_server_find(&o.real)) {
        skip();
    }
    o.real.settings.program = "/nonexistent/llama-server";
    open_bench(&o.b);
    open_upstream(&o.b, NULL, NULL, &o.real.settings);
    wait_for(&o.b, UPSTREAM_FAILED);
    assert_non_null(strstr(o.b.facts.problem, "/nonexistent/llama-server"));
    close_own(&o);
}

// Closed while it starts, and one that does not end by itself.
static void test_closing_early(void **state) {
    struct own o;
    (void)state;
    if (!open_own(&o, NULL)) {
        skip();
    }
    upstream_facts(o.b.upstream, &o.b.facts);
    close_own(&o);
    if (!open_own(&o, NULL)) {
        skip();
    }
    wait_for(&o.b, UPSTREAM_UP);
    kill(o.b.facts.pid, SIGSTOP);
    int64_t start_ns = os_now_ns();
    close_own(&o);
    assert_in_range((os_now_ns() - start_ns) / 1000000, 2500, 6000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_llama_server),
        cmocka_unit_test(test_a_vllm),
        cmocka_unit_test(test_an_ollama),
        cmocka_unit_test(test_any_other),
        cmocka_unit_test(test_a_key_is_sent),
        cmocka_unit_test(test_one_that_loads),
        cmocka_unit_test(test_garbage),
        cmocka_unit_test(test_wild_facts),
        cmocka_unit_test(test_too_long_an_answer),
        cmocka_unit_test(test_silence),
        cmocka_unit_test(test_one_that_comes_and_goes),
        cmocka_unit_test(test_another_in_its_place),
        cmocka_unit_test(test_bad_addresses),
        cmocka_unit_test(test_the_words_of_the_dead),
        cmocka_unit_test(test_our_own),
        cmocka_unit_test(test_what_it_is_started_with),
        cmocka_unit_test(test_it_dies_with_the_gateway),
        cmocka_unit_test(test_a_killed_one_comes_back),
        cmocka_unit_test(test_a_model_that_does_not_load),
        cmocka_unit_test(test_sleep_and_waking),
        cmocka_unit_test(test_other_settings),
        cmocka_unit_test(test_what_lies_in_the_way),
        cmocka_unit_test(test_no_such_program),
        cmocka_unit_test(test_closing_early),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
