#include "plan/image_map.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "stats/knee.h"

// A cost within this share of its final value has settled.
#define SETTLED 0.02
// Above a clamp the sides are rounded down to cells, and an error in the last binary digit then
// costs some sizes a row. Dips of fewer neighbours than this are filled before a knee is looked
// for.
enum { DIP = 9 };
// A jump between neighbouring sizes is a step when the views change, or when it is this share of
// the largest cost and this many tokens.
#define STEP_SHARE 0.25
enum { STEP_TOKENS = 64, SHORTEST_SIDE = 32, LAST_ONES = 3 };
// A budget raises a cost when it is this much above the default's.
#define RISE_SHARE 0.10
enum { RISE_TOKENS = 4 };

static const struct image_map_size TABLE[] = {
    {56, 56},     {112, 112},   {224, 224},   {336, 336},   {448, 448},  {512, 512},
    {640, 480},   {768, 768},   {896, 896},   {1024, 768},  {1280, 720}, {1024, 1024},
    {1920, 1080}, {2048, 2048}, {4000, 3000}, {3840, 2160}, {1000, 200}, {200, 1000}};
enum { N_TABLE = sizeof TABLE / sizeof TABLE[0] };

// The photos of the levers, cropped in the middle to 2:1, 16:9, 3:2, 4:3 or 1:1; of each photo the
// largest first.
static const struct image_map_size CROPS[] = {{1920, 960},  {1620, 1080}, {1440, 1080},
                                              {1080, 1080}, {4000, 2666}, {3000, 3000},
                                              {4000, 2250}, {4000, 2000}};
enum { N_CROPS = sizeof CROPS / sizeof CROPS[0] };

static const struct image_map_size UNITS[IMAGE_MAP_N_ASPECTS] = {{1, 1}, {4, 3}, {16, 9}};

const char *image_map_shape_name(enum image_map_shape shape) {
    static const char *const NAMES[] = {
#define X(suffix, name) name,
        IMAGE_MAP_SHAPE_LIST(X)
#undef X
    };
    return NAMES[shape];
}

uint32_t image_map_tokens(const struct image_map_cost *cost) {
    return cost->image_tokens + cost->text_tokens;
}

uint64_t image_map_pixels(struct image_map_size size) {
    return (uint64_t)size.width * size.height;
}

static struct image_map_size times(struct image_map_size unit, uint32_t side) {
    return (struct image_map_size){unit.width * side, unit.height * side};
}

// ---- sizes ----

// Sides in equal ratios, about 2.5 % apart.
static void add_series(struct image_map_sizes *sizes, size_t aspect) {
    struct image_map_series *series = &sizes->series[aspect];
    *series = (struct image_map_series){.unit = UNITS[aspect], .first = sizes->n};
    double low = ceil((double)SHORTEST_SIDE / series->unit.width);
    double high = floor((double)IMAGE_MAP_LONGEST_SIDE / series->unit.width);
    uint32_t last = 0;
    for (int i = 0; i < IMAGE_MAP_MAX_SERIES; i++) {
        double share = (double)i / (IMAGE_MAP_MAX_SERIES - 1);
        uint32_t side = (uint32_t)lround(low * pow(high / low, share));
        if (side > last) {
            series->side[series->n++] = side;
            sizes->at[sizes->n++] = times(series->unit, side);
            last = side;
        }
    }
}

enum wl_status image_map_new(struct image_map **out, struct wl_err *err) {
    struct image_map *map = calloc(1, sizeof *map);
    *out = map;
    if (!map) {
        return wl_err_set(err, WL_MEMORY, "no memory for the map of image costs");
    }
    memcpy(map->sizes.at, TABLE, sizeof TABLE);
    memcpy(map->sizes.at + N_TABLE, CROPS, sizeof CROPS);
    map->sizes.n_table = N_TABLE;
    map->sizes.n = N_TABLE + N_CROPS;
    for (size_t i = 0; i < IMAGE_MAP_N_ASPECTS; i++) {
        add_series(&map->sizes, i);
    }
    return WL_OK;
}

void image_map_free(struct image_map *map) {
    for (size_t i = 0; map && i < map->n_readings; i++) {
        free(map->reading[i].costs);
    }
    free(map);
}

const struct image_map_cost *image_map_cost_of(const struct image_map *map, size_t reading,
                                               struct image_map_size size) {
    const struct image_map_cost *costs = map->reading[reading].costs;
    for (size_t i = 0; costs && i < map->sizes.n; i++) {
        if (map->sizes.at[i].width == size.width && map->sizes.at[i].height == size.height) {
            return &costs[i];
        }
    }
    return NULL;
}

size_t image_map_default_budgets(const struct image_map *map,
                                 int32_t out[IMAGE_MAP_N_DEFAULT_BUDGETS]) {
    static const double SHARES[IMAGE_MAP_N_DEFAULT_BUDGETS] = {1.0 / 16, 1.0 / 8, 1.0 / 4,
                                                               1.0 / 2,  1,       2};
    double max = map->n_readings ? map->reading[0].max_image_tokens : 0;
    size_t n = 0;
    for (int i = 0; i < IMAGE_MAP_N_DEFAULT_BUDGETS; i++) {
        double budget = fmin(round(max * SHARES[i]), IMAGE_MAP_MAX_BUDGET);
        if (budget >= 1 && (n == 0 || (int32_t)budget > out[n - 1])) {
            out[n++] = (int32_t)budget;
        }
    }
    return n;
}

// ---- one reading ----

struct curve {
    const struct image_map_series *series;
    const struct image_map_cost *costs;
};

static struct curve curve_of(const struct image_map_sizes *sizes,
                             const struct image_map_reading *reading, size_t aspect) {
    return (struct curve){&sizes->series[aspect], reading->costs + sizes->series[aspect].first};
}

static uint32_t most_tokens(const struct curve *curve) {
    uint32_t most = 0;
    for (size_t i = 0; i < curve->series->n; i++) {
        uint32_t tokens = image_map_tokens(&curve->costs[i]);
        most = tokens > most ? tokens : most;
    }
    return most;
}

static bool is_step(const struct image_map_cost *a, const struct image_map_cost *b, uint32_t most) {
    uint32_t x = image_map_tokens(a), y = image_map_tokens(b);
    uint32_t jump = x > y ? x - y : y - x;
    return jump > 0 && (a->n_views != b->n_views ||
                        (jump >= STEP_TOKENS && (double)jump >= STEP_SHARE * (double)most));
}

static void set_step(struct image_map_step *step, const struct image_map_cost *before,
                     const struct image_map_cost *after) {
    step->before = image_map_tokens(before);
    step->after = image_map_tokens(after);
    step->views_before = before->n_views;
    step->views_after = after->n_views;
}

static void find_steps(const struct curve *curve, struct image_map_steps *out) {
    uint32_t most = most_tokens(curve);
    *out = (struct image_map_steps){0};
    for (size_t i = 1; i < curve->series->n && out->n < IMAGE_MAP_MAX_STEPS; i++) {
        if (is_step(&curve->costs[i - 1], &curve->costs[i], most)) {
            struct image_map_step *step = &out->step[out->n++];
            step->index = i;
            step->at = times(curve->series->unit, curve->series->side[i]);
            step->is_exact = curve->series->side[i] == curve->series->side[i - 1] + 1;
            set_step(step, &curve->costs[i - 1], &curve->costs[i]);
        }
    }
}

static bool is_settled(uint32_t tokens, uint32_t final) {
    return fabs((double)tokens - (double) final) <= SETTLED * (double) final;
}

// The same tokens in as many views, in jumps or evenly.
static enum image_map_shape settled_shape(const struct image_map_steps *steps) {
    for (size_t i = 0; i < steps->n; i++) {
        if (steps->step[i].views_before != steps->step[i].views_after) {
            return IMAGE_MAP_STEPS;
        }
    }
    return IMAGE_MAP_KNEE;
}

// The largest (or smallest) y of the DIP neighbours around each point.
static void spread(const struct knee_point *in, size_t n, bool is_largest, struct knee_point *out) {
    for (size_t i = 0; i < n; i++) {
        out[i] = in[i];
        for (size_t k = i < DIP / 2 ? 0 : i - DIP / 2; k < n && k <= i + DIP / 2; k++) {
            out[i].y = is_largest ? fmax(out[i].y, in[k].y) : fmin(out[i].y, in[k].y);
        }
    }
}

// Pixels and tokens without short dips; rises and falls stay where they are (a closing, as of
// pictures).
static void smooth_points(const struct curve *curve, struct knee_point *out) {
    struct knee_point raw[IMAGE_MAP_MAX_SERIES], wide[IMAGE_MAP_MAX_SERIES];
    const struct image_map_series *series = curve->series;
    for (size_t i = 0; i < series->n; i++) {
        struct image_map_size size = times(series->unit, series->side[i]);
        raw[i] = (struct knee_point){(double)image_map_pixels(size),
                                     (double)image_map_tokens(&curve->costs[i])};
    }
    spread(raw, series->n, true, wide);
    spread(wide, series->n, false, out);
}

void image_map_smooth(const struct image_map *map, size_t reading, size_t aspect, double *out) {
    struct knee_point points[IMAGE_MAP_MAX_SERIES];
    struct curve curve = curve_of(&map->sizes, &map->reading[reading], aspect);
    smooth_points(&curve, points);
    for (size_t i = 0; i < curve.series->n; i++) {
        out[i] = points[i].y;
    }
}

static void find_knee(const struct curve *curve, const struct image_map_steps *steps,
                      struct image_map_knee *out) {
    struct knee_point points[IMAGE_MAP_MAX_SERIES];
    const struct image_map_series *series = curve->series;
    double knee_x = 0;
    smooth_points(curve, points);
    enum knee_shape shape = knee_of_counts(points, series->n, SETTLED, &knee_x);
    *out = (struct image_map_knee){.shape = IMAGE_MAP_GROWS,
                                   .tokens = (uint32_t)points[series->n - 1].y,
                                   .least_tokens = image_map_tokens(&curve->costs[0])};
    if (shape == KNEE_NONE_CONSTANT) {
        out->shape = IMAGE_MAP_CONSTANT;
    } else if (shape == KNEE_FLAT_AFTER) {
        while (out->index + 1 < series->n && points[out->index].x < knee_x) {
            out->index++;
        }
        // A cost that has stayed for the last few sizes only may be a stair of one that grows.
        if (out->index > 0 && out->index + LAST_ONES < series->n) {
            out->shape = settled_shape(steps);
            out->at = times(series->unit, series->side[out->index]);
        }
    }
}

static void compare_size(struct image_map_reading *reading, uint32_t default_max,
                         struct image_map_size size, const struct image_map_cost *base,
                         const struct image_map_cost *cost) {
    uint32_t before = image_map_tokens(base), after = image_map_tokens(cost);
    uint32_t budget = (uint32_t)reading->budget;
    struct image_map_change *rise = &reading->rise, *excess = &reading->excess;
    reading->is_same = reading->is_same && before == after;
    if (budget <= default_max && after > before + RISE_TOKENS &&
        (double)after > (1 + RISE_SHARE) * (double)before &&
        after - before > rise->after - rise->before) {
        *rise = (struct image_map_change){size, before, after};
    }
    if (cost->image_tokens > budget &&
        cost->image_tokens - budget > excess->after - excess->before) {
        *excess = (struct image_map_change){size, budget, cost->image_tokens};
    }
}

static void compare(const struct image_map *map, struct image_map_reading *reading) {
    const struct image_map_reading *base = &map->reading[0];
    reading->is_same = true;
    for (size_t i = 0; i < map->sizes.n; i++) {
        compare_size(reading, base->max_image_tokens, map->sizes.at[i], &base->costs[i],
                     &reading->costs[i]);
    }
    reading->is_ignored = reading->is_same && (uint32_t)reading->budget < base->max_image_tokens;
}

static void judge(const struct image_map *map, struct image_map_reading *reading) {
    for (size_t i = 0; i < map->sizes.n; i++) {
        uint32_t tokens = reading->costs[i].image_tokens;
        reading->max_image_tokens =
            tokens > reading->max_image_tokens ? tokens : reading->max_image_tokens;
    }
    for (size_t a = 0; a < IMAGE_MAP_N_ASPECTS; a++) {
        struct curve curve = curve_of(&map->sizes, reading, a);
        find_steps(&curve, &reading->steps[a]);
        find_knee(&curve, &reading->steps[a], &reading->knee[a]);
    }
    if (reading->budget > 0 && map->reading[0].costs) {
        compare(map, reading);
    }
}

enum wl_status image_map_add(struct image_map *map, int32_t budget,
                             const struct image_map_cost *costs, const char *problem,
                             struct wl_err *err) {
    if (map->n_readings > IMAGE_MAP_MAX_BUDGETS) {
        return wl_err_set(err, WL_LIMIT, "more than %d image budgets", IMAGE_MAP_MAX_BUDGETS);
    }
    struct image_map_reading *reading = &map->reading[map->n_readings];
    *reading = (struct image_map_reading){.budget = budget};
    if (!costs) {
        str_copy(reading->problem, sizeof reading->problem, problem ? problem : "not counted");
        map->n_readings++;
        return WL_OK;
    }
    reading->costs = malloc(map->sizes.n * sizeof *costs);
    if (!reading->costs) {
        return wl_err_set(err, WL_MEMORY, "no memory for the image costs of one budget");
    }
    memcpy(reading->costs, costs, map->sizes.n * sizeof *costs);
    map->n_readings++;
    judge(map, reading);
    return WL_OK;
}

// ---- to the pixel ----

// The sides strictly between the counted ones where a knee or step lies; for a knee also some above
// it, where a last peak may hide.
struct gap {
    const struct image_map_series *series;
    uint32_t below, above;       // counted
    struct image_map_knee *knee; // or
    struct image_map_step *step;
};

enum { MAX_GAPS = IMAGE_MAP_N_ASPECTS * (1 + IMAGE_MAP_MAX_STEPS), ABOVE_KNEE = 12 };

static size_t find_gaps(const struct image_map *map, struct image_map_reading *reading,
                        struct gap out[MAX_GAPS]) {
    size_t n = 0, room = IMAGE_MAP_MAX_SIZES;
    for (size_t a = 0; reading->costs && a < IMAGE_MAP_N_ASPECTS; a++) {
        struct image_map_steps *steps = &reading->steps[a];
        const struct image_map_series *series = &map->sizes.series[a];
        for (size_t i = 0; i <= steps->n; i++) {
            struct gap gap = {.series = series};
            gap.knee = i == 0 ? &reading->knee[a] : NULL;
            gap.step = i > 0 ? &steps->step[i - 1] : NULL;
            size_t index = gap.knee ? gap.knee->index : gap.step->index;
            bool has_gap = gap.step || (gap.knee->at.width > 0 && index > 0);
            gap.below = has_gap ? series->side[index - 1] : 0;
            index += gap.knee ? ABOVE_KNEE : 0;
            gap.above = has_gap ? series->side[index < series->n ? index : series->n - 1] : 0;
            if (has_gap && gap.above - gap.below > 1 && gap.above - gap.below - 1 <= room) {
                room -= gap.above - gap.below - 1;
                out[n++] = gap;
            }
        }
    }
    return n;
}

size_t image_map_refine(const struct image_map *map, size_t reading, struct image_map_size *out) {
    struct gap gaps[MAX_GAPS];
    struct image_map_reading copy = map->reading[reading];
    size_t n_gaps = find_gaps(map, &copy, gaps), n = 0;
    for (size_t g = 0; g < n_gaps; g++) {
        for (uint32_t side = gaps[g].below + 1; side < gaps[g].above; side++) {
            out[n++] = times(gaps[g].series->unit, side);
        }
    }
    return n;
}

// `costs` are of the sides below + 1 to above - 1. Behind the last one that costs more than the
// final value, the first that costs as much.
static void refine_knee(const struct gap *gap, const struct image_map_cost *costs) {
    uint32_t side = gap->below + 1;
    for (uint32_t i = side; i < gap->above; i++) {
        double tokens = (double)image_map_tokens(&costs[i - gap->below - 1]);
        side = tokens > (1 + SETTLED) * (double)gap->knee->tokens ? i + 1 : side;
    }
    while (side < gap->above &&
           !is_settled(image_map_tokens(&costs[side - gap->below - 1]), gap->knee->tokens)) {
        side++;
    }
    gap->knee->at = times(gap->series->unit, side);
    gap->knee->is_exact = true;
}

static void refine_step(const struct gap *gap, const struct image_map_cost *costs,
                        const struct image_map_cost *below, const struct image_map_cost *above) {
    const struct image_map_cost *before = below;
    double largest = -1;
    for (uint32_t side = gap->below + 1; side <= gap->above; side++) {
        const struct image_map_cost *after =
            side < gap->above ? &costs[side - gap->below - 1] : above;
        double jump = fabs((double)image_map_tokens(after) - (double)image_map_tokens(before));
        if (jump > largest) {
            largest = jump;
            gap->step->at = times(gap->series->unit, side);
            set_step(gap->step, before, after);
        }
        before = after;
    }
    gap->step->is_exact = true;
}

void image_map_take_refined(struct image_map *map, size_t reading,
                            const struct image_map_cost *costs) {
    struct gap gaps[MAX_GAPS];
    struct image_map_reading *own = &map->reading[reading];
    size_t n_gaps = find_gaps(map, own, gaps), used = 0;
    for (size_t g = 0; g < n_gaps; g++) {
        const struct gap *gap = &gaps[g];
        if (gap->knee) {
            refine_knee(gap, costs + used);
        } else {
            const struct image_map_cost *above = own->costs + gap->series->first + gap->step->index;
            refine_step(gap, costs + used, above - 1, above);
        }
        used += gap->above - gap->below - 1;
    }
}
