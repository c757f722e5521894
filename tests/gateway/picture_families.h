// What pictures cost in made-up families of image encoders, after the kinds that there are.
#ifndef TESTS_GATEWAY_PICTURE_FAMILIES_H
#define TESTS_GATEWAY_PICTURE_FAMILIES_H

#include <math.h>
#include <stdint.h>

#include "gateway/picture_choice.h"

// Whole cells of 28 px; at most 4096 of them, at least 8.
static inline int64_t cost_of_cells(struct picture_size size) {
    double cells = (double)size.width * size.height / 784;
    double scale = cells > 4096 ? sqrt(4096 / cells) : 1;
    double wide = fmax(1, floor(size.width * scale / 28 + 0.5));
    double high = fmax(1, floor(size.height * scale / 28 + 0.5));
    return (int64_t)fmax(8, wide * high);
}

static inline int64_t cost_of_nothing_else(struct picture_size size) {
    (void)size;
    return 256;
}

// Tiles of 448 px and an overview: one up to 448, twelve at most.
static inline int64_t cost_of_tiles(struct picture_size size) {
    uint32_t wide = (size.width + 447) / 448, high = (size.height + 447) / 448;
    uint32_t n = wide * high;
    return 256 * (n == 1 ? 1 : 1 + (n < 12 ? n : 12));
}

// One view up to 0.5 Mpixel and from 2 Mpixel on; tiles in between.
static inline int64_t cost_with_a_hill(struct picture_size size) {
    uint64_t pixels = (uint64_t)size.width * size.height;
    return pixels <= 524288 ? (int64_t)(pixels / 1024) + 1 : pixels < 2000000 ? 1600 : 1000;
}

// As tiles, but a picture of a quarter of a megapixel and less is blown up first.
static inline int64_t cost_of_small_ones_is_higher(struct picture_size size) {
    return (uint64_t)size.width * size.height < 262144 ? 1500 : 700;
}

#endif
