// The engine's answers, decoded from any bytes: refused, or true to every promise of result.h.
// The first byte picks what the rest is taken for.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "engine/protocol.h"
#include "engine/result.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct engine_bounds BOUNDS = {
    .t_min_ns = 1000, .t_max_ns = 1000000, .n_predict = 100};

static void require(int is_true) {
    if (!is_true) {
        abort();
    }
}

static void check_run_images(const struct engine_run_result *run) {
    uint64_t n_tokens = 0;
    for (uint32_t i = 0; i < run->n_images; i++) {
        const struct engine_run_image *image = &run->images[i];
        require(image->decoded_width <= image->width && image->decoded_height <= image->height);
        n_tokens += image->image_tokens;
    }
    require(n_tokens == run->n_image_tokens && n_tokens <= run->n_prompt);
    require(run->n_positions <= run->n_prompt);
}

static void check_run(const json_t *json, uint32_t n_images) {
    struct engine_run_result run;
    struct engine_bounds bounds = BOUNDS;
    struct wl_err err = {0};
    bounds.n_images = n_images;
    if (engine_run_result_decode(json, &bounds, &run, &err) != WL_OK) {
        require(err.status == WL_PROTOCOL && err.message[0] && !run.text && !run.n_phases);
        return;
    }
    require(run.n_generated <= 100 && run.n_phases <= ENGINE_MAX_PHASES);
    require(run.n_images == n_images);
    check_run_images(&run);
    require(strlen(run.text) == run.text_bytes);
    for (uint32_t i = 0; i < run.n_phases; i++) {
        const struct engine_phase *p = &run.phases[i];
        require(p->t0_ns >= (i ? p[-1].t1_ns : 1000) && p->t1_ns >= p->t0_ns);
        require(p->t1_ns <= 1000000 && p->cpu0_ns >= 0 && p->cpu1_ns >= p->cpu0_ns);
    }
    engine_run_result_release(&run);
}

static void check_model(const json_t *json) {
    static struct engine_model model;
    struct wl_err err = {0};
    if (engine_model_decode(json, &model, &err) != WL_OK) {
        require(err.status == WL_PROTOCOL && err.message[0]);
        return;
    }
    json_t *text = json_string(model.chat_template); // NULL unless it is UTF-8
    require(text && model.n_types <= ENGINE_MAX_TYPES && model.n_params >= 0);
    json_decref(text);
}

static void check_vision(const json_t *json) {
    struct engine_vision vision;
    struct engine_image_count counts[2];
    struct engine_image image;
    struct wl_err err = {0};
    if (engine_vision_decode(json, &vision, &err) == WL_OK) {
        require(vision.projector[0] && vision.pixels_per_token >= 0 && vision.file_bytes >= 0);
    }
    if (engine_counts_decode(json, 2, counts, &err) == WL_OK) {
        require(counts[1].image_tokens > 0 && counts[1].n_views > 0);
    }
    if (engine_image_decode(json, &image, &err) == WL_OK) {
        require(image.width > 0 && image.height > 0 && image.format[0]);
    }
}

static void check_binary(const uint8_t *data, size_t size) {
    struct engine_run_result run = {.n_generated = (uint32_t)(size / 8)};
    struct engine_header header;
    int32_t *ids;
    size_t n;
    engine_tokens_decode(data, size, &ids, &n, NULL);
    free(ids);
    if (engine_token_times_decode(data, size, &BOUNDS, &run, NULL) == WL_OK) {
        require(size == 0 || run.token_t_ns[run.n_generated - 1] <= 1000000);
    }
    engine_run_result_release(&run);
    if (size >= ENGINE_HEADER_BYTES && engine_header_decode(data, 'e', &header, NULL) == WL_OK) {
        require(header.payload_bytes <= engine_frame_max_bytes(header.type));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    json_t *json;
    if (size == 0) {
        return 0;
    }
    if (data[0] == 'b') {
        check_binary(data + 1, size - 1);
    } else if (wl_json_parse((const char *)data + 1, size - 1, &json, NULL) == WL_OK) {
        struct wl_err err;
        check_run(json, 0);
        check_run(json, 2);
        check_model(json);
        check_vision(json);
        require(engine_error_decode(json, &err) != WL_OK);
        json_decref(json);
    }
    return 0;
}
