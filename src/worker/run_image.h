// The images of a RUN: from their slots to keys and values in the cache, each step a phase.
#ifndef WATTLAW_WORKER_RUN_IMAGE_H
#define WATTLAW_WORKER_RUN_IMAGE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "worker/image_count.h"
#include "worker/image_slots.h"
#include "worker/session.h"

enum { MAX_RUN_IMAGES = 16 }; // as the client has it: ENGINE_MAX_RUN_IMAGES

struct run;

struct run_image {
    const struct image_slot *slot;
    uint32_t decoded_width;
    uint32_t decoded_height;
    struct mtmd_bitmap *bitmap;
    struct image_count count;
};

struct run_images {
    struct run_image items[MAX_RUN_IMAGES];
    size_t n; // 0 for a run without images
    bool is_full_decode;
    struct buf text; // with a marker for each image
    bool has_template;
    struct mtmd_input_chunks *chunks;
    float **embd; // of each chunk; NULL for text and what is not encoded yet
    size_t n_tokens;
    size_t n_image_tokens;
    size_t n_positions;
};

// The `images` of a request, checked; none leaves n at 0.
enum wl_status run_images_init(struct run_images *images, const struct session *session,
                               const struct image_slots *slots, const json_t *request,
                               struct wl_err *err);
// All phases of the prompt, the last chunk's logits included, or until run->stop.
enum wl_status run_images_prefill(struct run *run, struct wl_err *err);
json_t *run_images_json(const struct run_images *images);
void run_images_release(struct run_images *images);

#endif
