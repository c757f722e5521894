// Inside distill*.c only.
#ifndef WATTLAW_COMPRESSOR_DISTILL_PARTS_H
#define WATTLAW_COMPRESSOR_DISTILL_PARTS_H

#include <stdio.h>

#include "compress/back.h"
#include "compress/back_output.h"
#include "compress/lora.h"
#include "compressor/distill.h"
#include "compressor/source.h"
#include "compressor/states.h"
#include "compressor/text_model.h"
#include "compressor/verify_record.h"

// ---- distill_text.c: the text as both models see it ----

struct distill_text {
    const struct compress_text *text;
    struct verify_shape shape; // what a record of the teacher is
    int32_t *ids;              // [n_tokens] in the made model; negative: part of an image
    int32_t *positions;        // [4][n_tokens]
    size_t n_sequences;        // that are left: those without a token that is gone
    size_t n_learnt;           // of them, those in front
    struct distill_sequence {
        size_t first, first_image, first_record; // token, row of embeddings, record
        uint32_t length, n_records;
    } * sequences;
    size_t n_records; // tokens whose next one is text
    uint32_t longest;
};

// INPUT for text that is damaged, or with nothing to learn from or to judge.
enum wl_status distill_text_init(struct distill_text *t, const struct compress_text *text,
                                 const struct distill_options *options, uint32_t n_vocab,
                                 struct wl_err *err);
void distill_text_release(struct distill_text *t); // zeroed ones are fine
// Whether token `i` of the text, of that sequence, has a record.
bool distill_text_is_judged(const struct distill_text *t, const struct distill_sequence *sequence,
                            size_t i);

// Some sequences, in spans that go through a block together.
struct distill_batch {
    size_t n_tokens, n_records, n_spans, n_sequences;
    uint32_t *sequences; // numbers
    struct distill_span {
        struct back_batch batch;
        size_t first; // token of the batch
    } * spans;
    uint32_t *lengths;  // memory of the spans
    int32_t *positions; // that too
    uint32_t *judged;   // [n_records] tokens of the batch
};
// `numbers` of sequences, as many of the n as fit into n_tokens, at least one; *n_taken of them.
enum wl_status distill_batch_init(struct distill_batch *batch, const struct distill_text *t,
                                  const uint32_t *numbers, size_t n, size_t n_tokens,
                                  bool has_sections, size_t *n_taken, struct wl_err *err);
void distill_batch_release(struct distill_batch *batch); // zeroed ones are fine
// x [n_tokens][n_embd].
enum wl_status distill_batch_embed(const struct distill_batch *batch, const struct distill_text *t,
                                   const struct compress_source *source, float *x,
                                   struct wl_err *err);

// ---- distill_teacher.c: what the original says, computed once ----

struct distill_teacher {
    FILE *file;
    long header_bytes, record_bytes;
    // Of a batch:
    struct back_target *targets;
    float *log_p;
    int32_t *ids;
    size_t n_room; // records
};
// `path`: where it survives, NULL: nowhere. What is there with that mark is used as it is.
enum wl_status distill_teacher_open(struct distill_teacher *teacher, const struct distill_text *t,
                                    const char *original, const char *path, uint64_t mark,
                                    const struct distill_options *options, struct text_watch *watch,
                                    struct wl_err *err);
void distill_teacher_close(struct distill_teacher *teacher); // zeroed ones are fine
// teacher->targets [n_records] of the batch.
enum wl_status distill_teacher_read(struct distill_teacher *teacher, const struct distill_text *t,
                                    const struct distill_batch *batch, struct wl_err *err);

// ---- distill_model.c: the made model, one block at a time, and what is learnt of it ----

enum distill_face { // how weights are given
    DISTILL_AS_MADE,
    DISTILL_LEARNT,
    DISTILL_ROUNDED, // what is learnt, in the types of the file
};

struct distill_layer {
    struct lora_change matrices[BACK_MATRICES], vectors[BACK_VECTORS];
};

struct distill_model {
    struct compress_source source;
    struct distill_layer *layers;
    struct lora_change output_norm;
    struct heal_tensor *tensors; // of all changes
    size_t n_tensors;
    uint32_t max_rank;
    struct compress_block block; // the one that was loaded last
    float *norm;                 // [n_embd] of the output, as it was loaded last
    float rms_eps;
    void *rounded; // scratch of a few rows
};
// LIMIT with the bytes when all is to be learnt of too large a model; UNSUPPORTED names a type that
// cannot be written.
enum wl_status distill_model_open(struct distill_model *model, const char *path, uint32_t rank,
                                  uint64_t seed, struct wl_err *err);
void distill_model_close(struct distill_model *model); // zeroed ones are fine
enum wl_status distill_model_load(struct distill_model *model, uint32_t layer,
                                  enum distill_face face, struct wl_err *err);
enum wl_status distill_model_load_norm(struct distill_model *model, enum distill_face face,
                                       struct wl_err *err);
// "attn_q.weight"
const char *distill_matrix_name(enum back_matrix matrix);
const char *distill_vector_name(enum back_vector vector);

// ---- distill_pass.c: a batch through the model, and back ----

struct distill_pass {
    struct distill_model *model;
    struct text_watch *watch;
    const char *scratch_dir;
    size_t most_tokens;  // of a batch
    float *x, *in;       // [most_tokens][n_embd]
    float *rows, *drows; // those of judged tokens
    float *stash;        // [n_layer][most_tokens][n_embd]; NULL: in `file`
    struct states file;
    struct back_states *kept; // [n_kept]
    size_t n_kept;
    struct back_work work;
    struct back_output output;
    float *inner; // scratch of a low-rank gradient
    size_t n_inner;
};
enum wl_status distill_pass_open(struct distill_pass *pass, struct distill_model *model,
                                 size_t most_tokens, struct wl_err *err);
void distill_pass_close(struct distill_pass *pass);
// *kl: the sum over the batch's records.
enum wl_status distill_pass_judge(struct distill_pass *pass, const struct distill_text *t,
                                  struct distill_batch *batch, enum distill_face face,
                                  const struct back_target *targets, double *kl,
                                  struct wl_err *err);
// The same of what was learnt so far, and the gradients of the mean.
enum wl_status distill_pass_learn(struct distill_pass *pass, const struct distill_text *t,
                                  struct distill_batch *batch, const struct back_target *targets,
                                  double *kl, struct wl_err *err);

// ---- distill_keep.c: what survives an interruption ----

struct distill_progress {
    uint64_t n_steps, n_tokens;
    uint64_t round, n_used; // sequences used of this round
    double seconds;         // spent learning
    double kl_before, kl_best;
    uint64_t is_better; // than at first
};
uint64_t distill_mark(uint64_t mark, const void *data, size_t n); // mixes more in
uint64_t distill_mark_file(uint64_t mark, const struct gguf_file *file);
enum wl_status distill_keep(const char *path, uint64_t mark, const struct distill_model *model,
                            const struct distill_progress *progress, struct wl_err *err);
// False: there is none, or it is damaged or of something else; nothing was changed then.
bool distill_take_up(const char *path, uint64_t mark, struct distill_model *model,
                     struct distill_progress *progress);

// ---- distill_write.c ----

enum wl_status distill_write(struct distill_model *model, const char *out, struct text_watch *watch,
                             struct wl_err *err);
// Rows of a matrix as the file will have them; `bytes` or, if that is NULL, `w` itself.
void distill_round(enum ggml_type type, size_t n_rows, size_t n_columns, float *w, void *bytes);

enum wl_status distill_stopped(struct wl_err *err); // INTERRUPTED

#endif
