// The encoded pictures that the client has handed over, by slot. They outlive models.
#ifndef WATTLAW_WORKER_IMAGE_SLOTS_H
#define WATTLAW_WORKER_IMAGE_SLOTS_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "image/image.h"

enum { MAX_IMAGE_SLOTS = 256 };

struct image_slot {
    unsigned char *bytes; // NULL when free
    size_t n;
    struct image_header header;
};

struct image_slots {
    struct image_slot slots[MAX_IMAGE_SLOTS];
    size_t total_bytes; // at most MAX_SLOT_BYTES
};

// The payload of an IMAGE frame: u32 slot, then the picture; none frees the slot. The header is
// read and checked at once; a picture that is refused leaves the slot as it was.
enum wl_status image_slots_request(struct image_slots *slots, const void *payload, size_t len,
                                   json_t **result, struct wl_err *err);
// NOT_FOUND when the slot is empty.
enum wl_status image_slots_get(const struct image_slots *slots, int64_t slot,
                               const struct image_slot **out, struct wl_err *err);
void image_slots_release(struct image_slots *slots);

#endif
