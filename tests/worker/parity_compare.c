#include "parity_compare.h"

#include <math.h>
#include <stdarg.h>

enum { CELL = 28 };

// The reference's tolerances are those of x86, where ggml adds up F16 products in F32. ARM cores
// that can do F16 arithmetic add them up in F16: 11 bits, some tens of additions.
#ifdef __aarch64__
#define SLACK 8.0
#else
#define SLACK 1.0
#endif

struct comparison {
    const json_t *reference;
    const struct parity_found *found;
    FILE *out;
    const char *name; // of the prompt at hand
    struct parity_outcome outcome;
};

__attribute__((format(printf, 2, 3))) static void fault(struct comparison *c, const char *format,
                                                        ...) {
    c->outcome.n_faults++;
    if (c->out) {
        va_list args;
        va_start(args, format);
        fprintf(c->out, "%s: ", c->name);
        vfprintf(c->out, format, args);
        fputc('\n', c->out);
        va_end(args);
    }
}

static double number_at(const json_t *array, size_t i) {
    const json_t *value = json_array_get(array, i);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

double parity_tolerance(const json_t *reference, const char *what) {
    const json_t *value = json_object_get(json_object_get(reference, "tolerance"), what);
    return json_is_number(value) ? SLACK * json_number_value(value) : NAN; // then nothing passes
}

static double larger(double a, double b) {
    return isnan(a) || isnan(b) ? NAN : fmax(a, b);
}

// The largest |expected[k] - found[ids[k]]|; infinite where the lists do not fit each other.
static double difference(const json_t *expected, const json_t *ids, const float *found,
                         size_t n_found, size_t *worst) {
    size_t n = json_array_size(ids);
    double most = n > 0 && n == json_array_size(expected) ? 0 : INFINITY;
    *worst = 0;
    for (size_t k = 0; k < n && !isinf(most); k++) {
        double id = number_at(ids, k);
        if (!(id >= 0) || id >= (double)n_found) {
            return INFINITY;
        }
        double off = fabs(number_at(expected, k) - (double)found[(size_t)id]);
        *worst = off <= most ? *worst : (size_t)id;
        most = larger(most, off);
    }
    return most;
}

static bool same_tokens(const json_t *expected, const llama_token *found, size_t n) {
    bool is_same = json_is_array(expected) && json_array_size(expected) == n;
    for (size_t i = 0; i < n && is_same; i++) {
        is_same = number_at(expected, i) == (double)found[i];
    }
    return is_same;
}

static void compare_tokens(struct comparison *c, const json_t *prompt,
                           const struct pair_figures *found) {
    const json_t *before = json_object_get(prompt, "before");
    const json_t *after = json_object_get(prompt, "after");
    if (!same_tokens(before, found->before, found->n_before) ||
        !same_tokens(after, found->after, found->n_after)) {
        fault(c, "the tokens of the prompt differ: %zu and %zu, expected %zu and %zu",
              found->n_before, found->n_after, json_array_size(before), json_array_size(after));
    }
    json_int_t n_cells = json_integer_value(json_object_get(prompt, "cells"));
    if ((json_int_t)found->n_cells != n_cells) {
        fault(c, "the image takes %zu tokens, expected %lld", found->n_cells, (long long)n_cells);
    }
}

static void compare_embedding(struct comparison *c, const json_t *prompt,
                              const struct pair_figures *found) {
    const json_t *cells = json_object_get(prompt, "embedding");
    double limit = parity_tolerance(c->reference, "embedding");
    if (found->n_cells > 0 && json_array_size(cells) == 0) {
        fault(c, "the reference has no embedding of the image");
    }
    for (size_t i = 0; i < json_array_size(cells); i++) {
        const json_t *sample = json_array_get(cells, i);
        json_int_t cell = json_integer_value(json_object_get(sample, "cell"));
        if (cell < 0 || (size_t)cell >= found->n_cells) {
            fault(c, "cell %lld is not among the %zu of the image", (long long)cell,
                  found->n_cells);
            continue;
        }
        size_t worst;
        double off = difference(
            json_object_get(sample, "values"), json_object_get(c->reference, "value_ids"),
            found->embedding + (size_t)cell * c->found->width, c->found->width, &worst);
        c->outcome.embedding = larger(c->outcome.embedding, off);
        if (!(off <= limit)) {
            fault(c, "value %zu of cell %lld is off by %.4g, at most %.4g expected", worst,
                  (long long)cell, off, limit);
        }
    }
}

static void compare_logits(struct comparison *c, const json_t *prompt,
                           const struct pair_figures *found) {
    size_t worst;
    double limit = parity_tolerance(c->reference, "logits");
    double off =
        difference(json_object_get(prompt, "logits"), json_object_get(c->reference, "logit_ids"),
                   found->logits, c->found->n_vocab, &worst);
    c->outcome.logits = larger(c->outcome.logits, off);
    if (!(off <= limit)) {
        fault(c, "the logit of token %zu is off by %.4g, at most %.4g expected", worst, off, limit);
    }
    if (json_number_value(json_object_get(prompt, "margin")) > 2 * limit) {
        json_int_t expected = json_integer_value(json_object_get(prompt, "argmax"));
        llama_token best = pair_argmax(found->logits, c->found->n_vocab);
        c->outcome.n_argmax++;
        if (best != expected) {
            fault(c, "the likeliest token is %d, expected %lld", (int)best, (long long)expected);
        }
    }
}

static void compare_answers(struct comparison *c, const json_t *answers) {
    for (size_t i = 0; i < c->found->n_answers; i++) {
        const json_t *prompt = json_array_get(answers, i);
        const struct pair_figures *found = &c->found->answers[i];
        c->name = json_string_value(json_object_get(prompt, "name"));
        compare_tokens(c, prompt, found);
        if (same_tokens(json_object_get(prompt, "answer"), found->answer, found->n_answer)) {
            c->outcome.n_answers_equal++;
        } else if (c->out) {
            fprintf(c->out, "%s: answers '%s', expected '%s'\n", c->name, found->reads,
                    json_string_value(json_object_get(prompt, "reads")));
        }
    }
    c->name = "answers";
    if (c->outcome.n_answers_equal + PARITY_ANSWERS_OFF < c->found->n_answers) {
        fault(c, "%zu of %zu equal, at most %d may differ", c->outcome.n_answers_equal,
              c->found->n_answers, PARITY_ANSWERS_OFF);
    }
}

static void compare_head(struct comparison *c) {
    json_int_t n_vocab = json_integer_value(json_object_get(c->reference, "vocab"));
    json_int_t width = json_integer_value(json_object_get(c->reference, "width"));
    c->name = "model";
    if ((json_int_t)c->found->n_vocab != n_vocab || (json_int_t)c->found->width != width) {
        fault(c, "%zu tokens of %zu values, expected %lld of %lld", c->found->n_vocab,
              c->found->width, (long long)n_vocab, (long long)width);
    }
}

struct parity_outcome parity_compare(const json_t *reference, const struct parity_found *found,
                                     FILE *out) {
    struct comparison c = {.reference = reference, .found = found, .out = out};
    const json_t *cases = json_object_get(reference, "cases");
    compare_head(&c);
    if (found->n_cases == 0) {
        fault(&c, "the reference has no cases");
    }
    for (size_t i = 0; i < found->n_cases; i++) {
        const json_t *prompt = json_array_get(cases, i);
        c.name = json_string_value(json_object_get(prompt, "name"));
        compare_tokens(&c, prompt, &found->cases[i]);
        compare_embedding(&c, prompt, &found->cases[i]);
        compare_logits(&c, prompt, &found->cases[i]);
    }
    compare_answers(&c, json_object_get(reference, "answers"));
    return c.outcome;
}

// ---- wrong references ----

static json_t *last_of(const json_t *reference, const char *key) {
    const json_t *array = json_object_get(reference, key);
    return json_array_get(array, json_array_size(array) - 1);
}

static void shift_logit(json_t *reference) {
    json_t *logits = json_object_get(last_of(reference, "cases"), "logits");
    json_array_set_new(logits, 5, json_real(number_at(logits, 5) + 0.5));
}

static void turn_cells(json_t *reference) {
    const json_t *cases = json_object_get(reference, "cases");
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const json_t *prompt = json_array_get(cases, i);
        const json_t *image = json_object_get(prompt, "image");
        const json_t *cells = json_object_get(prompt, "embedding");
        json_int_t columns = json_integer_value(json_object_get(image, "width")) / CELL;
        json_int_t rows = json_integer_value(json_object_get(image, "height")) / CELL;
        for (size_t k = 0; k < json_array_size(cells) && columns > 0; k++) {
            json_t *sample = json_array_get(cells, k);
            json_int_t cell = json_integer_value(json_object_get(sample, "cell"));
            json_int_t turned = cell % columns * rows + cell / columns;
            json_object_set_new(sample, "cell", json_integer(turned));
        }
    }
}

static void change_token(json_t *reference) {
    json_t *before = json_object_get(last_of(reference, "cases"), "before");
    json_array_set_new(before, 1, json_integer((json_int_t)number_at(before, 1) + 1));
}

static void change_answers(json_t *reference) {
    const json_t *answers = json_object_get(reference, "answers");
    for (size_t i = 0; i <= PARITY_ANSWERS_OFF; i++) {
        const json_t *prompt = json_array_get(answers, i);
        json_array_append_new(json_object_get(prompt, "answer"), json_integer(0));
    }
}

static void shift_embedding(json_t *reference) {
    const json_t *cells = json_object_get(last_of(reference, "cases"), "embedding");
    json_t *values = json_object_get(json_array_get(cells, 1), "values");
    double off = 3 * parity_tolerance(reference, "embedding");
    json_array_set_new(values, 3, json_real(number_at(values, 3) + off));
}

const struct parity_fault PARITY_FAULTS[] = {
    {"logit", "0.5 added to one logit of the reference", shift_logit},
    {"value", "three tolerances added to one value of an image token of the reference",
     shift_embedding},
    {"cells", "rows and columns of the image tokens exchanged in the reference", turn_cells},
    {"turned", "rows and columns exchanged in the positions of the run", NULL},
    {"token", "another token in a prompt of the reference", change_token},
    {"answers", "a token more in two answers of the reference", change_answers},
    {NULL, NULL, NULL},
};
