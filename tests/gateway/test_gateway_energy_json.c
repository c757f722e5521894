// The documents of /v1/energy and /v1/energy/live, from what the gateway's parts say.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "gateway/energy_json.h"
#include "gateway/live_json.h"

static const double NONE = (double)NAN;

static const json_t *at(const json_t *root, const char *path) {
    char name[64];
    while (*path && root) {
        size_t n = strcspn(path, ".");
        snprintf(name, sizeof name, "%.*s", (int)n, path);
        bool is_index = name[0] >= '0' && name[0] <= '9';
        root =
            is_index ? json_array_get(root, (size_t)(name[0] - '0')) : json_object_get(root, name);
        path += n + (path[n] == '.');
    }
    return root;
}

static double number(const json_t *root, const char *path) {
    const json_t *value = at(root, path);
    if (!json_is_number(value)) {
        fail_msg("'%s' is no number", path);
    }
    return json_number_value(value);
}

static void near(const json_t *root, const char *path, double expected) {
    if (fabs(number(root, path) - expected) > 1e-6) {
        fail_msg("'%s': expected %g, found %g", path, expected, number(root, path));
    }
}

static const char *text(const json_t *root, const char *path) {
    const char *value = json_string_value(at(root, path));
    return value ? value : "(no text)";
}

static bool is_null(const json_t *root, const char *path) {
    return json_is_null(at(root, path));
}

// ---- /v1/energy ----

static void energy_adds_up(void **state) {
    (void)state;
    const struct ledger_summary keys[] = {{.name = "kitchen",
                                           .n_requests = 3,
                                           .n_answered = 2,
                                           .prompt_tokens = 100,
                                           .completion_tokens = 20,
                                           .gross_wh = 2,
                                           .net_wh = 1}};
    const struct ledger_summary models[] = {keys[0], keys[0]};
    const struct ledger_machine machine = {
        .measured_j = 36000, .shared_j = 14400, .idle_j = 21600, .gap_s = 3};
    const struct energy_view view = {.since_ms = 86400000,
                                     .until_ms = INT64_MAX,
                                     .source = "powercap",
                                     .scope = "package",
                                     .idle_w = 5,
                                     .idle_sd_w = 0.1,
                                     .now_w = NONE,
                                     .machine = &machine,
                                     .by_key = {keys, 1},
                                     .by_model = {models, 2}};
    json_t *json = energy_json(&view);
    near(json, "schema_version", ENERGY_SCHEMA_VERSION);
    assert_string_equal(text(json, "since"), "1970-01-02T00:00:00Z");
    assert_true(is_null(json, "until") && is_null(json, "label") && is_null(json, "now_w"));
    assert_string_equal(text(json, "source"), "powercap");
    near(json, "idle_w_ci95.0", 5 - 0.1959964);
    near(json, "idle_w_ci95.1", 5 + 0.1959964);
    near(json, "totals.requests_wh", 4);
    near(json, "totals.answered", 4);
    near(json, "totals.measured_wh", 10);
    near(json, "totals.idle_wh", 6);
    near(json, "totals.gap_s", 3);
    assert_string_equal(text(json, "by_key.0.key"), "kitchen");
    near(json, "by_key.0.wh", 2);
    near(json, "by_key.0.completion_tokens", 20);
    assert_int_equal(json_array_size(at(json, "by_model")), 2);
    assert_int_equal(json_array_size(at(json, "by_day")), 0);
    json_decref(json);
}

static void without_a_meter_and_an_admin_little_is_known(void **state) {
    (void)state;
    const struct energy_view view = {.idle_w = NONE, .idle_sd_w = NONE, .now_w = NONE};
    json_t *json = energy_json(&view);
    assert_true(is_null(json, "since") && is_null(json, "idle_w") && is_null(json, "idle_w_ci95"));
    assert_true(is_null(json, "totals.measured_wh") && is_null(json, "totals.gap_s"));
    near(json, "totals.requests", 0);
    json_decref(json);
}

static void a_name_that_is_no_text_does_no_harm(void **state) {
    (void)state;
    const struct ledger_summary models[] = {{.name = "cut \xc3"}, {.name = "\x1b[31m"}};
    const struct energy_view view = {.by_model = {models, 2}};
    json_t *json = energy_json(&view);
    assert_string_equal(text(json, "by_model.0.model"), "cut ?");
    assert_string_equal(text(json, "by_model.1.model"), "?[31m");
    json_decref(json);
}

// ---- /v1/energy/live ----

enum { N_RECENT = 4, N_WATTS = 3 };
static const int64_t NOW_MS = INT64_C(1700000000000);

struct fixture {
    struct live_view view;
    struct power_state power;
    struct ledger_row recent[N_RECENT];
    float watts[N_WATTS];
    struct upstream_facts upstream;
    struct ledger_health ledger;
    struct canary_figures canary;
    struct accounts accounts;
    struct account keys[3];
};

static struct ledger_row request(const char *id, int64_t ended_before_ms) {
    struct ledger_row row = {.begin_wall_ms = NOW_MS - ended_before_ms - 2000,
                             .http_status = 200,
                             .prompt_tokens = 100,
                             .cached_tokens = LEDGER_ABSENT,
                             .completion_tokens = 30,
                             .wait_s = 0,
                             .first_s = 0.5,
                             .total_s = 2,
                             .gross_j = 36,
                             .gross_sd_j = 3.6,
                             .net_j = NONE,
                             .net_sd_j = NONE,
                             .n_shared = 1};
    snprintf(row.id, sizeof row.id, "%s", id);
    snprintf(row.label, sizeof row.label, "measured");
    return row;
}

static void set_account(struct account *account, const char *name, double wh) {
    budget_init(&account->budget);
    snprintf(account->key.name, sizeof account->key.name, "%s", name);
    budget_roll(&account->budget, NOW_MS / 1000, 0);
    account->budget.spent[BUDGET_WH] = wh;
    account->budget.spent[BUDGET_TOKENS] = 1000 * wh;
}

static void fill(struct fixture *f) {
    *f = (struct fixture){.power = {.watts = 12.5, .idle_w = 5, .idle_sd_w = NONE},
                          .watts = {3, 1, (float)NAN},
                          .upstream = {.kind = UPSTREAM_OLLAMA, .health = UPSTREAM_UP},
                          .canary = {.accuracy = 0.9, .accuracy_low = 0.8, .accuracy_high = 0.95},
                          .ledger = {.is_failing = true, .problem = "the disk is full"}};
    f->power.totals.measured_j = 7200;
    set_account(&f->accounts.everybody, "", 0);
    set_account(&f->accounts.ourselves, "", 0);
    set_account(&f->keys[0], "garage", 1);
    set_account(&f->keys[1], "kitchen", 2);
    set_account(&f->keys[2], "gone", 0);
    f->keys[1].budget.limit[BUDGET_WH] = 10;
    f->keys[1].budget.held[BUDGET_WH] = 3;
    f->keys[1].budget.limit[BUDGET_REQUESTS] = 60;
    f->keys[2].is_revoked = true;
    f->keys[0].next = &f->keys[1];
    f->keys[1].next = &f->keys[2];
    f->accounts.first = &f->keys[0];
    f->recent[0] = request("second", 5000);
    f->recent[3] = request("first", 70000);
    f->view = (struct live_view){.now_ms = NOW_MS,
                                 .begin_ms = NOW_MS - 90000,
                                 .version = "0.1",
                                 .source = "powercap",
                                 .power = &f->power,
                                 .watts = f->watts,
                                 .n_watts = N_WATTS,
                                 .watts_at = 1,
                                 .watts_capacity = N_WATTS,
                                 .watts_period_s = 1,
                                 .recent = f->recent,
                                 .n_recent = 2,
                                 .recent_at = 1,
                                 .recent_capacity = N_RECENT,
                                 .n_queued = 7,
                                 .upstream = &f->upstream,
                                 .ledger = &f->ledger,
                                 .canary = &f->canary,
                                 .accounts = &f->accounts};
}

static void a_live_view_shows_all_parts(void **state) {
    struct fixture f;
    (void)state;
    fill(&f);
    json_t *json = live_json(&f.view);
    near(json, "uptime_s", 90);
    near(json, "meter.now_w", 12.5);
    near(json, "meter.measured_wh", 2);
    assert_true(is_null(json, "meter.idle_w_ci95"));
    near(json, "watts.values.0", 1); // the oldest first
    assert_true(is_null(json, "watts.values.1"));
    near(json, "watts.values.2", 3);
    near(json, "queue.waiting", 7);
    assert_string_equal(text(json, "upstream.kind"), "ollama");
    assert_string_equal(text(json, "upstream.health"), "up");
    assert_true(json_is_true(at(json, "ledger.failing")));
    near(json, "canary.accuracy_ci95.0", 0.8);
    json_decref(json);
}

static void requests_come_newest_first(void **state) {
    struct fixture f;
    (void)state;
    fill(&f);
    const struct ledger_row running = request("now", 0);
    f.view.running = &running;
    f.view.n_rows_running = 1;
    json_t *json = live_json(&f.view);
    assert_string_equal(text(json, "requests.0.id"), "second");
    assert_string_equal(text(json, "requests.0.end"), "answered");
    assert_string_equal(text(json, "requests.1.id"), "first");
    assert_string_equal(text(json, "running.0.end"), "running");
    near(json, "requests.0.energy.wh", 0.01);
    near(json, "requests.0.energy.wh_ci95.0", 0.01 - 0.00195996);
    assert_true(is_null(json, "requests.0.energy.net_wh"));
    assert_true(is_null(json, "requests.0.cached_tokens"));
    near(json, "minute.requests", 1); // the first one ended before
    near(json, "minute.completion_tokens", 30);
    json_decref(json);
}

static void a_ring_that_holds_less_than_a_minute_is_scaled(void **state) {
    struct fixture f;
    (void)state;
    fill(&f);
    for (int i = 0; i < N_RECENT; i++) {
        f.recent[i] = request("x", 10000 - 1000 * i);
    }
    f.view.n_recent = N_RECENT;
    f.view.recent_at = 0;
    json_t *json = live_json(&f.view);
    near(json, "minute.requests", 24); // four in ten seconds
    json_decref(json);
}

static void keys_come_by_their_energy(void **state) {
    struct fixture f;
    (void)state;
    fill(&f);
    json_t *json = live_json(&f.view);
    near(json, "n_keys", 2); // one has gone, unused
    assert_string_equal(text(json, "keys.0.key"), "kitchen");
    assert_string_equal(text(json, "keys.1.key"), "garage");
    assert_string_equal(text(json, "keys.0.limits.0.kind"), "requests");
    assert_string_equal(text(json, "keys.0.limits.1.kind"), "wh");
    near(json, "keys.0.limits.1.left", 5);
    near(json, "today.wh", 3);
    near(json, "today.tokens", 3000);
    json_decref(json);
    f.view.now_ms += 86400000; // nobody has asked since
    json = live_json(&f.view);
    near(json, "today.wh", 0);
    assert_true(f.keys[1].budget.spent[BUDGET_WH] > 0); // a view changes nothing
    json_decref(json);
}

static void parts_that_are_not_there_are_null(void **state) {
    struct fixture f;
    (void)state;
    fill(&f);
    f.view.power = NULL;
    f.view.upstream = NULL;
    f.view.ledger = NULL;
    f.view.canary = NULL;
    f.view.n_watts = f.view.n_recent = 0;
    f.accounts.first = NULL;
    json_t *json = live_json(&f.view);
    assert_true(is_null(json, "meter") && is_null(json, "upstream") && is_null(json, "ledger"));
    assert_true(is_null(json, "canary"));
    assert_int_equal(json_array_size(at(json, "keys")), 0);
    assert_int_equal(json_array_size(at(json, "watts.values")), 0);
    json_decref(json);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(energy_adds_up),
        cmocka_unit_test(without_a_meter_and_an_admin_little_is_known),
        cmocka_unit_test(a_name_that_is_no_text_does_no_harm),
        cmocka_unit_test(a_live_view_shows_all_parts),
        cmocka_unit_test(requests_come_newest_first),
        cmocka_unit_test(a_ring_that_holds_less_than_a_minute_is_scaled),
        cmocka_unit_test(keys_come_by_their_energy),
        cmocka_unit_test(parts_that_are_not_there_are_null),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
