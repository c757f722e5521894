#include "measure/study_images.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "os/file.h"
#include "stats/knee.h"

enum { MAX_DENSE = 200, DRAWN_SIDE = 1024, JPEG_QUALITY = 92 };
// Squares of the staircase: up to this side.
#define MAX_DENSE_SIDE 4096.0
// Sides of the sweep are whole cells of the most common encoders (14 px patches, merged in twos):
// then effective pixels are those asked for, and costs do not wobble with the padding.
#define SIDE_STEP 28
// Sides of the sweep's squares, in sides of the one at the knee.
static const double SIDES[] = {0.17, 0.25, 0.33, 0.5, 0.67, 0.83, 1, 1.2, 1.5, 2, 2.67};
enum { N_SIDES = sizeof SIDES / sizeof SIDES[0] };

// ---- which sizes ----

// Sides grow by about 3 %.
static size_t dense_squares(struct engine_image_size sizes[MAX_DENSE]) {
    size_t n = 0;
    uint32_t last = 0;
    for (double side = 28; side <= MAX_DENSE_SIDE && n < MAX_DENSE; side *= 1.03) {
        uint32_t rounded = (uint32_t)lround(side / 4) * 4;
        if (rounded > last) {
            sizes[n++] = (struct engine_image_size){rounded, rounded};
            last = rounded;
        }
    }
    return n;
}

// The side of the square at the knee; what a family without a knee gets is 1024 px.
static double knee_side(const struct engine_image_size *sizes,
                        const struct engine_image_count *counts, size_t n) {
    struct knee_point points[MAX_DENSE];
    for (size_t i = 0; i < n; i++) {
        points[i].x = (double)sizes[i].width * sizes[i].height;
        points[i].y = counts[i].image_tokens;
    }
    double knee_px;
    knee_smooth_counts(points, n);
    return knee_of_counts(points, n, KNEE_COUNT_TOLERANCE, &knee_px) == KNEE_FLAT_AFTER
               ? sqrt(knee_px)
               : 1024;
}

static void add_size(struct study_image_options *images, double width, double height) {
    struct engine_image_size size = {(uint32_t)(lround(width / SIDE_STEP) * SIDE_STEP),
                                     (uint32_t)(lround(height / SIDE_STEP) * SIDE_STEP)};
    for (size_t i = 0; i < images->n_sizes; i++) {
        if (images->sizes[i].width == size.width && images->sizes[i].height == size.height) {
            return;
        }
    }
    if (images->n_sizes < STUDY_MAX_IMAGE_SIZES && size.width > 0 && size.height > 0) {
        images->sizes[images->n_sizes++] = size;
    }
}

static void choose_sizes(double side, struct study_image_options *images) {
    for (size_t i = 0; i < N_SIDES; i++) {
        add_size(images, SIDES[i] * side, SIDES[i] * side);
    }
    // As many pixels as a square between two others, but elongated: the law knows pixels only.
    add_size(images, 0.58 * side * sqrt(16.0 / 9), 0.58 * side / sqrt(16.0 / 9));
    add_size(images, 0.75 * side / sqrt(2), 0.75 * side * sqrt(2));
}

enum wl_status study_images_choose(const struct subject_options *subject, const char *model_path,
                                   struct study_image_options *images, struct wl_err *err) {
    if (images->n_sizes > 0 && images->n_budgets > 0) {
        return WL_OK;
    }
    struct engine *engine;
    struct engine_options options = {.path = subject->engine_path};
    enum wl_status status = engine_start(&options, &engine, err);
    if (status != WL_OK) {
        return status;
    }
    struct engine_counter_options counter = {.mmproj = subject->mmproj_path,
                                             .model = model_path,
                                             .image_min_tokens = subject->image_min_tokens,
                                             .image_max_tokens = subject->image_max_tokens};
    struct engine_image_size sizes[MAX_DENSE];
    struct engine_image_count counts[MAX_DENSE];
    size_t n = dense_squares(sizes);
    status = engine_open_counter(engine, &counter, NULL, err);
    if (status == WL_OK) {
        status = engine_count_images(engine, sizes, n, counts, err);
    }
    engine_stop(engine);
    if (status != WL_OK) {
        return status;
    }
    if (images->n_sizes == 0) {
        choose_sizes(knee_side(sizes, counts, n), images);
    }
    if (images->n_budgets == 0) {
        images->budgets[images->n_budgets++] = (uint32_t)subject->image_max_tokens;
        images->budgets[images->n_budgets++] = (counts[n - 1].image_tokens + 1) / 2;
    }
    return WL_OK;
}

// ---- exact counts ----

static json_t *counts_json(const struct engine_image_size *sizes,
                           const struct engine_image_count *counts, size_t n) {
    json_t *rows = json_array();
    for (size_t i = 0; i < n; i++) {
        json_array_append_new(rows, json_pack("[I, I, I, I]", (json_int_t)sizes[i].width,
                                              (json_int_t)sizes[i].height,
                                              (json_int_t)counts[i].image_tokens,
                                              (json_int_t)counts[i].effective_pixels));
    }
    return rows;
}

static enum wl_status count_budget(struct subject *subject,
                                   const struct study_image_options *images, size_t budget,
                                   struct study_counts *out, json_t *budgets, struct wl_err *err) {
    struct engine_image_size sizes[MAX_DENSE];
    struct engine_image_count counts[MAX_DENSE];
    size_t n = dense_squares(sizes);
    struct engine_vision_options options = {.image_min_tokens = subject->options.image_min_tokens,
                                            .image_max_tokens = (int32_t)images->budgets[budget]};
    enum wl_status status =
        engine_load_vision(subject->engine, &options, &subject->model.vision, NULL, err);
    if (status == WL_OK) {
        status = engine_count_images(subject->engine, images->sizes, images->n_sizes,
                                     out->count[budget], err);
    }
    if (status == WL_OK) {
        status = engine_count_images(subject->engine, sizes, n, counts, err);
    }
    if (status == WL_OK) {
        json_array_append_new(budgets, json_pack("{s:I, s:o}", "image_max_tokens",
                                                 (json_int_t)images->budgets[budget], "counts",
                                                 counts_json(sizes, counts, n)));
    }
    return status;
}

enum wl_status study_counts_fill(struct subject *subject, const struct study_image_options *images,
                                 struct study_counts *out, struct wl_err *err) {
    *out = (struct study_counts){.n_sizes = images->n_sizes, .n_budgets = images->n_budgets};
    json_t *budgets = json_array();
    enum wl_status status = WL_OK;
    for (size_t i = images->n_budgets; i-- > 0 && status == WL_OK;) { // ends with the first
        status = count_budget(subject, images, i, out, budgets, err);
    }
    out->json = json_pack("{s:o}", "budgets", budgets);
    return status;
}

void study_counts_release(struct study_counts *counts) {
    json_decref(counts->json);
    *counts = (struct study_counts){0};
}

// ---- pictures ----

// Something to look at when there is no picture: gradients, rings and edges of all sizes. What it
// shows does not matter for the cost.
static enum wl_status draw(struct image *out, struct wl_err *err) {
    *out = (struct image){.width = DRAWN_SIDE, .height = DRAWN_SIDE};
    out->rgb = malloc((size_t)3 * DRAWN_SIDE * DRAWN_SIDE);
    if (!out->rgb) {
        return wl_err_set(err, WL_MEMORY, "no memory for a picture");
    }
    unsigned char *at = out->rgb;
    for (uint32_t y = 0; y < DRAWN_SIDE; y++) {
        for (uint32_t x = 0; x < DRAWN_SIDE; x++) {
            double dx = x - DRAWN_SIDE / 3.0, dy = y - DRAWN_SIDE / 2.0;
            double ring = sin(sqrt(dx * dx + dy * dy) / 24);
            *at++ = (unsigned char)(127.5 + 127.5 * ring);
            *at++ = (unsigned char)(x * 255 / DRAWN_SIDE);
            *at++ = (unsigned char)((((x >> 5) ^ (y >> 6)) & 1) ? 220 : y * 255 / DRAWN_SIDE);
        }
    }
    return WL_OK;
}

static enum wl_status read_picture(const char *path, struct image *out, struct wl_err *err) {
    struct buf bytes;
    buf_init(&bytes, IMAGE_LIMITS.max_bytes);
    enum wl_status status = os_slurp(path, &bytes, err);
    if (status == WL_OK) {
        status = image_decode(bytes.data, bytes.len, NULL, 0, 0, out, err);
        if (status != WL_OK) {
            wl_err_prefix(err, "picture '%.300s'", path);
        }
    }
    buf_release(&bytes);
    return status;
}

enum wl_status study_pictures_open(const struct study_image_options *images,
                                   struct study_pictures *out, struct wl_err *err) {
    *out = (struct study_pictures){0};
    if (images->n_sizes == 0) {
        return WL_OK;
    }
    enum wl_status status = WL_OK;
    for (size_t i = 0; i < images->n_paths && i < STUDY_MAX_PICTURES && status == WL_OK; i++) {
        status = read_picture(images->paths[i], &out->source[i], err);
        out->n_sources += status == WL_OK;
    }
    if (images->n_paths == 0) {
        status = draw(&out->source[0], err);
        out->n_sources = status == WL_OK;
    }
    if (status != WL_OK) {
        study_pictures_release(out);
    }
    return status;
}

static enum wl_status make(const struct image *source, const struct engine_image_size *size,
                           struct study_picture *out, struct wl_err *err) {
    struct image resized;
    enum wl_status status = image_resize(source, size->width, size->height, &resized, err);
    if (status == WL_OK) {
        status = image_encode(&resized, IMAGE_JPEG, JPEG_QUALITY, &out->bytes, &out->n, err);
        image_release(&resized);
    }
    return status;
}

enum wl_status study_pictures_get(struct study_pictures *pictures,
                                  const struct study_image_options *images, size_t size,
                                  uint32_t repeat, const struct study_picture **out,
                                  struct wl_err *err) {
    size_t source = repeat % pictures->n_sources;
    struct study_picture *picture = &pictures->made[source][size];
    *out = picture;
    return picture->bytes ? WL_OK
                          : make(&pictures->source[source], &images->sizes[size], picture, err);
}

void study_pictures_release(struct study_pictures *pictures) {
    for (size_t i = 0; i < STUDY_MAX_PICTURES; i++) {
        image_release(&pictures->source[i]);
        for (size_t k = 0; k < STUDY_MAX_IMAGE_SIZES; k++) {
            free(pictures->made[i][k].bytes);
        }
    }
    *pictures = (struct study_pictures){0};
}
