// What a byte-pair tokenizer of our own, trained here on made-up words, writes before and after its
// vocabulary was trimmed.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/rng.h"
#include "compress/vocab.h"

enum { N_BYTES = 256, MAX_TOKENS = 1024, MAX_MERGES = 8192, PIECE_BYTES = 64, WORD_BYTES = 32 };
enum { NORMAL = 1, UNKNOWN = 2, CONTROL = 3, USER_DEFINED = 4, UNUSED = 5 };

// ---- a tokenizer

struct bpe {
    char texts[MAX_TOKENS][PIECE_BYTES];
    const char *tokens[MAX_TOKENS];
    int32_t types[MAX_TOKENS];
    char merge_texts[MAX_MERGES][2 * PIECE_BYTES];
    const char *merges[MAX_MERGES];
    uint16_t joined[MAX_MERGES];
    uint16_t byte_tokens[N_BYTES];
    uint16_t order[MAX_TOKENS][MAX_TOKENS]; // 1 + rank of the merge of two tokens, 0 = none
    struct vocab vocab;
};

static const char *byte_symbol(int byte) {
    static char symbols[N_BYTES][3];
    for (int b = 0, next = 256; b < N_BYTES && !symbols[0][0]; b++) {
        bool is_itself = (b > 32 && b < 127) || (b > 160 && b != 173);
        int code = is_itself ? b : next++;
        char *out = symbols[(b + 1) % N_BYTES]; // the first one last: it tells that all are there
        out[0] = (char)(code < 128 ? code : 0xc0 | code >> 6);
        out[1] = (char)(code < 128 ? 0 : 0x80 | (code & 63));
    }
    return symbols[(byte + 1) % N_BYTES];
}

static struct bpe *bpe_new(void) {
    struct bpe *bpe = calloc(1, sizeof *bpe);
    assert_non_null(bpe);
    bpe->vocab.tokens = bpe->tokens;
    bpe->vocab.types = bpe->types;
    bpe->vocab.merges = bpe->merges;
    return bpe;
}

static int find(const struct bpe *bpe, const char *text, size_t len) {
    for (size_t i = 0; i < bpe->vocab.n_tokens; i++) {
        if (strlen(bpe->tokens[i]) == len && memcmp(bpe->tokens[i], text, len) == 0) {
            return (int)i;
        }
    }
    return -1;
}

static void add_token(struct bpe *bpe, const char *text, int32_t type) {
    size_t i = bpe->vocab.n_tokens++;
    assert_true(i < MAX_TOKENS && strlen(text) < PIECE_BYTES);
    memcpy(bpe->texts[i], text, strlen(text) + 1);
    bpe->tokens[i] = bpe->texts[i];
    bpe->types[i] = type;
    for (int byte = 0; byte < N_BYTES; byte++) {
        if (strcmp(text, byte_symbol(byte)) == 0) {
            bpe->byte_tokens[byte] = (uint16_t)i;
        }
    }
}

static void add_bytes(struct bpe *bpe) {
    for (int byte = 0; byte < N_BYTES; byte++) {
        add_token(bpe, byte_symbol(byte), NORMAL);
    }
}

// Both sides and what they make must be tokens.
static void add_merge(struct bpe *bpe, const char *text) {
    size_t i = bpe->vocab.n_merges++, left_len = strcspn(text, " ");
    assert_true(i < MAX_MERGES && text[left_len] == ' ' && strlen(text) < 2 * PIECE_BYTES);
    memcpy(bpe->merge_texts[i], text, strlen(text) + 1);
    bpe->merges[i] = bpe->merge_texts[i];
    char joined[2 * PIECE_BYTES];
    snprintf(joined, sizeof joined, "%.*s%s", (int)left_len, text, text + left_len + 1);
    int left = find(bpe, text, left_len);
    int right = find(bpe, text + left_len + 1, strlen(text + left_len + 1));
    int whole = find(bpe, joined, strlen(joined));
    assert_true(left >= 0 && right >= 0 && whole >= 0);
    bpe->joined[i] = (uint16_t)whole;
    if (!bpe->order[left][right]) {
        bpe->order[left][right] = (uint16_t)(i + 1);
    }
}

static size_t join(const struct bpe *bpe, uint16_t *symbols, size_t n) {
    for (;;) {
        size_t best = 0;
        unsigned least = 0;
        for (size_t i = 0; i + 1 < n; i++) {
            unsigned order = bpe->order[symbols[i]][symbols[i + 1]];
            if (order && (!least || order < least)) {
                least = order;
                best = i;
            }
        }
        if (!least) {
            return n;
        }
        symbols[best] = bpe->joined[least - 1];
        memmove(symbols + best + 1, symbols + best + 2, (n - best - 2) * sizeof *symbols);
        n--;
    }
}

static size_t encode(const struct bpe *bpe, const char *word, uint16_t out[WORD_BYTES]) {
    size_t n = strlen(word);
    for (size_t i = 0; i < n; i++) {
        out[i] = bpe->byte_tokens[(unsigned char)word[i]];
    }
    return join(bpe, out, n);
}

static void assert_decodes(const struct bpe *bpe, const uint16_t *tokens, size_t n,
                           const char *word) {
    char symbols[2 * WORD_BYTES + 1] = "", decoded[WORD_BYTES] = "";
    size_t used = 0, n_bytes = 0;
    for (size_t i = 0; i < n; i++) {
        used +=
            (size_t)snprintf(symbols + used, sizeof symbols - used, "%s", bpe->tokens[tokens[i]]);
        assert_true(used < sizeof symbols);
    }
    for (size_t at = 0; at < used;) {
        int byte = 0;
        while (strncmp(symbols + at, byte_symbol(byte), strlen(byte_symbol(byte))) != 0) {
            byte++;
            assert_true(byte < N_BYTES);
        }
        decoded[n_bytes++] = (char)byte;
        at += strlen(byte_symbol(byte));
    }
    assert_string_equal(decoded, word);
}

// ---- its training

enum { N_WORDS = 240, N_TRAINED = 420 };

struct word {
    char text[WORD_BYTES];
    unsigned count;
};

static void make_words(struct rng *rng, struct word words[N_WORDS]) {
    static const char *const PARTS[] = {"ba", "ne", "to",           "ri",       "ka", "shu", "lo",
                                        "an", "er", "in",           "st",       "ch", "the", "aa",
                                        "ab", "é",  "\xe6\x97\xa5", "\xd0\xb6", "\t"};
    for (size_t i = 0; i < N_WORDS; i++) {
        struct word *word = &words[i];
        snprintf(word->text, sizeof word->text, "%s", rng_below(rng, 8) ? " " : "");
        for (uint32_t n = 1 + rng_below(rng, 6); n > 0; n--) {
            const char *part = PARTS[rng_below(rng, sizeof PARTS / sizeof PARTS[0])];
            size_t used = strlen(word->text);
            snprintf(word->text + used, sizeof word->text - used, "%s", part);
        }
        word->count = 1 + 2000 / (unsigned)(i + 1);
    }
}

// Adds the merge of the pair that is seen most; false when none is left.
static bool train_one(struct bpe *bpe, const struct word *words) {
    static uint32_t seen[MAX_TOKENS][MAX_TOKENS];
    static uint16_t symbols[N_WORDS][WORD_BYTES];
    size_t n[N_WORDS];
    uint32_t most = 0;
    uint16_t left = 0, right = 0;
    for (size_t w = 0; w < N_WORDS; w++) {
        n[w] = encode(bpe, words[w].text, symbols[w]);
        for (size_t i = 0; i + 1 < n[w]; i++) {
            uint32_t count = seen[symbols[w][i]][symbols[w][i + 1]] += words[w].count;
            if (count > most) {
                most = count;
                left = symbols[w][i];
                right = symbols[w][i + 1];
            }
        }
    }
    for (size_t w = 0; w < N_WORDS; w++) {
        for (size_t i = 0; i + 1 < n[w]; i++) {
            seen[symbols[w][i]][symbols[w][i + 1]] = 0;
        }
    }
    if (most == 0) {
        return false;
    }
    char text[2 * PIECE_BYTES];
    snprintf(text, sizeof text, "%s%s", bpe->tokens[left], bpe->tokens[right]);
    if (find(bpe, text, strlen(text)) < 0) {
        add_token(bpe, text, NORMAL);
    }
    snprintf(text, sizeof text, "%s %s", bpe->tokens[left], bpe->tokens[right]);
    add_merge(bpe, text);
    return true;
}

// The other kind of file: a merge for every way to make a token of two, in the tokens' order.
static void add_all_splits(struct bpe *bpe) {
    for (size_t i = 0; i < bpe->vocab.n_tokens; i++) {
        const char *token = bpe->tokens[i];
        for (size_t at = 1; bpe->types[i] == NORMAL && at < strlen(token); at++) {
            if (find(bpe, token, at) >= 0 && find(bpe, token + at, strlen(token + at)) >= 0) {
                char text[2 * PIECE_BYTES];
                snprintf(text, sizeof text, "%.*s %s", (int)at, token, token + at);
                add_merge(bpe, text);
            }
        }
    }
}

static struct bpe *train(const struct word *words, bool has_all_splits) {
    struct bpe *bpe = bpe_new();
    add_token(bpe, "<unk>", UNKNOWN);
    add_bytes(bpe);
    add_token(bpe, "<|end|>", CONTROL);
    for (int i = 0; i < N_TRAINED && train_one(bpe, words); i++) {
    }
    add_token(bpe, "two words", USER_DEFINED);
    add_token(bpe, "<unused>", UNUSED);
    if (!has_all_splits) {
        return bpe;
    }
    struct bpe *again = bpe_new();
    for (size_t i = 0; i < bpe->vocab.n_tokens; i++) {
        add_token(again, bpe->tokens[i], bpe->types[i]);
    }
    add_all_splits(again);
    free(bpe);
    return again;
}

// ---- what every trim promises

static void check_trim(const struct vocab *vocab, const struct vocab_trim *trim) {
    size_t n = 0, n_merges = 0;
    for (size_t i = 0; i < vocab->n_tokens; i++) {
        bool is_kept = n < trim->n_kept && trim->kept[n] == i;
        assert_int_equal(trim->renumber[i], is_kept ? (int)n : -1);
        assert_true(is_kept || vocab->types[i] == NORMAL || vocab->types[i] == UNUSED);
        n += is_kept;
    }
    assert_int_equal(n, trim->n_kept);
    for (size_t i = 0; i < vocab->n_merges && n_merges < trim->n_merges; i++) {
        n_merges += trim->merges[n_merges] == i;
    }
    assert_int_equal(n_merges, trim->n_merges);
}

// add_merge asserts that no merge refers to a token that is gone.
static struct bpe *apply(const struct bpe *old, const struct vocab_trim *trim) {
    check_trim(&old->vocab, trim);
    struct bpe *bpe = bpe_new();
    for (size_t i = 0; i < trim->n_kept; i++) {
        add_token(bpe, old->tokens[trim->kept[i]], old->types[trim->kept[i]]);
    }
    for (size_t i = 0; i < trim->n_merges; i++) {
        add_merge(bpe, old->merges[trim->merges[i]]);
    }
    for (int byte = 0; byte < N_BYTES; byte++) {
        assert_true(find(bpe, byte_symbol(byte), strlen(byte_symbol(byte))) >= 0);
    }
    return bpe;
}

static struct vocab_trim choose(const struct bpe *bpe, const uint64_t *counts, size_t multiple) {
    struct vocab_trim trim;
    struct wl_err err = {0};
    if (vocab_trim_choose(&bpe->vocab, counts, NULL, 1, 0, multiple, &trim, &err)) {
        fail_msg("%s", err.message);
    }
    return trim;
}

// Whether all tokens of the word stayed; then they must be the ones that it has now.
static bool check_word(const struct bpe *old, const struct bpe *new, const struct vocab_trim *trim,
                       const char *word, int *n_more) {
    uint16_t before[WORD_BYTES], after[WORD_BYTES];
    size_t n_before = encode(old, word, before), n_after = encode(new, word, after);
    assert_decodes(new, after, n_after, word);
    *n_more += (int)n_after - (int)n_before;
    for (size_t i = 0; i < n_before; i++) {
        if (trim->renumber[before[i]] < 0) {
            return false;
        }
    }
    assert_int_equal(n_after, n_before);
    for (size_t i = 0; i < n_before; i++) {
        assert_int_equal(after[i], trim->renumber[before[i]]);
    }
    return true;
}

static void count_words(const struct bpe *bpe, const struct word *words, size_t n,
                        uint64_t *counts) {
    for (size_t w = 0; w < n; w++) {
        uint16_t tokens[WORD_BYTES];
        for (size_t i = encode(bpe, words[w].text, tokens); i-- > 0;) {
            counts[tokens[i]] += words[w].count;
        }
    }
}

static void check_texts(struct rng *rng, bool has_all_splits) {
    struct word words[N_WORDS], others[N_WORDS];
    make_words(rng, words);
    make_words(rng, others);
    struct bpe *old = train(words, has_all_splits);
    uint64_t counts[MAX_TOKENS] = {0};
    size_t n_counted = 20 + rng_below(rng, N_WORDS / 2);
    count_words(old, words, n_counted, counts);
    struct vocab_trim trim = choose(old, counts, 1 + rng_below(rng, 32));
    struct bpe *new = apply(old, &trim);
    int n_more = 0, n_changed = 0;
    for (size_t w = 0; w < n_counted; w++) {
        assert_true(check_word(old, new, &trim, words[w].text, &n_more));
    }
    assert_int_equal(n_more, 0);
    for (size_t w = n_counted; w < N_WORDS; w++) {
        n_changed += !check_word(old, new, &trim, words[w].text, &n_more);
    }
    for (size_t w = 0; w < N_WORDS; w++) {
        n_changed += !check_word(old, new, &trim, others[w].text, &n_more);
    }
    print_message("%zu of %zu tokens, %zu of %zu merges; %d rare words, %d tokens more\n",
                  trim.n_kept, old->vocab.n_tokens, trim.n_merges, old->vocab.n_merges, n_changed,
                  n_more);
    assert_true(trim.n_kept < old->vocab.n_tokens && n_changed > 0 && n_more > 0);
    vocab_trim_release(&trim);
    free(old);
    free(new);
}

static void test_counted_texts_stay_the_same(void **state) {
    (void)state;
    struct rng rng;
    rng_seed(&rng, 11);
    for (int round = 0; round < 8; round++) {
        check_texts(&rng, round % 2);
    }
}

// ---- small ones by hand

static struct bpe *bpe_of(const char *const *tokens, const char *const *merges) {
    struct bpe *bpe = bpe_new();
    add_bytes(bpe);
    for (; *tokens; tokens++) {
        add_token(bpe, *tokens, NORMAL);
    }
    for (; *merges; merges++) {
        add_merge(bpe, *merges);
    }
    return bpe;
}

// The tokens kept besides the bytes, with a space after each.
static void assert_kept(const struct bpe *bpe, const struct vocab_trim *trim,
                        const char *expected) {
    char text[256] = "";
    check_trim(&bpe->vocab, trim);
    for (size_t i = N_BYTES; i < trim->n_kept; i++) {
        size_t used = strlen(text);
        snprintf(text + used, sizeof text - used, "%s ", bpe->tokens[trim->kept[i]]);
    }
    assert_string_equal(text, expected);
}

static void test_keeps_the_way_that_is_taken(void **state) {
    (void)state;
    struct bpe *bpe =
        bpe_of((const char *[]){"ab", "bc", "abc", "bcd", "abcab", "zz", NULL},
               (const char *[]){"b c", "a b", "ab c", "a bc", "bc d", "abc ab", NULL});
    uint64_t counts[N_BYTES + 6] = {[N_BYTES + 2] = 1};
    struct vocab_trim trim = choose(bpe, counts, 1);
    assert_kept(bpe, &trim, "bc abc ");
    assert_int_equal(trim.n_merges, 2);
    assert_int_equal(trim.merges[0], 0);
    assert_int_equal(trim.merges[1], 3);
    vocab_trim_release(&trim);
    // No merge makes zz, and bcd is not used on the way to abcab.
    counts[N_BYTES + 2] = 0;
    counts[N_BYTES + 4] = counts[N_BYTES + 5] = 9;
    trim = choose(bpe, counts, 0);
    assert_kept(bpe, &trim, "ab bc abc abcab zz ");
    assert_int_equal(trim.n_merges, 5);
    vocab_trim_release(&trim);
    free(bpe);
}

static void test_rounds_up(void **state) {
    (void)state;
    static const struct {
        size_t multiple;
        const char *kept;
    } CASES[] = {
        {0, ""},
        {1, ""},
        {128, ""},
        {257, "pq "}, // of equal ones the first; what xyzw needs does not fit
        {258, "pq rs "},
        {259, "xy xyz xyzw "},
        {260, "xy xyz xyzw pq "},
        {1000, "xy xyz xyzw pq rs tu "},
        {SIZE_MAX, "xy xyz xyzw pq rs tu "},
    };
    struct bpe *bpe = bpe_of((const char *[]){"xy", "xyz", "xyzw", "pq", "rs", "tu", NULL},
                             (const char *[]){"x y", "xy z", "xyz w", "p q", "r s", "t u", NULL});
    uint64_t counts[N_BYTES + 6] = {[N_BYTES + 2] = 10, [N_BYTES + 3] = 5, [N_BYTES + 4] = 5};
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct vocab_trim trim;
        assert_int_equal(
            vocab_trim_choose(&bpe->vocab, counts, NULL, 11, 0, CASES[i].multiple, &trim, NULL),
            WL_OK);
        assert_kept(bpe, &trim, CASES[i].kept);
        vocab_trim_release(&trim);
    }
    bool needed[N_BYTES + 6] = {[N_BYTES + 5] = true};
    struct vocab_trim trim;
    assert_int_equal(
        vocab_trim_choose(&bpe->vocab, counts, needed, 11, N_BYTES + 1, 0, &trim, NULL), WL_OK);
    assert_kept(bpe, &trim, "xy tu ");
    vocab_trim_release(&trim);
    free(bpe);
}

// ---- hostile ones

static void test_refuses_with_one_clear_error(void **state) {
    (void)state;
    static const struct {
        const char *token; // the last one, if any, and the last merge
        const char *merge;
        const char *message;
    } CASES[] = {
        {"ab", NULL, "token 257 'ab'"},   {"a", NULL, "token 257 'a'"},
        {NULL, "", "merge 1 ''"},         {NULL, "ab", "merge 1 'ab'"},
        {NULL, " ab", "merge 1 ' ab'"},   {NULL, "ab ", "merge 1 'ab '"},
        {NULL, " ", "merge 1 ' '"},       {NULL, "a  b", "found that ' b' is none"},
        {NULL, "a b c", "'b c' is none"}, {NULL, "a zz", "'zz' is none"},
        {NULL, "zz a", "'zz' is none"},   {NULL, "b a", "together are a token"},
    };
    uint64_t counts[N_BYTES + 2] = {0};
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct bpe *bpe = bpe_of((const char *[]){"ab", NULL}, (const char *[]){"a b", NULL});
        bpe->tokens[bpe->vocab.n_tokens++] = CASES[i].token ? CASES[i].token : "last";
        bpe->types[N_BYTES + 1] = NORMAL;
        if (CASES[i].merge) {
            bpe->merges[bpe->vocab.n_merges++] = CASES[i].merge;
        }
        struct vocab_trim trim;
        struct wl_err err = {0};
        assert_int_equal(vocab_trim_choose(&bpe->vocab, counts, NULL, 1, 0, 1, &trim, &err),
                         WL_INPUT);
        if (!strstr(err.message, CASES[i].message)) {
            fail_msg("case %zu: '%s' in '%s'", i, CASES[i].message, err.message);
        }
        assert_true(!trim.kept && !trim.renumber && !trim.merges && trim.n_kept == 0);
        free(bpe);
    }
}

static void test_refuses_sizes(void **state) {
    (void)state;
    char *text = malloc(VOCAB_MAX_TOKEN_BYTES + 2);
    assert_non_null(text);
    memset(text, 'a', VOCAB_MAX_TOKEN_BYTES + 1);
    text[VOCAB_MAX_TOKEN_BYTES + 1] = '\0';
    const char *tokens[] = {text};
    struct vocab vocab = {.tokens = tokens, .types = (const int32_t[]){NORMAL}};
    const uint64_t counts[] = {1};
    static const size_t SIZES[][2] = {{1, 0}, {VOCAB_MAX_TOKENS + 1, 0}, {1, VOCAB_MAX_MERGES + 1}};
    struct vocab_trim trim;
    for (size_t i = 0; i < 3; i++) {
        struct wl_err err = {0};
        vocab.n_tokens = SIZES[i][0];
        vocab.n_merges = SIZES[i][1];
        assert_int_equal(vocab_trim_choose(&vocab, counts, NULL, 1, 0, 1, &trim, &err), WL_LIMIT);
        assert_non_null(strstr(err.message, "expected at most"));
    }
    vocab.n_tokens = 0;
    assert_int_equal(vocab_trim_choose(&vocab, counts, NULL, 1, 0, 1, &trim, NULL), WL_INPUT);
    free(text);
}

static void test_odd_ones_that_work(void **state) {
    (void)state;
    // No merges, no bytes, two empty tokens, what is no text.
    struct vocab vocab = {.tokens = (const char *[]){"", "\xff\xc3", "", "b", "a b"},
                          .types = (const int32_t[]){1, 1, 1, 1, 99},
                          .n_tokens = 5};
    struct vocab_trim trim;
    const uint64_t counts[] = {0, 1, 3, 0, 0};
    assert_int_equal(vocab_trim_choose(&vocab, counts, NULL, 3, 0, 1, &trim, NULL), WL_OK);
    check_trim(&vocab, &trim);
    assert_int_equal(trim.n_kept, 3); // "", b is a byte, 99 is not normal
    vocab_trim_release(&trim);
    // Nothing is wanted: one token stays. A merge that comes twice counts where it came first.
    vocab.types = (const int32_t[]){1, 1, 1, 1, 1};
    vocab.tokens = (const char *[]){"", "\xc4\xb4x", "\xc4\xb5y", "zz", "ww"};
    assert_int_equal(vocab_trim_choose(&vocab, counts, NULL, 9, 0, 0, &trim, NULL), WL_OK);
    assert_int_equal(trim.n_kept, 1);
    assert_int_equal(trim.kept[0], 2);
    vocab_trim_release(&trim);
    struct bpe *bpe = bpe_of((const char *[]){"ab", "bc", "abc", NULL},
                             (const char *[]){"b c", "a b", "b c", "ab c", "a bc", NULL});
    trim = choose(bpe, (const uint64_t[N_BYTES + 3]){[N_BYTES + 2] = 1}, 1);
    assert_kept(bpe, &trim, "bc abc ");
    assert_int_equal(trim.n_merges, 3);
    vocab_trim_release(&trim);
    free(bpe);
}

// The longest token, made of its halves: no work that grows with the square of its length.
static void test_longest_token(void **state) {
    (void)state;
    enum { N = 17 };
    char *tokens[N], *merges[N - 1];
    int32_t types[N];
    for (size_t i = 0; i < N; i++) {
        size_t len = (size_t)1 << i;
        tokens[i] = calloc(1, len + 1);
        assert_non_null(tokens[i]);
        memset(tokens[i], 'a', len);
        types[i] = NORMAL;
        if (i > 0) {
            merges[i - 1] = calloc(1, len + 2);
            assert_non_null(merges[i - 1]);
            memset(merges[i - 1], 'a', len + 1);
            merges[i - 1][len / 2] = ' ';
        }
    }
    struct vocab vocab = {(const char *const *)tokens, types, N, (const char *const *)merges,
                          N - 1};
    const uint64_t counts[N] = {[N - 1] = 1};
    struct vocab_trim trim;
    assert_int_equal(vocab_trim_choose(&vocab, counts, NULL, 1, 0, 1, &trim, NULL), WL_OK);
    assert_int_equal(trim.n_kept, N);
    assert_int_equal(trim.n_merges, N - 1);
    vocab_trim_release(&trim);
    for (size_t i = 0; i < N; i++) {
        free(tokens[i]);
        free(i > 0 ? merges[i - 1] : NULL);
    }
}

// ---- a large one

// As large as Llama 3's: syllables of two letters, all words of one to three syllables, many of
// four, and most ways to make each of two.
enum { N_LARGE = 128256, N_LARGE_MERGES = 280147, N_SYLLABLES = 26, N_FOUR = 109466 };
enum { LARGE_PIECE = 12, LARGE_MERGE = 20, N_CONTROL = 256 };

struct large {
    char texts[N_LARGE][LARGE_PIECE];
    const char *tokens[N_LARGE];
    int32_t types[N_LARGE];
    char merge_texts[N_LARGE_MERGES][LARGE_MERGE];
    const char *merges[N_LARGE_MERGES];
    uint64_t counts[N_LARGE];
    struct vocab vocab;
};

static void add_large(struct large *large, const char *text, int32_t type) {
    size_t i = large->vocab.n_tokens++;
    assert_true(i < N_LARGE);
    snprintf(large->texts[i], LARGE_PIECE, "%s", text);
    large->tokens[i] = large->texts[i];
    large->types[i] = type;
}

static void add_large_merge(struct large *large, const char *text, size_t left_len) {
    size_t i = large->vocab.n_merges;
    if (i < N_LARGE_MERGES) {
        snprintf(large->merge_texts[i], LARGE_MERGE, "%.*s %s", (int)left_len, text,
                 text + left_len);
        large->merges[i] = large->merge_texts[i];
        large->vocab.n_merges++;
    }
}

static void add_large_words(struct large *large, size_t n_syllables, size_t n_words) {
    for (size_t word = 0; word < n_words; word++) {
        char text[LARGE_PIECE] = "";
        for (size_t i = 0, rest = word; i < n_syllables; i++, rest /= N_SYLLABLES) {
            text[2 * i] = "bcdfghjklmnpqrstvwxyzBCDFG"[rest % N_SYLLABLES];
            text[2 * i + 1] = "aeiou"[rest % N_SYLLABLES % 5];
        }
        add_large(large, text, NORMAL);
        add_large_merge(large, text, n_syllables == 1 ? 1 : 2);
        for (size_t left = 2; left < n_syllables && (left == 2 || word < 25361); left++) {
            add_large_merge(large, text, 2 * left);
        }
    }
}

static struct large *large_new(void) {
    struct large *large = calloc(1, sizeof *large);
    assert_non_null(large);
    large->vocab = (struct vocab){large->tokens, large->types, 0, large->merges, 0};
    for (int byte = 0; byte < N_BYTES; byte++) {
        add_large(large, byte_symbol(byte), NORMAL);
    }
    add_large_words(large, 1, N_SYLLABLES);
    add_large_words(large, 2, N_SYLLABLES * N_SYLLABLES);
    add_large_words(large, 3, N_SYLLABLES * N_SYLLABLES * N_SYLLABLES);
    add_large_words(large, 4, N_FOUR);
    for (int i = 0; i < N_CONTROL; i++) {
        char text[24];
        snprintf(text, sizeof text, "<|%d|>", i);
        add_large(large, text, CONTROL);
    }
    assert_int_equal(large->vocab.n_tokens, N_LARGE);
    assert_int_equal(large->vocab.n_merges, N_LARGE_MERGES);
    return large;
}

static void test_large_one(void **state) {
    (void)state;
    struct large *large = large_new();
    struct rng rng;
    rng_seed(&rng, 3);
    for (size_t i = 0; i < N_LARGE; i++) {
        large->counts[i] = rng_below(&rng, 4) ? 0 : rng_below(&rng, 1000);
    }
    struct vocab_trim trim;
    struct timespec start, end;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &start);
    assert_int_equal(
        vocab_trim_choose(&large->vocab, large->counts, NULL, 2, 1000, 256, &trim, NULL), WL_OK);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end);
    double s = (double)(end.tv_sec - start.tv_sec) + (double)(end.tv_nsec - start.tv_nsec) / 1e9;
    print_message("%zu of %d tokens, %zu of %d merges in %.2f s of CPU time\n", trim.n_kept,
                  N_LARGE, trim.n_merges, N_LARGE_MERGES, s);
    check_trim(&large->vocab, &trim);
    assert_true(trim.n_kept < N_LARGE && trim.n_kept % 256 == 0);
    assert_true(s < 60);
    vocab_trim_release(&trim);
    free(large);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counted_texts_stay_the_same),
        cmocka_unit_test(test_keeps_the_way_that_is_taken),
        cmocka_unit_test(test_rounds_up),
        cmocka_unit_test(test_refuses_with_one_clear_error),
        cmocka_unit_test(test_refuses_sizes),
        cmocka_unit_test(test_odd_ones_that_work),
        cmocka_unit_test(test_longest_token),
        cmocka_unit_test(test_large_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
