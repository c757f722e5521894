#include "worker/image_slots.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/units.h"

enum { SLOT_NUMBER_BYTES = 4 };
// Of all slots together: sixteen photographs of the largest size, in a process that has a model.
static const size_t MAX_SLOT_BYTES = (size_t)256 << 20;

static void clear(struct image_slots *slots, struct image_slot *slot) {
    slots->total_bytes -= slot->n;
    free(slot->bytes);
    *slot = (struct image_slot){0};
}

static enum wl_status check_room(const struct image_slots *slots, const struct image_slot *slot,
                                 size_t n, struct wl_err *err) {
    size_t others = slots->total_bytes - slot->n;
    if (n <= MAX_SLOT_BYTES - others) {
        return WL_OK;
    }
    char need[UNITS_TEXT_BYTES];
    char used[UNITS_TEXT_BYTES];
    char limit[UNITS_TEXT_BYTES];
    return wl_err_set(err, WL_LIMIT,
                      "image: %s do not fit beside the %s in other slots (together at most %s); "
                      "free a slot first",
                      units_bytes(need, (double)n), units_bytes(used, (double)others),
                      units_bytes(limit, (double)MAX_SLOT_BYTES));
}

static enum wl_status fill(struct image_slots *slots, struct image_slot *slot, const void *bytes,
                           size_t n, struct wl_err *err) {
    struct image_header header;
    enum wl_status status = check_room(slots, slot, n, err);
    if (status == WL_OK) {
        status = image_probe(bytes, n, NULL, &header, err);
    }
    if (status != WL_OK) {
        return status;
    }
    unsigned char *copy = malloc(n);
    if (!copy) {
        return wl_err_set(err, WL_MEMORY, "no memory for an image of %zu bytes", n);
    }
    memcpy(copy, bytes, n);
    clear(slots, slot);
    *slot = (struct image_slot){.bytes = copy, .n = n, .header = header};
    slots->total_bytes += n;
    return WL_OK;
}

enum wl_status image_slots_request(struct image_slots *slots, const void *payload, size_t len,
                                   json_t **result, struct wl_err *err) {
    const unsigned char *bytes = payload;
    if (len < SLOT_NUMBER_BYTES) {
        return wl_err_set(err, WL_INPUT, "image: %zu bytes, expected a slot number of %d first",
                          len, SLOT_NUMBER_BYTES);
    }
    uint32_t number = (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 |
                      (uint32_t)bytes[3] << 24;
    if (number >= MAX_IMAGE_SLOTS) {
        return wl_err_set(err, WL_INPUT, "image: slot %" PRIu32 ", expected 0 to %d", number,
                          MAX_IMAGE_SLOTS - 1);
    }
    struct image_slot *slot = &slots->slots[number];
    size_t n = len - SLOT_NUMBER_BYTES;
    if (n == 0) {
        clear(slots, slot);
        *result = json_object();
        return WL_OK;
    }
    enum wl_status status = fill(slots, slot, bytes + SLOT_NUMBER_BYTES, n, err);
    if (status == WL_OK) {
        *result = json_pack("{s:I, s:I, s:s}", "width", (json_int_t)slot->header.width, "height",
                            (json_int_t)slot->header.height, "format",
                            image_format_name(slot->header.format));
    }
    return status;
}

enum wl_status image_slots_get(const struct image_slots *slots, int64_t slot,
                               const struct image_slot **out, struct wl_err *err) {
    if (slot < 0 || slot >= MAX_IMAGE_SLOTS) {
        return wl_err_set(err, WL_INPUT, "image slot %" PRId64 ", expected 0 to %d", slot,
                          MAX_IMAGE_SLOTS - 1);
    }
    *out = &slots->slots[slot];
    return (*out)->bytes ? WL_OK
                         : wl_err_set(err, WL_NOT_FOUND,
                                      "image slot %" PRId64 " is empty; send IMAGE first", slot);
}

void image_slots_release(struct image_slots *slots) {
    for (size_t i = 0; i < MAX_IMAGE_SLOTS; i++) {
        clear(slots, &slots->slots[i]);
    }
}
