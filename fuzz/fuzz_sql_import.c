// A store that somebody sent: a valid file, patched by the input (3 bytes of offset, 1 of value,
// for each patch; a leading odd byte means that the input itself is the file). Opening and reading
// must end with a status, whatever the bytes.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store/store_fit.h"
#include "store/store_idle.h"
#include "store/store_record.h"
#include "store/store_study.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_FILE_BYTES = 1 << 20 };
static char path[64];
static uint8_t *template_bytes;
static size_t template_len;

static void write_file(const uint8_t *bytes, size_t len) {
    FILE *file = fopen(path, "wb");
    if (file) {
        fwrite(bytes, 1, len, file);
        fclose(file);
    }
}

static void fill(struct store *store) {
    struct store_study study = {.created_wall_ns = 1};
    struct store_sample sample;
    store_sample_init(&sample);
    store_study_create(store, &study, NULL);
    struct store_model model = {.study_id = study.id, .role = "base"};
    store_model_add(store, &model, NULL);
    for (uint32_t i = 0; i < 20; i++) {
        struct record record;
        record_init(&record);
        record.model_id = model.id;
        record.seq = i;
        record.value[METRIC_time_s] = i;
        record.n_energies = record.n_phases = 1;
        store_record_add(store, &record, &sample, 1, NULL);
    }
    struct store_idle idle = {.study_id = study.id, .n_powers = 1};
    store_idle_add(store, &idle, &sample, 1, NULL);
    store_fit_put(store, study.id, model.id, "time_s", "{}", NULL);
}

static void make_template(void) {
    struct store *store;
    struct wl_err err;
    snprintf(path, sizeof path, "/tmp/wattlaw-fuzz-%d.db", (int)getpid());
    if (store_open(path, STORE_READ_WRITE_CREATE, &store, &err) != WL_OK) {
        abort();
    }
    fill(store);
    store_close(store);
    template_bytes = malloc(MAX_FILE_BYTES);
    FILE *file = fopen(path, "rb");
    if (!file || !template_bytes) {
        abort();
    }
    template_len = fread(template_bytes, 1, MAX_FILE_BYTES, file);
    fclose(file);
}

static void write_patched(const uint8_t *data, size_t size) {
    uint8_t *copy = malloc(template_len);
    if (!copy) {
        return;
    }
    memcpy(copy, template_bytes, template_len);
    for (; size >= 4; data += 4, size -= 4) {
        size_t offset = (size_t)data[0] << 16 | (size_t)data[1] << 8 | data[2];
        copy[offset % template_len] = data[3];
    }
    write_file(copy, template_len);
    free(copy);
}

static void read_all(struct store *store) {
    struct store_study *studies;
    struct store_model *models;
    struct store_idle *idles;
    struct store_fit *fits;
    struct store_sample *samples;
    struct record *records;
    size_t n;
    if (store_study_list(store, &studies, &n, NULL) == WL_OK) {
        store_study_free_list(studies, n);
    }
    if (store_model_list(store, 1, &models, &n, NULL) == WL_OK) {
        store_model_free_list(models, n);
    }
    if (store_record_list_study(store, 1, &records, &n, NULL) == WL_OK) {
        free(records);
    }
    if (store_sample_list_record(store, 1, &samples, &n, NULL) == WL_OK) {
        free(samples);
    }
    if (store_idle_list(store, 1, &idles, &n, NULL) == WL_OK) {
        store_idle_free_list(idles, n);
    }
    if (store_fit_list(store, 1, &fits, &n, NULL) == WL_OK) {
        store_fit_free_list(fits, n);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct store *store;
    struct wl_err err;
    if (!template_bytes) {
        make_template();
    }
    if (size > 0 && data[0] % 2) {
        write_file(data + 1, size - 1);
    } else if (size > 0) {
        write_patched(data + 1, size - 1);
    }
    if (store_open(path, STORE_READ_ONLY, &store, &err) == WL_OK) {
        read_all(store);
        store_close(store);
    }
    return 0;
}
