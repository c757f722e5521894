// What a row is made of: one table entry per thing that is read. The table in sampler.c is the
// whole list; adding a figure is a read_<thing>.c and a line there.
#ifndef WATTLAW_SAMPLER_SAMPLER_SOURCE_H
#define WATTLAW_SAMPLER_SAMPLER_SOURCE_H

#include "sampler/sampler.h"

struct sampler_env {
    const char *root;
    bool is_machine_root; // else the CPU clock of a process is read from <root>/proc/<pid>/stat
    pid_t pid;            // 0: none
    const struct meter_device_ops *devices; // NULL: the machine's own
};

struct sampler_source {
    const char *name;
    bool is_fast;      // read between the two time stamps whose midpoint is the row's time
    int64_t period_ns; // read at most this often (but in every full row); 0 = in every row
    double max_share;  // of one core: the period is stretched so that it costs no more; 0 = free
    // NULL when there is nothing to read on this machine.
    void *(*open)(const struct sampler_env *env);
    // Fills its part of the row and sets its flag; what cannot be read stays unset.
    void (*read)(void *state, struct sampler_row *row);
    void (*close)(void *state);
    bool follows_pid; // opened anew when the process changes
};

extern const struct sampler_source sampler_source_process;
extern const struct sampler_source sampler_source_machine;
extern const struct sampler_source sampler_source_pss;
extern const struct sampler_source sampler_source_freq;
extern const struct sampler_source sampler_source_temp;
extern const struct sampler_source sampler_source_throttle;

#endif
