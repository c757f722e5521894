// An analysis from JSON: bounded and checked; what is said and drawn follows from the figures.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/json.h"
#include "near.h"
#include "report/analysis.h"
#include "report_markup.h"

// ---- a made analysis: block i of n has a sensitivity and errors of its own ----

static json_t *falling(size_t n, double first) {
    json_t *array = json_array();
    for (size_t i = 0; i < n; i++) {
        json_array_append_new(array, json_real(first * (1 - (double)(i + 1) / (double)n)));
    }
    return array;
}

static json_t *spectrum(int rank, int chi_10) {
    return json_pack("{s:f, s:i, s:i, s:i}", "entropy", 2.5, "rank", rank, "chi_10", chi_10,
                     "chi_1", 2 * chi_10);
}

static json_t *block(int number, bool has_bonds) {
    json_t *widths = json_array(), *bonds = json_array();
    for (int i = 1; i <= REPORT_ANALYSIS_WIDTHS; i++) {
        json_array_append_new(widths, json_integer(64 * i));
    }
    for (int i = 0; has_bonds && i < REPORT_ANALYSIS_BONDS; i++) {
        json_array_append_new(bonds, spectrum(384, 190));
    }
    return json_pack("{s:i, s:f, s:f, s:f, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:f, s:f, s:f, "
                     "s:f}",
                     "layer", number, "influence", 0.1 * (number % 15 + 1), "attention_share", 0.2,
                     "ffn_share", 0.3, "widths", widths, "ffn_error", falling(16, 0.2), "ffn_tail",
                     falling(16, 0.02 + 0.01 * (number % 15)), "group_error", falling(4, 0.4),
                     "group_tail", falling(4, 0.1), "ffn", spectrum(256, 10 + number % 50),
                     "attention", spectrum(256, 20), "bonds", bonds, "ffn_sensitivity",
                     number == 0 ? 2.0 : 0.05, "attention_sensitivity", number < 2 ? 1.0 : 0.01,
                     "kl_no_attention", number == 3 ? 0.002 : 0.5, "kl_removed",
                     number == 2 ? 0.02 : 0.7);
}

static json_t *document_of(int n_blocks, bool has_bonds) {
    json_t *layers = json_array();
    for (int i = 0; i < n_blocks; i++) {
        json_array_append_new(layers, block(i, has_bonds));
    }
    return json_pack("{s:{s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:s}, s:f, s:{s:s, s:i, "
                     "s:i, s:f, s:o}}",
                     "model", "file_bytes", 9000000, "n_embd", 256, "n_vocab", 5000, "n_head", 8,
                     "n_head_kv", 4, "n_ff", 1024, "step", 32, "ffn_weights", 3000000,
                     "attention_weights", 900000, "flexible", "deci", "text_seconds", 1.5,
                     "analysis", "arch", "llama", "n_tokens", 40000, "n_tokens_kl", 900, "seconds",
                     12.0, "layers", layers);
}

static void read_made(struct report_analysis *out, int n_blocks, bool has_bonds) {
    struct wl_err err;
    json_t *document = document_of(n_blocks, has_bonds);
    assert_non_null(document);
    if (report_analysis_read(document, out, &err) != WL_OK) {
        fail_msg("%s", err.message);
    }
    json_decref(document);
}

// ---- reading ----

static void an_analysis_is_read(void **state) {
    (void)state;
    struct report_analysis a;
    read_made(&a, 5, true);
    assert_int_equal(a.n_layer, 5);
    assert_string_equal(a.arch, "llama");
    assert_int_equal(a.n_ff, 1024);
    assert_true(a.has_bonds);
    assert_int_equal(a.layers[4].ffn.chi_10, 14);
    assert_int_equal(a.layers[4].bonds[4].rank, 384);
    assert_near(a.layers[1].ffn_error[7], 0.1, 1e-12);
    assert_near(report_analysis_ffn_kl(&a.layers[0], 8), 0.2, 1e-12);
    assert_near(report_analysis_all_kl(&a, 8), 0.2 + 4 * 0.005, 1e-12);
    assert_int_equal(report_analysis_groups(&a.layers[0], 3), 3);
    assert_near(report_analysis_group_kl(&a.layers[0], 2), 0.2, 1e-12);
    assert_near(report_analysis_ratio(0.2, 0.05), 4, 1e-12);
    assert_true(isnan(report_analysis_ratio(0.2, 0)));
    report_analysis_release(&a);
    report_analysis_release(&a);
}

struct edit {
    const char *where; // "", "model", "analysis" or "block"
    const char *key, *value, *says;
};

static const struct edit EDITS[] = {
    {"", "model", "[]", "no analysis"},
    {"", "analysis", "null", "no analysis"},
    {"", "text_seconds", "-1", "'text_seconds': expected a number from 0"},
    {"model", "n_ff", "0", "'n_ff': expected 1 to"},
    {"model", "file_bytes", "1.5", "file_bytes"},
    {"model", "flexible", "\"<b>\"", "'flexible': expected a short name"},
    {"analysis", "arch", "\"\\u001b[31m\"", "'arch': expected a short name"},
    {"analysis", "n_tokens", "null", "n_tokens"},
    {"analysis", "layers", "[]", "'layers': expected an array of 1 to 4096"},
    {"analysis", "layers", "[[]]", "block 0"},
    {"block", "layer", "2", "block 1: key 'layer': expected 1 to 1, found 2"},
    {"block", "influence", "2.5", "'influence': expected a number from 0 to 2, found 2.5"},
    {"block", "kl_removed", "null", "'kl_removed'"},
    {"block", "widths", "[1]", "'widths': expected an array of 16"},
    {"block", "widths", "[5,4,5,5,5,5,5,5,5,5,5,5,5,5,5,5]", "never fall"},
    {"block", "ffn_error", "[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,\"x\"]",
     "'ffn_error': expected numbers"},
    {"block", "ffn_tail", "[3,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]", "found 3"},
    {"block", "group_error", "[]", "'group_error': expected an array of 1 to 128"},
    {"block", "group_tail", "[0]", "'group_tail': expected an array of 4"},
    {"block", "ffn", "{\"entropy\":1,\"rank\":5,\"chi_10\":6,\"chi_1\":6}", "'chi_1'"},
    {"block", "attention", "{\"entropy\":9,\"rank\":5,\"chi_10\":1,\"chi_1\":2}", "'entropy'"},
    {"block", "bonds", "[]", "'bonds': expected an array of 5, found 0"},
};

static void apply(json_t *document, const struct edit *edit) {
    json_t *analysis = json_object_get(document, "analysis"), *value = NULL;
    json_t *object = strcmp(edit->where, "") == 0        ? document
                     : strcmp(edit->where, "model") == 0 ? json_object_get(document, "model")
                     : strcmp(edit->where, "analysis") == 0
                         ? analysis
                         : json_array_get(json_object_get(analysis, "layers"), 1);
    assert_int_equal(wl_json_parse(edit->value, strlen(edit->value), &value, NULL), WL_OK);
    assert_int_equal(json_object_set_new(object, edit->key, value), 0);
}

static void wrong_figures_are_refused_by_name(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof EDITS / sizeof EDITS[0]; i++) {
        struct report_analysis a;
        struct wl_err err = {0};
        json_t *document = document_of(3, true);
        apply(document, &EDITS[i]);
        assert_int_equal(report_analysis_read(document, &a, &err), WL_INPUT);
        assert_null(a.layers);
        if (!strstr(err.message, EDITS[i].says)) {
            fail_msg("no '%s' in '%s'", EDITS[i].says, err.message);
        }
        json_decref(document);
    }
    struct report_analysis a;
    assert_int_equal(report_analysis_read(NULL, &a, NULL), WL_INPUT);
}

// ---- words ----

static bool says(const struct report_analysis_words *words, const char *text) {
    for (size_t i = 0; i < words->n; i++) {
        if (strstr(words->text[i], text)) {
            return true;
        }
    }
    for (size_t i = 0; i < words->n; i++) {
        print_message("%s\n", words->text[i]);
    }
    return false;
}

static void words_follow_from_the_figures(void **state) {
    (void)state;
    struct report_analysis a;
    struct report_analysis_words words;
    read_made(&a, 5, false);
    report_analysis_words(&a, &words);
    assert_true(says(&words, "about 0.110, 0.220 and 0.330 nats"));
    assert_true(says(&words, "Can go: half of the neurons of blocks 1-4, for less than 0.01"));
    assert_true(says(&words, "Should stay: the neurons of block 0;"));
    assert_true(says(&words, "half of the KV heads of blocks 2-4"));
    assert_true(says(&words, "all attention of block 3;"));
    assert_true(says(&words, "Can go whole, one of them: block 2; the cheapest, block 2"));
    assert_true(says(&words, "loses 3.3 (block 4) to 10.0 (block 0) times"));
    assert_true(says(&words, "narrowest in block 0 (10 of 256"));
    assert_true(says(&words, "written as 'deci'"));
    a.flexible[0] = '\0';
    a.n_tokens = 100;
    a.n_tokens_kl = 10;
    for (uint32_t i = 0; i < a.n_layer; i++) {
        a.layers[i].ffn_sensitivity = 100;
        a.layers[i].kl_removed = 1 + i;
        a.layers[i].ffn_tail[3] = 0;
    }
    report_analysis_words(&a, &words);
    assert_true(says(&words, "No block can lose half of its neurons"));
    assert_true(says(&words, "the neurons of blocks 0-4; half"));
    assert_true(says(&words, "No block can go whole: the cheapest, block 0, would cost 1.00"));
    assert_true(says(&words, "is 0 there and says nothing"));
    assert_true(says(&words, "All blocks must keep the same sizes in the architecture 'llama'"));
    assert_true(says(&words, "Caution: 100 tokens"));
    assert_true(says(&words, "Caution: divergences are of 10"));
    report_analysis_release(&a);
}

static void long_lists_end(void **state) {
    (void)state;
    struct report_analysis a;
    struct report_analysis_words words;
    read_made(&a, 4096, false);
    for (uint32_t i = 0; i < a.n_layer; i++) {
        a.layers[i].ffn_sensitivity = i % 2 ? 0 : 9;
    }
    report_analysis_words(&a, &words);
    assert_true(says(&words, "blocks 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23 ..."));
    report_analysis_release(&a);
}

// ---- page ----

static const struct report_analysis_page PAGE = {
    .title = "<script>alert(1)</script> & \"model\"", .subtitle = "a/b'c", .version = "1.0"};

static void check_page(int n_blocks, bool has_bonds) {
    struct report_analysis a;
    struct buf out;
    struct markup markup;
    read_made(&a, n_blocks, has_bonds);
    buf_init(&out, 64 << 20);
    assert_true(report_analysis_html(&a, &PAGE, &out));
    const char *text = buf_text(&out);
    if (!markup_check(&markup, text)) {
        fail_msg("%d blocks: %s", n_blocks, markup.problem);
    }
    assert_null(strstr(text, "<script"));
    assert_null(strstr(text, "http://"));
    assert_null(strstr(text, "nan"));
    assert_null(strstr(text, "inf\""));
    assert_non_null(strstr(text, "&lt;script&gt;alert(1)"));
    assert_int_equal(strstr(text, "Tensor trains") != NULL, has_bonds);
    assert_int_equal(strstr(text, "<details open") != NULL, n_blocks <= 8);
    buf_release(&out);
    report_analysis_release(&a);
}

static void the_page_is_markup(void **state) {
    (void)state;
    check_page(1, false);
    check_page(6, true);
    check_page(40, true);
}

static void every_block_is_drawn(void **state) {
    (void)state;
    struct report_analysis a;
    struct buf out;
    read_made(&a, 6, false);
    buf_init(&out, 64 << 20);
    assert_true(report_analysis_html(&a, &PAGE, &out));
    const char *text = buf_text(&out);
    assert_non_null(strstr(text, "block 0, 512 neurons: 0.200 nats (error 0.100)"));
    assert_non_null(strstr(text, "block 5, without the block: 0.700"));
    assert_non_null(strstr(text, "block 3, without its attention: 0.0020"));
    assert_non_null(strstr(text, "id=\"curve-5-t\""));
    buf_release(&out);
    buf_init(&out, 5000);
    assert_false(report_analysis_html(&a, &PAGE, &out));
    buf_release(&out);
    report_analysis_release(&a);
}

// Figures at the ends of what is allowed must not make anything that cannot be drawn.
static void extreme_figures_are_drawn(void **state) {
    (void)state;
    struct report_analysis a;
    read_made(&a, 3, true);
    for (uint32_t i = 0; i < a.n_layer; i++) {
        struct report_analysis_layer *l = &a.layers[i];
        double value = i == 0 ? 0 : i == 1 ? 1e12 : 1e-30;
        l->influence = fmin(value, 2);
        l->ffn_share = l->attention_share = l->ffn_sensitivity = l->attention_sensitivity = value;
        l->kl_no_attention = l->kl_removed = value;
        for (size_t k = 0; k < REPORT_ANALYSIS_WIDTHS; k++) {
            l->widths[k] = i == 0 ? 1 : 1 << 28;
            l->ffn_error[k] = l->ffn_tail[k] = i == 0 ? 0 : 2;
        }
    }
    for (int round = 0; round < 2; round++) {
        struct buf out;
        struct markup markup;
        buf_init(&out, 64 << 20);
        assert_true(report_analysis_html(&a, &PAGE, &out));
        assert_true(markup_check(&markup, buf_text(&out)));
        assert_null(strstr(buf_text(&out), "nan"));
        buf_release(&out);
        a.n_layer = 1; // all of it 0
    }
    a.n_layer = 3;
    report_analysis_release(&a);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_analysis_is_read),
        cmocka_unit_test(wrong_figures_are_refused_by_name),
        cmocka_unit_test(words_follow_from_the_figures),
        cmocka_unit_test(long_lists_end),
        cmocka_unit_test(the_page_is_markup),
        cmocka_unit_test(every_block_is_drawn),
        cmocka_unit_test(extreme_figures_are_drawn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
