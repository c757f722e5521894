// Meters and windows of the public library.
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "api/api.h"
#include "api/api_poll.h"
#include "base/str.h"
#include "meter/meter.h"
#include "meter/meter_total.h"

// A counter that never wraps may be read as rarely as this.
static const int64_t LONGEST_POLL_NS = 3600000000000;
// Readings kept per channel: more than an hour at a gauge's pace.
enum { MAX_READINGS = 50000 };
// Reading a gauge less often than this says little about the power in between.
static const int64_t GAUGE_POLL_NS = 100000000, LONGEST_WAIT_NS = 10000000000;
// A source whose value comes late is asked this often while a window is closed.
static const int64_t WAIT_STEP_NS = 20000000;

struct wattlaw_meter {
    struct meter_env env;
    char *root;
    struct meter *meter;
    struct meter_total *total;
    pthread_mutex_t lock;  // guards meter and total against the polling thread
    struct api_poll *poll; // runs while windows are open
    size_t n_windows;
    bool polls_itself; // the caller does: no thread
};

struct wattlaw_window {
    struct wattlaw_meter *meter;
    int64_t t0_ns;
};

static void write_entry(const struct meter_verdict *verdict, size_t size, char *out) {
    struct wattlaw_meter_entry entry = {.size = size,
                                        .is_available = verdict->availability == METER_AVAILABLE};
    str_copy(entry.name, sizeof entry.name, verdict->name);
    str_copy(entry.title, sizeof entry.title, verdict->title);
    str_copy(entry.label, sizeof entry.label, record_label_name(verdict->label));
    str_copy(entry.scope, sizeof entry.scope, meter_scope_name(verdict->scope));
    str_copy(entry.reason, sizeof entry.reason, verdict->reason);
    str_copy(entry.fix, sizeof entry.fix, verdict->fix);
    memcpy(out, &size, sizeof size);
    api_copy_out(out, &entry, sizeof entry);
}

static bool is_size(size_t size) {
    return size >= sizeof size && size <= 65536;
}

enum wattlaw_status wattlaw_meter_list(const struct wattlaw_meter_options *options,
                                       struct wattlaw_meter_entry *entries, size_t max_entries,
                                       size_t *n, struct wattlaw_error *error) {
    struct wattlaw_meter_options full = {.size = sizeof full};
    if (!n || !api_copy_in(&full, sizeof full, options) ||
        (max_entries && (!entries || !is_size(entries->size)))) {
        return api_missing("the list of meters or its options", error);
    }
    struct wl_err err = {0};
    struct meter_verdict *verdicts = calloc(METER_MAX_SOURCES, sizeof *verdicts);
    if (!verdicts) {
        return api_result(wl_err_set(&err, WL_MEMORY, "no memory to list meters"), &err, error);
    }
    const struct meter_env env = {.root = full.root, .pid = full.pid};
    size_t n_verdicts = 0, size = max_entries ? entries->size : 0;
    meter_probe_all(&env, verdicts, &n_verdicts);
    for (size_t i = 0; i < n_verdicts && i < max_entries; i++) {
        write_entry(&verdicts[i], size, (char *)entries + i * size);
    }
    *n = n_verdicts;
    free(verdicts);
    return api_result(WL_OK, &err, error);
}

static int64_t poll_of(const struct meter_info *info) {
    int64_t poll_ns = meter_max_poll_ns(info);
    if (!meter_kind_is_counter(info->kind)) {
        int64_t gauge_ns =
            info->native_period_ns > GAUGE_POLL_NS ? info->native_period_ns : GAUGE_POLL_NS;
        poll_ns = poll_ns < gauge_ns ? poll_ns : gauge_ns;
    }
    poll_ns = poll_ns < LONGEST_POLL_NS ? poll_ns : LONGEST_POLL_NS;
    return poll_ns > info->poll_period_ns ? poll_ns : info->poll_period_ns;
}

static enum wl_status open_meter(struct wattlaw_meter *meter, const char *name,
                                 struct wl_err *err) {
    enum wl_status status = meter_open(&meter->env, name, &meter->meter, err);
    if (status != WL_OK) {
        return status;
    }
    const struct meter_info *info = meter_info(meter->meter);
    // A counter may be read as rarely as it wraps: only longer pauses are gaps.
    struct meter_total_options options = {.period_ns = poll_of(info), .max_points = MAX_READINGS};
    return meter_total_new(info, &options, &meter->total, err);
}

static struct wattlaw_meter *new_meter(const struct wattlaw_meter_options *options) {
    struct wattlaw_meter *meter = calloc(1, sizeof *meter);
    char *root = options->root ? strdup(options->root) : NULL;
    if (!meter || (options->root && !root)) {
        free(meter);
        free(root);
        return NULL;
    }
    pthread_mutex_init(&meter->lock, NULL);
    meter->root = root;
    meter->polls_itself = options->polls_itself != 0;
    meter->env = (struct meter_env){.root = root, .pid = options->pid};
    return meter;
}

enum wattlaw_status wattlaw_meter_open(const char *name,
                                       const struct wattlaw_meter_options *options,
                                       struct wattlaw_meter **out, struct wattlaw_error *error) {
    struct wattlaw_meter_options full = {.size = sizeof full};
    if (!out || !name || !api_copy_in(&full, sizeof full, options)) {
        return api_missing("the meter, its name or its options", error);
    }
    struct wl_err err = {0};
    *out = NULL;
    struct wattlaw_meter *meter = new_meter(&full);
    if (!meter) {
        return api_result(wl_err_set(&err, WL_MEMORY, "no memory for a meter"), &err, error);
    }
    enum wl_status status = open_meter(meter, name, &err);
    if (status != WL_OK) {
        wattlaw_meter_close(meter);
        return api_result(status, &err, error);
    }
    *out = meter;
    return api_result(WL_OK, &err, error);
}

// Readings until the source holds no more; *t_ns is the middle of the last one, or now when there
// is nothing new.
static enum wl_status take_reading(struct wattlaw_meter *meter, int64_t *t_ns, struct wl_err *err) {
    struct meter_reading reading;
    enum wl_status status;
    pthread_mutex_lock(&meter->lock);
    do {
        status = meter_read(meter->meter, &reading, err);
        if (status == WL_OK) {
            status = meter_total_feed(meter->total, &reading, NULL, err);
        }
    } while (status == WL_OK && reading.has_more);
    if (status == WL_OK) {
        *t_ns = reading.is_empty || meter_info(meter->meter)->may_block
                    ? os_now_ns()
                    : reading.t_before_ns + (reading.t_after_ns - reading.t_before_ns) / 2;
    }
    pthread_mutex_unlock(&meter->lock);
    return status;
}

static int64_t known_from_ns(struct wattlaw_meter *meter) {
    pthread_mutex_lock(&meter->lock);
    int64_t t_ns = meter_total_known_from_ns(meter->total);
    pthread_mutex_unlock(&meter->lock);
    return t_ns;
}

static void poll_once(void *context) {
    int64_t t_ns;
    take_reading(context, &t_ns, NULL); // what goes wrong shows at the window's end
}

enum wattlaw_status wattlaw_meter_read(struct wattlaw_meter *meter, struct wattlaw_error *error) {
    struct wl_err err = {0};
    int64_t t_ns;
    return api_result(take_reading(meter, &t_ns, &err), &err, error);
}

int64_t wattlaw_meter_max_poll_ns(const struct wattlaw_meter *meter) {
    return poll_of(meter_info(meter->meter));
}

void wattlaw_meter_close(struct wattlaw_meter *meter) {
    if (meter) {
        api_poll_stop(meter->poll); // a window was left open
        meter_total_free(meter->total);
        meter_close(meter->meter);
        pthread_mutex_destroy(&meter->lock);
        free(meter->root);
        free(meter);
    }
}

// A window begins where the readings do: the first one of a slow source takes a while.
static enum wl_status begin_window(struct wattlaw_window *window, struct wl_err *err) {
    struct wattlaw_meter *meter = window->meter;
    enum wl_status status = take_reading(meter, &window->t0_ns, err);
    int64_t until_ns = os_now_ns() + LONGEST_WAIT_NS;
    while (status == WL_OK && known_from_ns(meter) > window->t0_ns) {
        if (os_now_ns() > until_ns) {
            return wl_err_set(err, WL_TIMEOUT, "the meter gave no reading within 10 s");
        }
        os_sleep_until_ns(os_now_ns() + WAIT_STEP_NS);
        status = take_reading(meter, &window->t0_ns, err);
    }
    return status;
}

static void close_window(struct wattlaw_window *window) {
    struct wattlaw_meter *meter = window->meter;
    if (--meter->n_windows == 0) {
        api_poll_stop(meter->poll);
        meter->poll = NULL;
    }
    free(window);
}

enum wattlaw_status wattlaw_window_start(struct wattlaw_meter *meter, struct wattlaw_window **out,
                                         struct wattlaw_error *error) {
    struct wl_err err = {0};
    if (!out) {
        return api_missing("the window", error);
    }
    *out = NULL;
    struct wattlaw_window *window = calloc(1, sizeof *window);
    if (!window) {
        return api_result(wl_err_set(&err, WL_MEMORY, "no memory for a window"), &err, error);
    }
    window->meter = meter;
    enum wl_status status = WL_OK;
    if (meter->n_windows == 0 && !meter->polls_itself) {
        status =
            api_poll_start(poll_once, meter, poll_of(meter_info(meter->meter)), &meter->poll, &err);
    }
    meter->n_windows++;
    if (status == WL_OK) {
        status = begin_window(window, &err);
    }
    if (status != WL_OK) {
        close_window(window);
        return api_result(status, &err, error);
    }
    *out = window;
    return api_result(WL_OK, &err, error);
}

static int64_t known_until_ns(struct wattlaw_meter *meter) {
    pthread_mutex_lock(&meter->lock);
    int64_t t_ns = meter_total_known_until_ns(meter->total);
    pthread_mutex_unlock(&meter->lock);
    return t_ns;
}

// Reads on until what was measured reaches the end of the window.
static enum wl_status wait_for(struct wattlaw_meter *meter, int64_t t1_ns, struct wl_err *err) {
    int64_t now_ns = t1_ns;
    enum wl_status status = WL_OK;
    while (status == WL_OK && known_until_ns(meter) < t1_ns) {
        if (now_ns - t1_ns > LONGEST_WAIT_NS) {
            return wl_err_set(err, WL_TIMEOUT,
                              "the meter's value for the end of the window did "
                              "not come within 10 s");
        }
        os_sleep_until_ns(now_ns + WAIT_STEP_NS);
        status = take_reading(meter, &now_ns, err);
    }
    return status;
}

static void fill_energy(const struct wattlaw_window *window, int64_t t1_ns,
                        const struct meter_energy *energy, struct wattlaw_energy *out) {
    const struct meter_info *info = meter_info(window->meter->meter);
    double half = 1.96 * hypot(energy->sd_j, energy->gain_error_rel * energy->gross_j);
    double seconds = (double)(t1_ns - window->t0_ns) * 1e-9;
    half = hypot(half, 1.96 * energy->offset_error_w * seconds);
    *out = (struct wattlaw_energy){.size = sizeof *out,
                                   .joules = energy->gross_j,
                                   .low_j = energy->gross_j - half,
                                   .high_j = energy->gross_j + half,
                                   .mean_w = energy->mean_w,
                                   .seconds = seconds,
                                   .coverage = energy->coverage,
                                   .is_resolved = 2 * half <= fabs(energy->gross_j),
                                   .has_reset = (energy->flags & RECORD_RESET) != 0};
    str_copy(out->label, sizeof out->label, record_label_name(info->label));
    str_copy(out->scope, sizeof out->scope, meter_scope_name(info->scope));
}

enum wattlaw_status wattlaw_window_stop(struct wattlaw_window *window, struct wattlaw_energy *out,
                                        struct wattlaw_error *error) {
    struct wl_err err = {0};
    struct meter_energy energy = {0};
    struct wattlaw_energy value = {.size = sizeof value};
    int64_t t1_ns = 0;
    if (!window) {
        return api_missing("the window", error);
    }
    enum wl_status status = take_reading(window->meter, &t1_ns, &err);
    if (status == WL_OK) {
        status = wait_for(window->meter, t1_ns, &err);
    }
    if (status == WL_OK) {
        pthread_mutex_lock(&window->meter->lock);
        status = meter_total_window(window->meter->total, window->t0_ns, t1_ns, &energy, &err);
        pthread_mutex_unlock(&window->meter->lock);
    }
    if (status == WL_OK) {
        fill_energy(window, t1_ns, &energy, &value);
    }
    close_window(window);
    if (!api_copy_out(out, &value, sizeof value)) {
        return api_missing("the energy", error);
    }
    return api_result(status, &err, error);
}
