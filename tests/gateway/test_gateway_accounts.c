// Keys of the file and what they have used, and the settings of a gateway.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "gateway/accounts.h"
#include "gateway/settings.h"

static const unsigned char RANDOM[2][32] = {{1}, {2}};

// A file with these keys: secrets[i] belongs to names[i].
static void write_keys(struct buf *out, const char *const *names, size_t n, const char *more,
                       char secrets[2][KEY_SECRET_BYTES]) {
    buf_init(out, 1 << 16);
    buf_puts(out, "{\"keys\":[");
    for (size_t i = 0; i < n; i++) {
        key_secret(RANDOM[i], secrets[i]);
        buf_puts(out, i ? "," : "");
        key_write(out, names[i], secrets[i]);
        out->len--; // its closing brace
        buf_printf(out, ",%s}", more);
    }
    buf_puts(out, "]}");
}

static void load(struct accounts *accounts, const char *const *names, size_t n, const char *more,
                 char secrets[2][KEY_SECRET_BYTES]) {
    struct buf text;
    struct wl_err err = {0};
    write_keys(&text, names, n, more, secrets);
    if (accounts_load(accounts, buf_text(&text), text.len, &err) != WL_OK) {
        fail_msg("%s", err.message);
    }
    buf_release(&text);
}

static void without_keys_everybody_may_ask(void **state) {
    (void)state;
    struct accounts accounts;
    accounts_init(&accounts);
    assert_ptr_equal(accounts_find(&accounts, NULL), &accounts.everybody);
    assert_ptr_equal(accounts_find(&accounts, "anything"), &accounts.everybody);
    assert_true(accounts.everybody.key.is_admin);
    accounts_release(&accounts);
}

static void what_was_used_outlives_a_reload(void **state) {
    (void)state;
    static const char *const BOTH[] = {"kitchen", "garage"};
    char secrets[2][KEY_SECRET_BYTES];
    struct accounts accounts;
    accounts_init(&accounts);
    load(&accounts, BOTH, 2, "\"tokens_per_day\":100", secrets);
    struct account *kitchen = accounts_find(&accounts, secrets[0]);
    struct account *garage = accounts_find(&accounts, secrets[1]);
    assert_string_equal(kitchen->key.name, "kitchen");
    assert_string_equal(garage->key.name, "garage");
    assert_null(accounts_find(&accounts, NULL));
    assert_null(accounts_find(&accounts, "wl-wrong"));
    kitchen->budget.spent[BUDGET_TOKENS] = 60;
    garage->budget.spent[BUDGET_TOKENS] = 70;

    load(&accounts, BOTH, 1, "\"tokens_per_day\":80,\"models\":[\"a\"]", secrets);
    assert_ptr_equal(accounts_find(&accounts, secrets[0]), kitchen);
    assert_true(budget_left(&kitchen->budget, BUDGET_TOKENS) == 20);
    assert_true(key_may_use(&kitchen->key, "a") && !key_may_use(&kitchen->key, "b"));
    assert_null(accounts_find(&accounts, secrets[1]));
    assert_true(garage->is_revoked && !kitchen->is_revoked);

    load(&accounts, BOTH, 2, "\"tokens_per_day\":100", secrets);
    assert_ptr_equal(accounts_find(&accounts, secrets[1]), garage);
    assert_true(budget_left(&garage->budget, BUDGET_TOKENS) == 30); // the day is not over
    accounts_release(&accounts);
}

static void a_bad_file_changes_nothing(void **state) {
    (void)state;
    static const char *const ONE[] = {"kitchen"};
    char secrets[2][KEY_SECRET_BYTES];
    struct wl_err err = {0};
    struct accounts accounts;
    accounts_init(&accounts);
    load(&accounts, ONE, 1, "\"admin\":true", secrets);
    assert_int_equal(accounts_load(&accounts, "{\"keys\":[]}", 11, &err), WL_INPUT);
    assert_non_null(accounts_find(&accounts, secrets[0]));
    assert_true(accounts_find(&accounts, secrets[0])->key.is_admin);
    accounts_release(&accounts);
}

static enum wl_status parse(const char *text, struct gateway_settings *settings,
                            struct wl_err *err) {
    return settings_parse(text, strlen(text), settings, err);
}

static void settings_have_defaults(void **state) {
    (void)state;
    struct gateway_settings s;
    assert_int_equal(parse("{}", &s, NULL), WL_OK);
    assert_string_equal(s.host, "127.0.0.1");
    assert_int_equal(s.port, 8600);
    assert_true(isnan(s.idle_w));
    settings_release(&s);
    assert_int_equal(
        parse("{\"port\":0,\"server_args\":[\"--rpc\",\"a:1\"],\"canary_at\":[\"03:05\"],"
              "\"override\":{\"model\":\"m\"},\"idle_w\":2}",
              &s, NULL),
        WL_OK);
    assert_int_equal(s.port, 0);
    assert_string_equal(s.server_args[1], "a:1");
    assert_null(s.server_args[2]);
    assert_int_equal(s.canary_at[0], 185);
    assert_true(s.idle_w == 2);
    assert_non_null(s.override);
    settings_release(&s);
}

static void settings_that_are_none_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *text, *says;
    } CASES[] = {
        {"[]", "expected an object"},
        {"{\"prot\":1}", "did you mean 'port'"},
        {"{\"port\":70000}", "expected 0 to 65535"},
        {"{\"server_args\":[1]}", "server_args"},
        {"{\"override\":[]}", "override"},
        {"{\"canary_at\":[\"24:00\"]}", "found '24:00'"},
        {"{\"canary_at\":[\"3:00\"]}", "found '3:00'"},
        {"{\"queue_s\":-1}", "queue_s"},
        {"{\"keeps_text\":1}", "true or false"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct gateway_settings s;
        struct wl_err err = {0};
        assert_int_not_equal(parse(CASES[i].text, &s, &err), WL_OK);
        if (!strstr(err.message, CASES[i].says)) {
            fail_msg("%s: %s", CASES[i].text, err.message);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_keys_everybody_may_ask),
        cmocka_unit_test(what_was_used_outlives_a_reload),
        cmocka_unit_test(a_bad_file_changes_nothing),
        cmocka_unit_test(settings_have_defaults),
        cmocka_unit_test(settings_that_are_none_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
