// The image encoders of well-known small models (vision.def) and what follows from their shapes.
// PURE.
#ifndef WATTLAW_PLAN_VISION_H
#define WATTLAW_PLAN_VISION_H

#include <stddef.h>
#include <stdint.h>

struct plan_vision {
    const char *name;      // of the model: its text part is the plan_shape of the same name
    const char *projector; // GGUF's clip.projector_type
    uint32_t n_layer, n_embd, n_head, n_ff;
    uint32_t patch_size, image_size;
    uint32_t n_merge;            // this many patches squared become one token
    uint32_t preproc_image_size; // 0 = not stated
    uint32_t n_deepstack;        // further outputs, for the text model's first blocks
    uint32_t window_pattern;     // 0 = every block sees the whole image
    uint64_t published_params;   // of the whole model
};

size_t plan_vision_count(void);
const struct plan_vision *plan_vision_at(size_t i); // NULL past the end
// Exact name of the model, ASCII case ignored; NULL for models that see no images.
const struct plan_vision *plan_vision_by_name(const char *name);

// Parameters of the tower and its projector, for a text model of width n_embd_out.
uint64_t plan_vision_params(const struct plan_vision *vision, uint32_t n_embd_out);
// About the tensor bytes of its GGUF: matrices at `bits_per_weight` (f16 16, q8_0 8.5, f32 32),
// rows that 32 does not divide at 16 at least, as they are not quantised.
double plan_vision_bytes(const struct plan_vision *vision, uint32_t n_embd_out,
                         double bits_per_weight);

#endif
