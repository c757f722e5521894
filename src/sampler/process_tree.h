// A process and all its descendants: their CPU time, memory and number.
//
// CPU time is conserved: when a process ends, its time moves to the parent that waits for it, which
// /proc shows as the time of ended children. The sum over the living of own time and that of ended
// children therefore counts every process once. Where nobody waits (an orphan, SIGCHLD ignored) the
// time last seen is kept here. Own time is the scheduler's exact clock; that of ended children is
// in ticks of 10 ms, but exact again for what the calling process itself has waited for.
#ifndef WATTLAW_SAMPLER_PROCESS_TREE_H
#define WATTLAW_SAMPLER_PROCESS_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

enum { PROCESS_TREE_MAX = 4096 };

struct process_tree_options {
    const char *root; // of /proc; NULL or "/" is the machine. Elsewhere (tests) there are no clocks
    pid_t pid;        // the first process of the tree
    // The first process is a child of the caller, who has made itself the parent of orphans
    // (os_adopt_orphans): they stay in the tree, and those that have ended are waited for here.
    // All time since the first process began counts. False: only time from now on counts.
    bool is_child;
};

struct process_tree_sample {
    int64_t cpu_ns;       // never falls
    int64_t rss_bytes;    // sum; a page that several share counts for each
    int64_t pss_bytes;    // sum of proportional shares; 0 unless has_pss
    bool has_pss;         // asked for, and readable for every process
    uint32_t n_processes; // alive now (a zombie is not)
    uint32_t n_seen;      // ever in the tree
    bool is_truncated;    // more than PROCESS_TREE_MAX processes at once
};

struct process_tree;

// NOT_FOUND: no such process.
enum wl_status process_tree_open(const struct process_tree_options *options,
                                 struct process_tree **out, struct wl_err *err);
// Looks for new and ended processes and adds up. Cheap while none begins anywhere on the machine.
void process_tree_read(struct process_tree *tree, bool wants_pss, struct process_tree_sample *out);
void process_tree_close(struct process_tree *tree); // NULL is fine

#endif
