// The requests that a foreign program served, found in its CPU signal as the study did: gradient at
// 5 Hz. Only what is still in memory can be split.
#ifndef WATTLAW_MEASURE_WATCH_WINDOWS_H
#define WATTLAW_MEASURE_WATCH_WINDOWS_H

#include "measure/watch_track.h"

// Fills out->window, n_windows, windows_from_ns. After watch_track_finish. Finding none is success.
enum wl_status watch_windows_find(const struct watch_track *track, struct watch_result *out,
                                  struct wl_err *err);

#endif
