// Any bytes where a block that became smaller, or a stream between two blocks, was kept on disk.
// The sum behind them is put right, so that what is inside is read. What is taken fits, and is the
// same when it is written and read again.
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "compressor/narrow_record.h"
#include "compressor/states.h"
#include "scratch.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_BYTES = 1 << 12, LAYER = 1, N_EMBD = 3, N_FF = 4, N_ROWS = 5 };
static const struct plan_layer PLAN = {.n_head_kv = 1, .n_ff = 2};

// A block as it was, without a file.
enum wl_status compress_source_shape(const struct compress_source *source, uint32_t layer,
                                     struct block_shape *out, struct wl_err *err) {
    (void)source;
    (void)layer;
    (void)err;
    *out = (struct block_shape){
        .n_embd = N_EMBD, .n_head = 4, .n_head_kv = 2, .head_dim = 2, .n_ff = N_FF};
    return WL_OK;
}

static char folder[64], path[96];

static void clean(void) {
    unlink(path);
    rmdir(folder);
}

static void begin(void) {
    scratch_folder(folder, sizeof folder, clean);
    snprintf(path, sizeof path, "%s/file", folder);
}

// A block's sum is of all before it, a stream's of its rows.
static void write_with_sum(const uint8_t *data, size_t n, size_t most_summed) {
    n -= n % 4;
    uint64_t sum = states_sum(0, data, n < most_summed ? n : most_summed);
    FILE *file = fopen(path, "wb");
    require(file && fwrite(data, 1, n, file) == n && fwrite(&sum, sizeof sum, 1, file) == 1);
    require(fclose(file) == 0);
}

static double total(const float *values, size_t n) {
    double sum = 0;
    for (size_t i = 0; values && i < n; i++) {
        sum += fabs((double)values[i]);
    }
    return sum;
}

static double read_all(const struct narrow_layer *layer) {
    size_t heads = 4; // of one KV head: two heads of two
    for (size_t i = 0; layer->kept && i < PLAN.n_ff; i++) {
        require(layer->kept[i] < N_FF);
    }
    require(!layer->kept_groups || layer->kept_groups[0] < 2);
    return total(layer->attn_output, N_EMBD * heads) + total(layer->attention_moments, heads) +
           total(layer->attn_norm, N_EMBD) + total(layer->norm, N_EMBD) +
           total(layer->down, (size_t)N_EMBD * PLAN.n_ff) + total(layer->down_bias, N_EMBD) +
           total(layer->gate, (size_t)N_EMBD * PLAN.n_ff) +
           total(layer->up, (size_t)N_EMBD * PLAN.n_ff) + total(layer->second_moments, PLAN.n_ff);
}

static bool is_same(double a, double b) {
    return a == b || (isnan(a) && isnan(b));
}

static void check_block(const uint8_t *data, size_t n) {
    struct narrow_record record, again;
    struct wl_err err = {0};
    write_with_sum(data, n, n);
    if (narrow_record_open(&record, NULL, path, LAYER, &PLAN)) {
        double sum = read_all(&record.layer);
        require(narrow_record_write(NULL, path, &record.layer, &err) == WL_OK);
        require(narrow_record_open(&again, NULL, path, LAYER, &PLAN));
        require(is_same(read_all(&again.layer), sum));
        narrow_record_close(&again);
    }
    narrow_record_close(&record);
}

static void check_stream(const uint8_t *data, size_t n) {
    struct states states;
    struct wl_err err = {0};
    float rows[N_ROWS * N_EMBD];
    write_with_sum(data, n, sizeof rows);
    if (states_take_up(&states, path, N_ROWS, N_EMBD)) {
        require(n >= sizeof rows);
        require(states_read(&states, 0, N_ROWS, rows, &err) == WL_OK);
        require(memcmp(rows, data, sizeof rows) == 0);
        states_close(&states);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (!folder[0]) {
        begin();
    }
    if (size < 1 || size > MAX_BYTES) {
        return 0;
    }
    if (data[0] % 2) {
        check_stream(data + 1, size - 1);
    } else {
        check_block(data + 1, size - 1);
    }
    return 0;
}
