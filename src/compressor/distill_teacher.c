#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "compressor/distill_parts.h"
#include "os/draft.h"

struct header {
    char magic[8];
    uint64_t mark, n_records;
};
static const char MAGIC[8] = "wltchr1";

struct lesson { // while the original says it
    const struct distill_text *t;
    struct text_model model;
    struct verify_record record;
    FILE *file;
    bool has_sections; // positions of several kinds
    // Of a batch of image tokens: n_embd as wide as the model, and for each its place.
    int32_t *positions, *n_seq_id;
    int32_t **seq_id;
    int32_t sequence_zero;
    int8_t *has_logits;
};

enum wl_status distill_stopped(struct wl_err *err) {
    return wl_err_set(err, WL_INTERRUPTED, "interrupted while the model was learning");
}

// ---- what the original says ----

// Tokens begin .. end of the text were the batch that ran.
static enum wl_status keep_records(struct lesson *l, const struct distill_sequence *sequence,
                                   size_t begin, size_t end, struct wl_err *err) {
    const int32_t *tokens = l->t->text->tokens;
    for (size_t i = begin; i < end; i++) {
        const float *logits;
        if (!distill_text_is_judged(l->t, sequence, i)) {
            continue;
        }
        enum wl_status status = text_model_logits(&l->model, (uint32_t)(i - begin), &logits, err);
        if (status != WL_OK) {
            return status;
        }
        if (!verify_record_fill(&l->record, &l->t->shape, logits, tokens[i + 1])) {
            return wl_err_set(err, WL_INPUT,
                              "'%s' computes probabilities that are not numbers; the file is "
                              "broken",
                              l->model.path);
        }
        if (!verify_record_write(&l->record, &l->t->shape, l->file)) {
            return wl_err_errno(err, errno, "cannot write what the original says");
        }
    }
    return WL_OK;
}

static enum wl_status run_images(struct lesson *l, const struct distill_sequence *sequence,
                                 size_t begin, size_t n, const float *embeddings,
                                 struct wl_err *err) {
    struct llama_batch batch = {.n_tokens = (int32_t)n,
                                .embd = (float *)embeddings, // only read
                                .pos = l->positions,
                                .n_seq_id = l->n_seq_id,
                                .seq_id = l->seq_id,
                                .logits = l->has_logits};
    size_t n_all = l->t->text->n_tokens;
    for (size_t i = 0; i < n; i++) {
        for (size_t section = 0; section < (l->has_sections ? 4 : 1); section++) {
            l->positions[section * n + i] = l->t->positions[section * n_all + begin + i];
        }
        l->has_logits[i] = distill_text_is_judged(l->t, sequence, begin + i);
    }
    if (text_watch_stops(l->model.watch)) {
        return distill_stopped(err);
    }
    int32_t code = llama_decode(l->model.ctx, batch);
    if (l->model.watch->is_stopped) {
        return distill_stopped(err);
    }
    return code == 0 ? WL_OK
                     : wl_err_set(err, WL_FAILED,
                                  "'%s': llama.cpp could not compute %zu tokens of an image (code "
                                  "%" PRId32 ")",
                                  l->model.path, n, code);
}

static enum wl_status run_sequence(struct lesson *l, const struct distill_sequence *sequence,
                                   struct wl_err *err) {
    const struct compress_text *text = l->t->text;
    size_t last = sequence->first + sequence->length, n_embd = 0, n_images = sequence->first_image;
    enum wl_status status = WL_OK;
    n_embd = (size_t)llama_model_n_embd(l->model.model);
    text_model_forget(&l->model, 0);
    for (size_t i = sequence->first, end; i < last && status == WL_OK; i = end) {
        bool is_image = text->tokens[i] < 0;
        for (end = i;
             end < last && (text->tokens[end] < 0) == is_image && end - i < l->model.max_batch;
             end++) {
            if (!is_image) {
                text_model_add(&l->model, text->tokens[end], (uint32_t)l->t->positions[end], 0,
                               distill_text_is_judged(l->t, sequence, end));
            }
        }
        if (is_image) {
            const float *embeddings = text->embeddings + n_images * n_embd;
            n_images += end - i;
            status = run_images(l, sequence, i, end - i, embeddings, err);
        } else {
            status = text_model_run(&l->model, err);
        }
        if (status == WL_OK) {
            status = keep_records(l, sequence, i, end, err);
        }
    }
    return status;
}

static enum wl_status prepare(struct lesson *l, struct wl_err *err) {
    size_t n = l->model.max_batch;
    l->positions = calloc(n, 4 * sizeof *l->positions);
    l->n_seq_id = calloc(n, sizeof *l->n_seq_id);
    l->seq_id = calloc(n, sizeof *l->seq_id);
    l->has_logits = calloc(n, sizeof *l->has_logits);
    if (!l->positions || !l->n_seq_id || !l->seq_id || !l->has_logits) {
        return wl_err_set(err, WL_MEMORY, "no memory for %zu tokens of an image", n);
    }
    for (size_t i = 0; i < n; i++) {
        l->n_seq_id[i] = 1;
        l->seq_id[i] = &l->sequence_zero;
    }
    l->has_sections = llama_model_rope_type(l->model.model) == LLAMA_ROPE_TYPE_MROPE;
    return verify_record_init(&l->record, &l->t->shape, err);
}

static enum wl_status teach(struct lesson *l, const char *original, int32_t threads,
                            struct text_watch *watch, struct wl_err *err) {
    enum wl_status status = text_model_load(&l->model, original, TEXT_MODEL_WHOLE, watch, err);
    if (status == WL_OK) {
        status = text_model_start(&l->model, 1, l->t->longest, threads, err);
    }
    if (status == WL_OK) {
        status = prepare(l, err);
    }
    for (size_t s = 0; s < l->t->n_sequences && status == WL_OK; s++) {
        status = run_sequence(l, &l->t->sequences[s], err);
    }
    if (status == WL_OK && fflush(l->file) != 0) {
        status = wl_err_errno(err, errno, "cannot write what the original says");
    }
    text_model_unload(&l->model);
    verify_record_release(&l->record);
    free(l->positions);
    free(l->n_seq_id);
    free(l->seq_id);
    free(l->has_logits);
    return status;
}

// ---- the file ----

static bool put_header(FILE *file, const struct header *header) {
    return fwrite(header, sizeof *header, 1, file) == 1;
}

static enum wl_status open_scratch(FILE **out, const char *dir, struct wl_err *err) {
    char path[OS_PATH_BYTES];
    enum wl_status status = os_path_join(path, dir, "wattlaw-XXXXXX", err);
    int fd = status == WL_OK ? mkostemp(path, O_CLOEXEC) : -1;
    *out = NULL;
    if (fd >= 0) {
        unlink(path); // the file system forgets it when we end, however we end
        *out = fdopen(fd, "w+");
    }
    if (*out || status != WL_OK) {
        return status;
    }
    return wl_err_errno(err, errno, "cannot make a scratch file in '%s'", dir);
}

// Sees whether a whole file of that kind is there.
static bool take_up(struct distill_teacher *teacher, const char *path,
                    const struct header *expected) {
    struct header header;
    FILE *file = fopen(path, "rbe");
    if (!file) {
        return false;
    }
    bool is_it = fread(&header, sizeof header, 1, file) == 1 &&
                 memcmp(&header, expected, sizeof header) == 0 && fseek(file, 0, SEEK_END) == 0;
    long bytes = is_it ? ftell(file) - (long)sizeof header : -1;
    if (bytes < 0 || bytes != (long)expected->n_records * teacher->record_bytes) {
        fclose(file);
        return false;
    }
    teacher->file = file;
    return true;
}

static enum wl_status write_kept(struct distill_teacher *teacher, struct lesson *l,
                                 const char *original, const char *path,
                                 const struct header *header, int32_t threads,
                                 struct text_watch *watch, struct wl_err *err) {
    struct os_draft draft;
    enum wl_status status = os_draft_open(&draft, path, err);
    if (status != WL_OK) {
        return status;
    }
    int fd = dup(draft.fd);
    l->file = fd >= 0 ? fdopen(fd, "wb") : NULL;
    if (!l->file || !put_header(l->file, header)) {
        status = wl_err_errno(err, errno, "cannot write '%s'", path);
    } else {
        status = teach(l, original, threads, watch, err);
    }
    if (l->file && fclose(l->file) != 0 && status == WL_OK) {
        status = wl_err_errno(err, errno, "cannot write '%s'", path);
    }
    if (status == WL_OK) {
        status = os_draft_publish(&draft, err);
    } else {
        os_draft_discard(&draft);
    }
    if (status == WL_OK && !take_up(teacher, path, header)) {
        status = wl_err_set(err, WL_IO, "cannot read '%s' back", path);
    }
    return status;
}

enum wl_status distill_teacher_open(struct distill_teacher *teacher, const struct distill_text *t,
                                    const char *original, const char *path, uint64_t mark,
                                    const struct distill_options *options, struct text_watch *watch,
                                    struct wl_err *err) {
    struct lesson lesson = {.t = t};
    struct header header = {.mark = mark, .n_records = t->n_records};
    memcpy(header.magic, MAGIC, sizeof MAGIC);
    size_t figures = t->shape.is_whole ? 1 : 2;
    *teacher =
        (struct distill_teacher){.header_bytes = (long)sizeof header,
                                 .record_bytes = (long)(3 * sizeof(double) + sizeof(int32_t) +
                                                        figures * t->shape.n_kept * sizeof(float))};
    if (path && take_up(teacher, path, &header)) {
        return WL_OK;
    }
    if (path) {
        return write_kept(teacher, &lesson, original, path, &header, options->threads, watch, err);
    }
    enum wl_status status = open_scratch(&teacher->file, options->scratch_dir, err);
    if (status == WL_OK && !put_header(teacher->file, &header)) {
        status = wl_err_errno(err, errno, "cannot write what the original says");
    }
    lesson.file = teacher->file;
    return status == WL_OK ? teach(&lesson, original, options->threads, watch, err) : status;
}

void distill_teacher_close(struct distill_teacher *teacher) {
    if (teacher->file) {
        fclose(teacher->file);
    }
    free(teacher->targets);
    free(teacher->log_p);
    free(teacher->ids);
    *teacher = (struct distill_teacher){0};
}

// ---- reading ----

static enum wl_status make_room(struct distill_teacher *teacher, const struct distill_text *t,
                                size_t n, struct wl_err *err) {
    size_t n_kept = t->shape.n_kept;
    if (n <= teacher->n_room) {
        return WL_OK;
    }
    free(teacher->targets);
    free(teacher->log_p);
    free(teacher->ids);
    teacher->targets = calloc(n, sizeof *teacher->targets);
    teacher->log_p = calloc(n, n_kept * sizeof *teacher->log_p);
    teacher->ids = calloc(n, n_kept * sizeof *teacher->ids);
    bool is_ok = teacher->targets && teacher->log_p && teacher->ids;
    teacher->n_room = is_ok ? n : 0;
    return is_ok ? WL_OK
                 : wl_err_set(err, WL_MEMORY, "no memory for %zu distributions of %zu tokens", n,
                              n_kept);
}

static bool read_record(struct distill_teacher *teacher, const struct distill_text *t, size_t i) {
    size_t n = t->shape.n_kept;
    struct back_target *target = &teacher->targets[i];
    struct verify_record record = {.ids = teacher->ids + i * n, .log_p = teacher->log_p + i * n};
    for (uint32_t k = 0; t->shape.is_whole && k < n; k++) {
        record.ids[k] = (int32_t)k;
    }
    if (!verify_record_read(&record, &t->shape, teacher->file)) {
        return false;
    }
    bool is_plain = t->shape.is_whole && !t->shape.new_ids;
    *target = (struct back_target){.n = t->shape.n_kept,
                                   .ids = is_plain ? NULL : record.ids,
                                   .log_p = record.log_p,
                                   .rest = record.rest_mass};
    bool is_right = record.rest_mass >= 0 && record.rest_mass <= 1;
    for (uint32_t k = 0; k < n && is_right; k++) {
        is_right = record.log_p[k] <= 1e-3F && record.ids[k] >= 0 &&
                   (uint32_t)record.ids[k] < t->shape.n_vocab;
        record.ids[k] = is_right ? verify_shape_new_id(&t->shape, record.ids[k]) : -1;
    }
    return is_right;
}

enum wl_status distill_teacher_read(struct distill_teacher *teacher, const struct distill_text *t,
                                    const struct distill_batch *batch, struct wl_err *err) {
    enum wl_status status = make_room(teacher, t, batch->n_records, err);
    if (status != WL_OK) {
        return status;
    }
    size_t n = 0;
    for (size_t s = 0; s < batch->n_sequences; s++) {
        const struct distill_sequence *sequence = &t->sequences[batch->sequences[s]];
        long at = teacher->header_bytes + (long)sequence->first_record * teacher->record_bytes;
        bool is_ok = fseek(teacher->file, at, SEEK_SET) == 0;
        for (uint32_t i = 0; i < sequence->n_records && is_ok; i++) {
            is_ok = read_record(teacher, t, n++);
        }
        if (!is_ok) {
            return wl_err_set(err, WL_IO, "what the original said cannot be read back");
        }
    }
    return WL_OK;
}
