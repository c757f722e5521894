#include "os/signals.h"

#include <errno.h>
#include <signal.h>
#include <sys/prctl.h>
#include <time.h>

#include "base/units.h"
#include "os/clock.h"

static void fill_set(sigset_t *set) {
    sigemptyset(set);
    sigaddset(set, SIGCHLD);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGTERM);
}

void os_signals_hold(void) {
    sigset_t set;
    fill_set(&set);
    signal(SIGCHLD,
           SIG_DFL); // ignored (as we may have been started), children could not be awaited
    pthread_sigmask(SIG_BLOCK, &set, NULL);
}

enum os_signal os_signal_wait(int64_t t_ns, bool *is_from_terminal) {
    sigset_t set;
    siginfo_t info;
    fill_set(&set);
    int number;
    do {
        int64_t left_ns = t_ns - os_now_ns();
        left_ns = left_ns > 0 ? left_ns : 0;
        struct timespec timeout = {.tv_sec = (time_t)(left_ns / UNITS_NS_PER_S),
                                   .tv_nsec = (long)(left_ns % UNITS_NS_PER_S)};
        number = sigtimedwait(&set, &info, &timeout);
    } while (number < 0 && errno == EINTR);
    if (is_from_terminal) {
        *is_from_terminal = number == SIGINT && info.si_code == SI_KERNEL;
    }
    switch (number) {
    case SIGCHLD: return OS_SIGNAL_CHILD;
    case SIGINT: return OS_SIGNAL_INTERRUPT;
    case SIGTERM: return OS_SIGNAL_TERMINATE;
    default: return OS_SIGNAL_NONE;
    }
}

bool os_adopt_orphans(void) {
    return prctl(PR_SET_CHILD_SUBREAPER, 1) == 0;
}
