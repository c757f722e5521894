// The second law in the result model and in the text: points, knees, stairs, laws, right answers.
// WATTLAW_SHOW=1 prints the text report of the sample.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "near.h"
#include "report/table.h"
#include "report/vision_words.h"
#include "report_vision_sample.h"

static struct images_sample sample[2];

static struct report_result *build(const struct report_input *input) {
    struct report_result *result;
    struct wl_err err = {0};
    if (report_result_build(input, &result, &err) != WL_OK) {
        fail_msg("%s", err.message);
    }
    return result;
}

static struct report_result *build_one(void) {
    images_sample_fill(&sample[0], 0);
    struct report_input input = images_input(&sample[0], NULL);
    return build(&input);
}

static char *text_of(const struct report_result *result, int columns) {
    struct wl_err err = {0};
    struct buf out;
    struct report_options options = {.columns = columns};
    buf_init(&out, REPORT_MAX_BYTES);
    if (report_write(result, REPORT_FORMAT_text, &options, &out, &err) != WL_OK) {
        fail_msg("%s", err.message);
    }
    if (getenv("WATTLAW_SHOW")) {
        printf("%s\n", buf_text(&out));
    }
    return buf_detach(&out);
}

// ---- points and counts ----

static void sizes_are_told_apart_under_each_budget(void **state) {
    (void)state;
    struct report_result *result = build_one();
    const struct report_vision *vision = &result->model[0].vision;
    assert_int_equal(vision->n_budgets, IMAGES_BUDGETS);
    assert_int_equal(vision->budget[0].image_max_tokens, 0); // as the options have them
    assert_int_equal(vision->budget[1].image_max_tokens, IMAGES_SMALL_TOKENS);
    for (size_t b = 0; b < IMAGES_BUDGETS; b++) {
        const struct report_image_budget *budget = &vision->budget[b];
        assert_int_equal(budget->n_points, IMAGES_SIZES);
        for (size_t i = 0; i < IMAGES_SIZES; i++) {
            const struct report_image_point *point = &budget->point[i];
            assert_true(i == 0 || point[-1].nominal_px <= point->nominal_px);
            assert_int_equal(point->n, IMAGES_REPEATS);
            assert_int_equal(point->summary[REPORT_IMAGE_TIME].n, IMAGES_REPEATS);
            double kpx = point->effective_px / 1000;
            assert_near(point->summary[REPORT_IMAGE_TIME].mean,
                        IMAGES_FIXED_S + IMAGES_PER_KPX_S * kpx,
                        0.05 * IMAGES_PER_KPX_S * kpx + 0.002);
        }
    }
    assert_int_equal(result->model[0].n_used, SAMPLE_RECORDS - 1); // the first law has text alone
    report_result_free(result);
}

static void tokens_are_exact(void **state) {
    (void)state;
    struct report_result *result = build_one();
    const struct report_vision *vision = &result->model[0].vision;
    const struct report_image_budget *a = &vision->budget[0], *b = &vision->budget[1];
    assert_int_equal(a->n_stairs, 80);
    assert_int_equal(a->stair[20].image_tokens, IMAGES_DEFAULT_TOKENS);
    assert_int_equal(a->token_shape, KNEE_FLAT_AFTER);
    // From where on the tokens stay within the tolerance: 20 x 20 of 21 x 21 are 9 % less.
    assert_near(sqrt(a->token_knee_px), 560, 29);
    assert_near(sqrt(b->token_knee_px), 336, 29);
    // The sampled squares next to it.
    assert_true(a->grid_step_px > 0 && b->grid_step_px > 0);
    assert_near(b->grid_step_px, 392.0 * 392 - 296.0 * 296, 1);
    report_result_free(result);
}

static void warm_ups_and_answers_stay_out(void **state) {
    (void)state;
    images_sample_fill(&sample[0], 0);
    struct record *first = &sample[0].records[SAMPLE_RECORDS];
    first->flags = RECORD_WARMUP;
    first->value[METRIC_image_s] = 1000;
    struct report_input input = images_input(&sample[0], NULL);
    struct report_result *result = build(&input);
    const struct report_image_point *point = &result->model[0].vision.budget[0].point[0];
    assert_int_equal(point->n, IMAGES_REPEATS - 1);
    assert_true(point->summary[REPORT_IMAGE_TIME].max < 1);
    report_result_free(result);
}

// ---- knees ----

static void knees_are_where_tokens_stop(void **state) {
    (void)state;
    struct report_result *result = build_one();
    const struct report_vision *vision = &result->model[0].vision;
    for (size_t b = 0; b < IMAGES_BUDGETS; b++) {
        const struct report_image_budget *budget = &vision->budget[b];
        assert_true(budget->has_knee[REPORT_IMAGE_TIME]);
        assert_null(budget->reason[REPORT_IMAGE_TIME]);
        assert_true(budget->knee[REPORT_IMAGE_TIME].has_knee);
        assert_true(vision_is_within_step(budget, REPORT_IMAGE_TIME));
        assert_int_equal(budget->knee[REPORT_IMAGE_TIME].n_x, IMAGES_SIDES); // squares only
        assert_true(budget->has_knee[REPORT_IMAGE_ENERGY]);
    }
    report_result_free(result);
}

static void a_smaller_budget_moves_the_knee(void **state) {
    (void)state;
    struct report_knee_move move;
    struct report_result *result = build_one();
    const struct report_vision *vision = &result->model[0].vision;
    assert_false(report_knee_move(vision, 0, REPORT_IMAGE_TIME, &move));
    assert_false(report_knee_move(vision, 2, REPORT_IMAGE_TIME, &move));
    assert_true(report_knee_move(vision, 1, REPORT_IMAGE_TIME, &move));
    assert_true(move.is_moved);
    assert_near(move.exact_ratio, vision->budget[1].token_knee_px / vision->budget[0].token_knee_px,
                0);
    assert_true(move.ratio_ci95.low < move.ratio && move.ratio < move.ratio_ci95.high);
    assert_near(move.ratio, 12 * 12 / (21.0 * 21), 0.12);
    report_result_free(result);
}

// No fit here: the arithmetic of the interval alone.
static void moves_combine_lopsided_intervals(void **state) {
    (void)state;
    struct report_knee_move move;
    struct report_image_budget budgets[2] = {
        {.has_knee = {true}, .token_knee_px = 400, .knee[0] = {.has_knee = true, .knee_x = 400}},
        {.has_knee = {true}, .token_knee_px = NAN, .knee[0] = {.has_knee = true, .knee_x = 100}}};
    struct report_vision vision = {.budget = budgets, .n_budgets = 2};
    budgets[0].knee[0].knee_ci95 = (struct stats_interval){400, 400};
    budgets[1].knee[0].knee_ci95 = (struct stats_interval){80, 150};
    assert_true(report_knee_move(&vision, 1, REPORT_IMAGE_TIME, &move));
    assert_near(move.ratio, 0.25, 1e-12);
    assert_near(move.ratio_ci95.low, 0.2, 1e-12);
    assert_near(move.ratio_ci95.high, 0.375, 1e-12);
    assert_true(isnan(move.exact_ratio));
    budgets[1].knee[0].knee_ci95.low = 0; // nothing known on that side
    assert_true(report_knee_move(&vision, 1, REPORT_IMAGE_TIME, &move));
    assert_near(move.ratio_ci95.low, 0, 0);
    budgets[1].knee[0].has_knee = false;
    assert_false(report_knee_move(&vision, 1, REPORT_IMAGE_TIME, &move));
}

static void too_few_squares_have_a_reason(void **state) {
    (void)state;
    images_sample_fill(&sample[0], 0);
    for (size_t i = 0; i < IMAGES_RECORDS; i++) { // only 4 squares stay square
        struct record *r = &sample[0].records[SAMPLE_RECORDS + i];
        r->vision.height += r->vision.width > 296 ? 4 : 0;
    }
    struct report_input input = images_input(&sample[0], NULL);
    struct report_result *result = build(&input);
    const struct report_vision *vision = &result->model[0].vision;
    assert_false(vision->budget[0].has_knee[REPORT_IMAGE_TIME]);
    assert_non_null(strstr(vision->budget[0].reason[REPORT_IMAGE_TIME], "fewer than 5"));
    assert_true(vision->has_law[REPORT_IMAGE_TIME]); // the law takes every shape
    report_result_free(result);
}

// ---- laws ----

static void law_is_per_effective_kilopixel(void **state) {
    (void)state;
    char text[LAW_TEXT_BYTES];
    struct report_result *result = build_one();
    const struct report_vision *vision = &result->model[0].vision;
    const struct law_fit *law = &vision->law[REPORT_IMAGE_TIME];
    assert_true(vision->has_law[REPORT_IMAGE_TIME]);
    assert_false(vision->is_per_token);
    assert_int_equal(law->n, IMAGES_RECORDS);
    assert_near(law->coef[LAW_PROMPT], IMAGES_PER_KPX_S, 0.04 * IMAGES_PER_KPX_S);
    assert_near(law->coef[LAW_FIXED], IMAGES_FIXED_S, 0.01);
    assert_true(law->prompt_max > 340 && law->prompt_max < 350);
    vision_equation(text, vision, REPORT_IMAGE_TIME);
    assert_non_null(strstr(text, " ms + "));
    assert_non_null(strstr(text, " \xc3\x97 kpx"));
    assert_true(vision->has_law[REPORT_IMAGE_CPU] && vision->has_law[REPORT_IMAGE_WINDOW]);
    // The window has the text's part, the answer and the file besides.
    assert_true(vision->law[REPORT_IMAGE_WINDOW].coef[LAW_FIXED] > 0.3);
    report_result_free(result);
}

static void families_that_do_not_tell_pixels_get_tokens(void **state) {
    (void)state;
    char text[LAW_TEXT_BYTES];
    images_sample_fill(&sample[0], 0);
    for (size_t i = 0; i < IMAGES_RECORDS; i++) {
        sample[0].records[SAMPLE_RECORDS + i].vision.effective_pixels = 0;
    }
    struct report_input input = images_input(&sample[0], NULL);
    struct report_result *result = build(&input);
    const struct report_vision *vision = &result->model[0].vision;
    assert_true(vision->is_per_token);
    assert_near(vision->law[REPORT_IMAGE_TIME].coef[LAW_PROMPT], IMAGES_PER_KPX_S * 0.784,
                0.04 * IMAGES_PER_KPX_S);
    assert_non_null(strstr(vision_equation(text, vision, REPORT_IMAGE_TIME), " \xc3\x97 tokens"));
    assert_string_equal(vision_unit_words(vision), "image token");
    report_result_free(result);
}

static void constant_cost_is_a_law_too(void **state) {
    (void)state;
    images_sample_fill(&sample[0], 0);
    for (size_t i = 0; i < IMAGES_RECORDS; i++) {
        sample[0].records[SAMPLE_RECORDS + i].vision.effective_pixels = 896 * 896;
    }
    struct report_input input = images_input(&sample[0], NULL);
    struct report_result *result = build(&input);
    const struct report_vision *vision = &result->model[0].vision;
    const struct law_fit *law = &vision->law[REPORT_IMAGE_TIME];
    struct law_prediction same, other;
    char *text = text_of(result, 80);
    assert_true(vision->has_law[REPORT_IMAGE_TIME]);
    assert_false(law->has_term[LAW_PROMPT]);
    law_predict(law, 896 * 0.896, 0, &same);
    law_predict(law, 100, 0, &other);
    assert_near(same.value, law->coef[LAW_FIXED], 0);
    assert_true(same.ci95.low < same.value && same.pi95.low < same.ci95.low);
    assert_true(!same.is_extrapolated && other.is_extrapolated);
    assert_non_null(strstr(text, "whatever the size"));
    free(text);
    report_result_free(result);
}

static void wide_image_energy_is_called_unresolved(void **state) {
    (void)state;
    images_sample_fill(&sample[0], 0);
    for (size_t i = 0; i < IMAGES_ALL_RECORDS; i++) {
        sample[0].records[i].energy[0].systematic_rel = 0.4;
    }
    struct report_input input = images_input(&sample[0], NULL);
    struct report_result *result = build(&input);
    const struct report_vision *vision = &result->model[0].vision;
    assert_false(vision->is_energy_resolved);
    assert_false(vision->has_law[REPORT_IMAGE_ENERGY]);
    assert_non_null(strstr(vision->law_reason[REPORT_IMAGE_ENERGY], "unresolved"));
    assert_non_null(strstr(vision->budget[0].reason[REPORT_IMAGE_ENERGY], "unresolved"));
    assert_false(vision->accuracy[1].all.is_energy_resolved);
    char *text = text_of(result, 200);
    assert_non_null(strstr(text, "the time ("));
    assert_null(strstr(text, "the energy ("));
    free(text);
    report_result_free(result);
}

// ---- right answers ----

static void answers_are_grouped_by_budget(void **state) {
    (void)state;
    struct report_result *result = build_one();
    const struct report_vision *vision = &result->model[0].vision;
    static const uint32_t BUDGETS[IMAGES_GROUPS] = {0, 0, IMAGES_SMALL_TOKENS, 64};
    static const size_t RIGHT[IMAGES_GROUPS] = {117, 113, 113, 96};
    assert_int_equal(vision->n_accuracies, IMAGES_GROUPS);
    for (size_t i = 0; i < IMAGES_GROUPS; i++) {
        const struct report_accuracy_group *group = &vision->accuracy[i];
        assert_int_equal(group->has_images, i > 0);
        assert_int_equal(group->image_max_tokens, BUDGETS[i]);
        assert_int_equal(group->all.n, IMAGES_QUESTIONS);
        assert_int_equal(group->all.n_right, RIGHT[i]);
        assert_int_equal(group->n_kinds, 2);
        assert_string_equal(group->kind[0].kind, i > 0 ? "colour" : "copy");
        assert_int_equal(group->kind[0].n + group->kind[1].n, IMAGES_QUESTIONS);
        assert_int_equal(group->kind[0].n_right + group->kind[1].n_right, RIGHT[i]);
        assert_int_equal(group->all.n_empty, i == 3 ? 2 : 0);
        assert_true(group->all.is_energy_resolved);
        assert_true(isnan(group->all.image_tokens.mean) == (i == 0));
    }
    // Wilson's interval of 117 of 120.
    assert_near(vision->accuracy[0].all.ci95.low, 0.9291, 0.0002);
    assert_near(vision->accuracy[0].all.ci95.high, 0.9915, 0.0002);
    assert_int_equal(vision->right.n, 2 * IMAGES_QUESTIONS);
    assert_int_equal(vision->right.n_right, RIGHT[0] + RIGHT[1]);
    report_result_free(result);
}

static void changes_are_paired_by_question(void **state) {
    (void)state;
    struct report_result *result = build_one();
    const struct report_vision *vision = &result->model[0].vision;
    const struct report_accuracy_group *first = &vision->accuracy[1], *small = &vision->accuracy[2];
    assert_true(isnan(vision->accuracy[0].accuracy_change) && isnan(first->accuracy_change));
    assert_near(small->accuracy_change, 0, 1e-9); // 3 questions lost, 3 won
    assert_true(small->accuracy_change_ci95.low < 0 && small->accuracy_change_ci95.high > 0);
    assert_near(vision->accuracy[3].accuracy_change, -100.0 * 17 / 120, 1e-9);
    double expected = small->all.net_j.mean / first->all.net_j.mean;
    assert_near(small->net_j_ratio, expected, 1e-9);
    assert_true(small->net_j_ratio_ci95.low < expected && expected < small->net_j_ratio_ci95.high);
    assert_near(small->time_ratio, small->all.time_s.mean / first->all.time_s.mean, 1e-9);
    assert_int_equal(vision->saving, 2); // 64 tokens lose too much
    report_result_free(result);
}

static void only_shared_questions_are_compared(void **state) {
    (void)state;
    images_sample_fill(&sample[0], 0);
    struct report_input input = images_input(&sample[0], NULL);
    // Of the default budget only the last 20 questions were asked.
    struct record *first = &sample[0].records[SAMPLE_RECORDS + IMAGES_RECORDS + IMAGES_QUESTIONS];
    for (int i = 0; i < 100; i++) {
        first[i].flags |= RECORD_PAPER | RECORD_WARMUP;
        sample[0].answers[IMAGES_QUESTIONS + i].record_id = -1; // and answers of no record
    }
    struct report_result *result = build(&input);
    const struct report_vision *vision = &result->model[0].vision;
    assert_int_equal(vision->accuracy[1].all.n, 20);
    assert_near(vision->accuracy[3].accuracy_change, 0, 1e-9); // those are right in both
    assert_int_equal(vision->saving, 3);
    report_result_free(result);
}

static void without_answers_nothing_is_right(void **state) {
    (void)state;
    struct table_column columns[TABLE_COLUMNS];
    images_sample_fill(&sample[0], 0);
    struct report_input input = images_input(&sample[0], NULL);
    input.model[0].n_answers = 0;
    struct report_result *result = build(&input);
    assert_int_equal(result->model[0].vision.n_accuracies, 0);
    assert_int_equal(result->model[0].vision.saving, -1);
    table_fill(result, false, columns);
    assert_string_equal(columns[4].title, "Accuracy");
    assert_string_equal(columns[4].model[0].value, "not measured");
    report_result_free(result);
}

static void the_table_shows_right_answers(void **state) {
    (void)state;
    struct table_column columns[TABLE_COLUMNS];
    images_sample_fill(&sample[0], 0);
    images_sample_fill(&sample[1], 1);
    for (int i = 0; i < 12; i++) { // the second model gets 9 more text questions wrong
        sample[1].answers[i].is_right = false;
    }
    struct report_input input = images_input(&sample[0], &sample[1]);
    struct report_result *result = build(&input);
    assert_int_equal(result->right_change.n, 2 * IMAGES_QUESTIONS);
    assert_near(result->right_change.points, -100.0 * 9 / 240, 1e-9);
    assert_true(result->right_change.ci95.high < 0);
    table_fill(result, false, columns);
    assert_string_equal(columns[4].title, "Right answers");
    assert_string_equal(columns[4].model[0].value, "95.8");
    assert_string_equal(columns[4].change.value, "-3.8");
    assert_int_equal(columns[4].change.verdict, -1);
    char *text = text_of(result, 80);
    assert_non_null(strstr(text, "230 of 240"));
    free(text);
    report_result_free(result);
}

// ---- text ----

static void the_text_report_says_it(void **state) {
    (void)state;
    static const char *const WORDS[] = {"\nImages: ",
                                        "Knee at ",
                                        "within one grid step",
                                        "Flat above: slope ",
                                        "1568 \xc3\x97 1568 px: 441 tokens, ",
                                        "100 \xc3\x97 100 px: 16 tokens, ",
                                        "\n144 tok  Knee at ",
                                        "The knee moved: ",
                                        "cost per 1000 effective pixels (kpx)",
                                        "\nRight answers",
                                        "\ntext     97.5 % (92.9 to 99.1) of 120; ",
                                        " of 120 at 144 tokens, +0.0 points (",
                                        "\nSaving   144 tokens per image instead of 441 take "};
    struct report_result *result = build_one();
    char *text = text_of(result, 200);
    for (size_t i = 0; i < sizeof WORDS / sizeof WORDS[0]; i++) {
        if (!strstr(text, WORDS[i])) {
            fail_msg("no '%s' in:\n%s", WORDS[i], text);
        }
    }
    free(text);
    text = text_of(result, 80);
    free(text);
    report_result_free(result);
}

static void text_alone_has_no_section(void **state) {
    (void)state;
    struct report_result *result = sample_result(2);
    assert_int_equal(result->model[0].vision.n_budgets, 0);
    assert_int_equal(result->right_change.n, 0);
    char *text = text_of(result, 80);
    assert_null(strstr(text, "Images"));
    assert_null(strstr(text, "Right answers"));
    free(text);
    report_result_free(result);
}

// ---- what others may send ----

static void expect_failure(const char *tokens_json, enum wl_status status, const char *word) {
    struct wl_err err = {0};
    struct report_result *result;
    images_sample_fill(&sample[0], 0);
    struct report_input input = images_input(&sample[0], NULL);
    input.model[0].image_tokens_json = tokens_json;
    assert_int_equal(report_result_build(&input, &result, &err), status);
    assert_null(result);
    if (!strstr(err.message, word)) {
        fail_msg("'%s' lacks '%s'", err.message, word);
    }
}

static void bad_counts_are_refused(void **state) {
    (void)state;
    expect_failure("{oops", WL_INPUT, "image tokens");
    expect_failure("{\"budgets\":[{}]}", WL_INPUT, "image_max_tokens");
    expect_failure("{\"budgets\":[{\"image_max_tokens\":-1}]}", WL_INPUT, "out of range");
    expect_failure("{\"budgets\":[{\"image_max_tokens\":0,\"counts\":[[1,2,3]]}]}", WL_INPUT,
                   "effective pixels");
    expect_failure("{\"budgets\":[{\"image_max_tokens\":0,\"counts\":[[0,0,3,4]]}]}", WL_INPUT,
                   "whole number");
    expect_failure("{\"budgets\":[{\"image_max_tokens\":0,\"counts\":[[1,1,1e300,4]]}]}", WL_INPUT,
                   "whole number");
    char many[4096];
    size_t used = (size_t)snprintf(many, sizeof many, "{\"budgets\":[");
    for (int i = 0; i <= REPORT_MAX_BUDGETS; i++) {
        used += (size_t)snprintf(many + used, sizeof many - used, "%s{\"image_max_tokens\":%d}",
                                 i ? "," : "", 1000 + i);
    }
    snprintf(many + used, sizeof many - used, "]}");
    expect_failure(many, WL_LIMIT, "budgets");
}

static void too_many_sizes_are_refused(void **state) {
    (void)state;
    struct wl_err err = {0};
    struct report_result *result;
    images_sample_fill(&sample[0], 0);
    for (size_t i = 0; i < IMAGES_RECORDS; i++) {
        struct record *r = &sample[0].records[SAMPLE_RECORDS + i];
        r->vision.image_max_tokens = 0;
        r->vision.width = 8 + (uint32_t)i;
    }
    struct report_input input = images_input(&sample[0], NULL);
    assert_int_equal(report_result_build(&input, &result, &err), WL_LIMIT);
    assert_non_null(strstr(err.message, "image sizes"));
}

static void a_study_that_was_cut_off_shows_what_it_has(void **state) {
    (void)state;
    for (size_t n = SAMPLE_RECORDS; n < IMAGES_ALL_RECORDS; n += 7) {
        images_sample_fill(&sample[0], 0);
        struct report_input input = images_input(&sample[0], NULL);
        input.model[0].n_records = n;
        struct report_result *result = build(&input);
        char *text = text_of(result, 60);
        assert_non_null(strstr(text, "Images"));
        free(text);
        report_result_free(result);
        n += n > SAMPLE_RECORDS + 20 ? 90 : 0; // knees take a while to fit
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_are_told_apart_under_each_budget),
        cmocka_unit_test(tokens_are_exact),
        cmocka_unit_test(warm_ups_and_answers_stay_out),
        cmocka_unit_test(knees_are_where_tokens_stop),
        cmocka_unit_test(a_smaller_budget_moves_the_knee),
        cmocka_unit_test(moves_combine_lopsided_intervals),
        cmocka_unit_test(too_few_squares_have_a_reason),
        cmocka_unit_test(law_is_per_effective_kilopixel),
        cmocka_unit_test(families_that_do_not_tell_pixels_get_tokens),
        cmocka_unit_test(constant_cost_is_a_law_too),
        cmocka_unit_test(wide_image_energy_is_called_unresolved),
        cmocka_unit_test(answers_are_grouped_by_budget),
        cmocka_unit_test(changes_are_paired_by_question),
        cmocka_unit_test(only_shared_questions_are_compared),
        cmocka_unit_test(without_answers_nothing_is_right),
        cmocka_unit_test(the_table_shows_right_answers),
        cmocka_unit_test(the_text_report_says_it),
        cmocka_unit_test(text_alone_has_no_section),
        cmocka_unit_test(bad_counts_are_refused),
        cmocka_unit_test(too_many_sizes_are_refused),
        cmocka_unit_test(a_study_that_was_cut_off_shows_what_it_has),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
