// Records survive JSON, also with figures that were not measured; flags and labels have names; the
// table of metrics is sound.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/json.h"
#include "base/rng.h"
#include "base/str.h"
#include "record/record.h"

static bool is_same(double a, double b) {
    return a == b || (isnan(a) && isnan(b));
}

static double random_figure(struct rng *rng) {
    return rng_below(rng, 4) == 0 ? NAN : (rng_uniform(rng) - 0.3) * pow(10, rng_below(rng, 12));
}

static void fill(struct record *record, struct rng *rng) {
    static const char *const NAMES[] = {"rapl", "estimate", "", "a name as long as there can be."};
    record_init(record);
    record->id = (int64_t)rng_next(rng);
    record->model_id = rng_below(rng, 100);
    record->seq = rng_below(rng, UINT32_MAX);
    record->cell = 3;
    record->repeat = UINT32_MAX;
    record->prompt_tokens = 128;
    record->generated_tokens = 32;
    record->t0_ns = (int64_t)(rng_next(rng) >> 1);
    record->t1_ns = INT64_MAX;
    record->wall_ns = -1;
    record->flags = rng_below(rng, 1024);
    for (int i = 0; i < METRIC_COUNT; i++) {
        record->value[i] = random_figure(rng);
    }
    record->n_energies = rng_below(rng, RECORD_MAX_ENERGIES + 1);
    for (uint32_t i = 0; i < record->n_energies; i++) {
        struct record_energy *e = &record->energy[i];
        double *const figures[] = {&e->gross_j,        &e->gross_sd_j, &e->net_j,  &e->net_sd_j,
                                   &e->systematic_rel, &e->coverage,   &e->idle_w, &e->idle_sd_w};
        str_copy(e->source, RECORD_NAME_BYTES, NAMES[rng_below(rng, 4)]);
        str_copy(e->scope, RECORD_NAME_BYTES, NAMES[rng_below(rng, 4)]);
        e->label = (enum record_label)rng_below(rng, 4);
        for (size_t f = 0; f < sizeof figures / sizeof figures[0]; f++) {
            *figures[f] = random_figure(rng);
        }
    }
    record->n_phases = rng_below(rng, RECORD_MAX_PHASES + 1);
    for (uint32_t i = 0; i < record->n_phases; i++) {
        struct record_phase *p = &record->phase[i];
        str_copy(p->name, RECORD_NAME_BYTES, i ? "decode" : "prefill");
        p->t0_ns = (int64_t)i * 1000;
        p->t1_ns = p->t0_ns + 999;
        p->duration_ns = 998;
        p->cpu_ns = 5;
        p->peak_rss_bytes = 1 << 30;
        p->n_tokens = UINT32_MAX;
        p->gross_j = random_figure(rng);
        p->net_j = random_figure(rng);
    }
    if (rng_below(rng, 2)) {
        record->vision = (struct record_vision){UINT32_MAX, 4000, 3000, 1ull << 62, 4096, 17, 8, 9};
    }
}

static void expect_equal(const struct record *a, const struct record *b) {
    assert_true(a->id == b->id && a->model_id == b->model_id && a->seq == b->seq);
    assert_true(a->cell == b->cell && a->repeat == b->repeat && a->flags == b->flags);
    assert_true(a->prompt_tokens == b->prompt_tokens);
    assert_true(a->generated_tokens == b->generated_tokens);
    assert_true(a->t0_ns == b->t0_ns && a->t1_ns == b->t1_ns && a->wall_ns == b->wall_ns);
    for (int i = 0; i < METRIC_COUNT; i++) {
        assert_true(is_same(a->value[i], b->value[i]));
    }
    assert_int_equal(a->n_energies, b->n_energies);
    for (uint32_t i = 0; i < a->n_energies; i++) {
        const struct record_energy *x = &a->energy[i], *y = &b->energy[i];
        assert_string_equal(x->source, y->source);
        assert_string_equal(x->scope, y->scope);
        assert_int_equal(x->label, y->label);
        assert_true(is_same(x->gross_j, y->gross_j) && is_same(x->gross_sd_j, y->gross_sd_j));
        assert_true(is_same(x->net_j, y->net_j) && is_same(x->net_sd_j, y->net_sd_j));
        assert_true(is_same(x->systematic_rel, y->systematic_rel));
        assert_true(is_same(x->coverage, y->coverage));
        assert_true(is_same(x->idle_w, y->idle_w) && is_same(x->idle_sd_w, y->idle_sd_w));
    }
    assert_int_equal(a->n_phases, b->n_phases);
    for (uint32_t i = 0; i < a->n_phases; i++) {
        const struct record_phase *x = &a->phase[i], *y = &b->phase[i];
        assert_string_equal(x->name, y->name);
        assert_true(x->t0_ns == y->t0_ns && x->t1_ns == y->t1_ns && x->cpu_ns == y->cpu_ns);
        assert_true(x->duration_ns == y->duration_ns && x->peak_rss_bytes == y->peak_rss_bytes);
        assert_int_equal(x->n_tokens, y->n_tokens);
        assert_true(is_same(x->gross_j, y->gross_j) && is_same(x->net_j, y->net_j));
    }
    assert_memory_equal(&a->vision, &b->vision, sizeof a->vision);
}

static void survives_json(void **state) {
    (void)state;
    static struct record in, out;
    struct rng rng;
    struct buf text;
    rng_seed(&rng, 1);
    buf_init(&text, 1 << 20);
    for (int round = 0; round < 200; round++) {
        struct wl_err err = {0};
        fill(&in, &rng);
        json_t *json = record_to_json(&in);
        buf_clear(&text);
        assert_true(wl_json_write(&text, json));
        json_decref(json);
        assert_int_equal(wl_json_parse(text.data, text.len, &json, &err), WL_OK);
        if (record_from_json(json, &out, &err) != WL_OK) {
            fail_msg("%s", err.message);
        }
        json_decref(json);
        expect_equal(&in, &out);
    }
    buf_release(&text);
}

static void starts_unmeasured(void **state) {
    (void)state;
    static struct record record;
    record_init(&record);
    for (int i = 0; i < METRIC_COUNT; i++) {
        assert_true(isnan(record.value[i]));
    }
    json_t *json = record_to_json(&record);
    assert_true(json_is_null(json_object_get(json_object_get(json, "values"), "time_s")));
    assert_int_equal(json_array_size(json_object_get(json, "energies")), 0);
    json_decref(json);
}

// Sets `path` (one or two keys) of a good record's JSON to `value` and expects a refusal.
static void expect_refusal(const char *list, const char *key, const char *value,
                           const char *words) {
    static struct record record;
    struct wl_err err = {0};
    json_t *bad = NULL;
    record_init(&record);
    record.n_energies = record.n_phases = 1;
    json_t *json = record_to_json(&record);
    json_t *object = list ? json_array_get(json_object_get(json, list), 0) : json;
    if (value) {
        assert_int_equal(wl_json_parse(value, strlen(value), &bad, &err), WL_OK);
        json_object_set_new(object, key, bad);
    } else {
        json_object_del(object, key);
    }
    enum wl_status status = record_from_json(json, &record, &err);
    json_decref(json);
    if (status != WL_INPUT || err.status != WL_INPUT || !strstr(err.message, words)) {
        fail_msg("%s = %s: %s %s", key, value ? value : "(none)", wl_status_name(status),
                 err.message);
    }
}

static void refuses_bad_json(void **state) {
    (void)state;
    static const char LONG[] = "\"0123456789012345678901234567890123456789\"";
    expect_refusal(NULL, "seq", NULL, "'seq'");
    expect_refusal(NULL, "seq", "-1", "'seq'");
    expect_refusal(NULL, "cell", "4294967296", "'cell'");
    expect_refusal(NULL, "repeat", "1.5", "'repeat'");
    expect_refusal(NULL, "prompt_tokens", "\"1\"", "'prompt_tokens'");
    expect_refusal("energies", "source", "1", "'source'");
    expect_refusal("energies", "gross_j", "\"x\"", "'gross_j'");
    expect_refusal("energies", "source", LONG, "'source'");
    expect_refusal("energies", "scope", LONG, "'scope'");
    expect_refusal("phases", "phase", LONG, "'phase'");
    expect_refusal("phases", "t0_ns", NULL, "'t0_ns'");
    expect_refusal("phases", "n_tokens", "-1", "'n_tokens'");
    expect_refusal("phases", "n_tokens", "4294967296", "'n_tokens'");
    expect_refusal(NULL, "energies", "[{},{},{},{},{},{},{},{},{}]", "energies");
    expect_refusal(NULL, "phases", "[{},{},{},{},{},{},{},{},{}]", "phases");
    expect_refusal(NULL, "energies", "[5]", "source");
    assert_int_equal(record_from_json(NULL, &(struct record){0}, NULL), WL_INPUT);
}

static void names_flags(void **state) {
    (void)state;
    char text[256];
    assert_string_equal(record_flags_text(text, sizeof text, 0), "");
    assert_string_equal(record_flags_text(text, sizeof text, RECORD_WARMUP | RECORD_SHORT),
                        "warm-up,short");
    for (uint32_t flags = 0; flags < 1024; flags++) {
        assert_int_equal(record_flags_parse(record_flags_text(text, sizeof text, flags)), flags);
    }
    assert_int_equal(record_flags_parse("gap,unheard-of,busy"), RECORD_GAP | RECORD_BUSY);
    assert_int_equal(record_flags_parse(",,gap,"), RECORD_GAP);
    assert_int_equal(record_flags_parse("gapp"), 0);
    char small[8];
    record_flags_text(small, sizeof small, 1023);
    assert_int_equal(strlen(small), 7); // cut, never overrun
}

static void names_labels(void **state) {
    (void)state;
    for (int i = LABEL_MEASURED; i <= LABEL_UNRESOLVED; i++) {
        enum record_label label = (enum record_label)i;
        assert_int_equal(record_label_by_name(record_label_name(label)), label);
    }
    assert_int_equal(record_label_by_name("exact"), LABEL_UNRESOLVED);
    assert_string_equal(record_label_name((enum record_label)17), "unresolved");
}

static void has_a_sound_table(void **state) {
    (void)state;
    for (unsigned i = 0; i < METRIC_COUNT; i++) {
        const struct metric_info *info = metric_info((enum metric_id)i);
        assert_int_equal(metric_by_id(info->id), i); // unique
        assert_in_range(info->better + 1, 0, 2);
        assert_true(info->title[0] && info->meaning[0]);
        assert_int_equal(strspn(info->id, "abcdefghijklmnopqrstuvwxyz0123456789_"),
                         strlen(info->id)); // a column name
        for (unsigned j = 0; j < i; j++) {
            assert_string_not_equal(info->title, metric_info((enum metric_id)j)->title);
        }
    }
    assert_null(metric_info(METRIC_COUNT));
    assert_int_equal(metric_by_id("beauty"), METRIC_COUNT);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(survives_json),    cmocka_unit_test(starts_unmeasured),
        cmocka_unit_test(refuses_bad_json), cmocka_unit_test(names_flags),
        cmocka_unit_test(names_labels),     cmocka_unit_test(has_a_sound_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
