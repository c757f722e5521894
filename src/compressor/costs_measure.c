#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/units.h"
#include "compressor/costs.h"
#include "compressor/costs_fit.h"
#include "compressor/costs_time.h"
#include "compressor/costs_variant.h"
#include "os/clock.h"
#include "os/file.h"

enum { MAX_TOKENS = 4096, MAX_ROUNDS = 100 };
static const double WRITE_SHARE = 0.1; // of the time, for the progress

struct measuring {
    const struct compress_source *source;
    const struct costs_options *options;
    struct block_shape shape;
    struct costs_variant variants[COSTS_MAX_VARIANTS];
    size_t n;
    struct costs_work work;
    char folder[OS_PATH_BYTES];
    struct text_watch watch;
    double *prompt, *decode; // [n][n_rounds]
};

// ---- files ----

static enum wl_status path_of(const struct measuring *m, size_t i, char out[OS_PATH_BYTES],
                              struct wl_err *err) {
    char name[32];
    snprintf(name, sizeof name, "%zu.gguf", i);
    return os_path_join(out, m->folder, name, err);
}

static enum wl_status make_folder(struct measuring *m, struct wl_err *err) {
    char folder[OS_PATH_BYTES];
    enum wl_status status =
        os_path_join(folder, m->options->scratch_dir, "wattlaw-costs-XXXXXX", err);
    if (status == WL_OK && !mkdtemp(folder)) {
        return wl_err_set(err, WL_IO, "cannot make a folder in '%s'", m->options->scratch_dir);
    }
    if (status == WL_OK) {
        snprintf(m->folder, sizeof m->folder, "%s", folder);
    }
    return status;
}

static void remove_files(const struct measuring *m) {
    char path[OS_PATH_BYTES];
    for (size_t i = 0; i < m->n && m->folder[0]; i++) {
        if (path_of(m, i, path, NULL) == WL_OK) {
            unlink(path);
        }
    }
    if (m->folder[0]) {
        rmdir(m->folder);
    }
}

static enum wl_status check_room(const struct measuring *m, struct wl_err *err) {
    uint64_t total = 0, free_bytes = 0, bytes;
    char need[UNITS_TEXT_BYTES], have[UNITS_TEXT_BYTES];
    enum wl_status status = WL_OK;
    for (size_t i = 0; i < m->n && status == WL_OK; i++) {
        status = costs_variant_bytes(m->source, &m->shape, &m->variants[i], &bytes, err);
        total += bytes;
    }
    if (status == WL_OK) {
        status = os_free_bytes(m->options->scratch_dir, &free_bytes, err);
    }
    if (status != WL_OK || total <= free_bytes) {
        return status;
    }
    return wl_err_set(err, WL_IO,
                      "timing parts of the model needs %s in '%s', which has %s free; choose "
                      "another scratch folder",
                      units_bytes(need, (double)total), m->options->scratch_dir,
                      units_bytes(have, (double)free_bytes));
}

static enum wl_status write_files(struct measuring *m, struct wl_err *err) {
    char path[OS_PATH_BYTES];
    enum wl_status status = check_room(m, err);
    if (status == WL_OK) {
        status = make_folder(m, err);
    }
    for (size_t i = 0; i < m->n && status == WL_OK; i++) {
        m->watch.share_done = WRITE_SHARE * (double)i / (double)m->n;
        status = path_of(m, i, path, err);
        if (status == WL_OK) {
            status =
                costs_variant_write(m->source, &m->shape, &m->variants[i], path, &m->watch, err);
        }
    }
    return status;
}

// ---- times ----

// In turns, so that a machine that gets warmer or busier does so for all of them.
static enum wl_status time_files(struct measuring *m, struct wl_err *err) {
    uint32_t n_rounds = m->options->n_rounds;
    char path[OS_PATH_BYTES];
    enum wl_status status = WL_OK;
    for (uint32_t round = 0; round < n_rounds; round++) {
        for (size_t i = 0; i < m->n && status == WL_OK; i++) {
            struct costs_time time;
            double done = (double)(round * m->n + i) / (double)(n_rounds * m->n);
            m->watch.share_done = WRITE_SHARE + (1 - WRITE_SHARE) * done;
            status = path_of(m, i, path, err);
            if (status == WL_OK) {
                status = costs_time(path, &m->work, &m->watch, &time, err);
            }
            if (status == WL_OK) {
                m->prompt[i * n_rounds + round] = time.prompt_s;
                m->decode[i * n_rounds + round] = time.decode_s;
            }
        }
    }
    return status;
}

static void typical_times(const struct measuring *m, double *times,
                          double out[COSTS_MAX_VARIANTS]) {
    uint32_t n = m->options->n_rounds;
    for (size_t i = 0; i < m->n; i++) {
        out[i] = costs_typical(times + i * n, n);
    }
}

static enum wl_status fit_times(struct measuring *m, struct costs *out, struct wl_err *err) {
    double prompt[COSTS_MAX_VARIANTS], decode[COSTS_MAX_VARIANTS];
    typical_times(m, m->prompt, prompt);
    typical_times(m, m->decode, decode);
    enum wl_status status =
        costs_fit_decode(m->variants, decode, m->n, m->source->n_vocab, &out->decode, err);
    return status == WL_OK ? costs_fit_prompt(m->variants, prompt, m->n, m->source->n_vocab,
                                              m->work.n_prompt, &out->decode, &out->prompt, err)
                           : status;
}

// ---- all of it ----

static enum wl_status check_options(const struct costs_options *o, struct wl_err *err) {
    if (o->n_prompt < 1 || o->n_prompt > MAX_TOKENS || o->n_decode < 1 ||
        o->n_decode > MAX_TOKENS || o->n_rounds < 1 || o->n_rounds > MAX_ROUNDS) {
        return wl_err_set(err, WL_USAGE,
                          "timing parts of the model: expected 1 to %d tokens of prompt and answer "
                          "and 1 to %d rounds, found %" PRIu32 ", %" PRIu32 " and %" PRIu32,
                          MAX_TOKENS, MAX_ROUNDS, o->n_prompt, o->n_decode, o->n_rounds);
    }
    return WL_OK;
}

// A prompt and an answer that the model was made for.
static struct costs_work fitting_work(const struct measuring *m) {
    const struct costs_options *o = m->options;
    uint32_t half = m->source->n_ctx_train / 2;
    bool is_short = half > 0;
    return (struct costs_work){
        .n_prompt = is_short && o->n_prompt > half ? half : o->n_prompt,
        .n_decode = is_short && o->n_decode > half ? half : o->n_decode,
        .threads = o->threads,
    };
}

static enum wl_status run(struct measuring *m, struct costs *out, struct wl_err *err) {
    enum wl_status status = compress_source_shape(m->source, 0, &m->shape, err);
    if (status != WL_OK) {
        return status;
    }
    m->n = costs_variants(m->source, &m->shape, m->variants);
    m->work = fitting_work(m);
    m->prompt = calloc(m->n * m->options->n_rounds, sizeof *m->prompt);
    m->decode = calloc(m->n * m->options->n_rounds, sizeof *m->decode);
    if (!m->prompt || !m->decode) {
        return wl_err_set(err, WL_MEMORY, "no memory for the times of %zu files", m->n);
    }
    if ((status = write_files(m, err)) || (status = time_files(m, err))) {
        return status;
    }
    return fit_times(m, out, err);
}

enum wl_status costs_measure(const struct compress_source *source,
                             const struct costs_options *options, struct costs *out,
                             struct wl_err *err) {
    struct measuring m = {.source = source, .options = options};
    m.watch = (struct text_watch){.go_on = options->go_on, .context = options->context};
    int64_t begin_ns = os_now_ns();
    *out = (struct costs){.n_runs = options->n_rounds};
    enum wl_status status = check_options(options, err);
    if (status == WL_OK) {
        status = run(&m, out, err);
    }
    remove_files(&m);
    free(m.prompt);
    free(m.decode);
    out->seconds = (double)(os_now_ns() - begin_ns) * 1e-9;
    return status;
}
