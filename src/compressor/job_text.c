#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/str.h"
#include "compressor/calib_file.h"
#include "compressor/job_state.h"

enum { MAX_TASK_FILES = 16, MAX_SEQUENCE = 1024, MIN_SEQUENCES = 2 };
static const double TRIM_HELD_OUT = 0.1; // of the text: what the trimmed vocabulary is judged on
static const double TRIM_MAX_GROWTH = 0.02;

// ---- calibration text ----

static const char *path_or_null(const json_t *request, const char *key) {
    const char *path = wl_json_opt_string(request, key, "");
    return path[0] ? path : NULL;
}

static enum wl_status take_tasks(const struct job *job, const char *paths[MAX_TASK_FILES],
                                 size_t *n, struct wl_err *err) {
    const json_t *list = json_object_get(job->request, "tasks");
    *n = json_array_size(list);
    if (*n > MAX_TASK_FILES) {
        return wl_err_set(err, WL_LIMIT, "tasks: expected at most %d files, found %zu",
                          MAX_TASK_FILES, *n);
    }
    for (size_t i = 0; i < *n; i++) {
        paths[i] = json_string_value(json_array_get(list, i));
        if (!paths[i]) {
            return wl_err_set(err, WL_INPUT, "tasks: expected names of files");
        }
    }
    return WL_OK;
}

static enum wl_status write_text(struct job *job, const char *path, struct wl_err *err) {
    const char *tasks[MAX_TASK_FILES];
    struct calib_options options;
    compress_calib_defaults(&options);
    options.text_path = path_or_null(job->request, "text");
    options.mmproj_path = path_or_null(job->request, "mmproj");
    options.image_max_tokens = (int32_t)wl_json_opt_i64(job->request, "image_max_tokens", 0);
    options.n_tokens = (size_t)wl_json_opt_i64(job->request, "n_tokens", (int64_t)options.n_tokens);
    options.seed = (uint64_t)wl_json_opt_i64(job->request, "seed", 1);
    options.threads = (int32_t)wl_json_opt_i64(job->request, "threads", 0);
    options.max_length = MAX_SEQUENCE;
    options.go_on = job_go_on;
    options.context = job;
    options.task_paths = tasks;
    bool is_done = true;
    enum wl_status status = take_tasks(job, tasks, &options.n_task_paths, err);
    if (status == WL_OK) {
        status = compress_calib_make(job->path, &options, &job->calib, &is_done, err);
    }
    if (status == WL_OK && !is_done) {
        return job_interrupted(job, err);
    }
    return status == WL_OK ? calib_save(&job->calib, job->source.n_embd, path, err) : status;
}

static json_t *text_json(const struct job *job) {
    const struct calib_part *part = &job->calib.calibration;
    return json_pack(
        "{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:b}", "n_tokens", (json_int_t)part->n_tokens,
        "n_held_out", (json_int_t)job->calib.held_out.n_tokens, "n_from_text",
        (json_int_t)part->n_from[CALIB_TEXT], "n_from_tasks", (json_int_t)part->n_from[CALIB_TASKS],
        "n_from_self", (json_int_t)part->n_from[CALIB_SELF], "n_image_tokens",
        (json_int_t)part->n_image_tokens, "n_pictures", (json_int_t)job->calib.n_pictures,
        "has_template", job->calib.has_template);
}

enum wl_status job_make_text(struct job *job, struct wl_err *err) {
    char path[OS_PATH_BYTES];
    enum wl_status status = work_file(&job->work, "text.bin", path, err);
    if (status != WL_OK) {
        return status;
    }
    struct wl_err ignored;
    bool is_there = work_result(&job->work, "text") &&
                    calib_load(path, job->source.n_embd, &job->calib, &ignored) == WL_OK;
    if (!is_there) {
        status = write_text(job, path, err);
    }
    if (status != WL_OK) {
        return status;
    }
    if (job->calib.calibration.n_sequences < MIN_SEQUENCES) {
        return wl_err_set(err, WL_INPUT,
                          "calibration text: %zu sequences, expected at least %d, one of which is "
                          "held out; give more text, or more tokens (--tokens)",
                          job->calib.calibration.n_sequences, MIN_SEQUENCES);
    }
    json_object_set_new(job->result, "text", text_json(job));
    status = job_is_asked(job, "export") ? job_export_text(job, err) : WL_OK;
    if (status != WL_OK) {
        return status;
    }
    return is_there ? WL_OK : work_finish(&job->work, "text", text_json(job), err);
}

// ---- vocabulary ----

static bool is_whole(const struct calib_part *part, size_t first, size_t n,
                     const int32_t *new_ids) {
    for (size_t i = first; i < first + n; i++) {
        if (part->tokens[i] >= 0 && new_ids[part->tokens[i]] < 0) {
            return false;
        }
    }
    return true;
}

static size_t count_images(const struct calib_part *part, size_t first, size_t n) {
    size_t n_images = 0;
    for (size_t i = first; i < first + n; i++) {
        n_images += part->tokens[i] == COMPRESS_IMAGE_TOKEN;
    }
    return n_images;
}

// Sequence `s`, which begins at `first` (its images at `first_image`), becomes the next one of the
// part itself: everything moves to the front.
static void move_sequence(struct calib_part *part, uint32_t s, size_t first, size_t first_image,
                          size_t n_embd, const int32_t *new_ids, struct calib_part *kept) {
    uint32_t n = part->lengths[s];
    size_t n_images = count_images(part, first, n);
    for (uint32_t i = 0; i < n; i++) {
        int32_t token = part->tokens[first + i];
        kept->tokens[kept->n_tokens + i] = token >= 0 ? new_ids[token] : token;
        kept->is_first[kept->n_tokens + i] = part->is_first[first + i];
    }
    if (n_images > 0) {
        memmove(kept->embeddings + kept->n_image_tokens * n_embd,
                part->embeddings + first_image * n_embd, n_images * n_embd * sizeof(float));
    }
    kept->lengths[kept->n_sequences] = n;
    kept->documents[kept->n_sequences] = part->documents[s];
    kept->sources[kept->n_sequences] = part->sources[s];
    kept->n_sequences++;
    kept->n_tokens += n;
    kept->n_image_tokens += n_images;
}

// Four rows of positions, which are as long as there are tokens.
static void move_positions(struct calib_part *part, const uint8_t *is_kept) {
    size_t out = 0;
    for (int row = 0; row < 4 && part->positions; row++) {
        for (size_t i = 0; i < part->n_tokens; i++) {
            if (is_kept[i]) {
                part->positions[out++] = part->positions[(size_t)row * part->n_tokens + i];
            }
        }
    }
}

// Text of an earlier run is read from a file, too.
static enum wl_status check_text(const struct job *job, struct wl_err *err) {
    const struct calib_part *part = &job->calib.calibration;
    for (size_t i = 0; i < part->n_tokens; i++) {
        if (part->tokens[i] >= 0 && (uint32_t)part->tokens[i] >= job->trim.n_before) {
            return wl_err_set(err, WL_INPUT,
                              "token %zu of the calibration text is %" PRId32
                              ", expected 0 to %" PRIu32
                              ": it is not of this model's vocabulary; begin anew (--fresh)",
                              i, part->tokens[i], job->trim.n_before - 1);
        }
    }
    return WL_OK;
}

// The calibration text in the new vocabulary, without sequences with a token that is gone.
static enum wl_status renumber(struct job *job, struct wl_err *err) {
    struct calib_part *part = &job->calib.calibration, kept = *part;
    enum wl_status status = check_text(job, err);
    if (status != WL_OK) {
        return status;
    }
    uint8_t *is_kept = calloc(part->n_tokens + 1, 1);
    if (!is_kept) {
        return wl_err_set(err, WL_MEMORY, "no memory for %zu tokens", part->n_tokens);
    }
    kept.n_tokens = kept.n_sequences = kept.n_image_tokens = 0;
    size_t first = 0, first_image = 0;
    for (uint32_t s = 0; s < part->n_sequences; s++) { // marked before anything moves
        uint32_t n = part->lengths[s];
        if (is_whole(part, first, n, job->trim.new_ids)) {
            memset(is_kept + first, 1, n);
        }
        first += n;
    }
    move_positions(part, is_kept);
    first = 0;
    for (uint32_t s = 0; s < part->n_sequences; s++) {
        uint32_t n = part->lengths[s];
        size_t n_images = count_images(part, first, n);
        if (is_kept[first]) {
            move_sequence(part, s, first, first_image, job->source.n_embd, job->trim.new_ids,
                          &kept);
        }
        first += n;
        first_image += n_images;
    }
    free(is_kept);
    *part = kept;
    return WL_OK;
}

static enum wl_status save_ids(const struct job *job, struct wl_err *err) {
    char path[OS_PATH_BYTES];
    enum wl_status status = work_file(&job->work, "new-ids.bin", path, err);
    return status == WL_OK ? os_write_atomic(path, job->trim.new_ids,
                                             job->trim.n_before * sizeof *job->trim.new_ids, err)
                           : status;
}

static bool read_ids(struct job *job, const char *path, size_t n, int64_t n_after) {
    struct wl_err ignored;
    struct buf buf;
    buf_init(&buf, n * sizeof(int32_t) + 1);
    bool is_ok = os_slurp(path, &buf, &ignored) == WL_OK && buf.len == n * sizeof(int32_t);
    job->trim.new_ids = is_ok ? malloc(buf.len) : NULL;
    is_ok = job->trim.new_ids != NULL;
    for (size_t i = 0; i < n && is_ok; i++) {
        int32_t id;
        memcpy(&id, buf.data + i * sizeof id, sizeof id);
        job->trim.new_ids[i] = id;
        is_ok = id >= -1 && id < n_after;
    }
    buf_release(&buf);
    return is_ok;
}

// Of an earlier run, a number for each token of the model; false: do it again.
static bool load_ids(struct job *job, const json_t *stage) {
    char path[OS_PATH_BYTES];
    struct wl_err ignored;
    size_t n = job->source.n_vocab;
    int64_t n_after = wl_json_opt_i64(stage, "n_after", 0);
    bool is_ok = wl_json_opt_i64(stage, "n_before", 0) == (int64_t)n && n_after > 0 &&
                 n_after <= (int64_t)n &&
                 work_file(&job->work, "new-ids.bin", path, &ignored) == WL_OK &&
                 read_ids(job, path, n, n_after);
    if (!is_ok) {
        trim_result_release(&job->trim);
        return false;
    }
    job->trim.n_before = (uint32_t)n;
    job->trim.n_after = (uint32_t)n_after;
    return true;
}

static enum wl_status trim(struct job *job, struct wl_err *err) {
    struct compress_text text = calib_part_text(&job->calib.calibration);
    const json_t *wanted = json_object_get(job->request, "vocabulary");
    struct trim_options options = {.n_wanted = (uint32_t)json_integer_value(wanted),
                                   .max_growth = TRIM_MAX_GROWTH,
                                   .n_held_out = (size_t)(TRIM_HELD_OUT * (double)text.n_sequences),
                                   .go_on = job_go_on,
                                   .context = job};
    enum wl_status status = trim_run(job->path, job->base.path, &text, &options, &job->trim, err);
    if (status != WL_OK) {
        return status;
    }
    status = save_ids(job, err);
    return status == WL_OK ? work_finish(&job->work, "vocabulary",
                                         json_pack("{s:I, s:I, s:o, s:o, s:I, s:I}", "n_before",
                                                   (json_int_t)job->trim.n_before, "n_after",
                                                   (json_int_t)job->trim.n_after, "growth",
                                                   wl_json_real(job->trim.growth), "coverage",
                                                   wl_json_real(job->trim.coverage), "in_bytes",
                                                   (json_int_t)job->trim.in_bytes, "out_bytes",
                                                   (json_int_t)job->trim.out_bytes),
                                         err)
                           : status;
}

enum wl_status job_trim_vocabulary(struct job *job, struct wl_err *err) {
    const json_t *stage = work_result(&job->work, "vocabulary");
    enum wl_status status = work_file(&job->work, "vocabulary.gguf", job->base.path, err);
    if (status == WL_OK && !(stage && os_exists(job->base.path) && load_ids(job, stage))) {
        status = trim(job, err);
    }
    if (status != WL_OK) {
        return status;
    }
    json_object_set(job->result, "vocabulary", (json_t *)work_result(&job->work, "vocabulary"));
    uint32_t n_embd = job->source.n_embd;
    compress_source_close(&job->source);
    status = compress_source_open(&job->source, job->base.path, COMPRESS_FORCE, err);
    if (status == WL_OK &&
        (job->source.n_embd != n_embd || job->source.n_vocab != job->trim.n_after)) {
        status = wl_err_set(err, WL_INPUT,
                            "'%s' is not what an earlier run has written; begin anew (--fresh)",
                            job->base.path);
    }
    return status == WL_OK ? renumber(job, err) : status;
}
