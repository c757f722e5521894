// Which paths are routes, and what they are called at the model server.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "gateway/routes.h"

static const struct route *find(const char *method, const char *path) {
    bool is_known;
    return route_find(method, path, &is_known);
}

static void test_known_paths(void **state) {
    (void)state;
    bool is_known;
    assert_string_equal(find("POST", "/v1/chat/completions")->name, "chat");
    assert_string_equal(find("HEAD", "/v1/models")->name, "models");
    assert_null(route_find("DELETE", "/v1/models", &is_known));
    assert_true(is_known);
    assert_null(route_find("POST", "/v1/models/a", &is_known));
    assert_true(is_known);
    assert_null(route_find("GET", "/v1/models/", &is_known));
    assert_false(is_known);
}

// A model server has pages that are nobody's: what others ask (/slots), figures, settings.
static void test_dots_lead_nowhere(void **state) {
    static const char *const PATHS[] = {"/v1/models/..",       "/v1/models/../../slots",
                                        "/v1/models/./x",      "/v1/models/a/../../../props",
                                        "/v1/models/a/..",     "/v1/models//../x",
                                        "/v1/models/../models"};
    (void)state;
    for (size_t i = 0; i < sizeof PATHS / sizeof PATHS[0]; i++) {
        assert_null(find("GET", PATHS[i]));
    }
    assert_non_null(find("GET", "/v1/models/..."));
    assert_non_null(find("GET", "/v1/models/org/model.v1..2"));
}

static void expect_path(const char *path, const char *expected) {
    char out[200];
    assert_true(route_upstream_path(find("GET", path), path, out, sizeof out));
    assert_string_equal(out, expected);
}

static void test_upstream_paths(void **state) {
    char out[20];
    (void)state;
    expect_path("/models", "/v1/models");
    expect_path("/v1/models/org/llama-3.2:1b_q4~x", "/v1/models/org/llama-3.2:1b_q4~x");
    expect_path("/v1/models/a b?c=d#e%\xc3\xa4\r\n", "/v1/models/a%20b%3Fc%3Dd%23e%25%C3%A4%0D%0A");
    const struct route *one = find("GET", "/v1/models/a");
    assert_true(route_upstream_path(one, "/v1/models/123456", out, sizeof out));
    assert_false(route_upstream_path(one, "/v1/models/1234567890", out, sizeof out));
    assert_false(route_upstream_path(find("GET", "/models"), "/models", out, 5));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_paths),
        cmocka_unit_test(test_dots_lead_nowhere),
        cmocka_unit_test(test_upstream_paths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
