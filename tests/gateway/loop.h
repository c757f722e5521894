// A loop that runs until a test has what it waits for.
#ifndef TESTS_GATEWAY_LOOP_H
#define TESTS_GATEWAY_LOOP_H

#include <stdbool.h>
#include <uv.h>

// Comes again and again: libuv may run it and then wait, in one turn, for what never comes.
static inline void loop_is_late(uv_timer_t *timer) {
    *(bool *)timer->data = true;
}

// False when 10 s were not enough.
static inline bool loop_until(uv_loop_t *loop, const bool *is_done) {
    bool is_late = false;
    uv_timer_t timer;
    uv_timer_init(loop, &timer);
    timer.data = &is_late;
    uv_update_time(loop);
    uv_timer_start(&timer, loop_is_late, 10000, 10);
    while (!*is_done && !is_late) {
        uv_run(loop, UV_RUN_ONCE);
    }
    uv_close((uv_handle_t *)&timer, NULL);
    uv_run(loop, UV_RUN_NOWAIT);
    return *is_done;
}

static inline void loop_run_for(uv_loop_t *loop, uint64_t ms) {
    bool is_late = false;
    uv_timer_t timer;
    uv_timer_init(loop, &timer);
    timer.data = &is_late;
    uv_update_time(loop);
    uv_timer_start(&timer, loop_is_late, ms, 10);
    while (!is_late) {
        uv_run(loop, UV_RUN_ONCE);
    }
    uv_close((uv_handle_t *)&timer, NULL);
    uv_run(loop, UV_RUN_NOWAIT);
}

// Runs what was closed to its end; true when nothing is left.
static inline bool loop_is_empty(uv_loop_t *loop) {
    for (int i = 0; i < 100 && uv_loop_alive(loop); i++) {
        uv_run(loop, UV_RUN_NOWAIT);
    }
    return uv_loop_close(loop) == 0;
}

#endif
