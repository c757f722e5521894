#include "measure/fingerprint.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "os/file.h"

enum { PART_BYTES = 1 << 20 };

static uint64_t fnv1a(uint64_t hash, const unsigned char *data, size_t len) {
    for (size_t i = 0; i < len; i++) {
        hash = (hash ^ data[i]) * 0x100000001b3u;
    }
    return hash;
}

enum wl_status fingerprint_file(const char *path, char out[FINGERPRINT_BYTES], struct wl_err *err) {
    uint64_t size;
    enum wl_status status = os_file_size(path, &size, err);
    if (status != WL_OK) {
        return status;
    }
    FILE *file = fopen(path, "rbe");
    unsigned char *part = malloc(PART_BYTES);
    if (!file || !part) {
        status = wl_err_errno(err, errno, "cannot open '%s'", path);
    } else {
        uint64_t hash = fnv1a(0xcbf29ce484222325u, (const unsigned char *)&size, sizeof size);
        hash = fnv1a(hash, part, fread(part, 1, PART_BYTES, file));
        if (size > PART_BYTES && fseeko(file, -(off_t)PART_BYTES, SEEK_END) == 0) {
            hash = fnv1a(hash, part, fread(part, 1, PART_BYTES, file));
        }
        snprintf(out, FINGERPRINT_BYTES, "quick:%016llx", (unsigned long long)hash);
    }
    free(part);
    if (file) {
        fclose(file);
    }
    return status;
}
