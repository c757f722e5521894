// Watching: true energies from a known power, also after old samples were dropped; windows; rest;
// real commands that end, fail and are interrupted.
#include "test_meter_tree.h"

#include <math.h>
#include <signal.h>
#include <sys/wait.h>

#include "measure/watch.h"
#include "measure/watch_idle.h"
#include "measure/watch_track.h"
#include "measure/watch_windows.h"
#include "meter/synthetic.h"
#include "os/clock.h"
#include "os/machine.h"

static const int64_t S = 1000000000, MS = 1000000;

// --- a made-up machine with a clock of its own --------------------------------------------------

struct fake_time {
    int64_t now_ns;
};

static int64_t fake_now(void *context) {
    return ((struct fake_time *)context)->now_ns;
}

static void fake_sleep(void *context, int64_t t_ns) {
    ((struct fake_time *)context)->now_ns = t_ns;
}

static int64_t no_cost(void) {
    return 0;
}

struct rig {
    struct test_tree root;
    struct fake_time time;
    struct os_clock clock;
    struct meter_synthetic truth;
    struct meter_env env;
    struct meter_set meters;
    struct watch_track track;
};

// The machine and process 10, which have used so much CPU time.
static void put_cpu(const struct rig *rig, double core_s) {
    int ticks = (int)lround(core_s * 100);
    test_tree_write(&rig->root, "/proc/stat", "cpu  %d 0 0 1000 0 0 0 0 0 0\n", ticks);
    test_tree_write(&rig->root, "/proc/10/stat",
                    "10 (a) S 1 1 1 0 -1 0 0 0 0 0 %d 0 0 0 20 0 1 0 5 1000 256 0\n", ticks);
}

static struct rig *rig_new(const struct meter_synthetic *truth, size_t max_rows) {
    struct rig *rig = calloc(1, sizeof *rig);
    test_tree_make(&rig->root);
    rig->time.now_ns = 100 * S;
    rig->clock = (struct os_clock){fake_now, fake_sleep, &rig->time};
    rig->truth = *truth;
    test_tree_write(&rig->root, "/proc/loadavg", "0.00 0.00 0.00 1/100 10\n");
    test_tree_write(&rig->root, "/proc/10/smaps_rollup", "Rss: 4096 kB\nPss: 2048 kB\n");
    put_cpu(rig, 0);
    rig->env = (struct meter_env){.root = rig->root.root,
                                  .clock = &rig->clock,
                                  .synthetic = &rig->truth,
                                  .has_no_threads = true};
    assert_int_equal(meter_set_open(&rig->env, "synthetic", &rig->meters, NULL), WL_OK);
    struct watch_track_options options = {.root = rig->root.root,
                                          .meters = &rig->meters,
                                          .max_rows = max_rows,
                                          .clock = &rig->clock,
                                          .thread_cpu_ns = no_cost};
    assert_int_equal(watch_track_open(&rig->track, &options, NULL), WL_OK);
    return rig;
}

static void rig_free(struct rig *rig) {
    watch_track_close(&rig->track);
    meter_set_close(&rig->meters);
    test_tree_remove(&rig->root);
    free(rig);
}

static void rig_tick(struct rig *rig, bool is_full) {
    rig->time.now_ns += 100 * MS;
    assert_int_equal(watch_track_tick(&rig->track, is_full, NULL), WL_OK);
}

static void rig_begin(struct rig *rig) {
    rig_tick(rig, true);
    struct process_tree_options options = {.root = rig->root.root, .pid = 10};
    struct process_tree *tree;
    assert_int_equal(process_tree_open(&options, &tree, NULL), WL_OK);
    watch_track_begin(&rig->track, tree, rig->time.now_ns);
}

static struct watch_result *rig_finish(struct rig *rig) {
    struct watch_result *result = calloc(1, sizeof *result);
    watch_idle_none(&result->idle);
    rig_tick(rig, true);
    watch_track_end(&rig->track);
    watch_track_finish(&rig->track, rig->time.now_ns, result);
    return result;
}

static void sums_outlive_the_samples(void **state) {
    (void)state;
    // A slow sawtooth over hours, in a memory of 256 samples (25 s); the counter wraps many times.
    struct meter_synthetic truth = {
        .knot = {{0, 5}, {600 * S, 25}, {600 * S, 8}, {1500 * S, 40}, {1500 * S, 5}, {3000 * S, 6}},
        .n_knots = 6,
        .kind = METER_COUNTER,
        .period_ns = MS,
        .range_uj = 2000000000};
    struct rig *rig = rig_new(&truth, 256);
    rig_begin(rig);
    int64_t t0_ns = rig->time.now_ns;
    double core_s = 0;
    for (int i = 0; i < 20000; i++) {
        core_s += 0.05;
        put_cpu(rig, core_s);
        rig_tick(rig, false);
    }
    struct watch_result *r = rig_finish(rig);
    double truth_j = meter_synthetic_joules(&rig->truth, t0_ns, rig->time.now_ns);
    print_message("energy: truth %.3f J, measured %.3f J +- %.3f (1 sigma)\n", truth_j,
                  r->energy[0].gross_j, r->energy[0].gross_sd_j);
    assert_true(fabs(r->energy[0].gross_j - truth_j) < 4 * r->energy[0].gross_sd_j);
    assert_true(r->energy[0].gross_sd_j < truth_j * 1e-3);
    assert_true(r->energy[0].coverage > 0.999999);
    assert_true(fabs(r->cpu_core_s - core_s) < 0.02);
    assert_true(fabs(r->ram_auc_mib_s / (2 * series_seconds(t0_ns, rig->time.now_ns)) - 1) < 1e-3);
    assert_true(r->is_pss);
    assert_true(rig->track.n_points <= 256);
    assert_true(isnan(r->energy[0].net_j)); // no rest was measured
    // The windows say from when on they were looked for.
    assert_int_equal(watch_windows_find(&rig->track, r, NULL), WL_OK);
    assert_true(r->windows_from_ns > t0_ns + 1900 * S);
    free(r);
    rig_free(rig);
}

static void gaps_are_said(void **state) {
    (void)state;
    struct meter_synthetic truth = {.knot = {{0, 10}},
                                    .n_knots = 1,
                                    .kind = METER_GAUGE_INSTANT,
                                    .gap_t0_ns = 110 * S,
                                    .gap_t1_ns = 115 * S};
    struct rig *rig = rig_new(&truth, 0);
    rig_begin(rig);
    for (int i = 0; i < 200; i++) {
        rig_tick(rig, false);
    }
    struct watch_result *r = rig_finish(rig);
    assert_true(r->energy[0].flags & RECORD_GAP);
    assert_true(r->energy[0].coverage < 0.8 && r->energy[0].coverage > 0.7);
    assert_true(r->flags & RECORD_GAP);
    free(r);
    rig_free(rig);
}

// 4 s of rest at 5 W and 1 % CPU; then requests of 3 s at 15 W and one core, 4 s apart.
static struct rig *rig_requests(int n_requests, int64_t *t0_ns, double *core_s, bool has_rest) {
    static struct meter_synthetic truth;
    truth =
        (struct meter_synthetic){.kind = METER_COUNTER, .period_ns = MS, .gain_error_rel = 0.02};
    int64_t at_ns = 100 * S + 100 * MS + (has_rest ? 4 * S : 100 * MS);
    truth.knot[truth.n_knots++] = (struct meter_synthetic_knot){0, 5};
    for (int i = 0; i < n_requests; i++) {
        int64_t from_ns = at_ns + 4 * S + i * 7 * S;
        truth.knot[truth.n_knots++] = (struct meter_synthetic_knot){from_ns, 5};
        truth.knot[truth.n_knots++] = (struct meter_synthetic_knot){from_ns, 15};
        truth.knot[truth.n_knots++] = (struct meter_synthetic_knot){from_ns + 3 * S, 15};
        truth.knot[truth.n_knots++] = (struct meter_synthetic_knot){from_ns + 3 * S, 5};
    }
    struct rig *rig = rig_new(&truth, 0);
    int64_t rest_from_ns = rig->time.now_ns;
    *core_s = 0;
    while (has_rest && rig->time.now_ns < at_ns - 100 * MS) {
        rig_tick(rig, false);
    }
    (void)rest_from_ns;
    rig_begin(rig);
    *t0_ns = rig->time.now_ns;
    int64_t end_ns = at_ns + (4 + n_requests * 7) * S;
    while (rig->time.now_ns < end_ns) {
        bool is_busy = meter_synthetic_power_w(&rig->truth, rig->time.now_ns) > 10;
        *core_s += is_busy ? 0.1 : 0;
        put_cpu(rig, *core_s);
        rig_tick(rig, false);
    }
    return rig;
}

static void windows_are_the_requests(void **state) {
    (void)state;
    int64_t t0_ns;
    double core_s;
    struct rig *rig = rig_requests(4, &t0_ns, &core_s, true);
    struct watch_result *r = calloc(1, sizeof *r);
    watch_idle_find(&rig->track, 100 * S, t0_ns, &r->idle);
    assert_true(fabs(r->idle.watts[0] - 5) < 0.01);
    assert_int_equal(r->idle.flags, 0);
    watch_track_end(&rig->track);
    watch_track_finish(&rig->track, rig->time.now_ns, r);
    assert_true(fabs(r->energy[0].net_j - 4 * 30) < 1.5);
    assert_int_equal(watch_windows_find(&rig->track, r, NULL), WL_OK);
    assert_int_equal(r->n_windows, 4);
    double sum_s = 0;
    for (size_t i = 0; i < r->n_windows; i++) {
        const struct watch_window *w = &r->window[i];
        double seconds = series_seconds(w->t0_ns, w->t1_ns);
        assert_true(fabs(seconds - 3) < 0.25);
        assert_true(fabs(w->cpu_core_s - 3) < 0.15);
        assert_true(fabs(w->cpu_auc_pct_s - 100 * w->cpu_core_s / os_n_cores()) < 1e-9);
        assert_true(fabs(w->cpu_auc_paper_pct_s / w->cpu_auc_pct_s - 1) < 0.05);
        assert_true(fabs(w->ram_auc_mib_s / (2 * seconds) - 1) < 0.02);
        assert_true(fabs(w->energy[0].net_j - 30) < 1.2);
        assert_true(fabs(w->energy[0].gross_j - 15 * seconds) < 3);
        assert_int_equal(w->energy[0].net_says, LABEL_MEASURED);
        sum_s += w->cpu_core_s;
    }
    assert_true(fabs(sum_s - core_s) < 0.2);
    free(r);
    rig_free(rig);
}

static void rest_is_found_in_the_recording(void **state) {
    (void)state;
    int64_t t0_ns;
    double core_s;
    struct rig *rig = rig_requests(2, &t0_ns, &core_s, false);
    struct watch_idle best;
    watch_idle_none(&best);
    watch_idle_improve(&rig->track, 3 * S, &best); // the last 3 s are rest
    assert_true(fabs(best.watts[0] - 5) < 0.02);
    assert_true(best.cpu_pct < 1);
    // A busier stretch is not taken.
    for (int i = 0; i < 50; i++) {
        core_s += 0.1;
        put_cpu(rig, core_s);
        rig_tick(rig, false);
        watch_idle_improve(&rig->track, 3 * S, &best);
    }
    assert_true(best.t1_ns < rig->time.now_ns - 4 * S);
    free(rig_finish(rig));
    rig_free(rig);
}

static void energy_has_all_its_errors(void **state) {
    (void)state;
    struct meter_info info = {.label = LABEL_MEASURED, .name = "m", .kind = METER_COUNTER};
    struct meter_energy e = {
        .gross_j = 100, .sd_j = 3, .coverage = 1, .gain_error_rel = 0.04, .offset_error_w = 0.3};
    struct watch_energy out;
    watch_energy_fill(&info, &e, 10, 2, 0.1, &out);
    assert_true(fabs(out.net_j - 80) < 1e-9);
    assert_true(fabs(out.gross_sd_j - sqrt(9 + 16 + 9)) < 1e-9);
    assert_true(fabs(out.net_sd_j - sqrt(9 + 1 + 3.2 * 3.2)) < 1e-9); // the offset cancels
    assert_int_equal(out.net_says, LABEL_MEASURED);
    watch_energy_fill(&info, &e, 10, 9.9, 1, &out);
    assert_int_equal(out.net_says, LABEL_UNRESOLVED); // 1 J +- 20 J
    watch_energy_fill(&info, &e, 10, (double)NAN, (double)NAN, &out);
    assert_int_equal(out.net_says, LABEL_UNRESOLVED);
    assert_true(isnan(out.net_j));
}

// --- real commands ------------------------------------------------------------------------------

static const struct meter_synthetic TEN_WATTS = {
    .knot = {{0, 10}}, .n_knots = 1, .kind = METER_COUNTER, .period_ns = 1000000};

static struct watch_result *run_command(const char *script, enum wl_status expected,
                                        struct wl_err *err) {
    const char *argv[] = {"sh", "-c", script, NULL};
    struct watch_options options = {.argv = argv,
                                    .idle_s = 0.3,
                                    .env = {.synthetic = &TEN_WATTS},
                                    .meters = "synthetic",
                                    .period_ns = 50 * MS};
    struct watch_result *result = calloc(1, sizeof *result);
    assert_int_equal(watch_run(&options, result, err), expected);
    return result;
}

static void a_command_is_measured(void **state) {
    (void)state;
    struct watch_result *r = run_command("sleep 0.4 & sleep 0.6; exit 5", WL_OK, NULL);
    double seconds = series_seconds(r->t0_ns, r->t1_ns);
    assert_true(seconds > 0.6 && seconds < 3);
    assert_true(fabs(r->energy[0].gross_j - 10 * seconds) < 0.3);
    assert_true(r->has_wait_status && WIFEXITED(r->wait_status));
    assert_int_equal(WEXITSTATUS(r->wait_status), 5);
    assert_int_equal(r->end, WATCH_END_EXIT);
    assert_int_equal(r->n_seen, 3);
    assert_int_equal(r->n_left, 0);
    assert_true(r->ram_peak_mib > 0 && r->ram_auc_mib_s > 0);
    free(r);
}

static void a_command_that_is_killed_is_measured_too(void **state) {
    (void)state;
    struct watch_result *r = run_command("kill -9 $$", WL_OK, NULL);
    assert_true(WIFSIGNALED(r->wait_status));
    assert_int_equal(WTERMSIG(r->wait_status), SIGKILL);
    free(r);
}

static void an_interruption_reaches_the_command(void **state) {
    (void)state;
    // Sent to us alone, it is passed on; what the command does then decides.
    struct watch_result *r =
        run_command("trap 'exit 7' INT; kill -INT $PPID; i=0; while [ $i -lt 100 ]; do sleep 0.05; "
                    "i=$((i+1)); done",
                    WL_OK, NULL);
    assert_true(r->was_interrupted);
    assert_int_equal(r->end, WATCH_END_EXIT);
    assert_int_equal(WEXITSTATUS(r->wait_status), 7);
    assert_true(isfinite(r->energy[0].gross_j));
    free(r);
}

static void what_cannot_start_is_said(void **state) {
    (void)state;
    const char *argv[] = {"no-such-program-at-all", NULL};
    struct watch_options options = {
        .argv = argv, .env = {.synthetic = &TEN_WATTS}, .meters = "synthetic"};
    struct watch_result *result = calloc(1, sizeof *result);
    struct wl_err err;
    assert_int_equal(watch_run(&options, result, &err), WL_NOT_FOUND);
    assert_non_null(strstr(err.message, "no-such-program-at-all"));
    options.argv = NULL;
    options.pid = 0x7ffffff0;
    assert_int_equal(watch_run(&options, result, &err), WL_NOT_FOUND);
    assert_non_null(strstr(err.message, "no process"));
    free(result);
}

static bool end_at_third(void *context, const struct watch_sample *sample) {
    int *n = context;
    *n += !sample->is_idle_stage;
    return *n < 3;
}

static void a_running_process_is_watched_for_a_time(void **state) {
    (void)state;
    struct watch_options options = {
        .pid = getpid(), .for_s = 0.4, .env = {.synthetic = &TEN_WATTS}, .meters = "synthetic"};
    struct watch_result *r = calloc(1, sizeof *r);
    assert_int_equal(watch_run(&options, r, NULL), WL_OK);
    assert_int_equal(r->end, WATCH_END_TIME);
    assert_true(fabs(series_seconds(r->t0_ns, r->t1_ns) - 0.4) < 0.2);
    assert_false(r->has_wait_status);
    int n = 0;
    options.for_s = 30;
    options.on_sample = end_at_third;
    options.context = &n;
    assert_int_equal(watch_run(&options, r, NULL), WL_OK);
    assert_int_equal(r->end, WATCH_END_INTERRUPTED);
    free(r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_outlive_the_samples),
        cmocka_unit_test(gaps_are_said),
        cmocka_unit_test(windows_are_the_requests),
        cmocka_unit_test(rest_is_found_in_the_recording),
        cmocka_unit_test(energy_has_all_its_errors),
        cmocka_unit_test(a_command_is_measured),
        cmocka_unit_test(a_command_that_is_killed_is_measured_too),
        cmocka_unit_test(an_interruption_reaches_the_command),
        cmocka_unit_test(what_cannot_start_is_said),
        cmocka_unit_test(a_running_process_is_watched_for_a_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
