// Profiles: what they say, laid over each other, and what is refused.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "plan/profile.h"

static enum wl_status parse(const char *text, struct profile *profile, struct wl_err *err) {
    profile_init(profile);
    return profile_parse(text, strlen(text), profile, err);
}

static void every_field_is_taken(void **state) {
    (void)state;
    struct profile p;
    struct wl_err err = {0};
    const char *text =
        "{\"schema_version\":1,\"model\":\"builtin\",\"mmproj\":\"m.gguf\",\"policy\":\"truncate\","
        "\"engine\":{\"threads\":3,\"threads_batch\":4,\"ctx\":4096,\"ubatch\":128,\"slots\":2,"
        "\"cache_ram_mib\":0,\"image_min_tokens\":16,\"image_max_tokens\":64,"
        "\"load_mode\":\"none\",\"type_k\":\"q8_0\",\"type_v\":\"q8_0\",\"flash_attn\":\"on\","
        "\"wait\":\"passive\",\"idle_unload_s\":600},"
        "\"limits\":{\"input_tokens\":4000,\"output_tokens\":500,\"seconds\":60,\"joules\":200},"
        "\"models\":{\"builtin\":{\"output_tokens\":100}},"
        "\"images\":{\"auto\":{\"tokens\":144,\"pixels\":1000000},\"low\":{\"tokens\":64},"
        "\"max_images\":4,\"first\":true,\"allowed_hosts\":[\".example.org\"]},"
        "\"evidence\":{\"n\":3}}";
    assert_int_equal(parse(text, &p, &err), WL_OK);
    assert_string_equal(p.model, "builtin");
    assert_string_equal(p.mmproj, "m.gguf");
    assert_int_equal(p.policy, PROFILE_TRUNCATE);
    assert_int_equal(p.engine.threads, 3);
    assert_int_equal(p.engine.cache_ram_mib, 0);
    assert_int_equal(p.engine.image_max_tokens, 64);
    assert_string_equal(p.engine.load_mode, "none");
    assert_string_equal(p.engine.wait, "passive");
    assert_true(p.engine.idle_unload_s == 600);
    assert_int_equal(p.images.detail[PROFILE_AUTO].tokens, 144);
    assert_int_equal(p.images.detail[PROFILE_AUTO].pixels, 1000000);
    assert_int_equal(p.images.detail[PROFILE_LOW].tokens, 64);
    assert_int_equal(p.images.detail[PROFILE_HIGH].tokens, 0);
    assert_true(p.images.first);
    assert_string_equal(p.images.allowed_hosts[0], ".example.org");
    assert_int_equal(json_integer_value(json_object_get(p.evidence, "n")), 3);

    struct request_limits limits;
    profile_limits(&p, "builtin", &limits);
    assert_int_equal(limits.input_tokens, 4000);
    assert_int_equal(limits.output_tokens, 100);
    profile_limits(&p, "another", &limits);
    assert_int_equal(limits.output_tokens, 500);
    assert_true(limits.seconds == 60 && limits.joules == 200);
    profile_release(&p);
}

static void what_is_not_said_stays(void **state) {
    (void)state;
    struct profile p;
    assert_int_equal(
        parse("{\"schema_version\":1,\"model\":\"a\",\"engine\":{\"threads\":2}}", &p, NULL),
        WL_OK);
    json_t *over = json_pack("{s:{s:i}, s:{s:i}}", "engine", "ctx", 512, "limits", "seconds", 5);
    assert_int_equal(profile_read(over, &p, NULL), WL_OK);
    json_decref(over);
    assert_string_equal(p.model, "a");
    assert_int_equal(p.engine.threads, 2);
    assert_int_equal(p.engine.ctx, 512);
    assert_int_equal(p.engine.cache_ram_mib, -1);
    assert_true(p.limits.seconds == 5 && isinf(p.limits.joules));
    assert_int_equal(p.limits.input_tokens, LIMITS_NONE);
    profile_release(&p);
}

static void refusals_say_where(void **state) {
    (void)state;
    static const struct {
        const char *text, *says;
    } CASES[] = {
        {"[]", "expected an object"},
        {"{}", "schema_version"},
        {"{\"schema_version\":2}", "knows 1"},
        {"{\"schema_version\":1,\"modell\":\"x\"}", "did you mean 'model'"},
        {"{\"schema_version\":1,\"engine\":{\"threads\":-1}}", "engine: field 'threads'"},
        {"{\"schema_version\":1,\"engine\":{\"threads\":\"2\"}}", "expected a whole number"},
        {"{\"schema_version\":1,\"engine\":{\"type_k\":\"q9\"}}", "found 'q9'"},
        {"{\"schema_version\":1,\"engine\":{\"wait\":1}}", "'active' or 'passive'"},
        {"{\"schema_version\":1,\"limits\":{\"seconds\":0}}", "limits: field 'seconds'"},
        {"{\"schema_version\":1,\"models\":{\"m\":{\"joule\":1}}}", "did you mean 'joules'"},
        {"{\"schema_version\":1,\"models\":[]}", "models"},
        {"{\"schema_version\":1,\"images\":{\"auto\":{\"tokens\":1.5}}}", "images: auto: "},
        {"{\"schema_version\":1,\"images\":{\"allowed_hosts\":[1]}}", "host names"},
        {"{\"schema_version\":1,\"policy\":\"drop\"}", "'reject' or 'truncate'"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct profile p;
        struct wl_err err = {0};
        assert_int_not_equal(parse(CASES[i].text, &p, &err), WL_OK);
        if (!strstr(err.message, CASES[i].says)) {
            fail_msg("%s: %s", CASES[i].text, err.message);
        }
        profile_release(&p);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_field_is_taken),
        cmocka_unit_test(what_is_not_said_stays),
        cmocka_unit_test(refusals_say_where),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
