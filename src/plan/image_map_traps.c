// What surprises people, by counts alone.
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "plan/image_map.h"

// An image costs this much less although it is larger.
#define DROP_SHARE 0.10
// One more pixel costs this many times as much.
#define STEP_RATIO 1.5
// A picture of 112 x 112 is blown up when it costs this share of the largest.
#define BLOWN_UP_SHARE 0.5
#define WRAPPER_SHARE 0.10
enum { DROP_TOKENS = 48, BLOWN_UP_TOKENS = 128, WRAPPER_TOKENS = 16, MAX_STEP_TRAPS = 3 };
enum { DEFAULT_CONTEXT = 4096, DEFAULT_MICRO_BATCH = 512, ROOM_FOR_TEXT = 256 };

const char *image_map_trap_name(enum image_map_trap_kind kind) {
    static const char *const NAMES[] = {
#define X(suffix, name) name,
        IMAGE_MAP_TRAP_LIST(X)
#undef X
    };
    return NAMES[kind];
}

struct trap_list {
    struct image_map_trap *trap;
    size_t n;
};

static void add(struct trap_list *list, enum image_map_trap_kind kind, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void add(struct trap_list *list, enum image_map_trap_kind kind, const char *format, ...) {
    if (list->n < IMAGE_MAP_MAX_TRAPS) {
        struct image_map_trap *trap = &list->trap[list->n++];
        va_list args;
        trap->kind = kind;
        va_start(args, format);
        vsnprintf(trap->text, sizeof trap->text, format, args);
        va_end(args);
    }
}

// ---- budgets ----

// The worst in proportion, and which others do it too.
static void add_rises(const struct image_map *map, struct trap_list *list) {
    const struct image_map_reading *worst = NULL;
    char others[128] = "";
    for (size_t i = 1; i < map->n_readings; i++) {
        const struct image_map_change *rise = &map->reading[i].rise;
        if (rise->size.width > 0 && (!worst || (uint64_t)rise->after * worst->rise.before >
                                                   (uint64_t)worst->rise.after * rise->before)) {
            worst = &map->reading[i];
        }
    }
    for (size_t i = 1; i < map->n_readings; i++) {
        const struct image_map_reading *reading = &map->reading[i];
        size_t used = strlen(others);
        if (reading->rise.size.width > 0 && reading != worst) {
            snprintf(others + used, sizeof others - used, "%s%" PRId32,
                     used ? ", " : "; other sizes with ", reading->budget);
        }
    }
    if (worst) {
        add(list, IMAGE_MAP_TRAP_BUDGET_RAISES,
            "image_max_tokens %" PRId32 " RAISES the cost: %" PRIu32 "x%" PRIu32 " costs %" PRIu32
            " tokens instead of %" PRIu32 "%s",
            worst->budget, worst->rise.size.width, worst->rise.size.height, worst->rise.after,
            worst->rise.before, others);
    }
}

static void add_refusals(const struct image_map *map, struct trap_list *list) {
    for (size_t i = 1; i < map->n_readings; i++) {
        if (map->reading[i].problem[0]) {
            add(list, IMAGE_MAP_TRAP_BUDGET_REFUSED,
                "the encoder does not load with image_max_tokens %" PRId32 ": %.160s",
                map->reading[i].budget, map->reading[i].problem);
        }
    }
}

static void add_ignored(const struct image_map *map, struct trap_list *list) {
    size_t n_tried = 0, n_ignored = 0;
    int32_t lowest = 0;
    for (size_t i = 1; i < map->n_readings; i++) {
        const struct image_map_reading *reading = &map->reading[i];
        bool is_below = (uint32_t)reading->budget < map->reading[0].max_image_tokens;
        n_tried += is_below && reading->costs;
        n_ignored += reading->is_ignored;
        lowest = reading->is_ignored && !lowest ? reading->budget : lowest;
    }
    if (n_ignored > 0 && n_ignored == n_tried) {
        add(list, IMAGE_MAP_TRAP_BUDGET_IGNORED,
            "image_max_tokens is ignored: %" PRId32 " changes no count", lowest);
    } else if (n_ignored > 0) {
        add(list, IMAGE_MAP_TRAP_BUDGET_IGNORED,
            "image_max_tokens works for some values only: %" PRId32 " changes no count", lowest);
    }
}

// The worst of all budgets, in proportion.
static void add_excess(const struct image_map *map, struct trap_list *list) {
    const struct image_map_change *worst = NULL;
    for (size_t i = 1; i < map->n_readings; i++) {
        const struct image_map_change *excess = &map->reading[i].excess;
        if (excess->size.width > 0 && !map->reading[i].is_ignored &&
            (!worst ||
             (uint64_t)excess->after * worst->before > (uint64_t)worst->after * excess->before)) {
            worst = excess;
        }
    }
    if (worst) {
        add(list, IMAGE_MAP_TRAP_BUDGET_EXCEEDED,
            "image_max_tokens is no limit: with %" PRIu32 ", %" PRIu32 "x%" PRIu32 " takes %" PRIu32
            " image tokens",
            worst->before, worst->size.width, worst->size.height, worst->after);
    }
}

// ---- sizes ----

static void add_blown_up(const struct image_map *map, struct trap_list *list) {
    static const struct image_map_size SMALL = {112, 112};
    const struct image_map_cost *cost = image_map_cost_of(map, 0, SMALL);
    const struct image_map_knee *square = &map->reading[0].knee[0];
    if (!cost) {
        return;
    }
    uint32_t tokens = image_map_tokens(cost);
    if (tokens >= BLOWN_UP_TOKENS && (double)tokens >= BLOWN_UP_SHARE * (double)square->tokens) {
        add(list, IMAGE_MAP_TRAP_BLOWN_UP,
            "small pictures are blown up: %" PRIu32 "x%" PRIu32 " costs %" PRIu32
            " tokens, as a large one does; shrinking the input saves nothing",
            SMALL.width, SMALL.height, tokens);
    }
}

struct drop {
    size_t small, large; // of the list of sizes
    double by;           // tokens
};

// The largest drop of one aspect, if it is larger than `drop`.
static void find_drop(const struct image_map *map, size_t aspect, struct drop *drop) {
    double tokens[IMAGE_MAP_MAX_SERIES];
    const struct image_map_series *series = &map->sizes.series[aspect];
    size_t highest = 0;
    image_map_smooth(map, 0, aspect, tokens);
    for (size_t i = 0; i < series->n; i++) {
        double by = tokens[highest] - tokens[i];
        if (by <= 0) {
            highest = i;
        } else if (by >= DROP_TOKENS && by >= DROP_SHARE * tokens[highest] && by > drop->by) {
            *drop = (struct drop){series->first + highest, series->first + i, by};
        }
    }
}

static bool is_ordinary(struct image_map_size size) {
    return size.width <= 2 * size.height && size.height <= 2 * size.width;
}

// The same among the sizes that people send: another aspect can cost less with more pixels.
static void find_cheaper(const struct image_map *map, struct drop *drop) {
    const struct image_map_size *at = map->sizes.at;
    for (size_t i = 0; i < map->sizes.n_table; i++) {
        for (size_t k = 0; k < map->sizes.n_table; k++) {
            double small = (double)image_map_tokens(&map->reading[0].costs[i]);
            double by = small - (double)image_map_tokens(&map->reading[0].costs[k]);
            if (is_ordinary(at[i]) && is_ordinary(at[k]) &&
                image_map_pixels(at[k]) > image_map_pixels(at[i]) && by >= DROP_TOKENS &&
                by >= DROP_SHARE * small && by > drop->by) {
                *drop = (struct drop){i, k, by};
            }
        }
    }
}

static void add_not_monotone(const struct image_map *map, struct trap_list *list) {
    const struct image_map_cost *costs = map->reading[0].costs;
    struct drop drop = {0};
    find_cheaper(map, &drop);
    for (size_t a = 0; a < IMAGE_MAP_N_ASPECTS; a++) {
        find_drop(map, a, &drop);
    }
    if (drop.by > 0) {
        struct image_map_size small = map->sizes.at[drop.small], large = map->sizes.at[drop.large];
        add(list, IMAGE_MAP_TRAP_NOT_MONOTONE,
            "a larger picture can cost less: %" PRIu32 "x%" PRIu32 " %" PRIu32 " tokens, %" PRIu32
            "x%" PRIu32 " %" PRIu32,
            small.width, small.height, image_map_tokens(&costs[drop.small]), large.width,
            large.height, image_map_tokens(&costs[drop.large]));
    }
}

static void add_steps(const struct image_map *map, struct trap_list *list) {
    int n = 0;
    for (size_t a = 0; a < IMAGE_MAP_N_ASPECTS; a++) {
        const struct image_map_steps *steps = &map->reading[0].steps[a];
        for (size_t i = 0; i < steps->n && n < MAX_STEP_TRAPS; i++) {
            const struct image_map_step *step = &steps->step[i];
            if ((double)step->after >= STEP_RATIO * (double)step->before &&
                step->views_after != step->views_before) {
                add(list, IMAGE_MAP_TRAP_STEP,
                    "at %s%" PRIu32 "x%" PRIu32 " the cost jumps from %" PRIu32 " to %" PRIu32
                    " tokens (%" PRIu32 " to %" PRIu32 " views)",
                    step->is_exact ? "" : "about ", step->at.width, step->at.height, step->before,
                    step->after, step->views_before, step->views_after);
                n++;
            }
        }
    }
}

static void add_wrapper(const struct image_map *map, struct trap_list *list) {
    const struct image_map_sizes *sizes = &map->sizes;
    const struct image_map_cost *costs = map->reading[0].costs;
    size_t worst = 0;
    for (size_t i = 0; i < sizes->n_table; i++) {
        worst = costs[i].text_tokens > costs[worst].text_tokens ? i : worst;
    }
    const struct image_map_cost *cost = &costs[worst];
    uint32_t tokens = image_map_tokens(cost);
    if (cost->text_tokens >= WRAPPER_TOKENS &&
        (double)cost->text_tokens >= WRAPPER_SHARE * (double)tokens) {
        add(list, IMAGE_MAP_TRAP_WRAPPER,
            "%" PRIu32 " of the %" PRIu32 " tokens of %" PRIu32 "x%" PRIu32
            " are wrapper text (marks of tiles), not picture",
            cost->text_tokens, tokens, sizes->at[worst].width, sizes->at[worst].height);
    }
}

// ---- the machine ----

static void add_limits(const struct image_map *map, bool is_non_causal, struct trap_list *list) {
    uint32_t most = map->reading[0].max_image_tokens;
    if (most + ROOM_FOR_TEXT > DEFAULT_CONTEXT) {
        add(list, IMAGE_MAP_TRAP_CONTEXT,
            "one picture can take %" PRIu32 " tokens: a context of %d does not hold it with a "
            "question",
            most, DEFAULT_CONTEXT);
    }
    if (is_non_causal && most > DEFAULT_MICRO_BATCH) {
        add(list, IMAGE_MAP_TRAP_MICRO_BATCH,
            "a picture must fit in one micro-batch: --ubatch %" PRIu32 " or more", most);
    }
}

size_t image_map_traps(const struct image_map *map, bool is_non_causal,
                       struct image_map_trap out[IMAGE_MAP_MAX_TRAPS]) {
    struct trap_list list = {.trap = out};
    if (map->n_readings == 0 || !map->reading[0].costs) {
        return 0;
    }
    add_rises(map, &list);
    add_refusals(map, &list);
    add_blown_up(map, &list);
    add_not_monotone(map, &list);
    add_steps(map, &list);
    add_ignored(map, &list);
    add_excess(map, &list);
    add_wrapper(map, &list);
    add_limits(map, is_non_causal, &list);
    return list.n;
}
