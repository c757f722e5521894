#include "cli/engine_options.h"

#include <stdlib.h>
#include <string.h>

#include "measure/calibrate.h"
#include "sampler/machine.h"

static struct {
    int threads, threads_batch, n_ctx, n_ubatch;
    int image_min_tokens, image_max_tokens;
    const char *load_mode, *wait_policy, *meters;
} given;

const struct poptOption ENGINE_OPTIONS[] = {
    {"threads", 't', POPT_ARG_INT, &given.threads, 0, "threads (default: usable cores)", "N"},
    {"threads-batch", 0, POPT_ARG_INT, &given.threads_batch, 0,
     "threads for the prompt (default: as --threads)", "N"},
    {"ctx", 'c', POPT_ARG_INT, &given.n_ctx, 0, "context size in tokens (default: what is needed)",
     "N"},
    {"ubatch", 0, POPT_ARG_INT, &given.n_ubatch, 0, "physical batch size (default: 512)", "N"},
    {"load-mode", 0, POPT_ARG_STRING, &given.load_mode, 0,
     "mmap (default) or none: read the file into memory", "MODE"},
    {"wait", 0, POPT_ARG_STRING, &given.wait_policy, 0,
     "how threads wait for each other: active (spin) or passive (sleep); default: "
     "$OMP_WAIT_POLICY, else passive on a virtual machine, else as llama.cpp does it",
     "POLICY"},
    {"image-max-tokens", 0, POPT_ARG_INT, &given.image_max_tokens, 0,
     "budget of one image: larger ones are shrunk to it, where the model's family can (default: as "
     "the files say; 'wattlaw knee' shows what it does)",
     "N"},
    {"image-min-tokens", 0, POPT_ARG_INT, &given.image_min_tokens, 0,
     "smaller images are enlarged to it (default: as the files say)", "N"},
    {"meters", 0, POPT_ARG_STRING, &given.meters, 0,
     "energy sources, comma-separated, the primary one first (default: auto, all that work; "
     "'wattlaw doctor' lists them)",
     "LIST"},
    POPT_TABLEEND};

static enum wl_status check_range(const char *name, int value, int max, struct wl_err *err) {
    if (value < 0 || value > max) {
        return wl_err_set(err, WL_USAGE, "--%s: expected 1 to %d, found %d", name, max, value);
    }
    return WL_OK;
}

static enum wl_status check_word(const char *name, const char *word, const char *a, const char *b,
                                 struct wl_err *err) {
    if (word && strcmp(word, a) != 0 && strcmp(word, b) != 0) {
        return wl_err_set(err, WL_USAGE, "--%s: expected %s or %s, found '%s'", name, a, b, word);
    }
    return WL_OK;
}

// On shared virtual cores a spinning thread keeps waiting for one that the hypervisor has stopped:
// times of the same prompt scattered by 8-11 %, against 2-5 % with sleeping threads.
const char *engine_options_wait_policy(void) {
    struct machine machine;
    bool is_virtual = machine_read(NULL, &machine, NULL) == WL_OK && machine.is_virtual;
    return is_virtual && !getenv("OMP_WAIT_POLICY") ? "passive" : NULL;
}

enum wl_status engine_options_get(const struct cli_context *context, struct subject_options *out,
                                  struct wl_err *err) {
    if (check_range("threads", given.threads, 1024, err) ||
        check_range("threads-batch", given.threads_batch, 1024, err) ||
        check_range("ctx", given.n_ctx, 16777216, err) ||
        check_range("ubatch", given.n_ubatch, 65536, err) ||
        check_range("image-min-tokens", given.image_min_tokens, 1048576, err) ||
        check_range("image-max-tokens", given.image_max_tokens, 1048576, err) ||
        check_word("load-mode", given.load_mode, "mmap", "none", err) ||
        check_word("wait", given.wait_policy, "passive", "active", err)) {
        return WL_USAGE;
    }
    *out = (struct subject_options){
        .threads = (uint32_t)given.threads,
        .threads_batch = (uint32_t)given.threads_batch,
        .n_ctx = (uint32_t)given.n_ctx,
        .n_ubatch = (uint32_t)given.n_ubatch,
        .load_mode = given.load_mode,
        .image_min_tokens = given.image_min_tokens,
        .image_max_tokens = given.image_max_tokens,
        .wait_policy = given.wait_policy ? given.wait_policy : engine_options_wait_policy(),
        .root = context->common.root,
        .meters = given.meters,
    };
    return WL_OK;
}

void engine_options_calibrate(const struct cli_context *context, struct subject_options *options) {
    static struct meter_calibration_set calibrations;
    char warning[CALIBRATE_WARNING_BYTES];
    struct wl_err err = {0};
    enum wl_status status = calibrate_load_for_machine(context->common.root, &calibrations, warning,
                                                       sizeof warning, &err);
    if (status != WL_OK || warning[0]) {
        cli_warn(context, "%s", warning[0] ? warning : err.message);
    }
    options->calibrations = status == WL_OK ? &calibrations : NULL;
}
