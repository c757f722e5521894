#include "compressor/verify_record.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "compressor/verify.h"

// Where the changed model rules out (a logit of minus infinity) what the other one may say.
static const double LOWEST_LOG = -1000;

enum wl_status verify_shape_init(struct verify_shape *shape, uint32_t n_vocab,
                                 const int32_t *new_ids, struct wl_err *err) {
    uint32_t n_left = n_vocab;
    *shape = (struct verify_shape){.n_vocab = n_vocab, .new_ids = new_ids, .n_new = n_vocab};
    if (new_ids) {
        shape->n_new = n_left = 0;
        for (uint32_t id = 0; id < n_vocab; id++) {
            n_left += new_ids[id] >= 0;
            shape->n_new =
                new_ids[id] >= (int32_t)shape->n_new ? (uint32_t)new_ids[id] + 1 : shape->n_new;
        }
    }
    shape->is_whole = n_vocab <= VERIFY_WHOLE_VOCABULARY;
    shape->n_kept = shape->is_whole ? n_vocab : VERIFY_TOP < n_left ? VERIFY_TOP : n_left;
    return n_left > 0
               ? WL_OK
               : wl_err_set(err, WL_INPUT, "none of the %" PRIu32 " tokens is left", n_vocab);
}

int32_t verify_shape_new_id(const struct verify_shape *shape, int32_t id) {
    return shape->new_ids ? shape->new_ids[id] : id;
}

enum wl_status verify_record_init(struct verify_record *record, const struct verify_shape *shape,
                                  struct wl_err *err) {
    *record = (struct verify_record){.ids = calloc(shape->n_kept, sizeof *record->ids),
                                     .log_p = calloc(shape->n_kept, sizeof *record->log_p)};
    if (!record->ids || !record->log_p) {
        verify_record_release(record);
        return wl_err_set(err, WL_MEMORY, "no memory for %" PRIu32 " probabilities", shape->n_kept);
    }
    for (uint32_t i = 0; shape->is_whole && i < shape->n_kept; i++) {
        record->ids[i] = (int32_t)i;
    }
    return WL_OK;
}

void verify_record_release(struct verify_record *record) {
    free(record->ids);
    free(record->log_p);
    *record = (struct verify_record){0};
}

// ---- one distribution

// log p(id) is logit - max - log(total).
struct scale {
    float max;
    double total;
    double log_total;
    uint32_t top; // the first of the greatest
};

static double mass(const struct scale *scale, float logit) {
    return (double)expf(logit - scale->max);
}

static bool scale_init(struct scale *scale, const float *logits, uint32_t n) {
    scale->top = 0;
    for (uint32_t i = 1; i < n; i++) {
        scale->top = logits[i] > logits[scale->top] ? i : scale->top;
    }
    scale->max = logits[scale->top];
    scale->total = 0;
    for (uint32_t i = 0; i < n; i++) {
        scale->total += mass(scale, logits[i]);
    }
    scale->log_total = log(scale->total);
    return isfinite(scale->max) && isfinite(scale->total);
}

// The part of the total on tokens that are left in the changed model.
static double left_mass(const struct verify_shape *shape, const struct scale *scale,
                        const float *logits) {
    double sum = shape->new_ids ? 0 : scale->total;
    for (uint32_t id = 0; shape->new_ids && id < shape->n_vocab; id++) {
        sum += shape->new_ids[id] >= 0 ? mass(scale, logits[id]) : 0;
    }
    return sum;
}

// ---- the likeliest: a heap whose root is the least likely of them

static bool is_less_likely(const float *logits, int32_t a, int32_t b) {
    return logits[a] < logits[b] || (logits[a] == logits[b] && a > b);
}

static void sink(int32_t *heap, uint32_t n, uint32_t at, const float *logits) {
    for (;;) {
        uint32_t least = at;
        for (uint32_t child = 2 * at + 1; child <= 2 * at + 2 && child < n; child++) {
            least = is_less_likely(logits, heap[child], heap[least]) ? child : least;
        }
        if (least == at) {
            return;
        }
        int32_t id = heap[at];
        heap[at] = heap[least];
        heap[least] = id;
        at = least;
    }
}

// ids [n] are the likeliest that are left, the likeliest first.
static void choose_top(const struct verify_shape *shape, const float *logits, int32_t *ids,
                       uint32_t n) {
    uint32_t n_filled = 0;
    for (uint32_t id = 0; id < shape->n_vocab; id++) {
        if (n_filled == n && !(logits[id] > logits[ids[0]])) {
            continue;
        }
        if (verify_shape_new_id(shape, (int32_t)id) < 0) {
            continue;
        }
        bool was_full = n_filled == n;
        ids[was_full ? 0 : n_filled++] = (int32_t)id;
        if (n_filled == n) {
            for (uint32_t at = was_full ? 1 : n / 2 + 1; at-- > 0;) {
                sink(ids, n, at, logits);
            }
        }
    }
    for (uint32_t end = n; end-- > 1;) {
        int32_t least = ids[0];
        ids[0] = ids[end];
        ids[end] = least;
        sink(ids, end, 0, logits);
    }
}

// ---- records

bool verify_record_fill(struct verify_record *record, const struct verify_shape *shape,
                        const float *logits, int32_t token) {
    struct scale scale;
    if (!scale_init(&scale, logits, shape->n_vocab)) {
        return false;
    }
    double left = left_mass(shape, &scale, logits);
    double log_left = log(left);
    if (!shape->is_whole) {
        choose_top(shape, logits, record->ids, shape->n_kept);
    }
    double kept = 0;
    record->top = -1;
    for (uint32_t i = 0; i < shape->n_kept; i++) {
        int32_t id = record->ids[i];
        bool is_gone = verify_shape_new_id(shape, id) < 0;
        float log_p = (float)((double)(logits[id] - scale.max) - log_left);
        record->log_p[i] = is_gone ? -INFINITY : log_p;
        kept += is_gone ? 0 : mass(&scale, logits[id]);
        if (!is_gone && (record->top < 0 || logits[id] > logits[record->top])) {
            record->top = id;
        }
    }
    record->nll = scale.log_total - (double)(logits[token] - scale.max);
    record->lost_mass = shape->new_ids ? fmax(1 - left / scale.total, 0) : 0;
    record->rest_mass = shape->is_whole ? 0 : fmax((left - kept) / left, 0);
    return left > 0 && isfinite(record->nll);
}

bool verify_record_compare(const struct verify_record *record, const struct verify_shape *shape,
                           const float *logits, int32_t token, struct verify_difference *out) {
    struct scale scale;
    if (!scale_init(&scale, logits, shape->n_new)) {
        return false;
    }
    double kl = 0;
    double kept = 0;
    for (uint32_t i = 0; i < shape->n_kept; i++) {
        if (record->log_p[i] == -INFINITY) {
            continue;
        }
        float logit = logits[verify_shape_new_id(shape, record->ids[i])];
        float log_q = (float)((double)(logit - scale.max) - scale.log_total);
        log_q = fmaxf(log_q, (float)LOWEST_LOG);
        kl += exp((double)record->log_p[i]) * ((double)record->log_p[i] - (double)log_q);
        kept += mass(&scale, logit);
    }
    if (record->rest_mass > 0) {
        double rest = (scale.total - kept) / scale.total;
        double log_rest = rest > 0 ? log(rest) : LOWEST_LOG;
        kl += record->rest_mass * (log(record->rest_mass) - log_rest);
    }
    int32_t new_token = verify_shape_new_id(shape, token);
    out->kl = fmax(kl, 0);
    out->nll = scale.log_total - (double)(logits[new_token] - scale.max);
    out->is_same_top = verify_shape_new_id(shape, record->top) == (int32_t)scale.top;
    return isfinite(out->kl) && isfinite(out->nll);
}

// ---- on disk

static const size_t N_HEAD = 3; // nll, lost_mass, rest_mass

bool verify_record_write(const struct verify_record *record, const struct verify_shape *shape,
                         FILE *file) {
    double head[] = {record->nll, record->lost_mass, record->rest_mass};
    return fwrite(head, sizeof head[0], N_HEAD, file) == N_HEAD &&
           fwrite(&record->top, sizeof record->top, 1, file) == 1 &&
           fwrite(record->log_p, sizeof *record->log_p, shape->n_kept, file) == shape->n_kept &&
           (shape->is_whole ||
            fwrite(record->ids, sizeof *record->ids, shape->n_kept, file) == shape->n_kept);
}

bool verify_record_read(struct verify_record *record, const struct verify_shape *shape,
                        FILE *file) {
    double head[3];
    bool is_read =
        fread(head, sizeof head[0], N_HEAD, file) == N_HEAD &&
        fread(&record->top, sizeof record->top, 1, file) == 1 &&
        fread(record->log_p, sizeof *record->log_p, shape->n_kept, file) == shape->n_kept &&
        (shape->is_whole ||
         fread(record->ids, sizeof *record->ids, shape->n_kept, file) == shape->n_kept);
    if (is_read) {
        record->nll = head[0];
        record->lost_mass = head[1];
        record->rest_mass = head[2];
    }
    return is_read;
}
