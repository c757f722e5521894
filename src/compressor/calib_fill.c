// Sequences of documents, and of what the model writes, up to the tokens that each may have.
#include <inttypes.h>

#include "compressor/calib_maker.h"

enum { MIN_BODY = 8 };

// Of the tokens of tasks, when there are other tasks too.
static const double PICTURE_SHARE = 0.5;
// What a token costs that the model writes, and one of a question with a picture.
static const double SELF_WORK = 40;
static const double PICTURE_WORK = 10;

struct frame { // what every sequence of a document gets
    const int32_t *before, *after;
    size_t n_before, n_after;
};

static void work_on(struct calib_maker *m, size_t n_tokens, double work) {
    m->work_done += (double)n_tokens * work;
    double share = m->work_done / m->work_total;
    m->watch.share_done = share < 1 ? share : 1;
}

double calib_work_of(const struct calib_maker *m, const struct calib_budget *budget) {
    double pictures = m->has_pictures ? PICTURE_SHARE * (double)budget->n_tasks : 0;
    return (double)(budget->n - budget->n_self) + (PICTURE_WORK - 1) * pictures +
           SELF_WORK * (double)budget->n_self;
}

// ---- text

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

static enum wl_status add_sequence(struct calib_maker *m, struct calib_part *part,
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
        work_on(m, sequence.n, 1);
    }
    calib_tokens_release(&sequence);
    return status;
}

static enum wl_status cut(struct calib_maker *m, struct calib_part *part,
                          struct calib_origin origin, const struct frame *frame, const int32_t *ids,
                          size_t n, size_t end, struct wl_err *err) {
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

static struct calib_origin origin_of(const struct calib_maker *m, const struct calib_unit *unit) {
    const struct calib_document *document = &m->documents.items[unit->document];
    return (struct calib_origin){document->source, document->group};
}

static enum wl_status add_text(struct calib_maker *m, struct calib_part *part,
                               const struct calib_unit *unit, size_t end, struct wl_err *err) {
    struct calib_tokens tokens = {0};
    struct frame frame = {m->chat.before.ids, m->chat.after.ids, m->chat.before.n, m->chat.after.n};
    enum wl_status status =
        calib_chat_text(&m->chat, buf_text(&m->documents.text) + unit->at, unit->len, &tokens, err);
    if (status == WL_OK) {
        status = cut(m, part, origin_of(m, unit), &frame, tokens.ids, tokens.n, end, err);
    }
    calib_tokens_release(&tokens);
    return status;
}

// ---- tasks

// A chat stays whole unless it is too long; its pieces then begin like every sequence.
static enum wl_status add_task(struct calib_maker *m, struct calib_part *part,
                               const struct calib_unit *unit, size_t end, struct wl_err *err) {
    const char *text = buf_text(&m->documents.text);
    const struct calib_document *document = &m->documents.items[unit->document];
    struct calib_tokens tokens = {0};
    struct frame frame = {0};
    enum wl_status status = calib_chat_answered(&m->chat, text + document->at,
                                                text + document->reference_at, &tokens, err);
    size_t skip = 0;
    if (tokens.n > m->max_length && m->chat.adds_begin) {
        frame = (struct frame){.before = &m->chat.begin, .n_before = 1};
        skip = tokens.ids[0] == m->chat.begin ? 1 : 0;
    }
    if (status == WL_OK) {
        status =
            cut(m, part, origin_of(m, unit), &frame, tokens.ids + skip, tokens.n - skip, end, err);
    }
    calib_tokens_release(&tokens);
    return status;
}

// A picture is never cut: *fits is false when it would have to be, here.
static enum wl_status add_picture(struct calib_maker *m, struct calib_part *part,
                                  const struct calib_unit *unit, size_t end, bool *fits,
                                  struct wl_err *err) {
    struct calib_tokens tokens = {0};
    size_t n_needed = 0;
    size_t room = end - part->n_tokens;
    enum wl_status status = calib_encoder_ask(&m->encoder, &m->documents.items[unit->document],
                                              room, &tokens, &n_needed, err);
    *fits = n_needed <= room || n_needed > m->max_length;
    if (status == WL_OK) {
        calib_part_add(part, origin_of(m, unit), tokens.ids, tokens.n, end);
        work_on(m, tokens.n, PICTURE_WORK);
    }
    calib_tokens_release(&tokens);
    return status;
}

// ---- one side

static enum wl_status fill_pictures(struct calib_maker *m, enum calib_side side,
                                    struct calib_part *part, size_t end, struct wl_err *err) {
    struct calib_units *units = &m->units[side][CALIB_SORT_PICTURES];
    enum wl_status status = WL_OK;
    bool fits = m->has_pictures;
    while (fits && units->next < units->n && part->n_tokens + 1 < end && status == WL_OK) {
        status = text_watch_stops(&m->watch)
                     ? WL_INTERRUPTED
                     : add_picture(m, part, &units->items[units->next], end, &fits, err);
        units->next += fits;
    }
    return status;
}

// Goes on where the last call stopped.
static enum wl_status fill(struct calib_maker *m, enum calib_side side, enum calib_sort sort,
                           struct calib_part *part, size_t end, struct wl_err *err) {
    if (sort == CALIB_SORT_PICTURES) {
        return fill_pictures(m, side, part, end, err);
    }
    struct calib_units *units = &m->units[side][sort];
    enum wl_status status = WL_OK;
    while (units->next < units->n && part->n_tokens + 1 < end && status == WL_OK) {
        const struct calib_unit *unit = &units->items[units->next++];
        status = text_watch_stops(&m->watch) ? WL_INTERRUPTED
                 : sort == CALIB_SORT_TEXT   ? add_text(m, part, unit, end, err)
                                             : add_task(m, part, unit, end, err);
    }
    return status;
}

enum wl_status calib_fill_documents(struct calib_maker *m, enum calib_side side,
                                    struct calib_part *part, const struct calib_budget *budget,
                                    struct wl_err *err) {
    bool has_other_tasks = m->units[side][CALIB_SORT_TASKS].n > 0;
    size_t n_tasks = budget->n_tasks;
    size_t n_pictures = has_other_tasks ? (size_t)(PICTURE_SHARE * (double)n_tasks) : n_tasks;
    size_t n = n_tasks + budget->n_text;
    bool has_tasks = m->shares[CALIB_TASKS] > 0;
    bool has_text = m->shares[CALIB_TEXT] > 0;
    const struct {
        bool is_wanted;
        enum calib_sort sort;
        size_t end; // of all tokens so far
    } STEPS[] = {
        {has_tasks, CALIB_SORT_PICTURES, n_pictures},
        {has_tasks, CALIB_SORT_TASKS, n_tasks},
        {has_tasks, CALIB_SORT_PICTURES, n_tasks}, // where there are few other tasks
        {has_text, CALIB_SORT_TEXT, n},
        {has_tasks, CALIB_SORT_TASKS, n},
        {has_tasks, CALIB_SORT_PICTURES, n},
    };
    enum wl_status status = WL_OK;
    for (size_t i = 0; i < sizeof STEPS / sizeof STEPS[0] && status == WL_OK; i++) {
        if (STEPS[i].is_wanted) {
            status = fill(m, side, STEPS[i].sort, part, STEPS[i].end, err);
        }
    }
    return status;
}

enum wl_status calib_fill_self(struct calib_maker *m, enum calib_side side, struct calib_part *part,
                               const struct calib_budget *budget, struct wl_err *err) {
    bool has_documents = m->shares[CALIB_TEXT] + m->shares[CALIB_TASKS] > 0;
    bool is_limited = has_documents && m->options->max_self_tokens > 0;
    size_t end = is_limited && part->n_tokens + budget->n_self < budget->n
                     ? part->n_tokens + budget->n_self
                     : budget->n;
    uint32_t length = calib_self_length(m->max_length);
    struct calib_writer writer = {
        .model = &m->model,
        .n_at_once = calib_at_once(&m->model, length),
        .chat = &m->chat,
        .documents = &m->documents,
        .starts = {&m->units[side][CALIB_SORT_TEXT], &m->units[side][CALIB_SORT_TASKS]},
        .max_length = length,
        .next_document = &m->next_document,
        .seen = &m->seen,
        .share_per_token = SELF_WORK / m->work_total,
    };
    rng_seed(&writer.rng, rng_next(&m->rng));
    size_t n_before = part->n_tokens;
    enum wl_status status = calib_write(&writer, part, end, err);
    work_on(m, part->n_tokens - n_before, SELF_WORK);
    return status;
}
