#include "compressor/calib.h"

#include <inttypes.h>

#include "compressor/calib_maker.h"
#include "compressor/calib_part.h"

// Text is tokenised in sections of so many bytes for each token of a sequence, about two sequences.
enum { SECTION_BYTES_PER_TOKEN = 8 };

struct compress_text calib_part_text(const struct calib_part *part) {
    return (struct compress_text){
        .tokens = part->tokens,
        .lengths = part->lengths,
        .n_sequences = part->n_sequences,
        .n_tokens = part->n_tokens,
        .positions = part->positions,
        .embeddings = part->embeddings,
        .n_image_tokens = part->n_image_tokens,
    };
}

// ---- documents

static enum wl_status check_tasks(const struct calib_maker *m, struct wl_err *err) {
    size_t n = 0;
    for (size_t i = 0; i < m->documents.n; i++) {
        n += m->documents.items[i].source == CALIB_TASKS;
    }
    return n > 0 || m->documents.pictures.n == 0
               ? WL_OK
               : wl_err_set(err, WL_INPUT,
                            "all questions have images ('%.300s', ...): give the model's image "
                            "encoder, or other tasks",
                            m->documents.pictures.items[0].path);
}

static enum wl_status read_documents(struct calib_maker *m, struct wl_err *err) {
    const struct calib_options *o = m->options;
    enum wl_status status = WL_OK;
    m->documents.pictures.is_looked_into = o->mmproj_path != NULL;
    if (o->text_path) {
        status = calib_read_text(&m->documents, o->text_path, err);
    }
    for (size_t i = 0; i < o->n_task_paths && status == WL_OK; i++) {
        status = calib_read_tasks(&m->documents, o->task_paths[i], err);
    }
    if (status == WL_OK) {
        status = check_tasks(m, err);
    }
    if (status == WL_OK) {
        status = calib_documents_drop_twins(&m->documents, err);
    }
    if (status == WL_OK) {
        m->next_document = (uint32_t)m->documents.n;
        status = calib_split(&m->documents, o->held_out, &m->rng, err);
    }
    return status;
}

static enum wl_status make_units(struct calib_maker *m, struct wl_err *err) {
    size_t section_bytes = (size_t)SECTION_BYTES_PER_TOKEN * m->max_length;
    enum wl_status status = WL_OK;
    for (int side = 0; side < CALIB_SIDES; side++) {
        for (int sort = 0; sort < CALIB_SORTS && status == WL_OK; sort++) {
            status = calib_units_make(&m->units[side][sort], &m->documents, (enum calib_sort)sort,
                                      side == CALIB_HELD_OUT, section_bytes, &m->rng, err);
        }
    }
    return status;
}

// ---- model and image encoder

static enum wl_status open_model(struct calib_maker *m, const char *path, struct wl_err *err) {
    bool is_whole = m->shares[CALIB_SELF] > 0 || m->documents.n_numbers > 0;
    enum wl_status status = text_model_load(
        &m->model, path, is_whole ? TEXT_MODEL_WHOLE : TEXT_MODEL_VOCABULARY, &m->watch, err);
    if (status == WL_OK && llama_vocab_type(m->model.vocab) == LLAMA_VOCAB_TYPE_NONE) {
        status = wl_err_set(err, WL_UNSUPPORTED, "'%s' has no vocabulary to read text with", path);
    }
    uint32_t max = m->model.n_ctx_train;
    if (status == WL_OK && max > 0 && max < m->max_length) {
        m->max_length = max;
        m->min_length = m->min_length < max / 2 ? m->min_length : max / 2;
    }
    return status == WL_OK ? calib_chat_init(&m->chat, &m->model, m->options->is_plain, err)
                           : status;
}

static enum wl_status open_encoder(struct calib_maker *m, struct wl_err *err) {
    if (m->documents.n_numbers == 0) {
        return WL_OK;
    }
    m->encoder = (struct calib_encoder){.model = &m->model,
                                        .chat = &m->chat,
                                        .documents = &m->documents,
                                        .rows = &m->rows,
                                        .max_length = m->max_length};
    return calib_encoder_open(&m->encoder, m->options->mmproj_path, m->options->image_max_tokens,
                              m->options->threads, &m->has_pictures, err);
}

// Its memory is needed for what the model writes.
static enum wl_status close_encoder(struct calib_maker *m, struct wl_err *err) {
    struct calib *out = m->out;
    out->n_pictures_left_out = m->documents.pictures.n;
    if (m->has_pictures) {
        calib_encoder_count(&m->encoder, &out->n_pictures, &out->n_pictures_left_out);
    }
    calib_encoder_close(&m->encoder);
    return out->n_pictures > 0 || out->n_pictures_left_out == 0 || !m->has_pictures
               ? WL_OK
               : wl_err_set(err, WL_LIMIT,
                            "each of %zu pictures has more tokens than a sequence may have "
                            "(%" PRIu32 "); lower the most tokens of an image, or allow longer "
                            "sequences",
                            out->n_pictures_left_out, m->max_length);
}

// ---- both sides

static enum wl_status check_side(const struct calib_part *part, enum calib_side side,
                                 struct wl_err *err) {
    return part->n_sequences > 0
               ? WL_OK
               : wl_err_set(err, WL_INPUT,
                            "there is too little text to %s: expected at least two documents (a "
                            "text of a few thousand bytes, or two questions); give more",
                            side == CALIB_HELD_OUT ? "hold some out" : "calibrate with");
}

static enum wl_status finish_side(struct calib_maker *m, enum calib_side side,
                                  struct calib_part *part, struct wl_err *err) {
    enum wl_status status = check_side(part, side, err);
    if (status == WL_OK) {
        status = calib_part_shuffle(part, &m->rng, err);
    }
    return status == WL_OK ? calib_rows_place(&m->rows, part, err) : status;
}

static enum wl_status fill_documents(struct calib_maker *m, struct calib_part **parts,
                                     const struct calib_budget *budgets, int n_sides,
                                     struct wl_err *err) {
    enum wl_status status = WL_OK;
    for (int side = 0; side < n_sides && status == WL_OK; side++) {
        status = calib_part_init(parts[side], budgets[side].n, err);
        if (status == WL_OK) {
            status =
                calib_fill_documents(m, (enum calib_side)side, parts[side], &budgets[side], err);
        }
    }
    return status == WL_OK ? close_encoder(m, err) : status;
}

static enum wl_status fill_self(struct calib_maker *m, struct calib_part **parts,
                                const struct calib_budget *budgets, int n_sides,
                                struct wl_err *err) {
    if (!(m->shares[CALIB_SELF] > 0)) {
        return WL_OK;
    }
    uint32_t length = calib_self_length(m->max_length);
    enum wl_status status = text_model_start(&m->model, calib_at_once(&m->model, length), length,
                                             m->options->threads, err);
    for (int side = 0; side < n_sides && status == WL_OK; side++) {
        status = calib_fill_self(m, (enum calib_side)side, parts[side], &budgets[side], err);
    }
    return status;
}

static enum wl_status fill_sides(struct calib_maker *m, struct wl_err *err) {
    size_t n_held_out = (size_t)(m->options->held_out * (double)m->options->n_tokens + 0.5);
    int n_sides = n_held_out > 0 ? CALIB_SIDES : CALIB_HELD_OUT;
    struct calib_part *parts[CALIB_SIDES] = {&m->out->calibration, &m->out->held_out};
    struct calib_budget budgets[CALIB_SIDES] = {
        calib_budget_of(m, m->options->n_tokens - n_held_out), calib_budget_of(m, n_held_out)};
    m->work_total = calib_work_of(m, &budgets[0]) + calib_work_of(m, &budgets[1]);
    enum wl_status status = fill_documents(m, parts, budgets, n_sides, err);
    if (status == WL_OK) {
        status = fill_self(m, parts, budgets, n_sides, err);
    }
    for (int side = 0; side < n_sides && status == WL_OK; side++) {
        status = finish_side(m, (enum calib_side)side, parts[side], err);
    }
    return status;
}

// ---- all of it

static enum wl_status make(struct calib_maker *m, const char *model_path, struct wl_err *err) {
    enum wl_status status = read_documents(m, err);
    if (status == WL_OK) {
        status = open_model(m, model_path, err);
    }
    if (status == WL_OK) {
        m->out->has_template = m->chat.chat_template != NULL;
        status = open_encoder(m, err);
    }
    if (status == WL_OK) {
        status = make_units(m, err);
    }
    return status == WL_OK ? fill_sides(m, err) : status;
}

static void release(struct calib_maker *m) {
    calib_encoder_close(&m->encoder);
    calib_rows_release(&m->rows);
    calib_chat_release(&m->chat);
    text_model_unload(&m->model);
    calib_documents_release(&m->documents);
    calib_seen_release(&m->seen);
    for (int side = 0; side < CALIB_SIDES; side++) {
        for (int sort = 0; sort < CALIB_SORTS; sort++) {
            calib_units_release(&m->units[side][sort]);
        }
    }
}

enum wl_status compress_calib_make(const char *model_path, const struct calib_options *options,
                                   struct calib *out, bool *is_done, struct wl_err *err) {
    struct calib_maker m = {.options = options,
                            .watch = {.go_on = options->go_on, .context = options->context},
                            .min_length = options->min_length,
                            .max_length = options->max_length,
                            .out = out};
    *out = (struct calib){0};
    *is_done = false;
    enum wl_status status = calib_check_options(options, err);
    if (status == WL_OK) {
        calib_choose_shares(options, m.shares);
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
