// Any bytes in the work folder that a job goes on with: its state, the analysis and costs in it, or
// its text. Taken or not; what is taken fits, and nobody else's folder is touched.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "compressor/analysis.h"
#include "compressor/calib_file.h"
#include "compressor/calib_part.h"
#include "compressor/costs.h"
#include "compressor/work.h"
#include "scratch.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { N_EMBD = 3, MAX_BYTES = 1 << 16 };

// Where they stand there is llama.cpp beside them.
void analysis_release(struct analysis *analysis) {
    free(analysis->layers);
    *analysis = (struct analysis){0};
}

void compress_calib_release(struct calib *calib) {
    calib_part_release(&calib->calibration);
    calib_part_release(&calib->held_out);
    *calib = (struct calib){0};
}

static char folder[64], state_path[96], text_path[96];

static void clean(void) {
    unlink(state_path);
    unlink(text_path);
    rmdir(folder);
}

static void begin(void) {
    scratch_folder(folder, sizeof folder, clean);
    snprintf(state_path, sizeof state_path, "%s/job.json", folder);
    snprintf(text_path, sizeof text_path, "%s/text.bin", folder);
}

static void write_file(const char *path, const uint8_t *data, size_t n) {
    FILE *file = fopen(path, "wb");
    require(file && fwrite(data, 1, n, file) == n);
    require(fclose(file) == 0);
}

static void check_stages(const struct work *work) {
    struct analysis analysis = {0}, again = {0};
    struct costs costs;
    struct wl_err err = {0};
    if (analysis_parse(work_result(work, "analysis"), &analysis, &err) == WL_OK) {
        json_t *json = analysis_json(&analysis);
        require(analysis.n_layer > 0 && analysis_parse(json, &again, &err) == WL_OK);
        require(again.n_layer == analysis.n_layer);
        json_decref(json);
    }
    analysis_release(&analysis);
    analysis_release(&again);
    if (costs_parse(work_result(work, "costs"), &costs, &err) == WL_OK) {
        require(costs.prompt.base >= 0 && costs.decode.block >= 0);
    }
}

static void check_state(const uint8_t *data, size_t n) {
    struct work work;
    struct wl_err err = {0};
    write_file(state_path, data, n);
    bool is_ours = work_find(&work, folder);
    if (is_ours) {
        check_stages(&work);
        work_close(&work);
    }
    json_t *identity = json_pack("{s:s}", "who", "fuzz");
    enum wl_status status = work_open(&work, folder, identity, &err);
    require(status == (is_ours ? WL_OK : WL_USAGE));
    require(is_ours || access(state_path, F_OK) == 0);
    work_close(&work);
    json_decref(identity);
}

static void check_text(const uint8_t *data, size_t n) {
    struct calib calib;
    struct wl_err err = {0};
    write_file(text_path, data, n);
    if (calib_load(text_path, N_EMBD, &calib, &err) == WL_OK) {
        const struct calib_part *part = &calib.calibration;
        size_t n_tokens = 0;
        for (size_t i = 0; i < part->n_sequences; i++) {
            n_tokens += part->lengths[i];
        }
        require(n_tokens == part->n_tokens);
        compress_calib_release(&calib);
    } else {
        require(err.message[0]);
    }
    unlink(text_path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (!folder[0]) {
        begin();
    }
    if (size < 1 || size > MAX_BYTES) {
        return 0;
    }
    if (data[0] % 2) {
        check_text(data + 1, size - 1);
    } else {
        check_state(data + 1, size - 1);
    }
    return 0;
}
