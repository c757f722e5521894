#include "compressor/narrow_threads.h"

#include <cblas.h>
#include <pthread.h>
#include <stdbool.h>

enum { WORTH_THREADS = 4 << 20 }; // elements of a matrix

struct part {
    narrow_part_fn *work;
    void *context;
    size_t number;
    pthread_t thread;
    bool is_started;
    enum wl_status status;
    struct wl_err err;
};

size_t narrow_threads(void) {
    int n = openblas_get_num_threads();
    return n < 1 ? 1 : n > NARROW_MAX_THREADS ? NARROW_MAX_THREADS : (size_t)n;
}

static void *run_part(void *context) {
    struct part *part = context;
    part->status = part->work(part->context, part->number, &part->err);
    return NULL;
}

static enum wl_status run_parts(struct part *parts, size_t n, struct wl_err *err) {
    for (size_t i = 1; i < n; i++) {
        parts[i].is_started = pthread_create(&parts[i].thread, NULL, run_part, &parts[i]) == 0;
    }
    run_part(&parts[0]);
    for (size_t i = 1; i < n; i++) {
        if (parts[i].is_started) {
            pthread_join(parts[i].thread, NULL);
        } else {
            run_part(&parts[i]);
        }
    }
    for (size_t i = 0; i < n; i++) {
        if (parts[i].status != WL_OK) {
            return wl_err_set(err, parts[i].status, "%s", parts[i].err.message);
        }
    }
    return WL_OK;
}

enum wl_status narrow_in_parts(size_t n, narrow_part_fn *work, void *context, struct wl_err *err) {
    struct part parts[NARROW_MAX_THREADS] = {0};
    if (n <= 1 || n > NARROW_MAX_THREADS) {
        return work(context, 0, err);
    }
    for (size_t i = 0; i < n; i++) {
        parts[i] = (struct part){.work = work, .context = context, .number = i};
    }
    int usual = narrow_calm_begin(0);
    enum wl_status status = run_parts(parts, n, err);
    narrow_calm_end(usual);
    return status;
}

int narrow_calm_begin(size_t n_elements) {
    int usual = openblas_get_num_threads();
    if (n_elements < WORTH_THREADS && usual > 1) {
        openblas_set_num_threads(1);
    }
    return usual;
}

void narrow_calm_end(int usual) {
    if (openblas_get_num_threads() != usual) {
        openblas_set_num_threads(usual);
    }
}
