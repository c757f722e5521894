// Records what a meter reads, as a trace for the source "replay".
#ifndef WATTLAW_METER_REPLAY_WRITER_H
#define WATTLAW_METER_REPLAY_WRITER_H

#include "meter/meter.h"

struct replay_writer;

// A file that exists is replaced. What was recorded up to a crash can be replayed.
enum wl_status replay_writer_open(const char *path, const struct meter_info *info,
                                  struct replay_writer **out, struct wl_err *err);
// In the order of time; empty readings are left out.
enum wl_status replay_writer_add(struct replay_writer *writer, const struct meter_reading *reading,
                                 struct wl_err *err);
// Writes what is left and frees the writer in any case; IO when the disk did not take it all.
// NULL is fine.
enum wl_status replay_writer_close(struct replay_writer *writer, struct wl_err *err);

#endif
