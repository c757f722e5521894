#include "measure/pulse.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/units.h"
#include "measure/pause.h"
#include "os/clock.h"

enum { MAX_THREADS = 256, N_PULSES = 3 };
static const double FIRST_IDLE_S = 2;
static const double BUSY_S[N_PULSES] = {3.1, 3.3, 2.7}, IDLE_S[N_PULSES] = {2.9, 3.1, 6};

static int64_t ns_of(double seconds) {
    return (int64_t)(seconds * (double)UNITS_NS_PER_S);
}

struct spin {
    atomic_bool must_stop;
    atomic_uint sink; // so that the arithmetic is not thrown away
};

static void *spin(void *context) {
    struct spin *shared = context;
    uint32_t x = 1;
    while (!atomic_load_explicit(&shared->must_stop, memory_order_relaxed)) {
        for (int i = 0; i < 4096; i++) {
            x = x * 1664525u + 1013904223u;
        }
    }
    atomic_fetch_add(&shared->sink, x);
    return NULL;
}

static enum wl_status busy(int n_threads, int64_t until_ns, struct wl_err *err) {
    pthread_t thread[MAX_THREADS];
    struct spin shared = {0};
    int n_started = 0;
    while (n_started < n_threads && n_started < MAX_THREADS &&
           pthread_create(&thread[n_started], NULL, spin, &shared) == 0) {
        n_started++;
    }
    enum wl_status status =
        n_started ? pause_until(until_ns, err)
                  : wl_err_set(err, WL_MEMORY, "cannot start a thread for the pulses");
    atomic_store(&shared.must_stop, true);
    for (int i = 0; i < n_started; i++) {
        pthread_join(thread[i], NULL);
    }
    return status;
}

enum wl_status pulse_run(int n_threads, struct wl_err *err) {
    int64_t t_ns = os_now_ns() + ns_of(FIRST_IDLE_S);
    enum wl_status status = pause_until(t_ns, err);
    for (int i = 0; i < N_PULSES && status == WL_OK; i++) {
        t_ns += ns_of(BUSY_S[i]);
        status = busy(n_threads, t_ns, err);
        t_ns += ns_of(IDLE_S[i]);
        status = status == WL_OK ? pause_until(t_ns, err) : status;
    }
    return status;
}
