// Any vocabulary: refused in words, or a trim that keeps every promise of vocab.h. The first bytes
// choose the rest of the question; then lines are tokens up to an empty one, and merges after it.
// A token's type and count follow from its number, so that mutations change the text alone.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "compress/vocab.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_LINES = 512, MAX_PIECES = 32, N_CHOICES = 4 };

static void require(bool is_true) {
    if (!is_true) {
        abort();
    }
}

struct question {
    const char *tokens[MAX_LINES];
    const char *merges[MAX_LINES];
    int32_t types[MAX_LINES];
    uint64_t counts[MAX_LINES];
    bool needed[MAX_LINES];
    struct vocab vocab;
};

static char *next_line(char **text) {
    char *line = *text, *end = line + strcspn(line, "\n");
    *text = *end ? end + 1 : end;
    *end = '\0';
    return line;
}

static void read_question(struct question *question, char *text, const uint8_t *choices) {
    struct vocab *vocab = &question->vocab;
    *vocab = (struct vocab){question->tokens, question->types, 0, question->merges, 0};
    while (*text && *text != '\n' && vocab->n_tokens < MAX_LINES) {
        size_t i = vocab->n_tokens++;
        question->tokens[i] = next_line(&text);
        question->types[i] = i % 16 == 15 ? (int32_t)(choices[3] % 8) : 1;
        question->counts[i] = (i * 2654435761u >> 8) % 4 * (choices[0] % 8);
        question->needed[i] = i % 8 == choices[3] / 32;
    }
    text += *text == '\n';
    while (*text && vocab->n_merges < MAX_LINES) {
        question->merges[vocab->n_merges++] = next_line(&text);
    }
}

static size_t find(const struct vocab *vocab, const char *text, size_t len) {
    size_t i = 0;
    while (i < vocab->n_tokens &&
           !(strlen(vocab->tokens[i]) == len && memcmp(vocab->tokens[i], text, len) == 0)) {
        i++;
    }
    require(i < vocab->n_tokens);
    return i;
}

// All that a merge names is there, and is kept exactly if the merge is.
static void check_merges(const struct vocab *vocab, const struct vocab_trim *trim) {
    size_t n = 0;
    for (size_t i = 0; i < vocab->n_merges; i++) {
        char joined[4096];
        const char *text = vocab->merges[i];
        size_t left = strcspn(text, " "), right = strlen(text + left + 1);
        require(left + right <= sizeof joined);
        memcpy(joined, text, left);
        memcpy(joined + left, text + left + 1, right);
        bool is_whole = trim->renumber[find(vocab, text, left)] >= 0 &&
                        trim->renumber[find(vocab, text + left + 1, right)] >= 0 &&
                        trim->renumber[find(vocab, joined, left + right)] >= 0;
        require(is_whole == (n < trim->n_merges && trim->merges[n] == i));
        n += is_whole;
    }
    require(n == trim->n_merges);
}

// The plainest tokenizer that there is: a text cut into pieces, at[i] to at[i + 1] each.
struct pieces {
    const char *text;
    size_t at[MAX_PIECES + 1];
    size_t n;
};

static bool cut(struct pieces *pieces, const char *text) {
    *pieces = (struct pieces){.text = text};
    for (size_t at = 0; text[at]; pieces->n++) {
        size_t len = str_utf8_len(text + at);
        if (len == 0 || pieces->n == MAX_PIECES) {
            return false;
        }
        at += len;
        pieces->at[pieces->n + 1] = at;
    }
    return true;
}

// Whether the merge is of pieces i and i + 1.
static bool is_of(const struct pieces *pieces, size_t i, const char *merge) {
    size_t left = pieces->at[i + 1] - pieces->at[i], right = pieces->at[i + 2] - pieces->at[i + 1];
    return strlen(merge) == left + 1 + right && merge[left] == ' ' &&
           memcmp(merge, pieces->text + pieces->at[i], left) == 0 &&
           memcmp(merge + left + 1, pieces->text + pieces->at[i + 1], right) == 0;
}

static bool join_once(struct pieces *pieces, const char *merge) {
    for (size_t i = 0; i + 1 < pieces->n; i++) {
        if (is_of(pieces, i, merge)) {
            memmove(pieces->at + i + 1, pieces->at + i + 2,
                    (pieces->n - i - 1) * sizeof *pieces->at);
            pieces->n--;
            return true;
        }
    }
    return false;
}

// With the merges that `trim` keeps, or all where it is NULL.
static bool is_made(const struct vocab *vocab, const struct vocab_trim *trim, const char *text) {
    struct pieces pieces;
    size_t n = trim ? trim->n_merges : vocab->n_merges;
    if (!cut(&pieces, text)) {
        return false;
    }
    for (size_t i = 0; i < n;) {
        bool has_joined = join_once(&pieces, vocab->merges[trim ? trim->merges[i] : i]);
        i = has_joined ? 0 : i + 1; // the first merge that fits, again and again
    }
    return pieces.n == 1;
}

static bool is_byte(const char *text) {
    return text[0] > ' ' && text[0] < 0x7f && !text[1];
}

static void check(const struct question *question, const struct vocab_trim *trim,
                  const uint8_t *choices) {
    const struct vocab *vocab = &question->vocab;
    size_t n = 0, multiple = choices[2];
    for (size_t i = 0; i < vocab->n_tokens; i++) {
        bool is_kept = n < trim->n_kept && trim->kept[n] == i;
        require(trim->renumber[i] == (is_kept ? (int32_t)n : -1));
        bool is_wanted = question->counts[i] >= choices[0] || i < choices[1] ||
                         question->needed[i] || (vocab->types[i] != 1 && vocab->types[i] != 5);
        const char *text = vocab->tokens[i];
        require(is_kept || (!is_wanted && !is_byte(text)));
        require(!is_kept || !is_made(vocab, NULL, text) || is_made(vocab, trim, text));
        n += is_kept;
    }
    require(n == trim->n_kept && n > 0);
    require(multiple == 0 || n % multiple == 0 || n == vocab->n_tokens);
    check_merges(vocab, trim);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < N_CHOICES || size > N_CHOICES + 4096) {
        return 0;
    }
    struct question *question = calloc(1, sizeof *question);
    char *text = calloc(size - N_CHOICES + 1, 1);
    require(question && text);
    memcpy(text, data + N_CHOICES, size - N_CHOICES);
    read_question(question, text, data);
    struct vocab_trim trim;
    struct wl_err err = {0};
    enum wl_status status = vocab_trim_choose(&question->vocab, question->counts, question->needed,
                                              data[0], data[1], data[2], &trim, &err);
    if (status) {
        require(status == WL_INPUT && err.status == status && err.message[0]);
        require(!trim.kept && !trim.renumber && !trim.merges);
    } else {
        check(question, &trim, data);
    }
    vocab_trim_release(&trim);
    free(text);
    free(question);
    return 0;
}
