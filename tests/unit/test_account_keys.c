// The file of keys: everything the format has, one clear refusal for everything it has not, and
// finding a key by its secret.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "account/keys.h"
#include "base/rng.h"

// SHA-256 of "test" and of "hello".
#define TEST_HASH "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
#define HELLO_HASH "2CF24DBA5FB0A30E26E83B2AC5B9E29E1B161E5C1FA7425E73043362938B9824"

static enum wl_status parse(const char *text, struct keys *keys, struct wl_err *err) {
    return keys_parse(text, strlen(text), keys, err);
}

static void a_whole_file(void **state) {
    (void)state;
    struct keys keys;
    struct wl_err err = {0};
    assert_int_equal(parse("{\"keys\": [{\"name\": \"kitchen\", \"sha256\": \"" TEST_HASH "\", "
                           "\"requests_per_min\": 30, \"tokens_per_day\": 100000, \"wh_per_day\": "
                           "0.5, \"models\": [\"builtin\", \"qwen2:0.5b\"]},\n"
                           "{\"sha256\": \"" HELLO_HASH "\", \"name\": \"A.b_c-9\"}]}",
                           &keys, &err),
                     WL_OK);
    assert_int_equal(keys.n, 2);
    const struct key *key = &keys.items[0];
    assert_string_equal(key->name, "kitchen");
    assert_int_equal(key->hash[0], 0x9f);
    assert_int_equal(key->hash[31], 0x08);
    assert_true(key->limit[BUDGET_REQUESTS] == 30 && key->limit[BUDGET_TOKENS] == 100000);
    assert_true(key->limit[BUDGET_WH] == 0.5);
    assert_int_equal(key->n_models, 2);
    assert_true(key_may_use(key, "builtin") && key_may_use(key, "qwen2:0.5b"));
    assert_false(key_may_use(key, "qwen2") || key_may_use(key, "Builtin") || key_may_use(key, ""));
    key = &keys.items[1];
    assert_string_equal(key->name, "A.b_c-9");
    assert_int_equal(key->hash[31], 0x24);
    for (int kind = 0; kind < BUDGET_N_KINDS; kind++) {
        assert_true(isnan(key->limit[kind]));
    }
    assert_int_equal(key->n_models, 0);
    assert_true(key_may_use(key, "any"));
    keys_release(&keys);
    keys_release(&keys);
    assert_true(keys.n == 0 && !keys.items);
}

#define ONE(fields) "{\"keys\":[{\"name\":\"a\",\"sha256\":\"" TEST_HASH "\"" fields "}]}"
#define NAME_63 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde"

// Each file is refused, and the message has the words.
static void refusals(void **state) {
    (void)state;
    static const struct {
        const char *text, *words;
    } ROWS[] = {
        {"", "bad JSON"},
        {"{\"keys\": [}", "bad JSON at line 1"},
        {ONE("") "x", "bad JSON"},
        {ONE(",\"wh_per_day\":1e999"), "bad JSON"},
        {ONE(",\"wh_per_day\":NaN"), "bad JSON"},
        {ONE(",\"sha256\":\"" TEST_HASH "\""), "duplicate"},
        {"[]", "expected an object {\"keys\": [...]}, found a list"},
        {"{}", "field 'keys' is missing: expected a list of keys"},
        {"{\"keys\": {}}", "field 'keys': expected a list of keys, found an object"},
        {"{\"keys\": []}", "field 'keys': expected 1 to 4096 keys, found 0"},
        {"{\"keys\": [1]}", "key 1: expected an object"},
        {"{\"keys\": [], \"key\": 1}", "unknown field 'key': did you mean 'keys'?"},
        {"{\"keys\": [{}]}", "key 1: field 'name' is missing"},
        {"{\"keys\": [{\"name\": 1}]}", "key 1: field 'name': expected text, found a whole number"},
        {"{\"keys\": [{\"name\": \"\"}]}", "key 1: field 'name': expected 1 to 63 letters"},
        {"{\"keys\": [{\"name\": \"a b\"}]}", "found 'a b'"},
        {"{\"keys\": [{\"name\": \"k\xc3\xbc\"}]}", "field 'name': expected"},
        {"{\"keys\": [{\"name\": \"" NAME_63 "f\"}]}", "expected 1 to 63"},
        {"{\"keys\": [{\"name\": \"a\"}]}", "key 1 'a': field 'sha256' is missing"},
        {"{\"keys\": [{\"name\": \"a\", \"sha256\": 7}]}", "expected text of 64 hex digits, found"},
        {"{\"keys\": [{\"name\": \"a\", \"sha256\": \"wl-secret\"}]}", "found text of 9 bytes"},
        {"{\"keys\": [{\"name\": \"a\", \"sha256\": \"" TEST_HASH "0\"}]}", "found text of 65"},
        {"{\"keys\": [{\"name\": \"a\", \"sha256\": "
         "\"g000000000000000000000000000000000000000000000000000000000000000\"}]}",
         "found text of 64 bytes that is not that"},
        {"{\"keys\": [{\"name\": \"a\", \"sha256\": "
         "\"000000000000000000000000000000000000000000000000000000000000000g\"}]}",
         "found text of 64 bytes that is not that"},
        {ONE(",\"requests_per_minute\":1"),
         "key 1 'a': unknown field 'requests_per_minute': did you mean 'requests_per_min'?"},
        {ONE(",\"x-note\":\"b\""), "unknown field 'x-note'"},
        {ONE(",\"requests_per_min\":-1"),
         "key 1 'a': field 'requests_per_min': expected 0 or more, found -1"},
        {ONE(",\"tokens_per_day\":-1e-9"), "field 'tokens_per_day': expected 0 or more"},
        {ONE(",\"wh_per_day\":\"50\""), "field 'wh_per_day': expected a number"},
        {ONE(",\"wh_per_day\":null"), "leave the field out), found null"},
        {ONE(",\"models\":\"a\""), "field 'models': expected a list of names, found text"},
        {ONE(",\"models\":[]"), "expected 1 to 32 names (all models: leave the field out)"},
        {ONE(",\"models\":[\"a\",1]"), "expected a list of names, found a whole number"},
        {ONE(",\"models\":[\"\"]"), "expected names of 1 to 255 bytes, found one of 0"},
        {"{\"keys\":[{\"name\":\"b\",\"sha256\":\"" HELLO_HASH "\"},"
         "{\"name\":\"a\",\"sha256\":\"" TEST_HASH "\"},"
         "{\"name\":\"b\",\"sha256\":"
         "\"0000000000000000000000000000000000000000000000000000000000000000\"}]}",
         "key 3: field 'name': key 1 has 'b' already"},
        {"{\"keys\":[{\"name\":\"a\",\"sha256\":\"" TEST_HASH "\"},"
         "{\"name\":\"c\",\"sha256\":\"" HELLO_HASH "\"},"
         "{\"name\":\"b\",\"sha256\":"
         "\"9F86D081884C7D659A2FEAA0C55AD015A3BF4F1B2B0B822CD15D6C15B0F00A08\"}]}",
         "key 3 'b': field 'sha256': key 1 'a' has the same"},
    };
    for (size_t i = 0; i < sizeof ROWS / sizeof ROWS[0]; i++) {
        struct keys keys;
        struct wl_err err = {0};
        enum wl_status status = parse(ROWS[i].text, &keys, &err);
        if (status != WL_INPUT || err.status != status || !strstr(err.message, ROWS[i].words)) {
            fail_msg("'%s': found '%s', expected '%s'", ROWS[i].text, err.message, ROWS[i].words);
        }
        assert_null(strstr(err.message, "wl-secret"));
        assert_true(keys.n == 0 && !keys.items);
        assert_int_equal(parse(ROWS[i].text, &keys, NULL), WL_INPUT);
    }
}

static void names_at_their_limits(void **state) {
    (void)state;
    assert_true(key_name_is_good("a"));
    assert_true(key_name_is_good(NAME_63));
    assert_false(key_name_is_good(NAME_63 "f"));
    assert_false(key_name_is_good(""));
    assert_false(key_name_is_good("a/b"));
    assert_false(key_name_is_good("a\n"));
}

static void write_keys(struct buf *text, int n) {
    buf_puts(text, "{\"keys\":[");
    for (int i = 0; i < n; i++) {
        buf_printf(text, "%s{\"name\":\"k%d\",\"sha256\":\"%064x\"}", i ? "," : "", i, (unsigned)i);
    }
    buf_puts(text, "]}");
}

static void as_many_as_can_be(void **state) {
    (void)state;
    struct buf text;
    struct keys keys;
    struct wl_err err = {0};
    buf_init(&text, 1 << 20);
    write_keys(&text, KEYS_MAX);
    assert_int_equal(keys_parse(text.data, text.len, &keys, &err), WL_OK);
    assert_int_equal(keys.n, KEYS_MAX);
    assert_string_equal(keys.items[KEYS_MAX - 1].name, "k4095");
    keys_release(&keys);
    buf_clear(&text);
    write_keys(&text, KEYS_MAX + 1);
    assert_int_equal(keys_parse(text.data, text.len, &keys, &err), WL_LIMIT);
    assert_string_equal(err.message, "field 'keys': expected 1 to 4096 keys, found 4097");
    buf_release(&text);
}

static void as_many_models_as_can_be(void **state) {
    (void)state;
    for (int n = KEY_MAX_MODELS; n <= KEY_MAX_MODELS + 1; n++) {
        struct buf text;
        struct keys keys;
        buf_init(&text, 1 << 16);
        buf_puts(&text, "{\"keys\":[{\"name\":\"a\",\"sha256\":\"" TEST_HASH "\",\"models\":[");
        for (int i = 0; i < n; i++) {
            buf_printf(&text, "%s\"%0*d\"", i ? "," : "", KEY_MODEL_BYTES - 1, i);
        }
        buf_puts(&text, "]}]}");
        bool is_good = n == KEY_MAX_MODELS;
        assert_int_equal(keys_parse(text.data, text.len, &keys, NULL), is_good ? WL_OK : WL_LIMIT);
        assert_int_equal(keys.n, is_good ? 1 : 0);
        keys_release(&keys);
        buf_release(&text);
    }
    char text[512];
    struct keys keys;
    snprintf(text, sizeof text, ONE(",\"models\":[\"%0*d\"]"), KEY_MODEL_BYTES, 0);
    assert_int_equal(parse(text, &keys, NULL), WL_LIMIT);
}

// ---- secrets

// A new key is found again, whatever its place, and nothing near it is.
static void secrets_are_found(void **state) {
    (void)state;
    enum { N = 300 };
    struct rng rng;
    struct buf text;
    static char secrets[N][KEY_SECRET_BYTES];
    rng_seed(&rng, 6);
    buf_init(&text, 1 << 20);
    buf_puts(&text, "{\"keys\":[");
    for (int i = 0; i < N; i++) {
        unsigned char bytes[32];
        char name[16];
        for (size_t k = 0; k < sizeof bytes; k++) {
            bytes[k] = (unsigned char)rng_below(&rng, 256);
        }
        key_secret(bytes, secrets[i]);
        snprintf(name, sizeof name, "key%d", i);
        buf_puts(&text, i ? "," : "");
        key_write(&text, name, secrets[i]);
    }
    buf_puts(&text, "]}");
    struct keys keys;
    struct wl_err err = {0};
    assert_false(text.is_failed);
    assert_int_equal(keys_parse(text.data, text.len, &keys, &err), WL_OK);
    for (int i = 0; i < N; i++) {
        size_t len = strlen(secrets[i]);
        assert_int_equal(len, 46);
        assert_null(strstr(text.data, secrets[i]));
        assert_ptr_equal(keys_find(&keys, secrets[i], len), &keys.items[i]);
        assert_null(keys_find(&keys, secrets[i], len - 1));
        assert_null(keys_find(&keys, secrets[i] + 1, len - 1));
    }
    assert_null(keys_find(&(struct keys){0}, secrets[0], 46));
    keys_release(&keys);
    buf_release(&text);
}

// What is compared is all of the hash: one that differs in any single bit is another key.
static void every_bit_of_the_hash_counts(void **state) {
    (void)state;
    struct keys keys;
    assert_int_equal(parse(ONE(""), &keys, NULL), WL_OK);
    for (int bit = 0; bit < 8 * KEY_HASH_BYTES; bit++) {
        keys.items[0].hash[bit / 8] ^= (unsigned char)(1u << bit % 8);
        assert_null(keys_find(&keys, "test", 4));
        keys.items[0].hash[bit / 8] ^= (unsigned char)(1u << bit % 8);
        assert_non_null(keys_find(&keys, "test", 4));
    }
    keys_release(&keys);
}

static void nothing_is_no_secret(void **state) {
    (void)state;
    struct keys keys;
    assert_int_equal(
        parse("{\"keys\":[{\"name\":\"a\",\"sha256\":"
              "\"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\"}]}",
              &keys, NULL),
        WL_OK);
    assert_null(keys_find(&keys, "", 0));
    assert_null(keys_find(&keys, NULL, 0));
    keys_release(&keys);
}

// RFC 4648's alphabet for URLs, without padding.
static void secrets_are_base64url(void **state) {
    (void)state;
    char out[KEY_SECRET_BYTES];
    unsigned char bytes[32];
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (unsigned char)i;
    }
    key_secret(bytes, out);
    assert_string_equal(out, "wl-AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8");
    memset(bytes, 0xff, sizeof bytes);
    key_secret(bytes, out);
    assert_string_equal(out, "wl-__________________________________________8");
    memset(bytes, 0xfb, sizeof bytes);
    key_secret(bytes, out);
    assert_string_equal(out, "wl--_v7-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_s");
}

static void a_key_is_written_as_an_object(void **state) {
    (void)state;
    struct buf text;
    buf_init(&text, 1000);
    key_write(&text, "kitchen", "test");
    assert_string_equal(buf_text(&text), "{\"name\":\"kitchen\",\"sha256\":\"" TEST_HASH "\"}");
    buf_clear(&text);
    key_write(&text, "a\",\"wh_per_day\":\"1", "test"); // not a good name, but no way out either
    assert_string_equal(buf_text(&text), "{\"name\":\"a\\\",\\\"wh_per_day\\\":\\\"1\",\"sha256\":"
                                         "\"" TEST_HASH "\"}");
    key_write(&text, "\xff", "test");
    assert_true(text.is_failed);
    buf_release(&text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_whole_file),
        cmocka_unit_test(refusals),
        cmocka_unit_test(names_at_their_limits),
        cmocka_unit_test(as_many_as_can_be),
        cmocka_unit_test(as_many_models_as_can_be),
        cmocka_unit_test(secrets_are_found),
        cmocka_unit_test(every_bit_of_the_hash_counts),
        cmocka_unit_test(nothing_is_no_secret),
        cmocka_unit_test(secrets_are_base64url),
        cmocka_unit_test(a_key_is_written_as_an_object),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
