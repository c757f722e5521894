#include "compressor/retype_order.h"

#include <stdlib.h>

static const double LEAST_GAIN = 0.01;
enum { SAMPLE_ROWS = 256 };
enum kind { DEALT_BY_INPUT, DEALT_BY_BOTH, SORTED_BY_WEIGHT, N_KINDS };

struct keyed {
    double key;
    uint32_t neuron;
};

static int by_key(const void *a, const void *b) {
    const struct keyed *x = a, *y = b;
    int order = (x->key > y->key) - (x->key < y->key);
    return order ? order : (x->neuron > y->neuron) - (x->neuron < y->neuron);
}

void retype_order_release(struct retype_order *order) {
    free(order->neurons);
    *order = (struct retype_order){0};
}

// Mean squares of the columns, from rows evenly spread over the matrix.
static enum wl_status weigh_columns(const struct compress_source *source,
                                    const struct gguf_tensor *tensor, double *out,
                                    struct wl_err *err) {
    uint64_t n_columns = tensor->ne[0], every = (tensor->ne[1] + SAMPLE_ROWS - 1) / SAMPLE_ROWS;
    float *row = calloc((size_t)n_columns, sizeof *row);
    if (!row) {
        return wl_err_set(err, WL_MEMORY, "no memory for a row of '%s'", tensor->name);
    }
    for (uint64_t i = 0; i < tensor->ne[1]; i += every) {
        compress_source_rows(source, tensor, i, 1, row);
        for (uint64_t j = 0; j < n_columns; j++) {
            out[j] += (double)row[j] * (double)row[j];
        }
    }
    free(row);
    return WL_OK;
}

// Columns that have a scale of their own.
static size_t columns_of_scale(enum ggml_type type) {
    enum { FINE = 16, COARSE = 32 };
    return type == GGML_TYPE_Q6_K || type == GGML_TYPE_Q3_K ? FINE : COARSE;
}

// Rank by rank to one scale after the other, there and back again.
static void deal(const struct keyed *ranked, size_t n, size_t of_scale, uint32_t *out) {
    size_t n_scales = n / of_scale;
    for (size_t slot = 0; slot < of_scale; slot++) {
        for (size_t i = 0; i < n_scales; i++) {
            size_t scale = slot % 2 ? n_scales - 1 - i : i, rank = slot * n_scales + i;
            out[scale * of_scale + slot] = ranked[n - 1 - rank].neuron;
        }
    }
}

static void make_order(const struct retype_matrix *down, const double *weights, enum kind kind,
                       struct keyed *scratch, uint32_t *out) {
    size_t n = (size_t)down->tensor->ne[0];
    for (size_t i = 0; i < n; i++) {
        double input = down->importance ? (double)down->importance[i] : 1;
        scratch[i].neuron = (uint32_t)i;
        scratch[i].key =
            (kind == SORTED_BY_WEIGHT ? 1 : input) * (kind == DEALT_BY_INPUT ? 1 : weights[i]);
    }
    qsort(scratch, n, sizeof *scratch, by_key);
    if (kind != SORTED_BY_WEIGHT) {
        deal(scratch, n, columns_of_scale(down->type), out); // n: whole blocks of the type
        return;
    }
    for (size_t i = 0; i < n; i++) {
        out[i] = scratch[i].neuron;
    }
}

// The error with the columns in this order; their weights go along.
static enum wl_status try_order(const struct compress_source *source,
                                const struct retype_matrix *down, const uint32_t *order,
                                float *importance, double *error, struct wl_err *err) {
    struct retype_matrix sorted = *down;
    for (uint64_t i = 0; i < down->tensor->ne[0] && down->importance; i++) {
        importance[i] = down->importance[order[i]];
    }
    sorted.columns = order;
    sorted.importance = down->importance ? importance : NULL;
    return retype_sample_error(source, &sorted, error, err);
}

struct room {
    double *weights;
    struct keyed *keyed;
    float *importance;
    uint32_t *order;
};

static enum wl_status find(const struct compress_source *source, const struct retype_matrix *down,
                           struct room *room, struct retype_order *out, struct wl_err *err) {
    enum wl_status status = retype_sample_error(source, down, &out->error_in_order, err);
    status = status ? status : weigh_columns(source, down->tensor, room->weights, err);
    double best = out->error_in_order * (1 - LEAST_GAIN);
    for (int kind = 0; kind < N_KINDS && status == WL_OK; kind++) {
        bool is_idle = (kind == SORTED_BY_WEIGHT) != !down->importance;
        double error = out->error_in_order;
        if (!is_idle) {
            make_order(down, room->weights, (enum kind)kind, room->keyed, room->order);
            status = try_order(source, down, room->order, room->importance, &error, err);
        }
        if (status == WL_OK && error < best) {
            best = error;
            uint32_t *worse = out->neurons;
            out->neurons = room->order;
            room->order = worse ? worse : calloc((size_t)down->tensor->ne[0], sizeof *worse);
            status = room->order ? WL_OK
                                 : wl_err_set(err, WL_MEMORY, "no memory for an order of '%s'",
                                              down->tensor->name);
        }
    }
    out->error = out->neurons ? best : out->error_in_order;
    return status;
}

enum wl_status retype_order_find(const struct compress_source *source,
                                 const struct retype_matrix *down, struct retype_order *out,
                                 struct wl_err *err) {
    size_t n = (size_t)down->tensor->ne[0];
    struct room room = {.weights = calloc(n, sizeof *room.weights),
                        .keyed = calloc(n, sizeof *room.keyed),
                        .importance = calloc(n, sizeof *room.importance),
                        .order = calloc(n, sizeof *room.order)};
    *out = (struct retype_order){0};
    enum wl_status status =
        room.weights && room.keyed && room.importance && room.order
            ? find(source, down, &room, out, err)
            : wl_err_set(err, WL_MEMORY, "no memory for the order of '%s'", down->tensor->name);
    free(room.weights);
    free(room.keyed);
    free(room.importance);
    free(room.order);
    if (status != WL_OK) {
        retype_order_release(out);
    }
    return status;
}
