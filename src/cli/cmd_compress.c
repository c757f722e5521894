// A smaller model out of a GGUF file, and how far it is from the original.
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"
#include "base/units.h"
#include "catalog/catalog.h"
#include "cli/command.h"
#include "cli/compress_result.h"
#include "cli/progress.h"
#include "cli/task_file.h"
#include "engine/client.h"
#include "os/process.h"

#define DEFAULT_CUT 0.2
#define DEFAULT_MINUTES 10.0

static struct {
    const char *out, *calib, *tasks, *heal, *floor, *method;
    double cut, minutes;
    int width, n_tokens, threads;
    long long seed;
    int force, dry_run;
} given = {.cut = -1, .minutes = -1, .width = -1, .n_tokens = -1, .threads = -1, .seed = 1};

static const struct poptOption OPTIONS[] = {
    {"out", 'o', POPT_ARG_STRING, &given.out, 0, "the file to write", "FILE"},
    {"cut", 0, POPT_ARG_DOUBLE, &given.cut, 0,
     "share of the block weights to take away, above 0 and below 1 (default: 0.2)", "SHARE"},
    {"width", 0, POPT_ARG_INT, &given.width, 0,
     "instead of --cut: feed-forward neurons that every block keeps", "N"},
    {"calib", 0, POPT_ARG_STRING, &given.calib, 0,
     "calibration text like what the model is used for: a .txt or .md file, or a folder of them",
     "FILE"},
    {"tasks", 0, POPT_ARG_STRING, &given.tasks, 0,
     "calibrate with questions and answers too, one JSON object per line; 'text' came with wattlaw",
     "FILE"},
    {"tokens", 0, POPT_ARG_INT, &given.n_tokens, 0,
     "tokens of calibration, a part of which is held out for the verdict (default: 40960)", "N"},
    {"heal", 0, POPT_ARG_STRING, &given.heal, 0,
     "what is done about the loss: none, closed (default: least squares) or local (then each block "
     "is trained to answer as before)",
     "HOW"},
    {"minutes", 0, POPT_ARG_DOUBLE, &given.minutes, 0,
     "for --heal local, all blocks together (default: 10)", "N"},
    {"floor", 0, POPT_ARG_STRING, &given.floor, 0,
     "mean KL divergence from the original that is accepted, in nats per token: transparent "
     "(0.05), "
     "good (0.15, default), none, or a number",
     "KL"},
    {"method", 0, POPT_ARG_STRING, &given.method, 0,
     "how the neurons are chosen: repair (default; optimal brain surgeon), cut (the same without "
     "repair), magnitude or wanda (rivals, for comparison)",
     "NAME"},
    {"force", 'f', POPT_ARG_NONE, &given.force, 0,
     "replace the file if it exists, and cut weights of few bits too", NULL},
    {"threads", 't', POPT_ARG_INT, &given.threads, 0, "threads (default: usable cores)", "N"},
    {"seed", 0, POPT_ARG_LONGLONG, &given.seed, 0, "of text and training (default: 1)", "N"},
    {"dry-run", 'n', POPT_ARG_NONE, &given.dry_run, 0, "only print the plan", NULL},
    POPT_TABLEEND};

struct compress {
    struct cli_context *context;
    char path[OS_PATH_BYTES], tasks_path[OS_PATH_BYTES], unverified[OS_PATH_BYTES];
    double heal_minutes; // of all blocks; 0 = none
    struct engine_compress_options options;
    struct engine_compress_result plan, result;
    struct progress progress;
};

// ---- what is asked

static enum wl_status check_numbers(struct wl_err *err) {
    const struct {
        const char *option;
        int value;
    } rows[] = {{"width", given.width}, {"tokens", given.n_tokens}, {"threads", given.threads}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (rows[i].value != -1 && rows[i].value < 1) {
            return wl_err_set(err, WL_USAGE, "--%s: expected 1 or more, found %d", rows[i].option,
                              rows[i].value);
        }
    }
    if (given.cut != -1 && given.width != -1) {
        return wl_err_set(err, WL_USAGE, "give --cut or --width, not both");
    }
    if (given.cut != -1 && !(given.cut > 0 && given.cut < 1)) {
        return wl_err_set(err, WL_USAGE, "--cut: expected a share above 0 and below 1, found %g",
                          given.cut);
    }
    if (given.minutes != -1 && !(given.minutes > 0 && given.minutes <= 1e6)) {
        return wl_err_set(err, WL_USAGE, "--minutes: expected above 0, found %g", given.minutes);
    }
    if (given.seed < 0) {
        return wl_err_set(err, WL_USAGE, "--seed: expected 0 or above, found %lld", given.seed);
    }
    return WL_OK;
}

static enum wl_status check_word(const char *option, const char *word, const char *const *words,
                                 const char *expected, struct wl_err *err) {
    size_t i = 0;
    while (words[i] && strcmp(words[i], word) != 0) {
        i++;
    }
    return words[i]
               ? WL_OK
               : wl_err_set(err, WL_USAGE, "--%s: expected %s, found '%s'", option, expected, word);
}

// --heal none is --method cut; the other methods are there to show what no repair costs.
static enum wl_status choose_method(struct compress *compress, struct wl_err *err) {
    static const char *const METHODS[] = {"repair", "cut", "magnitude", "wanda", NULL};
    static const char *const HEALS[] = {"none", "closed", "local", NULL};
    const char *method = given.method ? given.method : "repair";
    bool repairs = strcmp(method, "repair") == 0;
    const char *heal = given.heal ? given.heal : repairs ? "closed" : "none";
    enum wl_status status =
        check_word("method", method, METHODS, "repair, cut, magnitude or wanda", err);
    if (status == WL_OK) {
        status = check_word("heal", heal, HEALS, "none, closed or local", err);
    }
    if (status != WL_OK) {
        return status;
    }
    bool is_local = strcmp(heal, "local") == 0;
    if (!repairs && strcmp(heal, "none") != 0) {
        return wl_err_set(err, WL_USAGE, "--heal %s goes with --method repair only, found '%s'",
                          heal, method);
    }
    if (given.minutes != -1 && !is_local) {
        return wl_err_set(err, WL_USAGE, "--minutes goes with --heal local only");
    }
    compress->options.method = repairs && strcmp(heal, "none") == 0 ? "cut" : method;
    compress->heal_minutes = !is_local ? 0 : given.minutes != -1 ? given.minutes : DEFAULT_MINUTES;
    return WL_OK;
}

static enum wl_status choose_floor(double *floor_kl, struct wl_err *err) {
    const char *word = given.floor ? given.floor : "good";
    *floor_kl = strcmp(word, "transparent") == 0 ? COMPRESS_TRANSPARENT_KL
                : strcmp(word, "good") == 0      ? COMPRESS_GOOD_KL
                                                 : 0;
    if (*floor_kl > 0 || strcmp(word, "none") == 0) {
        return WL_OK;
    }
    return str_parse_double(word, floor_kl) && *floor_kl > 0
               ? WL_OK
               : wl_err_set(err, WL_USAGE,
                            "--floor: expected transparent, good, none or a number above 0, found "
                            "'%s'",
                            word);
}

static enum wl_status choose(struct compress *compress, struct wl_err *err) {
    const char *scratch = getenv("TMPDIR");
    compress->options = (struct engine_compress_options){
        .out = given.out,
        .cut = given.cut != -1 ? given.cut : DEFAULT_CUT,
        .n_ff = given.width != -1 ? (uint32_t)given.width : 0,
        .text = given.calib,
        .n_tokens = given.n_tokens != -1 ? (uint32_t)given.n_tokens : 0,
        .threads = given.threads != -1 ? (uint32_t)given.threads : 0,
        .seed = (uint64_t)given.seed,
        .is_forced = given.force != 0,
        .scratch = scratch && scratch[0] ? scratch : NULL,
    };
    enum wl_status status = check_numbers(err);
    if (status == WL_OK) {
        status = choose_method(compress, err);
    }
    return status == WL_OK ? choose_floor(&compress->options.floor_kl, err) : status;
}

// ---- files

static void folder_of(char out[OS_PATH_BYTES], const char *path) {
    str_copy(out, OS_PATH_BYTES, path);
    char *slash = strrchr(out, '/');
    if (!slash) {
        str_copy(out, OS_PATH_BYTES, ".");
    } else {
        slash[slash == out ? 1 : 0] = '\0';
    }
}

static bool is_same_file(const char *a, const char *b) {
    char real_a[OS_PATH_BYTES], real_b[OS_PATH_BYTES];
    return os_real_path(a, real_a) && os_real_path(b, real_b) && strcmp(real_a, real_b) == 0;
}

static enum wl_status check_out(struct compress *compress, struct wl_err *err) {
    char folder[OS_PATH_BYTES];
    int n = snprintf(compress->unverified, OS_PATH_BYTES, "%s.unverified", given.out);
    if (n < 0 || n >= OS_PATH_BYTES) {
        return wl_err_set(err, WL_LIMIT, "--out: path too long: '%.80s...'", given.out);
    }
    folder_of(folder, given.out);
    if (!os_is_dir(folder)) {
        return wl_err_set(err, WL_NOT_FOUND, "cannot write '%s': no folder '%s'", given.out,
                          folder);
    }
    if (os_is_dir(given.out)) {
        return wl_err_set(err, WL_USAGE, "--out: expected a file, '%s' is a folder", given.out);
    }
    if (is_same_file(compress->path, given.out)) {
        return wl_err_set(err, WL_USAGE,
                          "--out: '%s' is the model itself, which is never changed; expected "
                          "another file",
                          given.out);
    }
    if (os_exists(given.out) && !given.force) {
        return wl_err_set(err, WL_USAGE, "'%s' exists; --force replaces it", given.out);
    }
    return WL_OK;
}

static enum wl_status check_texts(struct compress *compress, struct wl_err *err) {
    enum wl_status status = WL_OK;
    if (given.tasks) {
        status = task_file_find(given.tasks, compress->tasks_path, err);
        compress->options.tasks = compress->tasks_path;
    }
    if (status == WL_OK && given.tasks && !os_exists(compress->tasks_path)) {
        return wl_err_set(err, WL_NOT_FOUND, "--tasks: no file '%s'", given.tasks);
    }
    if (status == WL_OK && given.calib && !os_exists(given.calib)) {
        return wl_err_set(err, WL_NOT_FOUND, "--calib: no file or folder '%s'", given.calib);
    }
    return status;
}

static enum wl_status check_room(const struct compress *compress, struct wl_err *err) {
    char folder[OS_PATH_BYTES], wanted[UNITS_TEXT_BYTES], there[UNITS_TEXT_BYTES];
    uint64_t free_bytes;
    double bytes = (double)compress->plan.plan.out_bytes;
    folder_of(folder, given.out);
    enum wl_status status = os_free_bytes(folder, &free_bytes, err);
    if (status != WL_OK || bytes <= (double)free_bytes) {
        return status;
    }
    return wl_err_set(err, WL_LIMIT, "cannot write '%s': it needs about %s but '%s' has %s free",
                      given.out, units_bytes(wanted, bytes), folder,
                      units_bytes(there, (double)free_bytes));
}

// ---- the work

static void show(void *context, const char *what, double done) {
    struct compress *compress = context;
    progress_update(&compress->progress, done, -1, what);
}

static enum wl_status plan(struct compress *compress, struct engine *engine, struct wl_err *err) {
    struct engine_compress_options *options = &compress->options;
    options->is_dry_run = true;
    enum wl_status status = engine_compress(engine, options, NULL, NULL, &compress->plan, err);
    if (status != WL_OK) {
        return status;
    }
    options->is_dry_run = given.dry_run != 0;
    options->heal_seconds = compress->heal_minutes * 60 / compress->plan.plan.n_layer;
    struct compress_view view = {options, &compress->plan};
    if (given.dry_run && compress->context->common.json) {
        return compress_result_print_json(&view)
                   ? WL_OK
                   : wl_err_set(err, WL_MEMORY, "no memory for the JSON");
    }
    if (given.dry_run) {
        compress_plan_print(stdout, &view);
    } else if (!compress->context->common.quiet) {
        compress_plan_print(stderr, &view);
        fputc('\n', stderr);
    }
    return WL_OK;
}

static enum wl_status work(struct compress *compress, struct engine *engine, struct wl_err *err) {
    enum wl_status status = check_room(compress, err);
    if (status != WL_OK) {
        return status;
    }
    progress_begin(&compress->progress, compress->context->common.quiet);
    status = engine_compress(engine, &compress->options, show, compress, &compress->result, err);
    progress_end(&compress->progress);
    if (status != WL_OK) {
        unlink(compress->unverified); // of a compressor that had to be killed
        return status;
    }
    struct compress_view view = {&compress->options, &compress->result};
    if (!compress->context->common.json) {
        compress_result_print(&view);
    } else if (!compress_result_print_json(&view)) {
        return wl_err_set(err, WL_MEMORY, "no memory for the JSON");
    }
    return compress->result.is_written ? WL_OK
                                       : wl_err_set(err, WL_GATE, "%s", compress->result.refusal);
}

static enum wl_status run_compressor(struct compress *compress, struct wl_err *err) {
    struct engine *engine = NULL;
    // Nothing is timed here; threads that spin would only be in each other's way on a busy machine.
    struct engine_options options = {.program = ENGINE_PROGRAM_COMPRESSOR,
                                     .omp_wait_policy =
                                         getenv("OMP_WAIT_POLICY") ? NULL : "passive"};
    enum wl_status status = engine_start(&options, &engine, err);
    if (status == WL_OK) {
        status = plan(compress, engine, err);
    }
    if (status == WL_OK && !given.dry_run) {
        status = work(compress, engine, err);
    }
    engine_stop(engine);
    engine_compress_result_release(&compress->plan);
    engine_compress_result_release(&compress->result);
    return status;
}

static int run(struct cli_context *context) {
    struct wl_err err = {0};
    struct compress compress = {.context = context};
    if (context->n_args < 1) {
        return cli_usage(context, "no model: give a GGUF file ('wattlaw models' lists yours)");
    }
    if (context->n_args > 1) {
        return cli_usage(context, "one model at a time; unexpected argument '%s'",
                         context->args[1]);
    }
    if (!given.out) {
        return cli_usage(context, "no file to write: give -o FILE");
    }
    enum wl_status status = choose(&compress, &err);
    os_catch_interrupts();
    if (status == WL_OK) {
        status = catalog_resolve(NULL, context->args[0], compress.path, &err);
        compress.options.path = compress.path;
    }
    if (status == WL_OK) {
        status = check_out(&compress, &err);
    }
    if (status == WL_OK) {
        status = check_texts(&compress, &err);
    }
    if (status == WL_OK) {
        status = run_compressor(&compress, &err);
    }
    if (status == WL_USAGE) {
        return cli_usage(context, "%s", err.message);
    }
    return status == WL_OK ? 0 : cli_fail(status, &err);
}

static const struct cli_example EXAMPLES[] = {
    {"wattlaw compress model-q8_0.gguf -o small.gguf --cut 0.2 --calib notes/",
     "a fifth fewer block weights, kept good at texts like these"},
    {"wattlaw compress builtin -o small.gguf --width 256 --tasks text",
     "the built-in model, a third of its neurons"},
    {"wattlaw compress m.gguf -o s.gguf --heal local --floor transparent",
     "exit code 4 and no file when it is not as good as the original"},
    {"wattlaw compress m.gguf -o s.gguf --cut 0.3 --dry-run", "only the plan"},
    {NULL, NULL}};

const struct cli_command CMD_compress = {
    .name = "compress",
    .arguments = "IN -o OUT [--cut SHARE | --width N] [options]",
    .summary = "make a smaller model out of a GGUF file, and say how far it is from it",
    .description =
        "Takes feed-forward neurons out of every block, block after block: those go that the "
        "block's output misses least (optimal brain surgeon), what is left is repaired by least "
        "squares and, with --heal local, trained for a while to answer as before. The new file has "
        "the architecture and tensor types of the old one and runs wherever that runs.\n\n"
        "The calibration text decides what stays good: give text (--calib) or questions (--tasks) "
        "like those that the model will be used for. What the model writes itself is added to "
        "them, and is all there is without them.\n\n"
        "At the end both models read text that was held out: KL divergence of the next-token "
        "distributions, perplexity, and how often the likeliest token is the same. A result that "
        "misses the floor is not written (exit code 4). A divergence of 0.16 is about what 3-bit "
        "quantisation does.\n\n"
        "Start from weights of 8 bits or more. IN may be a name that 'wattlaw models' lists.",
    .options = OPTIONS,
    .examples = EXAMPLES,
    .run = run,
};
