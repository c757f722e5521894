// Shelly, Tasmota and Home Assistant: their answers, good and bad, and whole meters against a
// server on loopback that answers like the device. Late, wrong or missing answers are gaps while
// running and clear errors at the start.
#include "http_server.h"
#include "test_meter_tree.h"

#include <math.h>

#include "meter/homeassistant_state.h"
#include "meter/http_curl.h"
#include "meter/meter.h"
#include "meter/meter_total.h"
#include "meter/plug_json.h"

static const int64_t MS = 1000000, S = 1000000000;
enum { EXIT_SKIPPED = 77 };

#define GEN1_METER                                                                                 \
    "{\"power\":7.42,\"overpower\":0.00,\"is_valid\":true,\"timestamp\":1795356309,"               \
    "\"counters\":[7.4,7.4,7.5],\"total\":12345}"
#define GEN1_STATUS                                                                                \
    "{\"wifi_sta\":{\"connected\":true},\"relays\":[{\"ison\":true,\"is_valid\":true}],"           \
    "\"meters\":[" GEN1_METER "],\"uptime\":9}"
#define GEN1_EM_STATUS                                                                             \
    "{\"emeters\":[{\"power\":10.66,\"pf\":1.0,\"is_valid\":true,\"total\":5.3},"                  \
    "{\"power\":0.5,\"is_valid\":true,\"total\":0.0}]}"
#define GEN2_SWITCH                                                                                \
    "{\"id\":0,\"source\":\"init\",\"output\":true,\"apower\":8.9,\"voltage\":230.1,"              \
    "\"current\":0.07,\"aenergy\":{\"total\":11.6,\"by_minute\":[0,1,2],\"minute_ts\":1},"         \
    "\"temperature\":{\"tC\":40.1,\"tF\":104.2}}"

static struct plug_text text_of(const char *text) {
    return (struct plug_text){text, strlen(text)};
}

// --- answers ------------------------------------------------------------------------------------

static void shelly_says_its_generation(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int generation; // 0: refused
    } CASES[] = {
        {"{\"type\":\"SHPLG-S\",\"mac\":\"A\",\"auth\":false,\"num_meters\":1}", 1},
        {"{\"id\":\"shellyplusplugs-a\",\"model\":\"SNPL-00112EU\",\"gen\":2,\"auth_en\":true}", 2},
        {"{\"id\":\"shelly1pmg4-a\",\"gen\":4}", 4},
        {"{\"gen\":\"2\"}", 0},
        {"{\"gen\":0,\"type\":\"x\"}", 0},
        {"{\"gen\":1e9}", 0},
        {"{\"name\":\"a printer\"}", 0},
        {"[]", 0},
        {"<html>", 0},
        {"", 0},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        int generation = 0;
        struct wl_err err = {0};
        enum wl_status status = shelly_parse_generation(text_of(CASES[i].text), &generation, &err);
        assert_int_equal(status, CASES[i].generation ? WL_OK : WL_INPUT);
        assert_int_equal(generation, CASES[i].generation);
        assert_int_equal(err.message[0] == '\0', status == WL_OK);
    }
}

static void shelly_parts_that_meter_are_found(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int generation;
        unsigned id;
        const char *path; // NULL: none
    } CASES[] = {
        {GEN1_STATUS, 1, 0, "/meter/0"},
        {GEN1_STATUS, 1, 1, NULL},
        {GEN1_EM_STATUS, 1, 1, "/emeter/1"},
        {"{\"relays\":[{}]}", 1, 0, NULL},
        {"{\"sys\":{},\"switch:0\":{\"apower\":1},\"switch:1\":{\"apower\":2}}", 2, 1,
         "/rpc/Switch.GetStatus?id=1"},
        {"{\"pm1:0\":{\"apower\":1}}", 3, 0, "/rpc/PM1.GetStatus?id=0"},
        {"{\"switch:0\":{\"output\":true},\"em1:0\":{\"act_power\":1}}", 2, 0,
         "/rpc/EM1.GetStatus?id=0"},
        {"{\"em:0\":{\"a_act_power\":1,\"total_act_power\":2}}", 2, 0, "/rpc/EM.GetStatus?id=0"},
        {"{\"switch:0\":{\"apower\":null}}", 2, 0, "/rpc/Switch.GetStatus?id=0"},
        {"{\"switch:0\":{\"output\":true}}", 2, 0, NULL},
        {"{\"switch:0\":7}", 2, 0, NULL},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct shelly_component part;
        struct wl_err err;
        enum wl_status status = shelly_find_component(text_of(CASES[i].text), CASES[i].generation,
                                                      CASES[i].id, &part, &err);
        assert_int_equal(status, CASES[i].path ? WL_OK : WL_NOT_FOUND);
        assert_string_equal(part.path, CASES[i].path ? CASES[i].path : "");
    }
}

static void only_a_measured_power_is_taken(void **state) {
    (void)state;
    static const struct {
        const char *text;
        double power_w; // NaN: refused
    } CASES[] = {
        {GEN1_METER, 7.42},
        {GEN2_SWITCH, 8.9},
        {"{\"id\":0,\"act_power\":3}", 3},
        {"{\"id\":0,\"a_act_power\":1,\"total_act_power\":501.8}", 501.8},
        {"{\"apower\":0}", 0},
        {"{\"apower\":null}", NAN},
        {"{\"apower\":\"8.9\"}", NAN},
        {"{\"apower\":true}", NAN},
        {"{\"apower\":[8.9]}", NAN},
        {"{\"apower\":-3.2}", NAN},
        {"{\"apower\":1e300}", NAN},
        {"{\"apower\":1e999}", NAN},
        {"{\"apower\":NaN}", NAN},
        {"{\"apower\":8.9", NAN},
        {"{\"apower\":8.9}x", NAN},
        {"{\"apower\":1,\"apower\":2}", NAN},
        {"{\"power\":7.4,\"is_valid\":false}", NAN},
        {"{\"output\":true}", NAN},
        {"8.9", NAN},
        {"null", NAN},
        {"\x1f\x8b\x08", NAN}, // gzip, which was not asked for
        {"", NAN},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        double power_w = -1;
        struct wl_err err = {0};
        enum wl_status status = shelly_parse_power(text_of(CASES[i].text), &power_w, &err);
        if ((status == WL_OK) == isnan(CASES[i].power_w)) {
            fail_msg("'%s': %s", CASES[i].text, err.message);
        }
        assert_true(power_w == (status == WL_OK ? CASES[i].power_w : -1));
    }
}

static void tasmota_powers_are_taken(void **state) {
    (void)state;
    static const struct {
        const char *text;
        unsigned channel;
        enum wl_status status;
        double power_w, quantum_w;
    } CASES[] = {
        {"{\"StatusSNS\":{\"Time\":\"t\",\"ENERGY\":{\"Total\":1.2,\"Power\":12}}}", 0, WL_OK, 12,
         1},
        {"{\"StatusSNS\":{\"ENERGY\":{\"Power\":12.0}}}", 0, WL_OK, 12, 0.1},
        {"{\"StatusSNS\":{\"ENERGY\":{\"Power\":12.3}}}", 1, WL_OK, 12.3, 0.1},
        {"{\"StatusSNS\":{\"ENERGY\":{\"Power\":12.34}}}", 0, WL_OK, 12.34, 0.01},
        {"{\"StatusSNS\":{\"ENERGY\":{\"Power\":12.345}}}", 0, WL_OK, 12.345, 0.001},
        {"{\"StatusSNS\":{\"ENERGY\":{\"Power\":[5,7]}}}", 2, WL_OK, 7, 1},
        {"{\"StatusSNS\":{\"ENERGY\":{\"Power\":[5]}}}", 0, WL_OK, 5, 1},
        {"{\"StatusSNS\":{\"ENERGY\":{\"Power\":[5,7]}}}", 0, WL_USAGE, 0, 0},
        {"{\"StatusSNS\":{\"ENERGY\":{\"Power\":[5,7]}}}", 3, WL_NOT_FOUND, 0, 0},
        {"{\"StatusSNS\":{\"ENERGY\":{\"Power\":5}}}", 2, WL_NOT_FOUND, 0, 0},
        {"{\"StatusSNS\":{\"ENERGY\":{\"Power\":[]}}}", 0, WL_NOT_FOUND, 0, 0},
        {"{\"StatusPWR\":{\"Total\":1.2,\"Power\":60}}", 0, WL_OK, 60, 1},
        {"{\"StatusSNS\":{\"DS18B20\":{\"Temperature\":21}}}", 0, WL_NOT_FOUND, 0, 0},
        {"{\"StatusSNS\":{\"ENERGY\":{\"Power\":\"5\"}}}", 0, WL_INPUT, 0, 0},
        {"{\"StatusSNS\":{\"ENERGY\":{\"Power\":null}}}", 0, WL_INPUT, 0, 0},
        {"{\"StatusSNS\":{\"ENERGY\":{\"Power\":-5}}}", 0, WL_INPUT, 0, 0},
        {"{\"WARNING\":\"Need user=<username>&password=<password>\"}", 0, WL_PERMISSION, 0, 0},
        {"{\"Command\":\"Unknown\"}", 0, WL_NOT_FOUND, 0, 0},
        {"garbage", 0, WL_INPUT, 0, 0},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct tasmota_power power = {0};
        struct wl_err err = {0};
        enum wl_status status =
            tasmota_parse_power(text_of(CASES[i].text), CASES[i].channel, &power, &err);
        if (status != CASES[i].status) {
            fail_msg("'%s': status %d, %s", CASES[i].text, status, err.message);
        }
        assert_true(power.power_w == CASES[i].power_w);
        assert_true(fabs(power.quantum_w - CASES[i].quantum_w) < 1e-12);
    }
}

static void times_of_home_assistant_are_read(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int64_t time_s; // -1: refused
    } CASES[] = {
        {"1970-01-01T00:00:00Z", 0},
        {"2026-11-22T14:05:09.123456+00:00", 1795356309},
        {"2026-11-22T15:05:09+01:00", 1795356309},
        {"2026-11-22T08:35:09.9-05:30", 1795356309},
        {"2024-02-29T12:00:00+00:00", 1709208000},
        {"2026-11-22 14:05:09+00:00", -1},
        {"2026-11-22T14:05:09", -1},
        {"2026-13-22T14:05:09Z", -1},
        {"2026-11-22T14:05:09Zx", -1},
        {"2026-11-22T14:05", -1},
        {"now", -1},
        {"", -1},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        int64_t time_s = -1;
        assert_int_equal(homeassistant_parse_time(CASES[i].text, &time_s), CASES[i].time_s >= 0);
        assert_int_equal(time_s, CASES[i].time_s);
    }
}

#define HOME_STATE(state, unit)                                                                    \
    "{\"entity_id\":\"sensor.desk\",\"state\":" state                                              \
    ",\"attributes\":{\"unit_of_measurement\":" unit                                               \
    ",\"friendly_name\":\"Desk\"},\"last_changed\":\"2026-11-22T14:00:00.5+00:00\","               \
    "\"last_reported\":\"2026-11-22T14:05:00.5+00:00\","                                           \
    "\"last_updated\":\"2026-11-22T14:00:00.5+00:00\"}"

static void units_of_home_assistant_are_scaled(void **state) {
    (void)state;
    static const struct {
        const char *text;
        double value, quantum; // value NaN: refused
        bool is_energy;
    } CASES[] = {
        {HOME_STATE("\"12.3\"", "\"W\""), 12.3, 0.1, false},
        {HOME_STATE("\"12\"", "\"W\""), 12, 1, false},
        {HOME_STATE("\"0.0123\"", "\"kW\""), 12.3, 0.1, false},
        {HOME_STATE("\"12300\"", "\"mW\""), 12.3, 0.001, false},
        {HOME_STATE("\"1.25\"", "\"kWh\""), 4.5e6, 3.6e4, true},
        {HOME_STATE("\"1250\"", "\"Wh\""), 4.5e6, 3600, true},
        {HOME_STATE("\"1250000\"", "\"mWh\""), 4.5e6, 3.6, true},
        {HOME_STATE("\"0.00125\"", "\"MWh\""), 4.5e6, 3.6e4, true},
        {HOME_STATE("\"unavailable\"", "\"W\""), NAN, 0, false},
        {HOME_STATE("\"unknown\"", "\"W\""), NAN, 0, false},
        {HOME_STATE("\"nan\"", "\"W\""), NAN, 0, false},
        {HOME_STATE("\"12,3\"", "\"W\""), NAN, 0, false},
        {HOME_STATE("\"12.3 W\"", "\"W\""), NAN, 0, false},
        {HOME_STATE("\"-12.3\"", "\"W\""), NAN, 0, false},
        {HOME_STATE("\"1e99\"", "\"kWh\""), NAN, 0, false},
        {HOME_STATE("12.3", "\"W\""), NAN, 0, false},
        {HOME_STATE("null", "\"W\""), NAN, 0, false},
        {HOME_STATE("\"21.5\"", "\"°C\""), NAN, 0, false},
        {HOME_STATE("\"0.5\"", "\"A\""), NAN, 0, false},
        {HOME_STATE("\"on\"", "null"), NAN, 0, false},
        {"{\"state\":\"5\",\"attributes\":{\"unit_of_measurement\":\"W\"}}", NAN, 0, false},
        {"{\"state\":\"5\"}", NAN, 0, false},
        {"{\"message\":\"Entity not found.\"}", NAN, 0, false},
        {"[]", NAN, 0, false},
        {"garbage", NAN, 0, false},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct homeassistant_state home;
        struct wl_err err = {0};
        enum wl_status status = homeassistant_parse_state(text_of(CASES[i].text), &home, &err);
        if ((status == WL_OK) == isnan(CASES[i].value)) {
            fail_msg("'%s': %s", CASES[i].text, err.message);
        }
        if (status == WL_OK) {
            assert_true(fabs(home.value / CASES[i].value - 1) < 1e-12);
            assert_true(fabs(home.quantum / CASES[i].quantum - 1) < 1e-12);
            assert_int_equal(home.is_energy, CASES[i].is_energy);
            assert_int_equal(home.reported_s, 1795356300); // the newest of the three
        }
    }
}

// --- whole meters -------------------------------------------------------------------------------

// A clock whose every look takes as long as a test wants.
struct stepping_clock {
    int64_t t_ns, step_ns;
};

static int64_t stepping_now(void *context) {
    struct stepping_clock *clock = context;
    return clock->t_ns += clock->step_ns;
}

struct bench {
    struct http_server server;
    struct test_tree tokens;
    struct stepping_clock time;
    struct os_clock clock;
    struct meter_env env;
    struct meter *meter;
    struct wl_err err;
};

static void bench_start(struct bench *bench) {
    *bench = (struct bench){.time = {.t_ns = 1, .step_ns = 50 * MS}};
    http_server_start(&bench->server, 0);
    test_tree_make(&bench->tokens);
    bench->clock = (struct os_clock){.now_ns = stepping_now, .context = &bench->time};
    bench->env = (struct meter_env){
        .clock = &bench->clock, .token_dir = bench->tokens.root, .has_no_threads = true};
}

static void bench_stop(struct bench *bench) {
    meter_close(bench->meter);
    http_server_stop(&bench->server);
    test_tree_remove(&bench->tokens);
}

static void serve(struct bench *bench, const char *path, const char *body) {
    http_server_route(&bench->server, (struct http_server_route){.path = path, .body = body});
}

// Opens "<source>:127.0.0.1:<port><item>".
static enum wl_status open_plug(struct bench *bench, const char *source, const char *item) {
    char name[128];
    snprintf(name, sizeof name, "%s:127.0.0.1:%d%s", source, bench->server.port, item);
    return meter_open(&bench->env, name, &bench->meter, &bench->err);
}

static void must_open(struct bench *bench, const char *source, const char *item) {
    if (open_plug(bench, source, item) != WL_OK) {
        fail_msg("%s", bench->err.message);
    }
}

static void must_fail(struct bench *bench, const char *source, const char *item,
                      enum wl_status status, const char *says) {
    assert_int_equal(open_plug(bench, source, item), status);
    if (!strstr(bench->err.message, says)) {
        fail_msg("'%s' does not say '%s'", bench->err.message, says);
    }
}

// The next reading in W; NaN for a gap.
static double read_w(struct bench *bench) {
    struct meter_reading reading;
    assert_int_equal(meter_read(bench->meter, &reading, NULL), WL_OK);
    assert_false(reading.is_empty);
    assert_true(reading.t_before_ns > 0 && reading.t_after_ns >= reading.t_before_ns);
    return reading.channel[0].is_valid ? reading.channel[0].value : (double)NAN;
}

static void write_token(struct bench *bench, const char *text) {
    test_tree_write(&bench->tokens, "/127.0.0.1", "%s", text);
    assert_int_equal(chmod(test_tree_path(&bench->tokens, "/127.0.0.1"), 0600), 0);
}

static void serve_gen2(struct bench *bench, const char *status) {
    serve(bench, "/shelly", "{\"id\":\"shellyplusplugs-a\",\"gen\":2,\"app\":\"PlusPlugS\"}");
    serve(bench, "/rpc/Shelly.GetStatus", "{\"sys\":{},\"switch:0\":{\"apower\":8.9}}");
    serve(bench, "/rpc/Switch.GetStatus?id=0", status);
}

static void network_meters_are_used_only_when_named(void **state) {
    (void)state;
    static const char *const NAMES[] = {"shelly", "tasmota", "homeassistant"};
    struct meter_verdict verdicts[METER_MAX_SOURCES];
    struct meter_env env = {0};
    size_t n, n_seen = 0;
    meter_probe_all(&env, verdicts, &n);
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < 3; k++) {
            if (strcmp(verdicts[i].name, NAMES[k]) == 0) {
                char form[64];
                n_seen++;
                snprintf(form, sizeof form, "%s:HOST", NAMES[k]);
                assert_int_equal(verdicts[i].availability, METER_ON_REQUEST);
                assert_true(verdicts[i].is_external);
                assert_int_equal(verdicts[i].scope, METER_SCOPE_WALL);
                assert_non_null(strstr(verdicts[i].reason, form));
                assert_non_null(strstr(verdicts[i].fix, "tokens/"));
                assert_true(strlen(verdicts[i].fix) < sizeof verdicts[i].fix - 1);
            }
        }
    }
    assert_int_equal(n_seen, 3);
}

static void a_first_generation_shelly_is_read(void **state) {
    (void)state;
    struct bench bench;
    bench_start(&bench);
    serve(&bench, "/shelly", "{\"type\":\"SHPLG-S\",\"mac\":\"A\",\"auth\":false}");
    serve(&bench, "/status", GEN1_STATUS);
    serve(&bench, "/meter/0", GEN1_METER);
    must_open(&bench, "shelly", "");
    const struct meter_info *info = meter_info(bench.meter);
    assert_string_equal(info->title, "Shelly Gen1 (meter 0)");
    assert_int_equal(info->kind, METER_GAUGE_INSTANT);
    assert_int_equal(info->scope, METER_SCOPE_WALL);
    assert_true(info->may_block && info->includes_dram && info->n_channels == 1);
    assert_true(info->quantum == 0.1 && info->gain_error_rel == 0.03);
    assert_int_equal(info->poll_period_ns, S);
    assert_true(read_w(&bench) == 7.42);
    serve(&bench, "/meter/0", "{\"power\":7.42,\"is_valid\":false}");
    assert_true(isnan(read_w(&bench)));
    bench_stop(&bench);
}

static void a_second_generation_shelly_is_read(void **state) {
    (void)state;
    struct bench bench;
    bench_start(&bench);
    serve_gen2(&bench, GEN2_SWITCH);
    must_open(&bench, "shelly", "/0");
    assert_string_equal(meter_info(bench.meter)->title, "Shelly Gen2 (switch:0)");
    assert_true(read_w(&bench) == 8.9);
    serve(&bench, "/rpc/Switch.GetStatus?id=0", "{\"id\":0,\"output\":false,\"apower\":null}");
    assert_true(isnan(read_w(&bench)));
    bench_stop(&bench);
}

static void a_shelly_with_a_password_is_read(void **state) {
    (void)state;
    static const char CHALLENGE[] =
        "WWW-Authenticate: Digest qop=\"auth\", realm=\"shellyplus-a\", "
        "nonce=\"60dc59c6\", algorithm=SHA-256\r\n";
    struct bench bench;
    bench_start(&bench);
    serve_gen2(&bench, GEN2_SWITCH); // /shelly itself is open in every case
    for (int i = 1; i < 3; i++) {
        struct http_server_route route = bench.server.route[i];
        route.secret = "Digest username=\"admin\"";
        route.challenge = CHALLENGE;
        http_server_route(&bench.server, route);
    }
    must_fail(&bench, "shelly", "", WL_PERMISSION, "/127.0.0.1' and run: chmod 600");
    write_token(&bench, "hunter2\n"); // the only user is admin
    must_open(&bench, "shelly", "");
    assert_true(read_w(&bench) == 8.9);
    assert_non_null(strstr(http_server_last(&bench.server), "response=\""));
    meter_close(bench.meter);
    bench.meter = NULL;
    write_token(&bench, "guest:hunter2\n");
    must_fail(&bench, "shelly", "", WL_PERMISSION, "is what '");
    assert_null(strstr(bench.err.message, "hunter2"));
    assert_int_equal(chmod(test_tree_path(&bench.tokens, "/127.0.0.1"), 0644), 0);
    must_fail(&bench, "shelly", "", WL_PERMISSION, "chmod 600");
    bench_stop(&bench);
}

static void a_wrong_start_says_what_is_wrong(void **state) {
    (void)state;
    struct bench bench;
    bench_start(&bench);
    must_fail(&bench, "shelly", "", WL_NOT_FOUND, "/shelly' (HTTP 404)");
    serve(&bench, "/shelly", "{\"name\":\"printer\"}");
    must_fail(&bench, "shelly", "", WL_INPUT, "this is no Shelly");
    serve_gen2(&bench, "{\"apower\":null}");
    must_fail(&bench, "shelly", "", WL_INPUT, "'apower' is null");
    must_fail(&bench, "shelly", "/3", WL_NOT_FOUND, "no power meter number 3");
    must_fail(&bench, "shelly", "/x", WL_USAGE, "shelly:HOST[:PORT][/ID]");
    must_fail(&bench, "tasmota", "", WL_NOT_FOUND, "/cm' (HTTP 404)");
    must_fail(&bench, "homeassistant", "", WL_USAGE, "homeassistant:HOST");
    must_fail(&bench, "homeassistant", "/sensor", WL_USAGE, "homeassistant:HOST");
    must_fail(&bench, "homeassistant", "/sensor.a/../../config", WL_USAGE, "homeassistant:HOST");
    must_fail(&bench, "homeassistant", "/sensor.a?b=c", WL_USAGE, "homeassistant:HOST");
    must_fail(&bench, "homeassistant", "/sensor.gone", WL_NOT_FOUND, "sensor.gone' (HTTP 404)");
    assert_int_equal(meter_open(&bench.env, "shelly", &bench.meter, &bench.err), WL_USAGE);
    bench_stop(&bench);
}

static void every_bad_answer_is_a_gap_and_the_meter_goes_on(void **state) {
    (void)state;
    static const struct http_server_route BAD[] = {
        {.code = 500},           {.code = 401},
        {.code = 404},           {.code = 302, .headers = "Location: /shelly\r\n"},
        {.way = HTTP_WAY_CUT},   {.way = HTTP_WAY_RESET},
        {.way = HTTP_WAY_LYING}, {.way = HTTP_WAY_NONSENSE},
    };
    static const char *const TEXTS[] = {
        "", "garbage", "{}", "{\"apower\":\"8.9\"}", "{\"apower\":-1}", "{\"apower\":1e12}"};
    struct bench bench;
    bench_start(&bench);
    serve_gen2(&bench, GEN2_SWITCH);
    must_open(&bench, "shelly", "");
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
        struct http_server_route route = BAD[i];
        route.path = "/rpc/Switch.GetStatus?id=0";
        route.body = GEN2_SWITCH;
        http_server_route(&bench.server, route);
        assert_true(isnan(read_w(&bench)));
        serve_gen2(&bench, GEN2_SWITCH);
        assert_true(read_w(&bench) == 8.9);
    }
    for (size_t i = 0; i < sizeof TEXTS / sizeof TEXTS[0]; i++) {
        serve_gen2(&bench, TEXTS[i]);
        assert_true(isnan(read_w(&bench)));
    }
    bench_stop(&bench);
}

static void an_answer_slower_than_the_period_is_a_gap(void **state) {
    (void)state;
    struct bench bench;
    struct meter_reading reading;
    bench_start(&bench);
    serve_gen2(&bench, GEN2_SWITCH);
    must_open(&bench, "shelly", "");
    bench.time.step_ns = S;
    assert_true(read_w(&bench) == 8.9);
    bench.time.step_ns = S + 1;
    assert_int_equal(meter_read(bench.meter, &reading, NULL), WL_OK);
    assert_false(reading.channel[0].is_valid);
    // Its length must not count as the uncertainty of the good readings' times.
    assert_int_equal(reading.t_before_ns, reading.t_after_ns);
    bench_stop(&bench);
}

static void a_plug_that_vanishes_comes_back_and_the_energy_stays_right(void **state) {
    (void)state;
    struct bench bench;
    struct meter_total *total;
    struct meter_reading reading;
    struct meter_energy energy;
    bench_start(&bench);
    serve_gen2(&bench, "{\"apower\":10}");
    must_open(&bench, "shelly", "");
    struct meter_total_options options = {.period_ns = S};
    assert_int_equal(meter_total_new(meter_info(bench.meter), &options, &total, NULL), WL_OK);
    int port = bench.server.port;
    for (int second = 0; second < 60; second++) {
        if (second == 20) {
            http_server_stop(&bench.server);
        } else if (second == 30) {
            http_server_start(&bench.server, port);
            serve_gen2(&bench, "{\"apower\":10}");
        }
        bench.time.t_ns = (100 + second) * S;
        assert_int_equal(meter_read(bench.meter, &reading, NULL), WL_OK);
        assert_int_equal(reading.channel[0].is_valid, second < 20 || second >= 30);
        assert_int_equal(meter_total_feed(total, &reading, NULL, NULL), WL_OK);
    }
    assert_int_equal(meter_total_window(total, 100 * S, 150 * S, &energy, NULL), WL_OK);
    assert_true(energy.flags & RECORD_GAP);
    assert_true(fabs(energy.gross_j - 500) < 1e-6); // bridged and said so, no zeros
    assert_true(energy.coverage > 0.75 && energy.coverage < 0.85);
    assert_int_equal(meter_total_window(total, 100 * S, 115 * S, &energy, NULL), WL_OK);
    assert_false(energy.flags & RECORD_GAP);
    assert_true(fabs(energy.gross_j - 150) < 1e-6);
    meter_total_free(total);
    bench_stop(&bench);
}

static void a_tasmota_plug_is_read(void **state) {
    (void)state;
    struct bench bench;
    bench_start(&bench);
    serve(&bench, "/cm?cmnd=Status%208",
          "{\"StatusSNS\":{\"ENERGY\":{\"Power\":[5.25,7.5],\"Voltage\":230}}}");
    must_fail(&bench, "tasmota", "", WL_USAGE, "2 channels");
    must_fail(&bench, "tasmota", "/3", WL_NOT_FOUND, "2 metered channels, not 3");
    must_open(&bench, "tasmota", "/1");
    assert_true(fabs(meter_info(bench.meter)->quantum - 0.01) < 1e-12);
    assert_string_equal(meter_info(bench.meter)->title, "Tasmota plug, channel 1");
    assert_true(read_w(&bench) == 5.25);
    serve(&bench, "/cm?cmnd=Status%208", "{\"StatusSNS\":{\"ENERGY\":{\"Power\":[null,7.5]}}}");
    assert_true(isnan(read_w(&bench)));
    bench_stop(&bench);
}

static void a_tasmota_password_goes_only_into_the_request(void **state) {
    (void)state;
    struct bench bench;
    bench_start(&bench);
    serve(&bench, "/cm?user=admin&password=a%26b%20%25%C3%A9%2F&cmnd=Status%208",
          "{\"StatusSNS\":{\"ENERGY\":{\"Power\":5}}}");
    serve(&bench, "/cm?", "{\"WARNING\":\"Need user=<username>&password=<password>\"}");
    must_fail(&bench, "tasmota", "", WL_PERMISSION, "/127.0.0.1' and run: chmod 600");
    write_token(&bench, "a&b %é/\n");
    must_open(&bench, "tasmota", "");
    assert_true(read_w(&bench) == 5);
    meter_close(bench.meter);
    bench.meter = NULL;
    write_token(&bench, "admin:wrongword\n");
    must_fail(&bench, "tasmota", "", WL_PERMISSION, "is what '");
    assert_null(strstr(bench.err.message, "wrongword"));
    http_server_route(&bench.server,
                      (struct http_server_route){.path = "/cm?", .code = 500, .body = "wrongword"});
    must_fail(&bench, "tasmota", "", WL_INPUT, "/cm' answered with HTTP 500");
    assert_null(strstr(bench.err.message, "wrongword"));
    bench_stop(&bench);
}

static void serve_home(struct bench *bench, const char *date, const char *body) {
    http_server_route(&bench->server, (struct http_server_route){.path = "/api/states/sensor.desk",
                                                                 .body = body,
                                                                 .headers = date,
                                                                 .secret = "Bearer abc\r\n"});
}

static void a_home_assistant_power_is_held_until_it_is_stale(void **state) {
    (void)state;
    struct bench bench;
    bench_start(&bench);
    static const char FRESH[] = "Date: Sun, 22 Nov 2026 14:05:30 GMT\r\n",
                      STALE[] = "Date: Sun, 22 Nov 2026 14:05:31 GMT\r\n";
    serve_home(&bench, STALE, HOME_STATE("\"12.3\"", "\"W\""));
    must_fail(&bench, "homeassistant", "/sensor.desk", WL_PERMISSION, "chmod 600");
    write_token(&bench, "abc\n");
    must_fail(&bench, "homeassistant", "/sensor.desk", WL_INPUT, "its value is 31 s old");
    serve_home(&bench, FRESH, HOME_STATE("\"unavailable\"", "\"W\""));
    must_fail(&bench, "homeassistant", "/sensor.desk", WL_INPUT, "its state is 'unavailable'");
    serve_home(&bench, FRESH, HOME_STATE("\"12.3\"", "\"W\""));
    must_open(&bench, "homeassistant", "/sensor.desk");
    assert_int_equal(meter_info(bench.meter)->kind, METER_GAUGE_INSTANT);
    assert_int_equal(meter_info(bench.meter)->native_period_ns, 10 * S);
    assert_true(read_w(&bench) == 12.3);
    assert_true(read_w(&bench) == 12.3);
    serve_home(&bench, STALE, HOME_STATE("\"12.3\"", "\"W\""));
    assert_true(isnan(read_w(&bench)));
    serve_home(&bench, FRESH, HOME_STATE("\"unknown\"", "\"W\""));
    assert_true(isnan(read_w(&bench)));
    serve_home(&bench, FRESH, HOME_STATE("\"12.3\"", "\"kWh\"")); // became another sensor
    assert_true(isnan(read_w(&bench)));
    serve_home(&bench, FRESH, HOME_STATE("\"0.02\"", "\"kW\""));
    assert_true(read_w(&bench) == 20);
    bench_stop(&bench);
}

static void a_home_assistant_energy_is_a_counter(void **state) {
    (void)state;
    static const char DATE[] =
        "Date: Sun, 22 Nov 2026 14:07:00 GMT\r\n"; // 2 minutes old: not stale
    struct bench bench;
    struct meter_reading first, second;
    bench_start(&bench);
    write_token(&bench, "abc\n");
    serve_home(&bench, DATE, HOME_STATE("\"812.345\"", "\"kWh\""));
    must_open(&bench, "homeassistant", "/sensor.desk");
    const struct meter_info *info = meter_info(bench.meter);
    assert_int_equal(info->kind, METER_COUNTER);
    assert_true(fabs(info->quantum - 3600) < 1e-9);
    assert_int_equal(meter_read(bench.meter, &first, NULL), WL_OK);
    serve_home(&bench, DATE, HOME_STATE("\"812.346\"", "\"kWh\""));
    assert_int_equal(meter_read(bench.meter, &second, NULL), WL_OK);
    assert_true(first.channel[0].is_valid && second.channel[0].is_valid);
    double step_j = (double)(second.channel[0].raw - first.channel[0].raw) * info->channel[0].scale;
    assert_true(fabs(step_j - 3600) < 0.01);
    assert_int_equal(info->channel[0].range, 0);
    bench_stop(&bench);
}

// As it runs for users: on a thread of its own, on the real clock.
static void a_plug_is_read_beside_the_caller(void **state) {
    (void)state;
    struct bench bench;
    struct meter_reading reading;
    bench_start(&bench);
    bench.env.clock = NULL;
    bench.env.has_no_threads = false;
    serve_gen2(&bench, GEN2_SWITCH);
    must_open(&bench, "shelly", "");
    int n = 0;
    int64_t deadline_ns = os_now_ns() + 5 * S;
    while (n < 2 && os_now_ns() < deadline_ns) {
        int64_t before_ns = os_now_ns();
        assert_int_equal(meter_read(bench.meter, &reading, NULL), WL_OK);
        assert_true(os_now_ns() - before_ns < 200 * MS);
        n += !reading.is_empty && reading.channel[0].is_valid && reading.channel[0].value == 8.9;
        os_sleep_until_ns(os_now_ns() + 50 * MS);
    }
    assert_int_equal(n, 2);
    bench_stop(&bench);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shelly_says_its_generation),
        cmocka_unit_test(shelly_parts_that_meter_are_found),
        cmocka_unit_test(only_a_measured_power_is_taken),
        cmocka_unit_test(tasmota_powers_are_taken),
        cmocka_unit_test(times_of_home_assistant_are_read),
        cmocka_unit_test(units_of_home_assistant_are_scaled),
        cmocka_unit_test(network_meters_are_used_only_when_named),
        cmocka_unit_test(a_first_generation_shelly_is_read),
        cmocka_unit_test(a_second_generation_shelly_is_read),
        cmocka_unit_test(a_shelly_with_a_password_is_read),
        cmocka_unit_test(a_wrong_start_says_what_is_wrong),
        cmocka_unit_test(every_bad_answer_is_a_gap_and_the_meter_goes_on),
        cmocka_unit_test(an_answer_slower_than_the_period_is_a_gap),
        cmocka_unit_test(a_plug_that_vanishes_comes_back_and_the_energy_stays_right),
        cmocka_unit_test(a_tasmota_plug_is_read),
        cmocka_unit_test(a_tasmota_password_goes_only_into_the_request),
        cmocka_unit_test(a_home_assistant_power_is_held_until_it_is_stale),
        cmocka_unit_test(a_home_assistant_energy_is_a_counter),
        cmocka_unit_test(a_plug_is_read_beside_the_caller),
    };
    const struct http_curl *curl;
    struct wl_err err;
    if (http_curl_load(&curl, &err) != WL_OK) {
        printf("skipped: %s\n", err.message);
        return EXIT_SKIPPED;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
