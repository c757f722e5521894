// Text, CSV and JSON reports: golden files, widths, quoting, completeness.
// WATTLAW_UPDATE_GOLDEN=1 rewrites the golden files.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/json.h"
#include "report/clean.h"
#include "report_vision_sample.h"

static struct report_result *build(const struct report_input *input) {
    struct report_result *result;
    struct wl_err err = {0};
    if (report_result_build(input, &result, &err) != WL_OK) {
        fail_msg("%s", err.message);
    }
    return result;
}

static char *write_as(const struct report_result *result, enum report_format format,
                      const struct report_options *options) {
    struct wl_err err = {0};
    struct buf out;
    buf_init(&out, REPORT_MAX_BYTES);
    if (report_write(result, format, options, &out, &err) != WL_OK) {
        fail_msg("%s", err.message);
    }
    return buf_detach(&out);
}

static void expect_golden(const char *name, const char *text) {
    char path[512], expected[20000];
    snprintf(path, sizeof path, "%s/tests/golden/%s", TEST_SOURCE_DIR, name);
    if (getenv("WATTLAW_UPDATE_GOLDEN")) {
        FILE *file = fopen(path, "wb");
        assert_non_null(file);
        fputs(text, file);
        fclose(file);
    }
    FILE *file = fopen(path, "rb");
    if (!file) {
        fail_msg("no %s", path);
        return;
    }
    size_t n = fread(expected, 1, sizeof expected - 1, file);
    expected[n] = '\0';
    fclose(file);
    assert_string_equal(text, expected);
}

// ---- text ----

// The laws' digits belong to the tests of stats: the golden file ends before them.
static void cut_before_laws(char *text) {
    char *laws = strstr(text, "\nLaws: ");
    assert_non_null(laws);
    assert_non_null(strstr(laws, " ms \xc3\x97 prompt   (R\xc2\xb2 0.99"));
    *laws = '\0';
}

static void text_of_two_models(void **state) {
    (void)state;
    struct report_result *result = sample_result(2);
    char *text = write_as(result, REPORT_FORMAT_text, NULL);
    cut_before_laws(text);
    expect_golden("report_two_models.txt", text);
    free(text);
    report_result_free(result);
}

static void text_of_one_model(void **state) {
    (void)state;
    struct report_result *result = sample_result(1);
    const struct report_options options = {.columns = 100};
    char *text = write_as(result, REPORT_FORMAT_text, &options);
    cut_before_laws(text);
    expect_golden("report_one_model.txt", text);
    free(text);
    report_result_free(result);
}

static int widest_line(const char *text) {
    int widest = 0, columns = 0;
    while (*text) {
        size_t len = clean_char_length(text);
        if (*text == '\n') {
            columns = 0;
        } else if (len > 0) {
            columns += clean_char_columns(text, len);
        }
        widest = columns > widest ? columns : widest;
        text += len > 0 ? len : 1;
    }
    return widest;
}

static void text_fits_the_terminal(void **state) {
    (void)state;
    struct record base[SAMPLE_RECORDS], vs[SAMPLE_RECORDS];
    sample_records(0, base);
    sample_records(1, vs);
    struct report_input input = sample_input(base, vs, 2);
    input.title = "\xe6\xa8\xa1\xe5\x9e\x8b a long title that goes on and on beyond any terminal's "
                  "right edge, and then some more of it";
    input.model[0].name =
        "\xe6\xa8\xa1\xe5\x9e\x8b\xe6\xa8\xa1\xe5\x9e\x8b-very-long-name-very-long-"
        "name-very-long-name-very-long-name";
    input.model[0].is_synthetic = true;
    struct report_result *result = build(&input);
    static const int COLUMNS[] = {60, 72, 80, 100, 140};
    for (size_t i = 0; i < sizeof COLUMNS / sizeof COLUMNS[0]; i++) {
        const struct report_options options = {.columns = COLUMNS[i]};
        char *text = write_as(result, REPORT_FORMAT_text, &options);
        assert_in_range(widest_line(text), 40, (unsigned long)COLUMNS[i]);
        assert_null(strchr(text, '\033'));
        free(text);
    }
    report_result_free(result);
}

static void images_fit_the_terminal(void **state) {
    (void)state;
    static struct images_sample samples[2];
    images_sample_fill(&samples[0], 0);
    images_sample_fill(&samples[1], 1);
    struct report_input input = images_input(&samples[0], &samples[1]);
    input.model[1].name = "a name that goes on and on beyond any terminal's right edge, and then "
                          "some more of it";
    struct report_result *result = build(&input);
    static const int COLUMNS[] = {60, 72, 80, 140};
    for (size_t i = 0; i < sizeof COLUMNS / sizeof COLUMNS[0]; i++) {
        const struct report_options options = {.columns = COLUMNS[i]};
        char *text = write_as(result, REPORT_FORMAT_text, &options);
        assert_in_range(widest_line(text), 40, (unsigned long)COLUMNS[i]);
        free(text);
    }
    report_result_free(result);
}

static void colour_only_on_request(void **state) {
    (void)state;
    struct report_result *result = sample_result(2);
    const struct report_options options = {.use_color = true, .columns = 80};
    char *text = write_as(result, REPORT_FORMAT_text, &options);
    assert_non_null(strstr(text, "\033[32m"));
    free(text);
    report_result_free(result);
}

static void names_cannot_act_on_the_terminal(void **state) {
    (void)state;
    struct record base[SAMPLE_RECORDS];
    sample_records(0, base);
    struct report_input input = sample_input(base, NULL, 1);
    input.model[0].name = "a\x1b]0;owned\x07\x1b[2J\r\n\xc2\x9b"
                          "31m";
    input.title = input.engine_version = input.model[0].name;
    input.machine_json = "{\"cpu_model\":\"x\\u001b[2J\"}";
    struct report_result *result = build(&input);
    char *text = write_as(result, REPORT_FORMAT_text, NULL);
    assert_null(strchr(text, '\033'));
    assert_null(strchr(text, '\x07'));
    assert_null(strchr(text, '\r'));
    assert_null(strstr(text, "\xc2\x9b"));
    free(text);
    report_result_free(result);
}

// ---- CSV ----

static void tiny_records(struct record records[2]) {
    for (uint32_t i = 0; i < 2; i++) {
        record_init(&records[i]);
        records[i].seq = i;
        records[i].prompt_tokens = 16;
        records[i].generated_tokens = 8;
        records[i].wall_ns = 1000 + i;
        records[i].t1_ns = 250;
        records[i].value[METRIC_time_s] = 0.25 + i;
        records[i].value[METRIC_steal_pct] = -0.5;
    }
    records[0].flags = RECORD_WARMUP | RECORD_BUSY;
    records[1].n_energies = 1;
    records[1].energy[0] = (struct record_energy){.source = "a,b",
                                                  .scope = "cpu",
                                                  .label = LABEL_ESTIMATED,
                                                  .gross_j = 2.5,
                                                  .gross_sd_j = 0.25,
                                                  .net_j = NAN,
                                                  .net_sd_j = 0.125};
}

static void expect_ends(const char *line, size_t len, const char *start, const char *end) {
    assert_true(len > strlen(start) + strlen(end));
    assert_memory_equal(line, start, strlen(start));
    assert_memory_equal(line + len - strlen(end), end, strlen(end));
}

// Only the ends of the lines: the middle grows with metrics.def.
static void csv_of_tiny_study(void **state) {
    (void)state;
    static const char *const ENDS[3][2] = {
        {"seq,role,model,cell,repeat,prompt_tokens,generated_tokens,n_requests,wall_ns,window_ns,"
         "flags,time_"
         "s,",
         ",\"a,b.cpu.gross_j\",\"a,b.cpu.gross_sd_j\",\"a,b.cpu.net_j\",\"a,b.cpu.net_sd_j\","
         "\"a,b.cpu.label\""},
        {"0,base,\"'=cmd|' /C calc'!A0, \"\"x\"\"\",0,0,16,8,1,1000,250,\"warm-up,busy\",0.25,",
         ",,,,,"},
        {"1,base,\"'=cmd|' /C calc'!A0, \"\"x\"\"\",0,0,16,8,1,1001,250,,1.25,",
         ",2.5,0.25,,0.125,estimated"}};
    struct record records[2];
    tiny_records(records);
    struct report_input input = sample_input(records, NULL, 1);
    input.model[0].n_records = 2;
    input.model[0].name = "=cmd|' /C calc'!A0, \"x\"";
    struct report_result *result = build(&input);
    char *csv = write_as(result, REPORT_FORMAT_csv, NULL);
    const char *line = csv;
    for (int i = 0; i < 3; i++) {
        size_t len = strcspn(line, "\n");
        expect_ends(line, len, ENDS[i][0], ENDS[i][1]);
        line += len + 1;
    }
    assert_string_equal(line, "");
    free(csv);
    report_result_free(result);
}

// Number of fields of the line at *p by RFC 4180; moves *p behind it.
static int count_fields(const char **p) {
    int n = 1;
    bool is_quoted = false;
    for (; **p && (is_quoted || **p != '\n'); ++*p) {
        if (**p == '"') {
            is_quoted = !is_quoted;
        }
        n += !is_quoted && **p == ',';
    }
    *p += **p == '\n';
    return n;
}

static void every_csv_line_has_all_columns(void **state) {
    (void)state;
    struct record base[SAMPLE_RECORDS], vs[SAMPLE_RECORDS];
    sample_records(0, base);
    sample_records(1, vs);
    base[3].n_energies = 0;
    vs[4].energy[1] = vs[4].energy[0];
    vs[4].n_energies = 2;
    snprintf(vs[4].energy[1].source, RECORD_NAME_BYTES, "estimate");
    struct report_input input = sample_input(base, vs, 2);
    input.model[1].name = "with \"quotes\",\ncommas and lines";
    struct report_result *result = build(&input);
    char *csv = write_as(result, REPORT_FORMAT_csv, NULL);
    const char *p = csv;
    int n_columns = count_fields(&p), n_lines = 0;
    assert_int_equal(n_columns, 11 + METRIC_COUNT + 8 + 2 * 5);
    while (*p) {
        assert_int_equal(count_fields(&p), n_columns);
        n_lines++;
    }
    assert_int_equal(n_lines, 2 * SAMPLE_RECORDS);
    free(csv);
    report_result_free(result);
}

static void csv_has_what_the_model_saw(void **state) {
    (void)state;
    static struct images_sample sample;
    images_sample_fill(&sample, 0);
    sample.records[SAMPLE_RECORDS + 1].vision.effective_pixels = 0; // the family does not tell
    struct report_input input = images_input(&sample, NULL);
    struct report_result *result = build(&input);
    char *csv = write_as(result, REPORT_FORMAT_csv, NULL);
    assert_non_null(strstr(csv, ",n_images,image_width,image_height,effective_pixels,image_tokens,"
                                "n_views,image_min_tokens,image_max_tokens,powercap.cpu.gross_j"));
    assert_non_null(strstr(csv, ",1,100,100,12544,16,1,0,0,"));
    assert_non_null(strstr(csv, ",1,148,148,,25,1,0,0,"));
    assert_non_null(strstr(csv, ",1,640,640,112896,144,1,0,144,"));
    const char *p = csv;
    int n_columns = count_fields(&p);
    while (*p) {
        assert_int_equal(count_fields(&p), n_columns);
    }
    free(csv);
    report_result_free(result);
}

// ---- JSON ----

static json_t *at(json_t *object, const char *key) {
    json_t *value = json_object_get(object, key);
    if (!value) {
        fail_msg("no key '%s'", key);
    }
    return value;
}

static void json_carries_the_second_law(void **state) {
    (void)state;
    static struct images_sample samples[2];
    struct wl_err err = {0};
    json_t *root;
    images_sample_fill(&samples[0], 0);
    images_sample_fill(&samples[1], 1);
    struct report_input input = images_input(&samples[0], &samples[1]);
    struct report_result *result = build(&input);
    char *text = write_as(result, REPORT_FORMAT_json, NULL);
    assert_int_equal(wl_json_parse(text, strlen(text), &root, &err), WL_OK);
    json_t *model = json_array_get(at(root, "models"), 1);
    json_t *images = at(model, "images"), *answers = at(model, "answers");
    assert_string_equal(wl_json_opt_string(images, "law_x", ""), "effective_kilopixels");
    json_t *law = at(at(images, "laws"), "image_s");
    assert_non_null(strstr(wl_json_opt_string(law, "equation", ""), "kpx"));
    assert_int_equal(json_array_size(at(images, "budgets")), IMAGES_BUDGETS);
    json_t *budget = json_array_get(at(images, "budgets"), 1);
    assert_int_equal(wl_json_opt_i64(budget, "image_max_tokens", 0), IMAGES_SMALL_TOKENS);
    assert_int_equal(json_array_size(at(budget, "points")), IMAGES_SIZES);
    json_t *point = json_array_get(at(budget, "points"), 0);
    assert_true(wl_json_opt_double(at(at(point, "costs"), "image_s"), "mean", 0) > 0);
    json_t *knee = at(at(budget, "knees"), "image_s");
    assert_true(wl_json_opt_bool(knee, "is_within_grid_step", false));
    assert_true(wl_json_opt_bool(knee, "is_moved", false));
    assert_string_equal(wl_json_opt_string(at(budget, "tokens"), "shape", ""), "flat-after");
    assert_int_equal(json_array_size(at(at(budget, "tokens"), "counts")), 80);
    assert_int_equal(json_array_size(at(answers, "groups")), IMAGES_GROUPS);
    assert_int_equal(wl_json_opt_i64(answers, "saving", -1), 2);
    json_t *group = json_array_get(at(answers, "groups"), 3);
    assert_true(wl_json_opt_double(group, "change_points", 0) < -14);
    assert_int_equal(json_array_size(at(group, "kinds")), 2);
    assert_true(wl_json_opt_double(at(root, "right_change"), "points", 1) == 0);
    json_decref(root);
    free(text);
    report_result_free(result);
}

static void json_carries_everything(void **state) {
    (void)state;
    struct wl_err err = {0};
    struct report_result *result = sample_result(2);
    char *text = write_as(result, REPORT_FORMAT_json, NULL);
    json_t *root, *model;
    assert_int_equal(wl_json_parse(text, strlen(text), &root, &err), WL_OK);
    assert_int_equal(wl_json_opt_i64(root, "schema_version", 0), 1);
    assert_int_equal(json_array_size(json_object_get(root, "models")), 2);
    model = json_array_get(json_object_get(root, "models"), 0);
    json_t *records = json_object_get(model, "records");
    assert_int_equal(json_array_size(records), SAMPLE_RECORDS);
    struct record record;
    assert_int_equal(record_from_json(json_array_get(records, 7), &record, &err), WL_OK);
    assert_true(
        fabs(record.value[METRIC_time_s] / result->model[0].records[7].value[METRIC_time_s] - 1) <
        1e-10);
    json_t *metrics = json_object_get(model, "metrics");
    assert_int_equal(json_object_size(metrics), METRIC_COUNT);
    json_t *accuracy = json_object_get(json_object_get(metrics, "accuracy"), "all");
    assert_true(json_is_null(json_object_get(accuracy, "mean")));
    json_t *law = json_object_get(json_object_get(model, "laws"), "time_s");
    assert_non_null(json_object_get(law, "equation"));
    assert_null(json_object_get(model, "images")); // text alone, nothing scored
    assert_null(json_object_get(model, "answers"));
    json_t *change = json_object_get(json_object_get(root, "change"), "time_s");
    assert_string_equal(wl_json_opt_string(change, "verdict", ""), "better");
    assert_true(json_object_get(json_object_get(root, "roi"), "saved_year") != NULL);
    assert_int_equal(json_array_size(json_object_get(root, "idle")), 2);
    json_decref(root);
    free(text);
    report_result_free(result);
}

static void json_of_hostile_names_parses(void **state) {
    (void)state;
    struct wl_err err = {0};
    struct record base[SAMPLE_RECORDS];
    sample_records(0, base);
    memcpy(base[2].energy[0].source, "\xff\"\x01\\", 5);
    struct report_input input = sample_input(base, NULL, 1);
    input.model[0].name = input.title = input.command_line = "\"\xff\\\x02</script>";
    struct report_result *result = build(&input);
    char *text = write_as(result, REPORT_FORMAT_json, NULL);
    json_t *root;
    assert_int_equal(wl_json_parse(text, strlen(text), &root, &err), WL_OK);
    assert_string_equal(wl_json_opt_string(root, "title", ""), "\"?\\?</script>");
    json_t *model = json_array_get(json_object_get(root, "models"), 0);
    assert_int_equal(json_array_size(json_object_get(model, "records")), SAMPLE_RECORDS);
    json_t *energies =
        json_object_get(json_array_get(json_object_get(model, "records"), 2), "energies");
    assert_string_equal(wl_json_opt_string(json_array_get(energies, 0), "source", ""), "?\"?\\");
    json_decref(root);
    free(text);
    report_result_free(result);
}

// ---- all ----

static void formats_are_found_by_name(void **state) {
    (void)state;
    assert_int_equal(report_format_by_name("csv"), REPORT_FORMAT_csv);
    assert_int_equal(report_format_by_name("pdf"), REPORT_FORMAT_COUNT);
    assert_null(report_format_info(REPORT_FORMAT_COUNT));
    assert_string_equal(report_format_info(REPORT_FORMAT_html)->extension, ".html");
}

static void too_small_a_buffer_is_an_error(void **state) {
    (void)state;
    struct report_result *result = sample_result(2);
    for (unsigned i = 0; i < REPORT_FORMAT_COUNT; i++) {
        struct wl_err err = {0};
        struct buf out;
        buf_init(&out, 500);
        assert_int_equal(report_write(result, (enum report_format)i, NULL, &out, &err), WL_LIMIT);
        buf_release(&out);
    }
    report_result_free(result);
}

static void no_records_in_every_format(void **state) {
    (void)state;
    for (size_t n_models = 1; n_models <= 2; n_models++) {
        struct report_input input = sample_input(NULL, NULL, n_models);
        input.model[0].n_records = input.model[1].n_records = 0;
        struct report_result *result = build(&input);
        for (unsigned i = 0; i < REPORT_FORMAT_COUNT; i++) {
            char *text = write_as(result, (enum report_format)i, NULL);
            assert_true(strlen(text) > 50);
            free(text);
        }
        report_result_free(result);
    }
}

// Families that bring every picture to one size, families that do not tell it, no answers.
static void images_in_every_format(void **state) {
    (void)state;
    static struct images_sample sample;
    for (uint64_t pixels = 0; pixels <= 802816; pixels += 802816) {
        images_sample_fill(&sample, 0);
        for (size_t i = 0; i < IMAGES_RECORDS; i++) {
            sample.records[SAMPLE_RECORDS + i].vision.effective_pixels = pixels;
        }
        struct report_input input = images_input(&sample, NULL);
        input.model[0].n_answers = pixels > 0 ? IMAGES_ANSWERS : 0;
        struct report_result *result = build(&input);
        for (unsigned i = 0; i < REPORT_FORMAT_COUNT; i++) {
            char *text = write_as(result, (enum report_format)i, NULL);
            assert_true(strlen(text) > 1000);
            assert_null(strstr(text, "nan"));
            free(text);
        }
        report_result_free(result);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_of_two_models),
        cmocka_unit_test(text_of_one_model),
        cmocka_unit_test(text_fits_the_terminal),
        cmocka_unit_test(images_fit_the_terminal),
        cmocka_unit_test(colour_only_on_request),
        cmocka_unit_test(names_cannot_act_on_the_terminal),
        cmocka_unit_test(csv_of_tiny_study),
        cmocka_unit_test(every_csv_line_has_all_columns),
        cmocka_unit_test(csv_has_what_the_model_saw),
        cmocka_unit_test(json_carries_everything),
        cmocka_unit_test(json_carries_the_second_law),
        cmocka_unit_test(json_of_hostile_names_parses),
        cmocka_unit_test(formats_are_found_by_name),
        cmocka_unit_test(too_small_a_buffer_is_an_error),
        cmocka_unit_test(no_records_in_every_format),
        cmocka_unit_test(images_in_every_format),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
