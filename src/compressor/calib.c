#include "compressor/calib.h"

#include <inttypes.h>
#include <string.h>

#include "compressor/calib_chat.h"
#include "compressor/calib_part.h"
#include "compressor/calib_read.h"
#include "compressor/calib_units.h"
#include "compressor/calib_write.h"

// Text is tokenised in sections of so many bytes for each token of a sequence, about two sequences.
enum { SECTION_BYTES_PER_TOKEN = 8, MIN_BODY = 8 };

enum side { CALIBRATION, HELD_OUT, SIDES };

static const double USUAL_SHARES[CALIB_SOURCES] = {0.5, 0.2, 0.3};

struct maker {
    const struct calib_options *options;
    struct text_watch watch;
    struct text_model model;
    struct calib_chat chat;
    struct calib_documents documents;
    struct calib_units units[SIDES][2]; // of text and tasks
    struct calib_seen seen;
    double shares[CALIB_SOURCES];
    uint32_t min_length, max_length;
    uint32_t next_document;
    struct rng rng;
    struct calib *out;
};

// ---- options

void compress_calib_defaults(struct calib_options *options) {
    *options = (struct calib_options){
        .n_tokens = 40960, .held_out = 0.2, .min_length = 256, .max_length = 512, .seed = 1};
}

static enum wl_status check_sizes(const struct calib_options *o, struct wl_err *err) {
    if (o->n_tokens < CALIB_MIN_TOKENS || o->n_tokens > CALIB_MAX_TOKENS) {
        return wl_err_set(err, WL_USAGE, "calibration: expected %d to %d tokens, found %zu",
                          CALIB_MIN_TOKENS, CALIB_MAX_TOKENS, o->n_tokens);
    }
    if (!(o->held_out >= 0 && o->held_out <= 0.9)) {
        return wl_err_set(err, WL_USAGE, "calibration: expected to hold 0 to 0.9 out, found %g",
                          o->held_out);
    }
    if (o->min_length < CALIB_MIN_LENGTH || o->max_length > CALIB_MAX_LENGTH ||
        o->min_length > o->max_length) {
        return wl_err_set(err, WL_USAGE,
                          "calibration: expected sequences of %d to %d tokens, found %" PRIu32
                          " to %" PRIu32,
                          CALIB_MIN_LENGTH, CALIB_MAX_LENGTH, o->min_length, o->max_length);
    }
    return WL_OK;
}

static bool is_absent(const struct calib_options *o, int source) {
    return (source == CALIB_TEXT && !o->text_path) || (source == CALIB_TASKS && !o->task_path);
}

static enum wl_status check_shares(const struct calib_options *o, struct wl_err *err) {
    static const char *const NAMES[] = {"text", "tasks", "self"};
    for (int i = 0; i < CALIB_SOURCES; i++) {
        if (!(o->shares[i] >= 0 && o->shares[i] <= 1e6)) {
            return wl_err_set(err, WL_USAGE, "calibration: the share of %s is %g, expected 0 to 1",
                              NAMES[i], o->shares[i]);
        }
        if (o->shares[i] > 0 && is_absent(o, i)) {
            return wl_err_set(err, WL_USAGE,
                              "calibration: %s has a share of %g but no file was given", NAMES[i],
                              o->shares[i]);
        }
    }
    return WL_OK;
}

// What is absent is made up by the other text, then by the model.
static void choose_shares(struct maker *m) {
    const struct calib_options *o = m->options;
    double total = o->shares[0] + o->shares[1] + o->shares[2];
    memcpy(m->shares, total > 0 ? o->shares : USUAL_SHARES, sizeof m->shares);
    for (int source = CALIB_TEXT; source <= CALIB_TASKS; source++) {
        if (is_absent(o, source)) {
            int other = source == CALIB_TEXT ? CALIB_TASKS : CALIB_TEXT;
            m->shares[is_absent(o, other) ? CALIB_SELF : other] += m->shares[source];
            m->shares[source] = 0;
        }
    }
    total = m->shares[0] + m->shares[1] + m->shares[2];
    for (int i = 0; i < CALIB_SOURCES; i++) {
        m->shares[i] /= total;
    }
}

// ---- sequences of documents

struct frame { // what every sequence of a document gets
    const int32_t *before, *after;
    size_t n_before, n_after;
};

// Between min and max tokens of what is left, so that what then is left is as long, if it can be.
static size_t choose_length(struct rng *rng, size_t left, size_t min, size_t max) {
    if (left <= max) {
        return left;
    }
    size_t n = min + rng_below(rng, (uint32_t)(max - min + 1));
    if (left - n >= min) {
        return n;
    }
    return left - min >= min ? left - min : left / 2;
}

static enum wl_status add_sequence(struct maker *m, struct calib_part *part,
                                   struct calib_origin origin, const struct frame *frame,
                                   const int32_t *ids, size_t n, size_t end, struct wl_err *err) {
    struct calib_tokens sequence = {0};
    enum wl_status status = calib_tokens_add(&sequence, frame->before, frame->n_before, err);
    if (status == WL_OK) {
        status = calib_tokens_add(&sequence, ids, n, err);
    }
    if (status == WL_OK) {
        status = calib_tokens_add(&sequence, frame->after, frame->n_after, err);
    }
    if (status == WL_OK) {
        calib_part_add(part, origin, sequence.ids, sequence.n, end);
        m->watch.share_done = (double)(m->out->calibration.n_tokens + m->out->held_out.n_tokens) /
                              (double)m->options->n_tokens;
    }
    calib_tokens_release(&sequence);
    return status;
}

static enum wl_status cut(struct maker *m, struct calib_part *part, struct calib_origin origin,
                          const struct frame *frame, const int32_t *ids, size_t n, size_t end,
                          struct wl_err *err) {
    size_t around = frame->n_before + frame->n_after;
    if (around + MIN_BODY > m->max_length) {
        return wl_err_set(err, WL_USAGE,
                          "calibration: the chat template alone has %zu tokens, but a sequence at "
                          "most %" PRIu32 "; allow longer ones",
                          around, m->max_length);
    }
    size_t max = m->max_length - around;
    size_t min = m->min_length > around + MIN_BODY ? m->min_length - around : MIN_BODY;
    enum wl_status status = WL_OK;
    for (size_t at = 0; at < n && part->n_tokens + 1 < end && status == WL_OK;) {
        size_t length = choose_length(&m->rng, n - at, min, max);
        status = add_sequence(m, part, origin, frame, ids + at, length, end, err);
        at += length;
    }
    return status;
}

static enum wl_status add_text(struct maker *m, struct calib_part *part,
                               const struct calib_unit *unit, size_t end, struct wl_err *err) {
    struct calib_tokens tokens = {0};
    struct frame frame = {m->chat.before.ids, m->chat.after.ids, m->chat.before.n, m->chat.after.n};
    struct calib_origin origin = {CALIB_TEXT, unit->document};
    enum wl_status status =
        calib_chat_text(&m->chat, buf_text(&m->documents.text) + unit->at, unit->len, &tokens, err);
    if (status == WL_OK) {
        status = cut(m, part, origin, &frame, tokens.ids, tokens.n, end, err);
    }
    calib_tokens_release(&tokens);
    return status;
}

// A chat stays whole unless it is too long; its pieces then begin like every sequence.
static enum wl_status add_task(struct maker *m, struct calib_part *part,
                               const struct calib_unit *unit, size_t end, struct wl_err *err) {
    const char *text = buf_text(&m->documents.text);
    const struct calib_document *document = &m->documents.items[unit->document];
    struct calib_tokens tokens = {0};
    struct frame frame = {0};
    struct calib_origin origin = {CALIB_TASKS, unit->document};
    enum wl_status status = calib_chat_answered(&m->chat, text + document->at,
                                                text + document->reference_at, &tokens, err);
    size_t skip = 0;
    if (tokens.n > m->max_length && m->chat.adds_begin) {
        frame = (struct frame){.before = &m->chat.begin, .n_before = 1};
        skip = tokens.ids[0] == m->chat.begin ? 1 : 0;
    }
    if (status == WL_OK) {
        status = cut(m, part, origin, &frame, tokens.ids + skip, tokens.n - skip, end, err);
    }
    calib_tokens_release(&tokens);
    return status;
}

// Goes on where the last call stopped.
static enum wl_status fill(struct maker *m, enum side side, enum calib_source source,
                           struct calib_part *part, size_t end, struct wl_err *err) {
    struct calib_units *units = &m->units[side][source];
    enum wl_status status = WL_OK;
    while (units->next < units->n && part->n_tokens + 1 < end && status == WL_OK) {
        const struct calib_unit *unit = &units->items[units->next++];
        status = text_watch_stops(&m->watch) ? WL_INTERRUPTED
                 : source == CALIB_TEXT      ? add_text(m, part, unit, end, err)
                                             : add_task(m, part, unit, end, err);
    }
    return status;
}

// ---- one side

static size_t share_of(double share, size_t n) {
    return (size_t)(share * (double)n + 0.5);
}

static enum wl_status fill_self(struct maker *m, enum side side, struct calib_part *part,
                                size_t end, struct wl_err *err) {
    struct calib_writer writer = {
        .model = &m->model,
        .chat = &m->chat,
        .documents = &m->documents,
        .starts = {&m->units[side][CALIB_TEXT], &m->units[side][CALIB_TASKS]},
        .max_length = m->max_length,
        .next_document = &m->next_document,
        .seen = &m->seen,
        .share_per_token = 1 / (double)m->options->n_tokens,
    };
    rng_seed(&writer.rng, rng_next(&m->rng));
    return calib_write(&writer, part, end, err);
}

static enum wl_status fill_side(struct maker *m, enum side side, struct calib_part *part, size_t n,
                                struct wl_err *err) {
    size_t n_self = share_of(m->shares[CALIB_SELF], n);
    size_t n_text = share_of(m->shares[CALIB_TEXT], n);
    size_t n_documents = n - n_self;
    n_text = n_text > n_documents ? n_documents : n_text;
    enum wl_status status = calib_part_init(part, n, err);
    if (status == WL_OK) {
        status = fill(m, side, CALIB_TEXT, part, n_text, err);
    }
    if (status == WL_OK && m->shares[CALIB_TASKS] > 0) {
        status = fill(m, side, CALIB_TASKS, part, n_documents, err);
    }
    if (status == WL_OK && m->shares[CALIB_TEXT] > 0) {
        status = fill(m, side, CALIB_TEXT, part, n_documents, err);
    }
    if (status == WL_OK && m->shares[CALIB_SELF] > 0) {
        status = fill_self(m, side, part, n, err);
    }
    return status == WL_OK ? calib_part_shuffle(part, &m->rng, err) : status;
}

static enum wl_status check_side(const struct calib_part *part, enum side side,
                                 struct wl_err *err) {
    return part->n_sequences > 0
               ? WL_OK
               : wl_err_set(err, WL_INPUT,
                            "there is too little text to %s: expected at least two documents (a "
                            "text of a few thousand bytes, or two questions); give more",
                            side == HELD_OUT ? "hold some out" : "calibrate with");
}

static enum wl_status fill_sides(struct maker *m, struct wl_err *err) {
    size_t n_held_out = share_of(m->options->held_out, m->options->n_tokens);
    size_t n_calibration = m->options->n_tokens - n_held_out;
    enum wl_status status = fill_side(m, CALIBRATION, &m->out->calibration, n_calibration, err);
    if (status == WL_OK) {
        status = check_side(&m->out->calibration, CALIBRATION, err);
    }
    if (status == WL_OK && n_held_out > 0) {
        status = fill_side(m, HELD_OUT, &m->out->held_out, n_held_out, err);
    }
    return status == WL_OK && n_held_out > 0 ? check_side(&m->out->held_out, HELD_OUT, err)
                                             : status;
}

// ---- all of it

static enum wl_status read_documents(struct maker *m, struct wl_err *err) {
    enum wl_status status = WL_OK;
    if (m->options->text_path) {
        status = calib_read_text(&m->documents, m->options->text_path, err);
    }
    if (status == WL_OK && m->options->task_path) {
        status = calib_read_tasks(&m->documents, m->options->task_path, err);
    }
    if (status == WL_OK) {
        status = calib_documents_drop_twins(&m->documents, err);
    }
    if (status == WL_OK) {
        m->next_document = (uint32_t)m->documents.n;
        status = calib_split(&m->documents, m->options->held_out, &m->rng, err);
    }
    return status;
}

static enum wl_status make_units(struct maker *m, struct wl_err *err) {
    size_t section_bytes = (size_t)SECTION_BYTES_PER_TOKEN * m->max_length;
    enum wl_status status = WL_OK;
    for (int side = 0; side < SIDES; side++) {
        for (int source = 0; source < 2 && status == WL_OK; source++) {
            status =
                calib_units_make(&m->units[side][source], &m->documents, (enum calib_source)source,
                                 side == HELD_OUT, section_bytes, &m->rng, err);
        }
    }
    return status;
}

static enum wl_status open_model(struct maker *m, const char *path, struct wl_err *err) {
    bool writes = m->shares[CALIB_SELF] > 0;
    enum wl_status status = text_model_load(
        &m->model, path, writes ? TEXT_MODEL_WHOLE : TEXT_MODEL_VOCABULARY, &m->watch, err);
    if (status == WL_OK && llama_vocab_type(m->model.vocab) == LLAMA_VOCAB_TYPE_NONE) {
        status = wl_err_set(err, WL_UNSUPPORTED, "'%s' has no vocabulary to read text with", path);
    }
    uint32_t max = m->model.n_ctx_train;
    if (status == WL_OK && max > 0 && max < m->max_length) {
        m->max_length = max;
        m->min_length = m->min_length < max / 2 ? m->min_length : max / 2;
    }
    if (status == WL_OK && writes) {
        status =
            text_model_start(&m->model, CALIB_AT_ONCE, m->max_length, m->options->threads, err);
    }
    return status == WL_OK ? calib_chat_init(&m->chat, &m->model, m->options->is_plain, err)
                           : status;
}

static enum wl_status make(struct maker *m, const char *model_path, struct wl_err *err) {
    enum wl_status status = read_documents(m, err);
    if (status == WL_OK) {
        status = open_model(m, model_path, err);
    }
    if (status == WL_OK) {
        m->out->has_template = m->chat.chat_template != NULL;
        status = make_units(m, err);
    }
    return status == WL_OK ? fill_sides(m, err) : status;
}

static void release(struct maker *m) {
    calib_chat_release(&m->chat);
    text_model_unload(&m->model);
    calib_documents_release(&m->documents);
    calib_seen_release(&m->seen);
    for (int side = 0; side < SIDES; side++) {
        calib_units_release(&m->units[side][0]);
        calib_units_release(&m->units[side][1]);
    }
}

enum wl_status compress_calib_make(const char *model_path, const struct calib_options *options,
                                   struct calib *out, bool *is_done, struct wl_err *err) {
    struct maker m = {.options = options,
                      .watch = {.go_on = options->go_on, .context = options->context},
                      .min_length = options->min_length,
                      .max_length = options->max_length,
                      .out = out};
    *out = (struct calib){0};
    *is_done = false;
    enum wl_status status = check_sizes(options, err);
    if (status == WL_OK) {
        status = check_shares(options, err);
    }
    if (status == WL_OK) {
        choose_shares(&m);
        rng_seed(&m.rng, options->seed);
        calib_documents_init(&m.documents);
        status = make(&m, model_path, err);
    }
    release(&m);
    *is_done = status == WL_OK && !m.watch.is_stopped;
    if (!*is_done) {
        compress_calib_release(out);
    }
    return m.watch.is_stopped ? WL_OK : status;
}

void compress_calib_release(struct calib *calib) {
    calib_part_release(&calib->calibration);
    calib_part_release(&calib->held_out);
    *calib = (struct calib){0};
}
