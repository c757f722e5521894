// Parts of narrow.c: what one block became, as a file that survives an interruption.
#ifndef WATTLAW_COMPRESSOR_NARROW_RECORD_H
#define WATTLAW_COMPRESSOR_NARROW_RECORD_H

#include "compressor/narrow.h"

struct narrow_record {
    struct narrow_layer layer; // points into `map`
    void *map;
    size_t n_bytes;
};

enum wl_status narrow_record_write(const struct compress_source *source, const char *path,
                                   const struct narrow_layer *layer, struct wl_err *err);
// False when there is none, or it is damaged, or not of this block in this plan.
bool narrow_record_open(struct narrow_record *record, const struct compress_source *source,
                        const char *path, uint32_t layer, const struct plan_layer *plan);
void narrow_record_close(struct narrow_record *record); // zeroed ones are fine

#endif
