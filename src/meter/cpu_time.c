#include "meter/cpu_time.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_FIELDS = 24 };

// Reads space-separated numbers from `text` up to the end of the line or `end`; returns how many.
// Signs are accepted where the kernel prints them; overflow ends the list.
static size_t read_numbers(const char *text, const char *end, int64_t *out, size_t max) {
    size_t n = 0;
    const char *p = text;
    while (n < max && p < end && *p != '\n') {
        if (*p == ' ') {
            p++;
            continue;
        }
        bool is_negative = *p == '-';
        p += is_negative;
        if (p >= end || *p < '0' || *p > '9') {
            break;
        }
        int64_t value = 0;
        for (; p < end && *p >= '0' && *p <= '9'; p++) {
            if (value > (INT64_MAX - (*p - '0')) / 10) {
                return n;
            }
            value = value * 10 + (*p - '0');
        }
        out[n++] = is_negative ? -value : value;
    }
    return n;
}

static bool ticks_from_line(const char *text, const char *end, struct cpu_ticks *out) {
    int64_t v[8] = {0};
    if (read_numbers(text, end, v, 8) < 4) {
        return false;
    }
    for (size_t i = 0; i < 8; i++) {
        if (v[i] < 0) {
            v[i] = 0; // idle and iowait may step back on some kernels, never below 0
        }
    }
    *out = (struct cpu_ticks){.user = (uint64_t)v[0],
                              .nice = (uint64_t)v[1],
                              .system = (uint64_t)v[2],
                              .idle = (uint64_t)v[3],
                              .iowait = (uint64_t)v[4],
                              .irq = (uint64_t)v[5],
                              .softirq = (uint64_t)v[6],
                              .steal = (uint64_t)v[7]};
    return true;
}

bool cpu_time_parse_machine(const char *text, size_t len, struct cpu_ticks *out) {
    return len > 4 && memcmp(text, "cpu ", 4) == 0 && ticks_from_line(text + 4, text + len, out);
}

size_t cpu_time_parse_cores(const char *text, size_t len, struct cpu_ticks *out, size_t max) {
    const char *end = text + len;
    size_t n = 0;
    for (const char *line = text; line && line < end && n < max;) {
        size_t left = (size_t)(end - line);
        if (left > 4 && memcmp(line, "cpu", 3) == 0 && line[3] >= '0' && line[3] <= '9') {
            const char *space = memchr(line, ' ', left);
            n += space && ticks_from_line(space, end, &out[n]);
        }
        const char *newline = memchr(line, '\n', left);
        line = newline ? newline + 1 : NULL;
    }
    return n;
}

static double seconds(uint64_t ticks) {
    return (double)ticks / CPU_TIME_USER_HZ;
}

double cpu_ticks_busy_s(const struct cpu_ticks *t) {
    return seconds(t->user) + seconds(t->nice) + seconds(t->system) + seconds(t->irq) +
           seconds(t->softirq);
}

double cpu_ticks_idle_s(const struct cpu_ticks *t) {
    return seconds(t->idle) + seconds(t->iowait);
}

double cpu_ticks_steal_s(const struct cpu_ticks *t) {
    return seconds(t->steal);
}

// The last ')' of the text; memrchr is not POSIX.
static const char *last_bracket(const char *text, size_t len) {
    for (size_t i = len; i > 0; i--) {
        if (text[i - 1] == ')') {
            return text + i - 1;
        }
    }
    return NULL;
}

bool cpu_time_parse_process(const char *text, size_t len, struct cpu_process *out) {
    const char *end = text + len;
    const char *bracket = last_bracket(text, len);
    int64_t pid;
    if (!bracket || end - bracket < 4 || bracket[1] != ' ' || bracket[3] != ' ' ||
        read_numbers(text, end, &pid, 1) != 1) {
        return false;
    }
    // Field 3 of proc(5) is the state; v[0] is field 4.
    int64_t v[MAX_FIELDS];
    if (read_numbers(bracket + 3, end, v, MAX_FIELDS) < 21 || v[10] < 0 || v[11] < 0 || v[18] < 0) {
        return false;
    }
    uint64_t ended_user = v[12] > 0 ? (uint64_t)v[12] : 0;
    uint64_t ended_system = v[13] > 0 ? (uint64_t)v[13] : 0;
    *out = (struct cpu_process){.pid = pid,
                                .parent_pid = v[0],
                                .state = bracket[2],
                                .user_ticks = (uint64_t)v[10],
                                .system_ticks = (uint64_t)v[11],
                                .ended_children_ticks = ended_user + ended_system,
                                .n_threads = v[16],
                                .start_ticks = (uint64_t)v[18],
                                .rss_pages = v[20]};
    return true;
}
