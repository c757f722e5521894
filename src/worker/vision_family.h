// What is known of the families of image encoders beyond what libmtmd tells. PURE.
#ifndef WATTLAW_WORKER_VISION_FAMILY_H
#define WATTLAW_WORKER_VISION_FAMILY_H

#include <stdbool.h>
#include <stdint.h>

enum vision_cut {
    VISION_UNKNOWN,
    VISION_ONE_VIEW,       // the whole picture, its aspect kept: a grid of tokens
    VISION_SQUARE,         // one square of the file's image_size, whatever the picture
    VISION_VIEWS_TOGETHER, // squares of image_size, all in one chunk
    VISION_VIEWS_APART,    // tiles and an overview, each a chunk of its own
    VISION_RESAMPLED,      // slices of about image_size, each a fixed number of tokens
};

struct vision_family {
    const char *projector; // llama.cpp's projector type
    enum vision_cut cut;
    uint32_t merge;         // patches per side that become one token, where the file does not say
    bool has_row_breaks;    // a token between two rows
    bool is_mrope;          // the text models of the family have two-dimensional positions
    const char *after_text; // between the image and the user's words
};

// Never NULL: an unknown projector gets the family that tells nothing.
const struct vision_family *vision_family_of(const char *projector);

// The grid of `n` tokens (with a break token between rows or without) whose aspect is nearest to
// the picture's: encoders that keep the aspect fill it row by row.
void vision_family_grid(uint32_t n, bool has_row_breaks, uint32_t width, uint32_t height,
                        uint32_t *grid_x, uint32_t *grid_y);

#endif
