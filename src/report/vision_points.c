// Which budgets there are, what was measured under each, and the exact counts.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "report/vision_parts.h"

// Of a side and of a count in a stored file; far above what any encoder takes.
enum { MAX_COUNT = 1 << 24 };

static enum wl_status no_memory(struct wl_err *err) {
    return wl_err_set(err, WL_MEMORY, "no memory for the report");
}

// ---- budgets, in the order of the study ----

static struct report_image_budget *find_budget(struct report_vision *vision,
                                               uint32_t image_max_tokens) {
    for (size_t i = 0; i < vision->n_budgets; i++) {
        if (vision->budget[i].image_max_tokens == image_max_tokens) {
            return &vision->budget[i];
        }
    }
    return NULL;
}

static enum wl_status need_budget(struct report_vision *vision, uint32_t image_max_tokens,
                                  struct report_image_budget **out, struct wl_err *err) {
    *out = find_budget(vision, image_max_tokens);
    if (*out) {
        return WL_OK;
    }
    if (!vision->budget) {
        vision->budget = calloc(REPORT_MAX_BUDGETS, sizeof *vision->budget);
    }
    if (!vision->budget) {
        return no_memory(err);
    }
    if (vision->n_budgets == REPORT_MAX_BUDGETS) {
        return wl_err_set(err, WL_LIMIT, "the study has more than %d image budgets",
                          REPORT_MAX_BUDGETS);
    }
    *out = &vision->budget[vision->n_budgets++];
    (*out)->image_max_tokens = image_max_tokens;
    (*out)->token_knee_px = (*out)->grid_step_px = NAN;
    return WL_OK;
}

static bool has_images(const struct report_model *model, const char *image_tokens_json) {
    bool is_any = image_tokens_json && image_tokens_json[0];
    for (size_t i = 0; i < model->n_records && !is_any; i++) {
        is_any = vision_is_used(&model->records[i]);
    }
    return is_any;
}

static enum wl_status add_option_budgets(struct report_vision *vision, const json_t *options,
                                         struct wl_err *err) {
    const json_t *budgets = json_object_get(json_object_get(options, "images"), "budgets");
    enum wl_status status = WL_OK;
    for (size_t i = 0; i < json_array_size(budgets) && status == WL_OK; i++) {
        json_int_t value = json_integer_value(json_array_get(budgets, i));
        struct report_image_budget *budget;
        if (value >= 0 && value <= MAX_COUNT) {
            status = need_budget(vision, (uint32_t)value, &budget, err);
        }
    }
    return status;
}

// ---- points ----

static int by_size(const void *a, const void *b) {
    const struct report_image_point *x = a, *y = b;
    if (x->nominal_px != y->nominal_px) {
        return x->nominal_px < y->nominal_px ? -1 : 1;
    }
    return (x->width > y->width) - (x->width < y->width);
}

static enum wl_status add_point(struct report_image_budget *budget, const struct record *record,
                                struct wl_err *err) {
    const struct record_vision *seen = &record->vision;
    for (size_t i = 0; i < budget->n_points; i++) {
        struct report_image_point *point = &budget->point[i];
        if (point->width == seen->width && point->height == seen->height) {
            point->n++;
            return WL_OK;
        }
    }
    if (budget->n_points == REPORT_MAX_IMAGE_SIZES) {
        return wl_err_set(err, WL_LIMIT, "the study has more than %d image sizes",
                          REPORT_MAX_IMAGE_SIZES);
    }
    budget->point[budget->n_points++] =
        (struct report_image_point){.width = seen->width,
                                    .height = seen->height,
                                    .nominal_px = (double)seen->width * seen->height,
                                    .effective_px = (double)seen->effective_pixels,
                                    .image_tokens = seen->image_tokens,
                                    .n_views = seen->n_views,
                                    .n = 1};
    return WL_OK;
}

static enum wl_status add_points(struct report_model *model, struct wl_err *err) {
    enum wl_status status = WL_OK;
    for (size_t i = 0; i < model->n_records && status == WL_OK; i++) {
        const struct record *record = &model->records[i];
        struct report_image_budget *budget;
        if (!vision_is_used(record)) {
            continue;
        }
        model->vision.is_per_token |= record->vision.effective_pixels == 0;
        status = need_budget(&model->vision, record->vision.image_max_tokens, &budget, err);
        if (status == WL_OK) {
            status = add_point(budget, record, err);
        }
    }
    return status;
}

static bool is_of_point(const struct record *record, const struct report_image_budget *budget,
                        const struct report_image_point *point) {
    return vision_is_used(record) && record->vision.image_max_tokens == budget->image_max_tokens &&
           record->vision.width == point->width && record->vision.height == point->height;
}

// `scratch` has room for every record.
static enum wl_status describe_point(const struct report_model *model,
                                     const struct report_image_budget *budget,
                                     struct report_image_point *point, double *scratch,
                                     struct wl_err *err) {
    enum wl_status status = WL_OK;
    for (unsigned law = 0; law < REPORT_N_IMAGE_LAWS && status == WL_OK; law++) {
        enum metric_id metric = report_image_metric((enum report_image_law)law);
        size_t n = 0;
        for (size_t i = 0; i < model->n_records; i++) {
            const struct record *record = &model->records[i];
            if (is_of_point(record, budget, point) && isfinite(record->value[metric])) {
                scratch[n++] = record->value[metric];
            }
        }
        if (n > 0) {
            status = stats_describe(scratch, n, &point->summary[law], err);
        }
    }
    return status;
}

static enum wl_status describe_points(struct report_model *model, struct wl_err *err) {
    double *scratch = calloc(model->n_records + 1, sizeof *scratch);
    if (!scratch) {
        return no_memory(err);
    }
    enum wl_status status = WL_OK;
    for (size_t b = 0; b < model->vision.n_budgets && status == WL_OK; b++) {
        struct report_image_budget *budget = &model->vision.budget[b];
        qsort(budget->point, budget->n_points, sizeof *budget->point, by_size);
        for (size_t i = 0; i < budget->n_points && status == WL_OK; i++) {
            status = describe_point(model, budget, &budget->point[i], scratch, err);
        }
    }
    free(scratch);
    return status;
}

// ---- stairs ----

static int by_pixels(const void *a, const void *b) {
    const struct report_stair *x = a, *y = b;
    return (x->nominal_px > y->nominal_px) - (x->nominal_px < y->nominal_px);
}

// [width, height, tokens, effective pixels]
static enum wl_status read_count(const json_t *row, struct report_image_budget *budget,
                                 struct wl_err *err) {
    json_int_t value[4];
    for (size_t i = 0; i < 4; i++) {
        const json_t *item = json_array_get(row, i);
        value[i] = json_integer_value(item);
        bool is_side = i < 2;
        if (!json_is_integer(item) || value[i] < is_side || (i < 3 && value[i] > MAX_COUNT)) {
            return wl_err_set(err, WL_INPUT,
                              "expected [width, height, tokens, effective pixels], each a whole "
                              "number that makes sense");
        }
    }
    if (value[0] != value[1]) {
        return WL_OK;
    }
    if (budget->n_stairs == REPORT_MAX_STAIRS) {
        return wl_err_set(err, WL_LIMIT, "more than %d squares", REPORT_MAX_STAIRS);
    }
    budget->stair[budget->n_stairs++] = (struct report_stair){(double)value[0] * (double)value[1],
                                                              (double)value[3], (uint32_t)value[2]};
    return WL_OK;
}

static enum wl_status read_stairs(const json_t *row, struct report_vision *vision,
                                  struct wl_err *err) {
    int64_t image_max_tokens = -1;
    struct report_image_budget *budget;
    enum wl_status status = wl_json_get_i64(row, "image_max_tokens", &image_max_tokens, err);
    if (status == WL_OK && (image_max_tokens < 0 || image_max_tokens > MAX_COUNT)) {
        status = wl_err_set(err, WL_INPUT, "key 'image_max_tokens' is out of range");
    }
    if (status == WL_OK) {
        status = need_budget(vision, (uint32_t)image_max_tokens, &budget, err);
    }
    if (status != WL_OK) {
        return status;
    }
    const json_t *counts = json_object_get(row, "counts");
    budget->n_stairs = 0; // a budget that is named twice: the last one counts
    for (size_t i = 0; i < json_array_size(counts) && status == WL_OK; i++) {
        status = read_count(json_array_get(counts, i), budget, err);
    }
    qsort(budget->stair, budget->n_stairs, sizeof *budget->stair, by_pixels);
    return status;
}

static enum wl_status add_stairs(struct report_vision *vision, const char *text,
                                 struct wl_err *err) {
    json_t *json;
    if (!text || !text[0]) {
        return WL_OK;
    }
    enum wl_status status = wl_json_parse(text, strlen(text), &json, err);
    if (status == WL_OK) {
        const json_t *budgets = json_object_get(json, "budgets");
        // The measuring side writes the first budget last.
        for (size_t i = json_array_size(budgets); i-- > 0 && status == WL_OK;) {
            status = read_stairs(json_array_get(budgets, i), vision, err);
        }
        json_decref(json);
    }
    return status == WL_OK ? WL_OK : wl_err_prefix(err, "cannot report: image tokens");
}

static void find_token_knee(struct report_image_budget *budget) {
    struct knee_point points[REPORT_MAX_STAIRS];
    double knee_px;
    for (size_t i = 0; i < budget->n_stairs; i++) {
        points[i] = (struct knee_point){budget->stair[i].nominal_px, budget->stair[i].image_tokens};
    }
    if (budget->n_stairs == 0) {
        return;
    }
    knee_smooth_counts(points, budget->n_stairs);
    budget->token_shape = knee_of_counts(points, budget->n_stairs, KNEE_COUNT_TOLERANCE, &knee_px);
    if (budget->token_shape == KNEE_FLAT_AFTER) {
        budget->token_knee_px = knee_px;
    }
}

// How far the next sampled squares are: no fit to them can be finer. A square at the knee itself
// has a gap on either side, of which the wider counts.
static void find_grid_step(struct report_image_budget *budget) {
    double below = NAN, above = NAN, knee_px = budget->token_knee_px;
    bool is_sampled = false;
    for (size_t i = 0; i < budget->n_points; i++) {
        const struct report_image_point *point = &budget->point[i];
        if (point->width != point->height) {
            continue;
        }
        is_sampled |= point->nominal_px == knee_px;
        if (point->nominal_px < knee_px) {
            below = point->nominal_px;
        } else if (point->nominal_px > knee_px && isnan(above)) {
            above = point->nominal_px;
        }
    }
    budget->grid_step_px = is_sampled ? fmax(knee_px - below, above - knee_px) : above - below;
}

enum wl_status vision_collect(struct report_model *model, const json_t *options,
                              const char *image_tokens_json, struct wl_err *err) {
    if (!has_images(model, image_tokens_json)) {
        return WL_OK;
    }
    struct report_vision *vision = &model->vision;
    enum wl_status status = add_option_budgets(vision, options, err);
    if (status == WL_OK) {
        status = add_stairs(vision, image_tokens_json, err);
    }
    if (status == WL_OK) {
        status = add_points(model, err);
    }
    if (status == WL_OK) {
        status = describe_points(model, err);
    }
    for (size_t i = 0; i < vision->n_budgets && status == WL_OK; i++) {
        find_token_knee(&vision->budget[i]);
        find_grid_step(&vision->budget[i]);
    }
    return status;
}
