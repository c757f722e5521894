#include "compressor/verify.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "compressor/text_model.h"
#include "compressor/verify_greedy.h"
#include "compressor/verify_record.h"
#include "compressor/verify_tally.h"
#include "os/file.h"

enum side { ORIGINAL, CHANGED };

struct verify {
    const struct compress_text *text;
    const struct verify_options *options;
    struct text_watch watch;
    struct text_model model; // one after the other
    struct verify_shape shape;
    struct verify_record record;
    struct verify_tally tally;
    struct verify_greedy greedy;
    FILE *scratch;
    bool *is_left_out;           // [n_sequences]
    uint32_t n_embd;             // of the original; the width of image tokens
    size_t n_judged, n_seen;     // tokens of one side; tokens of both sides so far
    size_t n_sequences, longest; // that are judged
    size_t n_gone;               // sequences with a token that is gone
};

// ---- what is judged

// The first token that is judged: there must be one before it.
static uint32_t first_judged(const struct verify *v) {
    return v->options->skip > 0 ? v->options->skip : 1;
}

static bool is_image(int32_t token) {
    return token == COMPRESS_IMAGE_TOKEN;
}

static enum wl_status check_text(const struct compress_text *text, struct wl_err *err) {
    size_t n = 0, n_image = 0;
    for (size_t s = 0; s < text->n_sequences; s++) {
        n += text->lengths[s];
    }
    if (n != text->n_tokens) {
        return wl_err_set(err, WL_INPUT, "%zu sequences have %zu tokens, expected %zu",
                          text->n_sequences, n, text->n_tokens);
    }
    for (size_t i = 0; i < n && text->embeddings && text->positions; i++) {
        n_image += is_image(text->tokens[i]);
    }
    return n_image == text->n_image_tokens
               ? WL_OK
               : wl_err_set(err, WL_INPUT,
                            "%zu tokens are parts of images, expected %zu with their embeddings "
                            "and positions",
                            n_image, text->n_image_tokens);
}

static enum wl_status check_tokens(const struct verify *v, struct wl_err *err) {
    for (size_t i = 0; i < v->text->n_tokens; i++) {
        int32_t token = v->text->tokens[i];
        bool is_there = token >= 0 && (uint32_t)token < v->shape.n_vocab;
        if (!is_there && !(is_image(token) && v->text->n_image_tokens > 0)) {
            return wl_err_set(err, WL_INPUT,
                              "token %zu of the text is %" PRId32 ", but '%s' has %" PRIu32
                              " tokens",
                              i, token, v->model.path, v->shape.n_vocab);
        }
    }
    return WL_OK;
}

static bool has_gone_token(const struct verify *v, const int32_t *tokens, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        if (!is_image(tokens[i]) && verify_shape_new_id(&v->shape, tokens[i]) < 0) {
            return true;
        }
    }
    return false;
}

static uint32_t count_judged(const struct verify *v, const int32_t *tokens, uint32_t n) {
    uint32_t n_judged = 0;
    for (uint32_t i = first_judged(v); i < n; i++) {
        n_judged += !is_image(tokens[i]);
    }
    return n_judged;
}

static enum wl_status choose_sequences(struct verify *v, struct wl_err *err) {
    const int32_t *tokens = v->text->tokens;
    for (size_t s = 0; s < v->text->n_sequences; s++) {
        uint32_t length = v->text->lengths[s];
        uint32_t n_judged = count_judged(v, tokens, length);
        bool is_gone = has_gone_token(v, tokens, length);
        v->is_left_out[s] = n_judged == 0 || is_gone;
        v->n_gone += is_gone;
        if (!v->is_left_out[s]) {
            v->n_judged += n_judged;
            v->n_sequences++;
            v->longest = length > v->longest ? length : v->longest;
        }
        tokens += length;
    }
    return v->n_judged > 0
               ? WL_OK
               : wl_err_set(err, WL_INPUT,
                            "there is nothing to judge: of %zu sequences %zu have a token that is "
                            "gone, the others at most %" PRIu32 " tokens; give more text",
                            v->text->n_sequences, v->n_gone, first_judged(v));
}

// ---- one token

static enum wl_status no_numbers(const struct verify *v, struct wl_err *err) {
    return wl_err_set(err, WL_INPUT,
                      "'%s' computes probabilities that are not numbers; the file is broken",
                      v->model.path);
}

static enum wl_status keep(struct verify *v, const float *logits, int32_t token,
                           struct wl_err *err) {
    if (!verify_record_fill(&v->record, &v->shape, logits, token)) {
        return no_numbers(v, err);
    }
    return verify_record_write(&v->record, &v->shape, v->scratch)
               ? WL_OK
               : wl_err_errno(err, errno, "cannot write the scratch file in '%s'",
                              v->options->scratch_dir);
}

static enum wl_status judge(struct verify *v, const float *logits, int32_t token,
                            struct wl_err *err) {
    struct verify_difference difference;
    if (!verify_record_read(&v->record, &v->shape, v->scratch)) {
        return wl_err_set(err, WL_IO, "cannot read the scratch file in '%s' back",
                          v->options->scratch_dir);
    }
    if (!verify_record_compare(&v->record, &v->shape, logits, token, &difference)) {
        return no_numbers(v, err);
    }
    verify_tally_add(&v->tally, &v->record, &difference);
    return WL_OK;
}

// ---- one sequence

struct sequence {
    const int32_t *tokens;
    uint32_t length;
    size_t first;      // of its tokens in the text
    const float *rows; // of its next image token
};

// Of tokens begin .. end, all of text or all parts of images, which are run together.
struct stretch {
    uint32_t begin, end;
};

static bool is_judged(const struct verify *v, const struct sequence *sequence, uint32_t i) {
    return i + 1 >= first_judged(v) && i + 1 < sequence->length &&
           !is_image(sequence->tokens[i + 1]);
}

// Each token that ran foretells the next one.
static enum wl_status see_stretch(struct verify *v, enum side side, const struct sequence *sequence,
                                  struct stretch at, struct wl_err *err) {
    for (uint32_t i = at.begin; i < at.end; i++) {
        const float *logits;
        if (!is_judged(v, sequence, i)) {
            continue;
        }
        int32_t next = sequence->tokens[i + 1];
        enum wl_status status = text_model_logits(&v->model, i - at.begin, &logits, err);
        if (status == WL_OK) {
            status = side == ORIGINAL ? keep(v, logits, next, err) : judge(v, logits, next, err);
        }
        if (status != WL_OK) {
            return status;
        }
        v->n_seen++;
    }
    v->watch.share_done = (double)v->n_seen / (2.0 * (double)v->n_judged);
    return WL_OK;
}

static enum wl_status run_text(struct verify *v, enum side side, const struct sequence *sequence,
                               struct stretch at, struct wl_err *err) {
    const int32_t *positions = v->text->positions;
    for (uint32_t i = at.begin; i < at.end; i++) {
        int32_t token = sequence->tokens[i];
        token = side == CHANGED ? verify_shape_new_id(&v->shape, token) : token;
        uint32_t position = positions ? (uint32_t)positions[sequence->first + i] : i;
        text_model_add(&v->model, token, position, 0, is_judged(v, sequence, i));
    }
    return text_model_run(&v->model, err);
}

static enum wl_status run_image(struct verify *v, struct sequence *sequence, struct stretch at,
                                struct wl_err *err) {
    struct text_rows rows = {.rows = sequence->rows,
                             .positions = v->text->positions + sequence->first + at.begin,
                             .stride = v->text->n_tokens,
                             .n = at.end - at.begin,
                             .has_logits = is_judged(v, sequence, at.end - 1)};
    sequence->rows += (size_t)rows.n * v->n_embd;
    return text_model_run_rows(&v->model, &rows, err);
}

static enum wl_status run_sequence(struct verify *v, enum side side, struct sequence *sequence,
                                   struct wl_err *err) {
    const int32_t *tokens = sequence->tokens;
    uint32_t n = sequence->length - 1; // nothing follows the last one
    text_model_forget(&v->model, 0);
    for (struct stretch at = {0}; at.begin < n; at.begin = at.end) {
        bool is_of_image = is_image(tokens[at.begin]);
        at.end = at.begin;
        while (at.end < n && at.end - at.begin < v->model.max_batch &&
               is_image(tokens[at.end]) == is_of_image) {
            at.end++;
        }
        enum wl_status status =
            is_of_image ? run_image(v, sequence, at, err) : run_text(v, side, sequence, at, err);
        if (status == WL_OK) {
            status = see_stretch(v, side, sequence, at, err);
        }
        if (status != WL_OK) {
            return status;
        }
    }
    return WL_OK;
}

static size_t count_images(const int32_t *tokens, uint32_t n) {
    size_t n_image = 0;
    for (uint32_t i = 0; i < n; i++) {
        n_image += is_image(tokens[i]);
    }
    return n_image;
}

static enum wl_status run_sequences(struct verify *v, enum side side, struct wl_err *err) {
    const struct compress_text *text = v->text;
    const float *changed = v->options->changed_embeddings;
    const float *rows = side == CHANGED && changed ? changed : text->embeddings;
    size_t first = 0;
    enum wl_status status =
        text_model_start(&v->model, 1, (uint32_t)v->longest, v->options->threads, err);
    for (size_t s = 0; s < text->n_sequences && status == WL_OK; s++) {
        struct sequence sequence = {text->tokens + first, text->lengths[s], first, rows};
        size_t n_image = count_images(sequence.tokens, sequence.length);
        if (!v->is_left_out[s]) {
            if (side == CHANGED) {
                verify_tally_begin(&v->tally, n_image > 0);
            }
            status = run_sequence(v, side, &sequence, err);
        }
        rows = rows ? rows + n_image * v->n_embd : NULL;
        first += sequence.length;
    }
    return status;
}

// ---- one model

static enum wl_status open_scratch(struct verify *v, struct wl_err *err) {
    char path[OS_PATH_BYTES];
    enum wl_status status = os_path_join(path, v->options->scratch_dir, "wattlaw-XXXXXX", err);
    if (status != WL_OK) {
        return status;
    }
    int fd = mkostemp(path, O_CLOEXEC);
    if (fd >= 0) {
        unlink(path); // the file system forgets it when we end, however we end
        v->scratch = fdopen(fd, "w+");
    }
    if (v->scratch) {
        return WL_OK;
    }
    int error = errno;
    if (fd >= 0) {
        close(fd);
    }
    return wl_err_errno(err, error, "cannot make a scratch file in '%s'", v->options->scratch_dir);
}

static enum wl_status prepare(struct verify *v, struct wl_err *err) {
    v->n_embd = v->model.n_embd;
    enum wl_status status =
        verify_shape_init(&v->shape, v->model.n_vocab, v->options->new_ids, err);
    if (status == WL_OK) {
        status = check_tokens(v, err);
    }
    if (status == WL_OK) {
        status = choose_sequences(v, err);
        verify_greedy_choose(&v->greedy, v->text, v->is_left_out, v->options->n_answers);
    }
    if (status == WL_OK) {
        status = verify_record_init(&v->record, &v->shape, err);
    }
    if (status == WL_OK) {
        status = verify_tally_init(&v->tally, v->n_sequences, v->n_judged, err);
    }
    return status == WL_OK ? open_scratch(v, err) : status;
}

static enum wl_status run_original(struct verify *v, const char *path, struct wl_err *err) {
    enum wl_status status = text_model_load(&v->model, path, TEXT_MODEL_WHOLE, &v->watch, err);
    if (status == WL_OK) {
        status = prepare(v, err);
    }
    if (status == WL_OK) {
        status = run_sequences(v, ORIGINAL, err);
    }
    if (status == WL_OK) {
        status = verify_greedy_write(&v->greedy, &v->model, err);
    }
    if (status == WL_OK && fflush(v->scratch) != 0) {
        status = wl_err_errno(err, errno, "cannot write the scratch file in '%s'",
                              v->options->scratch_dir);
    }
    text_model_unload(&v->model);
    return status;
}

static enum wl_status check_vocabulary(struct verify *v, struct wl_err *err) {
    bool fits = v->options->new_ids ? v->model.n_vocab >= v->shape.n_new
                                    : v->model.n_vocab == v->shape.n_vocab;
    if (!fits) {
        return wl_err_set(err, WL_INPUT,
                          "'%s' has %" PRIu32 " tokens, expected %s%" PRIu32
                          "; it does not come from the original",
                          v->model.path, v->model.n_vocab, v->options->new_ids ? "at least " : "",
                          v->shape.n_new);
    }
    v->shape.n_new = v->model.n_vocab;
    return WL_OK;
}

static enum wl_status check_width(const struct verify *v, struct wl_err *err) {
    bool fits = v->text->n_image_tokens == 0 || v->model.n_embd == v->n_embd;
    return fits ? WL_OK
                : wl_err_set(err, WL_INPUT,
                             "'%s' takes %" PRIu32 " values for a part of an image, expected "
                             "%" PRIu32,
                             v->model.path, v->model.n_embd, v->n_embd);
}

static enum wl_status run_changed(struct verify *v, const char *path, struct wl_err *err) {
    rewind(v->scratch);
    enum wl_status status = text_model_load(&v->model, path, TEXT_MODEL_WHOLE, &v->watch, err);
    if (status == WL_OK) {
        status = check_vocabulary(v, err);
    }
    if (status == WL_OK) {
        status = check_width(v, err);
    }
    if (status == WL_OK) {
        status = run_sequences(v, CHANGED, err);
    }
    if (status == WL_OK) {
        status = verify_greedy_follow(&v->greedy, &v->model, &v->shape, err);
    }
    text_model_unload(&v->model);
    return status;
}

static void release(struct verify *v) {
    verify_record_release(&v->record);
    verify_tally_release(&v->tally);
    free(v->is_left_out);
    if (v->scratch) {
        fclose(v->scratch);
    }
}

enum wl_status compress_verify(const char *original_path, const char *changed_path,
                               const struct compress_text *text,
                               const struct verify_options *options, struct verify_result *out,
                               bool *is_done, struct wl_err *err) {
    struct verify v = {
        .text = text,
        .options = options,
        .watch = {.go_on = options->go_on, .context = options->context},
        .is_left_out = calloc(text->n_sequences + 1, sizeof *v.is_left_out),
    };
    *out = (struct verify_result){0};
    *is_done = false;
    enum wl_status status =
        v.is_left_out
            ? check_text(text, err)
            : wl_err_set(err, WL_MEMORY, "no memory for %zu sequences", text->n_sequences);
    if (status == WL_OK) {
        status = run_original(&v, original_path, err);
    }
    if (status == WL_OK) {
        status = run_changed(&v, changed_path, err);
    }
    if (status == WL_OK) {
        verify_tally_result(&v.tally, out);
        verify_greedy_result(&v.greedy, out);
        out->n_left_out = v.n_gone;
        *is_done = true;
    }
    release(&v);
    return v.watch.is_stopped ? WL_OK : status;
}
