// The image encoder of the pair, made smaller beside the text model.
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "compressor/calib_read.h"
#include "compressor/eye.h"
#include "compressor/eye_renew.h"
#include "compressor/job_state.h"
#include "compressor/retype.h"

static const double PICTURES_HELD_OUT = 0.25, ENCODER_HEAL_SHARE = 0.1;

static enum wl_status read_pictures(const struct job *job, struct calib_documents *documents,
                                    struct wl_err *err) {
    const json_t *tasks = json_object_get(job->request, "tasks");
    enum wl_status status = WL_OK;
    calib_documents_init(documents);
    documents->pictures.is_looked_into = true;
    for (size_t i = 0; i < json_array_size(tasks) && status == WL_OK; i++) {
        status = calib_read_tasks(documents, json_string_value(json_array_get(tasks, i)), err);
    }
    return status;
}

static json_t *encoder_json(const struct eye_result *r) {
    json_t *layers = json_array();
    for (size_t i = 0; i < r->n_layers; i++) {
        const struct eye_layer *l = &r->layers[i];
        json_array_append_new(
            layers, json_pack("{s:I, s:b, s:I, s:I, s:o, s:o, s:o, s:o}", "layer",
                              (json_int_t)l->layer, "is_removed", l->is_removed, "n_ff_before",
                              (json_int_t)l->n_ff_before, "n_ff", (json_int_t)l->n_ff, "influence",
                              wl_json_real(l->influence), "error_cut", wl_json_real(l->error_cut),
                              "error_repaired", wl_json_real(l->error_repaired), "error_healed",
                              wl_json_real(l->error_healed)));
    }
    return json_pack("{s:I, s:I, s:I, s:I, s:o, s:o, s:o, s:o, s:o}", "in_bytes",
                     (json_int_t)r->in_bytes, "out_bytes", (json_int_t)r->out_bytes,
                     "block_weights_before", (json_int_t)r->block_weights_before,
                     "block_weights_after", (json_int_t)r->block_weights_after, "error_projected",
                     wl_json_real(r->error_projected), "cosine", wl_json_real(r->cosine),
                     "encode_s_before", wl_json_real(r->encode_s_before), "encode_s_after",
                     wl_json_real(r->encode_s_after), "layers", layers);
}

// [pictures->n] their files; the caller frees the list.
static enum wl_status list_pictures(const struct calib_pictures *pictures, const char ***out,
                                    struct wl_err *err) {
    *out = calloc(pictures->n + 1, sizeof **out);
    if (!*out) {
        return wl_err_set(err, WL_MEMORY, "no memory for %zu pictures", pictures->n);
    }
    for (size_t i = 0; i < pictures->n; i++) {
        (*out)[i] = pictures->items[i].path;
    }
    return WL_OK;
}

static enum wl_status shrink_encoder(struct job *job, const char *const *paths, size_t n,
                                     struct wl_err *err) {
    struct eye_result result = {0};
    struct eye_options options = {
        .text_path = job->path,
        .pictures = paths,
        .n_pictures = n,
        .n_held_out = (size_t)(PICTURES_HELD_OUT * (double)n),
        .image_max_tokens = (int32_t)wl_json_opt_i64(job->request, "image_max_tokens", 0),
        .cut = wl_json_opt_double(job->request, "mmproj_cut", 0),
        .n_drop = (uint32_t)wl_json_opt_i64(job->request, "mmproj_drop", 0),
        .type = GGML_TYPE_COUNT,
        .heal_seconds = ENCODER_HEAL_SHARE * wl_json_opt_double(job->request, "local_seconds", 0),
        .seed = (uint64_t)wl_json_opt_i64(job->request, "seed", 1),
        .threads = (int32_t)wl_json_opt_i64(job->request, "threads", 0),
        .scratch_dir = job->work.path,
        .go_on = job_go_on,
        .context = job};
    enum wl_status status =
        job_is_asked(job, "mmproj_type")
            ? retype_parse(wl_json_opt_string(job->request, "mmproj_type", ""), &options.type, err)
            : WL_OK;
    if (status == WL_OK) {
        status =
            eye_run(wl_json_opt_string(job->request, "mmproj", ""),
                    wl_json_opt_string(job->request, "mmproj_out", ""), &options, &result, err);
    }
    if (status == WL_OK) {
        status = work_finish(&job->work, "encoder", encoder_json(&result), err);
    }
    eye_result_release(&result);
    return status;
}

// Held-out questions as they are asked with the new encoder: the verdict is about both files.
static enum wl_status renew_text(struct job *job, const char *const *paths, size_t n,
                                 struct wl_err *err) {
    struct compress_text text = calib_part_text(&job->calib.held_out);
    struct text_watch watch = {.go_on = job_go_on, .context = job, .share_done = 1};
    struct eye_renew options = {.text_path = job->path,
                                .before = wl_json_opt_string(job->request, "mmproj", ""),
                                .after = wl_json_opt_string(job->request, "mmproj_out", ""),
                                .pictures = paths,
                                .n_pictures = n,
                                .image_max_tokens =
                                    (int32_t)wl_json_opt_i64(job->request, "image_max_tokens", 0),
                                .threads = (int32_t)wl_json_opt_i64(job->request, "threads", 0),
                                .watch = &watch};
    return eye_renew(&options, &text, &job->changed_embeddings, err);
}

enum wl_status job_encoder(struct job *job, struct wl_err *err) {
    struct calib_documents documents;
    const char **paths = NULL;
    bool is_there = work_result(&job->work, "encoder") &&
                    os_exists(wl_json_opt_string(job->request, "mmproj_out", ""));
    enum wl_status status = read_pictures(job, &documents, err);
    if (status == WL_OK) {
        status = list_pictures(&documents.pictures, &paths, err);
    }
    if (status == WL_OK && !is_there) {
        status = shrink_encoder(job, paths, documents.pictures.n, err);
    }
    if (status == WL_OK) {
        json_object_set(job->result, "encoder", (json_t *)work_result(&job->work, "encoder"));
        status = renew_text(job, paths, documents.pictures.n, err);
    }
    free(paths);
    calib_documents_release(&documents);
    return status;
}
