// The store keeps what it was given: studies, models, records, samples, baselines and fits.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "store/store_fit.h"
#include "store/store_idle.h"
#include "store/store_record.h"
#include "store/store_study.h"

struct fixture {
    char dir[64];
    char path[96];
    struct store *store;
    struct store_study study;
    struct store_model base, vs;
};

static void ok(enum wl_status status, const struct wl_err *err) {
    if (status != WL_OK) {
        fail_msg("%s: %s", wl_status_name(status), err->message);
    }
}

static int setup(void **state) {
    struct fixture *f = calloc(1, sizeof *f);
    struct wl_err err = {0};
    snprintf(f->dir, sizeof f->dir, "/tmp/wattlaw-store-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->path, sizeof f->path, "%s/s.db", f->dir);
    ok(store_open(f->path, STORE_READ_WRITE_CREATE, &f->store, &err), &err);
    f->study = (struct store_study){
        .title = (char[]){"first"}, .created_wall_ns = 100, .seed = UINT64_MAX - 1};
    f->study.options_json = (char[]){"{\"prompts\":[16,64]}"};
    ok(store_study_create(f->store, &f->study, &err), &err);
    f->base =
        (struct store_model){.study_id = f->study.id, .role = "base", .file_bytes = 5000000000};
    f->base.label = (char[]){"\"><script> \xe2\x82\xac"};
    f->vs = (struct store_model){.study_id = f->study.id, .role = "vs"};
    ok(store_model_add(f->store, &f->vs, &err), &err);
    ok(store_model_add(f->store, &f->base, &err), &err);
    *state = f;
    return 0;
}

static int teardown(void **state) {
    struct fixture *f = *state;
    char path[128];
    store_close(f->store);
    static const char *const SUFFIXES[] = {"", "-wal", "-shm"};
    for (int i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s%s", f->path, SUFFIXES[i]);
        unlink(path);
    }
    assert_int_equal(rmdir(f->dir), 0);
    free(f);
    return 0;
}

static void study_comes_back_as_it_was(void **state) {
    struct fixture *f = *state;
    struct wl_err err = {0};
    struct store_study got;
    assert_int_equal(strlen(f->study.uuid), 36);
    ok(store_study_find_id(f->store, f->study.id, &got, &err), &err);
    assert_string_equal(got.title, "first");
    assert_string_equal(got.uuid, f->study.uuid);
    assert_true(got.seed == UINT64_MAX - 1);
    assert_string_equal(got.options_json, "{\"prompts\":[16,64]}");
    assert_string_equal(got.machine_json, "{}");
    assert_string_equal(got.meters_json, "[]");
    assert_int_equal(got.state, STORE_STUDY_RUNNING);
    assert_int_equal(got.n_models, 2);
    assert_int_equal(got.n_records, 0);
    store_study_release(&got);
}

static void study_is_found_by_what_users_type(void **state) {
    struct fixture *f = *state;
    struct wl_err err = {0};
    struct store_study second = {.title = (char[]){"second"}, .created_wall_ns = 200};
    memcpy(second.uuid, "00000000-0000-4000-8000-000000000000", sizeof second.uuid);
    ok(store_study_create(f->store, &second, &err), &err);
    struct store_study got;
    ok(store_study_find(f->store, "latest", &got, &err), &err);
    assert_int_equal(got.id, second.id);
    store_study_release(&got);
    ok(store_study_find(f->store, "1", &got, &err), &err);
    assert_string_equal(got.title, "first");
    store_study_release(&got);
    char prefix[9] = {0};
    memcpy(prefix, f->study.uuid, 8);
    ok(store_study_find(f->store, prefix, &got, &err), &err);
    assert_int_equal(got.id, f->study.id);
    store_study_release(&got);
    ok(store_study_find(f->store, "00000000-", &got, &err), &err); // digits first, but no id
    assert_int_equal(got.id, second.id);
    store_study_release(&got);
    assert_int_equal(store_study_find(f->store, "zzzz", &got, &err), WL_NOT_FOUND);
    assert_non_null(strstr(err.message, "zzzz"));
    assert_int_equal(store_study_find(f->store, "7", &got, &err), WL_NOT_FOUND);
    assert_int_equal(store_study_find(f->store, "' OR 1=1", &got, &err), WL_NOT_FOUND);
}

static void ambiguous_uuid_is_refused(void **state) {
    struct fixture *f = *state;
    struct wl_err err = {0};
    struct store_study got;
    for (int i = 0; i < 2; i++) {
        struct store_study study = {.uuid = "aaaaaaaa-0000-4000-8000-000000000000"};
        study.uuid[35] = (char)('0' + i);
        ok(store_study_create(f->store, &study, &err), &err);
    }
    assert_int_equal(store_study_find_uuid(f->store, "aaaaaaaa", &got, &err), WL_INPUT);
    assert_null(got.title);
}

static void study_state_json_and_list(void **state) {
    struct fixture *f = *state;
    struct wl_err err = {0};
    ok(store_study_set_state(f->store, f->study.id, STORE_STUDY_DONE, &err), &err);
    ok(store_study_set_json(f->store, f->study.id, "engine", "{\"v\":\"0.7\"}", &err), &err);
    assert_int_equal(store_study_set_json(f->store, f->study.id, "state", "{}", &err), WL_USAGE);
    assert_int_equal(store_study_set_json(f->store, f->study.id, "machine", "{oops", &err),
                     WL_INPUT);
    assert_int_equal(store_study_set_state(f->store, 99, STORE_STUDY_DONE, &err), WL_NOT_FOUND);
    for (int i = 0; i < 40; i++) {
        struct store_study study = {.created_wall_ns = 1000 + i};
        ok(store_study_create(f->store, &study, &err), &err);
    }
    struct store_study *list;
    size_t n;
    ok(store_study_list(f->store, &list, &n, &err), &err);
    assert_int_equal(n, 41);
    assert_true(list[0].created_wall_ns == 1039);
    assert_int_equal(list[40].state, STORE_STUDY_DONE);
    assert_string_equal(list[40].engine_json, "{\"v\":\"0.7\"}");
    store_study_free_list(list, n);
}

static void models_come_base_first(void **state) {
    struct fixture *f = *state;
    struct wl_err err = {0};
    struct store_model *list;
    size_t n;
    ok(store_model_list(f->store, f->study.id, &list, &n, &err), &err);
    assert_int_equal(n, 2);
    assert_string_equal(list[0].role, "base");
    assert_string_equal(list[0].label, "\"><script> \xe2\x82\xac");
    assert_true(list[0].file_bytes == 5000000000);
    assert_string_equal(list[1].role, "vs");
    store_model_free_list(list, n);
    struct store_model again = {.study_id = f->study.id, .role = "base"};
    assert_int_equal(store_model_add(f->store, &again, &err), WL_INPUT);
    struct store_model orphan = {.study_id = 12345, .role = "base"};
    assert_int_equal(store_model_add(f->store, &orphan, &err), WL_INPUT);
    struct store_model odd = {.study_id = f->study.id, .role = "third"};
    assert_int_equal(store_model_add(f->store, &odd, &err), WL_INPUT);
}

static void fill(struct record *record, int64_t model_id, uint32_t seq) {
    record_init(record);
    record->model_id = model_id;
    record->seq = seq;
    record->cell = seq % 4;
    record->repeat = seq / 4;
    record->prompt_tokens = 16u << record->cell;
    record->generated_tokens = 64;
    record->t0_ns = 1000000000LL * seq;
    record->t1_ns = record->t0_ns + 500000000;
    record->wall_ns = INT64_C(1760000000000000000) + record->t0_ns;
    record->flags = seq < 4 ? RECORD_WARMUP : RECORD_BUSY | RECORD_GAP;
    record->value[METRIC_time_s] = 0.5 + seq;
    record->value[METRIC_cpu_auc_pct_s] = 1e-300;
    record->value[METRIC_other_cpu_pct] = -2.5;
    record->n_energies = 2;
    record->energy[0] =
        (struct record_energy){"rapl", "cpu", LABEL_CALIBRATED, 5, 0.1, 3, 0.2, 0.01, 1, 2.5, 0.05};
    record->energy[1] = (struct record_energy){
        "estimate", "cpu", LABEL_UNRESOLVED, NAN, NAN, NAN, NAN, NAN, 0, NAN, NAN};
    record->n_phases = 2;
    record->phase[0] = (struct record_phase){"prefill", 1, 2, 1, 3, 0, 16, 1.5, NAN};
    record->phase[1] = (struct record_phase){"decode", 2, 9, 6, 30, 1 << 20, 64, 3.5, 2};
    if (seq % 2) {
        record->vision = (struct record_vision){2, 1920, 1080, 602112, 768, 3, 4, 256};
    }
}

static void assert_same(const struct record *a, const struct record *b) {
    json_t *x = record_to_json(a), *y = record_to_json(b);
    char *x_text = json_dumps(x, JSON_SORT_KEYS), *y_text = json_dumps(y, JSON_SORT_KEYS);
    assert_string_equal(x_text, y_text);
    free(x_text);
    free(y_text);
    json_decref(x);
    json_decref(y);
}

static void records_come_back_as_they_were(void **state) {
    struct fixture *f = *state;
    struct wl_err err = {0};
    struct record given[40];
    for (uint32_t i = 0; i < 40; i++) {
        fill(&given[i], i % 2 ? f->vs.id : f->base.id, 39 - i); // stored in another order than seq
        ok(store_record_add(f->store, &given[i], NULL, 0, &err), &err);
        assert_true(given[i].id > 0);
    }
    struct record *got;
    size_t n;
    ok(store_record_list_study(f->store, f->study.id, &got, &n, &err), &err);
    assert_int_equal(n, 40);
    for (uint32_t i = 0; i < 40; i++) {
        assert_int_equal(got[i].seq, i);
        assert_same(&got[i], &given[39 - i]);
    }
    free(got);
    ok(store_record_list_model(f->store, f->vs.id, &got, &n, &err), &err);
    assert_int_equal(n, 20);
    for (size_t i = 0; i < n; i++) {
        assert_true(got[i].model_id == f->vs.id);
    }
    free(got);
    ok(store_record_list_study(f->store, 77, &got, &n, &err), &err);
    assert_int_equal(n, 0);
    assert_null(got);
}

static void resume_knows_what_is_done(void **state) {
    struct fixture *f = *state;
    struct wl_err err = {0};
    uint32_t next, counts[3];
    ok(store_record_next_seq(f->store, f->study.id, &next, &err), &err);
    assert_int_equal(next, 0);
    for (uint32_t i = 0; i < 10; i++) { // 0..3 are warm-ups; cells 0 1 2 3 0 1 after that
        struct record record;
        fill(&record, f->base.id, i);
        ok(store_record_add(f->store, &record, NULL, 0, &err), &err);
    }
    ok(store_record_next_seq(f->store, f->study.id, &next, &err), &err);
    assert_int_equal(next, 10);
    ok(store_record_count_cells(f->store, f->base.id, counts, 3, &err), &err);
    assert_int_equal(counts[0], 2);
    assert_int_equal(counts[1], 2);
    assert_int_equal(counts[2], 1);
    ok(store_record_count_cells(f->store, f->vs.id, counts, 3, &err), &err);
    assert_int_equal(counts[0], 0);
}

static void record_is_stored_whole_or_not_at_all(void **state) {
    struct fixture *f = *state;
    struct wl_err err = {0};
    struct record record, *got;
    size_t n;
    fill(&record, f->base.id, 1);
    ok(store_record_add(f->store, &record, NULL, 0, &err), &err);
    fill(&record, f->base.id, 1); // same seq again
    assert_int_equal(store_record_add(f->store, &record, NULL, 0, &err), WL_INPUT);
    assert_true(record.id == 0);
    fill(&record, 4711, 2); // no such model
    assert_int_equal(store_record_add(f->store, &record, NULL, 0, &err), WL_INPUT);
    ok(store_record_list_study(f->store, f->study.id, &got, &n, &err), &err);
    assert_int_equal(n, 1);
    free(got);
    ok(store_check(f->store, &err), &err);
}

static void samples_keep_what_is_absent(void **state) {
    struct fixture *f = *state;
    struct wl_err err = {0};
    struct record record;
    struct store_sample given[100], *got;
    size_t n;
    fill(&record, f->base.id, 5);
    for (int i = 0; i < 100; i++) {
        store_sample_init(&given[i]);
        given[i].t_ns = 100 * i;
        given[i].cpu_ns = i % 2 ? STORE_ABSENT : -i;
        given[i].joules = i % 3 ? NAN : 0.25 * i;
    }
    ok(store_record_add(f->store, &record, given, 100, &err), &err);
    ok(store_sample_list_record(f->store, record.id, &got, &n, &err), &err);
    assert_int_equal(n, 100);
    for (int i = 0; i < 100; i++) {
        assert_true(got[i].t_ns == 100 * i);
        assert_true(got[i].cpu_ns == (i % 2 ? STORE_ABSENT : -i));
        assert_true(got[i].rss_kib == STORE_ABSENT);
        assert_true(i % 3 ? isnan(got[i].joules) != 0 : fabs(got[i].joules - 0.25 * i) < 1e-15);
    }
    free(got);
    ok(store_sample_list_idle(f->store, record.id, &got, &n, &err), &err);
    assert_int_equal(n, 0);
}

static void idle_baselines_and_fits(void **state) {
    struct fixture *f = *state;
    struct wl_err err = {0};
    struct store_sample sample;
    store_sample_init(&sample);
    struct store_idle idle = {.study_id = f->study.id,
                              .wall_ns = 5,
                              .cpu_pct_mean = 1.5,
                              .cpu_pct_sd = NAN,
                              .flags = RECORD_IDLE_DRIFT,
                              .n_powers = 1};
    idle.power[0] = (struct store_idle_power){"rapl", 2.5, 0.1};
    ok(store_idle_add(f->store, &idle, &sample, 1, &err), &err);
    struct store_idle *idles;
    size_t n;
    ok(store_idle_list(f->store, f->study.id, &idles, &n, &err), &err);
    assert_int_equal(n, 1);
    assert_string_equal(idles[0].power[0].source, "rapl");
    assert_int_equal(idles[0].flags, RECORD_IDLE_DRIFT);
    assert_true(isnan(idles[0].cpu_pct_sd));
    assert_string_equal(idles[0].doc_json, "{}");
    store_idle_free_list(idles, n);

    ok(store_fit_put(f->store, f->study.id, f->base.id, "time_s", "{\"r2\":0.5}", &err), &err);
    ok(store_fit_put(f->store, f->study.id, f->base.id, "time_s", "{\"r2\":0.9}", &err), &err);
    assert_int_equal(store_fit_put(f->store, f->study.id, f->base.id, "x", "nonsense", &err),
                     WL_INPUT);
    struct store_fit *fits;
    ok(store_fit_list(f->store, f->study.id, &fits, &n, &err), &err);
    assert_int_equal(n, 1);
    assert_string_equal(fits[0].json, "{\"r2\":0.9}");
    store_fit_free_list(fits, n);
}

static void deleting_a_study_takes_all_of_it(void **state) {
    struct fixture *f = *state;
    struct wl_err err = {0};
    struct record record, *records;
    struct store_sample sample, *samples;
    size_t n;
    store_sample_init(&sample);
    fill(&record, f->base.id, 1);
    ok(store_record_add(f->store, &record, &sample, 1, &err), &err);
    ok(store_study_delete(f->store, f->study.id, &err), &err);
    assert_int_equal(store_study_delete(f->store, f->study.id, &err), WL_NOT_FOUND);
    ok(store_record_list_study(f->store, f->study.id, &records, &n, &err), &err);
    assert_int_equal(n, 0);
    ok(store_sample_list_record(f->store, record.id, &samples, &n, &err), &err);
    assert_int_equal(n, 0);
    ok(store_check(f->store, &err), &err);
}

int main(void) {
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(study_comes_back_as_it_was),       CASE(study_is_found_by_what_users_type),
        CASE(ambiguous_uuid_is_refused),        CASE(study_state_json_and_list),
        CASE(models_come_base_first),           CASE(records_come_back_as_they_were),
        CASE(resume_knows_what_is_done),        CASE(record_is_stored_whole_or_not_at_all),
        CASE(samples_keep_what_is_absent),      CASE(idle_baselines_and_fits),
        CASE(deleting_a_study_takes_all_of_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
