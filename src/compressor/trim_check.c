#include "compressor/trim_check.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

// ---- texts and tokens ----

// Both grow as needed.
struct scratch {
    char *text;
    int32_t *tokens;
    int32_t text_bytes, n_tokens; // room
    int32_t len, n;               // used
};

static void scratch_release(struct scratch *s) {
    free(s->text);
    free(s->tokens);
}

static enum wl_status grow(void **memory, int32_t *room, int32_t need, size_t size,
                           struct wl_err *err) {
    void *larger = need > 0 ? realloc(*memory, (size_t)need * size) : NULL;
    if (!larger) {
        return wl_err_set(err, WL_MEMORY, "no memory for a text of %" PRId32 " parts", need);
    }
    *memory = larger;
    *room = need;
    return WL_OK;
}

static enum wl_status to_text(const struct text_model *model, const int32_t *tokens, int32_t n,
                              struct scratch *out, struct wl_err *err) {
    for (int tries = 0; tries < 2; tries++) {
        int32_t len =
            llama_detokenize(model->vocab, tokens, n, out->text, out->text_bytes, false, true);
        if (len >= 0) {
            out->len = len;
            return WL_OK;
        }
        enum wl_status status = grow((void **)&out->text, &out->text_bytes, -len, 1, err);
        if (status != WL_OK) {
            return status;
        }
    }
    return wl_err_set(err, WL_FAILED, "'%s': llama.cpp could not write %" PRId32 " tokens as text",
                      model->path, n);
}

static enum wl_status to_tokens(const struct text_model *model, const char *text, int32_t len,
                                struct scratch *out, struct wl_err *err) {
    for (int tries = 0; tries < 2; tries++) {
        int32_t n =
            llama_tokenize(model->vocab, text, len, out->tokens, out->n_tokens, false, true);
        if (n >= 0) {
            out->n = n;
            return WL_OK;
        }
        enum wl_status status =
            n == INT32_MIN ? WL_LIMIT
                           : grow((void **)&out->tokens, &out->n_tokens, -n, sizeof(int32_t), err);
        if (status != WL_OK) {
            return status == WL_LIMIT ? wl_err_set(err, WL_LIMIT, "a text is too long") : status;
        }
    }
    return wl_err_set(err, WL_FAILED, "'%s': llama.cpp could not split a text of %" PRId32 " bytes",
                      model->path, len);
}

enum wl_status trim_need_template(const struct text_model *model, bool *needed,
                                  struct wl_err *err) {
    const char *template = llama_model_chat_template(model->model, NULL);
    struct scratch s = {0};
    size_t len = template ? strlen(template) : 0;
    if (len == 0 || len > INT32_MAX) {
        return WL_OK;
    }
    enum wl_status status = to_tokens(model, template, (int32_t)len, &s, err);
    for (int32_t i = 0; i < s.n && status == WL_OK; i++) {
        if (s.tokens[i] >= 0 && (uint32_t)s.tokens[i] < model->n_vocab) {
            needed[s.tokens[i]] = true;
        }
    }
    scratch_release(&s);
    return status;
}

// ---- tokens ----

static enum wl_status check_tokens(const struct trim_check *c, struct wl_err *err) {
    for (uint32_t i = 0; i < c->before->n_vocab; i++) {
        int32_t old = (int32_t)i, new_id = c->new_ids[i];
        if (new_id < 0) {
            continue;
        }
        if ((uint32_t)new_id >= c->after->n_vocab ||
            strcmp(llama_vocab_get_text(c->before->vocab, old),
                   llama_vocab_get_text(c->after->vocab, new_id)) != 0 ||
            llama_vocab_get_attr(c->before->vocab, old) !=
                llama_vocab_get_attr(c->after->vocab, new_id) ||
            llama_vocab_is_eog(c->before->vocab, old) !=
                llama_vocab_is_eog(c->after->vocab, new_id)) {
            return wl_err_set(err, WL_INPUT,
                              "token %" PRId32 " '%.40s' is token %" PRId32
                              " of the trimmed vocabulary, but not the same there",
                              old, llama_vocab_get_text(c->before->vocab, old), new_id);
        }
    }
    return WL_OK;
}

static enum wl_status check_special(const struct trim_check *c, struct wl_err *err) {
    static const struct {
        const char *name;
        llama_token (*get)(const struct llama_vocab *vocab);
    } KINDS[] = {{"bos", llama_vocab_bos}, {"eos", llama_vocab_eos}, {"eot", llama_vocab_eot},
                 {"sep", llama_vocab_sep}, {"nl", llama_vocab_nl},   {"pad", llama_vocab_pad}};
    for (size_t i = 0; i < sizeof KINDS / sizeof KINDS[0]; i++) {
        llama_token old = KINDS[i].get(c->before->vocab), new_id = KINDS[i].get(c->after->vocab);
        bool is_one = old >= 0 && (uint32_t)old < c->before->n_vocab;
        if (new_id != (is_one ? c->new_ids[old] : old)) {
            return wl_err_set(err, WL_INPUT,
                              "the token '%s' was number %" PRId32 " and is number %" PRId32
                              " of the trimmed vocabulary, which is another one",
                              KINDS[i].name, old, new_id);
        }
    }
    return WL_OK;
}

// ---- texts ----

struct round {
    struct scratch given, old, old_again, new_tokens, new_again;
    uint64_t n_old, n_new, n_there; // tokens of held-out text
};

static void round_release(struct round *r) {
    scratch_release(&r->given);
    scratch_release(&r->old);
    scratch_release(&r->old_again);
    scratch_release(&r->new_tokens);
    scratch_release(&r->new_again);
}

static bool is_same_text(const struct scratch *a, const struct scratch *b) {
    return a->len == b->len &&
           (a->len == 0 || (a->text && b->text && memcmp(a->text, b->text, (size_t)a->len) == 0));
}

// How many of the old tokens are there; *is_same: and all are, one after the other.
static uint64_t compare_tokens(const struct trim_check *c, const struct round *r, bool *is_same) {
    uint64_t n_there = 0;
    *is_same = r->old.n == r->new_tokens.n;
    for (int32_t i = 0; i < r->old.n && r->old.tokens; i++) {
        int32_t new_id = c->new_ids[r->old.tokens[i]];
        n_there += new_id >= 0;
        *is_same = *is_same && r->new_tokens.tokens && new_id == r->new_tokens.tokens[i];
    }
    return n_there;
}

// A part of a sequence without images.
static enum wl_status check_part(const struct trim_check *c, struct round *r, const int32_t *tokens,
                                 int32_t n, bool is_held_out, struct wl_err *err) {
    bool is_same;
    enum wl_status status = to_text(c->before, tokens, n, &r->given, err);
    if (status != WL_OK || !r->given.text || r->given.len == 0) {
        return status; // control tokens that have no text
    }
    status = to_tokens(c->before, r->given.text, r->given.len, &r->old, err);
    status = status ? status : to_text(c->before, r->old.tokens, r->old.n, &r->old_again, err);
    status =
        status ? status : to_tokens(c->after, r->given.text, r->given.len, &r->new_tokens, err);
    status = status ? status
                    : to_text(c->after, r->new_tokens.tokens, r->new_tokens.n, &r->new_again, err);
    if (status != WL_OK) {
        return status;
    }
    uint64_t n_there = compare_tokens(c, r, &is_same);
    if (!is_same_text(&r->old_again, &r->new_again) ||
        (n_there == (uint64_t)r->old.n && !is_same)) {
        return wl_err_set(
            err, WL_INPUT,
            "the trimmed vocabulary does not %s this text: '%.*s%s'; leave --vocabulary out",
            is_same_text(&r->old_again, &r->new_again) ? "split as before" : "give back",
            r->given.len < 100 ? (int)r->given.len : 100, r->given.text,
            r->given.len < 100 ? "" : "...");
    }
    if (is_held_out) {
        r->n_old += (uint64_t)r->old.n;
        r->n_new += (uint64_t)r->new_tokens.n;
        r->n_there += n_there;
    }
    return WL_OK;
}

static enum wl_status check_sequence(const struct trim_check *c, struct round *r,
                                     const int32_t *tokens, uint32_t length, bool is_held_out,
                                     struct wl_err *err) {
    enum wl_status status = WL_OK;
    uint32_t begin = 0;
    for (uint32_t i = 0; i <= length && status == WL_OK; i++) {
        if (i == length || tokens[i] == COMPRESS_IMAGE_TOKEN) {
            if (i > begin) {
                status = check_part(c, r, tokens + begin, (int32_t)(i - begin), is_held_out, err);
            }
            begin = i + 1;
        }
    }
    return status;
}

static enum wl_status check_texts(const struct trim_check *c, struct round *r, struct wl_err *err) {
    const struct compress_text *text = c->text;
    size_t first_held_out = text->n_sequences - c->n_held_out;
    enum wl_status status = WL_OK;
    size_t at = 0;
    for (size_t s = 0; s < text->n_sequences && status == WL_OK; s++) {
        if (c->go_on && !c->go_on(c->context, (double)at / (double)text->n_tokens)) {
            return wl_err_set(err, WL_INTERRUPTED, "interrupted");
        }
        bool is_held_out = c->n_held_out == 0 || s >= first_held_out;
        status = check_sequence(c, r, text->tokens + at, text->lengths[s], is_held_out, err);
        at += text->lengths[s];
    }
    return status;
}

enum wl_status trim_check_run(struct trim_check *check, struct wl_err *err) {
    struct round round = {0};
    check->growth = check->coverage = NAN;
    enum wl_status status = check_tokens(check, err);
    status = status ? status : check_special(check, err);
    status = status ? status : check_texts(check, &round, err);
    if (status == WL_OK && round.n_old > 0) {
        check->growth = (double)round.n_new / (double)round.n_old - 1;
        check->coverage = (double)round.n_there / (double)round.n_old;
    }
    round_release(&round);
    return status;
}
