// What was sampled, asked for from any thread.
#include <stdlib.h>
#include <string.h>

#include "sampler/sampler_state.h"

static const int64_t EDGE_TOLERANCE_NS = 5000000;

enum wl_status sampler_rows(const struct sampler *s, const struct sampler_row **rows, size_t *n,
                            struct wl_err *err) {
    if (!s->is_stopped) {
        return wl_err_set(err, WL_BUSY, "the sampler is running; stop it or copy its rows");
    }
    *rows = s->rows;
    *n = s->n_rows;
    return WL_OK;
}

size_t sampler_copy_since(struct sampler *s, uint64_t seq, struct sampler_row *rows, size_t max) {
    pthread_mutex_lock(&s->lock);
    uint64_t first_seq = s->n_rows ? s->rows[0].seq : s->last_seq + 1;
    size_t begin = seq < first_seq ? 0 : (size_t)(seq - first_seq + 1);
    size_t n = begin < s->n_rows ? s->n_rows - begin : 0;
    n = n < max ? n : max;
    if (n) {
        memcpy(rows, s->rows + begin, n * sizeof *rows);
    }
    pthread_mutex_unlock(&s->lock);
    return n;
}

// First row at or after t_ns; n_rows when there is none.
static size_t first_row_at(const struct sampler *s, int64_t t_ns) {
    size_t low = 0, high = s->n_rows;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (s->rows[middle].t_ns < t_ns) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

enum wl_status sampler_copy_window(struct sampler *s, int64_t t0_ns, int64_t t1_ns,
                                   struct sampler_row **rows, size_t *n, struct wl_err *err) {
    *rows = NULL;
    *n = 0;
    if (t1_ns < t0_ns) {
        return wl_err_set(err, WL_INPUT, "the window ends before it begins");
    }
    pthread_mutex_lock(&s->lock);
    size_t begin = first_row_at(s, t0_ns), end = first_row_at(s, t1_ns);
    end += end < s->n_rows && s->rows[end].t_ns == t1_ns;
    size_t count = end - begin;
    enum wl_status status = WL_OK;
    *rows = malloc((count ? count : 1) * sizeof **rows);
    if (!*rows) {
        status = wl_err_set(err, WL_MEMORY, "out of memory");
    } else if (count) {
        memcpy(*rows, s->rows + begin, count * sizeof **rows);
        *n = count;
    }
    pthread_mutex_unlock(&s->lock);
    return status;
}

// --- energy and cost ----------------------------------------------------------------------------

// An edge that lies just outside the readings is moved onto them.
static int64_t snap(int64_t t_ns, int64_t from_ns, int64_t until_ns) {
    if (t_ns < from_ns && from_ns - t_ns <= EDGE_TOLERANCE_NS) {
        return from_ns;
    }
    return t_ns > until_ns && t_ns - until_ns <= EDGE_TOLERANCE_NS ? until_ns : t_ns;
}

enum wl_status sampler_energy(struct sampler *s, size_t index, int64_t t0_ns, int64_t t1_ns,
                              struct meter_energy *out, struct wl_err *err) {
    if (index >= s->n_meters) {
        return wl_err_set(err, WL_NOT_FOUND, "there is no energy source %zu, only %zu", index,
                          s->n_meters);
    }
    pthread_mutex_lock(&s->lock);
    const struct meter_total *total = s->meter[index].total;
    if (!s->is_stopped && t1_ns > meter_total_known_until_ns(total)) {
        sampler_take_row(s, 0, true, NULL, NULL);
    }
    int64_t from_ns = meter_total_known_from_ns(total);
    int64_t until_ns = meter_total_known_until_ns(total);
    enum wl_status status = meter_total_window(total, snap(t0_ns, from_ns, until_ns),
                                               snap(t1_ns, from_ns, until_ns), out, err);
    pthread_mutex_unlock(&s->lock);
    return status;
}

int64_t sampler_known_from_ns(struct sampler *s, size_t index) {
    pthread_mutex_lock(&s->lock);
    int64_t t_ns =
        index < s->n_meters ? meter_total_known_from_ns(s->meter[index].total) : INT64_MAX;
    pthread_mutex_unlock(&s->lock);
    return t_ns;
}

int64_t sampler_known_until_ns(struct sampler *s, size_t index) {
    pthread_mutex_lock(&s->lock);
    int64_t t_ns =
        index < s->n_meters ? meter_total_known_until_ns(s->meter[index].total) : INT64_MIN;
    pthread_mutex_unlock(&s->lock);
    return t_ns;
}

void sampler_cost(struct sampler *s, struct sampler_cost *out) {
    pthread_mutex_lock(&s->lock);
    const struct slot *pss = &s->slot[SAMPLER_SLOT_PSS];
    int64_t end_ns = s->is_stopped ? s->t_stop_ns : s->clock->now_ns(s->clock->context);
    *out = (struct sampler_cost){.cpu_ns = s->thread_total_ns + s->other_total_ns,
                                 .wall_ns = end_ns - s->t_start_ns,
                                 .n_rows = s->last_seq,
                                 .n_missed = s->n_missed,
                                 .max_late_ns = s->max_late_ns,
                                 .pss_cost_ns = pss->cost_ns,
                                 .pss_period_ns = pss->period_ns,
                                 .n_dropped_rows = s->n_dropped,
                                 .n_failed_meter_reads = s->n_failed_reads};
    pthread_mutex_unlock(&s->lock);
    out->pct = out->wall_ns > 0 ? 100.0 * (double)out->cpu_ns / (double)out->wall_ns : 0;
}

double sampler_cost_pct(struct sampler *s) {
    struct sampler_cost cost;
    sampler_cost(s, &cost);
    return cost.pct;
}
