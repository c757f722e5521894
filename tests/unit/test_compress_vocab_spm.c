// A SentencePiece tokenizer of our own, with a made-up vocabulary, writes the same before and after
// the vocabulary was trimmed, as long as its tokens are there.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "compress/vocab_spm.h"

enum { N_LETTERS = 5, N_TOKENS = 200, TOKEN_BYTES = 24, TEXT_BYTES = 40, N_TEXTS = 100 };

struct spm {
    char texts[N_TOKENS][TOKEN_BYTES];
    const char *tokens[N_TOKENS];
    int32_t types[N_TOKENS];
    float scores[N_TOKENS];
    bool is_gone[N_TOKENS];
    struct vocab vocab;
};

static int find(const struct spm *spm, const char *text, size_t len) {
    for (int i = 0; i < N_TOKENS; i++) {
        if (!spm->is_gone[i] && strlen(spm->texts[i]) == len &&
            memcmp(spm->texts[i], text, len) == 0) {
            return i;
        }
    }
    return -1;
}

// Letters, and tokens that join two earlier ones; later ones have lower scores, with some noise.
static struct spm *spm_new(struct rng *rng) {
    struct spm *spm = calloc(1, sizeof *spm);
    assert_non_null(spm);
    for (int i = 0; i < N_TOKENS;) {
        char text[2 * TOKEN_BYTES];
        if (i < N_LETTERS) {
            snprintf(text, sizeof text, "%c", 'a' + i);
        } else {
            const char *left = spm->texts[rng_below(rng, (uint32_t)i)];
            const char *right = spm->texts[rng_below(rng, (uint32_t)i)];
            snprintf(text, sizeof text, "%s%s", left, right);
        }
        if (strlen(text) < TOKEN_BYTES / 2 && find(spm, text, strlen(text)) < 0) {
            memcpy(spm->texts[i], text, strlen(text) + 1);
            spm->tokens[i] = spm->texts[i];
            spm->types[i] = 1;
            spm->scores[i] = -(float)i - 20 * (float)rng_uniform(rng);
            i++;
        }
    }
    spm->vocab = (struct vocab){.tokens = spm->tokens, .types = spm->types, .n_tokens = N_TOKENS};
    return spm;
}

// The pair that makes the token of the highest score, the leftmost of equal ones, until there is
// none.
static size_t encode(const struct spm *spm, const char *text, int out[TEXT_BYTES]) {
    size_t begin[TEXT_BYTES + 1], n = strlen(text);
    for (size_t i = 0; i <= n; i++) {
        begin[i] = i;
    }
    for (;;) {
        size_t best = n;
        float best_score = 0;
        for (size_t i = 0; i + 1 < n; i++) {
            int token = find(spm, text + begin[i], begin[i + 2] - begin[i]);
            if (token >= 0 && (best == n || spm->scores[token] > best_score)) {
                best = i;
                best_score = spm->scores[token];
            }
        }
        if (best == n) {
            break;
        }
        memmove(begin + best + 1, begin + best + 2, (n - best - 1) * sizeof *begin);
        n--;
    }
    for (size_t i = 0; i < n; i++) {
        out[i] = find(spm, text + begin[i], begin[i + 1] - begin[i]);
    }
    return n;
}

static void make_text(struct rng *rng, char text[TEXT_BYTES + 1]) {
    size_t len = 1 + rng_below(rng, TEXT_BYTES);
    for (size_t i = 0; i < len; i++) {
        text[i] = (char)('a' + rng_below(rng, N_LETTERS));
    }
    text[len] = '\0';
}

static size_t check_texts(const struct spm *spm, const struct spm *trimmed, struct rng *rng) {
    size_t n_whole = 0;
    for (int t = 0; t < N_TEXTS; t++) {
        char text[TEXT_BYTES + 1];
        int before[TEXT_BYTES], after[TEXT_BYTES];
        make_text(rng, text);
        size_t n = encode(spm, text, before);
        bool is_whole = true;
        for (size_t i = 0; i < n; i++) {
            assert_true(before[i] >= 0);
            is_whole = is_whole && !trimmed->is_gone[before[i]];
        }
        size_t n_after = encode(trimmed, text, after);
        for (size_t i = 0; i < n_after; i++) {
            assert_true(after[i] >= 0); // every letter is there
        }
        if (is_whole) {
            n_whole++;
            assert_int_equal(n_after, n);
            assert_memory_equal(after, before, n * sizeof *before);
        }
    }
    return n_whole;
}

static void check_seed(uint64_t seed, size_t *n_whole) {
    struct rng rng;
    rng_seed(&rng, seed);
    struct spm *spm = spm_new(&rng), *trimmed = malloc(sizeof *trimmed);
    struct vocab_spm merges;
    struct vocab_trim trim;
    struct wl_err err;
    uint64_t counts[N_TOKENS];
    bool needed[N_TOKENS];
    for (int i = 0; i < N_TOKENS; i++) {
        counts[i] = rng_below(&rng, 5) == 0;
        needed[i] = i < N_LETTERS;
    }
    assert_int_equal(vocab_spm_init(&merges, &spm->vocab, spm->scores, &err), WL_OK);
    spm->vocab.merges = merges.merges;
    spm->vocab.n_merges = merges.n_merges;
    assert_int_equal(vocab_trim_choose(&spm->vocab, counts, needed, 1, 0, 0, &trim, &err), WL_OK);
    assert_true(trim.n_kept < N_TOKENS);
    memcpy(trimmed, spm, sizeof *trimmed);
    for (int i = 0; i < N_TOKENS; i++) {
        trimmed->is_gone[i] = trim.renumber[i] < 0;
        assert_true(!trimmed->is_gone[i] || !counts[i]);
    }
    *n_whole += check_texts(spm, trimmed, &rng);
    vocab_trim_release(&trim);
    vocab_spm_release(&merges);
    free(trimmed);
    free(spm);
}

static void test_trimmed_writes_the_same(void **state) {
    (void)state;
    size_t n_whole = 0;
    for (uint64_t seed = 1; seed <= 6; seed++) {
        check_seed(seed, &n_whole);
    }
    assert_true(n_whole > 10);
}

static void test_merges(void **state) {
    (void)state;
    static const char *const TOKENS[] = {"a",
                                         "b",
                                         "\xe2\x96\x81",
                                         "ab",
                                         "\xe2\x96\x81"
                                         "ab",
                                         "a b",
                                         "aab",
                                         ""};
    static const int32_t TYPES[] = {1, 1, 1, 1, 1, 4, 1, 1};
    static const float SCORES[] = {-9, -9, -9, -2, -1, 0, -3, 0};
    static const char *const EXPECTED[] = {"\xe2\x96\x81 ab", "a b", "a ab"};
    const struct vocab vocab = {.tokens = TOKENS, .types = TYPES, .n_tokens = 8};
    struct vocab_spm spm;
    struct wl_err err;
    assert_int_equal(vocab_spm_init(&spm, &vocab, SCORES, &err), WL_OK);
    assert_int_equal(spm.n_merges, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_string_equal(spm.merges[i], EXPECTED[i]);
    }
    vocab_spm_release(&spm);
    vocab_spm_release(&spm);
}

static void test_refused(void **state) {
    (void)state;
    static const char *const TWICE[] = {"a", "a"};
    static const int32_t TYPES[] = {1, 1};
    static const float SCORES[] = {0, 0};
    const struct vocab twice = {.tokens = TWICE, .types = TYPES, .n_tokens = 2};
    const struct vocab none = {.tokens = TWICE, .types = TYPES};
    struct vocab_spm spm;
    struct wl_err err;
    assert_int_equal(vocab_spm_init(&spm, &twice, SCORES, &err), WL_INPUT);
    assert_int_equal(vocab_spm_init(&spm, &none, SCORES, &err), WL_INPUT);
    vocab_spm_release(&spm);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_trimmed_writes_the_same),
        cmocka_unit_test(test_merges),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
