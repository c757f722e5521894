#include "compressor/calib_units.h"

#include <stdlib.h>

// ---- sides

// Of one sort: documents that lead a group, and the bytes of each group.
struct groups {
    struct calib_document *items; // all documents
    uint32_t *order;              // [n] leaders
    size_t *len;                  // by number of the leader
    size_t n;
};

static void find_groups(struct groups *groups, const struct calib_documents *documents,
                        enum calib_sort sort) {
    groups->n = 0;
    for (uint32_t i = 0; i < documents->n; i++) {
        const struct calib_document *document = &documents->items[i];
        if (calib_document_sort(document) == sort) {
            groups->len[document->group] += document->len;
            if (document->group == i) {
                groups->order[groups->n++] = i;
            }
        }
    }
}

// Holds groups out in this order as long as they fit; the smallest when none does.
static void hold_out(const struct groups *groups, double share) {
    double n_bytes = 0;
    double n_held = 0;
    size_t smallest = 0;
    for (size_t i = 0; i < groups->n; i++) {
        n_bytes += (double)groups->len[groups->order[i]];
    }
    for (size_t i = 0; i < groups->n; i++) {
        size_t len = groups->len[groups->order[i]];
        bool fits = n_held + (double)len <= share * n_bytes + 0.5;
        groups->items[groups->order[i]].is_held_out = fits;
        n_held += fits ? (double)len : 0;
        smallest = len < groups->len[groups->order[smallest]] ? i : smallest;
    }
    if (n_held == 0) {
        groups->items[groups->order[smallest]].is_held_out = true;
    }
}

enum wl_status calib_split(struct calib_documents *documents, double held_out, struct rng *rng,
                           struct wl_err *err) {
    struct groups groups = {.items = documents->items,
                            .order = calloc(documents->n + 1, sizeof *groups.order),
                            .len = calloc(documents->n + 1, sizeof *groups.len)};
    if (!groups.order || !groups.len) {
        free(groups.order);
        free(groups.len);
        return wl_err_set(err, WL_MEMORY, "no memory for an order of documents");
    }
    for (int sort = 0; sort < CALIB_SORTS && held_out > 0; sort++) {
        find_groups(&groups, documents, (enum calib_sort)sort);
        rng_shuffle_u32(rng, groups.order, groups.n);
        if (groups.n > 1) {
            hold_out(&groups, held_out);
        }
    }
    for (size_t i = 0; i < documents->n; i++) {
        struct calib_document *document = &documents->items[i];
        document->is_held_out = documents->items[document->group].is_held_out;
    }
    free(groups.order);
    free(groups.len);
    return WL_OK;
}

// ---- units

static bool is_of(const struct calib_document *document, enum calib_sort sort, bool is_held_out) {
    return calib_document_sort(document) == sort && document->is_held_out == is_held_out;
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
                                enum calib_sort sort, bool is_held_out, size_t section_bytes,
                                struct rng *rng, struct wl_err *err) {
    size_t n = 0;
    for (uint32_t i = 0; i < documents->n; i++) {
        n += is_of(&documents->items[i], sort, is_held_out) ? cut(documents, i, section_bytes, NULL)
                                                            : 0;
    }
    *units = (struct calib_units){.items = calloc(n + 1, sizeof *units->items)};
    if (!units->items) {
        return wl_err_set(err, WL_MEMORY, "no memory for %zu sections of text", n);
    }
    for (uint32_t i = 0; i < documents->n; i++) {
        if (is_of(&documents->items[i], sort, is_held_out)) {
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
