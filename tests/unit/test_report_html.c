// The HTML report: well-formed, self-contained, safe with hostile names, and its calculator shows
// what plan/roi.h computes.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/sha256.h"
#include "report/html_sections.h"
#include "report_markup.h"
#include "report_sample.h"

static char *render(const struct report_input *input) {
    struct report_result *result;
    struct wl_err err = {0};
    struct buf out;
    buf_init(&out, REPORT_MAX_BYTES);
    if (report_result_build(input, &result, &err) != WL_OK ||
        report_write(result, REPORT_FORMAT_html, NULL, &out, &err) != WL_OK) {
        fail_msg("%s", err.message);
    }
    report_result_free(result);
    return buf_detach(&out);
}

static void check_page(const char *html) {
    struct markup markup;
    if (!markup_check(&markup, html)) {
        fail_msg("%s", markup.problem);
    }
    // Nothing is loaded from anywhere.
    static const char *const FORBIDDEN[] = {"http:",    "https:",  "src=",       "url(",
                                            "@import",  "<iframe", "<link",      "<img",
                                            "style=\"", " on",     "javascript:"};
    const char *body = strstr(html, "<body>");
    for (size_t i = 0; i < sizeof FORBIDDEN / sizeof FORBIDDEN[0]; i++) {
        if (strcmp(FORBIDDEN[i], " on") != 0 && strstr(html, FORBIDDEN[i])) {
            fail_msg("the page holds %s", FORBIDDEN[i]);
        }
    }
    assert_non_null(body);
    assert_null(strstr(body, "nan"));
    assert_null(strstr(body, "-inf"));
}

static void page_is_well_formed(void **state) {
    (void)state;
    struct record base[SAMPLE_RECORDS], vs[SAMPLE_RECORDS];
    sample_records(0, base);
    sample_records(1, vs);
    for (size_t n_models = 1; n_models <= 2; n_models++) {
        struct report_input input = sample_input(base, vs, n_models);
        char *html = render(&input);
        check_page(html);
        assert_non_null(strstr(html, "SmolLM2-135M-Instruct-F16"));
        assert_non_null(strstr(html, n_models == 2 ? "\xc3\x97"
                                                     "2.26"
                                                   : "5.10"));
        assert_non_null(strstr(html, "not measured")); // accuracy
        assert_non_null(strstr(html, "powercap, cpu scope, measured"));
        free(html);
    }
}

static void small_and_broken_studies_render(void **state) {
    (void)state;
    struct record base[SAMPLE_RECORDS], vs[SAMPLE_RECORDS];
    for (size_t n = 0; n < 12; n++) {
        sample_records(0, base);
        sample_records(1, vs);
        for (size_t i = 0; n == 11 && i < n; i++) {
            for (int k = 0; k < METRIC_COUNT; k++) {
                base[i].value[k] = k % 3 ? (double)NAN : (k % 2 ? 1e300 : -1e300);
            }
            base[i].prompt_tokens = i % 2 ? 0 : UINT32_MAX;
        }
        struct report_input input = sample_input(base, vs, 2);
        input.model[0].n_records = n;
        input.model[1].n_records = n / 2;
        input.machine_json = input.meters_json = input.options_json = NULL;
        input.n_idles = 0;
        input.state = "interrupted";
        char *html = render(&input);
        check_page(html);
        assert_non_null(strstr(html, "This study is interrupted"));
        free(html);
    }
}

static void hostile_names_stay_text(void **state) {
    (void)state;
    static char long_name[5000];
    memset(long_name, 'A', sizeof long_name - 1);
    const char *const names[] = {"\"><script>alert(1)</script>",
                                 "</style><script>x</script>",
                                 "' onmouseover='x",
                                 "a\x01\x1b[2J\xff\xfe",
                                 "${x} {{y}} &amp; \\",
                                 "\xe2\x80\xae"
                                 "gpj.exe",
                                 long_name,
                                 ""};
    struct record base[SAMPLE_RECORDS], vs[SAMPLE_RECORDS];
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        sample_records(0, base);
        sample_records(1, vs);
        for (int k = 0; k < SAMPLE_RECORDS; k++) {
            snprintf(base[k].energy[0].source, RECORD_NAME_BYTES, "%.31s", names[i]);
            snprintf(base[k].energy[0].scope, RECORD_NAME_BYTES, "%.31s", names[i]);
        }
        struct report_input input = sample_input(base, vs, 2);
        input.title = input.model[0].name = input.model[1].path = names[i];
        input.engine_version = input.command_line = input.study_uuid = input.state = names[i];
        snprintf(input.rates.currency, sizeof input.rates.currency, "%.7s", names[i]);
        input.machine_json = "{\"cpu_model\":\"<b>\\u001b&\\\"\",\"<i>\":\"x\"}";
        input.model[0].is_synthetic = true;
        char *html = render(&input);
        check_page(html);
        assert_null(strstr(html, "alert(1)</script>"));
        assert_null(strstr(html, "<script>x"));
        assert_true(strlen(html) < 2000000);
        free(html);
    }
}

static void random_weights_are_said(void **state) {
    (void)state;
    struct record base[SAMPLE_RECORDS];
    sample_records(0, base);
    struct report_input input = sample_input(base, NULL, 1);
    input.model[0].is_synthetic = true;
    char *html = render(&input);
    assert_non_null(strstr(html, "are random: its cost is real, its answers mean nothing"));
    free(html);
}

// The policy names the hash of exactly the script and style that the page carries.
static void policy_allows_exactly_our_script(void **state) {
    (void)state;
    static const char *const TAGS[] = {"<style>", "</style>", "<script>", "</script>"};
    struct record base[SAMPLE_RECORDS];
    sample_records(0, base);
    struct report_input input = sample_input(base, NULL, 1);
    char *html = render(&input);
    assert_non_null(strstr(html, "default-src 'none'"));
    assert_null(strstr(html, "unsafe-inline"));
    for (int i = 0; i < 4; i += 2) {
        char hash[SHA256_BASE64_BYTES];
        const char *start = strstr(html, TAGS[i]) + strlen(TAGS[i]);
        const char *end = strstr(start, TAGS[i + 1]);
        sha256_base64(start, (size_t)(end - start), hash);
        assert_non_null(strstr(html, hash));
        assert_null(strstr(end + 1, TAGS[i])); // there is only one of each
    }
    free(html);
}

// ---- the calculator ----

static void expect_cell(const char *html, const char *id, const struct roi_value *v) {
    char start[64], number[64], expected[128];
    snprintf(start, sizeof start, "<td id=\"roi-%s\"><b>", id);
    const char *cell = strstr(html, start);
    if (!cell) {
        fail_msg("no cell %s", id);
        return;
    }
    snprintf(expected, sizeof expected, "%s</b>",
             isfinite(v->value) ? html_roi_number(number, v->value) : "unresolved");
    if (strncmp(cell + strlen(start), expected, strlen(expected)) != 0) {
        fail_msg("%s: page has '%.60s', roi.c says %s", id, cell + strlen(start), expected);
    }
}

static void expect_year(const char *html, const char *who, const struct roi_year *year) {
    const struct {
        const char *key;
        const struct roi_value *value;
    } rows[] = {{"kwh", &year->kwh},
                {"cost", &year->cost},
                {"co2", &year->co2_kg},
                {"hours", &year->wait_hours}};
    for (int i = 0; i < 4; i++) {
        char id[32];
        snprintf(id, sizeof id, "%s-%s", who, rows[i].key);
        expect_cell(html, id, rows[i].value);
    }
}

// The figures that the script will calculate with, read back from the page.
static struct roi_value data_of(const char *html, const char *name) {
    static const char *const ENDS[] = {"", "-low", "-high"};
    double got[3];
    for (int i = 0; i < 3; i++) {
        char attribute[48];
        snprintf(attribute, sizeof attribute, " data-%s%s=\"", name, ENDS[i]);
        const char *at = strstr(html, attribute);
        got[i] = at ? strtod(at + strlen(attribute), NULL) : (double)NAN;
    }
    return (struct roi_value){got[0], {got[1], got[2]}};
}

static double input_of(const char *html, const char *name) {
    char attribute[48];
    snprintf(attribute, sizeof attribute, "name=\"%s\"", name);
    const char *at = strstr(strstr(html, attribute), "value=\"");
    return strtod(at + 7, NULL);
}

static void calculator_agrees_with_roi(void **state) {
    (void)state;
    struct record base[SAMPLE_RECORDS], vs[SAMPLE_RECORDS];
    sample_records(0, base);
    sample_records(1, vs);
    struct report_input input = sample_input(base, vs, 2);
    input.rates = (struct roi_rates){25000, 0.31, 380, 42.5, "\xe2\x82\xac"};
    char *html = render(&input);
    const struct roi_rates rates = {input_of(html, "requests"), input_of(html, "tariff"),
                                    input_of(html, "carbon"), input_of(html, "wage"), ""};
    const struct roi_request requests[2] = {{data_of(html, "base-wh"), data_of(html, "base-s")},
                                            {data_of(html, "vs-wh"), data_of(html, "vs-s")}};
    struct roi_year year;
    struct roi_saving saving;
    assert_true(fabs(rates.requests_per_day - 25000) < 1e-9);
    assert_true(fabs(rates.tariff_per_kwh - 0.31) < 1e-12);
    roi_year(&requests[0], &rates, &year);
    expect_year(html, "base", &year);
    roi_year(&requests[1], &rates, &year);
    expect_year(html, "vs", &year);
    roi_saving(&requests[0], &requests[1], &rates, &saving);
    expect_year(html, "saved", &saving.saved);
    expect_cell(html, "saved-value", &saving.hours_value);
    expect_cell(html, "saved-total", &saving.total);
    assert_true(saving.total.value > 1000);
    free(html);
}

static void calculator_without_energy(void **state) {
    (void)state;
    struct record base[SAMPLE_RECORDS], vs[SAMPLE_RECORDS];
    sample_records(0, base);
    sample_records(1, vs);
    for (int i = 0; i < SAMPLE_RECORDS; i++) {
        base[i].n_energies = vs[i].n_energies = 0;
        base[i].value[METRIC_energy_gross_j] = vs[i].value[METRIC_energy_gross_j] = NAN;
        base[i].value[METRIC_energy_net_j] = vs[i].value[METRIC_energy_net_j] = NAN;
    }
    struct report_input input = sample_input(base, vs, 2);
    char *html = render(&input);
    check_page(html);
    assert_null(strstr(html, "data-base-wh"));
    assert_non_null(strstr(html, "<td id=\"roi-base-kwh\"><b>unresolved</b>"));
    assert_non_null(strstr(html, "No energy source was available"));
    free(html);
}

static void numbers_have_thousands(void **state) {
    (void)state;
    char out[64];
    assert_string_equal(html_roi_number(out, 1234567.8), "1\xe2\x80\xaf"
                                                         "234\xe2\x80\xaf"
                                                         "568");
    assert_string_equal(html_roi_number(out, -1234), "\xe2\x88\x92"
                                                     "1\xe2\x80\xaf"
                                                     "234");
    assert_string_equal(html_roi_number(out, 0.325), "0.325");
    assert_string_equal(html_roi_number(out, 999.7), "1\xe2\x80\xaf"
                                                     "000");
    assert_string_equal(html_roi_number(out, NAN), "-");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(page_is_well_formed),
        cmocka_unit_test(small_and_broken_studies_render),
        cmocka_unit_test(hostile_names_stay_text),
        cmocka_unit_test(random_weights_are_said),
        cmocka_unit_test(policy_allows_exactly_our_script),
        cmocka_unit_test(calculator_agrees_with_roi),
        cmocka_unit_test(calculator_without_energy),
        cmocka_unit_test(numbers_have_thousands),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
