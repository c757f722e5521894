// gguf_peek: what it extracts, what it refuses and how it says so, and that no damage harms it.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "catalog/gguf_file.h"
#include "catalog/gguf_peek.h"
#include "test_catalog_maker.h"

static enum wl_status peek_maker(struct gguf_maker *maker, struct gguf_facts *facts,
                                 struct wl_err *err) {
    // A copy of exactly this size, so that the sanitizer sees a read beyond it.
    void *copy = malloc(maker->bytes.len + !maker->bytes.len);
    memcpy(copy, maker->bytes.data, maker->bytes.len);
    *err = (struct wl_err){0};
    enum wl_status status = gguf_peek_memory(copy, maker->bytes.len, facts, err);
    free(copy);
    buf_release(&maker->bytes);
    return status;
}

static void expect(struct gguf_maker *maker, enum wl_status status, const char *part) {
    struct gguf_facts facts;
    struct wl_err err;
    enum wl_status found = peek_maker(maker, &facts, &err);
    if (found != status || !strstr(err.message, part)) {
        fail_msg("expected %s with '%s', found %s with '%s'", wl_status_name(status), part,
                 wl_status_name(found), err.message);
    }
}

static void test_model_facts(void **state) {
    (void)state;
    struct gguf_maker maker;
    struct gguf_facts facts;
    struct wl_err err;
    maker_model(&maker, "llama", "Tiny", 64);
    assert_int_equal(peek_maker(&maker, &facts, &err), WL_OK);
    assert_string_equal(facts.arch, "llama");
    assert_string_equal(facts.name, "Tiny");
    assert_string_equal(facts.file_type, "q8_0");
    assert_int_equal(facts.version, 3);
    assert_int_equal(facts.n_layer, 2);
    assert_int_equal(facts.n_ctx_train, 256);
    assert_int_equal(facts.n_embd, 64);
    assert_int_equal(facts.n_ff, 128);
    assert_int_equal(facts.n_head, 4);
    assert_int_equal(facts.n_head_kv, 2);
    assert_int_equal(facts.n_vocab, 5);
    assert_int_equal(facts.n_tensors, 2);
    assert_int_equal(facts.n_params, 4096);
    assert_int_equal(facts.type_tensors[8], 2);
    assert_int_equal(facts.type_params[8], 4096);
    assert_int_equal(facts.tensor_bytes, 4096 / 32 * 34);
    assert_false(facts.is_mmproj);
    assert_false(facts.is_synthetic);
    assert_false(facts.has_output);
}

static void test_mmproj_facts(void **state) {
    (void)state;
    struct gguf_maker maker;
    struct gguf_facts facts;
    struct wl_err err;
    maker_mmproj(&maker, "Eye", 576);
    assert_int_equal(peek_maker(&maker, &facts, &err), WL_OK);
    assert_true(facts.is_mmproj);
    assert_string_equal(facts.kind, "mmproj");
    assert_string_equal(facts.projector, "idefics3");
    assert_int_equal(facts.projection_dim, 576);
    assert_string_equal(facts.file_type, "f16");
}

static void test_synthetic_and_split(void **state) {
    (void)state;
    struct gguf_maker maker;
    struct gguf_facts facts;
    struct wl_err err;
    maker_init(&maker);
    maker_bool(&maker, "wattlaw.synth", 1);
    maker_key(&maker, "wattlaw.synth.seed", 10);
    put_number(&maker.bytes, 0x123456789abcULL, 8);
    maker_u32(&maker, "split.no", 1);
    maker_u32(&maker, "split.count", 3);
    maker_text(&maker, "general.size_label", "135M");
    maker_tensor(&maker, "output.weight", 32, 1, 0, 128);
    maker_finish(&maker);
    assert_int_equal(peek_maker(&maker, &facts, &err), WL_OK);
    assert_true(facts.is_synthetic);
    assert_true(facts.has_synth_seed);
    assert_true(facts.synth_seed == 0x123456789abcULL);
    assert_int_equal(facts.part_no, 1);
    assert_int_equal(facts.n_parts, 3);
    assert_string_equal(facts.size_label, "135M");
    assert_true(facts.has_output);
    assert_string_equal(facts.file_type, "f32"); // no general.file_type: what most weights have
}

static void test_all_value_types_are_walked(void **state) {
    (void)state;
    static const unsigned char WIDTHS[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    struct gguf_maker maker;
    struct gguf_facts facts;
    struct wl_err err;
    maker_init(&maker);
    for (uint32_t type = 0; type < 13; type++) {
        if (WIDTHS[type]) {
            maker_key(&maker, "some.key", type);
            put_number(&maker.bytes, 1, WIDTHS[type]);
            maker_key(&maker, "some.array", 9);
            put_number(&maker.bytes, type, 4);
            put_number(&maker.bytes, 3, 8);
            for (int i = 0; i < 3; i++) {
                put_number(&maker.bytes, 1, WIDTHS[type]);
            }
        }
    }
    maker_key(&maker, "some.nested", 9); // [[""], []]
    put_number(&maker.bytes, 9, 4);
    put_number(&maker.bytes, 2, 8);
    put_number(&maker.bytes, 8, 4);
    put_number(&maker.bytes, 1, 8);
    put_string(&maker.bytes, "");
    put_number(&maker.bytes, 4, 4);
    put_number(&maker.bytes, 0, 8);
    maker_text(&maker, "general.name", "after all of them");
    maker_finish(&maker);
    assert_int_equal(peek_maker(&maker, &facts, &err), WL_OK);
    assert_string_equal(facts.name, "after all of them");
    assert_int_equal(facts.n_tensors, 0);
}

static void test_not_gguf(void **state) {
    (void)state;
    struct gguf_maker maker;
    maker_model(&maker, "llama", "x", 64);
    maker.bytes.data[0] = '\x1b';
    expect(&maker, WL_INPUT, "expected 'GGUF' at byte 0, found '?GUF'");
    maker_model(&maker, "llama", "x", 64);
    maker_patch(&maker, 4, 1, 4);
    expect(&maker, WL_INPUT, "version at byte 4: expected 2 or 3, found 1");
    maker_model(&maker, "llama", "x", 64);
    maker_patch(&maker, 4, 0x03000000, 4);
    expect(&maker, WL_INPUT, "big-endian");
    maker_init(&maker);
    maker.bytes.len = 0;
    expect(&maker, WL_INPUT, "the file ends at byte 0");
}

static void test_counts_are_limited(void **state) {
    (void)state;
    struct gguf_maker maker;
    maker_model(&maker, "llama", "x", 64);
    maker_patch(&maker, 8, UINT64_MAX, 8);
    expect(&maker, WL_LIMIT, "number of tensors at byte 8: expected at most 131072, found 1844674");
    maker_model(&maker, "llama", "x", 64);
    maker_patch(&maker, 16, GGUF_MAX_KEYS + 1, 8);
    expect(&maker, WL_LIMIT, "number of keys at byte 16: expected at most 65536, found 65537");
}

static void test_lengths_are_checked(void **state) {
    (void)state;
    struct gguf_maker maker;
    maker_init(&maker);
    maker.n_keys = 1;
    put_number(&maker.bytes, UINT64_MAX, 8);
    maker_finish(&maker);
    expect(&maker, WL_INPUT, "key 0: a key at byte 24: expected a length of at most 65535");
    maker_init(&maker);
    maker_key(&maker, "general.name", 8);
    put_number(&maker.bytes, 1000, 8);
    maker_finish(&maker);
    expect(&maker, WL_INPUT, "key 0 'general.name': a string at byte");
    maker_init(&maker);
    maker_key(&maker, "general.name", 13);
    maker_finish(&maker);
    expect(&maker, WL_INPUT, "value type at byte 44: expected 0 to 12, found 13");
}

static void test_array_lengths_are_checked(void **state) {
    (void)state;
    struct gguf_maker maker;
    // 2^61 items of 8 bytes would overflow to 0 bytes.
    maker_init(&maker);
    maker_key(&maker, "some.array", 9);
    put_number(&maker.bytes, 10, 4);
    put_number(&maker.bytes, 1ULL << 61, 8);
    maker_finish(&maker);
    expect(&maker, WL_INPUT, "expected at most 0 items");
    maker_init(&maker);
    maker_key(&maker, "some.array", 9);
    put_number(&maker.bytes, 8, 4);
    put_number(&maker.bytes, UINT64_MAX, 8);
    maker_finish(&maker);
    expect(&maker, WL_INPUT, "array at byte");
    // Arrays in arrays in arrays ... are not followed for ever.
    maker_init(&maker);
    maker_key(&maker, "some.array", 9);
    for (int i = 0; i < 100; i++) {
        put_number(&maker.bytes, 9, 4);
        put_number(&maker.bytes, 1, 8);
    }
    maker_finish(&maker);
    expect(&maker, WL_LIMIT, "nested deeper than 4");
}

static void test_tensors_are_checked(void **state) {
    (void)state;
    struct gguf_maker maker;
    maker_init(&maker);
    maker_tensor(&maker, "blk.0.big", 1ULL << 40, 1ULL << 40, 0, 0);
    maker_finish(&maker);
    expect(&maker, WL_INPUT, "tensor 0 'blk.0.big': more weights than fit in 63 bits");
    maker_init(&maker);
    maker_tensor(&maker, "odd", 33, 1, 8, 34);
    maker_finish(&maker);
    expect(&maker, WL_INPUT, "q8_0 rows: expected a multiple of 32 weights, found 33");
    maker_init(&maker);
    maker.data_bytes = 31;
    maker_tensor(&maker, "skew", 32, 1, 0, 128);
    maker_finish(&maker);
    expect(&maker, WL_INPUT, "data offset: expected a multiple of 32, found 31");
    maker_init(&maker);
    maker.data_bytes = INT64_MAX / 32 * 32;
    maker_tensor(&maker, "far", 32, 1, 0, 0);
    maker.data_bytes = 0;
    maker_finish(&maker);
    expect(&maker, WL_INPUT, "fit in no file");
    maker_init(&maker);
    maker_u32(&maker, "general.alignment", 24);
    maker_finish(&maker);
    expect(&maker, WL_INPUT, "general.alignment: expected a power of two up to 1048576, found 24");
}

static void test_unknown_type_is_kept(void **state) {
    (void)state;
    struct gguf_maker maker;
    struct gguf_facts facts;
    struct wl_err err;
    maker_init(&maker);
    maker_tensor(&maker, "from.the.future", 64, 2, 99, 32);
    maker_finish(&maker);
    assert_int_equal(peek_maker(&maker, &facts, &err), WL_OK);
    assert_int_equal(facts.n_unknown_types, 1);
    assert_int_equal(facts.n_params, 128);
}

static void test_cut_file_is_recognised(void **state) {
    (void)state;
    struct gguf_maker maker;
    maker_model(&maker, "llama", "x", 64);
    maker.bytes.len -= 40; // into the last tensor's data
    expect(&maker, WL_INPUT, "tensor 1 'blk.0.attn_q.weight' ends at byte");
    // Cut anywhere in the header: always INPUT, never OK.
    maker_model(&maker, "llama", "x", 64);
    struct gguf_facts facts;
    assert_int_equal(gguf_peek_memory(maker.bytes.data, maker.bytes.len, &facts, NULL), WL_OK);
    for (size_t len = 0; len < (size_t)facts.header_bytes; len++) {
        struct gguf_facts cut;
        char *copy = malloc(len + 1);
        memcpy(copy, maker.bytes.data, len);
        char *exact = realloc(copy, len ? len : 1);
        assert_int_equal(gguf_peek_memory(exact, len, &cut, NULL), WL_INPUT);
        free(exact);
    }
    buf_release(&maker.bytes);
}

static void test_text_is_cleaned(void **state) {
    (void)state;
    struct gguf_maker maker;
    struct gguf_facts facts;
    struct wl_err err;
    maker_init(&maker);
    maker_text(&maker, "general.name", "a\x1b[31mb\xff\xc3\xa9\xc2\x9b\xed\xa0\x80z");
    maker_text(&maker, "general.size_label",
               "0123456789012345678901234567890\xc3\xa9"); // cut between characters
    maker_finish(&maker);
    assert_int_equal(peek_maker(&maker, &facts, &err), WL_OK);
    assert_string_equal(facts.name, "a?[31mb?\xc3\xa9????z");
    assert_string_equal(facts.size_label, "0123456789012345678901234567890");
}

static void test_long_header_needs_little_memory(void **state) {
    (void)state;
    struct gguf_maker maker;
    struct gguf_facts facts;
    struct wl_err err;
    maker_init(&maker);
    maker_tokens(&maker, 300000);
    maker_text(&maker, "general.architecture", "late"); // after 3.3 MB
    maker_finish(&maker);
    assert_int_equal(peek_maker(&maker, &facts, &err), WL_OK);
    assert_int_equal(facts.n_vocab, 300000);
    assert_string_equal(facts.arch, "late");
}

// A source that has endless bytes: the header limit ends it.
static enum wl_status read_endless(const void *context, uint64_t offset, void *out, size_t len,
                                   struct wl_err *err) {
    (void)err;
    const struct buf *head = context;
    memset(out, 0, len);
    if (offset < head->len) {
        size_t n = head->len - offset < len ? head->len - (size_t)offset : len;
        memcpy(out, head->data + offset, n);
    }
    return WL_OK;
}

static void test_header_limit(void **state) {
    (void)state;
    struct gguf_maker maker;
    struct gguf_facts facts;
    struct wl_err err = {0};
    maker_init(&maker);
    maker_key(&maker, "tokenizer.ggml.tokens", 9);
    put_number(&maker.bytes, 8, 4);
    put_number(&maker.bytes, 1ULL << 30, 8); // empty strings, 8 GiB of them
    maker_finish(&maker);
    struct gguf_bytes bytes = {
        .read = read_endless, .context = &maker.bytes, .file_bytes = 1ULL << 40};
    assert_int_equal(gguf_peek(&bytes, &facts, &err), WL_LIMIT);
    assert_non_null(strstr(err.message, "expected at most"));
    buf_release(&maker.bytes);
}

// A seeded walk of byte flips, cuts and extreme values over a real header.
static void corrupt(struct rng *rng, unsigned char *bytes, size_t *len) {
    static const uint64_t EXTREMES[] = {0,          1,         0x7fffffff, 0xffffffff,
                                        1ULL << 61, INT64_MAX, UINT64_MAX};
    uint32_t n = 1 + rng_below(rng, 4);
    for (uint32_t i = 0; i < n; i++) {
        size_t at = rng_below(rng, (uint32_t)*len);
        if (rng_below(rng, 3) == 0 && at + 8 <= *len) {
            uint64_t value = EXTREMES[rng_below(rng, 7)];
            memcpy(bytes + at, &value, 8);
        } else {
            bytes[at] = (unsigned char)rng_next(rng);
        }
    }
    if (rng_below(rng, 8) == 0) {
        *len = rng_below(rng, (uint32_t)*len) + 1;
    }
}

static void expect_harmless(const unsigned char *data, size_t len, uint64_t seed) {
    struct rng rng;
    rng_seed(&rng, seed);
    for (int i = 0; i < 200; i++) {
        size_t used = len;
        unsigned char *copy = malloc(len);
        memcpy(copy, data, len);
        corrupt(&rng, copy, &used);
        copy = realloc(copy, used);
        struct gguf_facts facts;
        struct wl_err err = {0};
        enum wl_status status = gguf_peek_memory(copy, used, &facts, &err);
        if (status != WL_OK && status != WL_INPUT && status != WL_LIMIT) {
            fail_msg("corruption %d: %s: %s", i, wl_status_name(status), err.message);
        }
        assert_true(status == WL_OK || err.message[0]);
        free(copy);
    }
}

static void test_corrupted_headers_are_harmless(void **state) {
    (void)state;
    struct gguf_maker maker;
    maker_model(&maker, "llama", "x", 64);
    expect_harmless((const unsigned char *)maker.bytes.data, maker.bytes.len, 1);
    buf_release(&maker.bytes);
}

static void test_corrupted_real_header_is_harmless(void **state) {
    (void)state;
    char path[4096];
    const char *dir = getenv("WATTLAW_TEST_MODELS");
    snprintf(path, sizeof path, "%s/stories260k-f32.gguf", dir ? dir : ".");
    FILE *file = fopen(path, "rb");
    if (!file) {
        skip(); // the test models are not part of the source tree
    }
    static unsigned char head[16384];
    size_t len = fread(head, 1, sizeof head, file);
    fclose(file);
    expect_harmless(head, len, 2);
    struct gguf_facts facts;
    struct wl_err err;
    assert_int_equal(gguf_peek_file(path, &facts, &err), WL_OK);
    assert_string_equal(facts.arch, "llama");
    assert_string_equal(facts.name, "stories260K");
    assert_string_equal(facts.file_type, "f32");
    assert_int_equal(facts.n_tensors, 47);
    assert_int_equal(facts.n_vocab, 512);
    assert_true(facts.n_params > 250000 && facts.n_params < 300000);
}

static void test_files(void **state) {
    (void)state;
    struct gguf_facts facts;
    struct wl_err err;
    assert_int_equal(gguf_peek_file("/nonexistent/x.gguf", &facts, &err), WL_NOT_FOUND);
    assert_int_equal(gguf_peek_file("/tmp", &facts, &err), WL_INPUT);
    assert_non_null(strstr(err.message, "expected a plain file"));
    assert_int_equal(gguf_peek_file("/dev/zero", &facts, NULL), WL_INPUT);
}

static void test_types(void **state) {
    (void)state;
    assert_string_equal(gguf_type_at(8)->name, "q8_0");
    assert_null(gguf_type_at(4));
    assert_null(gguf_type_at(1000));
    assert_int_equal(gguf_type_by_name("Q4_K")->block_bytes, 144);
    assert_null(gguf_type_by_name("q9_9"));
    assert_true(gguf_type_bits_per_weight(gguf_type_by_name("q8_0")) == 8.5);
    assert_true(gguf_type_bits_per_weight(gguf_type_by_name("q4_0")) == 4.5);
    assert_string_equal(gguf_file_type_name(15), "q4_k_m");
    assert_null(gguf_file_type_name(4));
    assert_null(gguf_file_type_name(1024));
    assert_null(gguf_file_type_name(-1));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_model_facts),
        cmocka_unit_test(test_mmproj_facts),
        cmocka_unit_test(test_synthetic_and_split),
        cmocka_unit_test(test_all_value_types_are_walked),
        cmocka_unit_test(test_not_gguf),
        cmocka_unit_test(test_counts_are_limited),
        cmocka_unit_test(test_lengths_are_checked),
        cmocka_unit_test(test_array_lengths_are_checked),
        cmocka_unit_test(test_tensors_are_checked),
        cmocka_unit_test(test_unknown_type_is_kept),
        cmocka_unit_test(test_cut_file_is_recognised),
        cmocka_unit_test(test_text_is_cleaned),
        cmocka_unit_test(test_long_header_needs_little_memory),
        cmocka_unit_test(test_header_limit),
        cmocka_unit_test(test_corrupted_headers_are_harmless),
        cmocka_unit_test(test_corrupted_real_header_is_harmless),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_types),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
