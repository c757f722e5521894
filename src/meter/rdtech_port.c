#include "meter/rdtech_port.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/file.h>
#include <termios.h>
#include <unistd.h>

static const int64_t NS_PER_MS = 1000000;
static const int64_t ANSWER_MS = 900;
// Between two pieces of one answer less than this passes; after it the answer is broken off.
static const int64_t QUIET_MS = 250;

// No echo, no line editing, no translation; reads return what there is.
static bool make_raw(int fd) {
    struct termios raw;
    if (tcgetattr(fd, &raw) != 0) {
        return false;
    }
    raw.c_iflag &= (tcflag_t) ~(BRKINT | ICRNL | IGNBRK | IGNCR | INLCR | INPCK | ISTRIP | IXON |
                                IXOFF | PARMRK);
    raw.c_oflag &= (tcflag_t)~OPOST;
    raw.c_lflag &= (tcflag_t) ~(ECHO | ECHONL | ICANON | ISIG | IEXTEN);
    raw.c_cflag &= (tcflag_t) ~(CSIZE | PARENB | CSTOPB);
    raw.c_cflag |= CS8 | CREAD | CLOCAL;
    raw.c_cc[VMIN] = 0;
    raw.c_cc[VTIME] = 0;
    cfsetispeed(&raw, B9600);
    cfsetospeed(&raw, B9600);
    return tcsetattr(fd, TCSANOW, &raw) == 0;
}

static enum wl_status say_not_open(const struct rdtech_port *port, int error, struct wl_err *err) {
    if (error == EBUSY) {
        return wl_err_set(err, WL_BUSY, "'%s' is in use by another program", port->path);
    }
    const char *advice = error == EACCES || error == EPERM
                             ? "; try: sudo usermod -aG dialout \"$USER\" (log in again afterwards)"
                         : error == ENOENT ? "; bind the paired meter first: sudo rfcomm bind 0 "
                                             "<its Bluetooth address>"
                                           : "";
    return wl_err_errno(err, error, "cannot open '%s'%s", port->path, advice);
}

enum wl_status rdtech_port_open(struct rdtech_port *port, struct wl_err *err) {
    // Without O_NONBLOCK an rfcomm device waits some ten seconds for the radio.
    int fd = port->devices->open(port->devices->context, port->path,
                                 O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) {
        return say_not_open(port, errno, err);
    }
    if (flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
        close(fd);
        return say_not_open(port, EBUSY, err);
    }
    if (!make_raw(fd)) {
        int error = errno;
        close(fd);
        return error == ENOTTY
                   ? wl_err_set(err, WL_INPUT, "'%s' is not a serial device", port->path)
                   : wl_err_errno(err, error, "cannot set up '%s'", port->path);
    }
    port->fd = fd;
    port->is_owed = false;
    return WL_OK;
}

void rdtech_port_close(struct rdtech_port *port) {
    if (port->fd >= 0) {
        close(port->fd);
    }
    port->fd = -1;
}

// Forgets the beginning when full: an answer is the newest bytes.
static void make_room(struct rdtech_port *port) {
    if (port->n == sizeof port->bytes) {
        port->n = RDTECH_FRAME_BYTES - 1;
        memmove(port->bytes, port->bytes + sizeof port->bytes - port->n, port->n);
    }
}

enum event { CAME, QUIET, HUNG_UP };

// Waits until `end_ns` (CLOCK_MONOTONIC) for more bytes and adds them.
static enum event take(struct rdtech_port *port, int64_t end_ns) {
    for (;;) {
        int64_t left_ms = (end_ns - os_now_ns() + NS_PER_MS - 1) / NS_PER_MS;
        struct pollfd ready = {.fd = port->fd, .events = POLLIN};
        int n_ready = poll(&ready, 1, left_ms > 0 ? (int)left_ms : 0);
        if (n_ready == 0) {
            return QUIET;
        }
        if (n_ready < 0 && errno == EINTR) {
            continue;
        }
        make_room(port);
        ssize_t n =
            n_ready < 0 ? -1 : read(port->fd, port->bytes + port->n, sizeof port->bytes - port->n);
        if (n > 0) {
            port->n += (size_t)n;
            return CAME;
        }
        if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
            return HUNG_UP; // readable without bytes is the end
        }
        if (os_now_ns() >= end_ns) {
            return QUIET;
        }
    }
}

static bool write_request(const struct rdtech_port *port) {
    static const uint8_t REQUEST = RDTECH_REQUEST;
    ssize_t n = write(port->fd, &REQUEST, 1);
    // Not sent, or the radio link is not up yet: there is no answer then, and that is all.
    return n >= 0 || errno == EAGAIN || errno == EINTR || errno == ENOTCONN;
}

// What an earlier request left: read away, until nothing has come for a while.
static enum rdtech_answer discard(struct rdtech_port *port) {
    int64_t end_ns = os_now_ns() + ANSWER_MS * NS_PER_MS, wait_end_ns = end_ns;
    enum event event;
    while ((event = take(port, wait_end_ns)) == CAME && os_now_ns() < end_ns) {
        wait_end_ns = os_now_ns() + QUIET_MS * NS_PER_MS;
    }
    port->is_owed = event == CAME; // it does not stop talking
    return event == HUNG_UP ? RDTECH_GONE : RDTECH_SILENT;
}

enum rdtech_answer rdtech_port_ask(struct rdtech_port *port, struct rdtech_reply *out) {
    port->n = 0;
    if (port->is_owed) {
        return discard(port);
    }
    tcflush(port->fd, TCIFLUSH);
    out->t_before_ns = port->clock->now_ns(port->clock->context);
    if (!write_request(port)) {
        return RDTECH_GONE;
    }
    int64_t end_ns = os_now_ns() + ANSWER_MS * NS_PER_MS, wait_end_ns = end_ns;
    for (;;) {
        enum event event = take(port, wait_end_ns);
        out->t_after_ns = port->clock->now_ns(port->clock->context);
        if (event == HUNG_UP) {
            return RDTECH_GONE;
        }
        if (event == CAME && rdtech_frame_find(port->bytes, port->n, &out->frame)) {
            return RDTECH_ANSWERED;
        }
        if (event == QUIET || os_now_ns() >= end_ns) {
            port->is_owed = port->n == 0 || event == CAME; // else it came, broken
            return RDTECH_SILENT;
        }
        wait_end_ns = os_now_ns() + QUIET_MS * NS_PER_MS;
    }
}
