// Calibration text in a file, so that a job that goes on has the very same: what the model writes
// itself takes a while.
#ifndef WATTLAW_COMPRESSOR_CALIB_FILE_H
#define WATTLAW_COMPRESSOR_CALIB_FILE_H

#include "base/err.h"
#include "compressor/calib.h"

enum wl_status calib_save(const struct calib *calib, uint32_t n_embd, const char *path,
                          struct wl_err *err);
// INPUT: the file is not one of these, is cut off or holds sizes that do not fit each other.
enum wl_status calib_load(const char *path, uint32_t n_embd, struct calib *out, struct wl_err *err);

#endif
