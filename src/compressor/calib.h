// Text to compress a model with, as token sequences: the user's text, task files, and what the
// model writes itself. Each document is on one side only: calibration, or held out for checking.
//
// A document is a file; fewer than CALIB_FEW_FILES files are cut into stretches, which are
// documents then. A question of a task file is one, and so is what the model writes from nothing;
// what it writes on from a document belongs to that document. Documents that are there twice count
// once. Questions about the same picture are one document.
#ifndef WATTLAW_COMPRESSOR_CALIB_H
#define WATTLAW_COMPRESSOR_CALIB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "compressor/text.h"

enum calib_source {
    CALIB_TEXT,  // a text file, or a folder of .txt and .md files
    CALIB_TASKS, // JSON lines with "prompt" and "reference" (docs/tasks.md)
    CALIB_SELF,  // written by the model at temperature 1
    CALIB_SOURCES,
};

enum {
    CALIB_MAX_TEXT_BYTES = 64 << 20, // of all text files together, and of a task file
    CALIB_MAX_FILES = 10000,
    CALIB_FEW_FILES = 10,
    CALIB_MIN_TOKENS = 64,
    CALIB_MAX_TOKENS = 1 << 24,
    CALIB_MIN_LENGTH = 16,
    CALIB_MAX_LENGTH = 8192,
};

struct calib_options {
    const char *text_path;         // NULL: none
    const char *const *task_paths; // files; those that came with wattlaw are for the caller to find
    size_t n_task_paths;
    // The image encoder of the model, for tasks with pictures (in the file's folder, as
    // docs/tasks.md says); NULL: such tasks are left out, and counted in n_pictures_left_out.
    const char *mmproj_path;
    int32_t image_max_tokens; // the clamp in use; 0: the file's
    // Shares of the tokens. All 0 is the usual mixture: text 0.5, tasks 0.2, self 0.3; text and
    // tasks stand in for each other when one is absent. One that runs out is made up by the other,
    // then by the model itself where its share is not 0.
    double shares[CALIB_SOURCES];
    size_t n_tokens; // in all; fewer when there is not so much text
    // The most that the model writes itself (one after the other: slow), whatever its share; text
    // and tasks make up the rest. 0: no limit, nor where there are no text and no tasks.
    size_t max_self_tokens;
    double held_out;                 // share of them; 0: none
    uint32_t min_length, max_length; // of the sequences that long documents are cut into
    bool
        is_plain; // text stays as it is; else it is a user's message where there is a chat template
    uint64_t seed;
    int32_t threads;                                 // 0: as many as there are cores
    bool (*go_on)(void *context, double share_done); // false: cancelled; NULL: never
    void *context;
};

// Sequences, each of which begins anew. They are as long as their document is, at most max_length;
// only the last one of a source may be cut to make the number of tokens exact.
struct calib_part {
    int32_t *tokens;    // [n_tokens]; COMPRESS_IMAGE_TOKEN (text.h) for a part of an image
    int32_t *positions; // [4][n_tokens] as in text.h; NULL without images
    float *embeddings;  // [n_image_tokens][n_embd]; NULL without images
    size_t n_image_tokens;
    uint8_t *is_first; // [n_tokens] 1: the first of its sequence, which no moment should count
    size_t n_tokens;
    uint32_t *lengths;   // [n_sequences]
    uint32_t *documents; // [n_sequences] equal numbers are of one document, in both parts
    uint8_t *sources;    // [n_sequences] enum calib_source
    size_t n_sequences;
    size_t n_from[CALIB_SOURCES]; // tokens
};

struct calib {
    struct calib_part calibration, held_out;
    bool has_template; // the model's chat template was applied
    // Pictures that questions in either part are about; and those whose questions were left out
    // because there is no encoder, because they are longer than a sequence may be, or because the
    // model sees a picture in one piece (gemma3), which the compressor does not compute.
    size_t n_pictures, n_pictures_left_out;
};

// As the parts of the job see it; valid as long as the part is.
struct compress_text calib_part_text(const struct calib_part *part);

// 40960 tokens, a fifth of them held out, 256 to 512 long, seed 1; 12288 of the model's own at
// most.
void compress_calib_defaults(struct calib_options *options);

// The back ends must be there (worker/backends.h). The model is loaded, and gone again at the end.
// USAGE: options that contradict each other. INPUT: a file that is empty or is not UTF-8 text, a
// task file that does not parse, pictures that cannot be read, too few documents to hold some out,
// an image encoder that does not fit. LIMIT: too much text, pictures of which each is longer than a
// sequence may be.
// *is_done is false after a cancel.
enum wl_status compress_calib_make(const char *model_path, const struct calib_options *options,
                                   struct calib *out, bool *is_done, struct wl_err *err);
void compress_calib_release(struct calib *calib); // zeroed ones are fine

#endif
