// The page of a compression: figures that are missing or impossible, what is said of rivals, and
// documents that nobody would have written.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/json.h"
#include "report/compression.h"
#include "report_markup.h"

enum { MAX_PAGE = 8 << 20, MIB = 1 << 20 };

// ---- a made document ----

static double SPREAD = 0.02; // of the rounds, to both sides

static json_t *range(double median) {
    return json_pack("{s:f, s:f, s:f}", "median", median, "low", (1 - SPREAD) * median, "high",
                     (1 + SPREAD) * median);
}

static json_t *speed(double prompt_ms, double decode_ms) {
    return json_pack("{s:i, s:o, s:o, s:o, s:o}", "n", 7, "prompt_ms", range(prompt_ms),
                     "decode_ms", range(decode_ms), "prompt_ratio", range(2 / prompt_ms),
                     "decode_ratio", range(20 / decode_ms));
}

static json_t *verdict(double kl, double sem) {
    return json_pack("{s:i, s:{s:f}, s:{s:f}, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:i, s:n, s:f, "
                     "s:i, s:f, s:f}",
                     "n", 9000, "original", "perplexity", 8.5, "changed", "perplexity", 8.75,
                     "kl_mean", kl, "kl_sem", sem, "kl_median", kl / 10, "kl_p99", 3 * kl,
                     "top1_share", 0.94, "log_ppl_ratio", 0.03, "log_ppl_ratio_sem", 0.002,
                     "n_image", 0, "kl_image", "lost_mass", 0.0, "n_answers", 32, "exact_share",
                     0.8125, "same_share", 0.9375);
}

struct made_rival {
    const char *type; // NULL: a file
    int mib;
    double kl, prompt_ms, decode_ms;
};

static json_t *rival(const struct made_rival *made) {
    char name[64];
    snprintf(name, sizeof name, made->type ? "the original in %s" : "smaller.gguf", made->type);
    return json_pack("{s:s?, s:s, s:b, s:I, s:o, s:n, s:o}", "type", made->type, "name", name,
                     "is_file", made->type == NULL, "bytes", (json_int_t)made->mib * MIB, "verdict",
                     verdict(made->kl, made->kl / 50), "refusal", "speed",
                     speed(made->prompt_ms, made->decode_ms));
}

static json_t *shapes(int n) {
    json_t *list = json_array();
    for (int i = 0; i < n; i++) {
        json_array_append_new(list,
                              json_pack("{s:i, s:i, s:b}", "n_ff", 512 + 32 * (i % 4), "n_head_kv",
                                        i % 3 == 1 ? 2 : 4, "is_removed", i == 2));
    }
    return list;
}

static json_t *done(int n) {
    json_t *list = json_array();
    for (int i = 0; i < n; i++) {
        json_array_append_new(list,
                              json_pack("{s:i, s:f, s:f, s:n, s:f, s:n, s:f, s:f, s:f}", "layer", i,
                                        "error_cut", 0.2, "error_repaired", 0.1, "error_bias",
                                        "error_healed", 0.05, "error_image", "attention_error_cut",
                                        0.3, "attention_error_repaired", 0.2, "seconds", 12.0));
    }
    return list;
}

// 100 MiB became 60; 20 ms per generated token became 15, 2 ms per prompt token 1.2.
static json_t *document_of(int n_blocks) {
    return json_pack(
        "{s:i, s:s, s:b, s:n, s:I, s:s, s:{s:s, s:s, s:f, s:f, s:[s], s:i}, s:{s:i, s:i, s:i, "
        "s:i}, "
        "s:{s:s, s:i, s:i, s:i, s:I, s:I, s:I, s:o}, s:o, s:f, s:o, s:o, s:o, s:[], s:{s:f, s:f}}",
        "schema_version", 2, "grade", "good", "is_written", 1, "refusal", "out_bytes",
        (json_int_t)60 * MIB, "out", "/tmp/s.gguf", "request", "path", "/tmp/in.gguf", "method",
        "repair", "local_seconds", 60.0, "cut", 0.4, "tasks", "/tmp/mine.jsonl", "seed", 1, "text",
        "n_tokens", 4000, "n_from_tasks", 3000, "n_from_self", 1000, "n_held_out", 900, "plan",
        "arch", "llama", "n_layer", n_blocks, "n_ff_before", 1024, "n_head_kv_before", 4,
        "in_bytes", (json_int_t)100 * MIB, "block_weights_before", (json_int_t)50000000,
        "block_weights_after", (json_int_t)30000000, "layers", shapes(n_blocks), "layers",
        done(n_blocks), "stream_error", 0.01, "verdict", verdict(0.08, 0.004), "speed",
        speed(1.2, 15), "speed_original", speed(2, 20), "rivals", "seconds", "text", 10.0, "blocks",
        70.0);
}

static void add_rivals(json_t *document, const struct made_rival *made, size_t n) {
    for (size_t i = 0; i < n; i++) {
        json_array_append_new(json_object_get(document, "rivals"), rival(&made[i]));
    }
}

static void add(json_t *document, const char *key, const char *text) {
    json_t *value = NULL;
    struct wl_err err;
    if (wl_json_parse(text, strlen(text), &value, &err) != WL_OK) {
        fail_msg("%s: %s", key, err.message);
    }
    json_object_set_new(document, key, value);
}

// All that there can be, an analysis apart (tests/unit/test_report_analysis.c).
static json_t *full_document(int n_blocks) {
    static const struct made_rival RIVALS[] = {
        {"Q8_0", 53, 0.001, 1.9, 12}, {"Q4_K", 30, 0.03, 2.1, 8}, {NULL, 58, 0.3, 1.0, 14}};
    json_t *d = document_of(n_blocks);
    add_rivals(d, RIVALS, 3);
    add(d, "distilled",
        "{\"kl_before\":0.12,\"kl_after\":0.08,\"n_steps\":9,\"n_tokens\":40000,"
        "\"seconds\":900.5,\"is_kept\":true}");
    add(d, "allocation", "{\"predicted_kl\":0.09,\"uniform_kl\":0.11,\"cost\":1,\"budget\":1}");
    add(d, "costs", "{\"prompt\":{\"residual_share\":0.1},\"decode\":{\"residual_share\":0.31}}");
    add(d, "vocabulary",
        "{\"n_before\":32000,\"n_after\":9000,\"growth\":0.012,\"coverage\":0.99,"
        "\"in_bytes\":104857600,\"out_bytes\":94371840}");
    add(d, "types",
        "{\"tensors\":[{\"name\":\"blk.0.ffn_down.weight\",\"type\":\"Q6_K\"},"
        "{\"name\":\"blk.1.ffn_down.weight\",\"type\":\"Q6_K\"},"
        "{\"name\":\"token_embd.weight\",\"type\":\"Q8_0\"}]}");
    add(d, "encoder",
        "{\"in_bytes\":900000,\"out_bytes\":700000,\"block_weights_before\":400000,"
        "\"block_weights_after\":300000,\"error_projected\":0.02,\"cosine\":0.99,"
        "\"encode_s_before\":0.5,\"encode_s_after\":0.4,\"layers\":[{\"layer\":0,"
        "\"n_ff_before\":64,\"n_ff\":32,\"error_cut\":0.1,\"error_repaired\":0.05},"
        "{\"layer\":1,\"is_removed\":true,\"n_ff_before\":64,\"n_ff\":64}]}");
    add(d, "rounds",
        "[{\"plan\":{\"block_weights_after\":25000000},\"kl_mean\":0.2,\"eased\":1.0},"
        "{\"plan\":{\"block_weights_after\":30000000},\"kl_mean\":0.08,\"eased\":0.7}]");
    return d;
}

// ---- pages ----

static struct report_compression_page PAGE = {.title = "<script>alert(1)</script> & \"s\"",
                                              .subtitle = "a/b'c",
                                              .version = "1.0",
                                              .has_study = true};

// The page of a document that is released then; the caller frees it.
static char *page_of(json_t *document) {
    struct buf out;
    struct wl_err err = {0};
    struct markup markup;
    buf_init(&out, MAX_PAGE);
    if (report_compression_html(document, &PAGE, &out, &err) != WL_OK) {
        fail_msg("%s", err.message);
    }
    json_decref(document);
    const char *text = buf_text(&out);
    if (!markup_check(&markup, text)) {
        fail_msg("%s", markup.problem);
    }
    assert_null(strstr(text, "<script"));
    assert_null(strstr(text, "http://"));
    assert_null(strstr(text, "nan"));
    assert_null(strstr(text, "inf\""));
    assert_null(strstr(text, " inf"));
    return buf_detach(&out);
}

static void expect(const char *page, const char *text) {
    if (!strstr(page, text)) {
        fail_msg("no '%s'", text);
    }
}

static void everything_is_told(void **state) {
    (void)state;
    static const char *const TEXTS[] = {
        "&lt;script&gt;alert(1)",
        "a/b&#39;c",
        "href=\"report.html\"",
        "Good, and written: on text like the calibration text",
        "It diverges by 0.08 nats per token (95 % 0.0722 to 0.0878).",
        "100 MiB became 60.0 MiB, 40 % less; weights in blocks: 40 % less.",
        "prompts \xc3\x97"
        "1.67, generation \xc3\x97"
        "1.33 of the original",
        "Neurons: 512 to 608 of 1024 stay, each block its own number.",
        "KV heads: 2 to 4 of 4 stay",
        "Same answer, of 32",
        "<td>81.2 %</td>",
        "Taken out whole: 1 of 5 blocks (2).",
        "0.09 nats per token were foretold before any healing (0.11 with",
        "do not add up to within 31 %",
        "block 1: 2 of 4 KV heads",
        "block 0, after healing: 0.05",
        "id=\"text-errors-t\"",
        "id=\"encoder-neurons-t\"",
        "id=\"by-size-t\"",
        "id=\"by-decode-t\"",
        "the original in Q8_0: 53.0 MiB, 0.001 nats per token",
        ">smaller.gguf</text>",
        "<td>40K tokens in 15 min 00 s</td>",
        "9000 of 32000 tokens stay",
        "<th>ffn_down</th><td>2</td><td></td>",
        "<th>token_embd</th><td></td><td>1</td>",
        "cosine 0.990 to those of before",
        "<h2 id=\"rounds\">",
        "4000 tokens, 3000 of questions and answers, 1000 that the model wrote itself, 900 more",
        "<dd>mine.jsonl</dd>",
        "<dt>floor</dt><dd>none</dd>",
        "Where the time went: 80.0 s",
    };
    char *page = page_of(full_document(5));
    for (size_t i = 0; i < sizeof TEXTS / sizeof TEXTS[0]; i++) {
        expect(page, TEXTS[i]);
    }
    free(page);
}

static void parts_without_figures_are_left_out(void **state) {
    (void)state;
    static const char *const PARTS[] = {"beside", "blocks",     "healing", "encoder",
                                        "types",  "vocabulary", "rounds",  "analysis"};
    json_t *empty = json_pack("{s:{}}", "plan");
    PAGE.has_study = false;
    char *page = page_of(empty), id[32];
    PAGE.has_study = true;
    for (size_t i = 0; i < sizeof PARTS / sizeof PARTS[0]; i++) {
        snprintf(id, sizeof id, "<h2 id=\"%s\"", PARTS[i]);
        assert_null(strstr(page, id));
    }
    expect(page, "Not written. How far it is from the original is not known.");
    expect(page, "<h2 id=\"method\"");
    assert_null(strstr(page, "report.html"));
    free(page);
}

static void a_refusal_is_told(void **state) {
    (void)state;
    json_t *document = document_of(3);
    json_object_set_new(document, "is_written", json_false());
    json_object_set_new(document, "refusal", json_string("over the <floor>"));
    char *page = page_of(document);
    expect(page, "<b>Not written.</b> over the &lt;floor&gt;</p>");
    expect(page, "Good, but not written:");
    free(page);
}

static void a_rival_without_verdict_says_why(void **state) {
    (void)state;
    static const struct made_rival RIVAL = {NULL, 50, 0.1, 1, 10};
    json_t *document = document_of(3);
    add_rivals(document, &RIVAL, 1);
    json_t *entry = json_array_get(json_object_get(document, "rivals"), 0);
    json_object_set_new(entry, "verdict", json_null());
    json_object_set_new(entry, "refusal", json_string("it has other tokens"));
    char *page = page_of(document);
    expect(page, "Not compared with the original: it has other tokens");
    expect(page, "<th>smaller.gguf</th><td>50.0 MiB</td>");
    assert_null(strstr(page, "speaks for this file"));
    assert_null(strstr(page, ">smaller.gguf</text>")); // no dot without a divergence
    free(page);
}

// ---- what is said of rivals ----

static const struct {
    struct made_rival rivals[3];
    size_t n;
    const char *says[3];
} CASES[] = {
    // as near in size as can be, and in time another one
    {{{"Q5_K", 62, 0.01, 2.2, 11}, {"Q8_0", 90, 0.001, 2, 15.3}},
     2,
     {"At about the same size (62.0 MiB against 60.0 MiB, 3 % more), the original in Q5_K "
      "diverges by 0.01 nats per token (95 % 0.00961 to 0.0104): clearly less than this file.",
      "At about the same time for a generated token (15.3 ms against 15.0 ms, 2 % more), the "
      "original in Q8_0 diverges by 0.001",
      "Only the speed of prompts speaks for this file: the original in Q5_K is about as small and "
      "nearer to the original, but takes 2.20 ms for a token there against 1.20."}},
    // far in both, and one for both
    {{{"Q4_K", 20, 0.9, 2, 6}},
     1,
     {"Nearest in size (20.0 MiB against 60.0 MiB, 67 % less), the original in Q4_K diverges by "
      "0.9 nats per token (95 % 0.865 to 0.935): clearly more than this file.",
      "In time for a generated token it is nearest, too: 6.00 ms against 15.0 ms, 60 % less.",
      "None of them is as small, as fast and as near to the original at once."}},
    // simply better, the nearest of two
    {{{"Q8_0", 53, 0.001, 1.2, 15}, {"Q6_K", 40, 0.002, 1, 10}},
     2,
     {"The original in Q8_0 is smaller, as fast and nearer to the original: take it instead.",
      "In time for a generated token it is nearest, too", "Nearest in size (53.0 MiB"}},
    {{{"Q6_K", 61, 0.002, 1, 10}},
     1,
     {"The original in Q6_K is about as small, faster and nearer to the original: take it instead.",
      "At about the same size", "clearly less than this file"}},
    // a better size and divergence that are not told from each other
    {{{"Q6_K", 50, 0.079, 1, 10}},
     1,
     {"on average less than this file, but the intervals overlap",
      "is smaller, faster and on average nearer to the original: take it instead.", ""}},
    {{{NULL, 50, 0.01, 1, 30}},
     1,
     {"Only the speed of generation speaks for this file: smaller.gguf is smaller and nearer to "
      "the original, but takes 30.0 ms for a token there against 15.0.",
      "it is nearest, too: 30.0 ms against 15.0 ms, 100 % more.", ""}},
};

static void what_is_said_follows_from_the_rivals(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        json_t *document = document_of(3);
        add_rivals(document, CASES[i].rivals, CASES[i].n);
        char *page = page_of(document);
        for (size_t k = 0; k < 3; k++) {
            expect(page, CASES[i].says[k]);
        }
        free(page);
    }
}

static void without_times_a_rival_may_still_be_too_slow(void **state) {
    (void)state;
    static const struct made_rival RIVAL = {"Q8_0", 53, 0.001, 1, 10};
    json_t *document = document_of(3);
    add_rivals(document, &RIVAL, 1);
    json_object_del(document, "speed");
    json_object_del(document, "speed_original");
    json_object_del(json_array_get(json_object_get(document, "rivals"), 0), "name");
    char *page = page_of(document);
    expect(page, "The original in Q8_0 is smaller and nearer to the original: unless it is too "
                 "slow (times were not measured), take it instead.");
    assert_null(strstr(page, "by-decode"));
    free(page);
}

static void times_that_vary_decide_nothing(void **state) {
    (void)state;
    static const struct made_rival RIVAL = {"Q8_0", 53, 0.001, 1.5, 20};
    SPREAD = 0.5;
    json_t *document = document_of(3);
    add_rivals(document, &RIVAL, 1);
    SPREAD = 0.02;
    char *page = page_of(document);
    expect(page, "The original in Q8_0 is smaller and nearer to the original; the rounds do not "
                 "tell whether it is slower: if it is not, take it instead.");
    expect(page, "Caution: from round to round the times of this file differ by a factor of up to "
                 "3; measure again");
    free(page);
}

// ---- documents that nobody would have written ----

static void what_is_no_compression_is_refused(void **state) {
    (void)state;
    static const char *const TEXTS[] = {"[]", "{}", "{\"plan\":[]}", "null"};
    struct buf out;
    struct wl_err err;
    for (size_t i = 0; i < sizeof TEXTS / sizeof TEXTS[0]; i++) {
        json_t *document = NULL;
        buf_init(&out, MAX_PAGE);
        assert_int_equal(wl_json_parse(TEXTS[i], strlen(TEXTS[i]), &document, &err), WL_OK);
        assert_int_equal(report_compression_html(document, &PAGE, &out, &err), WL_INPUT);
        assert_non_null(strstr(err.message, "it is no compression"));
        json_decref(document);
        buf_release(&out);
    }
    assert_int_equal(report_compression_html(NULL, &PAGE, &out, &err), WL_INPUT);
}

static json_t *list_of(size_t n) {
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) {
        json_array_append_new(list, json_object());
    }
    return list;
}

static void lists_have_an_end(void **state) {
    (void)state;
    static const struct {
        const char *where, *key, *says;
        size_t n;
    } LISTS[] = {{"plan", "layers", "'layers': expected at most 4096 entries, found 4097", 4097},
                 {NULL, "rivals", "'rivals': expected at most 16", 17},
                 {NULL, "rounds", "'rounds': expected at most 16", 17},
                 {"encoder", "layers", "'encoder.layers': expected at most 4096", 4097}};
    for (size_t i = 0; i < sizeof LISTS / sizeof LISTS[0]; i++) {
        struct buf out;
        struct wl_err err = {0};
        json_t *document = full_document(5);
        json_t *object = LISTS[i].where ? json_object_get(document, LISTS[i].where) : document;
        json_object_set_new(object, LISTS[i].key, list_of(LISTS[i].n));
        buf_init(&out, MAX_PAGE);
        assert_int_equal(report_compression_html(document, &PAGE, &out, &err), WL_INPUT);
        if (!strstr(err.message, LISTS[i].says)) {
            fail_msg("%s", err.message);
        }
        json_decref(document);
        buf_release(&out);
    }
}

static void a_page_that_does_not_fit_is_refused(void **state) {
    (void)state;
    struct buf out;
    struct wl_err err;
    json_t *document = full_document(5);
    buf_init(&out, 20000);
    assert_int_equal(report_compression_html(document, &PAGE, &out, &err), WL_LIMIT);
    json_decref(document);
    buf_release(&out);
}

static const char *const HOSTILE[] = {"null",     "true",
                                      "[]",       "{}",
                                      "-1",       "0",
                                      "1e308",    "-1e308",
                                      "1e-308",   "9223372036854775807",
                                      "\"\"",     "\"\\u001b]0;<b>&\\\"' %s%n\\u202e\"",
                                      "[[[[]]]]", "[null,1,\"x\",{}]"};
enum { N_HOSTILE = sizeof HOSTILE / sizeof HOSTILE[0] };

static json_t *hostile_value(size_t i) {
    json_t *value = NULL;
    struct wl_err err;
    assert_int_equal(wl_json_parse(HOSTILE[i], strlen(HOSTILE[i]), &value, &err), WL_OK);
    return value;
}

// Puts a hostile value in the place of value number *n_left of the document, counted depth first;
// false when there are fewer.
static bool spoil(json_t *json, size_t *n_left, json_t *value) {
    const char *key;
    json_t *child;
    void *next;
    size_t i;
    json_object_foreach_safe(json, next, key, child) {
        if ((*n_left)-- == 0) {
            return json_object_set(json, key, value) == 0;
        }
        if (spoil(child, n_left, value)) {
            return true;
        }
    }
    json_array_foreach(json, i, child) {
        if ((*n_left)-- == 0) {
            return json_array_set(json, i, value) == 0;
        }
        if (spoil(child, n_left, value)) {
            return true;
        }
    }
    return false;
}

// Each value of the document in turn.
static void any_value_may_be_hostile(void **state) {
    (void)state;
    struct buf out;
    buf_init(&out, MAX_PAGE);
    json_t *whole = full_document(3);
    bool is_there = true;
    size_t n_pages = 0;
    for (size_t place = 0; is_there; place++) {
        for (size_t i = 0; i < N_HOSTILE && is_there; i++) {
            json_t *document = json_deep_copy(whole), *value = hostile_value(i);
            size_t n_left = place;
            struct wl_err err = {0};
            struct markup markup;
            is_there = spoil(document, &n_left, value);
            buf_clear(&out);
            enum wl_status status = report_compression_html(document, &PAGE, &out, &err);
            if (status == WL_OK) {
                const char *text = buf_text(&out);
                n_pages++;
                if (!markup_check(&markup, text) || strstr(text, "nan") || strstr(text, "\x1b")) {
                    char *shown = json_dumps(document, JSON_INDENT(1));
                    fail_msg("%s: %s", markup.problem, shown);
                }
            } else {
                assert_int_equal(status, WL_INPUT);
            }
            json_decref(value);
            json_decref(document);
        }
    }
    assert_true(n_pages > 1000);
    json_decref(whole);
    buf_release(&out);
}

// All numbers at once.
static void fill(json_t *json, double number) {
    const char *key;
    json_t *child;
    void *next;
    size_t i;
    json_object_foreach_safe(json, next, key, child) {
        if (json_is_number(child)) {
            json_object_set_new(json, key, json_real(number));
        }
        fill(child, number);
    }
    json_array_foreach(json, i, child) {
        fill(child, number);
    }
}

static void all_numbers_may_be_at_the_ends(void **state) {
    (void)state;
    static const double ENDS[] = {0, 1e-300, 1e-9, 1, 1e6, 1e15, 1e300, -1};
    for (size_t i = 0; i < sizeof ENDS / sizeof ENDS[0]; i++) {
        json_t *document = full_document(5);
        fill(document, ENDS[i]);
        free(page_of(document));
    }
}

static void large_models_are_drawn(void **state) {
    (void)state;
    json_t *document = document_of(400);
    free(page_of(document));
}

// An analysis that cannot be read is told, and the rest of the page is there.
static void a_broken_analysis_is_told(void **state) {
    (void)state;
    json_t *document = document_of(3);
    add(document, "model", "{}");
    add(document, "analysis", "{}");
    char *page = page_of(document);
    expect(page, "<p class=\"note\">analysis: key &#39;file_bytes&#39; is missing");
    expect(page, "<h2 id=\"method\"");
    free(page);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_is_told),
        cmocka_unit_test(parts_without_figures_are_left_out),
        cmocka_unit_test(a_refusal_is_told),
        cmocka_unit_test(a_rival_without_verdict_says_why),
        cmocka_unit_test(what_is_said_follows_from_the_rivals),
        cmocka_unit_test(without_times_a_rival_may_still_be_too_slow),
        cmocka_unit_test(times_that_vary_decide_nothing),
        cmocka_unit_test(what_is_no_compression_is_refused),
        cmocka_unit_test(lists_have_an_end),
        cmocka_unit_test(a_page_that_does_not_fit_is_refused),
        cmocka_unit_test(any_value_may_be_hostile),
        cmocka_unit_test(all_numbers_may_be_at_the_ends),
        cmocka_unit_test(large_models_are_drawn),
        cmocka_unit_test(a_broken_analysis_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
