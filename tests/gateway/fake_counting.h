// A model server that counts, in place of gateway/counting.c: tokens by a made-up family of image
// encoders, told a little later, as from a server.
#ifndef TESTS_GATEWAY_FAKE_COUNTING_H
#define TESTS_GATEWAY_FAKE_COUNTING_H

#include <stdlib.h>
#include <string.h>

#include <uv.h>

#include "gateway/counting.h"
#include "image/image.h"
#include "picture_families.h"

enum { FAKE_BASE_TOKENS = 17 };

struct counting {
    uv_loop_t *loop;
    int64_t (*cost)(struct picture_size size);
    bool cannot;                                // counting_can
    enum wl_status status;                      // of all counts
    int n_counts, n_under_way, n_to_fail_after; // the last: 0: never
    uint64_t delay_ms;
};

struct count_call {
    uv_timer_t timer;
    struct counting *counting;
    int64_t n_tokens;
    void (*on_done)(void *, enum wl_status, int64_t, int, const char *);
    void *context;
};

bool counting_can(const struct counting *counting, const char *model) {
    (void)model;
    return !counting->cannot;
}

static inline int64_t fake_cost(const struct counting *counting, const struct openai_image *image) {
    unsigned char *bytes;
    size_t n;
    struct image_header header;
    if (image_from_data_uri(image->url, image->n_url, NULL, &bytes, &n, NULL) ||
        image_probe(bytes, n, NULL, &header, NULL)) {
        abort();
    }
    free(bytes);
    return counting->cost((struct picture_size){header.width, header.height});
}

static inline void fake_free(uv_handle_t *handle) {
    free(handle->data);
}

static inline void fake_end(uv_timer_t *timer) {
    struct count_call *call = timer->data;
    struct counting *counting = call->counting;
    bool is_failed =
        counting->n_to_fail_after > 0 && counting->n_counts >= counting->n_to_fail_after;
    enum wl_status status = is_failed ? WL_IO : counting->status;
    counting->n_under_way--;
    uv_close((uv_handle_t *)timer, fake_free);
    call->on_done(call->context, status, status ? -1 : call->n_tokens, status ? 500 : 200,
                  status ? "it does not work" : "");
}

enum wl_status count_start(struct counting *counting, const struct openai_request *request,
                           const char *text, size_t n_text,
                           void (*on_done)(void *context, enum wl_status status, int64_t n_tokens,
                                           int http_status, const char *message),
                           void *context, struct count_call **out, struct wl_err *err) {
    struct count_call *call = calloc(1, sizeof *call);
    (void)err;
    if (strlen(text) != n_text || strcmp(request->model, "m") != 0) {
        abort();
    }
    *call = (struct count_call){
        .counting = counting, .n_tokens = FAKE_BASE_TOKENS, .on_done = on_done, .context = context};
    for (size_t i = 0; i < request->n_images; i++) {
        call->n_tokens += fake_cost(counting, &request->images[i]);
    }
    counting->n_counts++;
    counting->n_under_way++;
    uv_timer_init(counting->loop, &call->timer);
    call->timer.data = call;
    uv_timer_start(&call->timer, fake_end, counting->delay_ms, 0);
    *out = call;
    return WL_OK;
}

void count_cancel(struct count_call *call) {
    if (call) {
        call->counting->n_under_way--;
        uv_close((uv_handle_t *)&call->timer, fake_free);
    }
}

#endif
