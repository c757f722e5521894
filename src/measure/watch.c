#include "measure/watch.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#include "base/units.h"
#include "measure/watch_idle.h"
#include "measure/watch_track.h"
#include "measure/watch_windows.h"
#include "os/process.h"
#include "os/signals.h"

static const int64_t DEFAULT_PERIOD_NS = 100000000;
static const int64_t LEAD_PERIODS = 3;         // samples before the start, whatever is asked for
static const int64_t GIVE_UP_NS = 10000000000; // a command that does not end on SIGTERM is left
static const int64_t IMPROVE_NS = 1000000000;  // how often a better stretch of rest is looked for
static const double MAX_STEAL_PCT = 2, MIN_COVERAGE = 0.95;
#define MAX_MISSED_SHARE 0.1

struct watching {
    const struct watch_options *options;
    struct watch_result *result;
    struct meter_set meters;
    struct watch_track track;
    struct replay_writer *trace;
    int64_t period_ns, next_ns, stage_t0_ns;
    int64_t end_ns;     // of the stated time; INT64_MAX without
    int64_t give_up_ns; // INT64_MAX until SIGTERM came
    int64_t next_improve_ns;
    pid_t child;
    bool is_over;
};

// --- one sample ---------------------------------------------------------------------------------

static enum wl_status tick(struct watching *w, bool is_full, struct wl_err *err) {
    return watch_track_tick(&w->track, is_full, err);
}

static int64_t nanoseconds(double seconds) {
    return (int64_t)(fmin(seconds, 1e9) * (double)UNITS_NS_PER_S);
}

// The sample of this period, told to the caller. False: it wishes to end.
static bool tell(const struct watching *w, int64_t idle_end_ns, bool is_last) {
    struct watch_sample sample = {0};
    if (!w->options->on_sample) {
        return true;
    }
    int64_t now_ns = os_now_ns();
    watch_track_live(&w->track, &sample);
    sample.is_last = is_last;
    sample.is_idle_stage = w->track.tree == NULL;
    sample.seconds = series_seconds(w->stage_t0_ns, now_ns);
    sample.idle_left_s = sample.is_idle_stage ? fmax(series_seconds(now_ns, idle_end_ns), 0) : 0;
    memcpy(sample.idle_w, w->result->idle.watts, sizeof sample.idle_w);
    return w->options->on_sample(w->options->context, &sample);
}

// The next deadline on the grid; those that have passed are left out.
static void advance(struct watching *w) {
    int64_t late_ns = os_now_ns() - w->next_ns;
    w->next_ns += w->period_ns * (late_ns > 0 ? 1 + late_ns / w->period_ns : 1);
}

// --- before the start ---------------------------------------------------------------------------

static enum wl_status rest(struct watching *w, int64_t length_ns, struct wl_err *err) {
    int64_t end_ns = w->stage_t0_ns + length_ns;
    enum wl_status status = WL_OK;
    while (status == WL_OK && w->next_ns <= end_ns) {
        switch (os_signal_wait(w->next_ns, NULL)) {
        case OS_SIGNAL_INTERRUPT:
        case OS_SIGNAL_TERMINATE: return wl_err_set(err, WL_INTERRUPTED, "interrupted");
        case OS_SIGNAL_CHILD: continue; // an energy source's
        case OS_SIGNAL_NONE: break;
        }
        status = tick(w, false, err);
        advance(w);
        if (status == WL_OK && !tell(w, end_ns, false)) {
            return wl_err_set(err, WL_INTERRUPTED, "interrupted");
        }
    }
    return status;
}

static enum wl_status before_start(struct watching *w, struct wl_err *err) {
    const struct watch_options *o = w->options;
    int64_t lead_ns = watch_track_slack_ns(&w->track) + LEAD_PERIODS * w->period_ns;
    int64_t idle_ns = 0;
    if (o->argv) {
        idle_ns = isfinite(o->idle_s) ? nanoseconds(fmax(o->idle_s, 0))
                                      : watch_idle_needed_ns(&w->meters);
    }
    w->stage_t0_ns = os_now_ns();
    w->next_ns = w->stage_t0_ns + w->period_ns;
    enum wl_status status = rest(w, idle_ns > lead_ns ? idle_ns : lead_ns, err);
    if (status == WL_OK && idle_ns > 0) {
        watch_idle_find(&w->track, w->stage_t0_ns, os_now_ns(), &w->result->idle);
    }
    return status;
}

// --- the start ----------------------------------------------------------------------------------

static enum wl_status start_command(struct watching *w, struct wl_err *err) {
    struct os_spawn spawn = {.argv = w->options->argv,
                             .socket_fd = -1,
                             .output_fd = -1,
                             .stays_in_group = true,
                             .searches_path = true};
    os_adopt_orphans(); // where that cannot be, orphans leave the tree
    return os_spawn(&spawn, &w->child, err);
}

static enum wl_status start(struct watching *w, struct wl_err *err) {
    enum wl_status status = tick(w, true, err);
    if (status != WL_OK) {
        return status;
    }
    int64_t t0_ns = os_now_ns();
    w->result->wall_ns = os_wall_ns();
    if (w->options->argv && (status = start_command(w, err)) != WL_OK) {
        return status;
    }
    // The command is a real process, even where the energy is that of a captured machine.
    struct process_tree_options options = {.root = w->child ? NULL : w->options->env.root,
                                           .pid = w->child ? w->child : w->options->pid,
                                           .is_child = w->child != 0};
    struct process_tree *tree;
    status = process_tree_open(&options, &tree, err);
    if (status != WL_OK) {
        return status;
    }
    watch_track_begin(&w->track, tree, t0_ns);
    w->stage_t0_ns = t0_ns;
    w->end_ns = w->options->for_s > 0 ? t0_ns + nanoseconds(w->options->for_s) : INT64_MAX;
    return tick(w, true, err);
}

// --- while it runs ------------------------------------------------------------------------------

static void finish_at(struct watching *w, enum watch_end end) {
    w->is_over = true;
    w->result->end = end;
    w->result->t1_ns = os_now_ns();
}

static void look_at_child(struct watching *w) {
    int wait_status;
    if (w->child && waitpid(w->child, &wait_status, WNOHANG) == w->child) {
        finish_at(w, WATCH_END_EXIT);
        w->result->has_wait_status = true;
        w->result->wait_status = wait_status;
        w->child = 0;
    }
}

// What a terminal sends, the command has got as well; what was sent to us alone is passed on. Then
// the command decides; only SIGTERM it has to follow soon.
static void interrupt(struct watching *w, int number, bool is_from_terminal) {
    w->result->was_interrupted = true;
    if (!w->child) {
        finish_at(w, WATCH_END_INTERRUPTED);
        return;
    }
    if (!is_from_terminal) {
        kill(w->child, number);
    }
    if (number == SIGTERM && w->give_up_ns == INT64_MAX) {
        w->give_up_ns = os_now_ns() + GIVE_UP_NS;
    }
}

static enum wl_status take_sample(struct watching *w, struct wl_err *err) {
    enum wl_status status = tick(w, false, err);
    if (status != WL_OK) {
        return status;
    }
    int64_t now_ns = os_now_ns();
    bool has_rest = w->options->argv != NULL;
    if (!has_rest && now_ns >= w->next_improve_ns) {
        w->next_improve_ns = now_ns + IMPROVE_NS;
        watch_idle_improve(&w->track, watch_idle_needed_ns(&w->meters), &w->result->idle);
    }
    if (!tell(w, 0, false) && !w->is_over) {
        interrupt(w, SIGTERM, false);
    }
    return WL_OK;
}

static enum wl_status follow(struct watching *w, struct wl_err *err) {
    enum wl_status status = WL_OK;
    w->next_ns = w->track.t0_ns + w->period_ns;
    while (status == WL_OK && !w->is_over) {
        bool is_from_terminal;
        int64_t wake_ns = w->next_ns < w->end_ns ? w->next_ns : w->end_ns;
        enum os_signal got = os_signal_wait(wake_ns, &is_from_terminal);
        bool is_wish = got == OS_SIGNAL_INTERRUPT || got == OS_SIGNAL_TERMINATE;
        w->result->was_interrupted |= is_wish; // the command may have followed it already
        look_at_child(w);
        if (w->is_over) {
            break;
        }
        if (is_wish) {
            interrupt(w, got == OS_SIGNAL_INTERRUPT ? SIGINT : SIGTERM, is_from_terminal);
        }
        if (!w->is_over && os_now_ns() >= w->next_ns) {
            status = take_sample(w, err);
            advance(w);
            if (!w->is_over && !w->child && w->track.now.n_processes == 0) {
                finish_at(w, WATCH_END_EXIT);
            }
        }
        if (!w->is_over && os_now_ns() >= w->end_ns) {
            finish_at(w, WATCH_END_TIME);
        } else if (!w->is_over && os_now_ns() >= w->give_up_ns) {
            finish_at(w, WATCH_END_INTERRUPTED);
        }
    }
    return status;
}

// --- the end ------------------------------------------------------------------------------------

// A slow source shows the end of the watched time only later.
static enum wl_status wait_for_sources(struct watching *w, struct wl_err *err) {
    int64_t until_ns = w->result->t1_ns + watch_track_slack_ns(&w->track);
    enum wl_status status = WL_OK;
    while (status == WL_OK && w->next_ns < until_ns) {
        enum os_signal got = os_signal_wait(w->next_ns, NULL);
        if (got == OS_SIGNAL_INTERRUPT || got == OS_SIGNAL_TERMINATE) {
            break;
        }
        if (got == OS_SIGNAL_NONE) {
            status = tick(w, false, err);
            advance(w);
        }
    }
    return status;
}

static const char *find_doubt(const struct watching *w) {
    const struct watch_result *r = w->result;
    if (!isfinite(r->energy[0].gross_j)) {
        return "the energy source gave no reading of this time";
    }
    if (r->energy[0].flags & RECORD_RESET) {
        return "an energy counter was reset meanwhile";
    }
    if (r->energy[0].coverage < MIN_COVERAGE) {
        return "energy readings are missing for part of the time";
    }
    if ((double)r->n_missed > MAX_MISSED_SHARE * (double)r->n_samples) {
        return "more than a tenth of the samples were missed: the machine was too busy, or stopped";
    }
    return w->track.now.is_truncated ? "there were too many processes to follow" : NULL;
}

static enum wl_status sum_up(struct watching *w, int64_t own_cpu_ns, struct wl_err *err) {
    struct watch_result *r = w->result;
    enum wl_status status = tick(w, true, err);
    tell(w, 0, true);
    watch_track_end(&w->track);
    if (status == WL_OK) {
        status = wait_for_sources(w, err);
    }
    if (status != WL_OK) {
        return status;
    }
    watch_track_finish(&w->track, r->t1_ns, r);
    r->flags |= r->idle.flags;
    r->flags |= r->steal_pct > MAX_STEAL_PCT ? RECORD_STEAL : 0u;
    r->own_cpu_pct =
        100 * (double)(os_own_cpu_ns() - own_cpu_ns) / (double)(os_now_ns() - w->track.t0_ns);
    r->doubt = find_doubt(w);
    return w->options->finds_windows ? watch_windows_find(&w->track, r, err) : WL_OK;
}

static enum wl_status open_all(struct watching *w, struct wl_err *err) {
    enum wl_status status = meter_set_open(&w->options->env, w->options->meters, &w->meters, err);
    if (status == WL_OK && w->options->trace_path) {
        status = replay_writer_open(w->options->trace_path, meter_info(w->meters.meter[0]),
                                    &w->trace, err);
    }
    struct watch_track_options options = {.root = w->options->env.root,
                                          .trace = w->trace,
                                          .meters = &w->meters,
                                          .period_ns = w->period_ns,
                                          .max_rows = w->options->max_rows};
    return status == WL_OK ? watch_track_open(&w->track, &options, err) : status;
}

enum wl_status watch_run(const struct watch_options *options, struct watch_result *out,
                         struct wl_err *err) {
    memset(out, 0, sizeof *out);
    watch_idle_none(&out->idle);
    struct watching w = {.options = options,
                         .result = out,
                         .period_ns = options->period_ns ? options->period_ns : DEFAULT_PERIOD_NS,
                         .give_up_ns = INT64_MAX};
    os_signals_hold();
    enum wl_status status = open_all(&w, err);
    if (status == WL_OK) {
        status = before_start(&w, err);
    }
    if (status == WL_OK) {
        status = start(&w, err);
    }
    int64_t own_cpu_ns = os_own_cpu_ns();
    if (status == WL_OK) {
        status = follow(&w, err);
    }
    if (status == WL_OK) {
        status = sum_up(&w, own_cpu_ns, err);
    }
    watch_track_close(&w.track);
    struct wl_err trace_err = {0};
    enum wl_status trace_status = replay_writer_close(w.trace, &trace_err);
    if (status == WL_OK && trace_status != WL_OK) {
        status = wl_err_set(err, trace_status, "%s", trace_err.message);
    }
    meter_set_close(&w.meters);
    return status;
}
