#include "sampler/sampler.h"

#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/units.h"
#include "meter/platform.h"
#include "sampler/sampler_state.h"

enum {
    DEFAULT_MAX_ROWS = 20000,
    MIN_MAX_ROWS = 16,
    FIRST_CAPACITY = 256,
    MAX_STREAMED = 16384,         // readings taken in one row: all that a meter's thread may keep
    THREAD_STACK_BYTES = 1 << 19, // room for the sanitizers' red zones too
};
static const int64_t DEFAULT_PERIOD_NS = 100000000;
static const int64_t NS_PER_MS = 1000000;
static const int64_t FRESH_NS = 2000000;

static const struct sampler_source *const SOURCES[SAMPLER_N_SLOTS] = {
    [SAMPLER_SLOT_PROCESS] = &sampler_source_process,
    [SAMPLER_SLOT_MACHINE] = &sampler_source_machine,
    [SAMPLER_SLOT_PSS] = &sampler_source_pss,
    [SAMPLER_SLOT_FREQ] = &sampler_source_freq,
    [SAMPLER_SLOT_TEMP] = &sampler_source_temp,
    [SAMPLER_SLOT_THROTTLE] = &sampler_source_throttle,
};

static int64_t now_ns(const struct sampler *s) {
    return s->clock->now_ns(s->clock->context);
}

// --- one row ------------------------------------------------------------------------------------

static void read_slot(struct sampler *s, size_t index, struct sampler_row *row, int64_t t_ns,
                      bool is_full) {
    const struct sampler_source *source = SOURCES[index];
    struct slot *slot = &s->slot[index];
    if (!slot->state || (!is_full && t_ns < slot->next_ns)) {
        return;
    }
    if (source->max_share <= 0 && source->period_ns == 0) {
        source->read(slot->state, row);
        return;
    }
    int64_t before_ns = s->thread_cpu_ns();
    source->read(slot->state, row);
    slot->cost_ns = s->thread_cpu_ns() - before_ns;
    slot->period_ns = source->period_ns > s->period_ns ? source->period_ns : s->period_ns;
    if (source->max_share > 0) {
        double needed_ns = (double)slot->cost_ns / source->max_share;
        slot->period_ns = (int64_t)fmax((double)slot->period_ns, fmin(needed_ns, 60e9));
    }
    // Half a period early is in time: the rows come on a grid of their own.
    slot->next_ns = t_ns + slot->period_ns - s->period_ns / 2;
}

static void read_meter(struct sampler *s, size_t index, struct sampler_row *row, int64_t t_ns,
                       bool is_full) {
    struct meter_slot *slot = &s->meter[index];
    const struct meter_info *info = meter_info(slot->meter);
    if (!is_full && t_ns < slot->next_ns) {
        return;
    }
    slot->next_ns = t_ns + info->poll_period_ns - s->period_ns / 2;
    struct meter_reading reading = {.has_more = true};
    for (int i = 0; i < MAX_STREAMED && reading.has_more; i++) {
        struct meter_total_sample sample;
        if (meter_read(slot->meter, &reading, NULL) != WL_OK ||
            meter_total_feed(slot->total, &reading, &sample, NULL) != WL_OK) {
            s->n_failed_reads++;
            row->energy_flags |= RECORD_GAP;
            return;
        }
        if (reading.is_empty) {
            return;
        }
        if (s->on_reading) {
            s->on_reading(s->on_reading_context, index, &reading);
        }
        row->energy_flags |= sample.flags;
        if (sample.is_valid) {
            row->energy_j[index] = sample.total_j;
        }
    }
}

static void fill_row(struct sampler *s, struct sampler_row *row, bool is_full) {
    for (size_t i = 0; i < SAMPLER_MAX_METERS; i++) {
        row->energy_j[i] = (double)NAN;
    }
    int64_t before_ns = now_ns(s);
    for (size_t i = 0; i < SAMPLER_N_SLOTS; i++) {
        if (SOURCES[i]->is_fast) {
            read_slot(s, i, row, before_ns, is_full);
        }
    }
    for (size_t i = 0; i < s->n_meters; i++) {
        read_meter(s, i, row, before_ns, is_full);
    }
    int64_t width_ns = now_ns(s) - before_ns;
    row->t_ns = before_ns + width_ns / 2;
    row->half_width_ns = (uint32_t)fmin((double)width_ns / 2, (double)UINT32_MAX);
    for (size_t i = 0; i < SAMPLER_N_SLOTS; i++) {
        if (!SOURCES[i]->is_fast && !(row->flags & SAMPLER_IS_GONE && SOURCES[i]->follows_pid)) {
            read_slot(s, i, row, before_ns, is_full);
        }
    }
}

// Room for one more row: the array grows up to its maximum, then forgets the oldest quarter.
static bool make_room(struct sampler *s) {
    if (s->n_rows < s->capacity) {
        return true;
    }
    if (s->capacity < s->max_rows) {
        size_t capacity = s->capacity ? s->capacity * 2 : FIRST_CAPACITY;
        capacity = capacity < s->max_rows ? capacity : s->max_rows;
        struct sampler_row *rows = realloc(s->rows, capacity * sizeof *rows);
        if (!rows) {
            return false;
        }
        s->rows = rows;
        s->capacity = capacity;
        return true;
    }
    size_t dropped = s->n_rows / 4;
    memmove(s->rows, s->rows + dropped, (s->n_rows - dropped) * sizeof *s->rows);
    s->n_rows -= dropped;
    s->n_dropped += dropped;
    return true;
}

static enum wl_status take_row(struct sampler *s, uint32_t flags, bool is_full,
                               struct sampler_row *out, struct wl_err *err) {
    if (!make_room(s)) {
        return wl_err_set(err, WL_MEMORY, "out of memory for samples");
    }
    struct sampler_row *row = &s->rows[s->n_rows];
    *row = (struct sampler_row){.flags = flags, .seq = s->last_seq + 1};
    fill_row(s, row, is_full);
    s->last_seq++;
    s->n_rows++;
    if (out) {
        *out = *row;
    }
    if (row->flags & SAMPLER_IS_GONE) {
        return wl_err_set(err, WL_NOT_FOUND, "process %ld has ended", (long)s->env.pid);
    }
    return WL_OK;
}

enum wl_status sampler_take_row(struct sampler *s, uint32_t flags, bool is_full,
                                struct sampler_row *out, struct wl_err *err) {
    int64_t before_ns = s->thread_cpu_ns();
    enum wl_status status = take_row(s, flags, is_full, out, err);
    s->other_total_ns += s->thread_cpu_ns() - before_ns;
    return status;
}

// A full row reads Pss last, which takes long for a large model (50 ns per page). Then what was
// read first is old when the caller goes on, so a light row brings CPU time and energy up to date.
static enum wl_status take_full_row(struct sampler *s, struct sampler_row *out,
                                    struct wl_err *err) {
    struct sampler_row row = {0};
    enum wl_status status = sampler_take_row(s, SAMPLER_IS_MARK, true, &row, err);
    if (status == WL_OK && now_ns(s) - row.t_ns > FRESH_NS) {
        sampler_take_row(s, 0, false, NULL, NULL);
    }
    if (out) {
        *out = row;
    }
    return status;
}

// --- keeping time -------------------------------------------------------------------------------

// Counts the deadlines that passed unserved and sets the next one, on the same grid.
static uint32_t note_deadline(struct sampler *s) {
    int64_t late_ns = now_ns(s) - s->t_next_ns;
    if (late_ns > s->max_late_ns) {
        s->max_late_ns = late_ns;
    }
    int64_t n_missed = late_ns > 0 ? late_ns / s->period_ns : 0;
    s->n_missed += (uint64_t)n_missed;
    s->t_next_ns += (n_missed + 1) * s->period_ns;
    return n_missed > 0 ? SAMPLER_IS_LATE : 0;
}

// Sleeps until the next deadline; false when the sampler is to stop. The lock is held around it.
static bool wait_for_deadline(struct sampler *s) {
    struct timespec deadline = {.tv_sec = (time_t)(s->t_next_ns / UNITS_NS_PER_S),
                                .tv_nsec = (long)(s->t_next_ns % UNITS_NS_PER_S)};
    while (!s->is_stopping && now_ns(s) < s->t_next_ns) {
        if (s->has_real_clock) {
            pthread_cond_timedwait(&s->wake, &s->lock, &deadline);
        } else {
            int64_t t_ns = s->t_next_ns;
            pthread_mutex_unlock(&s->lock);
            s->clock->sleep_until_ns(s->clock->context, t_ns);
            pthread_mutex_lock(&s->lock);
        }
    }
    return !s->is_stopping;
}

static void *run(void *context) {
    struct sampler *s = context;
    pthread_mutex_lock(&s->lock);
    while (wait_for_deadline(s)) {
        uint32_t flags = note_deadline(s);
        take_row(s, flags, false, NULL, NULL); // what fails is in the row's flags
        s->thread_total_ns = s->thread_cpu_ns();
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

// Signals are for the program's own threads: all are blocked while the thread is made.
static int start_thread(struct sampler *s) {
    pthread_attr_t attributes;
    sigset_t all, old;
    int error = pthread_attr_init(&attributes);
    if (error) {
        return error;
    }
    sigfillset(&all);
    pthread_attr_setstacksize(&attributes, THREAD_STACK_BYTES);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    error = pthread_create(&s->thread, &attributes, run, s);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attributes);
    s->has_thread = error == 0;
    return error;
}

// --- life ---------------------------------------------------------------------------------------

static void close_slot(struct sampler *s, size_t index) {
    if (s->slot[index].state) {
        SOURCES[index]->close(s->slot[index].state);
    }
    s->slot[index] = (struct slot){0};
}

static void open_slot(struct sampler *s, size_t index) {
    s->slot[index] = (struct slot){.state = SOURCES[index]->open(&s->env)};
}

static enum wl_status check_options(const struct sampler_options *options, struct wl_err *err) {
    if (options->period_ns != 0 && options->period_ns < SAMPLER_MIN_PERIOD_MS * NS_PER_MS) {
        return wl_err_set(err, WL_USAGE, "the sampling period is %g ms, expected at least %d ms",
                          (double)options->period_ns * 1e-6, SAMPLER_MIN_PERIOD_MS);
    }
    if (options->n_meters > SAMPLER_MAX_METERS) {
        return wl_err_set(err, WL_LIMIT, "%zu energy sources at once, expected at most %d",
                          options->n_meters, SAMPLER_MAX_METERS);
    }
    return WL_OK;
}

static enum wl_status init_locks(struct sampler *s, struct wl_err *err) {
    pthread_condattr_t attributes;
    if (pthread_condattr_init(&attributes) != 0 ||
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) != 0 ||
        pthread_cond_init(&s->wake, &attributes) != 0 || pthread_mutex_init(&s->lock, NULL) != 0) {
        return wl_err_set(err, WL_MEMORY, "cannot make the sampler's lock");
    }
    pthread_condattr_destroy(&attributes);
    return WL_OK;
}

// As much time as the rows hold: a streaming meter gives several readings for each row.
static size_t max_points(const struct sampler *s, const struct meter_info *info) {
    enum { MOST_PER_ROW = 10 };
    bool is_streaming = info->may_block && info->native_period_ns > 0;
    int64_t per_row = is_streaming ? s->period_ns / info->native_period_ns : 1;
    per_row = per_row < 1 ? 1 : per_row > MOST_PER_ROW ? MOST_PER_ROW : per_row;
    return s->max_rows * (size_t)per_row;
}

static enum wl_status open_totals(struct sampler *s, const struct sampler_options *options,
                                  struct wl_err *err) {
    for (size_t i = 0; i < options->n_meters; i++) {
        const struct meter_info *info = meter_info(options->meters[i]);
        struct meter_total_options total_options = {.period_ns = s->period_ns,
                                                    .max_points = max_points(s, info)};
        s->meter[i].meter = options->meters[i];
        enum wl_status status = meter_total_new(info, &total_options, &s->meter[i].total, err);
        if (status != WL_OK) {
            return status;
        }
        s->n_meters++;
    }
    return WL_OK;
}

static struct sampler *new_sampler(const struct sampler_options *options, struct wl_err *err) {
    struct sampler *s = calloc(1, sizeof *s);
    char *root = options->root ? strdup(options->root) : NULL;
    if (!s || (options->root && !root) || init_locks(s, err) != WL_OK) {
        free(s);
        free(root);
        wl_err_set(err, WL_MEMORY, "out of memory");
        return NULL;
    }
    s->root = root;
    s->clock = options->clock ? options->clock : &OS_CLOCK_REAL;
    s->has_real_clock = s->clock->now_ns == OS_CLOCK_REAL.now_ns;
    s->thread_cpu_ns = options->thread_cpu_ns ? options->thread_cpu_ns : os_thread_cpu_ns;
    s->period_ns = options->period_ns ? options->period_ns : DEFAULT_PERIOD_NS;
    s->max_rows = options->max_rows ? options->max_rows : DEFAULT_MAX_ROWS;
    s->max_rows = s->max_rows < MIN_MAX_ROWS ? MIN_MAX_ROWS : s->max_rows;
    s->on_reading = options->on_reading;
    s->on_reading_context = options->context;
    s->env = (struct sampler_env){.root = s->root,
                                  .is_machine_root = platform_is_machine_root(s->root),
                                  .pid = options->pid,
                                  .devices = options->devices};
    return s;
}

static enum wl_status begin(struct sampler *s, const struct sampler_options *options,
                            struct wl_err *err) {
    enum wl_status status = open_totals(s, options, err);
    if (status != WL_OK) {
        return status;
    }
    for (size_t i = 0; i < SAMPLER_N_SLOTS; i++) {
        open_slot(s, i);
    }
    s->t_start_ns = now_ns(s);
    s->t_next_ns = s->t_start_ns + s->period_ns;
    status = take_full_row(s, NULL, err);
    if (status == WL_OK && !options->has_no_thread) {
        int error = start_thread(s);
        if (error) {
            status = wl_err_errno(err, error, "cannot start the sampler's thread");
        }
    }
    return status;
}

enum wl_status sampler_start(const struct sampler_options *options, struct sampler **out,
                             struct wl_err *err) {
    enum wl_status status = check_options(options, err);
    if (status != WL_OK) {
        return status;
    }
    struct sampler *s = new_sampler(options, err);
    if (!s) {
        return WL_MEMORY;
    }
    status = begin(s, options, err);
    if (status != WL_OK) {
        s->is_stopped = true; // nothing to join, no last row
        sampler_free(s);
        return status;
    }
    *out = s;
    return WL_OK;
}

void sampler_stop(struct sampler *s) {
    pthread_mutex_lock(&s->lock);
    bool is_first = !s->is_stopping && !s->is_stopped;
    s->is_stopping = true;
    pthread_cond_broadcast(&s->wake);
    pthread_mutex_unlock(&s->lock);
    if (!is_first) {
        return;
    }
    if (s->has_thread) {
        pthread_join(s->thread, NULL);
    }
    pthread_mutex_lock(&s->lock);
    if (s->has_thread && now_ns(s) >= s->t_next_ns) { // due, but the thread did not get to it
        note_deadline(s);
        s->n_missed++;
    }
    sampler_take_row(s, SAMPLER_IS_MARK, true, NULL, NULL);
    s->t_stop_ns = now_ns(s);
    s->is_stopped = true;
    pthread_mutex_unlock(&s->lock);
}

void sampler_free(struct sampler *s) {
    if (!s) {
        return;
    }
    if (!s->is_stopped) {
        sampler_stop(s);
    }
    for (size_t i = 0; i < SAMPLER_N_SLOTS; i++) {
        close_slot(s, i);
    }
    for (size_t i = 0; i < s->n_meters; i++) {
        meter_total_free(s->meter[i].total);
    }
    pthread_cond_destroy(&s->wake);
    pthread_mutex_destroy(&s->lock);
    free(s->rows);
    free(s->root);
    free(s);
}

// --- rows ---------------------------------------------------------------------------------------

enum wl_status sampler_mark(struct sampler *s, struct sampler_row *out, struct wl_err *err) {
    pthread_mutex_lock(&s->lock);
    enum wl_status status = s->is_stopped
                                ? wl_err_set(err, WL_FAILED, "the sampler has been stopped")
                                : take_full_row(s, out, err);
    pthread_mutex_unlock(&s->lock);
    return status;
}

enum wl_status sampler_tick(struct sampler *s, struct wl_err *err) {
    pthread_mutex_lock(&s->lock);
    uint32_t flags = note_deadline(s);
    enum wl_status status = sampler_take_row(s, flags, false, NULL, err);
    pthread_mutex_unlock(&s->lock);
    return status;
}

enum wl_status sampler_set_pid(struct sampler *s, pid_t pid, struct wl_err *err) {
    pthread_mutex_lock(&s->lock);
    s->env.pid = pid;
    for (size_t i = 0; i < SAMPLER_N_SLOTS; i++) {
        if (SOURCES[i]->follows_pid) {
            close_slot(s, i);
            open_slot(s, i);
        }
    }
    for (size_t i = 0; i < s->n_meters; i++) {
        meter_set_pid(s->meter[i].meter, pid);
    }
    enum wl_status status = take_full_row(s, NULL, err);
    pthread_mutex_unlock(&s->lock);
    return status;
}
