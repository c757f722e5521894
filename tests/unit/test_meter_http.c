// Asking a network meter: what a device on a bad day may answer, passwords and their files,
// addresses. Everything happens on loopback.
#include "base/sha256.h"
#include "http_server.h"
#include "test_meter_tree.h"

#include <time.h>

#include "meter/http_curl.h"
#include "meter/http_get.h"
#include "meter/plug_address.h"
#include "meter/token_file.h"
#include "os/clock.h"

static const int64_t MS = 1000000;
enum { EXIT_SKIPPED = 77 };

// --- one question -------------------------------------------------------------------------------

static char *url_of(const struct http_server *server, const char *path) {
    static char url[HTTP_URL_BYTES];
    snprintf(url, sizeof url, "http://127.0.0.1:%d%s", server->port, path);
    return url;
}

// Asks once on a connection of its own.
static enum wl_status ask(const struct http_server *server, const char *path, char *body,
                          size_t size, struct wl_err *err) {
    struct http_options options = {0};
    struct http_get *http;
    const struct http_reply *reply;
    assert_int_equal(http_get_new(&options, &http, err), WL_OK);
    enum wl_status status = http_get(http, url_of(server, path), &reply, err);
    if (status == WL_OK) {
        snprintf(body, size, "%s", buf_text(&reply->body));
    }
    http_get_free(http);
    return status;
}

static void an_answer_comes_whole_in_every_framing(void **state) {
    (void)state;
    static const enum http_server_way WAYS[] = {HTTP_WAY_PLAIN, HTTP_WAY_CHUNKED, HTTP_WAY_HTTP10};
    struct http_server server;
    struct wl_err err;
    char body[64];
    http_server_start(&server, 0);
    for (size_t i = 0; i < sizeof WAYS / sizeof WAYS[0]; i++) {
        http_server_route(&server, (struct http_server_route){
                                       .path = "/x", .body = "{\"power\":12.5}", .way = WAYS[i]});
        assert_int_equal(ask(&server, "/x", body, sizeof body, &err), WL_OK);
        assert_string_equal(body, "{\"power\":12.5}");
    }
    assert_null(strcasestr(http_server_last(&server), "accept-encoding"));
    assert_null(strcasestr(http_server_last(&server), "authorization"));
    http_server_stop(&server);
}

static void one_connection_is_kept(void **state) {
    (void)state;
    struct http_server server;
    struct http_options options = {0};
    struct http_get *http;
    const struct http_reply *reply;
    http_server_start(&server, 0);
    http_server_route(&server, (struct http_server_route){.path = "/x", .body = "1"});
    assert_int_equal(http_get_new(&options, &http, NULL), WL_OK);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(http_get(http, url_of(&server, "/x"), &reply, NULL), WL_OK);
        assert_string_equal(buf_text(&reply->body), "1");
    }
    assert_int_equal(http_server_requests(&server), 5);
    assert_int_equal(http_server_connections(&server), 1);
    http_get_free(http);
    http_server_stop(&server);
}

static void the_servers_clock_is_read(void **state) {
    (void)state;
    struct http_server server;
    struct http_options options = {0};
    struct http_get *http;
    const struct http_reply *reply;
    http_server_start(&server, 0);
    http_server_route(
        &server, (struct http_server_route){.path = "/d",
                                            .body = "1",
                                            .headers = "Date: Sun, 22 Nov 2026 14:05:09 GMT\r\n"});
    http_server_route(&server, (struct http_server_route){.path = "/n", .body = "1"});
    assert_int_equal(http_get_new(&options, &http, NULL), WL_OK);
    assert_int_equal(http_get(http, url_of(&server, "/d"), &reply, NULL), WL_OK);
    assert_int_equal(reply->date_s, 1795356309);
    assert_int_equal(http_get(http, url_of(&server, "/n"), &reply, NULL), WL_OK);
    assert_int_equal(reply->date_s, -1);
    http_get_free(http);
    http_server_stop(&server);
}

static void every_bad_answer_is_one_clear_error(void **state) {
    (void)state;
    static const struct {
        struct http_server_route route;
        enum wl_status status;
        const char *says;
    } CASES[] = {
        {{.code = 302, .headers = "Location: http://127.0.0.1:1/\r\n"}, WL_INPUT, "elsewhere"},
        {{.code = 401}, WL_PERMISSION, "HTTP 401"},
        {{.code = 403}, WL_PERMISSION, "HTTP 403"},
        {{.code = 404}, WL_NOT_FOUND, "HTTP 404"},
        {{.code = 500}, WL_INPUT, "HTTP 500"},
        {{.code = 204}, WL_INPUT, "HTTP 204"},
        {{.way = HTTP_WAY_CUT}, WL_IO, "cannot read"},
        {{.way = HTTP_WAY_RESET}, WL_IO, "cannot read"},
        {{.way = HTTP_WAY_LYING}, WL_LIMIT, "longer than 65536"},
        {{.way = HTTP_WAY_ENDLESS}, WL_LIMIT, "longer than 65536"},
        {{.way = HTTP_WAY_NONSENSE}, WL_IO, "cannot read"},
    };
    struct http_server server;
    char body[64];
    http_server_start(&server, 0);
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct http_server_route route = CASES[i].route;
        struct wl_err err = {0};
        route.path = "/x";
        route.body = "{\"power\":1}";
        http_server_route(&server, route);
        enum wl_status status =
            ask(&server, "/x?user=admin&password=hunter2", body, sizeof body, &err);
        if (status != CASES[i].status || !strstr(err.message, CASES[i].says)) {
            fail_msg("case %zu: status %d, '%s'", i, status, err.message);
        }
        assert_non_null(strstr(err.message, "127.0.0.1"));
        assert_null(strstr(err.message, "hunter2")); // the query may hold a password
    }
    http_server_stop(&server);
    struct wl_err err = {0};
    assert_int_equal(ask(&server, "/x", body, sizeof body, &err), WL_IO);
    assert_non_null(strstr(err.message, "cannot connect"));
}

static void a_silent_or_dripping_device_is_left_after_three_seconds(void **state) {
    (void)state;
    static const enum http_server_way WAYS[] = {HTTP_WAY_SILENT, HTTP_WAY_DRIP};
    struct http_server server;
    char body[64];
    for (size_t i = 0; i < 2; i++) {
        struct wl_err err = {0};
        http_server_start(&server, 0);
        http_server_route(&server,
                          (struct http_server_route){.path = "/x",
                                                     .way = WAYS[i],
                                                     .body = "0123456789012345678901234567890123"});
        int64_t before_ns = os_now_ns();
        assert_int_equal(ask(&server, "/x", body, sizeof body, &err), WL_TIMEOUT);
        assert_in_range(os_now_ns() - before_ns, 2900 * MS, 3800 * MS);
        assert_non_null(strstr(err.message, "did not answer within 3 s"));
        http_server_stop(&server);
    }
}

static void only_http_is_spoken_and_no_proxy_is_used(void **state) {
    (void)state;
    struct http_server server;
    struct http_options options = {0};
    struct http_get *http;
    const struct http_reply *reply;
    char body[8];
    setenv("http_proxy", "http://127.0.0.1:1", 1);
    setenv("ALL_PROXY", "http://127.0.0.1:1", 1);
    http_server_start(&server, 0);
    http_server_route(&server, (struct http_server_route){.path = "/x", .body = "1"});
    assert_int_equal(ask(&server, "/x", body, sizeof body, NULL), WL_OK);
    http_server_stop(&server);
    unsetenv("http_proxy");
    unsetenv("ALL_PROXY");
    assert_int_equal(http_get_new(&options, &http, NULL), WL_OK);
    assert_int_not_equal(http_get(http, "file:///etc/hostname", &reply, NULL), WL_OK);
    assert_int_not_equal(http_get(http, "ftp://127.0.0.1/x", &reply, NULL), WL_OK);
    http_get_free(http);
}

// --- passwords ----------------------------------------------------------------------------------

static const char DIGEST[] = "WWW-Authenticate: Digest qop=\"auth\", realm=\"shellyplus-a\", "
                             "nonce=\"60dc59c6\", algorithm=SHA-256\r\n";

// SHA-256 as lower-case hex.
static void sha256_hex(const char *text, char out[65]) {
    unsigned char bytes[SHA256_BYTES];
    sha256(text, strlen(text), bytes);
    for (size_t i = 0; i < SHA256_BYTES; i++) {
        snprintf(out + 2 * i, 3, "%02x", bytes[i]);
    }
}

// The value of `name` in a digest header, without quotes.
static void digest_field(const char *header, const char *name, char *out, size_t size) {
    char key[32];
    snprintf(key, sizeof key, "%s=", name);
    const char *at = header;
    while ((at = strstr(at, key)) && at[-1] != ' ' && at[-1] != ',') {
        at++; // "nc=" lies inside "cnc="
    }
    assert_non_null(at);
    at += strlen(key);
    at += *at == '"';
    size_t len = strcspn(at, "\",\r");
    assert_true(len > 0 && len < size);
    memcpy(out, at, len);
    out[len] = '\0';
}

// RFC 7616, qop=auth, algorithm SHA-256.
static void check_digest(const char *request, const char *user, const char *password,
                         const char *target) {
    char text[512], ha1[65], ha2[65], expected[65], response[80], cnonce[128], nc[16], found[128];
    const char *header = strstr(request, "\r\nAuthorization: Digest ");
    assert_non_null(header);
    digest_field(header, "username", found, sizeof found);
    assert_string_equal(found, user);
    digest_field(header, "uri", found, sizeof found);
    assert_string_equal(found, target);
    digest_field(header, "algorithm", found, sizeof found);
    assert_string_equal(found, "SHA-256");
    digest_field(header, "cnonce", cnonce, sizeof cnonce);
    digest_field(header, "nc", nc, sizeof nc);
    digest_field(header, "response", response, sizeof response);
    snprintf(text, sizeof text, "%s:shellyplus-a:%s", user, password);
    sha256_hex(text, ha1);
    snprintf(text, sizeof text, "GET:%s", target);
    sha256_hex(text, ha2);
    snprintf(text, sizeof text, "%s:60dc59c6:%s:%s:auth:%s", ha1, nc, cnonce, ha2);
    sha256_hex(text, expected);
    assert_string_equal(response, expected);
}

static void digest_answers_the_challenge_correctly(void **state) {
    (void)state;
    static const char TARGET[] = "/rpc/Switch.GetStatus?id=0";
    struct http_server server;
    struct http_options options = {.user = "admin", .password = "two words"};
    struct http_get *http;
    const struct http_reply *reply;
    http_server_start(&server, 0);
    http_server_route(&server, (struct http_server_route){.path = "/rpc",
                                                          .body = "{}",
                                                          .secret = "Digest username=\"admin\"",
                                                          .challenge = DIGEST});
    assert_int_equal(http_get_new(&options, &http, NULL), WL_OK);
    assert_int_equal(http_get(http, url_of(&server, TARGET), &reply, NULL), WL_OK);
    assert_int_equal(http_server_requests(&server), 2);
    check_digest(http_server_last(&server), "admin", "two words", TARGET);
    // The nonce goes on being used: one request per reading.
    assert_int_equal(http_get(http, url_of(&server, TARGET), &reply, NULL), WL_OK);
    assert_int_equal(http_server_requests(&server), 3);
    check_digest(http_server_last(&server), "admin", "two words", TARGET);
    http_get_free(http);
    http_server_stop(&server);
}

static void basic_and_bearer_are_sent(void **state) {
    (void)state;
    struct http_server server;
    struct http_get *http;
    const struct http_reply *reply;
    http_server_start(&server, 0);
    http_server_route(&server, (struct http_server_route){
                                   .path = "/basic",
                                   .body = "{}",
                                   .secret = "Basic YWRtaW46c2VjcmV0\r\n", // admin:secret
                                   .challenge = "WWW-Authenticate: Basic realm=\"x\"\r\n"});
    http_server_route(&server, (struct http_server_route){.path = "/bearer",
                                                          .body = "{}",
                                                          .secret = "Bearer abc.def-123\r\n"});
    struct http_options password = {.user = "admin", .password = "secret"};
    assert_int_equal(http_get_new(&password, &http, NULL), WL_OK);
    assert_int_equal(http_get(http, url_of(&server, "/basic"), &reply, NULL), WL_OK);
    http_get_free(http);
    struct http_options bearer = {.bearer = "abc.def-123"};
    assert_int_equal(http_get_new(&bearer, &http, NULL), WL_OK);
    assert_int_equal(http_get(http, url_of(&server, "/bearer"), &reply, NULL), WL_OK);
    http_get_free(http);
    struct http_options wrong = {.user = "admin", .password = "wrong"};
    struct wl_err err = {0};
    assert_int_equal(http_get_new(&wrong, &http, NULL), WL_OK);
    assert_int_equal(http_get(http, url_of(&server, "/basic"), &reply, &err), WL_PERMISSION);
    assert_null(strstr(err.message, "wrong"));
    http_get_free(http);
    http_server_stop(&server);
}

// --- token files --------------------------------------------------------------------------------

static void write_token(const struct test_tree *tree, const char *text, mode_t mode) {
    test_tree_write(tree, "/plug", "%s", text);
    assert_int_equal(chmod(test_tree_path(tree, "/plug"), mode), 0);
}

static void a_token_is_the_first_line_of_a_private_file(void **state) {
    (void)state;
    static const char *const GOOD[][2] = {
        {"secret\n", "secret"}, {"  admin:se cret \r\nnote\n", "admin:se cret"}, {"x", "x"}};
    static const char *const BAD[] = {"", "\n", "  \nsecret\n", "a\tb\n", "a\033[1m\n"};
    struct test_tree tree;
    struct token token;
    struct wl_err err;
    test_tree_make(&tree);
    assert_int_equal(token_file_read(tree.root, "plug", &token, NULL), WL_OK);
    assert_false(token.is_present);
    assert_string_equal(token.path, test_tree_path(&tree, "/plug"));
    for (size_t i = 0; i < sizeof GOOD / sizeof GOOD[0]; i++) {
        write_token(&tree, GOOD[i][0], 0600);
        assert_int_equal(token_file_read(tree.root, "plug", &token, NULL), WL_OK);
        assert_true(token.is_present);
        assert_string_equal(token.text, GOOD[i][1]);
    }
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
        write_token(&tree, BAD[i], 0600);
        assert_int_equal(token_file_read(tree.root, "plug", &token, &err), WL_INPUT);
        assert_false(token.is_present);
        assert_string_equal(token.text, "");
    }
    char text[TOKEN_BYTES + 1];
    memset(text, 'a', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    write_token(&tree, text, 0600);
    assert_int_equal(token_file_read(tree.root, "plug", &token, NULL), WL_INPUT);
    text[sizeof text - 2] = '\0';
    write_token(&tree, text, 0600);
    assert_int_equal(token_file_read(tree.root, "plug", &token, NULL), WL_OK);
    test_tree_remove(&tree);
}

static void a_token_that_others_may_read_is_refused(void **state) {
    (void)state;
    static const mode_t MODES[] = {0604, 0640, 0620, 0601, 0666};
    struct test_tree tree;
    struct token token;
    struct wl_err err;
    test_tree_make(&tree);
    for (size_t i = 0; i < sizeof MODES / sizeof MODES[0]; i++) {
        write_token(&tree, "hunter2\n", MODES[i]);
        assert_int_equal(token_file_read(tree.root, "plug", &token, &err), WL_PERMISSION);
        assert_non_null(strstr(err.message, "chmod 600 '"));
        assert_non_null(strstr(err.message, "/plug'"));
        assert_null(strstr(err.message, "hunter2"));
    }
    assert_int_equal(unlink(test_tree_path(&tree, "/plug")), 0);
    assert_int_equal(mkfifo(test_tree_path(&tree, "/plug"), 0600), 0);
    assert_int_equal(token_file_read(tree.root, "plug", &token, &err), WL_INPUT); // at once
    assert_non_null(strstr(err.message, "not a regular file"));
    test_tree_remove(&tree);
}

static void tokens_lie_in_the_data_folder_by_default(void **state) {
    (void)state;
    struct test_tree tree;
    struct token token;
    test_tree_make(&tree);
    setenv("XDG_DATA_HOME", tree.root, 1);
    test_tree_write(&tree, "/wattlaw/tokens/plug", "secret\n");
    assert_int_equal(chmod(test_tree_path(&tree, "/wattlaw/tokens/plug"), 0600), 0);
    assert_int_equal(token_file_read(NULL, "plug", &token, NULL), WL_OK);
    assert_true(token.is_present);
    assert_string_equal(token.text, "secret");
    unsetenv("XDG_DATA_HOME");
    test_tree_remove(&tree);
}

// --- addresses ----------------------------------------------------------------------------------

static void addresses_are_taken_apart(void **state) {
    (void)state;
    static const struct {
        const char *text;
        uint16_t port;
        const char *base, *host, *item;
    } GOOD[] = {
        {"plug", 0, "http://plug", "plug", ""},
        {"192.168.1.50/1", 0, "http://192.168.1.50", "192.168.1.50", "1"},
        {"plug.local:8080/sensor.a", 0, "http://plug.local:8080", "plug.local", "sensor.a"},
        {"home", 8123, "http://home:8123", "home", ""},
        {"home:80/x", 8123, "http://home:80", "home", "x"},
        {"[fe80::1]", 0, "http://[fe80::1]", "fe80::1", ""},
        {"[fe80::1]:81/2", 0, "http://[fe80::1]:81", "fe80::1", "2"},
        {"https://home.example/sensor.a", 8123, "https://home.example", "home.example", "sensor.a"},
        {"https://home:8443/sensor.a", 8123, "https://home:8443", "home", "sensor.a"},
        {"http://home/sensor.a", 8123, "http://home", "home", "sensor.a"},
    };
    static const char *const BAD[] = {
        "",        "/1",     ":80",     "..",       "../x",    "-x",       "a b",
        "a:",      "a:0",    "a:65536", "a:8x",     "a:-1",    "[::1",     "[::1]x",
        "[]",      "[gg]",   "a@b",     "user:p@b", "ftp://a", "https://", "a?b",
        "a#b",     "a%2f",   "a\\b",    "a:1:2",    "\"a\"",   "a\n",      "http:///x",
        "a:80:/x", "[::1]:", ".hidden", "[..]",     "[...]",   "[1.2.3.4]"};
    struct plug_address address;
    struct wl_err err;
    for (size_t i = 0; i < sizeof GOOD / sizeof GOOD[0]; i++) {
        assert_int_equal(plug_address_parse(GOOD[i].text, GOOD[i].port, "F", &address, NULL),
                         WL_OK);
        assert_string_equal(address.base, GOOD[i].base);
        assert_string_equal(address.host, GOOD[i].host);
        assert_string_equal(address.item, GOOD[i].item);
    }
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
        if (plug_address_parse(BAD[i], 0, "x:FORM", &address, &err) != WL_USAGE) {
            fail_msg("'%s' was taken", BAD[i]);
        }
        assert_non_null(strstr(err.message, "expected 'x:FORM'"));
    }
    assert_int_equal(plug_address_parse(NULL, 0, "x:FORM", &address, NULL), WL_USAGE);
}

static void item_numbers_are_checked(void **state) {
    (void)state;
    struct plug_address address = {.item = ""};
    unsigned number = 99;
    assert_int_equal(plug_address_number(&address, 7, 10, "F", &number, NULL), WL_OK);
    assert_int_equal(number, 7);
    snprintf(address.item, sizeof address.item, "9");
    assert_int_equal(plug_address_number(&address, 7, 10, "F", &number, NULL), WL_OK);
    assert_int_equal(number, 9);
    static const char *const BAD[] = {"10", "x", "-1", "1/", "+1", "1 ", "99999999999999999999"};
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
        snprintf(address.item, sizeof address.item, "%s", BAD[i]);
        assert_int_equal(plug_address_number(&address, 7, 10, "F", &number, NULL), WL_USAGE);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_comes_whole_in_every_framing),
        cmocka_unit_test(one_connection_is_kept),
        cmocka_unit_test(the_servers_clock_is_read),
        cmocka_unit_test(every_bad_answer_is_one_clear_error),
        cmocka_unit_test(a_silent_or_dripping_device_is_left_after_three_seconds),
        cmocka_unit_test(only_http_is_spoken_and_no_proxy_is_used),
        cmocka_unit_test(digest_answers_the_challenge_correctly),
        cmocka_unit_test(basic_and_bearer_are_sent),
        cmocka_unit_test(a_token_is_the_first_line_of_a_private_file),
        cmocka_unit_test(a_token_that_others_may_read_is_refused),
        cmocka_unit_test(tokens_lie_in_the_data_folder_by_default),
        cmocka_unit_test(addresses_are_taken_apart),
        cmocka_unit_test(item_numbers_are_checked),
    };
    const struct http_curl *curl;
    struct wl_err err;
    if (http_curl_load(&curl, &err) != WL_OK) {
        printf("skipped: %s\n", err.message);
        return EXIT_SKIPPED;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
