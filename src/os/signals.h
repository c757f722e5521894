// Signals taken one by one, in the program's own time, by a program that watches another: nothing
// is interrupted, and none is lost between a look and a sleep.
#ifndef WATTLAW_OS_SIGNALS_H
#define WATTLAW_OS_SIGNALS_H

#include <stdbool.h>
#include <stdint.h>

enum os_signal {
    OS_SIGNAL_NONE,      // the time came
    OS_SIGNAL_CHILD,     // a child has ended (or stopped)
    OS_SIGNAL_INTERRUPT, // SIGINT
    OS_SIGNAL_TERMINATE, // SIGTERM
};

// From now on these three wait for os_signal_wait, in this thread and those made later.
void os_signals_hold(void);
// Sleeps until `t_ns` (CLOCK_MONOTONIC) or until one of them has arrived. `is_from_terminal` (may
// be NULL): typed by a person, so that the whole foreground group has it already.
enum os_signal os_signal_wait(int64_t t_ns, bool *is_from_terminal);

// From now on descendants whose parent ends become our children (Linux). False where that cannot
// be: they go to process 1 then.
bool os_adopt_orphans(void);

#endif
