// Never run on hardware so far: checked against declarations only (tests/darwin_stubs).
#include "os/signals.h"

#include <signal.h>
#include <stddef.h>
#include <unistd.h>

#include "os/clock.h"

static const int64_t LOOK_PERIOD_NS = 10000000;

static void fill_set(sigset_t *set) {
    sigemptyset(set);
    sigaddset(set, SIGCHLD);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGTERM);
}

static void do_nothing(int number) {
    (void)number;
}

void os_signals_hold(void) {
    sigset_t set;
    fill_set(&set);
    // Without a handler of its own a signal that is ignored by default is dropped, even if blocked.
    struct sigaction action = {.sa_handler = do_nothing};
    sigemptyset(&action.sa_mask);
    sigaction(SIGCHLD, &action, NULL);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
}

// There is no sigtimedwait: looks again and again.
static int next_signal(int64_t t_ns) {
    sigset_t set, pending;
    fill_set(&set);
    for (;;) {
        int number = 0;
        if (sigpending(&pending) == 0 &&
            (sigismember(&pending, SIGCHLD) || sigismember(&pending, SIGINT) ||
             sigismember(&pending, SIGTERM)) &&
            sigwait(&set, &number) == 0) {
            return number;
        }
        int64_t now_ns = os_now_ns();
        if (now_ns >= t_ns) {
            return 0;
        }
        os_sleep_until_ns(t_ns - now_ns < LOOK_PERIOD_NS ? t_ns : now_ns + LOOK_PERIOD_NS);
    }
}

enum os_signal os_signal_wait(int64_t t_ns, bool *is_from_terminal) {
    int number = next_signal(t_ns);
    if (is_from_terminal) { // who sent it is not told: likely where we have the terminal
        *is_from_terminal = number == SIGINT && tcgetpgrp(STDIN_FILENO) == getpgrp();
    }
    switch (number) {
    case SIGCHLD: return OS_SIGNAL_CHILD;
    case SIGINT: return OS_SIGNAL_INTERRUPT;
    case SIGTERM: return OS_SIGNAL_TERMINATE;
    default: return OS_SIGNAL_NONE;
    }
}

bool os_adopt_orphans(void) {
    return false;
}
