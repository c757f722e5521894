#include "api/api_poll.h"

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

#include "os/clock.h"

struct api_poll {
    void (*read)(void *context);
    void *context;
    int64_t period_ns;
    pthread_t thread;
    pthread_mutex_t lock; // guards is_stopping
    pthread_cond_t wake;  // CLOCK_MONOTONIC
    bool is_stopping;
};

static void *run(void *context) {
    struct api_poll *poll = context;
    int64_t next_ns = os_now_ns();
    pthread_mutex_lock(&poll->lock);
    while (!poll->is_stopping) {
        next_ns += poll->period_ns;
        struct timespec until = {.tv_sec = next_ns / 1000000000, .tv_nsec = next_ns % 1000000000};
        while (!poll->is_stopping &&
               pthread_cond_timedwait(&poll->wake, &poll->lock, &until) == 0) {
        }
        if (!poll->is_stopping) {
            pthread_mutex_unlock(&poll->lock);
            poll->read(poll->context);
            pthread_mutex_lock(&poll->lock);
        }
    }
    pthread_mutex_unlock(&poll->lock);
    return NULL;
}

static void release(struct api_poll *poll) {
    pthread_cond_destroy(&poll->wake);
    pthread_mutex_destroy(&poll->lock);
    free(poll);
}

enum wl_status api_poll_start(void (*read)(void *context), void *context, int64_t period_ns,
                              struct api_poll **out, struct wl_err *err) {
    struct api_poll *poll = calloc(1, sizeof *poll);
    if (!poll) {
        return wl_err_set(err, WL_MEMORY, "no memory to poll a meter");
    }
    poll->read = read;
    poll->context = context;
    poll->period_ns = period_ns;
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&poll->wake, &attributes);
    pthread_condattr_destroy(&attributes);
    pthread_mutex_init(&poll->lock, NULL);
    sigset_t all, old;
    sigfillset(&all); // signals are the caller's
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int error = pthread_create(&poll->thread, NULL, run, poll);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (error) {
        release(poll);
        return wl_err_errno(err, error, "cannot start a thread to poll a meter");
    }
    *out = poll;
    return WL_OK;
}

void api_poll_stop(struct api_poll *poll) {
    if (!poll) {
        return;
    }
    pthread_mutex_lock(&poll->lock);
    poll->is_stopping = true;
    pthread_cond_signal(&poll->wake);
    pthread_mutex_unlock(&poll->lock);
    pthread_join(poll->thread, NULL);
    release(poll);
}
