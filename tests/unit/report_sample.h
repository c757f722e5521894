// A made-up study for the report's tests: two models, 8 prompt sizes x 5 repeats, noise from a
// fixed seed. Every figure follows a known law, so tests can say what must come out.
#ifndef WATTLAW_TESTS_REPORT_SAMPLE_H
#define WATTLAW_TESTS_REPORT_SAMPLE_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "report/report.h"

enum { SAMPLE_CELLS = 8, SAMPLE_REPEATS = 5, SAMPLE_GENERATED = 64 };
enum { SAMPLE_RECORDS = SAMPLE_CELLS * SAMPLE_REPEATS + 1 }; // and one warm-up

// cost of a request in seconds = fixed + per_prompt * p + per_generated * g
struct sample_law {
    double fixed, per_prompt, per_generated;
    double ram_mib, watts;
};
static const struct sample_law SAMPLE_LAW[2] = {{0.05, 0.0042, 0.031, 182, 4.4},
                                                {0.03, 0.0019, 0.0135, 84, 4.1}};

static inline double sample_noise(struct rng *rng, double value, double share) {
    return value * (1 + share * rng_normal(rng));
}

static inline void sample_energy(struct record *r, double gross, double idle_w, double time_s) {
    r->n_energies = 1;
    r->energy[0] = (struct record_energy){.source = "powercap",
                                          .scope = "cpu",
                                          .label = LABEL_MEASURED,
                                          .gross_j = gross,
                                          .gross_sd_j = 0.004 * gross,
                                          .net_j = gross - idle_w * time_s,
                                          .net_sd_j = 0.01 * gross,
                                          .systematic_rel = 0.02,
                                          .coverage = 1,
                                          .idle_w = idle_w,
                                          .idle_sd_w = 0.02};
    r->value[METRIC_energy_gross_j] = gross;
    r->value[METRIC_energy_net_j] = r->energy[0].net_j;
}

static inline void sample_record(struct rng *rng, int model, uint32_t cell, uint32_t repeat,
                                 uint32_t seq, struct record *r) {
    const struct sample_law *law = &SAMPLE_LAW[model];
    const double idle_w = 1.6;
    record_init(r);
    r->id = (int64_t)seq + 1;
    r->model_id = model + 1;
    r->seq = seq;
    r->cell = cell;
    r->repeat = repeat;
    r->prompt_tokens = 16u << cell;
    r->generated_tokens = SAMPLE_GENERATED;
    double drift = sample_noise(rng, 1, 0.006);
    double prefill =
        drift * sample_noise(rng, law->fixed + law->per_prompt * r->prompt_tokens, 0.01);
    double decode = drift * sample_noise(rng, law->per_generated * SAMPLE_GENERATED, 0.01);
    double time_s = prefill + decode;
    r->t0_ns = (int64_t)seq * 20000000000;
    r->t1_ns = r->t0_ns + (int64_t)(time_s * 1e9);
    r->wall_ns = INT64_C(1771061160000000000) + r->t0_ns;
    r->value[METRIC_time_s] = time_s;
    r->value[METRIC_prefill_s] = prefill;
    r->value[METRIC_decode_s] = decode;
    r->value[METRIC_cpu_auc_pct_s] = sample_noise(rng, 93 * time_s, 0.004);
    r->value[METRIC_cpu_core_s] = r->value[METRIC_cpu_auc_pct_s] / 100 * 4;
    r->value[METRIC_prefill_core_s] = prefill * 3.8;
    r->value[METRIC_decode_core_s] = decode * 3.6;
    r->value[METRIC_ram_peak_mib] = law->ram_mib + 0.012 * r->prompt_tokens;
    r->value[METRIC_ram_auc_mib_s] =
        sample_noise(rng, r->value[METRIC_ram_peak_mib] * time_s, 0.003);
    sample_energy(r, sample_noise(rng, law->watts * time_s, 0.01), idle_w, time_s);
    r->value[METRIC_prefill_net_j] = r->value[METRIC_energy_net_j] * prefill / time_s;
    r->value[METRIC_decode_net_j] = r->value[METRIC_energy_net_j] * decode / time_s;
    r->value[METRIC_prompt_tps] = r->prompt_tokens / prefill;
    r->value[METRIC_decode_tps] = (SAMPLE_GENERATED - 1) / decode;
    r->value[METRIC_window_tps] = SAMPLE_GENERATED / time_s;
    r->value[METRIC_other_cpu_pct] = 0.4;
    r->value[METRIC_freq_mhz] = 2400;
    r->value[METRIC_temp_c] = 61.5;
    r->value[METRIC_sampler_pct] = 0.2;
    if (time_s > 5) {
        r->value[METRIC_cpu_auc_paper_pct_s] =
            sample_noise(rng, r->value[METRIC_cpu_auc_pct_s] * 1.021, 0.01);
    }
    if (seq % 17 == 9) {
        r->flags = RECORD_BUSY;
    }
}

// `records` has room for SAMPLE_RECORDS.
static inline void sample_records(int model, struct record *records) {
    struct rng rng;
    rng_seed(&rng, 40 + (uint64_t)model);
    sample_record(&rng, model, 0, 0, 0, &records[0]);
    records[0].flags = RECORD_WARMUP;
    records[0].value[METRIC_time_s] *= 3;
    for (uint32_t i = 0; i + 1 < SAMPLE_RECORDS; i++) {
        sample_record(&rng, model, i % SAMPLE_CELLS, i / SAMPLE_CELLS, i + 1, &records[i + 1]);
    }
}

static const struct report_idle SAMPLE_IDLES[2] = {{.wall_ns = INT64_C(1771061100000000000),
                                                    .duration_s = 30,
                                                    .cpu_pct_mean = 0.62,
                                                    .cpu_pct_sd = 0.11,
                                                    .power = {{"powercap", 1.604, 0.021}},
                                                    .n_powers = 1},
                                                   {.wall_ns = INT64_C(1771062100000000000),
                                                    .duration_s = 30,
                                                    .cpu_pct_mean = 0.71,
                                                    .cpu_pct_sd = 0.14,
                                                    .flags = RECORD_IDLE_DRIFT,
                                                    .power = {{"powercap", 1.622, 0.024}},
                                                    .n_powers = 1}};

// Fills everything; `records` of both models stay the caller's.
static inline struct report_input sample_input(const struct record *base, const struct record *vs,
                                               size_t n_models) {
    struct report_input input = {
        .title = "SmolLM2 135M: stock against compressed",
        .study_uuid = "6f1c2d3e-0000-4000-8000-0123456789ab",
        .state = "done",
        .created_wall_ns = INT64_C(1771061160000000000),
        .now_wall_ns = INT64_C(1771064760000000000),
        .wattlaw_version = "0.1.0",
        .engine_version = "llama.cpp 0.7.0 (wattlaw-engine 0.1.0)",
        .command_line = "wattlaw study -m smollm2-135m-f16.gguf --vs smollm2-135m-q4.gguf --tokens "
                        "16..2048 --generate 64 --seed 7",
        .machine_json =
            "{\"board\":\"Raspberry Pi 5 Model B Rev 1.0\",\"cpu_model\":\"Cortex-A76\","
            "\"architecture\":\"aarch64\",\"cores\":4,\"governor\":\"ondemand\","
            "\"max_mhz\":2400.0,\"os\":\"Debian GNU/Linux 12\",\"kernel\":\"6.6.31\","
            "\"ram_bytes\":8589934592,\"virtual\":false,\"thermal_zones\":[{\"type\":"
            "\"cpu-thermal\",\"temp_c\":52.1}]}",
        .meters_json =
            "[{\"name\":\"powercap\",\"title\":\"RAPL through powercap\",\"kind\":"
            "\"counter\",\"scope\":\"cpu\",\"label\":\"measured\",\"gain_error_rel\":0.02}]",
        .options_json = "{\"prompts\":[16,32,64,128,256,512,1024,2048],\"generate\":64,\"seed\":7,"
                        "\"min_repeats\":5,\"max_repeats\":20,\"engine\":{\"threads\":4}}",
        .seed = 7,
        .n_models = n_models,
        .idles = SAMPLE_IDLES,
        .n_idles = 2};
    roi_rates_init(&input.rates);
    input.model[0] = (struct report_model_input){
        .name = "SmolLM2-135M-Instruct-F16",
        .path = "/home/pi/models/smollm2-135m-f16.gguf",
        .hash = "quick:8d0c5a",
        .file_bytes = 270885856,
        .describe_json =
            "{\"n_params\":134515008,\"n_layer\":30,\"n_embd\":576,\"type_k\":\"f16\"}",
        .records = base,
        .n_records = SAMPLE_RECORDS};
    input.model[1] = (struct report_model_input){
        .name = "SmolLM2-135M-Instruct-tn-Q4_K",
        .path = "/home/pi/models/smollm2-135m-q4.gguf",
        .hash = "quick:11f7e0",
        .file_bytes = 92274688,
        .describe_json = "{\"n_params\":98515008,\"n_layer\":30,\"n_embd\":576,\"type_k\":\"f16\"}",
        .records = vs,
        .n_records = SAMPLE_RECORDS};
    return input;
}

// The result for that input; NULL on failure. Free it with report_result_free.
static inline struct report_result *sample_result(size_t n_models) {
    static struct record records[2][SAMPLE_RECORDS];
    struct report_result *result = NULL;
    struct wl_err err = {0};
    sample_records(0, records[0]);
    sample_records(1, records[1]);
    struct report_input input = sample_input(records[0], records[1], n_models);
    if (report_result_build(&input, &result, &err) != WL_OK) {
        fprintf(stderr, "%s\n", err.message);
    }
    return result;
}

#endif
