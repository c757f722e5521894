// The serial device of a RuiDeng meter: opened raw and for this program alone, asked for one answer
// at a time. Every call is bounded in time.
#ifndef WATTLAW_METER_RDTECH_PORT_H
#define WATTLAW_METER_RDTECH_PORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "meter/device.h"
#include "meter/rdtech_frame.h"
#include "os/clock.h"

enum { RDTECH_PATH_BYTES = 256, RDTECH_BUFFER_BYTES = 4 * RDTECH_FRAME_BYTES };

struct rdtech_port {
    const struct meter_device_ops *devices;
    const struct os_clock *clock;
    char path[RDTECH_PATH_BYTES];
    int fd;       // -1: not open
    bool is_owed; // the last request has not been answered: its answer may still come
    size_t n;     // bytes of the answer so far
    uint8_t bytes[RDTECH_BUFFER_BYTES];
};

enum wl_status rdtech_port_open(struct rdtech_port *port, struct wl_err *err);
void rdtech_port_close(struct rdtech_port *port); // one that is not open is fine

enum rdtech_answer {
    RDTECH_ANSWERED, // frame and times are filled: request written, answer complete
    RDTECH_SILENT,   // nothing within a second, or nothing that makes sense
    RDTECH_GONE,     // hung up: close it
};
struct rdtech_reply {
    struct rdtech_frame frame;
    int64_t t_before_ns, t_after_ns; // on the port's clock
};
// After a request that stayed without an answer the next call only waits for that answer and throws
// it away, so that no reading is older than it says.
enum rdtech_answer rdtech_port_ask(struct rdtech_port *port, struct rdtech_reply *out);

#endif
