// Which settings make a photo cheaper, by counts alone.
#include <stdlib.h>

#include "plan/image_map.h"

// What saves less than this share is no lever.
#define LEAST_SAVING 0.05
// A crop must cost this much less than shrinking to as many pixels does.
#define LEAST_GAIN 0.03
// As in the knee: a few tokens more or less are the same.
#define SAME_COST 0.02

static const struct image_map_size PHOTOS[IMAGE_MAP_N_PHOTOS] = {{1920, 1080}, {4000, 3000}};
static const double SHRINK_TO[] = {0.75, 0.5, 0.25, 0.125}; // of the photo's tokens
enum { N_SHRINK = sizeof SHRINK_TO / sizeof SHRINK_TO[0] };

const char *image_map_lever_name(enum image_map_lever_kind kind) {
    static const char *const NAMES[] = {
#define X(suffix, name) name,
        IMAGE_MAP_LEVER_LIST(X)
#undef X
    };
    return NAMES[kind];
}

static bool saves(const struct image_map_photo *photo, uint32_t tokens) {
    return (double)tokens <= (1 - LEAST_SAVING) * (double)image_map_tokens(&photo->cost);
}

static void add(struct image_map_photo *photo, struct image_map_lever lever,
                const struct image_map_cost *cost) {
    lever.tokens = image_map_tokens(cost);
    lever.effective_pixels = cost->effective_pixels;
    if (photo->n_levers < IMAGE_MAP_MAX_LEVERS && saves(photo, lever.tokens)) {
        photo->lever[photo->n_levers++] = lever;
    }
}

static bool has_aspect(struct image_map_size size, struct image_map_size unit) {
    return (uint64_t)size.width * unit.height == (uint64_t)size.height * unit.width;
}

static const struct image_map_series *series_of(const struct image_map *map,
                                                struct image_map_size size) {
    for (size_t i = 0; i < IMAGE_MAP_N_ASPECTS; i++) {
        if (has_aspect(size, map->sizes.series[i].unit)) {
            return &map->sizes.series[i];
        }
    }
    return NULL;
}

// Index of the largest size of the series with fewer pixels than `size` that costs at most
// `tokens`; SIZE_MAX when there is none.
static size_t largest_below(const struct image_map *map, const struct image_map_series *series,
                            struct image_map_size size, double tokens) {
    for (size_t i = series->n; i-- > 0;) {
        size_t at = series->first + i;
        if (image_map_pixels(map->sizes.at[at]) < image_map_pixels(size) &&
            (double)image_map_tokens(&map->reading[0].costs[at]) <= tokens) {
            return at;
        }
    }
    return SIZE_MAX;
}

// The last size before the step that follows the counted size, where that is known to the pixel:
// the largest that costs as much.
static struct image_map_size up_to_step(const struct image_map *map,
                                        const struct image_map_series *series, size_t at) {
    const struct image_map_steps *steps = &map->reading[0].steps[series - map->sizes.series];
    struct image_map_size size = map->sizes.at[at];
    for (size_t i = 0; i < steps->n; i++) {
        const struct image_map_step *step = &steps->step[i];
        if (step->index == at - series->first + 1 && step->is_exact &&
            step->before == image_map_tokens(&map->reading[0].costs[at])) {
            size.width = step->at.width - series->unit.width;
            size.height = step->at.height - series->unit.height;
        }
    }
    return size;
}

static void add_shrinking(const struct image_map *map, const struct image_map_series *series,
                          struct image_map_photo *photo) {
    double tokens = (double)image_map_tokens(&photo->cost);
    size_t last = SIZE_MAX;
    for (int i = 0; i < N_SHRINK; i++) {
        size_t at = largest_below(map, series, photo->size, SHRINK_TO[i] * tokens);
        if (at != SIZE_MAX && at != last) {
            add(photo,
                (struct image_map_lever){.kind = IMAGE_MAP_LEVER_SHRINK,
                                         .size = up_to_step(map, series, at)},
                &map->reading[0].costs[at]);
        }
        last = at;
    }
    photo->can_shrink =
        largest_below(map, series, photo->size, (1 - LEAST_SAVING) * tokens) != SIZE_MAX;
}

// The knee of the photo's aspect, where it is below the photo and costs as much.
static void find_free_size(const struct image_map *map, size_t aspect,
                           struct image_map_photo *photo) {
    const struct image_map_knee *knee = &map->reading[0].knee[aspect];
    double tokens = (double)image_map_tokens(&photo->cost);
    if (knee->at.width > 0 && image_map_pixels(knee->at) < image_map_pixels(photo->size) &&
        (double)knee->tokens >= (1 - SAME_COST) * tokens &&
        (double)knee->tokens <= (1 + SAME_COST) * tokens) {
        photo->free_size = knee->at;
    }
}

// Of budgets that do the same to this photo the lowest.
static void add_budgets(const struct image_map *map, struct image_map_photo *photo) {
    const struct image_map_cost *last = NULL;
    for (size_t i = 1; i < map->n_readings; i++) {
        const struct image_map_cost *cost = image_map_cost_of(map, i, photo->size);
        if (cost && (!last || image_map_tokens(cost) != image_map_tokens(last))) {
            add(photo,
                (struct image_map_lever){.kind = IMAGE_MAP_LEVER_BUDGET,
                                         .budget = map->reading[i].budget},
                cost);
        }
        last = cost ? cost : last;
    }
}

// A crop that loses less of the picture and saves as much is there already.
static bool is_dominated(const struct image_map_photo *photo, uint32_t tokens, double lost_share) {
    for (size_t i = 0; i < photo->n_levers; i++) {
        const struct image_map_lever *other = &photo->lever[i];
        if (other->kind == IMAGE_MAP_LEVER_CROP && other->tokens <= tokens &&
            other->lost_share <= lost_share) {
            return true;
        }
    }
    return false;
}

// The crops stand between the table and the first series. One of this photo has its width or its
// height, and no more than the other; the one that loses least comes first.
static void add_crops(const struct image_map *map, const struct image_map_series *series,
                      struct image_map_photo *photo) {
    for (size_t i = map->sizes.n_table; i < map->sizes.series[0].first; i++) {
        struct image_map_size size = map->sizes.at[i];
        bool is_mine = (size.width == photo->size.width && size.height < photo->size.height) ||
                       (size.height == photo->size.height && size.width < photo->size.width);
        size_t shrunk = largest_below(map, series, size, 1e9);
        if (!is_mine || shrunk == SIZE_MAX) {
            continue;
        }
        const struct image_map_cost *costs = map->reading[0].costs;
        uint32_t tokens = image_map_tokens(&costs[i]);
        double lost_share =
            1 - (double)image_map_pixels(size) / (double)image_map_pixels(photo->size);
        if ((double)tokens <= (1 - LEAST_GAIN) * (double)image_map_tokens(&costs[shrunk]) &&
            !is_dominated(photo, tokens, lost_share)) {
            add(photo,
                (struct image_map_lever){
                    .kind = IMAGE_MAP_LEVER_CROP, .size = size, .lost_share = lost_share},
                &costs[i]);
        }
    }
}

// The fewest tokens first; of equals the one that sees more.
static int compare_levers(const void *a, const void *b) {
    const struct image_map_lever *x = a, *y = b;
    if (x->tokens != y->tokens) {
        return x->tokens < y->tokens ? -1 : 1;
    }
    return (x->effective_pixels < y->effective_pixels) -
           (x->effective_pixels > y->effective_pixels);
}

void image_map_levers(const struct image_map *map, size_t photo, struct image_map_photo *out) {
    *out = (struct image_map_photo){.size = PHOTOS[photo]};
    const struct image_map_cost *cost =
        map->n_readings ? image_map_cost_of(map, 0, out->size) : NULL;
    const struct image_map_series *series = series_of(map, out->size);
    if (!cost || !series) {
        return;
    }
    out->cost = *cost;
    add_shrinking(map, series, out);
    find_free_size(map, (size_t)(series - map->sizes.series), out);
    add_budgets(map, out);
    add_crops(map, series, out);
    qsort(out->lever, out->n_levers, sizeof *out->lever, compare_levers);
}
