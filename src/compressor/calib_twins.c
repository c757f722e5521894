// Which documents are the same, and which belong together.
#include <stdlib.h>
#include <string.h>

#include "compressor/calib_read.h"

// ---- twins

struct twin {
    uint64_t hash;
    const char *text;
    size_t len, index;
    const uint32_t *pictures;
    uint32_t n_pictures;
};

static uint64_t hash_of(const char *text, size_t n) { // FNV-1a
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < n; i++) {
        hash = (hash ^ (unsigned char)text[i]) * 0x100000001b3u;
    }
    return hash;
}

static struct twin twin_of(const struct calib_documents *documents, size_t i) {
    const struct calib_document *document = &documents->items[i];
    const char *text = buf_text(&documents->text) + document->at;
    return (struct twin){
        .hash = hash_of(text, document->len),
        .text = text,
        .len = document->len,
        .index = i,
        .pictures =
            document->n_pictures ? documents->picture_numbers + document->pictures_at : NULL,
        .n_pictures = document->n_pictures,
    };
}

static int compare_pictures(const struct twin *a, const struct twin *b) {
    if (a->n_pictures != b->n_pictures) {
        return a->n_pictures < b->n_pictures ? -1 : 1;
    }
    return a->n_pictures ? memcmp(a->pictures, b->pictures, a->n_pictures * sizeof *a->pictures)
                         : 0;
}

static int compare_content(const struct twin *a, const struct twin *b) {
    if (a->hash != b->hash) {
        return a->hash < b->hash ? -1 : 1;
    }
    if (a->len != b->len) {
        return a->len < b->len ? -1 : 1;
    }
    int order = memcmp(a->text, b->text, a->len);
    return order != 0 ? order : compare_pictures(a, b);
}

static int compare_twins(const void *a, const void *b) {
    const struct twin *x = a;
    const struct twin *y = b;
    int order = compare_content(x, y);
    return order != 0 ? order : (x->index > y->index) - (x->index < y->index);
}

static void drop(struct calib_documents *documents, struct twin *twins, bool *is_twin) {
    for (size_t i = 0; i < documents->n; i++) {
        twins[i] = twin_of(documents, i);
    }
    qsort(twins, documents->n, sizeof *twins, compare_twins);
    for (size_t i = 1; i < documents->n; i++) {
        is_twin[twins[i].index] = compare_content(&twins[i - 1], &twins[i]) == 0;
    }
    size_t n = 0;
    for (size_t i = 0; i < documents->n; i++) {
        if (!is_twin[i]) {
            documents->items[n] = documents->items[i];
            documents->items[n].group = (uint32_t)n;
            n++;
        }
    }
    documents->n = n;
}

// ---- groups

// The first document of a group; the way there is shortened.
static uint32_t root_of(struct calib_documents *documents, uint32_t i) {
    struct calib_document *items = documents->items;
    while (items[i].group != i) {
        items[i].group = items[items[i].group].group;
        i = items[i].group;
    }
    return i;
}

// `first` [pictures]: a document that is about each picture, or UINT32_MAX.
static void join(struct calib_documents *documents, uint32_t i, uint32_t *first) {
    const struct calib_document *document = &documents->items[i];
    for (uint32_t k = 0; k < document->n_pictures; k++) {
        uint32_t picture = documents->picture_numbers[document->pictures_at + k];
        first[picture] = first[picture] == UINT32_MAX ? i : first[picture];
        uint32_t a = root_of(documents, first[picture]);
        uint32_t b = root_of(documents, i);
        documents->items[a > b ? a : b].group = a > b ? b : a;
    }
}

static enum wl_status find_groups(struct calib_documents *documents, struct wl_err *err) {
    uint32_t *first = malloc((documents->pictures.n + 1) * sizeof *first);
    if (!first) {
        return wl_err_set(err, WL_MEMORY, "no memory for %zu pictures", documents->pictures.n);
    }
    memset(first, 0xff, (documents->pictures.n + 1) * sizeof *first);
    for (uint32_t i = 0; i < documents->n; i++) {
        join(documents, i, first);
    }
    for (uint32_t i = 0; i < documents->n; i++) {
        documents->items[i].group = root_of(documents, i);
    }
    free(first);
    return WL_OK;
}

enum wl_status calib_documents_drop_twins(struct calib_documents *documents, struct wl_err *err) {
    struct twin *twins = calloc(documents->n + 1, sizeof *twins);
    bool *is_twin = calloc(documents->n + 1, sizeof *is_twin);
    enum wl_status status = WL_OK;
    if (twins && is_twin) {
        drop(documents, twins, is_twin);
    } else {
        status = wl_err_set(err, WL_MEMORY, "no memory to compare %zu documents", documents->n);
    }
    free(twins);
    free(is_twin);
    return status == WL_OK ? find_groups(documents, err) : status;
}
