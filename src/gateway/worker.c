#include "gateway/worker.h"

#include <pthread.h>
#include <stdlib.h>

struct order_list {
    struct worker_order *first, *last;
    size_t n;
};

struct gateway_worker {
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t is_wanted;
    uv_async_t ready; // orders are done
    struct order_list waiting, done;
    bool is_closing;
    void (*at_end)(void *context);
    void *context;
};

static void append(struct order_list *list, struct worker_order *order) {
    order->next = NULL;
    *(list->last ? &list->last->next : &list->first) = order;
    list->last = order;
    list->n++;
}

static struct worker_order *take(struct order_list *list) {
    struct worker_order *order = list->first;
    if (order) {
        list->first = order->next;
        list->last = list->first ? list->last : NULL;
        list->n--;
    }
    return order;
}

static bool remove_from(struct order_list *list, struct worker_order *order) {
    struct worker_order *previous = NULL;
    for (struct worker_order *o = list->first; o; previous = o, o = o->next) {
        if (o == order) {
            *(previous ? &previous->next : &list->first) = o->next;
            list->last = list->last == o ? previous : list->last;
            list->n--;
            return true;
        }
    }
    return false;
}

static void *work(void *context) {
    struct gateway_worker *worker = context;
    pthread_mutex_lock(&worker->mutex);
    for (;;) {
        struct worker_order *order = worker->is_closing ? NULL : take(&worker->waiting);
        if (order) {
            pthread_mutex_unlock(&worker->mutex);
            order->work(order);
            pthread_mutex_lock(&worker->mutex);
            append(&worker->done, order);
            uv_async_send(&worker->ready);
        } else if (worker->is_closing) {
            break;
        } else {
            pthread_cond_wait(&worker->is_wanted, &worker->mutex);
        }
    }
    pthread_mutex_unlock(&worker->mutex);
    if (worker->at_end) {
        worker->at_end(worker->context);
    }
    return NULL;
}

static void give_back(struct gateway_worker *worker) {
    for (;;) {
        pthread_mutex_lock(&worker->mutex);
        struct worker_order *order = take(&worker->done);
        pthread_mutex_unlock(&worker->mutex);
        if (!order) {
            return;
        }
        order->on_done(order);
    }
}

static void on_ready(uv_async_t *ready) {
    give_back(ready->data);
}

enum wl_status worker_open(uv_loop_t *loop, struct gateway_worker **out, struct wl_err *err) {
    struct gateway_worker *worker = calloc(1, sizeof *worker);
    *out = NULL;
    if (!worker || uv_async_init(loop, &worker->ready, on_ready) != 0) {
        free(worker);
        return wl_err_set(err, WL_MEMORY, "no memory for the worker");
    }
    worker->ready.data = worker;
    pthread_mutex_init(&worker->mutex, NULL);
    pthread_cond_init(&worker->is_wanted, NULL);
    int error = pthread_create(&worker->thread, NULL, work, worker);
    if (error) {
        uv_close((uv_handle_t *)&worker->ready, (uv_close_cb)free);
        return wl_err_errno(err, error, "cannot start the worker's thread");
    }
    *out = worker;
    return WL_OK;
}

static void on_closed(uv_handle_t *handle) {
    struct gateway_worker *worker = handle->data;
    pthread_cond_destroy(&worker->is_wanted);
    pthread_mutex_destroy(&worker->mutex);
    free(worker);
}

void worker_close(struct gateway_worker *worker, void (*at_end)(void *context), void *context) {
    if (!worker) {
        return;
    }
    pthread_mutex_lock(&worker->mutex);
    worker->is_closing = true;
    worker->at_end = at_end;
    worker->context = context;
    pthread_cond_signal(&worker->is_wanted);
    pthread_mutex_unlock(&worker->mutex);
    pthread_join(worker->thread, NULL);
    for (struct worker_order *order; (order = take(&worker->waiting));) {
        order->is_cancelled = true;
        append(&worker->done, order);
    }
    give_back(worker);
    uv_close((uv_handle_t *)&worker->ready, on_closed);
}

void worker_submit(struct gateway_worker *worker, struct worker_order *order) {
    order->is_cancelled = false;
    pthread_mutex_lock(&worker->mutex);
    append(&worker->waiting, order);
    pthread_cond_signal(&worker->is_wanted);
    pthread_mutex_unlock(&worker->mutex);
}

void worker_cancel(struct gateway_worker *worker, struct worker_order *order) {
    order->is_cancelled = true;
    pthread_mutex_lock(&worker->mutex);
    if (remove_from(&worker->waiting, order)) {
        append(&worker->done, order);
        uv_async_send(&worker->ready);
    }
    pthread_mutex_unlock(&worker->mutex);
}

size_t worker_n_waiting(const struct gateway_worker *worker) {
    struct gateway_worker *w = (struct gateway_worker *)worker; // the lock is not its state
    pthread_mutex_lock(&w->mutex);
    size_t n = w->waiting.n;
    pthread_mutex_unlock(&w->mutex);
    return n;
}
