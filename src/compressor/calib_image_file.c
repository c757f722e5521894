#include "compressor/calib_image_file.h"

#include <stdlib.h>
#include <string.h>

#include "compressor/calib_read.h"
#include "image/image.h"
#include "os/file.h"

static uint64_t hash_of(const void *data, size_t n) { // FNV-1a
    const unsigned char *bytes = data;
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < n; i++) {
        hash = (hash ^ bytes[i]) * 0x100000001b3u;
    }
    return hash;
}

static enum wl_status slurp(const char *path, struct buf *bytes, struct wl_err *err) {
    buf_init(bytes, IMAGE_LIMITS.max_bytes);
    enum wl_status status = calib_check_regular(path, err);
    return status == WL_OK ? os_slurp(path, bytes, err) : status;
}

static enum wl_status look_into(struct calib_picture *picture, struct wl_err *err) {
    struct buf bytes;
    struct image_header header = {0};
    enum wl_status status = slurp(picture->path, &bytes, err);
    if (status == WL_OK && image_probe(buf_text(&bytes), bytes.len, NULL, &header, err) != WL_OK) {
        status = wl_err_prefix(err, "'%.300s'", picture->path);
    }
    picture->hash = hash_of(buf_text(&bytes), bytes.len);
    picture->n_bytes = bytes.len;
    picture->width = header.width;
    picture->height = header.height;
    buf_release(&bytes);
    return status;
}

static enum wl_status make_room(struct calib_pictures *pictures, struct wl_err *err) {
    if (pictures->n < pictures->capacity) {
        return WL_OK;
    }
    if (pictures->n >= CALIB_MAX_PICTURES) {
        return wl_err_set(err, WL_LIMIT, "there are more than %d pictures", CALIB_MAX_PICTURES);
    }
    size_t capacity = 2 * pictures->capacity + 64;
    struct calib_picture *items = realloc(pictures->items, capacity * sizeof *items);
    if (!items) {
        return wl_err_set(err, WL_MEMORY, "no memory for %zu pictures", capacity);
    }
    pictures->items = items;
    pictures->capacity = capacity;
    return WL_OK;
}

static bool has_same_bytes(const struct calib_picture *a, const struct calib_picture *b) {
    return a->n_bytes == b->n_bytes && a->hash == b->hash;
}

static enum wl_status add(struct calib_pictures *pictures, const char *path, uint64_t path_hash,
                          struct wl_err *err) {
    enum wl_status status = make_room(pictures, err);
    if (status != WL_OK) {
        return status;
    }
    uint32_t number = (uint32_t)pictures->n;
    struct calib_picture *picture = &pictures->items[number];
    *picture =
        (struct calib_picture){.path = strdup(path), .path_hash = path_hash, .same_as = number};
    if (!picture->path) {
        return wl_err_set(err, WL_MEMORY, "no memory for the name of a picture");
    }
    pictures->n++;
    if (!pictures->is_looked_into) {
        return WL_OK;
    }
    status = look_into(picture, err);
    for (uint32_t i = 0; i < number && picture->same_as == number; i++) {
        picture->same_as = has_same_bytes(&pictures->items[i], picture) ? i : number;
    }
    return status;
}

enum wl_status calib_pictures_find(struct calib_pictures *pictures, const char *path,
                                   uint32_t *number, struct wl_err *err) {
    uint64_t hash = hash_of(path, strlen(path));
    for (size_t i = pictures->n; i-- > 0;) { // questions about one picture often stand together
        const struct calib_picture *picture = &pictures->items[i];
        if (picture->path_hash == hash && strcmp(picture->path, path) == 0) {
            *number = picture->same_as;
            return WL_OK;
        }
    }
    enum wl_status status = add(pictures, path, hash, err);
    if (status == WL_OK) {
        *number = pictures->items[pictures->n - 1].same_as;
    }
    return status;
}

enum wl_status calib_picture_read(const struct calib_picture *picture, struct buf *bytes,
                                  struct wl_err *err) {
    enum wl_status status = slurp(picture->path, bytes, err);
    bool is_same = status == WL_OK && bytes->len == picture->n_bytes &&
                   hash_of(buf_text(bytes), bytes->len) == picture->hash;
    return status != WL_OK || is_same
               ? status
               : wl_err_set(err, WL_INPUT, "'%.300s' was changed while it was used", picture->path);
}

void calib_pictures_release(struct calib_pictures *pictures) {
    for (size_t i = 0; i < pictures->n; i++) {
        free(pictures->items[i].path);
    }
    free(pictures->items);
    *pictures = (struct calib_pictures){0};
}
