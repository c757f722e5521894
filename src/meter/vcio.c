#include "meter/vcio.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/str.h"
#include "meter/platform.h"

// Words of the buffer, which the kernel copies whole in both directions.
enum {
    WORD_TOTAL_BYTES = 0,
    WORD_STATUS = 1, // 0 out, STATUS_OK back
    WORD_TAG = 2,
    WORD_TAG_BYTES = 3, // room for error word and text
    WORD_ERROR = 5,     // 0 out; back, not 0 is an error of the firmware
    WORD_TEXT = 6,
    TEXT_AREA_BYTES = (VCIO_BUFFER_WORDS - WORD_TEXT - 1) * 4, // the last word is the end tag, 0
};
static const uint32_t TAG_GENCMD = 0x00030080, STATUS_OK = 0x80000000u;
#define VCIO_IOCTL_PROPERTY ((unsigned long)_IOWR(100, 0, char *))

_Static_assert((int)TEXT_AREA_BYTES == (int)VCIO_TEXT_BYTES, "the text fills the buffer");

static const char *const NODES[] = {"/dev/vcio_gencmd", "/dev/vcio"};
enum { N_NODES = sizeof NODES / sizeof NODES[0] };

enum wl_status vcio_open(struct vcio *vcio, const char *root,
                         const struct meter_device_ops *devices, struct wl_err *err) {
    *vcio = (struct vcio)VCIO_INIT;
    if (!devices && !platform_is_machine_root(root)) {
        return wl_err_set(err, WL_NOT_FOUND,
                          "device nodes of another machine's tree ('%s') cannot be used", root);
    }
    vcio->devices = devices ? devices : &METER_DEVICE_REAL;
    int worst = ENOENT; // a node that is there but closed to us says more than one that is not
    const char *path = NODES[N_NODES - 1];
    for (size_t i = 0; i < N_NODES && vcio->fd < 0; i++) {
        vcio->fd = vcio->devices->open(vcio->devices->context, NODES[i], O_RDONLY);
        if (vcio->fd >= 0 || (worst == ENOENT && errno != ENOENT)) {
            worst = vcio->fd >= 0 ? 0 : errno;
            path = NODES[i];
        }
    }
    vcio->path = path;
    return vcio->fd >= 0 ? WL_OK : wl_err_errno(err, worst, "cannot open '%s'", path);
}

void vcio_close(struct vcio *vcio) {
    if (vcio->fd >= 0) {
        close(vcio->fd);
    }
    vcio->fd = -1;
}

static enum wl_status check_words(const struct vcio *vcio, const char *command,
                                  const uint32_t *words, struct wl_err *err) {
    if (words[WORD_STATUS] != STATUS_OK) {
        return wl_err_set(err, WL_INPUT,
                          "%s: the firmware did not take '%s': status 0x%08x, expected 0x%08x",
                          vcio->path, command, (unsigned)words[WORD_STATUS], (unsigned)STATUS_OK);
    }
    if (words[WORD_ERROR] != 0) {
        return wl_err_set(err, WL_UNSUPPORTED, "%s: the firmware answers '%s' with error %u",
                          vcio->path, command, (unsigned)words[WORD_ERROR]);
    }
    return WL_OK;
}

static enum wl_status copy_text(const struct vcio *vcio, const char *command, const char *text,
                                char *out, size_t size, struct wl_err *err) {
    size_t len = strnlen(text, TEXT_AREA_BYTES);
    if (len == TEXT_AREA_BYTES) {
        return wl_err_set(err, WL_INPUT, "%s: the answer to '%s' does not end within %d bytes",
                          vcio->path, command, (int)TEXT_AREA_BYTES);
    }
    if (str_starts_with(text, "error=")) { // older firmware: "error=1 error_msg=..."
        return wl_err_set(err, WL_UNSUPPORTED, "%s: the firmware answers '%s' with '%.80s'",
                          vcio->path, command, text);
    }
    if (len >= size) {
        return wl_err_set(err, WL_LIMIT,
                          "%s: the answer to '%s' has %zu bytes, expected at most %zu", vcio->path,
                          command, len, size - 1);
    }
    memcpy(out, text, len + 1);
    return WL_OK;
}

static enum wl_status say_ioctl(const struct vcio *vcio, const char *command, int error,
                                struct wl_err *err) {
    if (error == ENOTTY) {
        return wl_err_set(err, WL_UNSUPPORTED, "'%s' is not the firmware's mailbox", vcio->path);
    }
    return wl_err_errno(err, error, "%s: the kernel refuses '%s'", vcio->path, command);
}

enum wl_status vcio_gencmd(const struct vcio *vcio, const char *command, char *out, size_t size,
                           struct wl_err *err) {
    _Alignas(16) uint32_t words[VCIO_BUFFER_WORDS] = {0}; // the firmware wants 16
    char *text = (char *)&words[WORD_TEXT];
    size_t len = strlen(command);
    if (vcio->fd < 0) {
        return wl_err_set(err, WL_NOT_FOUND, "the firmware's mailbox is not open");
    }
    if (len >= TEXT_AREA_BYTES) {
        return wl_err_set(err, WL_LIMIT, "a firmware command of %zu bytes, expected below %d", len,
                          (int)TEXT_AREA_BYTES);
    }
    words[WORD_TOTAL_BYTES] = sizeof words;
    words[WORD_TAG] = TAG_GENCMD;
    words[WORD_TAG_BYTES] = TEXT_AREA_BYTES;
    memcpy(text, command, len + 1);
    if (vcio->devices->ioctl(vcio->devices->context, vcio->fd, VCIO_IOCTL_PROPERTY, words) < 0) {
        return say_ioctl(vcio, command, errno, err);
    }
    enum wl_status status = check_words(vcio, command, words, err);
    return status == WL_OK ? copy_text(vcio, command, text, out, size, err) : status;
}
