#include "worker/peak_rss.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

enum { STATUS_BYTES = 4096, KIB = 1024 };

// Opened once: a phase's border must cost microseconds.
static struct {
    bool is_open;
    int clear_fd;
    int status_fd;
    bool has_mark;
} proc;

static void open_once(void) {
    if (!proc.is_open) {
        proc.is_open = true;
        proc.clear_fd = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
        proc.status_fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    }
}

void peak_rss_mark(void) {
    open_once();
    static const char RESET_HIGH_WATER_MARK[] = "5";
    proc.has_mark = proc.clear_fd >= 0 && proc.status_fd >= 0 &&
                    write(proc.clear_fd, RESET_HIGH_WATER_MARK, 1) == 1;
}

int64_t peak_rss_bytes(void) {
    char text[STATUS_BYTES];
    if (!proc.has_mark) {
        return 0;
    }
    ssize_t n = pread(proc.status_fd, text, sizeof text - 1, 0);
    text[n > 0 ? n : 0] = '\0';
    static const char KEY[] = "\nVmHWM:";
    const char *at = strstr(text, KEY);
    int64_t kib = 0;
    for (at = at ? at + sizeof KEY - 1 : ""; *at == ' ' || *at == '\t'; at++) {
    }
    for (; *at >= '0' && *at <= '9' && kib < INT64_MAX / (10 * KIB) - 1; at++) {
        kib = 10 * kib + (*at - '0');
    }
    return kib * KIB;
}
