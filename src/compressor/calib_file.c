#include "compressor/calib_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "os/draft.h"

static const char MAGIC[8] = "wlcalib2";

// What both parts have, in the order of the file.
struct head {
    uint64_t n_tokens, n_sequences, n_image_tokens, has_positions, n_from[CALIB_SOURCES];
};

// ---- writing ----

static bool write_array(FILE *file, const void *data, size_t n, size_t size) {
    return n == 0 || fwrite(data, size, n, file) == n;
}

static bool write_part(FILE *file, const struct calib_part *part, uint32_t n_embd) {
    size_t n = part->n_tokens, n_sequences = part->n_sequences;
    struct head head = {n, n_sequences, part->n_image_tokens, part->positions != NULL, {0}};
    for (int i = 0; i < CALIB_SOURCES; i++) {
        head.n_from[i] = part->n_from[i];
    }
    return write_array(file, &head, 1, sizeof head) &&
           write_array(file, part->tokens, n, sizeof *part->tokens) &&
           write_array(file, part->is_first, n, sizeof *part->is_first) &&
           write_array(file, part->positions, part->positions ? 4 * n : 0,
                       sizeof *part->positions) &&
           write_array(file, part->embeddings, part->n_image_tokens * n_embd,
                       sizeof *part->embeddings) &&
           write_array(file, part->lengths, n_sequences, sizeof *part->lengths) &&
           write_array(file, part->documents, n_sequences, sizeof *part->documents) &&
           write_array(file, part->sources, n_sequences, sizeof *part->sources);
}

enum wl_status calib_save(const struct calib *calib, uint32_t n_embd, const char *path,
                          struct wl_err *err) {
    struct os_draft draft;
    enum wl_status status = os_draft_open(&draft, path, err);
    if (status != WL_OK) {
        return status;
    }
    uint64_t counts[] = {calib->has_template, calib->n_pictures, calib->n_pictures_left_out};
    int fd = dup(draft.fd);
    FILE *file = fd >= 0 ? fdopen(fd, "wb") : NULL;
    bool is_ok = file && write_array(file, MAGIC, 1, sizeof MAGIC) &&
                 write_array(file, counts, 1, sizeof counts) &&
                 write_part(file, &calib->calibration, n_embd) &&
                 write_part(file, &calib->held_out, n_embd);
    is_ok = file && fclose(file) == 0 && is_ok;
    if (!is_ok) {
        os_draft_discard(&draft);
        return wl_err_set(err, WL_IO, "cannot write '%s'", path);
    }
    return os_draft_publish(&draft, err);
}

// ---- reading ----

static bool is_sound(const struct head *head) {
    bool is_small = head->n_tokens <= CALIB_MAX_TOKENS && head->n_sequences <= head->n_tokens &&
                    head->n_image_tokens <= head->n_tokens && head->has_positions <= 1;
    for (int i = 0; i < CALIB_SOURCES; i++) {
        is_small = is_small && head->n_from[i] <= head->n_tokens;
    }
    return is_small;
}

static bool adds_up(const struct calib_part *part) {
    size_t n_tokens = 0, n_images = 0;
    for (size_t i = 0; i < part->n_sequences; i++) {
        n_tokens += part->lengths[i];
    }
    for (size_t i = 0; i < part->n_tokens; i++) {
        n_images += part->tokens[i] == COMPRESS_IMAGE_TOKEN;
    }
    return n_tokens == part->n_tokens && n_images == part->n_image_tokens;
}

struct reader {
    FILE *file;
    const char *path;
    struct wl_err *err;
    enum wl_status status; // the first failure
};

// NULL after a failure, and for an array without elements.
static void *read_array(struct reader *r, size_t n, size_t size) {
    if (r->status != WL_OK || n == 0) {
        return NULL;
    }
    void *data = calloc(n, size);
    if (!data) {
        r->status = wl_err_set(r->err, WL_MEMORY, "no memory for '%s'", r->path);
    } else if (fread(data, size, n, r->file) != n) {
        r->status = wl_err_set(r->err, WL_INPUT, "'%s' is cut off", r->path);
    }
    return data;
}

static enum wl_status read_part(struct reader *r, uint32_t n_embd, struct calib_part *part) {
    struct head head;
    if (fread(&head, sizeof head, 1, r->file) != 1 || !is_sound(&head)) {
        return wl_err_set(r->err, WL_INPUT, "'%s' is no calibration text", r->path);
    }
    size_t n = part->n_tokens = head.n_tokens;
    size_t n_sequences = part->n_sequences = head.n_sequences;
    part->n_image_tokens = head.n_image_tokens;
    for (int i = 0; i < CALIB_SOURCES; i++) {
        part->n_from[i] = head.n_from[i];
    }
    part->tokens = read_array(r, n, sizeof *part->tokens);
    part->is_first = read_array(r, n, sizeof *part->is_first);
    part->positions = read_array(r, head.has_positions ? 4 * n : 0, sizeof *part->positions);
    part->embeddings =
        read_array(r, part->n_image_tokens, (size_t)n_embd * sizeof *part->embeddings);
    part->lengths = read_array(r, n_sequences, sizeof *part->lengths);
    part->documents = read_array(r, n_sequences, sizeof *part->documents);
    part->sources = read_array(r, n_sequences, sizeof *part->sources);
    if (r->status == WL_OK && !adds_up(part)) {
        r->status = wl_err_set(r->err, WL_INPUT, "'%s': sizes that do not fit", r->path);
    }
    return r->status;
}

static enum wl_status read_all(FILE *file, const char *path, uint32_t n_embd, struct calib *out,
                               struct wl_err *err) {
    char magic[sizeof MAGIC];
    uint64_t counts[3];
    if (fread(magic, sizeof magic, 1, file) != 1 || memcmp(magic, MAGIC, sizeof MAGIC) != 0 ||
        fread(counts, sizeof counts, 1, file) != 1) {
        return wl_err_set(err, WL_INPUT, "'%s' is no calibration text", path);
    }
    out->has_template = counts[0] != 0;
    out->n_pictures = counts[1];
    out->n_pictures_left_out = counts[2];
    struct reader reader = {.file = file, .path = path, .err = err};
    enum wl_status status = read_part(&reader, n_embd, &out->calibration);
    return status == WL_OK ? read_part(&reader, n_embd, &out->held_out) : status;
}

enum wl_status calib_load(const char *path, uint32_t n_embd, struct calib *out,
                          struct wl_err *err) {
    *out = (struct calib){0};
    FILE *file = fopen(path, "rb");
    if (!file) {
        return wl_err_set(err, WL_NOT_FOUND, "cannot open '%s'", path);
    }
    enum wl_status status = read_all(file, path, n_embd, out, err);
    fclose(file);
    if (status != WL_OK) {
        compress_calib_release(out);
    }
    return status;
}
