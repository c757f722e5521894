// The main job: measure, fit, compare, report.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/str.h"
#include "base/units.h"
#include "catalog/catalog.h"
#include "cli/command.h"
#include "cli/compressed_model.h"
#include "cli/engine_options.h"
#include "cli/model_label.h"
#include "cli/progress.h"
#include "cli/prompt_file.h"
#include "cli/study_result.h"
#include "cli/study_sweep.h"
#include "cli/synth_model.h"
#include "cli/task_file.h"
#include "measure/study.h"
#include "os/process.h"
#include "sampler/machine.h"

enum { MAX_PROMPTS = 64, MAX_SCORE_BUDGETS = 4 };

static struct {
    const char *model, *vs, *compress, *tokens, *prompts, *out, *title, *minutes;
    const char *mmproj, *vs_mmproj, *sizes, *budgets, *image_prompt, *tasks;
    char **images, **calib_tasks;
    int generate, seed, repeats, min_repeats, fresh, task_limit;
    double target_pct, idle_s, paper_s;
} given = {.tokens = "16..2048",
           .generate = 32,
           .out = "wattlaw-report",
           .minutes = "2m",
           .seed = 1,
           .repeats = 12,
           .min_repeats = 3,
           .task_limit = 64,
           .target_pct = 2,
           .idle_s = 5,
           .paper_s = 6};

static const struct poptOption OPTIONS[] = {
    {"model", 'm', POPT_ARG_STRING, &given.model, 0,
     "GGUF file, or a name that 'wattlaw models' lists (default: the built-in pair, F16 against "
     "Q8_0)",
     "MODEL"},
    {"vs", 0, POPT_ARG_STRING, &given.vs, 0, "a second model, compared with the first", "MODEL"},
    {"compress", 0, POPT_ARG_STRING, &given.compress, 0,
     "instead of --vs: compress the first model and compare it with that; BUDGET as 'wattlaw "
     "compress' has it, such as 0.4 of the block weights or 600MB",
     "BUDGET"},
    {"calib-tasks", 0, POPT_ARG_ARGV, &given.calib_tasks, 0,
     "for --compress: questions to calibrate with, others than those of --tasks; may be given "
     "several times",
     "FILE"},
    {"mmproj", 0, POPT_ARG_STRING, &given.mmproj, 0,
     "image encoder: the study then has the second law too, cost against resolution", "FILE"},
    {"vs-mmproj", 0, POPT_ARG_STRING, &given.vs_mmproj, 0, "that of the second model", "FILE"},
    {"images", 0, POPT_ARG_ARGV, &given.images, 0,
     "a picture, resampled to every size (default: one is drawn); may be given several times; the "
     "encoder that belongs to the model is then found by itself",
     "FILE"},
    {"sizes", 0, POPT_ARG_STRING, &given.sizes, 0,
     "image sizes: WxH or the side of a square, comma-separated (default: around the model's knee)",
     "LIST"},
    {"budgets", 0, POPT_ARG_STRING, &given.budgets, 0,
     "image budgets in tokens, comma-separated; 0 is the file's own (default: 0 and half of it)",
     "LIST"},
    {"image-prompt", 0, POPT_ARG_STRING, &given.image_prompt, 0, "what to ask about the picture",
     "TEXT"},
    {"tasks", 0, POPT_ARG_STRING, &given.tasks, 0,
     "questions with known answers: accuracy, and with images accuracy against the budget", "FILE"},
    {"task-limit", 0, POPT_ARG_INT, &given.task_limit, 0,
     "ask at most N questions of each group (default: 64; 0 = all)", "N"},
    {"tokens", 0, POPT_ARG_STRING, &given.tokens, 0,
     "prompt lengths: a range that doubles or a list (default: 16..2048)", "SWEEP"},
    {"generate", 'g', POPT_ARG_INT, &given.generate, 0, "tokens per answer (default: 32)", "N"},
    {"prompts", 0, POPT_ARG_STRING, &given.prompts, 0,
     "your own prompts instead of the sweep: a text file with one per line, or JSON lines with "
     "a \"prompt\"",
     "FILE"},
    {"out", 'o', POPT_ARG_STRING, &given.out, 0,
     "folder for report.html, report.json and records.csv (default: wattlaw-report)", "DIR"},
    {"budget", 0, POPT_ARG_STRING, &given.minutes, 0,
     "time to spend on measured windows, such as 90s, 10m, 2h; every length runs at least once "
     "(default: 2m)",
     "TIME"},
    {"repeats", 0, POPT_ARG_INT, &given.repeats, 0, "most repeats of a length (default: 12)", "N"},
    {"min-repeats", 0, POPT_ARG_INT, &given.min_repeats, 0,
     "fewest, budget permitting (default: 3)", "N"},
    {"target", 0, POPT_ARG_DOUBLE, &given.target_pct, 0,
     "stop repeating a length when the 95 % interval of its time is this narrow (default: 2)",
     "PCT"},
    {"seed", 0, POPT_ARG_INT, &given.seed, 0, "of the order of the windows (default: 1)", "N"},
    {"idle", 0, POPT_ARG_DOUBLE, &given.idle_s, 0,
     "seconds of each idle baseline (default: 5; 30 or more for trustworthy net energy)", "S"},
    {"paper", 0, POPT_ARG_DOUBLE, &given.paper_s, 0,
     "seconds of the window that compares exact and paper mode; 0 leaves it out (default: 6)", "S"},
    {"title", 0, POPT_ARG_STRING, &given.title, 0, "title of the report", "TEXT"},
    {"fresh", 0, POPT_ARG_NONE, &given.fresh, 0,
     "start anew instead of going on with an unfinished study of the same options", NULL},
    {NULL, 0, POPT_ARG_INCLUDE_TABLE, (void *)ENGINE_OPTIONS, 0, NULL, NULL},
    POPT_TABLEEND};

static enum wl_status check_options(const struct study_options *o, struct wl_err *err) {
    if (o->generate < 1 || o->generate > 100000) {
        return wl_err_set(err, WL_USAGE, "--generate: expected 1 to 100000, found %d",
                          given.generate);
    }
    if (given.repeats < 1 || given.repeats > 100 || given.min_repeats < 1 ||
        given.min_repeats > given.repeats) {
        return wl_err_set(err, WL_USAGE,
                          "--repeats, --min-repeats: expected 1 <= min <= max <= 100, found %d and "
                          "%d",
                          given.min_repeats, given.repeats);
    }
    if (!(given.target_pct > 0 && given.target_pct <= 100)) {
        return wl_err_set(err, WL_USAGE, "--target: expected a percentage above 0 to 100");
    }
    if (!(given.idle_s >= 1 && given.idle_s <= 3600)) {
        return wl_err_set(err, WL_USAGE, "--idle: expected 1 to 3600 seconds");
    }
    if (!(given.paper_s == 0 || (given.paper_s >= 5 && given.paper_s <= 3600))) {
        return wl_err_set(err, WL_USAGE, "--paper: expected 0, or 5 to 3600 seconds");
    }
    return WL_OK;
}

struct models {
    char path[SCHEDULE_MAX_MODELS][OS_PATH_BYTES];
    char mmproj[SCHEDULE_MAX_MODELS][OS_PATH_BYTES]; // "" = none
    char *label[SCHEDULE_MAX_MODELS];
    size_t n;
    struct task_set tasks;
    char tasks_folder[OS_PATH_BYTES];
};

// Images are studied when the user speaks of any.
static bool wants_images(void) {
    return given.mmproj || given.images || given.sizes || given.budgets;
}

static enum wl_status add_model(struct models *models, const char *name, const char *mmproj,
                                struct wl_err *err) {
    size_t i = models->n;
    enum wl_status status = catalog_resolve(NULL, name, models->path[i], err);
    if (status == WL_OK && mmproj) {
        status = catalog_resolve(NULL, mmproj, models->mmproj[i], err);
    } else if (status == WL_OK && wants_images()) {
        status = catalog_find_mmproj(models->path[i], models->mmproj[i], err);
    }
    if (status == WL_OK) {
        // A name of the catalogue reads better than the file behind it (Ollama: sha256-...).
        const char *path = os_exists(name) ? models->path[i] : name;
        models->label[models->n++] = model_label(path);
    }
    return status;
}

// Where the built-in pair is not there: the shape of a popular small model, with random weights.
static enum wl_status make_synthetic(const struct cli_context *context, struct models *models,
                                     struct wl_err *err) {
    static const char *const TYPES[] = {"q8_0", "q4_0"};
    struct progress progress;
    cli_warn(context, "the built-in pair is not installed: using the shape of SmolLM2-135M with "
                      "random weights; its cost is real, its answers mean nothing");
    progress_begin(&progress, context->common.quiet);
    enum wl_status status = WL_OK;
    for (size_t i = 0; i < 2 && status == WL_OK; i++) {
        status = synth_model_make("smollm2-135m", TYPES[i], NULL, &progress, models->path[i], err);
        if (status == WL_OK) {
            models->label[i] = model_label(models->path[i]);
            models->n++;
        }
    }
    progress_end(&progress);
    return status;
}

// The pair that came with the program, in two types, with its encoders.
static enum wl_status add_builtin(struct models *models, struct wl_err *err) {
    static const char *const NAMES[] = {CATALOG_BUILTIN, CATALOG_BUILTIN "-q8_0"};
    enum wl_status status = WL_OK;
    for (size_t i = 0; i < 2 && status == WL_OK; i++) {
        status = add_model(models, NAMES[i], NULL, err);
        if (status == WL_OK) {
            status = catalog_find_mmproj(models->path[i], models->mmproj[i], err);
        }
    }
    return status;
}

// The task files of the built-in pair as one: look-ups in text, panels in pictures.
static enum wl_status read_tasks(struct models *models, struct wl_err *err) {
    if (given.tasks) {
        return task_file_read(given.tasks, &models->tasks, models->tasks_folder, err);
    }
    if (given.model || !models->mmproj[0][0]) {
        return WL_OK;
    }
    struct task_set panels;
    enum wl_status status = task_file_read("text", &models->tasks, models->tasks_folder, err);
    if (status == WL_OK) {
        status = task_file_read("panel", &panels, models->tasks_folder, err);
        if (status == WL_OK) {
            status = task_set_append(&models->tasks, &panels, err);
        }
        task_set_release(&panels);
    }
    return status;
}

// Questions about pictures need the encoders that belong to the models.
static void find_encoders(const struct cli_context *context, struct models *models) {
    size_t with_images = 0;
    for (size_t i = 0; i < models->tasks.n; i++) {
        with_images += models->tasks.items[i].n_images > 0;
    }
    for (size_t i = 0; i < models->n && with_images > 0; i++) {
        struct wl_err err;
        if (!models->mmproj[i][0] &&
            catalog_find_mmproj(models->path[i], models->mmproj[i], &err) != WL_OK) {
            models->mmproj[i][0] = '\0';
            cli_warn(context, "%zu questions about pictures are left out: %s", with_images,
                     err.message);
        }
    }
}

enum { MAX_CALIB_TASKS = 8 };

// The first model made smaller, with the first one's encoder.
static enum wl_status add_compressed(const struct cli_context *context, struct models *models,
                                     struct wl_err *err) {
    static char paths[MAX_CALIB_TASKS][OS_PATH_BYTES];
    const char *tasks[MAX_CALIB_TASKS];
    char encoder[OS_PATH_BYTES];
    struct wl_err ignored;
    struct compressed_model wanted = {
        .path = models->path[0], .budget = given.compress, .tasks = tasks};
    enum wl_status status = WL_OK;
    while (given.calib_tasks && given.calib_tasks[wanted.n_tasks] && status == WL_OK) {
        size_t i = wanted.n_tasks++;
        if (i == MAX_CALIB_TASKS) {
            return wl_err_set(err, WL_USAGE, "--calib-tasks: expected at most %d files",
                              MAX_CALIB_TASKS);
        }
        status = task_file_find(given.calib_tasks[i], paths[i], err);
        tasks[i] = paths[i];
    }
    wanted.mmproj = models->mmproj[0][0] ? models->mmproj[0]
                    : catalog_find_mmproj(models->path[0], encoder, &ignored) == WL_OK ? encoder
                                                                                       : NULL;
    if (status == WL_OK) {
        status = compressed_model_make(context, &wanted, models->path[1], err);
    }
    if (status == WL_OK) {
        str_copy(models->mmproj[1], OS_PATH_BYTES, models->mmproj[0]);
        models->label[models->n++] = model_label(models->path[1]);
    }
    return status;
}

static bool has_builtin(void) {
    char path[OS_PATH_BYTES];
    return catalog_resolve(NULL, CATALOG_BUILTIN "-q8_0", path, NULL) == WL_OK;
}

static enum wl_status find_models(const struct cli_context *context, struct models *models,
                                  struct wl_err *err) {
    if (!given.model && (given.vs || given.compress)) {
        return wl_err_set(err, WL_USAGE, "--vs and --compress need a first model: -m MODEL");
    }
    if (given.vs && given.compress) {
        return wl_err_set(err, WL_USAGE, "give --vs or --compress, not both");
    }
    if (!given.model) {
        return has_builtin() ? add_builtin(models, err) : make_synthetic(context, models, err);
    }
    enum wl_status status = add_model(models, given.model, given.mmproj, err);
    if (status == WL_OK && given.compress) {
        return add_compressed(context, models, err);
    }
    return status == WL_OK && given.vs ? add_model(models, given.vs, given.vs_mmproj, err) : status;
}

struct view {
    const struct cli_context *context;
    struct progress progress;
    int64_t study_id;
};

static void on_start(void *context, int64_t study_id, size_t n_done) {
    struct view *view = context;
    view->study_id = study_id;
    if (n_done && !view->context->common.quiet) {
        progress_end(&view->progress);
        fprintf(stderr, "Going on with study %lld: %zu windows are done (--fresh starts anew).\n",
                (long long)study_id, n_done);
    }
}

static void on_progress(void *context, double done, double seconds_left, const char *what) {
    struct view *view = context;
    progress_update(&view->progress, done, seconds_left, what);
}

static void on_warning(void *context, const char *message) {
    struct view *view = context;
    progress_end(&view->progress);
    cli_warn(view->context, "%s", message);
}

// The head: machine, sources and models, before anything runs.
static void print_head(const struct cli_context *context, const struct models *models,
                       const char *meters) {
    struct machine machine;
    char text[512];
    if (context->common.quiet || machine_read(context->common.root, &machine, NULL) != WL_OK) {
        return;
    }
    fprintf(stderr, "machine   %s\n", machine_describe(&machine, text, sizeof text));
    fprintf(stderr, "governor  %s\n", machine.governor[0] ? machine.governor : "not visible");
    struct meter_env env = {.root = context->common.root};
    struct meter_verdict verdicts[METER_MAX_SOURCES];
    size_t n;
    meter_probe_all(&env, verdicts, &n);
    for (size_t i = 0; i < n; i++) {
        if (!meters && meter_verdict_is_certain(&verdicts[i])) {
            fprintf(stderr, "energy    %s, scope %s, %s\n", verdicts[i].title,
                    meter_scope_name(verdicts[i].scope), record_label_name(verdicts[i].label));
        }
    }
    if (meters) {
        fprintf(stderr, "energy    %s\n", meters);
    }
    for (size_t i = 0; i < models->n; i++) {
        fprintf(stderr, "%s  %s\n", i ? "against " : "model   ", models->path[i]);
        if (models->mmproj[i][0]) {
            fprintf(stderr, "encoder   %s\n", models->mmproj[i]);
        }
    }
    fputc('\n', stderr);
}

// More than half of a model's windows under conditions that distort them.
static bool is_untrusted(const struct report_result *result) {
    for (size_t i = 0; i < result->n_models; i++) {
        if (result->model[i].n_clean * 2 < result->model[i].n_used) {
            return true;
        }
    }
    return false;
}

static enum wl_status show_result(struct cli_context *context, struct store *store,
                                  int64_t study_id, struct wl_err *err) {
    char name[32];
    snprintf(name, sizeof name, "%lld", (long long)study_id);
    struct report_result *result;
    enum wl_status status = study_result_load(store, name, NULL, &result, err);
    if (status != WL_OK) {
        return status;
    }
    status = study_result_save_fits(store, name, result, err);
    if (status == WL_OK) {
        status = study_result_write(result, given.out, err);
    }
    if (status == WL_OK) {
        status = study_result_print(context, result, err);
    }
    if (status == WL_OK && !context->common.json) {
        printf("\nreport: %s/report.html\n", given.out);
    }
    if (status == WL_OK && is_untrusted(result)) {
        status = wl_err_set(err, WL_UNTRUSTED,
                            "most windows carry a flag (see the report): stop other programs, cool "
                            "the machine, and run it again with --fresh");
    }
    report_result_free(result);
    return status;
}

static int finish(struct cli_context *context, struct store *store, const struct view *view,
                  enum wl_status status, struct wl_err *err) {
    if (status == WL_INTERRUPTED) {
        fprintf(stderr,
                "Interrupted; every finished window is stored. The same command goes on.\n");
        return wl_status_exit_code(status);
    }
    if (status == WL_OK) {
        status = show_result(context, store, view->study_id, err);
    }
    return status == WL_OK ? 0 : cli_fail(status, err);
}

// Budgets under which questions about pictures are asked: the swept ones and further halves, so
// that accuracy against the budget shows where it falls.
static void choose_score_budgets(const struct study_image_options *images,
                                 struct study_score_options *score) {
    for (size_t i = 0; i < images->n_budgets; i++) {
        score->budgets[score->n_budgets++] = images->budgets[i];
    }
    uint32_t least = images->n_budgets ? images->budgets[images->n_budgets - 1] : 0;
    while (score->n_budgets < MAX_SCORE_BUDGETS && least >= 8) {
        least /= 2;
        score->budgets[score->n_budgets++] = least;
    }
}

static void use_models(struct study_options *options, const struct models *models) {
    for (size_t i = 0; i < models->n; i++) {
        options->model_path[i] = models->path[i];
        options->mmproj_path[i] = models->mmproj[i][0] ? models->mmproj[i] : NULL;
        options->label[i] = models->label[i];
    }
    options->n_models = models->n;
    if (models->tasks.n > 0) {
        options->score.tasks = &models->tasks;
        options->score.folder = models->tasks_folder;
        options->score.max_items = (size_t)given.task_limit;
    }
}

// Sizes and budgets, counted where the user did not say.
static enum wl_status choose_images(struct study_options *options, struct wl_err *err) {
    if (!options->mmproj_path[0]) {
        return WL_OK;
    }
    struct subject_options subject = options->subject;
    subject.mmproj_path = options->mmproj_path[0];
    enum wl_status status =
        study_images_choose(&subject, options->model_path[0], &options->images, err);
    if (status == WL_OK && options->score.tasks) {
        choose_score_budgets(&options->images, &options->score);
    }
    return status;
}

static int run_study(struct cli_context *context, struct study_options *options,
                     const struct models *models) {
    struct wl_err err = {0};
    struct store *store;
    enum wl_status status = study_store_open(context, STORE_READ_WRITE_CREATE, &store, &err);
    if (status != WL_OK) {
        return cli_fail(status, &err);
    }
    use_models(options, models);
    status = choose_images(options, &err);
    if (status != WL_OK) {
        store_close(store);
        return cli_fail(status, &err);
    }
    print_head(context, models, options->subject.meters);
    struct view view = {.context = context};
    struct study_events events = {.on_start = on_start,
                                  .on_progress = on_progress,
                                  .on_warning = on_warning,
                                  .context = &view};
    progress_begin(&view.progress, context->common.quiet);
    status = study_run(store, options, &events, &view.study_id, &err);
    progress_end(&view.progress);
    int exit_code = finish(context, store, &view, status, &err);
    store_close(store);
    return exit_code;
}

static enum wl_status fill_options(struct cli_context *context, struct study_options *options,
                                   uint32_t *lengths, struct wl_err *err) {
    enum wl_status status = engine_options_get(context, &options->subject, err);
    if (status != WL_OK) {
        return status;
    }
    if (!str_parse_sweep(given.tokens, lengths, MAX_PROMPTS, &options->n_prompts)) {
        return wl_err_set(err, WL_USAGE,
                          "--tokens: expected LOW..HIGH or A,B,C (at most %d lengths), found '%s'",
                          MAX_PROMPTS, given.tokens);
    }
    double budget_s;
    if (!str_parse_seconds(given.minutes, &budget_s)) {
        return wl_err_set(err, WL_USAGE, "--budget: expected a time such as 90s or 10m, found '%s'",
                          given.minutes);
    }
    if (given.sizes && study_sweep_sizes(given.sizes, &options->images, err) != WL_OK) {
        return WL_USAGE;
    }
    if (given.budgets && study_sweep_budgets(given.budgets, options->images.budgets,
                                             &options->images.n_budgets, err) != WL_OK) {
        return WL_USAGE;
    }
    options->images.prompt = given.image_prompt;
    options->images.paths = (const char *const *)(void *)given.images;
    while (given.images && given.images[options->images.n_paths]) {
        options->images.n_paths++;
    }
    options->title = given.title;
    options->prompt_tokens = lengths;
    options->generate = given.generate > 0 ? (uint32_t)given.generate : 0;
    options->seed = (uint64_t)given.seed;
    options->rule = (struct schedule_rule){.min_repeats = (uint32_t)given.min_repeats,
                                           .max_repeats = (uint32_t)given.repeats,
                                           .target_rel_ci = given.target_pct / 100};
    options->budget_s = budget_s;
    options->idle_s = given.idle_s;
    options->paper_s = given.paper_s;
    options->is_fresh = given.fresh != 0;
    return check_options(options, err);
}

static int run(struct cli_context *context) {
    struct wl_err err = {0};
    struct study_options options = {0};
    uint32_t lengths[MAX_PROMPTS];
    struct prompt_file prompts = {0};
    struct models models = {0};
    if (context->n_args) {
        return cli_usage(context, "unexpected argument '%s'", context->args[0]);
    }
    enum wl_status status = fill_options(context, &options, lengths, &err);
    if (status == WL_USAGE) {
        return cli_usage(context, "%s", err.message);
    }
    engine_options_calibrate(context, &options.subject);
    os_catch_interrupts();
    if (status == WL_OK && given.prompts) {
        status = prompt_file_read(given.prompts, &prompts, &err);
        options.prompt_texts = (const char *const *)(void *)prompts.texts;
        options.n_prompt_texts = prompts.n;
        options.n_prompts = prompts.n ? 0 : options.n_prompts;
    }
    if (status == WL_OK) {
        status = find_models(context, &models, &err);
    }
    if (status == WL_OK) {
        status = read_tasks(&models, &err);
    }
    if (status == WL_OK) {
        find_encoders(context, &models);
    }
    int exit_code = status == WL_OK      ? run_study(context, &options, &models)
                    : status == WL_USAGE ? cli_usage(context, "%s", err.message)
                                         : cli_fail(status, &err);
    for (size_t i = 0; i < SCHEDULE_MAX_MODELS; i++) {
        free(models.label[i]);
    }
    task_set_release(&models.tasks);
    prompt_file_release(&prompts);
    return exit_code;
}

static const struct cli_example EXAMPLES[] = {
    {"wattlaw study", "the built-in pair, offline: both laws"},
    {"wattlaw study -m qwen2.5-0.5b-instruct-q8_0.gguf", "what your model costs, and its law"},
    {"wattlaw study -m vlm.gguf --mmproj mmproj.gguf --budgets 0,256",
     "what images cost, and what a smaller budget saves"},
    {"wattlaw study -m m.gguf --compress 0.5 --calib-tasks mine.jsonl",
     "what half of the block weights would save, and lose"},
    {"wattlaw study -m big.gguf --vs small.gguf --budget 10m -o compare",
     "what the smaller model saves, with intervals"},
    {NULL, NULL}};

const struct cli_command CMD_study = {
    .name = "study",
    .arguments = "[-m MODEL] [--vs MODEL] [options]",
    .summary = "measure a model over prompt lengths, fit the law, write the report",
    .description =
        "Runs the model over a range of prompt lengths, in a shuffled order, until the times are "
        "known well enough or the budget is spent, and measures CPU, RAM, energy and time of every "
        "window. Fits cost = a + b x prompt tokens + c x generated tokens (with a quadratic term "
        "where one is needed), compares two models when --vs is given, and writes a report.\n\n"
        "Every finished window is stored at once: after Ctrl-C, a crash or a power cut the same "
        "command goes on where it stopped.",
    .options = OPTIONS,
    .examples = EXAMPLES,
    .run = run,
};
