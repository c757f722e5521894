// What a synthetic file will hold, worked out before a byte is written: its keys and its tensors.
#ifndef WATTLAW_WORKER_SYNTH_FILE_H
#define WATTLAW_WORKER_SYNTH_FILE_H

#include <gguf.h>
#include <jansson.h>
#include <stdint.h>

#include "base/err.h"
#include "worker/synth_tensors.h"

struct synth_file {
    struct gguf_context *gguf; // keys only
    struct synth_tensors tensors;
    uint64_t seed;
};

// general.* and wattlaw.*; `what` is the kind ("model", "mmproj").
void synth_file_set_general(const struct synth_file *file, const char *arch, const char *kind,
                            const char *name, enum llama_ftype ftype);

// The text model, or the image encoder, that the request asks for. file->gguf is made by the
// caller; release the tensors whatever the status.
enum wl_status synth_text_plan(const json_t *request, struct synth_file *file, struct wl_err *err);
enum wl_status synth_vision_plan(const json_t *request, struct synth_file *file,
                                 struct wl_err *err);

#endif
