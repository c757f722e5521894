#include "measure/eval_run.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "engine/client.h"
#include "measure/window.h"
#include "os/file.h"
#include "os/process.h"

_Static_assert((int)TASK_MAX_IMAGES <= (int)ENGINE_MAX_RUN_IMAGES, "an item fits a request");

void eval_item_result_release(struct eval_item_result *result) {
    free(result->answer);
    *result = (struct eval_item_result){0};
}

void eval_score(struct eval_item_result *result) {
    const struct task_item *item = result->item;
    result->is_right = score_answer(&item->rule, result->answer,
                                    (const char *const *)item->references, item->n_references);
    result->defect = score_defect(result->answer, result->stop != ENGINE_STOP_EOS);
}

// ---- before a model is loaded

enum wl_status eval_image_path(const char *images_dir, const char *name, char out[OS_PATH_BYTES],
                               struct wl_err *err) {
    const char *dir = name[0] == '/' ? "/" : images_dir ? images_dir : "";
    return os_path_join(out, dir, name, err);
}

static size_t count_markers(const char *text) {
    size_t n = 0;
    for (const char *at = text; (at = strstr(at, ENGINE_IMAGE_MARKER)); at++) {
        n++;
    }
    return n;
}

static enum wl_status check_image(const char *images_dir, const char *name, struct wl_err *err) {
    char path[OS_PATH_BYTES];
    uint64_t size;
    enum wl_status status = eval_image_path(images_dir, name, path, err);
    if (status == WL_OK) {
        status = os_file_size(path, &size, err);
    }
    if (status == WL_OK && os_is_dir(path)) {
        status = wl_err_set(err, WL_INPUT, "'%s': expected an image, found a folder", path);
    } else if (status == WL_OK && (size == 0 || size > EVAL_MAX_IMAGE_BYTES)) {
        status =
            wl_err_set(err, size ? WL_LIMIT : WL_INPUT, "'%s': expected 1 to %d bytes, found %llu",
                       path, EVAL_MAX_IMAGE_BYTES, (unsigned long long)size);
    }
    return status;
}

static enum wl_status check_item(const struct task_item *item, const char *images_dir,
                                 bool has_encoder, struct wl_err *err) {
    size_t n_markers = count_markers(item->prompt);
    if (n_markers && n_markers != item->n_images) {
        return wl_err_set(err, WL_INPUT,
                          "the prompt has '" ENGINE_IMAGE_MARKER
                          "' %zu times, but the item has %zu images: expected as many",
                          n_markers, item->n_images);
    }
    if (item->n_images && !has_encoder) {
        return wl_err_set(err, WL_INPUT,
                          "it has images, and the model has no image encoder: give --mmproj FILE");
    }
    enum wl_status status = WL_OK;
    for (size_t i = 0; i < item->n_images && status == WL_OK; i++) {
        status = check_image(images_dir, item->images[i], err);
    }
    return status;
}

enum wl_status eval_check(const struct task_set *set, const char *images_dir, bool has_encoder,
                          struct wl_err *err) {
    for (size_t i = 0; i < set->n; i++) {
        enum wl_status status = check_item(&set->items[i], images_dir, has_encoder, err);
        if (status != WL_OK) {
            wl_err_prefix(err, "item '%s'", set->items[i].id);
            return status;
        }
    }
    return WL_OK;
}

// ---- asking

struct run {
    struct subject *subject;
    const struct eval_options *options;
    const struct eval_events *events;
    bool is_template;
};

static void warn(const struct run *run, const char *text) {
    if (run->events->on_warning) {
        run->events->on_warning(run->events->context, text);
    }
}

static enum wl_status put_images(const struct run *run, const struct task_item *item,
                                 struct wl_err *err) {
    struct buf bytes;
    buf_init(&bytes, EVAL_MAX_IMAGE_BYTES);
    enum wl_status status = WL_OK;
    for (size_t i = 0; i < item->n_images && status == WL_OK; i++) {
        char path[OS_PATH_BYTES];
        buf_clear(&bytes);
        status = eval_image_path(run->options->images_dir, item->images[i], path, err);
        if (status == WL_OK) {
            status = os_slurp(path, &bytes, err);
        }
        if (status == WL_OK) {
            status = engine_put_image(run->subject->engine, (uint32_t)i, bytes.data, bytes.len,
                                      NULL, err);
            if (status != WL_OK) {
                wl_err_prefix(err, "'%s'", path);
            }
        }
    }
    buf_release(&bytes);
    return status;
}

static void fill_request(const struct run *run, const struct task_item *item, uint32_t *slots,
                         struct engine_run_options *out) {
    uint32_t fallback = run->options->max_tokens ? run->options->max_tokens : EVAL_MAX_TOKENS;
    for (uint32_t i = 0; i < item->n_images; i++) {
        slots[i] = i;
    }
    *out = (struct engine_run_options){
        .prompt = item->prompt,
        .is_template = run->is_template,
        .images = item->n_images ? slots : NULL,
        .n_images = item->n_images,
        .n_predict = item->max_tokens ? item->max_tokens : fallback,
    };
}

static enum wl_status ask_once(const struct run *run, const struct task_item *item,
                               struct eval_item_result *out, struct wl_err *err) {
    uint32_t slots[TASK_MAX_IMAGES];
    struct window_options options = {0};
    struct window window;
    enum wl_status status = put_images(run, item, err);
    if (status != WL_OK) {
        return status;
    }
    fill_request(run, item, slots, &options.run);
    status = window_run(run->subject, &options, run->options->before, &window, err);
    if (status != WL_OK) {
        return status;
    }
    *out = (struct eval_item_result){.item = item,
                                     .answer = window.result.text,
                                     .stop = window.result.stop,
                                     .record = window.record};
    window.result.text = NULL; // ours now
    window_release(&window);
    eval_score(out);
    return WL_OK;
}

// Whether the engine is gone, and the request may do better in a new one.
static bool is_lost(enum wl_status status) {
    return status == WL_CRASHED || status == WL_PROTOCOL || status == WL_TIMEOUT;
}

static enum wl_status ask(const struct run *run, const struct task_item *item,
                          struct eval_item_result *out, struct wl_err *err) {
    struct wl_err first = {0};
    enum wl_status status = ask_once(run, item, out, &first);
    if (is_lost(status)) {
        wl_err_prefix(&first, "item '%s'", item->id);
        warn(run, first.message);
        warn(run, "starting the engine again for this item");
        first = (struct wl_err){0};
        status = subject_reopen(run->subject, &first);
        status = status == WL_OK ? ask_once(run, item, out, &first) : status;
    }
    if (status != WL_OK && err) {
        *err = first;
    }
    return status;
}

// The first request after a load is slow; it also tells whether the chat template can be applied.
static enum wl_status warm_up(struct run *run, const struct task_item *item, struct wl_err *err) {
    uint32_t slots[TASK_MAX_IMAGES];
    struct engine_run_options request;
    struct engine_run_result result;
    enum wl_status status = put_images(run, item, err);
    for (bool is_again = false; status == WL_OK; is_again = true) {
        struct wl_err first = {0};
        fill_request(run, item, slots, &request);
        request.n_predict = 1;
        status = engine_run(run->subject->engine, &request, NULL, &result, &first);
        engine_run_result_release(&result);
        if (status != WL_UNSUPPORTED || !run->is_template || is_again) {
            if (status != WL_OK && err) {
                *err = first;
            }
            break;
        }
        warn(run, first.message);
        warn(run, "asking without the model's chat template");
        run->is_template = false;
        status = WL_OK;
    }
    // A death here is seen again, and handled, when the item is asked.
    return is_lost(status) ? subject_reopen(run->subject, err) : status;
}

static enum wl_status ask_item(struct run *run, const struct task_set *set, size_t index,
                               bool is_first, struct wl_err *err) {
    const struct task_item *item = &set->items[index];
    struct eval_item_result result = {0};
    if (os_is_interrupted()) {
        return wl_err_set(err, WL_INTERRUPTED, "interrupted");
    }
    if (run->events->on_start) {
        run->events->on_start(run->events->context, index);
    }
    enum wl_status status = is_first ? warm_up(run, item, err) : WL_OK;
    if (status == WL_OK) {
        status = ask(run, item, &result, err);
    }
    if (status != WL_OK) {
        wl_err_prefix(err, "item '%s'", item->id);
        return status;
    }
    if (run->events->on_result) {
        status = run->events->on_result(run->events->context, index, &result, err);
    }
    eval_item_result_release(&result);
    return status;
}

enum wl_status eval_run(struct subject *subject, const struct task_set *set,
                        const struct eval_options *options, const struct eval_events *events,
                        struct wl_err *err) {
    static const struct eval_events NO_EVENTS = {0};
    struct run run = {.subject = subject,
                      .options = options,
                      .events = events ? events : &NO_EVENTS,
                      .is_template = !options->is_raw && subject->model.has_chat_template};
    enum wl_status status = WL_OK;
    bool is_first = true;
    for (size_t i = 0; i < set->n && status == WL_OK; i++) {
        if (!options->is_done || !options->is_done[i]) {
            status = ask_item(&run, set, i, is_first, err);
            is_first = false;
        }
    }
    return status;
}
