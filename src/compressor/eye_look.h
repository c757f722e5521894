// Parts of eye.c: libmtmd at work on pictures, and a look at what is inside while it computes.
#ifndef WATTLAW_COMPRESSOR_EYE_LOOK_H
#define WATTLAW_COMPRESSOR_EYE_LOOK_H

#include <llama.h>
#include <mtmd.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "compressor/text_model.h"

enum eye_part {
    EYE_INPUT = 1,  // what enters block 0
    EYE_BEHIND = 2, // behind block `layer`
    EYE_LAST = 4,   // what the projector's last matrix is applied to
    EYE_TOKENS = 8, // what the text model gets
};

struct eye_sight {
    enum eye_part part;
    uint32_t layer;
    const float *x; // [n_rows][width]
    size_t n_rows, width;
    const int32_t *rows, *columns; // of EYE_INPUT with rope: [n_rows]; else NULL
};
typedef enum wl_status (*eye_see)(void *context, const struct eye_sight *sight, struct wl_err *err);

struct eye_look {
    const char *path; // of the encoder, the caller's
    unsigned parts;   // that are shown; 0: nothing, at full speed
    bool has_rope;    // the input is shown with its rows and columns
    const char *last; // name of the projector's last matrix; NULL without EYE_LAST
    eye_see see;      // NULL: nobody looks
    void *see_context;
    struct text_watch *watch; // asked while it computes; NULL: never stopped
    // Of eye_look.c:
    struct mtmd_context *mtmd;
    float *input; // copied until the positions are seen
    size_t n_input_rows, width, n_nodes;
    size_t n_embd_out;     // of the node that was asked for last: in the end the graph's output
    uint32_t n_embd_text;  // of the text model
    enum wl_status status; // of what was seen
    struct wl_err *err;
};

// What is needed of the text model.
struct eye_text {
    const struct llama_model *vocabulary;
    uint32_t n_embd_in; // see eye_text_width
};

struct eye_look_options {
    int32_t image_max_tokens; // 0: the file's
    int32_t threads;          // 0: as many as there are cores
    uint32_t n_embd_text;     // what the text model takes, see eye_text_width
    bool is_exact;            // without flash attention, which rounds to 16 bits
};

// Values of a token that a text model takes from an image encoder; libllama tells it only of models
// that are loaded whole.
enum wl_status eye_text_width(const char *path, uint32_t *out, struct wl_err *err);

// Its fields above must be set. `text` may be a vocabulary only. INPUT with libmtmd's reason.
enum wl_status eye_look_open(struct eye_look *look, const struct llama_model *text,
                             const struct eye_look_options *options, struct wl_err *err);
void eye_look_close(struct eye_look *look); // zeroed ones are fine

// A picture as libmtmd cuts it up. INPUT: it cannot be read.
enum wl_status eye_look_picture(const struct eye_look *look, const char *path,
                                struct mtmd_input_chunks **out, struct wl_err *err);
// Encodes all of it; what is wanted is shown. INTERRUPTED by the watch; INPUT when the tokens do
// not fit the text model.
enum wl_status eye_look_encode(struct eye_look *look, const struct mtmd_input_chunks *chunks,
                               struct wl_err *err);

#endif
