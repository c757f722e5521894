// The process of our own model server: started, listened to, ended, and started again. What to run
// and when is not decided here (upstream_own.h). On the loop; its thread starts the process, which
// is killed when that thread ends.
#ifndef WATTLAW_GATEWAY_UPSTREAM_PROCESS_H
#define WATTLAW_GATEWAY_UPSTREAM_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <uv.h>

#include "base/err.h"

struct upstream_process;

// on_death comes on the loop when the process has ended, whoever wanted it.
enum wl_status upstream_process_open(uv_loop_t *loop,
                                     void (*on_death)(void *context, int wait_status),
                                     void *context, struct upstream_process **out,
                                     struct wl_err *err);
// Ends a process that runs (SIGTERM, SIGKILL after 3 s) without on_death; then the memory is gone.
void upstream_process_close(struct upstream_process *process, void (*on_closed)(void *context),
                            void *context);

// Only when none runs. `argv` and `env` ("NAME=value", added) are NULL-terminated and borrowed.
enum wl_status upstream_process_start(struct upstream_process *process, const char *const *argv,
                                      const char *const *env, struct wl_err *err);
void upstream_process_stop(struct upstream_process *process);       // SIGTERM, SIGKILL after 3 s
void upstream_process_kill(struct upstream_process *process);       // SIGKILL
void upstream_process_look(struct upstream_process *process);       // a death is told at once
pid_t upstream_process_pid(const struct upstream_process *process); // 0: none runs

// What it printed lately, at most some KiB; whole lines from the first one that is kept.
const char *upstream_process_output(const struct upstream_process *process);

#endif
