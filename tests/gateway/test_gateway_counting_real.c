// Counting by a real llama-server and by our own engine says what an answer's usage says.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "counting_bench.h"

// ---- a real llama-server ----

struct reply {
    struct buf text;
    bool is_ended;
};

static void on_reply_data(void *context, struct http_call *call, const char *bytes, size_t n) {
    struct reply *reply = context;
    (void)call;
    buf_append(&reply->text, bytes, n);
}

static void on_reply_end(void *context, struct http_call *call, enum wl_status status,
                         const char *message) {
    struct reply *reply = context;
    (void)call;
    (void)status;
    (void)message;
    reply->is_ended = true;
}

// usage.prompt_tokens of a real answer; -1 when it has none.
static int64_t real_usage(struct bench *b, const char *path, const char *text) {
    static const char *const HEADERS[] = {"Content-Type: application/json", NULL};
    struct reply reply = {.is_ended = false};
    struct http_call *call;
    struct wl_err err;
    char url[128];
    buf_init(&reply.text, 1 << 24);
    snprintf(url, sizeof url, "%s%s", upstream_url(b->upstream), path);
    struct http_call_options options = {.method = "POST",
                                        .url = url,
                                        .unix_socket = upstream_unix_socket(b->upstream),
                                        .headers = HEADERS,
                                        .body = text,
                                        .n_body = strlen(text),
                                        .on_data = on_reply_data,
                                        .on_end = on_reply_end,
                                        .context = &reply};
    assert_int_equal(http_call_start(b->client, &options, &call, &err), WL_OK);
    assert_true(loop_until(&b->loop, &reply.is_ended));
    json_t *json = NULL;
    wl_json_parse(buf_text(&reply.text), reply.text.len, &json, &err);
    int64_t n = wl_json_opt_i64(json_object_get(json, "usage"), "prompt_tokens", -1);
    if (n < 0) {
        printf("%s: %.300s\n", path, buf_text(&reply.text));
    }
    json_decref(json);
    buf_release(&reply.text);
    return n;
}

static const char *const PATHS[] = {"/v1/chat/completions", "/v1/completions", "/v1/embeddings"};

static void expect_same(struct bench *b, enum openai_endpoint endpoint, const char *text) {
    int64_t n = real_usage(b, PATHS[endpoint], text);
    assert_true(n >= 0);
    expect_count(b, endpoint, text, n);
}

// A data: URI of a picture of one colour; to be freed.
static char *picture_uri(uint32_t width, uint32_t height, enum image_format format) {
    static const char DIGITS[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    struct image image = {.width = width, .height = height};
    image.rgb = calloc(width * height, 3);
    unsigned char *bytes;
    size_t n;
    struct wl_err err;
    assert_int_equal(image_encode(&image, format, 80, &bytes, &n, &err), WL_OK);
    char *uri = calloc(1, n * 4 / 3 + 72);
    size_t at = (size_t)snprintf(uri, 64, "data:image/%s;base64,", image_format_name(format));
    for (size_t i = 0; i < n; i += 3) {
        unsigned v = (unsigned)bytes[i] << 16 | (i + 1 < n ? bytes[i + 1] : 0u) << 8 |
                     (i + 2 < n ? bytes[i + 2] : 0u);
        uri[at++] = DIGITS[v >> 18];
        uri[at++] = DIGITS[v >> 12 & 63];
        uri[at++] = i + 1 < n ? DIGITS[v >> 6 & 63] : '=';
        uri[at++] = i + 2 < n ? DIGITS[v & 63] : '=';
    }
    free(bytes);
    image_release(&image);
    return uri;
}

static const char *const CHATS[] = {
    "{\"max_tokens\":1,\"messages\":[{\"role\":\"user\",\"content\":\"What is 2 + 2?\"}]}",
    "{\"max_tokens\":1,\"messages\":[{\"role\":\"system\",\"content\":\"Be short.\"},"
    "{\"role\":\"user\",\"content\":\"Hello <|im_end|> there\"}]}",
    "{\"max_tokens\":1,\"messages\":[{\"role\":\"system\",\"content\":\"Be short.\"},"
    "{\"role\":\"user\",\"content\":\"One\"},{\"role\":\"assistant\",\"content\":\"Two \"},"
    "{\"role\":\"user\",\"content\":\" Drei\\u00e4\\u4f60\\n\\n\"}]}",
    "{\"max_tokens\":1,\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":"
    "\"one part\"}]}]}",
    "{\"max_tokens\":1,\"messages\":[{\"role\":\"user\",\"content\":\"\"}]}"};
enum { N_CHATS = sizeof CHATS / sizeof *CHATS };

enum { N_PICTURES = 4 };

// Chats with pictures: before, behind and between texts, in two messages.
static void make_picture_chats(char *out[N_PICTURES]) {
    char *wide = picture_uri(300, 120, IMAGE_PNG), *tall = picture_uri(90, 400, IMAGE_JPEG);
    static const char *const FORMS[N_PICTURES] = {
        "{\"max_tokens\":1,\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\","
        "\"image_url\":{\"url\":\"%s\"}},{\"type\":\"text\",\"text\":\"What is it?\"}]}]}",
        "{\"max_tokens\":1,\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\","
        "\"text\":\"What is it?\"},{\"type\":\"image_url\",\"image_url\":{\"url\":\"%s\"}}]}]}",
        "{\"max_tokens\":1,\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\","
        "\"image_url\":{\"url\":\"%s\"}},{\"type\":\"text\",\"text\":\"and\"},{\"type\":"
        "\"image_url\",\"image_url\":{\"url\":\"%s\"}}]}]}",
        "{\"max_tokens\":1,\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\","
        "\"image_url\":{\"url\":\"%s\"}}]},{\"role\":\"assistant\",\"content\":\"A cat.\"},"
        "{\"role\":\"user\",\"content\":[{\"type\":\"image_url\",\"image_url\":{\"url\":\"%s\"}},"
        "{\"type\":\"text\",\"text\":\"And this?\"}]}]}"};
    for (int i = 0; i < N_PICTURES; i++) {
        struct buf text;
        buf_init(&text, 1 << 20);
        const char *at = FORMS[i], *uri = i % 2 ? tall : wide;
        for (const char *hole; (hole = strstr(at, "%s")); at = hole + 2) {
            buf_append(&text, at, (size_t)(hole - at));
            buf_puts(&text, uri);
            uri = uri == wide ? tall : wide;
        }
        buf_puts(&text, at);
        out[i] = buf_detach(&text);
    }
    free(wide);
    free(tall);
}

static void test_a_real_server_says_the_same(void **state) {
    static const char *const PROMPTS[] = {
        "{\"max_tokens\":1,\"prompt\":\"Once upon a time\"}",
        "{\"max_tokens\":1,\"prompt\":\" <|im_start|>user\\nhello\"}",
        "{\"max_tokens\":1,\"prompt\":\"\\u00e4\\u4f60\\ud83d\\ude00\"}"};
    struct bench b;
    (void)state;
    if (!open_real(&b, NULL, true)) {
        skip();
    }
    for (int i = 0; i < N_CHATS; i++) {
        expect_same(&b, OPENAI_CHAT, CHATS[i]);
    }
    for (size_t i = 0; i < sizeof PROMPTS / sizeof *PROMPTS; i++) {
        expect_same(&b, OPENAI_COMPLETION, PROMPTS[i]);
    }
    char *pictures[N_PICTURES];
    make_picture_chats(pictures);
    for (int i = 0; i < N_PICTURES; i++) {
        expect_same(&b, OPENAI_CHAT, pictures[i]);
        free(pictures[i]);
    }
    expect_no(&b, OPENAI_CHAT,
              CHAT("[{\"type\":\"image_url\",\"image_url\":{\"url\":\"data:image/png;base64,"
                   "AAAA\"}}]"),
              WL_INPUT, "");
    assert_in_range(b.http_status, 400, 500);
    close_bench(&b);
}

// With a token that every prompt begins with, and lists of prompts.
static void test_first_tokens_and_lists(void **state) {
    static const char *const MORE[] = {"--override-kv", "tokenizer.ggml.add_bos_token=bool:true",
                                       NULL};
    static const char *const PROMPTS[] = {"{\"max_tokens\":1,\"prompt\":\"Once upon a time\"}",
                                          "{\"max_tokens\":1,\"prompt\":[65,66,67]}",
                                          "{\"max_tokens\":1,\"prompt\":[[65,66,67]]}",
                                          "{\"max_tokens\":1,\"prompt\":[65,\"Once upon\",66]}",
                                          "{\"max_tokens\":1,\"prompt\":[\"Once upon\",66]}"};
    struct bench b;
    (void)state;
    if (!open_real(&b, MORE, false)) {
        skip();
    }
    for (int i = 0; i < N_CHATS; i++) {
        expect_same(&b, OPENAI_CHAT, CHATS[i]);
    }
    for (size_t i = 0; i < sizeof PROMPTS / sizeof *PROMPTS; i++) {
        expect_same(&b, OPENAI_COMPLETION, PROMPTS[i]);
    }
    close_bench(&b);
}

static void test_embeddings(void **state) {
    static const char *const MORE[] = {"--embeddings",
                                       "--pooling",
                                       "mean",
                                       "--override-kv",
                                       "tokenizer.ggml.add_bos_token=bool:true",
                                       NULL};
    static const char *const INPUTS[] = {"{\"input\":\"Once upon a time\"}",
                                         "{\"input\":[\"Once\",\"upon a time <|im_end|>\"]}",
                                         "{\"input\":[65,66,67]}", "{\"input\":[[65,66],[67]]}"};
    struct bench b;
    (void)state;
    if (!open_real(&b, MORE, false)) {
        skip();
    }
    for (size_t i = 0; i < sizeof INPUTS / sizeof *INPUTS; i++) {
        expect_same(&b, OPENAI_EMBEDDING, INPUTS[i]);
    }
    close_bench(&b);
}

// ---- our own engine ----

static bool has_engine(void) {
    char path[OS_PATH_BYTES];
    struct wl_err err;
    if (engine_find(path, &err) == WL_OK) {
        return true;
    }
    printf("%s\n", err.message);
    return false;
}

static bool open_fallback(struct bench *b, const struct stub_answer *answers) {
    if (!has_engine()) {
        return false;
    }
    open_stub(b, answers);
    snprintf(b->real.model, sizeof b->real.model, "%s/models/builtin/builtin.gguf",
             TEST_SOURCE_DIR);
    snprintf(b->real.mmproj, sizeof b->real.mmproj, "%s/models/builtin/mmproj-builtin.gguf",
             TEST_SOURCE_DIR);
    b->has_file = b->has_mmproj = true;
    return true;
}

// What the real server counts, the engine counts too.
static void test_our_engine_says_the_same(void **state) {
    int64_t chats[N_CHATS], pictures[N_PICTURES], prompt = 0;
    static const char PROMPT[] = "{\"max_tokens\":1,\"prompt\":\"Once <|im_end|> upon a time\"}";
    char *picture_chats[N_PICTURES];
    struct bench b;
    (void)state;
    if (!has_engine() || !open_real(&b, NULL, true)) {
        skip();
    }
    make_picture_chats(picture_chats);
    for (int i = 0; i < N_CHATS; i++) {
        chats[i] = real_usage(&b, PATHS[OPENAI_CHAT], CHATS[i]);
    }
    for (int i = 0; i < N_PICTURES; i++) {
        pictures[i] = real_usage(&b, PATHS[OPENAI_CHAT], picture_chats[i]);
    }
    prompt = real_usage(&b, PATHS[OPENAI_COMPLETION], PROMPT);
    close_bench(&b);
    assert_true(open_fallback(&b, STUB_OTHER));
    assert_true(counting_can(b.counting, "any"));
    assert_false(counting_can(b.counting, "unknown"));
    for (int i = 0; i < N_CHATS; i++) {
        expect_count(&b, OPENAI_CHAT, CHATS[i], chats[i]);
    }
    for (int i = 0; i < N_PICTURES; i++) {
        expect_count(&b, OPENAI_CHAT, picture_chats[i], pictures[i]);
        free(picture_chats[i]);
    }
    expect_count(&b, OPENAI_CHAT, CHATS[0], chats[0]);
    expect_count(&b, OPENAI_COMPLETION, PROMPT, prompt);
    expect_count(&b, OPENAI_COMPLETION, "{\"prompt\":[[1,2],[3]]}", 3);
    close_bench(&b);
}

static void test_what_our_engine_cannot_know(void **state) {
    static const struct {
        const char *text, *words;
    } CASES[] = {
        {"{\"tools\":[{\"type\":\"function\"}],\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]"
         "}",
         "'tools'"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"x\"},{\"role\":\"assistant\",\"content\":"
         "\"y\"}]}",
         "beginning of an answer"},
        {"{\"messages\":[{\"role\":\"tool\",\"content\":\"x\"}]}", "neither"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":null}]}", "no content"},
        {CHAT("[{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"text\",\"text\":\"b\"}]"),
         "several texts"},
        {CHAT("[{\"type\":\"input_audio\"}]"), "neither text nor pictures"},
        {CHAT("\"a <__media__> b\""), "marker"},
        {CHAT("[{\"type\":\"image_url\",\"image_url\":{\"url\":\"http://x/y.png\"}}]"), "data:"}};
    struct bench b;
    (void)state;
    if (!open_fallback(&b, STUB_OLLAMA)) {
        skip();
    }
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        expect_no(&b, OPENAI_CHAT, CASES[i].text, WL_UNSUPPORTED, CASES[i].words);
    }
    expect_no(&b, OPENAI_COMPLETION, "{\"prompt\":\"x\"}", WL_UNSUPPORTED, "template of its own");
    expect_no(&b, OPENAI_CHAT, "{\"model\":\"unknown\",\"messages\":[]}", WL_UNSUPPORTED,
              "no GGUF file");
    expect_no(&b, OPENAI_CHAT, CHAT("[" PICTURE "]"), WL_INPUT, "picture 1");
    b.has_mmproj = false;
    expect_no(&b, OPENAI_CHAT, CHAT("[" PICTURE "]"), WL_UNSUPPORTED, "mmproj");
    snprintf(b.real.model, sizeof b.real.model, "/nonexistent.gguf");
    expect_no(&b, OPENAI_CHAT, CHAT("\"x\""), WL_UNSUPPORTED, "/nonexistent.gguf");
    close_bench(&b);
}

// The built-in model with another chat template of its own length.
static bool write_with_template(const struct bench *b, const char *path, const char *text) {
    static const char KEY[] = "tokenizer.chat_template";
    struct buf file;
    struct wl_err err;
    buf_init(&file, 1 << 24);
    bool is_done = false;
    if (os_slurp(b->real.model, &file, &err) == WL_OK) {
        char *key = memmem(file.data, file.len, KEY, sizeof KEY - 1);
        char *length = key + sizeof KEY - 1 + 4; // behind the type
        uint64_t n;
        memcpy(&n, length, sizeof n);
        assert_true(strlen(text) + 4 <= n);
        memset(length + 8, ' ', n);
        memcpy(length + 8, text, strlen(text));
        memcpy(length + 8 + strlen(text), "{#", 2); // what is left is a remark
        memcpy(length + 8 + n - 2, "#}", 2);
        is_done = os_write_atomic(path, file.data, file.len, &err) == WL_OK;
    }
    buf_release(&file);
    return is_done;
}

#define SYSTEM(text) "{\"role\":\"system\",\"content\":\"" text "\"}"
#define USER(text) "{\"role\":\"user\",\"content\":\"" text "\"}"
#define MODEL(text) "{\"role\":\"assistant\",\"content\":\"" text "\"}"
#define ASK(messages) "{\"max_tokens\":1,\"messages\":[" messages "]}"

static const char CHATML[] =
    "{% for m in messages %}{{'<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>' + "
    "'\\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}";

// Which of these messages are counted under which template, and then as a server counts them.
static const struct {
    const char *text; // of the template; CHATML is in front of those that begin with "+"
    const char *request;
    const char *words; // of the refusal; NULL: the same number
} TEMPLATES[] = {
    {"{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ "
     "'<|im_start|>system\\nYou are a helpful AI assistant<|im_end|>\\n' }}{% endif "
     "%}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + "
     "'\\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
     ASK(SYSTEM("Be short.") "," USER("Hello")), NULL},
    {"{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ "
     "'<|im_start|>system\\nYou are a helpful AI assistant<|im_end|>\\n' }}{% endif "
     "%}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + "
     "'\\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
     ASK(USER("Hello")), "system message of its own"},
    {"{% for m in messages %}{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\\n\\n' + "
     "m['content'] | trim + '<|eot_id|>' }}{% endfor %}{% if add_generation_prompt %}{{ "
     "'<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}",
     ASK(SYSTEM(" Be short.\\n") "," USER("Hello ") "," MODEL("Yes?") "," USER(" Why")), NULL},
    {"{% for m in messages %}{{ bos_token + '<|start_header_id|>' + m['role'] + "
     "'<|end_header_id|>\\n\\n' + m['content'] | trim + '<|eot_id|>' }}{% endfor %}",
     ASK(USER("Hello")), "the first token itself"},
    {"{% for m in messages %}{% if m['role'] == 'assistant' %}{% set role = 'model' %}{% else "
     "%}{% set role = m['role'] %}{% endif %}{{ '<start_of_turn>' + role + '\\n' + m['content'] | "
     "trim + '<end_of_turn>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ "
     "'<start_of_turn>model\\n' }}{% endif %}",
     ASK(USER(" Hello ") "," MODEL("Yes?") "," USER("Why")), NULL},
    {"{{ '<start_of_turn>' + '<end_of_turn>' }}", ASK(SYSTEM("x") "," USER("y")),
     "no system messages"},
    {"+{% endif %}", ASK(USER(" Hello ") "," MODEL("Yes\\n") "," USER("Why")), NULL},
    {"+{% endif %}{# trim #}", ASK(USER(" Hello ")), "white space"},
    {"+{{ '<think>\\n' }}{% endif %}", ASK(USER("Hello")), "begin the answer with a thought"},
    {"+{% if enable_thinking is false %}{{ '<think></think>' }}{% else %}{{ '<think>' }}{% endif "
     "%}{% endif %}",
     ASK(USER("Hello")), "begin the answer with a thought"},
    {"+{% endif %}{# <think> #}", ASK(USER("Hello") "," MODEL("<think>x</think>y") "," USER("Why")),
     "thought"},
    {"+{% endif %}{# strftime_now #}", ASK(USER("Hello")), "writes the date"},
    {"{% for m in messages %}{{ '[INST] ' + m['content'] + ' [/INST]' }}{% endfor %}",
     ASK(USER("Hello")), "has not been compared"}};
enum { N_TEMPLATES = sizeof TEMPLATES / sizeof *TEMPLATES };

static void test_templates(void **state) {
    (void)state;
    if (!has_engine()) {
        skip();
    }
    for (int i = 0; i < N_TEMPLATES; i++) {
        struct bench b;
        char path[] = "/tmp/wattlaw-template-XXXXXX", text[1024];
        bool has_chatml = TEMPLATES[i].text[0] == '+';
        int64_t n = 0;
        close(mkstemp(path));
        snprintf(text, sizeof text, "%s%s", has_chatml ? CHATML : "",
                 TEMPLATES[i].text + has_chatml);
        assert_true(open_fallback(&b, STUB_OTHER));
        assert_true(write_with_template(&b, path, text));
        snprintf(b.real.model, sizeof b.real.model, "%s", path);
        if (TEMPLATES[i].words) {
            expect_no(&b, OPENAI_CHAT, TEMPLATES[i].request, WL_UNSUPPORTED, TEMPLATES[i].words);
        } else {
            n = count(&b, OPENAI_CHAT, TEMPLATES[i].request);
            assert_int_equal(b.status, WL_OK);
        }
        close_bench(&b);
        if (!TEMPLATES[i].words && open_real_model(&b, path)) {
            expect_same(&b, OPENAI_CHAT, TEMPLATES[i].request);
            if (b.n_tokens != n) {
                fail_msg("%s: %d tokens instead of %d", TEMPLATES[i].text, (int)n, (int)b.n_tokens);
            }
            close_bench(&b);
        }
        unlink(path);
    }
}

// Sends `number` to the engines that this process has started; how many.
static int signal_engines(int number) {
    DIR *tasks = opendir("/proc/self/task");
    int n = 0;
    assert_non_null(tasks);
    for (struct dirent *entry; (entry = readdir(tasks));) {
        char path[300];
        snprintf(path, sizeof path, "/proc/self/task/%s/children", entry->d_name);
        FILE *file = fopen(path, "r");
        for (int pid; file && fscanf(file, "%d", &pid) == 1; n++) {
            kill(pid, number);
        }
        if (file) {
            fclose(file);
        }
    }
    closedir(tasks);
    return n;
}

static void test_an_engine_that_dies(void **state) {
    struct bench b;
    (void)state;
    if (!open_fallback(&b, STUB_OTHER)) {
        skip();
    }
    int64_t n = count(&b, OPENAI_CHAT, CHATS[0]);
    assert_true(n > 0);
    assert_int_equal(signal_engines(SIGKILL), 1);
    expect_count(&b, OPENAI_CHAT, CHATS[0], n);
    assert_int_equal(signal_engines(0), 1);
    close_bench(&b);
    assert_int_equal(signal_engines(0), 0); // none is left
}

static void test_cancelling_at_our_engine(void **state) {
    struct bench b;
    (void)state;
    if (!open_fallback(&b, STUB_OTHER)) {
        skip();
    }
    cancel_after(&b, CHATS[0], -1); // while it waits, or is worked at
    for (int i = 0; i < 8; i++) {
        cancel_after(&b, CHATS[0], i);
    }
    struct openai_request request = parse(OPENAI_CHAT, CHATS[0]);
    struct count_call *calls[5];
    struct wl_err err;
    b.n_done = 0;
    for (int i = 0; i < 5; i++) { // the last ones wait for the first
        assert_int_equal(count_start(b.counting, &request, NULL, 0, on_done, &b, &calls[i], &err),
                         WL_OK);
    }
    count_cancel(calls[4]);
    count_cancel(calls[1]);
    while (b.n_done < 3) {
        uv_run(&b.loop, UV_RUN_ONCE);
    }
    loop_run_for(&b.loop, 50);
    assert_int_equal(b.n_done, 3);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(count_start(b.counting, &request, NULL, 0, on_done, &b, &calls[i], &err),
                         WL_OK);
    }
    openai_request_release(&request);
    close_bench(&b); // with counts under way
    assert_int_equal(b.n_done, 3);
    assert_int_equal(signal_engines(0), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_real_server_says_the_same),
        cmocka_unit_test(test_first_tokens_and_lists),
        cmocka_unit_test(test_embeddings),
        cmocka_unit_test(test_our_engine_says_the_same),
        cmocka_unit_test(test_what_our_engine_cannot_know),
        cmocka_unit_test(test_templates),
        cmocka_unit_test(test_an_engine_that_dies),
        cmocka_unit_test(test_cancelling_at_our_engine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
