#include "worker/interrupt.h"

#include "base/units.h"
#include "os/clock.h"
#include "worker/log.h"

enum { MAX_STRIDE = 256 };
#define LOOK_EVERY_NS 10000000

void interrupt_init(struct interrupt *interrupt, struct frame_io *io, double max_seconds) {
    int64_t now_ns = os_now_ns();
    bool has_limit = max_seconds > 0 && max_seconds < 1e9;
    *interrupt = (struct interrupt){
        .io = io,
        .deadline_ns = has_limit ? now_ns + (int64_t)(max_seconds * UNITS_NS_PER_S) : INT64_MAX,
        .last_look_ns = now_ns,
        .stride = 1,
        .countdown = 1,
    };
}

bool interrupt_look(struct interrupt *interrupt) {
    frame_poll_control(interrupt->io);
    if (interrupt->io->is_closed) {
        interrupt->reason = INTERRUPT_CLOSED;
    } else if (interrupt->io->is_cancelled) {
        interrupt->reason = INTERRUPT_CANCEL;
    } else if (os_now_ns() >= interrupt->deadline_ns) {
        interrupt->reason = INTERRUPT_TIME;
    }
    bool is_over = interrupt->reason != INTERRUPT_NONE;
    log_mute(is_over);
    return is_over;
}

bool interrupt_callback(void *context) {
    struct interrupt *interrupt = context;
    if (interrupt->reason != INTERRUPT_NONE) {
        return true;
    }
    if (--interrupt->countdown > 0) {
        return false;
    }
    int64_t now_ns = os_now_ns();
    int64_t since_ns = now_ns - interrupt->last_look_ns;
    // A node takes a microsecond in a tiny model and a second in a big one.
    if (since_ns < LOOK_EVERY_NS && interrupt->stride < MAX_STRIDE) {
        interrupt->stride *= 2;
    } else if (since_ns > 4 * LOOK_EVERY_NS && interrupt->stride > 1) {
        interrupt->stride /= 2;
    }
    interrupt->countdown = interrupt->stride;
    if (since_ns < LOOK_EVERY_NS && now_ns < interrupt->deadline_ns) {
        return false;
    }
    interrupt->last_look_ns = now_ns;
    return interrupt_look(interrupt);
}
