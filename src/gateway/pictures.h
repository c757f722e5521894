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

// What one picture may cost. As long as tokens can be counted, none is changed that would not cost
// less afterwards.
struct picture_budget {
    // All that a picture adds to the prompt, its markers included; 0: no limit. The largest size
    // that fits is taken; where none fits the cheapest one, if that saves a tenth.
    int64_t max_tokens;
    // Nominal, where that saves tokens; 0: no limit. Where tokens cannot be counted (see
    // counting.h), max_tokens has no effect and this is kept whatever it saves.
    uint64_t max_pixels;
};

struct pictures_policy {
    struct picture_budget detail[3]; // by enum openai_detail
    size_t max_images;               // of one request; 0: OPENAI_MAX_IMAGES
    size_t max_bytes;                // of one picture, decoded from base64; 0: IMAGE_LIMITS
    uint64_t max_pixels_in;          // refused beyond (LIMIT); 0: IMAGE_LIMITS
    int jpeg_quality;                // of re-encoded ones; 0: 90
    bool images_first;               // pictures before the text of their message
    bool is_webp_unread; // the model server cannot read WebP (llama.cpp): it becomes JPEG
    // Hosts that may be fetched from ("example.org", ".example.org" with all below it, either with
    // ":8080" for another port than the scheme's); none: every http(s) address is refused. Never
    // into private, loopback, link-local or multicast addresses, whatever the name resolves to;
    // redirects are not followed. The pictures fetched for a request have 64 MiB together.
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
    // For tests: addresses that may be fetched from. NULL: public ones (picture_address.h).
    bool (*may_connect)(const struct sockaddr *address);
};
enum wl_status pictures_open(const struct pictures_options *options, struct pictures **out,
                             struct wl_err *err);
void pictures_close(struct pictures *pictures); // no order may be left. NULL is fine
// What sizes cost is asked anew: the model server is another one, or has other settings.
void pictures_forget_costs(struct pictures *pictures);

// One request's. Zeroed, then the first four are set; stays where it is until on_done.
struct pictures_order {
    struct openai_request *request; // chat; its pictures are replaced when all went well
    const struct pictures_policy *policy;
    // Never from within pictures_start, unless there is no memory at all.
    void (*on_done)(void *context, struct pictures_order *order);
    void *context;

    // Set at the end.
    enum wl_status status;          // the fault has it too
    struct openai_fault fault;      // param names the picture
    uint64_t pixels_in, pixels_out; // of all pictures
    int64_t tokens_in, tokens_out;  // of the pictures that were changed, as counted; 0: none
    size_t n_changed;               // in size
    struct pictures_work *work;     // its own
};
// Requests without pictures must not come here.
void pictures_start(struct pictures *pictures, struct pictures_order *order);
// No on_done; the order, its request and its policy may go at once.
void pictures_cancel(struct pictures *pictures, struct pictures_order *order);

#endif
