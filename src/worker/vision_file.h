// What a file with an image encoder (mmproj) says of itself. libmtmd ends the process on a key of
// the wrong type and crashes at the first image when a tensor is missing, so the file is checked
// here before libmtmd sees it.
#ifndef WATTLAW_WORKER_VISION_FILE_H
#define WATTLAW_WORKER_VISION_FILE_H

#include <stdint.h>

#include "base/err.h"

enum { VISION_PROJECTOR_BYTES = 32, VISION_NAME_BYTES = 256 };

struct vision_facts {
    char projector[VISION_PROJECTOR_BYTES];
    char name[VISION_NAME_BYTES];
    uint64_t file_bytes;
    uint64_t tensor_bytes;
    uint64_t n_params;
    uint32_t n_layer;
    uint32_t n_embd;
    uint32_t n_ff;
    uint32_t n_head;
    uint32_t patch_size;
    uint32_t image_size;     // 0 where the size is free
    uint32_t projection_dim; // as the file says; libmtmd goes by the tensors
    uint32_t merge;          // 0 when the file does not say
};

// INPUT with the key or tensor when it is no image encoder that can be used.
enum wl_status vision_file_read(const char *path, struct vision_facts *facts, struct wl_err *err);

#endif
