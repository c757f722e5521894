#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "compressor/distill_parts.h"

// Tokens that go through a block together: enough for BLAS's full speed.
enum { SPAN_TOKENS = 512, MAX_SEQUENCE = 1 << 16 };

// ---- the text ----

static enum wl_status check_sizes(const struct compress_text *text,
                                  const struct distill_options *options, struct wl_err *err) {
    size_t n = 0, n_images = 0;
    for (size_t s = 0; s < text->n_sequences; s++) {
        if (text->lengths[s] < 2 || text->lengths[s] > MAX_SEQUENCE) {
            return wl_err_set(err, WL_INPUT,
                              "sequence %zu has %" PRIu32 " tokens, expected 2 to %d", s,
                              text->lengths[s], MAX_SEQUENCE);
        }
        n += text->lengths[s];
    }
    for (size_t i = 0; n == text->n_tokens && i < n; i++) {
        n_images += text->tokens[i] == COMPRESS_IMAGE_TOKEN;
    }
    if (n != text->n_tokens || n_images != text->n_image_tokens || n > UINT32_MAX) {
        return wl_err_set(err, WL_INPUT,
                          "the sequences have %zu tokens, %zu of them of images; expected %zu and "
                          "%zu",
                          n, n_images, text->n_tokens, text->n_image_tokens);
    }
    if (options->n_held_out < 1 || options->n_held_out >= text->n_sequences) {
        return wl_err_set(err, WL_INPUT,
                          "%zu of %zu sequences are held out, expected at least one, and not all",
                          options->n_held_out, text->n_sequences);
    }
    return WL_OK;
}

static enum wl_status number_tokens(struct distill_text *t, struct wl_err *err) {
    const struct compress_text *text = t->text;
    for (size_t i = 0; i < text->n_tokens; i++) {
        int32_t token = text->tokens[i];
        if (token != COMPRESS_IMAGE_TOKEN && (token < 0 || (uint32_t)token >= t->shape.n_vocab)) {
            return wl_err_set(err, WL_INPUT,
                              "token %zu of the text is %" PRId32 ", but the original has %" PRIu32
                              " tokens",
                              i, token, t->shape.n_vocab);
        }
        t->ids[i] = token < 0 ? token : verify_shape_new_id(&t->shape, token);
    }
    return WL_OK;
}

// Text is at the same place in all of M-RoPE's sections.
static void set_positions(struct distill_text *t) {
    const struct compress_text *text = t->text;
    size_t n = text->n_tokens;
    if (text->positions) {
        memcpy(t->positions, text->positions, 4 * n * sizeof *t->positions);
        return;
    }
    for (size_t s = 0, at = 0; s < text->n_sequences; s++) {
        for (uint32_t i = 0; i < text->lengths[s]; i++, at++) {
            int32_t position = (int32_t)i;
            t->positions[at] = t->positions[n + at] = t->positions[2 * n + at] = position;
        }
    }
}

bool distill_text_is_judged(const struct distill_text *t, const struct distill_sequence *sequence,
                            size_t i) {
    return i + 1 < sequence->first + sequence->length && t->text->tokens[i + 1] >= 0;
}

// False when it has a token that is gone.
static bool count_sequence(const struct distill_text *t, struct distill_sequence *sequence,
                           size_t *n_images) {
    bool is_whole = true;
    for (size_t i = sequence->first; i < sequence->first + sequence->length; i++) {
        bool is_image = t->text->tokens[i] < 0;
        *n_images += is_image;
        is_whole = is_whole && (is_image || t->ids[i] >= 0);
        sequence->n_records += distill_text_is_judged(t, sequence, i);
    }
    return is_whole;
}

static enum wl_status choose_sequences(struct distill_text *t, size_t n_held_out,
                                       struct wl_err *err) {
    const struct compress_text *text = t->text;
    size_t first = 0, n_images = 0, n_judged[2] = {0};
    for (size_t s = 0; s < text->n_sequences; s++) {
        struct distill_sequence sequence = {.first = first,
                                            .first_image = n_images,
                                            .first_record = t->n_records,
                                            .length = text->lengths[s]};
        bool is_held_out = s + n_held_out >= text->n_sequences;
        first += sequence.length;
        if (count_sequence(t, &sequence, &n_images) && sequence.n_records > 0) {
            t->sequences[t->n_sequences++] = sequence;
            t->n_learnt += !is_held_out;
            t->n_records += sequence.n_records;
            t->longest = sequence.length > t->longest ? sequence.length : t->longest;
            n_judged[is_held_out] += sequence.n_records;
        }
    }
    return n_judged[0] > 0 && n_judged[1] > 0
               ? WL_OK
               : wl_err_set(err, WL_INPUT,
                            "there is nothing to learn from or to judge: all of those sequences "
                            "have a token that is gone; give more text");
}

enum wl_status distill_text_init(struct distill_text *t, const struct compress_text *text,
                                 const struct distill_options *options, uint32_t n_vocab,
                                 struct wl_err *err) {
    *t = (struct distill_text){.text = text};
    enum wl_status status = check_sizes(text, options, err);
    if (status == WL_OK) {
        status = verify_shape_init(&t->shape, n_vocab, options->new_ids, err);
    }
    if (status != WL_OK) {
        return status;
    }
    t->ids = calloc(text->n_tokens, sizeof *t->ids);
    t->positions = calloc(text->n_tokens, 4 * sizeof *t->positions);
    t->sequences = calloc(text->n_sequences, sizeof *t->sequences);
    if (!t->ids || !t->positions || !t->sequences) {
        return wl_err_set(err, WL_MEMORY, "no memory for %zu tokens", text->n_tokens);
    }
    status = number_tokens(t, err);
    if (status == WL_OK) {
        set_positions(t);
        status = choose_sequences(t, options->n_held_out, err);
    }
    return status;
}

void distill_text_release(struct distill_text *t) {
    free(t->ids);
    free(t->positions);
    free(t->sequences);
    *t = (struct distill_text){0};
}

// ---- batches ----

static void count_batch(struct distill_batch *batch, const struct distill_text *t,
                        const uint32_t *numbers, size_t n, size_t n_tokens) {
    size_t in_span = 0;
    for (size_t i = 0; i < n; i++) {
        const struct distill_sequence *sequence = &t->sequences[numbers[i]];
        if (i > 0 && batch->n_tokens + sequence->length > n_tokens) {
            break;
        }
        if (i == 0 || in_span + sequence->length > SPAN_TOKENS) {
            batch->n_spans++;
            in_span = 0;
        }
        in_span += sequence->length;
        batch->n_tokens += sequence->length;
        batch->n_records += sequence->n_records;
        batch->n_sequences++;
    }
}

// Span `s` begins with the batch's sequence `i`; returns the one after it.
static size_t fill_span(struct distill_batch *batch, const struct distill_text *t, size_t s,
                        size_t i, bool has_sections) {
    struct distill_span *span = &batch->spans[s];
    size_t n = 0, begin = i, first = s ? span[-1].first + span[-1].batch.batch.n_tokens : 0;
    for (; i < batch->n_sequences; i++) {
        uint32_t length = t->sequences[batch->sequences[i]].length;
        if (n > 0 && n + length > SPAN_TOKENS) {
            break;
        }
        batch->lengths[i] = length;
        n += length;
    }
    int32_t *positions = batch->positions + 4 * first;
    for (size_t section = 0; section < (has_sections ? 4 : 1); section++) {
        int32_t *to = positions + section * n;
        for (size_t k = begin; k < i; k++) {
            const struct distill_sequence *sequence = &t->sequences[batch->sequences[k]];
            const int32_t *from = t->positions + section * t->text->n_tokens + sequence->first;
            memcpy(to, from, sequence->length * sizeof *to);
            to += sequence->length;
        }
    }
    span->first = first;
    span->batch.batch = (struct block_batch){.n_tokens = n,
                                             .lengths = batch->lengths + begin,
                                             .n_sequences = i - begin,
                                             .positions = positions};
    return i;
}

static void find_judged(struct distill_batch *batch, const struct distill_text *t) {
    size_t n = 0, at = 0;
    for (size_t i = 0; i < batch->n_sequences; i++) {
        const struct distill_sequence *sequence = &t->sequences[batch->sequences[i]];
        for (size_t k = 0; k < sequence->length; k++, at++) {
            if (distill_text_is_judged(t, sequence, sequence->first + k)) {
                batch->judged[n++] = (uint32_t)at;
            }
        }
    }
}

enum wl_status distill_batch_init(struct distill_batch *batch, const struct distill_text *t,
                                  const uint32_t *numbers, size_t n, size_t n_tokens,
                                  bool has_sections, size_t *n_taken, struct wl_err *err) {
    *batch = (struct distill_batch){0};
    count_batch(batch, t, numbers, n, n_tokens);
    *n_taken = batch->n_sequences;
    batch->sequences = calloc(batch->n_sequences, sizeof *batch->sequences);
    batch->lengths = calloc(batch->n_sequences, sizeof *batch->lengths);
    batch->spans = calloc(batch->n_spans, sizeof *batch->spans);
    batch->positions = calloc(batch->n_tokens, 4 * sizeof *batch->positions);
    batch->judged = calloc(batch->n_records, sizeof *batch->judged);
    if (!batch->sequences || !batch->lengths || !batch->spans || !batch->positions ||
        !batch->judged) {
        distill_batch_release(batch);
        return wl_err_set(err, WL_MEMORY, "no memory for a batch of %zu tokens", n_tokens);
    }
    memcpy(batch->sequences, numbers, batch->n_sequences * sizeof *numbers);
    for (size_t s = 0, i = 0; s < batch->n_spans; s++) {
        i = fill_span(batch, t, s, i, has_sections);
    }
    find_judged(batch, t);
    return WL_OK;
}

void distill_batch_release(struct distill_batch *batch) {
    for (size_t s = 0; batch->spans && s < batch->n_spans; s++) {
        back_batch_release(&batch->spans[s].batch);
    }
    free(batch->sequences);
    free(batch->lengths);
    free(batch->spans);
    free(batch->positions);
    free(batch->judged);
    *batch = (struct distill_batch){0};
}

// Runs of text go through the embedding together.
static enum wl_status embed_sequence(const struct distill_text *t,
                                     const struct distill_sequence *sequence,
                                     const struct compress_source *source, float *x,
                                     struct wl_err *err) {
    size_t n_embd = source->n_embd, n_images = sequence->first_image;
    const int32_t *ids = t->ids + sequence->first;
    enum wl_status status = WL_OK;
    for (size_t i = 0, end; i < sequence->length && status == WL_OK; i = end) {
        end = i + 1;
        if (ids[i] < 0) {
            memcpy(x + i * n_embd, t->text->embeddings + n_images++ * n_embd, n_embd * sizeof *x);
            continue;
        }
        while (end < sequence->length && ids[end] >= 0) {
            end++;
        }
        status = compress_source_embed(source, ids + i, end - i, x + i * n_embd, err);
    }
    return status;
}

enum wl_status distill_batch_embed(const struct distill_batch *batch, const struct distill_text *t,
                                   const struct compress_source *source, float *x,
                                   struct wl_err *err) {
    enum wl_status status = WL_OK;
    for (size_t i = 0; i < batch->n_sequences && status == WL_OK; i++) {
        const struct distill_sequence *sequence = &t->sequences[batch->sequences[i]];
        status = embed_sequence(t, sequence, source, x, err);
        x += (size_t)sequence->length * source->n_embd;
    }
    return status;
}
