#include "compressor/certificate.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/json.h"
#include "worker/gguf_file.h"

enum { LENGTH_BYTES = 8 }; // in front of a string

enum wl_status certificate_reserve(struct compress_target *target, struct wl_err *err) {
    char room[CERTIFICATE_BYTES + 1];
    memset(room, ' ', CERTIFICATE_BYTES);
    room[CERTIFICATE_BYTES] = '\0';
    return compress_target_set_string(target, CERTIFICATE_KEY, room, err);
}

// ---- where it goes ----

struct place {
    off_t offset; // of the text
    size_t bytes;
};

static enum wl_status find_place(const struct gguf_file *file, const char *path, struct place *out,
                                 struct wl_err *err) {
    const struct gguf_kv *kv = gguf_file_find(file, CERTIFICATE_KEY);
    if (!kv || kv->is_array || kv->type != GGUF_TYPE_STRING) {
        return wl_err_set(err, WL_INPUT,
                          "'%s' has no room for a certificate: expected a text under the key '%s'; "
                          "only files that wattlaw compressed have one",
                          path, CERTIFICATE_KEY);
    }
    uint64_t bytes = 0;
    for (size_t i = LENGTH_BYTES; i-- > 0;) {
        bytes = bytes << 8 | kv->data[i];
    }
    out->bytes = (size_t)bytes; // within the file: the reader has checked it
    out->offset = (off_t)(kv->data + LENGTH_BYTES - (const unsigned char *)file->map);
    return WL_OK;
}

// Whole JSON, or nothing; the rest of the room is spaces.
static enum wl_status make_text(const json_t *certificate, size_t room, char *out,
                                struct wl_err *err) {
    struct buf buf;
    buf_init(&buf, CERTIFICATE_BYTES);
    enum wl_status status = WL_OK;
    if (!wl_json_write(&buf, certificate) || buf.len > room) {
        status = wl_err_set(err, WL_LIMIT,
                            "the certificate is longer than the %zu bytes that the file has room "
                            "for",
                            room < CERTIFICATE_BYTES ? room : (size_t)CERTIFICATE_BYTES);
    } else {
        memset(out, ' ', room);
        memcpy(out, buf.data, buf.len);
    }
    buf_release(&buf);
    return status;
}

// ---- filling ----

static enum wl_status write_at(const char *path, off_t offset, const char *text, size_t len,
                               struct wl_err *err) {
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    int error = fd < 0 ? errno : 0;
    for (size_t done = 0; done < len && !error;) {
        ssize_t n = pwrite(fd, text + done, len - done, offset + (off_t)done);
        error = n < 0 && errno != EINTR ? errno : n == 0 ? EIO : 0;
        done += n > 0 ? (size_t)n : 0;
    }
    error = !error && fsync(fd) != 0 ? errno : error;
    if (fd >= 0 && close(fd) != 0 && !error) {
        error = errno;
    }
    return error ? wl_err_errno(err, error, "cannot write the certificate into '%s'", path) : WL_OK;
}

// Looks at the file anew, as anybody will who reads it.
static enum wl_status check_filled(const char *path, const struct place *place, const char *text,
                                   struct wl_err *err) {
    struct gguf_file file;
    struct place again = {0};
    enum wl_status status = gguf_file_open(&file, path, err);
    if (status != WL_OK) {
        return status;
    }
    status = find_place(&file, path, &again, err);
    if (status == WL_OK &&
        (again.offset != place->offset || again.bytes != place->bytes ||
         memcmp((const char *)file.map + again.offset, text, again.bytes) != 0)) {
        status = wl_err_set(err, WL_FAILED,
                            "'%s' does not hold the certificate that was written into it", path);
    }
    gguf_file_close(&file);
    return status;
}

enum wl_status certificate_fill(const char *path, const json_t *certificate, struct wl_err *err) {
    struct gguf_file file;
    struct place place = {0};
    enum wl_status status = gguf_file_open(&file, path, err);
    if (status != WL_OK) {
        return status;
    }
    status = find_place(&file, path, &place, err);
    gguf_file_close(&file);
    if (status != WL_OK) {
        return status;
    }
    char *text = malloc(place.bytes ? place.bytes : 1);
    if (!text) {
        return wl_err_set(err, WL_MEMORY, "no memory for a certificate of %zu bytes", place.bytes);
    }
    status = make_text(certificate, place.bytes, text, err);
    if (status == WL_OK) {
        status = write_at(path, place.offset, text, place.bytes, err);
    }
    if (status == WL_OK) {
        status = check_filled(path, &place, text, err);
    }
    free(text);
    return status;
}
