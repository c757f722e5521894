// The result model: what counts, what is paired, what is printed as unresolved.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "report/figures.h"
#include "report/table.h"
#include "report_sample.h"

static void near(double got, double expected, double tolerance) {
    if (!(fabs(got - expected) <= tolerance)) {
        fail_msg("got %.12g, expected %.12g", got, expected);
    }
}

static struct report_result *build(const struct report_input *input) {
    struct report_result *result = NULL;
    struct wl_err err = {0};
    if (report_result_build(input, &result, &err) != WL_OK) {
        fail_msg("%s", err.message);
    }
    return result;
}

static void figures_follow_the_law(void **state) {
    (void)state;
    struct report_result *result = sample_result(2);
    const struct report_model *base = &result->model[0];
    assert_int_equal(base->n_used, SAMPLE_RECORDS - 1);
    assert_int_equal(base->n_cells, SAMPLE_CELLS);
    assert_int_equal(result->reference.prompt_tokens, 128);
    double mean_prompt = 16 * 255.0 / 8;
    double time_s = 0.05 + 0.0042 * mean_prompt + 0.031 * 64;
    const struct report_mean *time = &base->metric[METRIC_time_s].all;
    near(time->value, time_s, 0.01 * time_s); // the warm-up, three times as long, does not count
    assert_true(time->ci95.low < time->value && time->value < time->ci95.high);
    near(base->metric[METRIC_time_s].reference.value, 0.05 + 0.0042 * 128 + 0.031 * 64, 0.05);
    assert_int_equal(base->metric[METRIC_time_s].summary.n, SAMPLE_REPEATS);
    assert_int_equal(base->metric[METRIC_accuracy].all.n_cells, 0);
    assert_true(isnan(base->metric[METRIC_accuracy].all.value));
    report_result_free(result);
}

static void change_is_paired(void **state) {
    (void)state;
    struct report_result *result = sample_result(2);
    double p = 16 * 255.0 / 8;
    double expected = (0.03 + 0.0019 * p + 0.0135 * 64) / (0.05 + 0.0042 * p + 0.031 * 64);
    const struct report_change *change = &result->change[METRIC_time_s];
    assert_int_equal(change->n_pairs, SAMPLE_RECORDS - 1);
    assert_int_equal(change->n_cells, SAMPLE_CELLS);
    near(change->ratio, expected, 0.01);
    assert_true(change->ci95.high - change->ci95.low < 0.02);
    assert_int_equal(figure_verdict(METRIC_time_s, change), 1);
    assert_int_equal(figure_verdict(METRIC_window_tps, &result->change[METRIC_window_tps]), 1);
    assert_int_equal(result->change_reference[METRIC_time_s].n_pairs, SAMPLE_REPEATS);
    assert_int_equal(result->change[METRIC_accuracy].n_cells, 0);
    assert_true(isnan(result->change[METRIC_accuracy].ratio));
    report_result_free(result);
}

static void laws_are_fitted_and_compared(void **state) {
    (void)state;
    struct report_result *result = sample_result(2);
    const struct law_fit *fit = &result->model[0].law[REPORT_LAW_TIME];
    assert_true(result->model[0].has_law[REPORT_LAW_TIME]);
    near(fit->coef[LAW_PROMPT], 0.0042, 0.0001);
    near(fit->coef[LAW_FIXED], 0.05 + 0.031 * 64, 0.03); // one generated length: part of a
    assert_true(result->has_comparison[REPORT_LAW_TIME]);
    near(result->comparison[REPORT_LAW_TIME].term[LAW_PROMPT].ratio, 0.0019 / 0.0042, 0.01);
    report_result_free(result);
}

static void flags_and_sources_are_counted(void **state) {
    (void)state;
    struct report_result *result = sample_result(1);
    const struct report_model *base = &result->model[0];
    assert_int_equal(base->flag_count[7], 2); // busy: runs 9 and 26
    assert_int_equal(base->n_clean, base->n_used - 2);
    assert_int_equal(base->flag_count[0], 0); // warm-ups are not among the used
    assert_int_equal(base->n_sources, 1);
    assert_string_equal(base->source[0].source, "powercap");
    assert_int_equal(base->source[0].label, LABEL_MEASURED);
    assert_true(base->paper.n > 0);
    near(base->paper.median_pct, 2.1, 1.5);
    report_result_free(result);
}

// The systematic error of the source does not shrink with repeats.
static void energy_interval_holds_the_systematic_part(void **state) {
    (void)state;
    struct report_result *result = sample_result(1);
    const struct report_mean *energy = &result->model[0].metric[METRIC_energy_gross_j].all;
    double half = (energy->ci95.high - energy->ci95.low) / 2;
    assert_true(half > 1.95 * 0.02 * energy->value);
    assert_true(energy->is_resolved);
    near(result->request[0].energy_wh.value, energy->value / 3600, 1e-12);
    report_result_free(result);
}

static void paper_checks_stay_out_of_the_figures(void **state) {
    (void)state;
    struct record records[SAMPLE_RECORDS];
    sample_records(0, records);
    for (int i = 0; i < 4; i++) {
        struct record *r = &records[SAMPLE_RECORDS - 1 - i];
        r->flags |= RECORD_PAPER;
        r->value[METRIC_time_s] = 1000;
        r->value[METRIC_cpu_auc_pct_s] = 100;
        r->value[METRIC_cpu_auc_paper_pct_s] = 107;
    }
    struct report_input input = sample_input(records, NULL, 1);
    struct report_result *result = build(&input);
    assert_int_equal(result->model[0].n_used, SAMPLE_RECORDS - 5);
    assert_true(result->model[0].metric[METRIC_time_s].all.value < 10);
    assert_int_equal(result->model[0].paper.n, 4);
    near(result->model[0].paper.median_pct, 7, 1e-9);
    report_result_free(result);
}

static void wide_energy_is_called_unresolved(void **state) {
    (void)state;
    struct record records[SAMPLE_RECORDS];
    struct table_column columns[TABLE_COLUMNS];
    sample_records(0, records);
    for (int i = 0; i < SAMPLE_RECORDS; i++) {
        records[i].energy[0].systematic_rel = 0.4;
    }
    struct report_input input = sample_input(records, NULL, 1);
    struct report_result *result = build(&input);
    assert_false(result->model[0].metric[METRIC_energy_gross_j].all.is_resolved);
    assert_true(result->model[0].metric[METRIC_time_s].all.is_resolved);
    assert_true(isnan(result->request[0].energy_wh.value));
    table_fill(result, false, columns);
    assert_string_equal(columns[3].title, "Energy");
    assert_string_equal(columns[3].model[0].value, "unresolved");
    assert_string_equal(columns[4].model[0].value, "not measured");
    report_result_free(result);
}

static void unresolved_records_make_an_unresolved_figure(void **state) {
    (void)state;
    struct record base[SAMPLE_RECORDS], vs[SAMPLE_RECORDS];
    struct table_column column;
    sample_records(0, base);
    sample_records(1, vs);
    for (int i = 0; i < SAMPLE_RECORDS; i++) {
        vs[i].energy[0].gross_sd_j = 20 * vs[i].energy[0].gross_j;
    }
    struct report_input input = sample_input(base, vs, 2);
    struct report_result *result = build(&input);
    assert_int_equal(result->model[1].source[0].n_unresolved, result->model[1].source[0].n);
    assert_int_equal(result->model[1].source[0].label, LABEL_UNRESOLVED);
    table_fill_column(result, METRIC_energy_gross_j, false, &column);
    assert_true(column.model[0].is_number);
    assert_string_equal(column.model[1].value, "unresolved");
    assert_string_equal(column.change.value, "unresolved");
    assert_int_equal(column.change.verdict, 0);
    report_result_free(result);
}

// A 1 Hz meter says nothing of one short window, but something of many.
static void many_unresolved_windows_can_be_resolved_together(void **state) {
    (void)state;
    struct record records[SAMPLE_RECORDS];
    sample_records(0, records);
    for (int i = 0; i < SAMPLE_RECORDS; i++) {
        records[i].energy[0].gross_sd_j = 0.5 * records[i].energy[0].gross_j;
    }
    struct report_input input = sample_input(records, NULL, 1);
    struct report_result *result = build(&input);
    const struct report_source *source = &result->model[0].source[0];
    assert_int_equal(record_energy_label(&records[0].energy[0]), LABEL_UNRESOLVED);
    assert_int_equal(source->n_unresolved, source->n);
    assert_int_equal(source->label, records[0].energy[0].label);
    assert_true(result->model[0].metric[METRIC_energy_gross_j].all.is_resolved);
    report_result_free(result);
}

static void weakest_label_wins(void **state) {
    (void)state;
    struct record records[SAMPLE_RECORDS];
    sample_records(0, records);
    records[5].energy[0].label = LABEL_ESTIMATED;
    struct report_input input = sample_input(records, NULL, 1);
    struct report_result *result = build(&input);
    assert_int_equal(result->model[0].source[0].label, LABEL_ESTIMATED);
    report_result_free(result);
}

static void equal_models_are_within_noise(void **state) {
    (void)state;
    struct record base[SAMPLE_RECORDS], vs[SAMPLE_RECORDS];
    struct rng rng;
    sample_records(0, base);
    rng_seed(&rng, 9);
    for (uint32_t i = 0; i < SAMPLE_RECORDS; i++) {
        sample_record(&rng, 0, base[i].cell, base[i].repeat, i, &vs[i]);
        vs[i].flags = base[i].flags;
    }
    struct report_input input = sample_input(base, vs, 2);
    struct report_result *result = build(&input);
    near(result->change[METRIC_time_s].ratio, 1, 0.01);
    assert_int_equal(figure_verdict(METRIC_time_s, &result->change[METRIC_time_s]), 0);
    report_result_free(result);
}

static void missing_repeats_are_not_paired(void **state) {
    (void)state;
    struct record base[SAMPLE_RECORDS], vs[SAMPLE_RECORDS];
    sample_records(0, base);
    sample_records(1, vs);
    struct report_input input = sample_input(base, vs, 2);
    input.model[1].n_records = SAMPLE_RECORDS - 10; // the last repeats are missing
    struct report_result *result = build(&input);
    assert_int_equal(result->change[METRIC_time_s].n_pairs, SAMPLE_RECORDS - 1 - 10);
    assert_int_equal(result->change[METRIC_time_s].n_cells, SAMPLE_CELLS);
    report_result_free(result);
}

static void empty_and_tiny_studies(void **state) {
    (void)state;
    struct record base[SAMPLE_RECORDS], vs[SAMPLE_RECORDS];
    sample_records(0, base);
    sample_records(1, vs);
    for (size_t n = 0; n <= 4; n++) {
        struct report_input input = sample_input(base, vs, 2);
        input.model[0].n_records = input.model[1].n_records = n;
        struct report_result *result = build(&input);
        assert_int_equal(result->model[0].n_used, n > 0 ? n - 1 : 0);
        assert_true(n > 1 || isnan(result->change_reference[METRIC_time_s].ratio));
        assert_true(result->model[0].has_law[REPORT_LAW_TIME] ||
                    result->model[0].law_reason[REPORT_LAW_TIME] != NULL);
        report_result_free(result);
    }
    struct report_input input = sample_input(NULL, NULL, 1);
    input.model[0].n_records = 0;
    report_result_free(build(&input));
    report_result_free(NULL);
}

static void nan_figures_are_not_measured(void **state) {
    (void)state;
    struct record records[SAMPLE_RECORDS];
    sample_records(0, records);
    for (int i = 0; i < SAMPLE_RECORDS; i++) {
        for (int k = 0; k < METRIC_COUNT; k++) {
            records[i].value[k] = k % 2 ? (double)NAN : (double)INFINITY;
        }
    }
    struct report_input input = sample_input(records, NULL, 1);
    struct report_result *result = build(&input);
    assert_int_equal(result->model[0].metric[METRIC_time_s].all.n_cells, 0);
    assert_false(result->model[0].has_law[REPORT_LAW_TIME]);
    assert_string_equal(result->model[0].law_reason[REPORT_LAW_TIME], "not measured");
    report_result_free(result);
}

static void bad_input_says_which(void **state) {
    (void)state;
    struct wl_err err = {0};
    struct report_result *result;
    struct report_input input = sample_input(NULL, NULL, 1);
    input.model[0].n_records = 0;
    input.machine_json = "{oops";
    assert_int_equal(report_result_build(&input, &result, &err), WL_INPUT);
    assert_null(result);
    assert_non_null(strstr(err.message, "machine"));
    input.machine_json = NULL;
    input.n_models = 3;
    assert_int_equal(report_result_build(&input, &result, &err), WL_INPUT);
}

static void figures_read_well(void **state) {
    (void)state;
    char out[FIGURE_BYTES];
    assert_string_equal(figure_text(out, METRIC_energy_gross_j, 18.36), "5.10 mWh");
    assert_string_equal(figure_text(out, METRIC_energy_gross_j, NAN), "-");
    assert_string_equal(figure_text(out, METRIC_time_s, 0.0042), "4.20 ms");
    assert_string_equal(figure_text(out, METRIC_time_s, -3.05e-6), "-3.05 \xc2\xb5s");
    assert_string_equal(figure_text(out, METRIC_cpu_auc_pct_s, 2.3e-6),
                        "2.3\xc3\x97"
                        "10\xe2\x81\xbb\xe2\x81\xb6 %\xc2\xb7s");
    assert_string_equal(figure_change(out, 0.38), "-62.0 %");
    assert_string_equal(figure_change(out, 13), "+1200 %");
    assert_string_equal(figure_times(out, 2.1), "\xc3\x97"
                                                "2.10");
    assert_string_equal(figure_date(out, INT64_C(1771061160000000000)), "2026-02-14 09:26 UTC");
    assert_string_equal(figure_date(out, INT64_C(1709164800000000000)), "2024-02-29 00:00 UTC");
    assert_string_equal(figure_date(out, 0), "-");
    assert_string_equal(figure_p(out, 0.0000123), "p < 0.001");
    assert_string_equal(figure_p(out, NAN), "not tested");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(figures_follow_the_law),
        cmocka_unit_test(change_is_paired),
        cmocka_unit_test(laws_are_fitted_and_compared),
        cmocka_unit_test(flags_and_sources_are_counted),
        cmocka_unit_test(energy_interval_holds_the_systematic_part),
        cmocka_unit_test(paper_checks_stay_out_of_the_figures),
        cmocka_unit_test(wide_energy_is_called_unresolved),
        cmocka_unit_test(unresolved_records_make_an_unresolved_figure),
        cmocka_unit_test(many_unresolved_windows_can_be_resolved_together),
        cmocka_unit_test(weakest_label_wins),
        cmocka_unit_test(equal_models_are_within_noise),
        cmocka_unit_test(missing_repeats_are_not_paired),
        cmocka_unit_test(empty_and_tiny_studies),
        cmocka_unit_test(nan_figures_are_not_measured),
        cmocka_unit_test(bad_input_says_which),
        cmocka_unit_test(figures_read_well),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
