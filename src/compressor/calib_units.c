#include "compressor/calib_units.h"

#include <stdlib.h>

// ---- sides

static size_t bytes_of(const struct calib_documents *documents, enum calib_source source) {
    size_t n_bytes = 0;
    for (size_t i = 0; i < documents->n; i++) {
        n_bytes += documents->items[i].source == source ? documents->items[i].len : 0;
    }
    return n_bytes;
}

// Holds documents out in this order as long as they fit; the smallest when none does.
static void hold_out(struct calib_documents *documents, const uint32_t *order, size_t n,
                     double n_bytes) {
    double n_held = 0;
    size_t smallest = 0;
    for (size_t i = 0; i < n; i++) {
        struct calib_document *document = &documents->items[order[i]];
        document->is_held_out = n_held + (double)document->len <= n_bytes;
        n_held += document->is_held_out ? (double)document->len : 0;
        smallest = document->len < documents->items[order[smallest]].len ? i : smallest;
    }
    if (n_held == 0) {
        documents->items[order[smallest]].is_held_out = true;
    }
}

enum wl_status calib_split(struct calib_documents *documents, double held_out, struct rng *rng,
                           struct wl_err *err) {
    uint32_t *order = calloc(documents->n + 1, sizeof *order);
    if (!order) {
        return wl_err_set(err, WL_MEMORY, "no memory for an order of documents");
    }
    for (int source = 0; source < CALIB_SOURCES && held_out > 0; source++) {
        size_t n = 0;
        for (uint32_t i = 0; i < documents->n; i++) {
            if (documents->items[i].source == (enum calib_source)source) {
                order[n++] = i;
            }
        }
        rng_shuffle_u32(rng, order, n);
        if (n > 1) {
            double n_bytes = (double)bytes_of(documents, (enum calib_source)source);
            hold_out(documents, order, n, held_out * n_bytes + 0.5);
        }
    }
    free(order);
    return WL_OK;
}

// ---- units

static bool is_of(const struct calib_document *document, enum calib_source source,
                  bool is_held_out) {
    return document->source == source && document->is_held_out == is_held_out;
}

// Sections of a document into `items` (NULL: only counted).
static size_t cut(const struct calib_documents *documents, uint32_t index, size_t section_bytes,
                  struct calib_unit *items) {
    const struct calib_document *document = &documents->items[index];
    const char *text = buf_text(&documents->text) + document->at;
    size_t n = 0;
    for (size_t at = 0; at < document->len;) {
        size_t left = document->len - at;
        bool is_last = document->source != CALIB_TEXT || left <= section_bytes;
        size_t end =
            is_last ? document->len : calib_border(text, document->len, at + section_bytes);
        if (items) {
            items[n] = (struct calib_unit){index, document->at + at, end - at};
        }
        n++;
        at = end;
    }
    return n;
}

static void shuffle(struct calib_units *units, struct rng *rng) {
    for (size_t i = units->n; i > 1; i--) {
        size_t other = rng_below(rng, (uint32_t)i);
        struct calib_unit unit = units->items[i - 1];
        units->items[i - 1] = units->items[other];
        units->items[other] = unit;
    }
}

enum wl_status calib_units_make(struct calib_units *units, const struct calib_documents *documents,
                                enum calib_source source, bool is_held_out, size_t section_bytes,
                                struct rng *rng, struct wl_err *err) {
    size_t n = 0;
    for (uint32_t i = 0; i < documents->n; i++) {
        n += is_of(&documents->items[i], source, is_held_out)
                 ? cut(documents, i, section_bytes, NULL)
                 : 0;
    }
    *units = (struct calib_units){.items = calloc(n + 1, sizeof *units->items)};
    if (!units->items) {
        return wl_err_set(err, WL_MEMORY, "no memory for %zu sections of text", n);
    }
    for (uint32_t i = 0; i < documents->n; i++) {
        if (is_of(&documents->items[i], source, is_held_out)) {
            units->n += cut(documents, i, section_bytes, units->items + units->n);
        }
    }
    shuffle(units, rng);
    return WL_OK;
}

void calib_units_release(struct calib_units *units) {
    free(units->items);
    *units = (struct calib_units){0};
}
