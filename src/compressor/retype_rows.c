#include "compressor/retype_rows.h"

#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "os/machine.h"

enum { MAX_THREADS = 8, WEIGHTS_OF_A_THREAD = 1 << 16, SAMPLE_ROWS = 96 };

// One thread's share: rows begin, begin + step ... of the new order.
struct share {
    const struct compress_source *source;
    const struct retype_matrix *matrix;
    uint64_t begin, end, step;
    unsigned char *out; // of row `begin`; NULL: a scratch row
    struct retype_error error;
    enum wl_status status;
    struct wl_err err;
};

// ---- one row ----

static enum wl_status read_row(const struct share *s, uint64_t row, float *scratch, float *out,
                               struct wl_err *err) {
    const struct retype_matrix *m = s->matrix;
    uint64_t from = m->rows ? m->rows[row] : row;
    float *read = m->columns ? scratch : out;
    compress_source_rows(s->source, m->tensor, from, 1, read);
    for (uint64_t i = 0; i < m->tensor->ne[0]; i++) {
        out[i] = m->columns ? read[m->columns[i]] : read[i];
        if (!isfinite(out[i])) {
            return wl_err_set(err, WL_INPUT,
                              "tensor '%s' holds a value that is not finite in row %" PRIu64
                              "; the file is damaged or was converted wrongly",
                              m->tensor->name, from);
        }
    }
    return WL_OK;
}

static void count_error(struct share *s, const float *row, const float *again) {
    const struct retype_matrix *m = s->matrix;
    double off = 0, size = 0;
    for (uint64_t i = 0; i < m->tensor->ne[0]; i++) {
        double weight = m->importance ? (double)m->importance[i] : 1;
        double difference = (double)again[i] - (double)row[i];
        off += weight * difference * difference;
        size += weight * (double)row[i] * (double)row[i];
    }
    s->error.off += off;
    s->error.size += size;
}

static void read_back(enum ggml_type type, const void *data, int64_t n, float *out) {
    if (type == GGML_TYPE_F32) {
        memcpy(out, data, (size_t)n * sizeof *out);
    } else {
        ggml_get_type_traits(type)->to_float(data, out, n);
    }
}

static void *make_share(void *context) {
    struct share *s = context;
    const struct retype_matrix *m = s->matrix;
    size_t n = (size_t)m->tensor->ne[0], row_bytes = ggml_row_size(m->type, (int64_t)n);
    float *row = calloc(n, 3 * sizeof *row);
    unsigned char *made = malloc(row_bytes);
    if (!row || !made) {
        free(row);
        free(made);
        s->status = wl_err_set(&s->err, WL_MEMORY, "no memory for rows of '%s'", m->tensor->name);
        return NULL;
    }
    s->status = WL_OK;
    for (uint64_t i = s->begin; i < s->end && s->status == WL_OK; i += s->step) {
        unsigned char *to = s->out ? s->out + (i - s->begin) * row_bytes : made;
        s->status = read_row(s, i, row + n, row, &s->err);
        if (s->status == WL_OK) {
            ggml_quantize_chunk(m->type, row, to, 0, 1, (int64_t)n, m->importance);
            read_back(m->type, to, (int64_t)n, row + 2 * n);
            count_error(s, row, row + 2 * n);
        }
    }
    free(row);
    free(made);
    return NULL;
}

// ---- many rows ----

static size_t count_threads(uint64_t n_weights) {
    uint64_t n = n_weights / WEIGHTS_OF_A_THREAD + 1;
    uint64_t most = (uint64_t)os_n_usable_cores();
    n = n > most ? most : n;
    return (size_t)(n > MAX_THREADS ? MAX_THREADS : n);
}

// The first share is made by the caller's own thread; so is one that no thread can be had for.
static enum wl_status make_shares(struct share *shares, size_t n, struct retype_error *error,
                                  struct wl_err *err) {
    pthread_t threads[MAX_THREADS];
    bool is_running[MAX_THREADS] = {false};
    enum wl_status status = WL_OK;
    for (size_t i = 1; i < n; i++) {
        is_running[i] = pthread_create(&threads[i], NULL, make_share, &shares[i]) == 0;
    }
    for (size_t i = 0; i < n; i++) {
        if (is_running[i]) {
            pthread_join(threads[i], NULL);
        } else {
            make_share(&shares[i]);
        }
        error->off += shares[i].error.off;
        error->size += shares[i].error.size;
        if (shares[i].status != WL_OK && status == WL_OK) {
            status = wl_err_set(err, shares[i].status, "%s", shares[i].err.message);
        }
    }
    return status;
}

enum wl_status retype_rows(const struct compress_source *source, const struct retype_matrix *matrix,
                           uint64_t first, uint64_t n_rows, void *out, struct retype_error *error,
                           struct wl_err *err) {
    struct share shares[MAX_THREADS];
    size_t n = count_threads(n_rows * matrix->tensor->ne[0]);
    size_t row_bytes = ggml_row_size(matrix->type, (int64_t)matrix->tensor->ne[0]);
    ggml_quantize_init(matrix->type);
    for (size_t i = 0; i < n; i++) {
        uint64_t begin = n_rows * i / n;
        shares[i] = (struct share){
            .source = source,
            .matrix = matrix,
            .begin = first + begin,
            .end = first + n_rows * (i + 1) / n,
            .step = 1,
            .out = out ? (unsigned char *)out + begin * row_bytes : NULL,
        };
    }
    return make_shares(shares, n, error, err);
}

enum wl_status retype_sample_error(const struct compress_source *source,
                                   const struct retype_matrix *matrix, double *out,
                                   struct wl_err *err) {
    uint64_t n_rows = matrix->tensor->ne[1], every = (n_rows + SAMPLE_ROWS - 1) / SAMPLE_ROWS;
    struct share shares[MAX_THREADS];
    struct retype_error error = {0};
    size_t n = count_threads(n_rows / every * matrix->tensor->ne[0]);
    ggml_quantize_init(matrix->type);
    for (size_t i = 0; i < n; i++) {
        shares[i] = (struct share){.source = source,
                                   .matrix = matrix,
                                   .begin = every * i,
                                   .end = n_rows,
                                   .step = every * n};
    }
    enum wl_status status = make_shares(shares, n, &error, err);
    *out = error.size > 0 ? error.off / error.size : 0;
    return status;
}

void retype_forget(const struct compress_source *source, const struct gguf_tensor *tensor) {
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE); // the map begins with one
    uint64_t begin = source->file.data_offset + tensor->offset;
    uint64_t end = (begin + tensor->n_bytes) / page * page;
    begin = (begin + page - 1) / page * page;
    if (begin < end) { // read-only: they are in the file
        madvise((char *)source->file.map + begin, (size_t)(end - begin), MADV_DONTNEED);
    }
}
