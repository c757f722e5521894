// A small file of /proc or /sys that is read again and again: opened once, read at offset 0 (where
// the kernel makes its content anew), opened again when its device was replaced.
#ifndef WATTLAW_METER_KEPT_FILE_H
#define WATTLAW_METER_KEPT_FILE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

struct kept_file {
    int fd;        // -1: not open now; the next read tries again
    char *path;    // NULL: never opened
    bool is_fixed; // set by the owner: never opened again (a process's file: its number may be
                   // given to another process)
};

#define KEPT_FILE_INIT                                                                             \
    { .fd = -1, .path = NULL }

// Fails when the file cannot be opened; the struct may be released all the same.
enum wl_status kept_file_open(struct kept_file *file, const char *path, struct wl_err *err);
// Up to size-1 bytes, terminated. 0, or the errno of the failure.
int kept_file_read(struct kept_file *file, char *out, size_t size, size_t *len);
void kept_file_release(struct kept_file *file);

#endif
