// The pictures of a request before the model server sees them: taken from data: URIs (or fetched
// from addresses that are allowed), checked, and shrunk where that saves tokens for this model's
// family of image encoders. What saves is not assumed but counted (the knee map). On the gateway's
// loop, with the pixels on the worker's thread.
#ifndef WATTLAW_GATEWAY_PICTURES_H
#define WATTLAW_GATEWAY_PICTURES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gateway/counting.h"
#include "gateway/http_client.h"
#include "gateway/worker.h"
#include "openai/request.h"

// What one picture may cost.
struct picture_budget {
    int64_t max_tokens;  // 0: no limit. Never raises what a picture costs; see pictures.c
    uint64_t max_pixels; // nominal, whatever it saves: 0: no limit
};

struct pictures_policy {
    struct picture_budget detail[3]; // by enum openai_detail
    size_t max_images;               // of one request; 0: OPENAI_MAX_IMAGES
    size_t max_bytes;                // of one picture, decoded from base64; 0: IMAGE_LIMITS
    uint64_t max_pixels_in;          // refused beyond (LIMIT); 0: IMAGE_LIMITS
    int jpeg_quality;                // of re-encoded ones; 0: 90
    bool images_first;               // pictures before the text of their message
    // Hosts that may be fetched from ("example.org", ".example.org" with all below it); none: every
    // http(s) address is refused. Never into private, loopback, link-local or multicast addresses
    // (also after a redirect, of which there may be none), whatever the name resolves to.
    const char *const *allowed_hosts;
    size_t n_allowed_hosts;
    int64_t fetch_ms; // 0: 10 s
};

struct pictures;
struct pictures_options {
    uv_loop_t *loop;
    struct http_client *client;
    struct gateway_worker *worker;
    struct counting *counting; // the oracle of what a size costs
};
enum wl_status pictures_open(const struct pictures_options *options, struct pictures **out,
                             struct wl_err *err);
void pictures_close(struct pictures *pictures); // no order may be left. NULL is fine

// One request's. Zeroed, then the first four are set; stays where it is until on_done.
struct pictures_order {
    struct openai_request *request; // chat; its pictures are replaced when all went well
    const struct pictures_policy *policy;
    void (*on_done)(void *context, struct pictures_order *order); // never from within
    void *context;

    // Set at the end.
    enum wl_status status;     // the fault has it too
    struct openai_fault fault; // param names the picture
    uint64_t pixels_in, pixels_out;
    int64_t tokens_in, tokens_out; // of the pictures that were changed, as counted; 0: none
    size_t n_changed;
    struct pictures_work *work; // its own
};
// Requests without pictures must not come here.
void pictures_start(struct pictures *pictures, struct pictures_order *order);
void pictures_cancel(struct pictures *pictures, struct pictures_order *order); // no on_done

#endif
