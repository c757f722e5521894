// All of the gateway: its parts, and the jobs that go through them. One loop, one thread; the
// ledger, the worker and slow meters have threads of their own behind their headers.
#ifndef WATTLAW_GATEWAY_GATEWAY_H
#define WATTLAW_GATEWAY_GATEWAY_H

#include <stdbool.h>
#include <uv.h>

#include "gateway/accounts.h"
#include "gateway/counting.h"
#include "gateway/figures.h"
#include "gateway/http_client.h"
#include "gateway/http_server.h"
#include "gateway/ledger_thread.h"
#include "gateway/own_server.h"
#include "gateway/pictures.h"
#include "gateway/power.h"
#include "gateway/settings.h"
#include "gateway/upstream.h"
#include "gateway/worker.h"
#include "meter/calibration.h"
#include "plan/profile.h"

enum { GATEWAY_N_RECENT = 32 };

struct job;
struct canary;

struct gateway {
    struct gateway_settings settings;
    struct profile profile;
    struct pictures_policy pictures_policy; // from the profile
    const char *allowed_hosts[PROFILE_MAX_HOSTS];
    char *upstream_key; // NULL: none

    uv_loop_t loop;
    struct http_server *server;
    struct http_client *client;
    struct upstream *upstream;
    struct own_server own; // where the model server is ours
    struct gateway_worker *worker;
    struct counting *counting;
    struct pictures *pictures;
    struct ledger_thread *ledger; // NULL: none is kept
    struct power *power;          // NULL: no source
    struct meter_calibration_set *calibrations;
    struct canary *canary; // NULL: none
    uv_timer_t tick;
    uv_signal_t terminate, interrupt, reload;

    struct accounts accounts;
    struct figures figures;
    struct share_totals told; // of the machine's account, what the ledger has
    double told_gap_s;
    int64_t told_ns;

    struct job *first_job;                // all of them
    struct job *queue_first, *queue_last; // that wait for the model server, in their order
    size_t n_queued, n_running, n_jobs;
    uint64_t queue_run;
    bool is_queue_running, is_queue_changed;
    double typical_j, typical_s;                // of a request, lately; 0: not known
    struct ledger_row recent[GATEWAY_N_RECENT]; // without texts; the newest is at recent_at - 1
    size_t n_recent, recent_at;
    float watts[600]; // of the last ten minutes, a second each
    size_t n_watts, watts_at;
    int64_t watts_ns;

    int64_t begin_wall_ms;
    bool is_draining, is_ending;
    int64_t drain_until_ns;
    int64_t drain_answers_ns; // an answer was under way then
    enum wl_status end;       // OK after a signal
};

// Everything is opened: it listens. `settings` are taken over (zeroed). Failures of any part.
enum wl_status gateway_open(struct gateway *gateway, struct gateway_settings *settings,
                            struct wl_err *err);
// Serves until SIGINT or SIGTERM has come and the answers under way are whole (or drain_s is over).
void gateway_run(struct gateway *gateway);
void gateway_close(struct gateway *gateway);
// Keys and profile are read anew; what is wrong with them is logged, and the old ones stay.
void gateway_reload(struct gateway *gateway);
// From now on: no new requests; ends when those under way have ended.
void gateway_drain(struct gateway *gateway);

// How many requests the model server gets at once.
size_t gateway_concurrency(const struct gateway *gateway);
// What the meter's figures are called: record_label_name, source and scope; "" without a meter.
const char *gateway_source(const struct gateway *gateway);
const char *gateway_scope(const struct gateway *gateway);

#endif
