#include "compressor/trim_check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compressor/text_model.h"

enum { BYTES_PER_TOKEN = 64 };

// Room for one sequence.
struct scratch {
    char *text, *back;       // [max_bytes]
    int32_t *before, *after; // [max_bytes]
    int32_t max_bytes;
};

struct checking {
    const struct trim_options *options;
    const struct trim_result *result;
    struct text_watch watch;
    struct text_model old, new;
    struct scratch s;
    size_t n_before, n_after; // tokens of held-out text
    size_t n_seen, n_kept;    // of the sequences' own tokens
};

static bool goes_on(void *context, double share_done) {
    const struct trim_options *options = context;
    return !options->go_on || options->go_on(options->context, share_done);
}

static enum wl_status open_scratch(struct scratch *s, const struct compress_text *text,
                                   struct wl_err *err) {
    uint32_t longest = 1;
    for (size_t i = 0; i < text->n_sequences; i++) {
        longest = text->lengths[i] > longest ? text->lengths[i] : longest;
    }
    s->max_bytes =
        (int32_t)(longest < INT32_MAX / BYTES_PER_TOKEN ? longest * BYTES_PER_TOKEN : INT32_MAX);
    size_t n = (size_t)s->max_bytes;
    s->text = calloc(n + 1, 1);
    s->back = calloc(n + 1, 1);
    s->before = calloc(n + 1, sizeof *s->before);
    s->after = calloc(n + 1, sizeof *s->after);
    return s->text && s->back && s->before && s->after
               ? WL_OK
               : wl_err_set(err, WL_MEMORY, "no memory for a text of %zu bytes", n);
}

static bool has_image(const int32_t *tokens, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        if (tokens[i] < 0) {
            return true;
        }
    }
    return false;
}

static int32_t text_of(const struct text_model *model, const int32_t *tokens, int32_t n, char *out,
                       int32_t max_bytes) {
    return llama_detokenize(model->vocab, tokens, n, out, max_bytes, false, true);
}

static int32_t tokens_of(const struct text_model *model, const char *text, int32_t n, int32_t *out,
                         int32_t max) {
    return llama_tokenize(model->vocab, text, n, out, max, false, true);
}

static enum wl_status check_sequence(struct checking *c, const int32_t *tokens, uint32_t n,
                                     bool is_held_out, struct wl_err *err) {
    struct scratch *s = &c->s;
    int32_t len = text_of(&c->old, tokens, (int32_t)n, s->text, s->max_bytes);
    if (len <= 0) {
        return WL_OK; // nothing that can be told, or longer than tokens are
    }
    int32_t before = tokens_of(&c->old, s->text, len, s->before, s->max_bytes);
    int32_t after = tokens_of(&c->new, s->text, len, s->after, s->max_bytes);
    int32_t back = after > 0 ? text_of(&c->new, s->after, after, s->back, s->max_bytes) : -1;
    // What the old vocabulary itself makes of the text is what counts: spaces beside control tokens
    // may go.
    len = before > 0 ? text_of(&c->old, s->before, before, s->text, s->max_bytes) : -1;
    if (before <= 0 || len <= 0 || back != len || memcmp(s->text, s->back, (size_t)len) != 0) {
        return wl_err_set(err, WL_INPUT,
                          "a text does not come back from the smaller vocabulary as it was "
                          "('%.60s'); leave --vocabulary out, and tell us about this model",
                          s->text);
    }
    if (is_held_out) {
        c->n_before += (size_t)before;
        c->n_after += (size_t)after;
        for (uint32_t i = 0; i < n; i++) {
            c->n_seen++;
            c->n_kept += c->result->new_ids[tokens[i]] >= 0;
        }
    }
    return WL_OK;
}

static enum wl_status check_all(struct checking *c, const struct compress_text *text,
                                struct wl_err *err) {
    const int32_t *tokens = text->tokens;
    enum wl_status status = WL_OK;
    for (size_t i = 0; i < text->n_sequences && status == WL_OK; i++) {
        bool is_held_out = i + c->options->n_held_out >= text->n_sequences;
        if (!has_image(tokens, text->lengths[i])) {
            status = check_sequence(c, tokens, text->lengths[i], is_held_out, err);
        }
        tokens += text->lengths[i];
        if (status == WL_OK && text_watch_stops(&c->watch)) {
            status = wl_err_set(err, WL_INTERRUPTED, "interrupted");
        }
    }
    return status;
}

enum wl_status trim_check(const char *in, const char *out, const struct compress_text *text,
                          const struct trim_options *options, struct trim_result *result,
                          struct wl_err *err) {
    struct checking c = {.options = options, .result = result};
    c.watch = (struct text_watch){.go_on = goes_on, .context = (void *)options, .share_done = 1};
    enum wl_status status = open_scratch(&c.s, text, err);
    if (status == WL_OK) {
        status = text_model_load(&c.old, in, TEXT_MODEL_VOCABULARY, &c.watch, err);
    }
    if (status == WL_OK) {
        status = text_model_load(&c.new, out, TEXT_MODEL_VOCABULARY, &c.watch, err);
    }
    if (status == WL_OK) {
        status = check_all(&c, text, err);
    }
    text_model_unload(&c.old);
    text_model_unload(&c.new);
    free(c.s.text);
    free(c.s.back);
    free(c.s.before);
    free(c.s.after);
    result->growth = c.n_before ? (double)c.n_after / (double)c.n_before - 1 : 0;
    result->coverage = c.n_seen ? (double)c.n_kept / (double)c.n_seen : 1;
    return status;
}
