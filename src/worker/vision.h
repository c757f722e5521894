// The image encoder of the session: libmtmd's context, and what is known about it.
#ifndef WATTLAW_WORKER_VISION_H
#define WATTLAW_WORKER_VISION_H

#include <jansson.h>
#include <llama.h>
#include <mtmd.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "os/file.h"
#include "worker/interrupt.h"
#include "worker/vision_family.h"
#include "worker/vision_file.h"

#define VISION_MARKER "<__media__>"

// How encoding is interrupted: libmtmd computes the graph in pieces and asks between them.
struct vision_watch {
    bool (*must_stop)(void *context); // NULL while nobody may interrupt
    void *context;
    uint32_t stride; // nodes of a piece, adapted to how long one takes
    uint32_t countdown;
    int64_t last_ns;
};

struct vision {
    struct mtmd_context *mtmd;  // NULL while none is loaded
    struct llama_model *text;   // of a counter, freed with it; NULL when it is the session's
    struct vision_watch *watch; // on the heap: libmtmd keeps its address
    char path[OS_PATH_BYTES];   // the file, for another budget later
    struct vision_facts facts;
    const struct vision_family *family;
    int32_t image_min_tokens; // as asked, or as lowered to image_max_tokens; 0 = the file's
    int32_t image_max_tokens;
    uint32_t n_embd_out;
    bool is_stand_in;
};

struct vision_options {
    const char *mmproj; // NULL or "" for none
    int32_t image_min_tokens;
    int32_t image_max_tokens; // 0 = as the file says
    int32_t threads;
    enum llama_flash_attn_type flash_attn;
};

// `mmproj` and the budget of a request; the rest is left alone.
enum wl_status vision_options_parse(const json_t *request, struct vision_options *options,
                                    struct wl_err *err);
// Reads nothing but the file's tables (the caller has done that: `facts`), then loads it for
// `model`. `out` must be closed or zeroed; on failure it is closed.
enum wl_status vision_open(struct vision *out, const struct vision_options *options,
                           const struct vision_facts *facts, const struct llama_model *model,
                           struct wl_err *err);
// The same for counting: nothing is prepared for computing, and the tensors come from
// `tensor_path` (a skeleton of the file, or the file).
enum wl_status vision_open_counter(struct vision *out, const struct vision_options *options,
                                   const struct vision_facts *facts, const char *tensor_path,
                                   const struct llama_model *model, bool is_stand_in,
                                   struct wl_err *err);
void vision_close(struct vision *vision);

// While `interrupt` is set, encoding looks at it between parts of the graph; NULL ends that.
void vision_set_interrupt(const struct vision *vision, struct interrupt *interrupt);
// The same with a question of the caller's; NULL ends that.
void vision_set_watch(const struct vision *vision, bool (*must_stop)(void *context), void *context);

// Pixels per side of the square that one token stands for; 0 when that varies.
uint32_t vision_cell(const struct vision *vision);
json_t *vision_json(const struct vision *vision);

#endif
