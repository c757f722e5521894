#include "meter/meter_thread.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

enum { RING_BYTES = 1 << 18, MIN_READINGS = 64, THREAD_STACK_BYTES = 1 << 19 };
static const int64_t DEFAULT_POLL_NS = 100000000;

// A reading without the channels that the source does not have.
struct kept {
    int64_t t_before_ns, t_after_ns;
};

struct meter_thread {
    const struct meter_source *source;
    void *state;
    const struct os_clock *clock;
    int64_t poll_ns;
    size_t n_channels, capacity;
    pthread_t thread;
    pthread_mutex_t lock; // guards all below
    pthread_cond_t wake;  // is_stopping was set; CLOCK_MONOTONIC
    bool is_stopping;
    size_t first, n;
    struct kept *kept;
    struct meter_channel_reading *channels; // n_channels for each of `kept`
    enum wl_status status;                  // of the source; not OK ends the thread
    struct wl_err err;
};

static void keep(struct meter_thread *t, const struct meter_reading *reading) {
    if (t->n == t->capacity) {
        t->first = (t->first + 1) % t->capacity;
        t->n--;
    }
    size_t at = (t->first + t->n++) % t->capacity;
    t->kept[at] = (struct kept){reading->t_before_ns, reading->t_after_ns};
    memcpy(t->channels + at * t->n_channels, reading->channel, t->n_channels * sizeof *t->channels);
}

// The lock is held. Returns at the deadline or when the thread shall stop.
static void wait_until(struct meter_thread *t, int64_t t_ns) {
    struct timespec deadline = {.tv_sec = t_ns / 1000000000, .tv_nsec = t_ns % 1000000000};
    while (!t->is_stopping && pthread_cond_timedwait(&t->wake, &t->lock, &deadline) == 0) {
    }
}

static void *run(void *context) {
    struct meter_thread *t = context;
    int64_t next_ns = t->clock->now_ns(t->clock->context);
    pthread_mutex_lock(&t->lock);
    while (!t->is_stopping && t->status == WL_OK) {
        pthread_mutex_unlock(&t->lock);
        struct meter_reading reading = {0};
        struct wl_err err = {0};
        enum wl_status status = t->source->read(t->state, &reading, &err);
        int64_t now_ns = t->clock->now_ns(t->clock->context);
        pthread_mutex_lock(&t->lock);
        t->status = status;
        t->err = err;
        if (status == WL_OK && !reading.is_empty) {
            keep(t, &reading);
        }
        if (!reading.has_more) {
            next_ns += t->poll_ns;
            next_ns = next_ns > now_ns ? next_ns : now_ns; // late once, not late for ever
            wait_until(t, next_ns);
        }
    }
    pthread_mutex_unlock(&t->lock);
    return NULL;
}

static void release(struct meter_thread *t) {
    pthread_cond_destroy(&t->wake);
    pthread_mutex_destroy(&t->lock);
    free(t->kept);
    free(t->channels);
    free(t);
}

static struct meter_thread *new_thread(size_t n_channels) {
    struct meter_thread *t = calloc(1, sizeof *t);
    pthread_condattr_t attributes;
    if (!t) {
        return NULL;
    }
    t->n_channels = n_channels;
    t->capacity = RING_BYTES / (sizeof *t->kept + n_channels * sizeof *t->channels);
    t->capacity = t->capacity < MIN_READINGS ? MIN_READINGS : t->capacity;
    t->kept = calloc(t->capacity, sizeof *t->kept);
    t->channels = calloc(t->capacity * n_channels, sizeof *t->channels);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&t->wake, &attributes);
    pthread_condattr_destroy(&attributes);
    pthread_mutex_init(&t->lock, NULL);
    if (!t->kept || !t->channels) {
        release(t);
        return NULL;
    }
    return t;
}

static int launch(struct meter_thread *t) {
    pthread_attr_t attributes;
    sigset_t all, old;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, THREAD_STACK_BYTES);
    sigfillset(&all); // signals belong to the main thread
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int error = pthread_create(&t->thread, &attributes, run, t);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attributes);
    return error;
}

enum wl_status meter_thread_start(const struct meter_source *source, void *state,
                                  const struct meter_info *info, const struct os_clock *clock,
                                  struct meter_thread **out, struct wl_err *err) {
    struct meter_thread *t = new_thread(info->n_channels ? info->n_channels : 1);
    if (!t) {
        return wl_err_set(err, WL_MEMORY, "out of memory");
    }
    t->source = source;
    t->state = state;
    t->clock = clock;
    t->poll_ns = info->poll_period_ns > 0 ? info->poll_period_ns : DEFAULT_POLL_NS;
    int error = launch(t);
    if (error) {
        release(t);
        return wl_err_errno(err, error, "cannot start a meter's thread");
    }
    *out = t;
    return WL_OK;
}

enum wl_status meter_thread_read(struct meter_thread *t, struct meter_reading *out,
                                 struct wl_err *err) {
    enum wl_status status = WL_OK;
    pthread_mutex_lock(&t->lock);
    if (t->n > 0) {
        out->t_before_ns = t->kept[t->first].t_before_ns;
        out->t_after_ns = t->kept[t->first].t_after_ns;
        memcpy(out->channel, t->channels + t->first * t->n_channels,
               t->n_channels * sizeof *t->channels);
        t->first = (t->first + 1) % t->capacity;
        t->n--;
        out->has_more = t->n > 0;
    } else if (t->status != WL_OK) {
        status = t->status;
        if (err) {
            *err = t->err;
        }
    } else {
        out->is_empty = true;
    }
    pthread_mutex_unlock(&t->lock);
    return status;
}

void meter_thread_stop(struct meter_thread *t) {
    if (!t) {
        return;
    }
    pthread_mutex_lock(&t->lock);
    t->is_stopping = true;
    pthread_cond_broadcast(&t->wake);
    pthread_mutex_unlock(&t->lock);
    pthread_join(t->thread, NULL);
    release(t);
}
