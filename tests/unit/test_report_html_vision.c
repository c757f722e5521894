// The sections about images in the HTML report: well-formed, safe with hostile and impossible
// figures, and honest where there is no knee or no energy.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "report/html_sections.h"
#include "report_markup.h"
#include "report_pictures_sample.h"

static struct pictures_sample sample[2];

static struct report_result *build(const struct report_input *input) {
    struct report_result *result;
    struct wl_err err = {0};
    if (report_result_build(input, &result, &err) != WL_OK) {
        fail_msg("%s", err.message);
    }
    return result;
}

static char *render(const struct report_result *result) {
    struct wl_err err = {0};
    struct buf out;
    buf_init(&out, REPORT_MAX_BYTES);
    if (report_write(result, REPORT_FORMAT_html, NULL, &out, &err) != WL_OK) {
        fail_msg("%s", err.message);
    }
    return buf_detach(&out);
}

static void check_page(const char *html) {
    static const char *const FORBIDDEN[] = {"http:",   "https:", "src=", "url(",     "@import",
                                            "<iframe", "<link",  "<img", "style=\"", "javascript:"};
    struct markup markup;
    if (!markup_check(&markup, html)) {
        fail_msg("%s", markup.problem);
    }
    for (size_t i = 0; i < sizeof FORBIDDEN / sizeof FORBIDDEN[0]; i++) {
        if (strstr(html, FORBIDDEN[i])) {
            fail_msg("the page holds %s", FORBIDDEN[i]);
        }
    }
    const char *body = strstr(html, "<body>");
    assert_non_null(body);
    static const char *const NO_NUMBER[] = {"nan", "inf<", "inf ", "-inf"};
    for (size_t i = 0; i < sizeof NO_NUMBER / sizeof NO_NUMBER[0]; i++) {
        const char *at = strstr(body, NO_NUMBER[i]);
        if (at) {
            fail_msg("no number: '%.120s'", at > body + 60 ? at - 60 : at);
        }
    }
}

static void expect(const char *html, const char *text) {
    if (!strstr(html, text)) {
        fail_msg("the page does not say '%s'", text);
    }
}

// ids must not occur twice: the labels of charts refer to them.
static void check_ids(const char *html) {
    for (const char *at = html; (at = strstr(at, " id=\"")) != NULL; at += 5) {
        char id[96];
        snprintf(id, sizeof id, "%.*s\"", (int)strcspn(at + 5, "\"") + 5, at);
        if (strstr(at + 5, id)) {
            fail_msg("%s twice", id);
        }
    }
}

static void page_is_well_formed(void **state) {
    (void)state;
    for (size_t n_models = 1; n_models <= 2; n_models++) {
        struct report_input input = pictures_input(&sample[0], n_models == 2 ? &sample[1] : NULL);
        struct report_result *result = build(&input);
        char *html = render(result);
        check_page(html);
        check_ids(html);
        expect(html, "href=\"#images\"");
        expect(html, "href=\"#accuracy\"");
        expect(html, "Cost = ");
        expect(html, "Counted, not measured");
        expect(html, "file decoding");
        expect(html, "121 image tokens instead of 256 are the fewest");
        expect(html, "Questions of text, by kind");
        expect(html, "n = 45");
        free(html);
        report_result_free(result);
    }
}

static void text_alone_has_no_images(void **state) {
    (void)state;
    struct report_input input = pictures_input(&sample[0], NULL);
    input.model[0].n_records = SAMPLE_RECORDS;
    input.model[0].n_answers = 0;
    input.model[0].image_tokens_json = input.options_json = NULL;
    struct report_result *result = build(&input);
    char *html = render(result);
    check_page(html);
    assert_null(strstr(html, "#images"));
    assert_null(strstr(html, "#accuracy"));
    assert_null(strstr(html, "file decoding"));
    free(html);
    report_result_free(result);
}

static void images_alone_need_no_text(void **state) {
    (void)state;
    struct report_input input = pictures_input(&sample[0], NULL);
    input.model[0].records += SAMPLE_RECORDS;
    input.model[0].n_records -= SAMPLE_RECORDS;
    struct report_result *result = build(&input);
    char *html = render(result);
    check_page(html);
    assert_null(strstr(html, "#cost"));
    assert_null(strstr(html, "There is no finished run"));
    expect(html, "image encoding.");
    free(html);
    report_result_free(result);
}

// ---- the sentence under the chart says what was found ----

static void set_knee(struct report_image_budget *budget, double knee_px, double level_s) {
    budget->has_knee[REPORT_IMAGE_TIME] = true;
    budget->knee[REPORT_IMAGE_TIME] =
        (struct knee_fit){.has_knee = true,
                          .p_no_knee = 1e-6,
                          .knee_x = knee_px,
                          .knee_ci95 = {0.9 * knee_px, 1.1 * knee_px},
                          .fixed = 0.001,
                          .slope = (level_s - 0.001) / knee_px,
                          .is_flat_above = true,
                          .level_above = level_s,
                          .level_above_ci95 = {0.98 * level_s, 1.02 * level_s}};
}

static struct report_result *with_knees(void) {
    struct report_input input = pictures_input(&sample[0], NULL);
    struct report_result *result = build(&input);
    struct report_vision *vision = &result->model[0].vision;
    assert_int_equal(vision->n_budgets, 3);
    set_knee(&vision->budget[0], 200704, 0.178);
    set_knee(&vision->budget[1], 94864, 0.089);
    set_knee(&vision->budget[2], 38416, 0.0445);
    return result;
}

static void expect_page(const struct report_result *result, const char *text) {
    char *html = render(result);
    check_page(html);
    expect(html, text);
    free(html);
}

static void knees_are_told(void **state) {
    (void)state;
    struct report_result *result = with_knees();
    struct report_image_budget *budget = result->model[0].vision.budget;
    expect_page(result,
                "Above 0.201\xc2\xa0Mpx (448\xc2\xa0\xc3\x97\xc2\xa0"
                "448; 95\xc2\xa0%: 0.181 to 0.221) an image costs 178 ms whatever its size");
    expect_page(result, "with at most 121 tokens the knee moves to 0.0949\xc2\xa0Mpx");
    expect_page(result, "and the cost above it to 89.0 ms (\xe2\x88\x92"
                        "50.0 %)");
    set_knee(&budget[1], 200000, 0.178);
    expect_page(result, "neither the knee nor the cost above it moves by more than the noise");
    budget[0].knee[REPORT_IMAGE_TIME].is_flat_above = false;
    budget[0].knee[REPORT_IMAGE_TIME].slope_above = 5e-9;
    expect_page(result, "at 178 ms, the cost grows by only 5.00 ms per megapixel");
    report_result_free(result);
}

static void no_knee_is_told(void **state) {
    (void)state;
    static const struct {
        bool has_fit;
        enum knee_shape shape;
        const char *text;
    } CASES[] = {
        {true, KNEE_NONE_CONSTANT, "so there is no knee to move"},
        {false, KNEE_NONE_CONSTANT, "so there is no knee to move"},
        {true, KNEE_NONE_GROWING, "There is no knee up to 1.43\xc2\xa0Mpx"},
        {true, KNEE_FLAT_AFTER, "No knee is proven (p = 0.20), although the token count settles"},
        {false, KNEE_FLAT_AFTER, "There is no fit (because &lt;b&gt;)"},
    };
    struct report_result *result = with_knees();
    struct report_image_budget *budget = &result->model[0].vision.budget[0];
    free(budget->reason[REPORT_IMAGE_TIME]);
    budget->reason[REPORT_IMAGE_TIME] = strdup("because <b>");
    budget->knee[REPORT_IMAGE_TIME].has_knee = false;
    budget->knee[REPORT_IMAGE_TIME].p_no_knee = 0.2;
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        budget->has_knee[REPORT_IMAGE_TIME] = CASES[i].has_fit;
        budget->token_shape = CASES[i].shape;
        expect_page(result, CASES[i].text);
    }
    report_result_free(result);
}

static void energy_is_not_invented(void **state) {
    (void)state;
    static struct pictures_sample changed;
    changed = sample[0];
    struct report_input input = pictures_input(&changed, NULL);
    for (size_t i = 0; i < changed.n_records; i++) {
        changed.records[i].energy[0].systematic_rel = 0.6;
    }
    struct report_result *result = build(&input);
    char *html = render(result);
    check_page(html);
    expect(html, "energy, which is unresolved here");
    assert_null(strstr(html, "Image energy, net</h3>"));
    assert_null(strstr(html, "Net energy per answer</h3>"));
    assert_null(strstr(html, "Net energy by phase, with an image"));
    free(html);
    report_result_free(result);
    for (size_t i = 0; i < changed.n_records; i++) {
        changed.records[i].n_energies = 0;
        changed.records[i].value[METRIC_energy_gross_j] = NAN;
        changed.records[i].value[METRIC_energy_net_j] = NAN;
        changed.records[i].value[METRIC_image_net_j] = NAN;
    }
    result = build(&input);
    expect_page(result, "energy, which was not measured");
    report_result_free(result);
}

static void pixels_may_be_unknown(void **state) {
    (void)state;
    static struct pictures_sample changed;
    changed = sample[0];
    struct report_input input = pictures_input(&changed, NULL);
    for (size_t i = 0; i < changed.n_records; i++) {
        changed.records[i].vision.effective_pixels = 0;
    }
    struct report_result *result = build(&input);
    assert_true(result->model[0].vision.is_per_token);
    expect_page(result, "This family does not tell how many pixels its encoder sees");
    report_result_free(result);
}

// A family that brings every picture to one size.
static void one_size_for_all(void **state) {
    (void)state;
    static struct pictures_sample changed;
    changed = sample[0];
    struct report_input input = pictures_input(&changed, NULL);
    for (size_t i = 0; i < changed.n_records; i++) {
        changed.records[i].vision.effective_pixels = 512 * 512;
        changed.records[i].vision.image_tokens = 64;
    }
    struct report_result *result = build(&input);
    expect_page(result, "at every size: the encoder sees as much of each");
    report_result_free(result);
}

static void saving_is_told_or_not(void **state) {
    (void)state;
    struct report_result *result = with_knees();
    struct report_vision *vision = &result->model[0].vision;
    assert_true(vision->saving > 0);
    vision->accuracy[vision->saving].accuracy_change_ci95.low = -4;
    expect_page(result, "A loss of 3 points is not excluded");
    vision->saving = -1;
    expect_page(result, "No smaller budget kept the accuracy within 1 point");
    report_result_free(result);
}

// ---- hostile and impossible ----

static void hostile_kinds_stay_text(void **state) {
    (void)state;
    static struct pictures_sample changed;
    static const char *const KINDS[] = {"<script>alert(1)</script>", "\"' onload='x",
                                        "a\x1b[2J\xff", ""};
    changed = sample[0];
    for (size_t i = 0; i < changed.n_answers; i++) {
        changed.answers[i].kind = KINDS[i % 4];
    }
    struct report_input input = pictures_input(&changed, NULL);
    input.model[0].name = KINDS[0];
    struct report_result *result = build(&input);
    char *html = render(result);
    check_page(html);
    assert_null(strstr(html, "<script>alert"));
    expect(html, "(no kind)");
    free(html);
    report_result_free(result);
}

static void poison_summaries(struct report_image_point *point, double bad) {
    for (int law = 0; law < REPORT_N_IMAGE_LAWS; law++) {
        point->summary[law] =
            (struct stats_summary){.n = 3, .mean = bad, .median = bad, .ci95_mean = {bad, -bad}};
    }
}

static void poison(struct report_vision *vision, double bad) {
    const struct stats_interval wild = {bad, -bad};
    for (size_t b = 0; b < vision->n_budgets; b++) {
        struct report_image_budget *budget = &vision->budget[b];
        for (size_t i = 0; i < budget->n_points; i++) {
            poison_summaries(&budget->point[i], bad);
            budget->point[i].nominal_px = i % 2 ? bad : budget->point[i].nominal_px;
            budget->point[i].effective_px = i % 3 ? bad : budget->point[i].effective_px;
        }
        for (int law = 0; law < REPORT_N_IMAGE_LAWS; law++) {
            budget->has_knee[law] = true;
            budget->knee[law] = (struct knee_fit){.has_knee = true,
                                                  .knee_x = bad,
                                                  .knee_ci95 = wild,
                                                  .slope = bad,
                                                  .level_above = bad,
                                                  .level_above_ci95 = wild,
                                                  .slope_above = bad};
        }
        for (size_t i = 0; i < budget->n_stairs; i += 3) {
            budget->stair[i] = (struct report_stair){bad, bad, UINT32_MAX};
        }
        budget->token_knee_px = budget->grid_step_px = bad;
    }
    for (size_t i = 0; i < vision->n_accuracies; i++) {
        struct report_accuracy_group *group = &vision->accuracy[i];
        group->all.net_j.mean = group->all.time_s.mean = group->all.image_tokens.mean = bad;
        group->all.net_j.ci95 = group->all.time_s.ci95 = group->all.ci95 = wild;
        group->accuracy_change = group->net_j_ratio = group->time_ratio = bad;
        group->accuracy_change_ci95 = group->net_j_ratio_ci95 = group->time_ratio_ci95 = wild;
    }
}

static void impossible_figures_render(void **state) {
    (void)state;
    static const double BAD[] = {(double)NAN, (double)INFINITY, -1, 0, 1e300, -1e300};
    struct report_input input = pictures_input(&sample[0], &sample[1]);
    struct report_result *result = build(&input);
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
        poison(&result->model[0].vision, BAD[i]);
        char *html = render(result);
        check_page(html);
        free(html);
    }
    report_result_free(result);
}

static void small_sweeps_render(void **state) {
    (void)state;
    for (size_t n = 1; n < 40; n += 6) {
        struct report_input input = pictures_input(&sample[0], NULL);
        input.model[0].records += SAMPLE_RECORDS;
        input.model[0].n_records = n;
        input.model[0].n_answers = 0;
        input.model[0].image_tokens_json = n % 2 ? NULL : sample[0].image_tokens;
        struct report_result *result = build(&input);
        char *html = render(result);
        check_page(html);
        free(html);
        report_result_free(result);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(page_is_well_formed),       cmocka_unit_test(text_alone_has_no_images),
        cmocka_unit_test(images_alone_need_no_text), cmocka_unit_test(knees_are_told),
        cmocka_unit_test(no_knee_is_told),           cmocka_unit_test(energy_is_not_invented),
        cmocka_unit_test(pixels_may_be_unknown),     cmocka_unit_test(saving_is_told_or_not),
        cmocka_unit_test(one_size_for_all),          cmocka_unit_test(hostile_kinds_stay_text),
        cmocka_unit_test(impossible_figures_render), cmocka_unit_test(small_sweeps_render),
    };
    pictures_fill(0, &sample[0]);
    pictures_fill(1, &sample[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
