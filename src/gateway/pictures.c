// An order goes from picture to picture: its file is taken (from its data: URI or from the
// network), read on the worker's thread, its size chosen on the loop while the oracle is asked, and
// made on the thread. Only when all went well the request is changed.
#include "gateway/pictures.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/picture_address.h"
#include "gateway/picture_fetch.h"
#include "gateway/picture_file.h"
#include "gateway/picture_oracle.h"
#include "gateway/picture_url.h"

enum { DEFAULT_QUALITY = 90, DEFAULT_FETCH_MS = 10000 };
// base64 of the largest file that may be made, and its head.
enum { MAX_URI_BYTES = 96 << 20 };

struct pictures {
    struct pictures_options options;
    struct picture_oracle *oracle;
};

// What is done for an order. It outlives a cancelled order while the worker's thread is at it: all
// that the thread reads is here, or held from here.
struct pictures_work {
    struct worker_order job; // first
    struct pictures *pictures;
    struct pictures_order *order;                       // NULL: cancelled
    enum wl_status (*step)(struct pictures_work *work); // on the thread; NULL: nothing to do
    void (*next)(struct pictures_work *work);           // on the loop, when the step went well
    bool is_at_worker;
    struct openai_fault fault; // of the step
    struct image_limits limits;
    int jpeg_quality;

    size_t i; // the picture under way
    bool is_fetched;
    json_t *uri; // our own reference: the request may go
    struct picture_file file;
    struct picture_choice choice;
    struct picture_fetch *fetch;
    struct picture_question *question;

    size_t n_fetched_bytes;
    uint64_t pixels_in, pixels_out;
    int64_t tokens_in, tokens_out;
    size_t n_changed;
    struct buf made[OPENAI_MAX_IMAGES]; // new addresses; empty: it stays as it is
};

// ---- the end ----

static void release_picture(struct pictures_work *work) {
    json_decref(work->uri);
    work->uri = NULL;
    picture_file_release(&work->file);
}

static void free_work(struct pictures_work *work) {
    release_picture(work);
    for (size_t i = 0; i < OPENAI_MAX_IMAGES; i++) {
        buf_release(&work->made[i]);
    }
    free(work);
}

static void end_order(struct pictures_work *work, enum wl_status status) {
    struct pictures_order *order = work->order;
    order->status = status;
    order->work = NULL;
    free_work(work);
    order->on_done(order->context, order);
}

static void name_picture(const struct openai_image *image, char *out, size_t size) {
    snprintf(out, size, "messages[%zu].content[%zu].%s", image->message, image->part,
             strcmp(image->key, "url") == 0 ? "image_url.url" : "image_url");
}

static void end_with_fault(struct pictures_work *work) {
    struct pictures_order *order = work->order;
    order->fault = work->fault;
    if (!order->fault.param[0]) {
        name_picture(&order->request->images[work->i], order->fault.param,
                     sizeof order->fault.param);
    }
    end_order(work, work->fault.err.status);
}

static void deliver(struct pictures_work *work) {
    struct pictures_order *order = work->order;
    for (size_t i = 0; i < order->request->n_images; i++) {
        const struct buf *made = &work->made[i];
        work->i = i;
        if (made->len > 0 &&
            openai_request_set_image(order->request, i, made->data, made->len, &work->fault)) {
            end_with_fault(work);
            return;
        }
    }
    order->pixels_in = work->pixels_in;
    order->pixels_out = work->pixels_out;
    order->tokens_in = work->tokens_in;
    order->tokens_out = work->tokens_out;
    order->n_changed = work->n_changed;
    end_order(work, WL_OK);
}

// ---- to the worker's thread and back ----

static void on_work(struct worker_order *job) {
    struct pictures_work *work = (struct pictures_work *)job;
    if (work->step) {
        work->step(work);
    }
}

static void on_worked(struct worker_order *job) {
    struct pictures_work *work = (struct pictures_work *)job;
    work->is_at_worker = false;
    if (!work->order) {
        free_work(work);
        return;
    }
    if (job->is_cancelled) {
        openai_fault_set(&work->fault, WL_INTERRUPTED, NULL, NULL, "the gateway ends");
    }
    if (work->fault.err.status) {
        end_with_fault(work);
    } else {
        work->next(work);
    }
}

static void submit(struct pictures_work *work, enum wl_status (*step)(struct pictures_work *work),
                   void (*next)(struct pictures_work *work)) {
    work->step = step;
    work->next = next;
    work->is_at_worker = true;
    worker_submit(work->pictures->options.worker, &work->job);
}

// By way of the thread, so that nobody hears of it from within.
static void fail_later(struct pictures_work *work) {
    submit(work, NULL, end_with_fault);
}

// ---- one picture ----

static void begin_picture(struct pictures_work *work);

static bool is_smaller(const struct pictures_work *work) {
    return work->choice.size.width != work->file.header.width ||
           work->choice.size.height != work->file.header.height;
}

static void end_picture(struct pictures_work *work) {
    uint64_t pixels = (uint64_t)work->choice.size.width * work->choice.size.height;
    work->pixels_out += pixels;
    if (is_smaller(work)) {
        work->n_changed++;
        work->tokens_in += work->choice.tokens_in;
        work->tokens_out += work->choice.tokens_out;
    }
    release_picture(work);
    work->i++;
    begin_picture(work);
}

static enum wl_status shrink(struct pictures_work *work) {
    struct buf *uri = &work->made[work->i];
    buf_init(uri, MAX_URI_BYTES);
    return picture_file_shrink(&work->file, &work->limits, work->choice.size, work->jpeg_quality,
                               uri, &work->fault);
}

static enum wl_status wrap(struct pictures_work *work) {
    struct buf *uri = &work->made[work->i];
    buf_init(uri, MAX_URI_BYTES);
    return picture_file_wrap(&work->file, uri, &work->fault);
}

static void make(struct pictures_work *work) {
    bool is_unread = work->order->policy->is_webp_unread && work->file.header.format == IMAGE_WEBP;
    if (is_smaller(work) || is_unread) {
        submit(work, shrink, end_picture);
    } else if (work->is_fetched) {
        submit(work, wrap, end_picture);
    } else {
        end_picture(work);
    }
}

static void choose(struct pictures_work *work);

static void on_answer(void *context, bool is_known, int64_t n_tokens) {
    struct pictures_work *work = context;
    work->question = NULL;
    if (is_known) {
        picture_choice_take(&work->choice, n_tokens);
    } else {
        picture_choice_give_up(&work->choice);
    }
    choose(work);
}

// Until an answer must be waited for (true), or the size is chosen.
static bool is_waiting_for_answer(struct pictures_work *work) {
    struct picture_oracle *oracle = work->pictures->oracle;
    const char *model = work->order->request->model;
    struct picture_size size;
    struct wl_err err;
    while (picture_choice_next(&work->choice, &size)) {
        int64_t n_tokens;
        enum picture_oracle_answer answer = picture_oracle_look(oracle, model, size, &n_tokens);
        if (answer == ORACLE_KNOWS) {
            picture_choice_take(&work->choice, n_tokens);
        } else if (answer == ORACLE_MUST_ASK &&
                   picture_oracle_ask(oracle, model, size, on_answer, work, &work->question,
                                      &err) == WL_OK) {
            return true;
        } else {
            picture_choice_give_up(&work->choice);
        }
    }
    return false;
}

static void choose(struct pictures_work *work) {
    if (!is_waiting_for_answer(work)) {
        make(work);
    }
}

static void on_opened(struct pictures_work *work) {
    const struct pictures_order *order = work->order;
    const struct image_header *header = &work->file.header;
    const struct picture_budget *budget =
        &order->policy->detail[order->request->images[work->i].detail];
    work->pixels_in += (uint64_t)header->width * header->height;
    picture_choice_begin(&work->choice, (struct picture_size){header->width, header->height},
                         budget->max_tokens, budget->max_pixels);
    choose(work);
}

// ---- where its file comes from ----

static enum wl_status open_uri(struct pictures_work *work) {
    return picture_file_open(json_string_value(work->uri), json_string_length(work->uri),
                             &work->limits, &work->file, &work->fault);
}

static enum wl_status check_fetched(struct pictures_work *work) {
    return picture_file_check(&work->file, &work->limits, &work->fault);
}

static void on_fetched(void *context, enum wl_status status, const char *message,
                       unsigned char *bytes, size_t n) {
    struct pictures_work *work = context;
    work->fetch = NULL;
    work->file = (struct picture_file){.bytes = bytes, .n = n};
    work->n_fetched_bytes += n;
    if (status) {
        openai_fault_set(&work->fault, status,
                         status == WL_LIMIT ? "image_file_too_large" : "failed_to_download_image",
                         NULL, "%s", message);
        fail_later(work);
    } else {
        submit(work, check_fetched, on_opened);
    }
}

static enum wl_status check_url(const struct pictures_order *order,
                                const struct openai_image *image, struct picture_url *url,
                                struct openai_fault *fault) {
    const struct pictures_policy *policy = order->policy;
    struct wl_err err;
    if (picture_url_parse(image->url, image->n_url, url, &err)) {
        return openai_fault_set(fault, WL_INPUT, "invalid_image_url", NULL, "%s", err.message);
    }
    for (size_t i = 0; i < policy->n_allowed_hosts; i++) {
        if (picture_url_is_at(url, policy->allowed_hosts[i])) {
            return WL_OK;
        }
    }
    return openai_fault_set(fault, WL_INPUT, "invalid_image_url", NULL,
                            "pictures may not be fetched from '%s' (port %u): send the picture "
                            "itself as a data: URI, or have the gateway started with "
                            "--allow-image-host HOST",
                            url->host, url->port);
}

static size_t fetch_bytes_left(const struct pictures_work *work) {
    size_t left = IMAGE_LIMITS.max_bytes - work->n_fetched_bytes;
    return left < work->limits.max_bytes ? left : work->limits.max_bytes;
}

static enum wl_status start_fetch(struct pictures_work *work, const struct openai_image *image) {
    const struct pictures_options *options = &work->pictures->options;
    struct picture_url url;
    struct wl_err err;
    enum wl_status status = check_url(work->order, image, &url, &work->fault);
    if (status) {
        return status;
    }
    int64_t fetch_ms = work->order->policy->fetch_ms;
    const struct picture_fetch_options fetch = {
        .client = options->client,
        .url = &url,
        .max_bytes = fetch_bytes_left(work),
        .total_ms = fetch_ms > 0 ? fetch_ms : DEFAULT_FETCH_MS,
        .may_connect = options->may_connect ? options->may_connect : picture_address_is_public,
        .on_done = on_fetched,
        .context = work};
    status = picture_fetch_start(&fetch, &work->fetch, &err);
    return status ? openai_fault_set(&work->fault, status, NULL, NULL, "%s", err.message) : WL_OK;
}

static void begin_picture(struct pictures_work *work) {
    const struct openai_request *request = work->order->request;
    if (work->i == request->n_images) {
        deliver(work);
        return;
    }
    const struct openai_image *image = &request->images[work->i];
    work->is_fetched = picture_url_kind(image->url, image->n_url) == PICTURE_URL_HTTP;
    if (!work->is_fetched) {
        work->uri = json_incref(json_object_get(image->holder, image->key));
        submit(work, open_uri, on_opened);
    } else if (start_fetch(work, image)) {
        fail_later(work);
    }
}

// ---- the order ----

// All that can be refused at once, before anything is fetched or decoded.
static enum wl_status check_order(struct pictures_work *work) {
    const struct pictures_order *order = work->order;
    const struct openai_request *request = order->request;
    size_t max_images = order->policy->max_images ? order->policy->max_images : OPENAI_MAX_IMAGES;
    if (request->n_images > max_images) {
        return openai_fault_set(&work->fault, WL_LIMIT, "array_above_max_length", "messages",
                                "'messages': expected at most %zu pictures, found %zu", max_images,
                                request->n_images);
    }
    for (work->i = 0; work->i < request->n_images; work->i++) {
        const struct openai_image *image = &request->images[work->i];
        enum picture_url_kind kind = picture_url_kind(image->url, image->n_url);
        struct picture_url url;
        if (kind == PICTURE_URL_OTHER) {
            return openai_fault_set(&work->fault, WL_INPUT, "invalid_image_url", NULL,
                                    "expected a picture's address that begins with "
                                    "'data:image/', 'https://' or 'http://'");
        }
        if (kind == PICTURE_URL_HTTP && check_url(order, image, &url, &work->fault)) {
            return work->fault.err.status;
        }
    }
    work->i = 0;
    return WL_OK;
}

static void set_limits(struct pictures_work *work, const struct pictures_policy *policy) {
    work->limits = IMAGE_LIMITS;
    if (policy->max_bytes > 0) {
        work->limits.max_bytes = policy->max_bytes;
    }
    if (policy->max_pixels_in > 0) {
        work->limits.max_pixels = policy->max_pixels_in;
    }
    work->jpeg_quality = policy->jpeg_quality > 0 ? policy->jpeg_quality : DEFAULT_QUALITY;
}

void pictures_start(struct pictures *pictures, struct pictures_order *order) {
    struct pictures_work *work = calloc(1, sizeof *work);
    if (!work) {
        order->status = openai_fault_set(&order->fault, WL_MEMORY, NULL, NULL,
                                         "no memory for the request's pictures");
        order->on_done(order->context, order);
        return;
    }
    work->job = (struct worker_order){.work = on_work, .on_done = on_worked};
    work->pictures = pictures;
    work->order = order;
    order->work = work;
    set_limits(work, order->policy);
    if (order->policy->images_first) {
        openai_request_images_first(order->request);
    }
    if (check_order(work)) {
        fail_later(work);
    } else {
        submit(work, NULL, begin_picture);
    }
}

void pictures_cancel(struct pictures *pictures, struct pictures_order *order) {
    struct pictures_work *work = order->work;
    order->work = NULL;
    if (!work) {
        return;
    }
    work->order = NULL;
    picture_fetch_cancel(work->fetch);
    picture_oracle_cancel(work->question);
    if (work->is_at_worker) {
        worker_cancel(pictures->options.worker, &work->job);
    } else {
        free_work(work);
    }
}

// ---- opening and closing ----

enum wl_status pictures_open(const struct pictures_options *options, struct pictures **out,
                             struct wl_err *err) {
    struct pictures *pictures = calloc(1, sizeof *pictures);
    *out = NULL;
    if (!pictures) {
        return wl_err_set(err, WL_MEMORY, "no memory for pictures");
    }
    pictures->options = *options;
    enum wl_status status = picture_oracle_open(options->counting, &pictures->oracle, err);
    if (status) {
        free(pictures);
        return status;
    }
    *out = pictures;
    return WL_OK;
}

void pictures_close(struct pictures *pictures) {
    if (pictures) {
        picture_oracle_close(pictures->oracle);
        free(pictures);
    }
}

void pictures_forget_costs(struct pictures *pictures) {
    picture_oracle_forget(pictures->oracle);
}
