#include "measure/watch_track.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/units.h"
#include "os/machine.h"

enum { DEFAULT_MAX_ROWS = 12000, MIN_MAX_ROWS = 256, FIRST_CAPACITY = 256, NEW_ROWS = 8 };
static const int64_t DEFAULT_PERIOD_NS = 100000000;
static const int64_t LIVE_NS = 1000000000; // live power and load are means over this long
static const int64_t MAX_SLACK_NS = 5000000000;
static const int64_t FAST_METER_NS = 50000000;
static const double PSS_MAX_SHARE = 0.0015; // of one core
static const int64_t MAX_PSS_PERIOD_NS = 60000000000;

static int64_t now_ns(const struct watch_track *track) {
    return track->clock->now_ns(track->clock->context);
}

static const struct meter_info *info_of(const struct watch_track *track, size_t index) {
    return meter_info(track->meters->meter[index]);
}

// --- life ---------------------------------------------------------------------------------------

// A failure shows when the trace is closed.
static void record(void *context, size_t index, const struct meter_reading *reading) {
    struct watch_track *track = context;
    if (index == 0 && track->trace && replay_writer_add(track->trace, reading, NULL) != WL_OK) {
        track->trace = NULL;
    }
}

enum wl_status watch_track_open(struct watch_track *track,
                                const struct watch_track_options *options, struct wl_err *err) {
    size_t max_rows = options->max_rows ? options->max_rows : DEFAULT_MAX_ROWS;
    max_rows = max_rows > MIN_MAX_ROWS ? max_rows : MIN_MAX_ROWS;
    *track = (struct watch_track){
        .meters = options->meters,
        .clock = options->clock ? options->clock : &OS_CLOCK_REAL,
        .period_ns = options->period_ns ? options->period_ns : DEFAULT_PERIOD_NS,
        .max_points = max_rows,
        .temp_max = (double)NAN,
        .trace = options->trace,
    };
    struct sampler_options sampler_options = {.root = options->root,
                                              .period_ns = track->period_ns,
                                              .meters = options->meters->meter,
                                              .n_meters = options->meters->n,
                                              .clock = track->clock,
                                              .thread_cpu_ns = options->thread_cpu_ns,
                                              .max_rows = max_rows,
                                              .has_no_thread = true,
                                              .on_reading = options->trace ? record : NULL,
                                              .context = track};
    for (size_t i = 0; i < RECORD_MAX_ENERGIES; i++) {
        track->sum[i].last_j = track->sum[i].power_w = (double)NAN;
    }
    return sampler_start(&sampler_options, &track->sampler, err);
}

void watch_track_close(struct watch_track *track) {
    sampler_free(track->sampler);
    process_tree_close(track->tree);
    free(track->point);
    *track = (struct watch_track){0};
}

void watch_track_begin(struct watch_track *track, struct process_tree *tree, int64_t t0_ns) {
    track->tree = tree;
    track->t0_ns = t0_ns;
    track->first = track->last;
    track->row_flags = 0;
    track->freq_sum = 0;
    track->n_freq = 0;
    track->temp_max = (double)NAN;
    for (size_t i = 0; i < track->meters->n; i++) {
        struct watch_sum *sum = &track->sum[i];
        sum->from_ns = sum->until_ns = t0_ns;
        sum->start_j = isfinite(sum->last_j) ? sum->last_j : 0;
    }
}

// --- one sample ---------------------------------------------------------------------------------

static void add_ram(struct watch_ram *ram, int64_t t_ns, int64_t bytes) {
    double mib = (double)bytes / UNITS_BYTES_PER_MIB;
    if (ram->has_reading && !ram->is_over) {
        ram->auc_mib_s += series_seconds(ram->t_ns, t_ns) * (ram->mib + mib) / 2;
    }
    ram->peak_mib = fmax(ram->peak_mib, mib);
    ram->has_reading = true;
    ram->is_over = false;
    ram->t_ns = t_ns;
    ram->mib = mib;
}

// No process is left; the last reading is held until now.
static void end_ram(struct watch_ram *ram, int64_t t_ns) {
    if (ram->has_reading && !ram->is_over) {
        ram->auc_mib_s += series_seconds(ram->t_ns, t_ns) * ram->mib;
    }
    ram->is_over = true;
    ram->mib = 0;
}

static void read_tree(struct watch_track *track, int64_t t_ns, bool is_full) {
    bool wants_pss = !track->has_refused_pss && (is_full || t_ns >= track->next_pss_ns);
    int64_t before_ns = os_thread_cpu_ns();
    process_tree_read(track->tree, wants_pss, &track->now);
    track->n_most = track->now.n_processes > track->n_most ? track->now.n_processes : track->n_most;
    if (track->now.n_processes == 0) {
        end_ram(&track->rss, t_ns);
        end_ram(&track->pss, t_ns);
        return;
    }
    add_ram(&track->rss, t_ns, track->now.rss_bytes);
    if (!wants_pss) {
        return;
    }
    track->has_refused_pss = !track->now.has_pss;
    if (track->now.has_pss) {
        add_ram(&track->pss, t_ns, track->now.pss_bytes);
    }
    double needed_ns = (double)(os_thread_cpu_ns() - before_ns) / PSS_MAX_SHARE;
    track->next_pss_ns = t_ns + (int64_t)fmin(needed_ns, (double)MAX_PSS_PERIOD_NS);
}

static const struct watch_ram *ram_of(const struct watch_track *track) {
    return track->has_refused_pss || !track->pss.has_reading ? &track->rss : &track->pss;
}

static bool add_point(struct watch_track *track, const struct watch_point *point) {
    if (track->n_points == track->max_points) { // forget the oldest quarter
        size_t dropped = track->n_points / 4;
        memmove(track->point, track->point + dropped,
                (track->n_points - dropped) * sizeof *track->point);
        track->n_points -= dropped;
    }
    if (track->n_points == track->capacity) {
        size_t capacity = track->capacity ? track->capacity * 2 : FIRST_CAPACITY;
        capacity = capacity < track->max_points ? capacity : track->max_points;
        struct watch_point *grown = realloc(track->point, capacity * sizeof *grown);
        if (!grown) {
            return false;
        }
        track->point = grown;
        track->capacity = capacity;
    }
    track->point[track->n_points++] = *point;
    return true;
}

static void note_energy(struct watch_sum *sum, const struct sampler_row *row, size_t index) {
    if (!isfinite(row->energy_j[index])) {
        return;
    }
    sum->last_j = row->energy_j[index];
    sum->last_ns = row->t_ns;
    if (sum->mark_ns == 0) {
        sum->mark_ns = row->t_ns;
        sum->mark_j = sum->last_j;
    } else if (row->t_ns - sum->mark_ns >= LIVE_NS) {
        sum->power_w = (sum->last_j - sum->mark_j) / series_seconds(sum->mark_ns, row->t_ns);
        sum->mark_ns = row->t_ns;
        sum->mark_j = sum->last_j;
    }
}

static void note_row(struct watch_track *track, const struct sampler_row *row) {
    track->last_seq = row->seq;
    track->row_flags |= row->flags;
    for (size_t i = 0; i < track->meters->n; i++) {
        note_energy(&track->sum[i], row, i);
    }
    if (row->flags & SAMPLER_HAS_FREQ) {
        track->freq_sum += (double)row->freq_mhz;
        track->n_freq++;
    }
    if (row->flags & SAMPLER_HAS_TEMP) {
        track->temp_max = fmax(track->temp_max, (double)row->temp_c);
    }
    if (row->flags & SAMPLER_HAS_MACHINE && !track->is_ended) {
        track->last = *row;
    }
}

// Load over the last second or so.
static void note_load(struct watch_track *track, const struct watch_point *point) {
    struct watch_point *mark = &track->live_point;
    double seconds = series_seconds(mark->t_ns, point->t_ns);
    if (mark->t_ns != 0 && point->t_ns - mark->t_ns < LIVE_NS) {
        return;
    }
    if (mark->t_ns != 0) {
        double core_seconds = seconds * os_n_cores();
        track->live_tree_pct =
            100 * (double)(point->tree_cpu_ns - mark->tree_cpu_ns) * 1e-9 / core_seconds;
        track->live_machine_pct =
            100 * (point->machine_busy_s - mark->machine_busy_s) / core_seconds;
    }
    *mark = *point;
}

// --- sums that outlive the rows -----------------------------------------------------------------

// A stretch of which the sampler surely keeps four: streaming devices give more readings than rows.
static int64_t piece_ns(const struct watch_track *track, size_t index) {
    const struct meter_info *info = info_of(track, index);
    int64_t step_ns = track->period_ns;
    if (info->may_block && info->native_period_ns > 0 && info->native_period_ns < step_ns) {
        step_ns = info->native_period_ns;
    }
    return step_ns * (int64_t)(track->max_points / 8);
}

static bool add_piece(struct watch_track *track, size_t index, int64_t until_ns) {
    struct watch_sum *sum = &track->sum[index];
    struct meter_energy e;
    double seconds = series_seconds(sum->until_ns, until_ns);
    if (until_ns <= sum->until_ns ||
        sampler_energy(track->sampler, index, sum->until_ns, until_ns, &e, NULL) != WL_OK) {
        return false;
    }
    sum->gross_j += e.gross_j;
    sum->variance_j2 += e.sd_j * e.sd_j;
    sum->covered_s += e.coverage * seconds;
    sum->flags |= e.flags;
    sum->until_ns = until_ns;
    return true;
}

// The last piece is never a short one: the one before it is closed only when another full one has
// passed.
static void close_pieces(struct watch_track *track, int64_t t_ns) {
    for (size_t i = 0; i < track->meters->n; i++) {
        struct watch_sum *sum = &track->sum[i];
        int64_t length_ns = piece_ns(track, i);
        if (t_ns - sum->until_ns >= 2 * length_ns &&
            !add_piece(track, i, sum->until_ns + length_ns)) {
            sum->until_ns += length_ns; // nothing is known of it
            sum->flags |= RECORD_GAP;
        }
    }
}

enum wl_status watch_track_tick(struct watch_track *track, bool is_full, struct wl_err *err) {
    enum wl_status status =
        is_full ? sampler_mark(track->sampler, NULL, err) : sampler_tick(track->sampler, err);
    if (status != WL_OK) {
        return status;
    }
    struct sampler_row rows[NEW_ROWS];
    size_t n = sampler_copy_since(track->sampler, track->last_seq, rows, NEW_ROWS);
    for (size_t i = 0; i < n; i++) {
        note_row(track, &rows[i]);
    }
    if (track->is_ended) {
        return WL_OK;
    }
    int64_t t_ns = n ? rows[n - 1].t_ns : now_ns(track);
    if (track->tree) {
        read_tree(track, t_ns, is_full);
        close_pieces(track, t_ns);
    }
    struct watch_point point = {.t_ns = t_ns,
                                .tree_cpu_ns = track->now.cpu_ns,
                                .machine_busy_s = track->last.machine_busy_s,
                                .ram_mib = ram_of(track)->mib};
    note_load(track, &point);
    return add_point(track, &point) ? WL_OK : wl_err_set(err, WL_MEMORY, "out of memory");
}

size_t watch_track_point_at(const struct watch_track *track, int64_t t_ns) {
    size_t low = 0, high = track->n_points;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (track->point[middle].t_ns < t_ns) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

// --- what comes out -----------------------------------------------------------------------------

int64_t watch_track_slack_ns(const struct watch_track *track) {
    int64_t slack_ns = 0;
    for (size_t i = 0; i < track->meters->n; i++) {
        const struct meter_info *info = info_of(track, i);
        int64_t own_ns = info->lag_ns + (info->may_block ? 2 * track->period_ns : 0);
        own_ns += info->native_period_ns > FAST_METER_NS ? 2 * info->native_period_ns : 0;
        slack_ns = own_ns > slack_ns ? own_ns : slack_ns;
    }
    return slack_ns < MAX_SLACK_NS ? slack_ns : MAX_SLACK_NS;
}

static void finish_energy(struct watch_track *track, size_t index, int64_t t1_ns,
                          const struct watch_idle *idle, struct watch_energy *out) {
    struct watch_sum *sum = &track->sum[index];
    const struct meter_info *info = info_of(track, index);
    bool is_one_piece = sum->until_ns == sum->from_ns;
    int64_t slack_ns = watch_track_slack_ns(track);
    if (!add_piece(track, index, t1_ns)) { // it vanished: what it said until then
        sum->flags |= RECORD_GAP;
        int64_t last_ns = sum->last_ns < t1_ns ? sum->last_ns : t1_ns;
        bool is_known = add_piece(track, index, last_ns - slack_ns);
        (void)is_known; // else nothing is
    }
    if (!is_one_piece) {
        sum->flags &= ~(uint32_t)RECORD_SHORT;
    }
    double seconds = series_seconds(track->t0_ns, t1_ns);
    watch_energy_name(info, out);
    out->flags = sum->flags;
    if (sum->covered_s > 0 && seconds > 0) {
        struct meter_energy energy = {.gross_j = sum->gross_j,
                                      .sd_j = sqrt(sum->variance_j2),
                                      .mean_w = sum->gross_j / sum->covered_s,
                                      .coverage = fmin(sum->covered_s / seconds, 1),
                                      .flags = sum->flags,
                                      .gain_error_rel = info->gain_error_rel,
                                      .offset_error_w = info->offset_error_w};
        // Net of the rest power for as long as was seen.
        watch_energy_fill(info, &energy, fmin(sum->covered_s, seconds), idle->watts[index],
                          idle->watts_sd[index], out);
    }
}

static void finish_machine(const struct watch_track *track, struct watch_result *out) {
    const struct sampler_row *first = &track->first, *last = &track->last;
    double core_seconds = series_seconds(first->t_ns, last->t_ns) * os_n_cores();
    bool has_rows = first->t_ns != 0 && core_seconds > 0;
    out->machine_cpu_pct = out->steal_pct = (double)NAN;
    if (has_rows) {
        out->machine_cpu_pct = 100 * (last->machine_busy_s - first->machine_busy_s) / core_seconds;
        out->steal_pct = 100 * (last->machine_steal_s - first->machine_steal_s) / core_seconds;
    }
    out->freq_mhz = track->n_freq ? track->freq_sum / (double)track->n_freq : (double)NAN;
    out->temp_c = track->temp_max;
    out->flags |= track->row_flags & SAMPLER_IS_THROTTLED ? RECORD_THROTTLED : 0u;
    out->flags |= track->row_flags & SAMPLER_IS_UNDERVOLT ? RECORD_UNDERVOLT : 0u;
}

void watch_track_end(struct watch_track *track) {
    track->is_ended = true;
}

void watch_track_finish(struct watch_track *track, int64_t t1_ns, struct watch_result *out) {
    out->t0_ns = track->t0_ns;
    out->t1_ns = t1_ns;
    out->cpu_core_s = (double)track->now.cpu_ns * 1e-9;
    out->cpu_auc_pct_s = 100 * out->cpu_core_s / os_n_cores();
    out->is_pss = ram_of(track) == &track->pss;
    out->ram_auc_mib_s = ram_of(track)->auc_mib_s;
    out->ram_peak_mib = ram_of(track)->peak_mib;
    out->n_seen = track->now.n_seen;
    out->n_most = track->n_most;
    out->n_left = track->now.n_processes;
    finish_machine(track, out);
    out->n_energies = track->meters->n;
    for (size_t i = 0; i < track->meters->n; i++) {
        finish_energy(track, i, t1_ns, &out->idle, &out->energy[i]);
        out->flags |= i == 0 ? out->energy[i].flags : 0u;
    }
    struct sampler_cost cost;
    sampler_cost(track->sampler, &cost);
    out->n_samples = cost.n_rows;
    out->n_missed = cost.n_missed;
}

void watch_track_live(const struct watch_track *track, struct watch_sample *out) {
    const struct watch_ram *ram = ram_of(track);
    out->cpu_core_s = (double)track->now.cpu_ns * 1e-9;
    out->cpu_pct = track->live_tree_pct;
    out->machine_cpu_pct = track->live_machine_pct;
    out->ram_bytes = ram->mib * UNITS_BYTES_PER_MIB;
    out->is_pss = ram == &track->pss;
    out->n_processes = track->now.n_processes;
    out->meters = track->meters;
    for (size_t i = 0; i < track->meters->n; i++) {
        const struct watch_sum *sum = &track->sum[i];
        out->power_w[i] = sum->power_w;
        double gross_j = sum->last_j - sum->start_j;
        out->gross_j[i] = track->tree && isfinite(gross_j) ? fmax(gross_j, 0) : 0;
    }
}
