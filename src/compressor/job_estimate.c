#include "compressor/job_estimate.h"

#include <cblas.h>
#include <stdlib.h>

#include "base/json.h"
#include "compressor/calib.h"
#include "os/clock.h"
#include "os/file.h"

enum { SIDE = 512, CHUNK_TOKENS = 2048, FLOAT_BYTES = 4 };
static const int64_t TIMING_NS = 100000000;
static const double USUAL_GFLOPS = 20;

static double measure_gflops(void) {
    size_t n = (size_t)SIDE * SIDE;
    float *a = calloc(n, sizeof *a), *b = calloc(n, sizeof *b), *c = calloc(n, sizeof *c);
    double flops = 0;
    int64_t begin_ns = os_now_ns(), now_ns = begin_ns;
    while (a && b && c && now_ns - begin_ns < TIMING_NS) {
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, SIDE, SIDE, SIDE, 1, a, SIDE, b, SIDE,
                    0, c, SIDE);
        flops += 2.0 * SIDE * SIDE * SIDE;
        now_ns = os_now_ns();
    }
    free(a);
    free(b);
    free(c);
    return flops > 0 ? flops / (double)(now_ns - begin_ns) : USUAL_GFLOPS;
}

struct shape {
    double n_layer, n_embd, n_ff, n_tokens, block; // weights of one block
};

static struct shape shape_of(const struct job *job, const struct plan_sizes *before) {
    struct block_shape shape = {0};
    struct calib_options defaults;
    struct wl_err ignored;
    compress_calib_defaults(&defaults);
    compress_source_shape(&job->source, 0, &shape, &ignored);
    return (struct shape){
        .n_layer = job->source.n_layer,
        .n_embd = job->source.n_embd,
        .n_ff = shape.n_ff,
        .n_tokens = (double)wl_json_opt_i64(job->request, "n_tokens", (int64_t)defaults.n_tokens),
        .block = (double)before->block_weights / job->source.n_layer};
}

// Both streams through every block, the narrow part of it twice; moments; the choice (about
// 1.5 n^3 in blocks) and the repair; verdicts read a fifth of the text twice. Each text and model
// once more for an analysis.
static double flops_of(const struct job *job, const struct shape *s) {
    double forward = 2 * s->block * s->n_tokens;
    double moments = (s->n_ff * s->n_ff + 2 * s->n_ff * s->n_embd) * s->n_tokens;
    double solve = 2.5 * s->n_ff * s->n_ff * s->n_ff;
    double analysis = job_needs_analysis(job) ? 2 * forward + moments + 2 * solve : 0;
    return s->n_layer * (4 * forward + moments + solve + analysis);
}

static double rss_of(const struct shape *s) {
    double gram = s->n_ff * (s->n_ff + 1) / 2, square = s->n_ff * s->n_ff;
    double chunk = CHUNK_TOKENS * (4 * s->n_embd + s->n_ff);
    return FLOAT_BYTES * (2 * s->block + gram + square + 2 * s->n_embd * s->n_ff + chunk);
}

json_t *job_estimate_json(const struct job *job, const struct plan_sizes *before,
                          const struct plan_sizes *after) {
    struct shape s = shape_of(job, before);
    struct wl_err ignored;
    uint64_t in_bytes = 0;
    double gflops = measure_gflops();
    os_file_size(job->path, &in_bytes, &ignored);
    double seconds = flops_of(job, &s) / (gflops * 1e9) +
                     wl_json_opt_double(job->request, "local_seconds", 0) +
                     wl_json_opt_double(job->request, "lora_seconds", 0);
    double streams = 4 * s.n_tokens * s.n_embd * FLOAT_BYTES; // two, each twice while it is renewed
    double walk = rss_of(&s), verdict = (double)in_bytes;
    return json_pack("{s:o, s:o, s:o, s:o}", "seconds", wl_json_real(seconds), "rss_bytes",
                     wl_json_real(walk > verdict ? walk : verdict), "disk_bytes",
                     wl_json_real(streams + 2.0 * (double)after->file_bytes), "gflops",
                     wl_json_real(gflops));
}
