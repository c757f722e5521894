#include "compressor/calib_read.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/str.h"
#include "os/file.h"

enum { MIN_STRETCH_BYTES = 512, BORDER_WINDOW = 1024 };

void calib_documents_init(struct calib_documents *documents) {
    *documents = (struct calib_documents){0};
    buf_init(&documents->text, CALIB_MAX_TEXT_BYTES);
}

void calib_documents_release(struct calib_documents *documents) {
    buf_release(&documents->text);
    calib_pictures_release(&documents->pictures);
    free(documents->picture_numbers);
    free(documents->items);
    *documents = (struct calib_documents){0};
}

enum calib_sort calib_document_sort(const struct calib_document *document) {
    return document->source == CALIB_TEXT ? CALIB_SORT_TEXT
           : document->n_pictures == 0    ? CALIB_SORT_TASKS
                                          : CALIB_SORT_PICTURES;
}

static bool is_blank(const char *text, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (!strchr(" \t\r\n\f\v", text[i])) {
            return false;
        }
    }
    return true;
}

enum wl_status calib_documents_add(struct calib_documents *documents, enum calib_source source,
                                   size_t at, size_t len, size_t reference_at, struct wl_err *err) {
    if (is_blank(buf_text(&documents->text) + at, len)) {
        return WL_OK;
    }
    if (documents->n == documents->capacity) {
        size_t capacity = 2 * documents->capacity + 64;
        struct calib_document *items = realloc(documents->items, capacity * sizeof *items);
        if (!items) {
            return wl_err_set(err, WL_MEMORY, "no memory for %zu documents", capacity);
        }
        documents->items = items;
        documents->capacity = capacity;
    }
    uint32_t group = (uint32_t)documents->n;
    documents->items[documents->n++] = (struct calib_document){
        .source = source, .at = at, .len = len, .reference_at = reference_at, .group = group};
    return WL_OK;
}

// ---- borders

size_t calib_border(const char *text, size_t n, size_t at) {
    static const char *const BORDERS[] = {"\n\n", "\n", " "};
    size_t window = n - at < BORDER_WINDOW ? n - at : BORDER_WINDOW;
    for (size_t i = 0; i < sizeof BORDERS / sizeof BORDERS[0]; i++) {
        size_t len = strlen(BORDERS[i]);
        for (size_t k = 0; k + len <= window; k++) {
            if (memcmp(text + at + k, BORDERS[i], len) == 0) {
                return at + k + len;
            }
        }
    }
    while (at < n && ((unsigned char)text[at] & 0xC0) == 0x80) {
        at++;
    }
    return at;
}

// ---- text

struct files { // what was read: where each file begins in the text
    struct calib_documents *documents;
    const char *folder;
    size_t *begins;
    size_t n;
    struct wl_err *err;
    enum wl_status status;
};

static enum wl_status check_utf8(const char *path, const char *text, size_t n, struct wl_err *err) {
    for (size_t i = 0; i < n;) {
        size_t len = str_utf8_len(text + i);
        if (len == 0) {
            return wl_err_set(err, WL_INPUT,
                              "'%s' is no text: expected UTF-8, found the byte 0x%02x at %zu; give "
                              ".txt or .md files",
                              path, (unsigned char)text[i], i);
        }
        i += len;
    }
    return WL_OK;
}

enum wl_status calib_check_regular(const char *path, struct wl_err *err) {
    struct stat info;
    bool is_odd = stat(path, &info) == 0 && !S_ISREG(info.st_mode);
    return is_odd ? wl_err_set(err, WL_INPUT, "'%s' is not a file", path) : WL_OK;
}

static enum wl_status read_file(struct files *files, const char *path, struct wl_err *err) {
    struct buf *text = &files->documents->text;
    size_t begin = text->len;
    enum wl_status status = calib_check_regular(path, err);
    if (status == WL_OK) {
        status = os_slurp(path, text, err);
    }
    if (status == WL_LIMIT) {
        return wl_err_set(err, WL_LIMIT,
                          "there is more text than %d MiB, at '%s'; give fewer or smaller files",
                          CALIB_MAX_TEXT_BYTES >> 20, path);
    }
    if (status == WL_OK) {
        status = check_utf8(path, buf_text(text) + begin, text->len - begin, err);
    }
    if (status == WL_OK) {
        files->begins[files->n++] = begin;
    }
    return status;
}

static bool read_entry(void *context, const char *name) {
    struct files *files = context;
    char path[OS_PATH_BYTES];
    if (!str_ends_with(name, ".txt") && !str_ends_with(name, ".md")) {
        return true;
    }
    files->status = os_path_join(path, files->folder, name, files->err);
    if (files->status == WL_OK && !os_is_dir(path)) {
        files->status = read_file(files, path, files->err);
    }
    return files->status == WL_OK;
}

static enum wl_status read_folder(struct files *files, const char *path, struct wl_err *err) {
    files->folder = path;
    enum wl_status status = os_list_dir(path, CALIB_MAX_FILES, read_entry, files, err);
    if (status == WL_OK) {
        status = files->status;
    }
    if (status == WL_OK && files->n == 0) {
        status = wl_err_set(err, WL_INPUT, "there is no .txt or .md file in '%s'", path);
    }
    return status;
}

// One file as `n_parts` documents, if it is long enough.
static enum wl_status add_file(struct calib_documents *documents, size_t begin, size_t end,
                               size_t n_parts, struct wl_err *err) {
    const char *text = buf_text(&documents->text);
    size_t n_bytes = end - begin;
    n_parts = n_parts > n_bytes / MIN_STRETCH_BYTES ? n_bytes / MIN_STRETCH_BYTES : n_parts;
    n_parts = n_parts > 0 ? n_parts : 1;
    enum wl_status status = WL_OK;
    size_t at = begin;
    for (size_t i = 1; i <= n_parts && at < end && status == WL_OK; i++) {
        size_t wanted = begin + (size_t)((double)n_bytes / (double)n_parts * (double)i);
        size_t stop = end;
        if (i < n_parts) {
            stop = calib_border(text, end, wanted > at ? wanted : at);
        }
        status = calib_documents_add(documents, CALIB_TEXT, at, stop - at, CALIB_NO_REFERENCE, err);
        at = stop;
    }
    return status;
}

static enum wl_status add_files(struct files *files, struct wl_err *err) {
    struct calib_documents *documents = files->documents;
    size_t total = documents->text.len;
    enum wl_status status = WL_OK;
    for (size_t i = 0; i < files->n && status == WL_OK; i++) {
        size_t begin = files->begins[i];
        size_t end = i + 1 < files->n ? files->begins[i + 1] : total;
        bool has_few = files->n < CALIB_FEW_FILES;
        size_t n_parts =
            has_few && total > 0 ? (CALIB_FEW_FILES * (end - begin) + total - 1) / total : 1;
        status = add_file(documents, begin, end, n_parts, err);
    }
    return status;
}

enum wl_status calib_read_text(struct calib_documents *documents, const char *path,
                               struct wl_err *err) {
    struct files files = {.documents = documents,
                          .begins = calloc(CALIB_MAX_FILES, sizeof *files.begins),
                          .err = err};
    if (!files.begins) {
        return wl_err_set(err, WL_MEMORY, "no memory for a list of files");
    }
    size_t n_before = documents->n;
    enum wl_status status =
        os_is_dir(path) ? read_folder(&files, path, err) : read_file(&files, path, err);
    if (status == WL_OK) {
        status = add_files(&files, err);
    }
    if (status == WL_OK && documents->n == n_before) {
        status = wl_err_set(err, WL_INPUT, "'%s' is empty: expected text", path);
    }
    free(files.begins);
    return status;
}
