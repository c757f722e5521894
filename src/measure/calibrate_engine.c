#include "measure/calibrate_engine.h"

#include "base/units.h"
#include "measure/energy.h"
#include "measure/pause.h"
#include "measure/pulse.h"
#include "os/clock.h"
#include "os/machine.h"

// A prompt short enough that a generation block is generation, long enough to be work as a prompt.
enum { DECODE_PROMPT = 16, PREFILL_PROMPT = 512, MOST_TOKENS = 100000, SPARE_TOKENS = 8 };
static const int64_t CLOSE_NS = 20000000; // not worth another request
extern const char MEASURE_PROMPT_TEXT[];  // prompt.txt

static enum wl_status load(struct calibrate_engine *e, uint32_t threads, struct wl_err *err) {
    struct subject *subject = e->subject;
    const struct subject_options *o = &subject->options;
    enum wl_status status = engine_unload(subject->engine, err);
    if (status != WL_OK) {
        return status;
    }
    struct engine_load_options options = {.path = o->model_path,
                                          .threads = threads,
                                          .threads_batch = threads,
                                          .n_ctx = o->n_ctx,
                                          .n_ubatch = o->n_ubatch,
                                          .load_mode = o->load_mode,
                                          .max_ram_bytes = os_ram_available_bytes()};
    status = engine_load(subject->engine, &options, &subject->model, &subject->load, err);
    e->threads = status == WL_OK ? threads : 0;
    return status;
}

static enum wl_status prepare(void *context, enum calibrate_kind kind, struct wl_err *err) {
    struct calibrate_engine *e = context;
    uint32_t threads = kind == CALIBRATE_DECODE_ONE ? 1 : e->all_threads;
    return e->threads == threads ? WL_OK : load(e, threads, err);
}

static uint32_t smaller(uint32_t a, uint32_t b) {
    return a < b ? a : b;
}

// One request; generation ends at about t_ns, a prompt when it is done.
static enum wl_status request(struct calibrate_engine *e, bool is_prefill, int64_t t_ns,
                              struct calibrate_amounts *amounts, struct wl_err *err) {
    const struct engine_model *model = &e->subject->model;
    uint32_t room = model->n_ctx > 2 * SPARE_TOKENS ? model->n_ctx - SPARE_TOKENS : SPARE_TOKENS;
    uint32_t n_prompt = smaller(is_prefill ? PREFILL_PROMPT : DECODE_PROMPT, room / 2);
    struct engine_run_options options = {
        .prompt = MEASURE_PROMPT_TEXT,
        .n_prompt = n_prompt,
        .n_predict = is_prefill ? 1 : smaller(room - n_prompt, MOST_TOKENS),
        .ignore_eos = true,
        .max_seconds = is_prefill ? 0 : (double)(t_ns - os_now_ns()) * 1e-9};
    struct engine_run_result result;
    enum wl_status status = engine_run(e->subject->engine, &options, NULL, &result, err);
    if (status == WL_OK) {
        uint32_t n_decode = result.n_generated ? result.n_generated - 1 : 0;
        amounts->bytes += energy_traffic_bytes(model, result.n_prompt, n_decode);
        amounts->flops +=
            (double)model->flops_per_token * ((double)result.n_prompt + (double)n_decode);
    }
    engine_run_result_release(&result);
    return status;
}

static enum wl_status run(void *context, enum calibrate_kind kind, int64_t t_ns,
                          struct calibrate_amounts *amounts, struct wl_err *err) {
    struct calibrate_engine *e = context;
    pid_t pid = engine_pid(e->subject->engine);
    int64_t cpu0_ns = 0, cpu1_ns = 0;
    enum wl_status status = os_process_cpu_ns(pid, &cpu0_ns, err);
    if (status == WL_OK && calibrate_kind_is_idle(kind)) {
        status = pause_until(t_ns, err);
    }
    while (status == WL_OK && os_now_ns() + CLOSE_NS < t_ns) {
        status = request(e, kind == CALIBRATE_PREFILL_ALL, t_ns, amounts, err);
    }
    if (status == WL_OK) {
        status = os_process_cpu_ns(pid, &cpu1_ns, err);
    }
    if (status == WL_OK) {
        amounts->core_s += (double)(cpu1_ns - cpu0_ns) / (double)UNITS_NS_PER_S;
    }
    return status;
}

static enum wl_status pulse(void *context, struct wl_err *err) {
    struct calibrate_engine *e = context;
    return pulse_run((int)e->all_threads, err);
}

void calibrate_engine_init(struct calibrate_engine *engine, struct subject *subject,
                           struct calibrate_work *work) {
    uint32_t threads = subject->options.threads;
    *engine = (struct calibrate_engine){
        .subject = subject, .all_threads = threads ? threads : (uint32_t)os_n_usable_cores()};
    *work =
        (struct calibrate_work){.context = engine, .prepare = prepare, .run = run, .pulse = pulse};
}
