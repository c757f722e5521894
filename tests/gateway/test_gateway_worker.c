// The gateway's worker: orders in their order, on another thread, back on the loop.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <semaphore.h>
#include <string.h>

#include "gateway/worker.h"
#include "loop.h"

enum { N = 20 };

struct count {
    struct worker_order order; // first
    int number;
    pthread_t thread;
    sem_t *gate; // waited for in work; NULL: none
    bool is_worked, is_done;
};

static int seen[N], n_seen;
static bool is_last_done;

static void work(struct worker_order *order) {
    struct count *c = (struct count *)order;
    if (c->gate) {
        sem_wait(c->gate);
    }
    c->thread = pthread_self();
    c->is_worked = true;
}

static void on_done(struct worker_order *order) {
    struct count *c = (struct count *)order;
    c->is_done = true;
    seen[n_seen++] = c->number;
    is_last_done = c->number == N - 1;
}

static void note_end(void *context) {
    *(pthread_t *)context = pthread_self();
}

static void orders_are_worked_at_in_turn_on_one_thread(void **state) {
    (void)state;
    uv_loop_t loop;
    uv_loop_init(&loop);
    struct gateway_worker *worker;
    struct count counts[N] = {0};
    pthread_t end = pthread_self();
    n_seen = 0;
    is_last_done = false;
    assert_int_equal(worker_open(&loop, &worker, NULL), WL_OK);
    for (int i = 0; i < N; i++) {
        counts[i] = (struct count){.order = {.work = work, .on_done = on_done}, .number = i};
        worker_submit(worker, &counts[i].order);
    }
    assert_true(loop_until(&loop, &is_last_done));
    assert_int_equal(n_seen, N);
    for (int i = 0; i < N; i++) {
        assert_int_equal(seen[i], i);
        assert_true(counts[i].is_worked && !counts[i].order.is_cancelled);
        assert_true(pthread_equal(counts[i].thread, counts[0].thread));
        assert_false(pthread_equal(counts[i].thread, pthread_self()));
    }
    worker_close(worker, note_end, &end);
    assert_true(pthread_equal(end, counts[0].thread));
    assert_true(loop_is_empty(&loop));
}

static void what_is_cancelled_comes_back_without_work(void **state) {
    (void)state;
    uv_loop_t loop;
    uv_loop_init(&loop);
    struct gateway_worker *worker;
    struct count counts[4] = {0};
    sem_t gate;
    sem_init(&gate, 0, 0);
    n_seen = 0;
    assert_int_equal(worker_open(&loop, &worker, NULL), WL_OK);
    for (int i = 0; i < 4; i++) {
        counts[i] = (struct count){.order = {.work = work, .on_done = on_done}, .number = i};
        counts[i].gate = i == 0 ? &gate : NULL;
        worker_submit(worker, &counts[i].order);
    }
    while (worker_n_waiting(worker) > 3) { // the first one is being worked at
        loop_run_for(&loop, 1);
    }
    worker_cancel(worker, &counts[0].order);
    worker_cancel(worker, &counts[2].order);
    assert_true(loop_until(&loop, &counts[2].is_done));
    assert_false(counts[2].is_worked);
    assert_false(counts[0].is_done);
    sem_post(&gate);
    assert_true(loop_until(&loop, &counts[3].is_done));
    assert_true(counts[0].is_worked && counts[0].order.is_cancelled);
    assert_true(counts[1].is_worked && counts[3].is_worked);
    assert_int_equal(n_seen, 4);
    worker_close(worker, NULL, NULL);
    assert_true(loop_is_empty(&loop));
    sem_destroy(&gate);
}

static void a_close_gives_back_what_waits(void **state) {
    (void)state;
    uv_loop_t loop;
    uv_loop_init(&loop);
    struct gateway_worker *worker;
    struct count counts[3] = {0};
    sem_t gate;
    sem_init(&gate, 0, 0);
    n_seen = 0;
    assert_int_equal(worker_open(&loop, &worker, NULL), WL_OK);
    for (int i = 0; i < 3; i++) {
        counts[i] = (struct count){.order = {.work = work, .on_done = on_done}, .number = i};
        counts[i].gate = i == 0 ? &gate : NULL;
        worker_submit(worker, &counts[i].order);
    }
    while (worker_n_waiting(worker) > 2) {
        loop_run_for(&loop, 1);
    }
    sem_post(&gate);
    worker_close(worker, NULL, NULL);
    assert_int_equal(n_seen, 3);
    assert_true(counts[0].is_worked);
    for (int i = 0; i < 3; i++) {
        assert_true(counts[i].is_done);
        assert_true(counts[i].is_worked || counts[i].order.is_cancelled);
    }
    assert_true(loop_is_empty(&loop));
    sem_destroy(&gate);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(orders_are_worked_at_in_turn_on_one_thread),
        cmocka_unit_test(what_is_cancelled_comes_back_without_work),
        cmocka_unit_test(a_close_gives_back_what_waits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
