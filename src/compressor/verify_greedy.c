#include "compressor/verify_greedy.h"

#include <math.h>

enum { MIN_PROMPT = 4, MIN_ANSWER = 8, MAX_PROMPT = 256 };

// ---- which ones ----

static bool is_text(const int32_t *tokens, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        if (tokens[i] == COMPRESS_IMAGE_TOKEN) {
            return false;
        }
    }
    return true;
}

static bool is_suitable(const struct compress_text *text, const bool *is_left_out, size_t s,
                        const int32_t *tokens) {
    uint32_t length = text->lengths[s];
    return !is_left_out[s] && length >= MIN_PROMPT + MIN_ANSWER && is_text(tokens, length);
}

static size_t count_suitable(const struct compress_text *text, const bool *is_left_out) {
    const int32_t *tokens = text->tokens;
    size_t n = 0;
    for (size_t s = 0; s < text->n_sequences; s++) {
        n += is_suitable(text, is_left_out, s, tokens);
        tokens += text->lengths[s];
    }
    return n;
}

// Half of it, but so that an answer has room in as many tokens as the sequence has.
static uint32_t prompt_of(uint32_t length) {
    uint32_t n = length / 2 < MAX_PROMPT ? length / 2 : MAX_PROMPT;
    return length - n < MIN_ANSWER ? length - MIN_ANSWER : n;
}

void verify_greedy_choose(struct verify_greedy *greedy, const struct compress_text *text,
                          const bool *is_left_out, size_t n_wanted) {
    size_t n_suitable = count_suitable(text, is_left_out), at = 0;
    size_t n = n_wanted < VERIFY_MAX_ANSWERS ? n_wanted : VERIFY_MAX_ANSWERS;
    n = n < n_suitable ? n : n_suitable;
    const int32_t *tokens = text->tokens;
    greedy->n = 0;
    for (size_t s = 0; s < text->n_sequences && greedy->n < n; s++) {
        if (is_suitable(text, is_left_out, s, tokens) &&
            at++ * n >= greedy->n * n_suitable) { // every n_suitable / n-th
            greedy->answers[greedy->n++] =
                (struct verify_answer){.prompt = tokens,
                                       .n_prompt = prompt_of(text->lengths[s]),
                                       .n_written = text->lengths[s] - prompt_of(text->lengths[s])};
        }
        tokens += text->lengths[s];
    }
}

// ---- the original writes ----

static enum wl_status likeliest(const struct text_model *model, uint32_t i, int32_t *out,
                                struct wl_err *err) {
    const float *logits;
    enum wl_status status = text_model_logits(model, i, &logits, err);
    *out = 0;
    for (uint32_t id = 1; status == WL_OK && id < model->n_vocab; id++) {
        *out = logits[id] > logits[*out] ? (int32_t)id : *out;
    }
    return status;
}

// Runs tokens begin .. end of a prompt in batches; the logits of its last one are there then, at
// *last of the batch.
static enum wl_status read_prompt(struct text_model *model, const struct verify_answer *answer,
                                  uint32_t *last, struct wl_err *err) {
    enum wl_status status = WL_OK;
    for (uint32_t at = 0; at < answer->n_prompt && status == WL_OK;) {
        for (*last = 0; *last < model->max_batch && at < answer->n_prompt; ++*last, at++) {
            text_model_add(model, answer->prompt[at], at, 0, at + 1 == answer->n_prompt);
        }
        --*last;
        status = text_model_run(model, err);
    }
    return status;
}

static enum wl_status write_answer(struct text_model *model, struct verify_answer *answer,
                                   struct wl_err *err) {
    uint32_t last = 0, room = answer->n_written;
    room = room < VERIFY_ANSWER_TOKENS ? room : VERIFY_ANSWER_TOKENS;
    text_model_forget(model, 0);
    enum wl_status status = read_prompt(model, answer, &last, err);
    for (answer->n_written = 0; status == WL_OK && answer->n_written < room;) {
        int32_t token;
        status = likeliest(model, last, &token, err);
        answer->written[answer->n_written++] = token;
        if (status != WL_OK || answer->n_written == room ||
            llama_vocab_is_eog(model->vocab, token)) {
            break;
        }
        text_model_add(model, token, answer->n_prompt + answer->n_written - 1, 0, true);
        last = 0;
        status = text_model_run(model, err);
    }
    return status;
}

enum wl_status verify_greedy_write(struct verify_greedy *greedy, struct text_model *original,
                                   struct wl_err *err) {
    enum wl_status status = WL_OK;
    for (size_t i = 0; i < greedy->n && status == WL_OK; i++) {
        status = write_answer(original, &greedy->answers[i], err);
    }
    return status;
}

// ---- the changed model follows ----

static int32_t token_at(const struct verify_answer *answer, uint32_t i) {
    return i < answer->n_prompt ? answer->prompt[i] : answer->written[i - answer->n_prompt];
}

// Of the tokens that ran, `first` on: those that foretell what was written.
static enum wl_status compare(const struct text_model *model, struct verify_answer *answer,
                              const struct verify_shape *shape, uint32_t first, uint32_t n,
                              struct wl_err *err) {
    enum wl_status status = WL_OK;
    for (uint32_t i = 0; i < n && status == WL_OK; i++) {
        uint32_t next = first + i + 1;
        int32_t token;
        if (next < answer->n_prompt || answer->n_same < next - answer->n_prompt) {
            continue; // of the prompt, or behind one that differs
        }
        status = likeliest(model, i, &token, err);
        answer->n_same += token == verify_shape_new_id(shape, token_at(answer, next));
    }
    return status;
}

// The changed model can read up to the first token that is gone, and need not read the last one.
static uint32_t readable_tokens(const struct verify_answer *answer,
                                const struct verify_shape *shape) {
    uint32_t n = 0;
    while (n + 1 < answer->n_prompt + answer->n_written &&
           verify_shape_new_id(shape, token_at(answer, n)) >= 0) {
        n++;
    }
    return n;
}

static enum wl_status follow_answer(struct text_model *model, struct verify_answer *answer,
                                    const struct verify_shape *shape, struct wl_err *err) {
    uint32_t n_tokens = readable_tokens(answer, shape);
    enum wl_status status = WL_OK;
    text_model_forget(model, 0);
    for (uint32_t first = 0; first < n_tokens && status == WL_OK;) {
        uint32_t n = 0;
        for (; n < model->max_batch && first + n < n_tokens; n++) {
            uint32_t at = first + n;
            text_model_add(model, verify_shape_new_id(shape, token_at(answer, at)), at, 0,
                           at + 1 >= answer->n_prompt);
        }
        status = text_model_run(model, err);
        if (status == WL_OK) {
            status = compare(model, answer, shape, first, n, err);
        }
        first += n;
    }
    return status;
}

enum wl_status verify_greedy_follow(struct verify_greedy *greedy, struct text_model *changed,
                                    const struct verify_shape *shape, struct wl_err *err) {
    enum wl_status status = WL_OK;
    for (size_t i = 0; i < greedy->n && status == WL_OK; i++) {
        greedy->answers[i].n_same = 0;
        status = follow_answer(changed, &greedy->answers[i], shape, err);
    }
    return status;
}

// ---- the result ----

void verify_greedy_result(const struct verify_greedy *greedy, struct verify_result *out) {
    double n_exact = 0, n_same = 0, n_written = 0;
    for (size_t i = 0; i < greedy->n; i++) {
        const struct verify_answer *answer = &greedy->answers[i];
        n_exact += answer->n_same == answer->n_written;
        n_same += answer->n_same;
        n_written += answer->n_written;
    }
    out->n_answers = greedy->n;
    out->exact_share = greedy->n > 0 ? n_exact / (double)greedy->n : NAN;
    out->same_share = greedy->n > 0 ? n_same / n_written : NAN;
}
