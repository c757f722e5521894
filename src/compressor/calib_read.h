// The documents of text files and task files, read and checked.
#ifndef WATTLAW_COMPRESSOR_CALIB_READ_H
#define WATTLAW_COMPRESSOR_CALIB_READ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "compressor/calib.h"
#include "compressor/calib_image_file.h"

static const size_t CALIB_NO_REFERENCE = SIZE_MAX;

struct calib_document {
    enum calib_source source;
    size_t at, len;      // in calib_documents.text; a prompt is terminated
    size_t reference_at; // terminated; CALIB_NO_REFERENCE for text
    size_t pictures_at;  // numbers in calib_documents.picture_numbers
    uint32_t n_pictures;
    uint32_t group; // number of the first document of which this is a part: what is about the same
                    // picture belongs together
    bool is_held_out;
};

struct calib_documents {
    struct buf text;
    struct calib_document *items;
    size_t n, capacity;
    struct calib_pictures pictures;
    uint32_t *picture_numbers;
    size_t n_numbers, numbers_capacity;
};

// What documents are taken from in turn: two sorts of tasks, since pictures have a share of theirs.
enum calib_sort { CALIB_SORT_TEXT, CALIB_SORT_TASKS, CALIB_SORT_PICTURES, CALIB_SORTS };
enum calib_sort calib_document_sort(const struct calib_document *document);

void calib_documents_init(struct calib_documents *documents);
void calib_documents_release(struct calib_documents *documents);

enum wl_status calib_read_text(struct calib_documents *documents, const char *path,
                               struct wl_err *err);
// Questions about pictures are passed over when those are not looked into.
enum wl_status calib_read_tasks(struct calib_documents *documents, const char *path,
                                struct wl_err *err);

// INPUT for what is there but no ordinary file: a pipe would be waited for, a device never ends.
enum wl_status calib_check_regular(const char *path, struct wl_err *err);

// Adds bytes at .. at + len of the text; nothing happens when they are blank.
enum wl_status calib_documents_add(struct calib_documents *documents, enum calib_source source,
                                   size_t at, size_t len, size_t reference_at, struct wl_err *err);
// Of documents with the same text and pictures only the first stays; then finds the groups.
enum wl_status calib_documents_drop_twins(struct calib_documents *documents, struct wl_err *err);

// The best place to cut text [n] at or soon after `at`: behind a blank line, a line, a word, at
// least between two characters. At most n.
size_t calib_border(const char *text, size_t n, size_t at);

#endif
