#include "gateway/upstream_own.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/upstream_process.h"
#include "gateway/upstream_settings.h"
#include "gateway/upstream_words.h"
#include "os/clock.h"
#include "os/process.h"

enum {
    FIRST_PAUSE_MS = 250, // between a death and the next start, doubling
    LONGEST_PAUSE_MS = 30000,
    MAX_FAILED_STARTS = 5,   // in a row, then it is called failed
    FIRST_LOOK_MS = 50,      // after a start: small models are there at once
    LONGEST_LOADING_MS = 500 // between two looks while it loads
};
static const int64_t LONG_LIFE_NS = 60000000000; // it is well: pauses begin anew
static const int64_t HUNG_NS = 60000000000;      // without an answer: it is killed

// Why the process was told to end.
enum ending { NOT_ENDING, ENDING_TO_SLEEP, ENDING_TO_CHANGE, ENDING_HUNG };

struct upstream_own {
    struct upstream_process *process;
    struct upstream_server settings;
    struct upstream_server next; // upstream_change; program NULL: none
    uv_timer_t again, idle;
    enum ending ending;
    int64_t start_ns, up_ns; // of this process; up_ns 0: not up yet
    int64_t lost_ns;         // since then it gives no answer; 0: it does
    int64_t pause_ms;
    unsigned n_failed_starts; // in a row
    int n_timers;             // not closed yet
};

static void on_again(uv_timer_t *timer);

static bool runs(const struct upstream *upstream) {
    return upstream_process_pid(upstream->own->process) > 0;
}

bool upstream_own_can_be_asked(const struct upstream *upstream) {
    return runs(upstream) && upstream->own->ending == NOT_ENDING;
}

// ---- starts ----

static void plan_start(struct upstream *upstream, int64_t ms) {
    uv_timer_start(&upstream->own->again, on_again, (uint64_t)ms, 0);
}

static void take_next_settings(struct upstream_own *own) {
    if (own->next.program) {
        upstream_settings_release(&own->settings);
        own->settings = own->next;
        own->next = (struct upstream_server){0};
    }
}

static enum wl_status start_process(struct upstream_own *own, struct wl_err *err) {
    struct upstream_command command;
    enum wl_status status = upstream_socket_prepare(own->settings.socket_path, err);
    if (status == WL_OK) {
        upstream_command_make(&own->settings, &command);
        status = upstream_process_start(own->process, command.argv, command.env, err);
    }
    return status;
}

static int64_t next_pause(struct upstream_own *own) {
    int64_t pause_ms = own->pause_ms;
    own->pause_ms = pause_ms * 2 < LONGEST_PAUSE_MS ? pause_ms * 2 : LONGEST_PAUSE_MS;
    return own->n_failed_starts >= MAX_FAILED_STARTS ? LONGEST_PAUSE_MS : pause_ms;
}

// It is not there, and nobody wanted that.
static void on_lost_process(struct upstream *upstream, bool has_been_up, const char *why) {
    struct upstream_own *own = upstream->own;
    own->n_failed_starts = has_been_up ? 0 : own->n_failed_starts + 1;
    bool is_hopeless = own->n_failed_starts >= MAX_FAILED_STARTS;
    int64_t pause_ms = next_pause(own);
    upstream_set_health(upstream, is_hopeless ? UPSTREAM_FAILED : UPSTREAM_DOWN, why);
    upstream_log(upstream, "%s; next start in %.2f s", why, (double)pause_ms / 1000);
    plan_start(upstream, pause_ms);
}

void upstream_own_start(struct upstream *upstream) {
    struct upstream_own *own = upstream->own;
    struct wl_err err;
    uv_timer_stop(&own->again);
    take_next_settings(own);
    own->start_ns = os_now_ns();
    own->up_ns = own->lost_ns = 0;
    own->ending = NOT_ENDING;
    upstream->facts.n_starts++;
    if (start_process(own, &err) != WL_OK) {
        on_lost_process(upstream, false, err.message);
        return;
    }
    upstream->facts.pid = upstream_process_pid(own->process);
    upstream->n_silent = 0;
    upstream->pause_ms = FIRST_LOOK_MS;
    if (upstream->facts.health != UPSTREAM_FAILED) { // until it has come up once
        upstream_set_health(upstream, UPSTREAM_STARTING, "it loads its model");
    }
    upstream_log(upstream, "model server started, process %d", (int)upstream->facts.pid);
    upstream_look_in(upstream, FIRST_LOOK_MS);
}

static void on_again(uv_timer_t *timer) {
    upstream_own_start(timer->data);
}

// ---- deaths ----

static void on_own_death(struct upstream *upstream, int wait_status) {
    struct upstream_own *own = upstream->own;
    char how[128], words[UPSTREAM_TEXT_BYTES / 2], why[UPSTREAM_TEXT_BYTES];
    bool has_been_up = own->up_ns > 0;
    upstream->facts.n_deaths++;
    if (has_been_up && os_now_ns() - own->up_ns >= LONG_LIFE_NS) {
        own->pause_ms = FIRST_PAUSE_MS;
    }
    os_describe_exit(how, sizeof how, wait_status);
    upstream_words(upstream_process_output(own->process), has_been_up, words, sizeof words);
    snprintf(why, sizeof why, "the model server %s%s%s%s%s",
             own->ending == ENDING_HUNG ? "gave no answer for a minute and was " : "", how,
             has_been_up ? "" : " before it was up", *words ? ": " : "", words);
    on_lost_process(upstream, has_been_up, why);
}

static void on_death(void *context, int wait_status) {
    struct upstream *upstream = context;
    struct upstream_own *own = upstream->own;
    bool is_asleep = upstream->facts.health == UPSTREAM_ASLEEP; // else it was woken meanwhile
    upstream_stop_looking(upstream);
    upstream->facts.pid = 0;
    upstream_socket_remove(own->settings.socket_path); // llama-server leaves it there
    if (own->ending == NOT_ENDING || own->ending == ENDING_HUNG) {
        on_own_death(upstream, wait_status);
    } else if (!is_asleep) {
        upstream_own_start(upstream);
    }
}

// ---- sleep ----

static void fall_asleep(struct upstream *upstream) {
    struct upstream_own *own = upstream->own;
    char why[UPSTREAM_TEXT_BYTES];
    snprintf(why, sizeof why, "unloaded after %.4g s without a request; the next one starts it",
             own->settings.idle_unload_s);
    own->ending = ENDING_TO_SLEEP;
    upstream_stop_looking(upstream);
    upstream_set_health(upstream, UPSTREAM_ASLEEP, why);
    upstream_log(upstream, "model server %s", why);
    upstream_process_stop(own->process);
}

static bool is_wanted(const struct upstream *upstream) {
    return upstream->n_requests + upstream->n_waiting > 0;
}

static void wait_for_idle(struct upstream *upstream);

static void on_idle(uv_timer_t *timer) {
    struct upstream *upstream = timer->data;
    if (!is_wanted(upstream) && upstream->facts.health == UPSTREAM_UP) {
        fall_asleep(upstream);
    } else {
        wait_for_idle(upstream);
    }
}

static void wait_for_idle(struct upstream *upstream) {
    double idle_s = upstream->own->settings.idle_unload_s;
    if (idle_s > 0 && !is_wanted(upstream)) {
        uv_timer_start(&upstream->own->idle, on_idle, (uint64_t)(idle_s * 1000), 0);
    }
}

static void start_changed(struct upstream *upstream) {
    struct upstream_own *own = upstream->own;
    if (!own->next.program || upstream->n_requests > 0 ||
        upstream->facts.health == UPSTREAM_ASLEEP) {
        return;
    }
    own->n_failed_starts = 0;
    own->pause_ms = FIRST_PAUSE_MS;
    if (runs(upstream)) {
        own->ending = ENDING_TO_CHANGE;
        upstream_stop_looking(upstream);
        upstream_set_health(upstream, UPSTREAM_STARTING, "it is started with other settings");
        upstream_process_stop(own->process);
    } else {
        upstream_own_start(upstream);
    }
}

void upstream_own_enter(struct upstream *upstream) {
    uv_timer_stop(&upstream->own->idle);
    if (upstream->facts.health != UPSTREAM_ASLEEP) {
        return;
    }
    if (runs(upstream)) { // its end starts it again
        upstream_set_health(upstream, UPSTREAM_STARTING, "it loads its model");
    } else {
        upstream_own_start(upstream);
    }
}

void upstream_own_leave(struct upstream *upstream) {
    wait_for_idle(upstream);
    start_changed(upstream);
}

bool upstream_own_has_change(const struct upstream *upstream) {
    return upstream->own->next.program;
}

enum wl_status upstream_own_change(struct upstream *upstream, const struct upstream_server *server,
                                   struct wl_err *err) {
    struct upstream_own *own = upstream->own;
    struct upstream_server next = *server;
    if (!next.socket_path) {
        next.socket_path = own->settings.socket_path;
    }
    if (strcmp(next.socket_path, own->settings.socket_path) != 0) {
        return wl_err_set(err, WL_INPUT, "the model server's socket is '%s' and cannot become '%s'",
                          own->settings.socket_path, next.socket_path);
    }
    struct upstream_server copy;
    enum wl_status status = upstream_settings_copy(&next, &copy, err);
    if (status == WL_OK) {
        upstream_settings_release(&own->next);
        own->next = copy;
        start_changed(upstream);
    }
    return status;
}

// ---- what a look has found ----

void upstream_own_is_up(struct upstream *upstream) {
    struct upstream_own *own = upstream->own;
    own->lost_ns = 0;
    own->n_failed_starts = 0;
    if (own->up_ns == 0) {
        own->up_ns = os_now_ns();
        upstream->facts.load_ns = own->up_ns - own->start_ns;
        upstream_log(upstream, "model server is up after %.2f s",
                     (double)upstream->facts.load_ns * 1e-9);
        wait_for_idle(upstream);
    } else if (os_now_ns() - own->up_ns >= LONG_LIFE_NS) {
        own->pause_ms = FIRST_PAUSE_MS;
    }
}

void upstream_own_is_loading(struct upstream *upstream) {
    int64_t pause_ms = upstream->pause_ms;
    upstream->own->lost_ns = 0;
    upstream->pause_ms = pause_ms * 2 < LONGEST_LOADING_MS ? pause_ms * 2 : LONGEST_LOADING_MS;
    upstream_look_in(upstream, pause_ms);
}

void upstream_own_is_lost(struct upstream *upstream, bool is_strange, const char *problem) {
    struct upstream_own *own = upstream->own;
    if (own->up_ns == 0) { // it does not listen yet, or has its hands full
        if (is_strange) {
            upstream_set_health(upstream, upstream->facts.health, problem);
        }
        upstream_own_is_loading(upstream);
        return;
    }
    int64_t now_ns = os_now_ns();
    own->lost_ns = own->lost_ns ? own->lost_ns : now_ns;
    upstream_set_health(upstream, UPSTREAM_DOWN, problem);
    if (now_ns - own->lost_ns >= HUNG_NS) {
        own->ending = ENDING_HUNG;
        upstream_process_kill(own->process);
    } else {
        upstream_look_in(upstream, 1000);
    }
}

void upstream_own_look(struct upstream *upstream) {
    upstream_process_look(upstream->own->process);
}

// ---- open and close ----

enum wl_status upstream_own_open(struct upstream *upstream, const struct upstream_server *server,
                                 struct wl_err *err) {
    struct upstream_own *own = calloc(1, sizeof *own);
    if (!own) {
        return wl_err_set(err, WL_MEMORY, "no memory for a model server");
    }
    enum wl_status status = upstream_settings_copy(server, &own->settings, err);
    if (status == WL_OK) {
        status = upstream_process_open(upstream->loop, on_death, upstream, &own->process, err);
    }
    if (status != WL_OK) {
        upstream_settings_release(&own->settings);
        free(own);
        return status;
    }
    uv_timer_init(upstream->loop, &own->again);
    uv_timer_init(upstream->loop, &own->idle);
    own->again.data = own->idle.data = upstream;
    own->pause_ms = FIRST_PAUSE_MS;
    own->n_timers = 2;
    upstream->n_handles++; // all of it together
    upstream->own = own;
    snprintf(upstream->socket, sizeof upstream->socket, "%s", own->settings.socket_path);
    return WL_OK;
}

static void on_timer_closed(uv_handle_t *handle) {
    struct upstream *upstream = handle->data;
    struct upstream_own *own = upstream->own;
    if (--own->n_timers == 0) {
        upstream_settings_release(&own->settings);
        upstream_settings_release(&own->next);
        free(own);
        upstream->own = NULL;
        upstream_handle_closed(upstream);
    }
}

static void on_process_closed(void *context) {
    struct upstream *upstream = context;
    upstream_socket_remove(upstream->own->settings.socket_path);
    upstream->facts.pid = 0;
    uv_close((uv_handle_t *)&upstream->own->again, on_timer_closed);
    uv_close((uv_handle_t *)&upstream->own->idle, on_timer_closed);
}

void upstream_own_close(struct upstream *upstream) {
    uv_timer_stop(&upstream->own->again);
    uv_timer_stop(&upstream->own->idle);
    upstream_process_close(upstream->own->process, on_process_closed, upstream);
}
