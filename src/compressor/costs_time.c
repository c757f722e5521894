#include "compressor/costs_time.h"

#include "compressor/quantile.h"
#include "os/clock.h"

enum { N_WARM = 16, N_TOKENS = 256, MAX_PASSES = 25 };

// A small model is done in less than the machine's next interruption: it is asked again until this
// much time was spent.
static const double ENOUGH_S = 0.2, LOWER_QUARTILE = 0.25;

double costs_typical(double *values, size_t n) {
    return quantile_in_place(values, n, LOWER_QUARTILE);
}

struct run {
    struct text_model model;
    uint32_t position;
};

static int32_t token_at(const struct run *run, uint32_t position) {
    uint32_t n = run->model.n_vocab < N_TOKENS ? run->model.n_vocab : N_TOKENS;
    return (int32_t)(position * 97 % n);
}

// The logits of the last one only, as when an answer is written.
static enum wl_status read_prompt(struct run *run, uint32_t n_tokens, struct wl_err *err) {
    enum wl_status status = WL_OK;
    for (uint32_t at = 0; at < n_tokens && status == WL_OK;) {
        uint32_t n = n_tokens - at < run->model.max_batch ? n_tokens - at : run->model.max_batch;
        for (uint32_t i = 0; i < n; i++, at++) {
            text_model_add(&run->model, token_at(run, at), at, 0, at + 1 == n_tokens);
        }
        status = text_model_run(&run->model, err);
    }
    run->position = n_tokens;
    return status;
}

// Reading the logits waits until they are there.
static enum wl_status write_tokens(struct run *run, uint32_t n_tokens, struct wl_err *err) {
    enum wl_status status = WL_OK;
    for (uint32_t i = 0; i < n_tokens && status == WL_OK; i++) {
        const float *logits;
        text_model_add(&run->model, token_at(run, run->position), run->position, 0, true);
        run->position++;
        status = text_model_run(&run->model, err);
        if (status == WL_OK) {
            status = text_model_logits(&run->model, 0, &logits, err);
        }
    }
    return status;
}

static double seconds_since(int64_t begin_ns) {
    return (double)(os_now_ns() - begin_ns) * 1e-9;
}

static enum wl_status time_pass(struct run *run, const struct costs_work *work,
                                struct costs_time *out, struct wl_err *err) {
    enum wl_status status;
    text_model_forget(&run->model, 0);
    int64_t begin_ns = os_now_ns();
    if ((status = read_prompt(run, work->n_prompt, err))) {
        return status;
    }
    out->prompt_s = seconds_since(begin_ns) / work->n_prompt;
    begin_ns = os_now_ns();
    if ((status = write_tokens(run, work->n_decode, err))) {
        return status;
    }
    out->decode_s = seconds_since(begin_ns) / work->n_decode;
    return WL_OK;
}

// The first tokens bring the model into memory.
static enum wl_status time_passes(struct run *run, const struct costs_work *work,
                                  struct costs_time *out, struct wl_err *err) {
    double prompt[MAX_PASSES], decode[MAX_PASSES];
    uint32_t n_warm = work->n_prompt < N_WARM ? work->n_prompt : N_WARM;
    enum wl_status status;
    if ((status = read_prompt(run, n_warm, err)) || (status = write_tokens(run, 1, err))) {
        return status;
    }
    int64_t begin_ns = os_now_ns();
    size_t n = 0;
    while (n < MAX_PASSES && (n == 0 || seconds_since(begin_ns) < ENOUGH_S)) {
        if ((status = time_pass(run, work, out, err))) {
            return status;
        }
        prompt[n] = out->prompt_s;
        decode[n++] = out->decode_s;
    }
    out->prompt_s = costs_typical(prompt, n);
    out->decode_s = costs_typical(decode, n);
    return WL_OK;
}

enum wl_status costs_time(const char *path, const struct costs_work *work, struct text_watch *watch,
                          struct costs_time *out, struct wl_err *err) {
    struct run run = {0};
    enum wl_status status = text_model_load(&run.model, path, TEXT_MODEL_WHOLE, watch, err);
    if (status == WL_OK) {
        status =
            text_model_start(&run.model, 1, work->n_prompt + work->n_decode, work->threads, err);
    }
    if (status == WL_OK) {
        status = time_passes(&run, work, out, err);
    }
    text_model_unload(&run.model);
    return status;
}
