// Whether a running computation must stop: cancelled, out of time, or the client is gone. Cheap
// enough to be asked after every node of llama.cpp's graph.
#ifndef WATTLAW_WORKER_INTERRUPT_H
#define WATTLAW_WORKER_INTERRUPT_H

#include <stdbool.h>
#include <stdint.h>

#include "worker/frame_io.h"

enum interrupt_reason { INTERRUPT_NONE, INTERRUPT_CANCEL, INTERRUPT_TIME, INTERRUPT_CLOSED };

struct interrupt {
    struct frame_io *io;
    int64_t deadline_ns; // INT64_MAX for none
    int64_t last_look_ns;
    uint32_t stride; // calls between two looks, adapted to how long a call takes
    uint32_t countdown;
    enum interrupt_reason reason;
};

void interrupt_init(struct interrupt *interrupt, struct frame_io *io, double max_seconds);
// Looks now: deadline and socket.
bool interrupt_look(struct interrupt *interrupt);
// The abort callback of llama.cpp (`context` is the struct): looks about every 10 ms.
bool interrupt_callback(void *context);

#endif
