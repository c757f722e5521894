// Files and folders, bounded. Paths under /proc and /sys take a root prefix in the callers.
#ifndef WATTLAW_OS_FILE_H
#define WATTLAW_OS_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

enum { OS_PATH_BYTES = 4096 };

// Absolute, without links and dots; false when there is no such file.
bool os_real_path(const char *path, char out[OS_PATH_BYTES]);

// Reads the whole file into `buf` (appends); LIMIT when it is larger than the buffer's maximum.
// Works for procfs and sysfs, whose sizes read 0.
enum wl_status os_slurp(const char *path, struct buf *buf, struct wl_err *err);
// Reads a small text file into a fixed buffer, terminated, one trailing newline removed.
enum wl_status os_slurp_line(const char *path, char *out, size_t size, struct wl_err *err);
// The same through an open descriptor at offset 0 (sysfs regenerates its content there).
enum wl_status os_pread_line(int fd, char *out, size_t size, struct wl_err *err);

// Readers see the old or the new file, whole (see os/draft.h).
enum wl_status os_write_atomic(const char *path, const void *data, size_t len, struct wl_err *err);

// Calls `visit` for each entry but "." and ".." in name order; stops when it returns false.
// LIMIT when there are more than max_entries.
enum wl_status os_list_dir(const char *path, size_t max_entries,
                           bool (*visit)(void *context, const char *name), void *context,
                           struct wl_err *err);

enum wl_status os_make_dirs(const char *path, struct wl_err *err); // mkdir -p
bool os_exists(const char *path);
bool os_is_dir(const char *path);
enum wl_status os_file_size(const char *path, uint64_t *out, struct wl_err *err);
// What an ordinary user may still write to the file system that holds `path`.
enum wl_status os_free_bytes(const char *path, uint64_t *out, struct wl_err *err);

// "<a>/<b>" with exactly one slash between; LIMIT when it does not fit.
enum wl_status os_path_join(char out[OS_PATH_BYTES], const char *a, const char *b,
                            struct wl_err *err);
// The folder of the running executable (links resolved).
enum wl_status os_executable_dir(char out[OS_PATH_BYTES], struct wl_err *err);
// XDG folders: <$XDG_DATA_HOME or ~/.local/share>/wattlaw and ~/.cache/wattlaw.
enum wl_status os_data_dir(char out[OS_PATH_BYTES], struct wl_err *err);
enum wl_status os_cache_dir(char out[OS_PATH_BYTES], struct wl_err *err);

#endif
