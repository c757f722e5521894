// A task file against a model: how many answers are right, and what a right one costs.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/str.h"
#include "base/units.h"
#include "catalog/catalog.h"
#include "cli/command.h"
#include "cli/engine_options.h"
#include "cli/eval_result.h"
#include "cli/progress.h"
#include "cli/task_file.h"
#include "measure/eval_answers.h"
#include "measure/eval_run.h"
#include "os/clock.h"
#include "os/process.h"

static struct {
    const char *model, *mmproj, *tasks, *answers, *out, *vs;
    int limit, max_tokens, raw;
    double floor_pct, idle_s;
} given = {.max_tokens = EVAL_MAX_TOKENS, .floor_pct = -1, .idle_s = 1};

static const struct poptOption OPTIONS[] = {
    {"model", 'm', POPT_ARG_STRING, &given.model, 0,
     "GGUF file, or a name that 'wattlaw models' lists", "MODEL"},
    {"mmproj", 0, POPT_ARG_STRING, &given.mmproj, 0,
     "image encoder, for items with images (default: the one that belongs to the model)", "FILE"},
    {"tasks", 0, POPT_ARG_STRING, &given.tasks, 0,
     "the questions, one JSON object per line; 'text' and 'panel' came with wattlaw", "FILE"},
    {"limit", 0, POPT_ARG_INT, &given.limit, 0,
     "ask only N items, drawn once and for all; a larger N has them too (default: all)", "N"},
    {"max-tokens", 'n', POPT_ARG_INT, &given.max_tokens, 0,
     "longest answer, where the item says nothing (default: 64)", "N"},
    {"raw", 0, POPT_ARG_NONE, &given.raw, 0,
     "give the prompts as they are, without the model's chat template", NULL},
    {"answers", 0, POPT_ARG_STRING, &given.answers, 0,
     "write every answer and its record to FILE; answers that are there already are not asked "
     "again",
     "FILE"},
    {"out", 'o', POPT_ARG_STRING, &given.out, 0,
     "folder for eval.json, and for answers.jsonl without --answers", "DIR"},
    {"vs", 0, POPT_ARG_STRING, &given.vs, 0,
     "compare with the answers of another run to the same items", "FILE"},
    {"floor", 0, POPT_ARG_DOUBLE, &given.floor_pct, 0,
     "end with exit code 4 when less than PCT % are right", "PCT"},
    {"idle", 0, POPT_ARG_DOUBLE, &given.idle_s, 0,
     "seconds of idle baseline before the first item, for net energy from a meter (default: 1)",
     "S"},
    {NULL, 0, POPT_ARG_INCLUDE_TABLE, (void *)ENGINE_OPTIONS, 0, NULL, NULL},
    POPT_TABLEEND};

typedef char item_key[EVAL_KEY_BYTES];

struct eval {
    struct cli_context *context;
    struct task_set tasks;
    char model_path[OS_PATH_BYTES], mmproj_path[OS_PATH_BYTES];
    char images_dir[OS_PATH_BYTES], answers_path[OS_PATH_BYTES];
    struct subject_options subject;
    struct eval_options options;
    item_key *key_texts;
    const char **keys; // of each item
    json_t *head;
    struct eval_answers_writer writer;
    struct eval_side side, vs;
    size_t n_kept;
    struct progress progress;
    int64_t start_ns;
};

// ---- what is asked

static enum wl_status read_tasks(struct eval *eval, struct wl_err *err) {
    enum wl_status status = task_file_read(given.tasks, &eval->tasks, eval->images_dir, err);
    if (status == WL_OK && given.limit) {
        status = task_set_draw(&eval->tasks, (size_t)given.limit, err);
    }
    return status;
}

static bool have_images(const struct task_set *tasks) {
    size_t i = 0;
    while (i < tasks->n && tasks->items[i].n_images == 0) {
        i++;
    }
    return i < tasks->n;
}

static enum wl_status resolve_models(struct eval *eval, struct wl_err *err) {
    enum wl_status status = catalog_resolve(NULL, given.model, eval->model_path, err);
    eval->subject.model_path = eval->model_path;
    if (status == WL_OK && (given.mmproj || have_images(&eval->tasks))) {
        status = given.mmproj ? catalog_resolve(NULL, given.mmproj, eval->mmproj_path, err)
                              : catalog_find_mmproj(eval->model_path, eval->mmproj_path, err);
        eval->subject.mmproj_path = eval->mmproj_path;
    }
    return status;
}

static enum wl_status make_keys(struct eval *eval, struct wl_err *err) {
    size_t n = eval->tasks.n;
    eval->key_texts = calloc(n, sizeof *eval->key_texts);
    eval->keys = calloc(n, sizeof *eval->keys);
    if (!eval->key_texts || !eval->keys) {
        return wl_err_set(err, WL_MEMORY, "no memory for %zu items", n);
    }
    enum wl_status status = WL_OK;
    for (size_t i = 0; i < n && status == WL_OK; i++) {
        eval->keys[i] = eval->key_texts[i];
        status = eval_item_key(&eval->tasks.items[i], eval->options.images_dir,
                               eval->options.max_tokens, eval->key_texts[i], err);
    }
    return status;
}

// ---- answers that are there, and those that come

static void on_kept(void *context, size_t index, const struct eval_item_result *result) {
    struct eval *eval = context;
    eval_side_take(&eval->side, index, result);
    eval->n_kept++;
}

static void on_other(void *context, size_t index, const struct eval_item_result *result) {
    struct eval *eval = context;
    eval_side_take(&eval->vs, index, result);
}

static enum wl_status answers_path(struct eval *eval, struct wl_err *err) {
    if (given.answers) {
        return str_copy(eval->answers_path, OS_PATH_BYTES, given.answers)
                   ? WL_OK
                   : wl_err_set(err, WL_LIMIT, "--answers: path too long");
    }
    return given.out ? os_path_join(eval->answers_path, given.out, "answers.jsonl", err) : WL_OK;
}

static enum wl_status open_answers(struct eval *eval, struct wl_err *err) {
    struct eval_answers_reader reader = {.set = &eval->tasks,
                                         .keys = eval->keys,
                                         .head = eval->head,
                                         .visit = on_kept,
                                         .context = eval};
    enum wl_status status = answers_path(eval, err);
    if (status != WL_OK || !eval->answers_path[0]) {
        return status;
    }
    if (os_exists(eval->answers_path)) {
        status = eval_answers_read(eval->answers_path, &reader, err);
    }
    return status == WL_OK ? eval_answers_open(eval->answers_path, eval->head, &eval->writer, err)
                           : status;
}

static enum wl_status read_other(struct eval *eval, struct wl_err *err) {
    struct eval_answers_reader reader = {
        .set = &eval->tasks, .keys = eval->keys, .visit = on_other, .context = eval};
    return given.vs ? eval_answers_read(given.vs, &reader, err) : WL_OK;
}

// ---- the run

static void on_start(void *context, size_t index) {
    struct eval *eval = context;
    const struct eval_side *side = &eval->side;
    char what[TASK_ID_BYTES + 96];
    size_t n_asked = side->n_answers - eval->n_kept;
    double seconds = (double)(os_now_ns() - eval->start_ns) / (double)UNITS_NS_PER_S;
    double left = n_asked ? seconds / (double)n_asked * (double)(side->n - side->n_answers) : 0;
    if (side->n_answers) {
        snprintf(what, sizeof what, "%zu/%zu, %.0f %% right, asking %s", side->n_answers, side->n,
                 100 * (double)side->n_right / (double)side->n_answers,
                 eval->tasks.items[index].id);
    } else {
        snprintf(what, sizeof what, "0/%zu, asking %s", side->n, eval->tasks.items[index].id);
    }
    progress_update(&eval->progress, (double)side->n_answers / (double)side->n, left, what);
}

static enum wl_status on_result(void *context, size_t index, const struct eval_item_result *result,
                                struct wl_err *err) {
    struct eval *eval = context;
    eval_side_take(&eval->side, index, result);
    return eval->writer.fd >= 0 ? eval_answers_add(&eval->writer, result, eval->keys[index], err)
                                : WL_OK;
}

static void on_warning(void *context, const char *text) {
    struct eval *eval = context;
    progress_end(&eval->progress);
    cli_warn(eval->context, "%s", text);
}

static enum wl_status ask_with(struct eval *eval, struct subject *subject, struct wl_err *err) {
    struct idle idle;
    struct eval_events events = {
        .on_start = on_start, .on_result = on_result, .on_warning = on_warning, .context = eval};
    bool needs_idle =
        subject->meters.n && meter_info(subject->meters.meter[0])->kind != METER_MODEL;
    if (needs_idle) {
        progress_update(&eval->progress, 0, given.idle_s, "idle baseline");
        enum wl_status status = idle_measure(subject, given.idle_s, &idle, err);
        if (status != WL_OK) {
            return status;
        }
        eval->options.before = &idle;
    }
    eval->start_ns = os_now_ns();
    enum wl_status status = eval_run(subject, &eval->tasks, &eval->options, &events, err);
    eval->options.before = NULL;
    return status;
}

static enum wl_status ask(struct eval *eval, struct wl_err *err) {
    struct subject subject;
    if (eval->side.n_answers == eval->side.n) {
        return WL_OK;
    }
    progress_begin(&eval->progress, eval->context->common.quiet);
    progress_update(&eval->progress, 0, -1, "loading the model");
    enum wl_status status = subject_open(&subject, &eval->subject, err);
    if (status == WL_OK) {
        status = ask_with(eval, &subject, err);
        subject_close(&subject);
    }
    progress_end(&eval->progress);
    return status;
}

// ---- the result

static enum wl_status print_json(const json_t *json, struct wl_err *err) {
    struct buf text;
    buf_init(&text, 256 << 20);
    bool is_written = json && wl_json_write_pretty(&text, json);
    if (is_written) {
        printf("%s\n", buf_text(&text));
    }
    buf_release(&text);
    return is_written ? WL_OK : wl_err_set(err, WL_MEMORY, "no memory for the JSON");
}

static enum wl_status write_json(const json_t *json, struct wl_err *err) {
    char path[OS_PATH_BYTES];
    struct buf text;
    buf_init(&text, 256 << 20);
    enum wl_status status = os_path_join(path, given.out, "eval.json", err);
    if (status == WL_OK && !(json && wl_json_write_pretty(&text, json) && buf_puts(&text, "\n"))) {
        status = wl_err_set(err, WL_MEMORY, "no memory for the JSON");
    }
    if (status == WL_OK) {
        status = os_write_atomic(path, text.data, text.len, err);
    }
    buf_release(&text);
    return status;
}

static enum wl_status show(struct eval *eval, struct wl_err *err) {
    struct eval_result result = {
        .tasks = given.tasks,
        .model = eval->model_path,
        .mmproj = eval->subject.mmproj_path,
        .answers = eval->answers_path[0] ? eval->answers_path : NULL,
        .side = &eval->side,
        .n_kept = eval->n_kept,
        .floor_pct = given.floor_pct >= 0 ? given.floor_pct : (double)NAN,
        .vs = given.vs,
    };
    enum wl_status status = eval_result_make(&result, given.vs ? &eval->vs : NULL, err);
    json_t *json = status == WL_OK ? eval_result_json(&result) : NULL;
    if (status == WL_OK && given.out) {
        status = write_json(json, err);
    }
    if (status == WL_OK && eval->context->common.json) {
        status = print_json(json, err);
    } else if (status == WL_OK) {
        eval_result_print(&result);
    }
    if (status == WL_OK) {
        status = eval_result_verdict(&result, err);
    }
    json_decref(json);
    tally_release(&result.tally);
    return status;
}

static enum wl_status prepare(struct eval *eval, struct wl_err *err) {
    enum wl_status status = read_tasks(eval, err);
    eval->options = (struct eval_options){.images_dir = eval->images_dir,
                                          .max_tokens = (uint32_t)given.max_tokens,
                                          .is_raw = given.raw != 0};
    if (status != WL_OK || (status = resolve_models(eval, err)) != WL_OK) {
        return status;
    }
    status = eval_check(&eval->tasks, eval->images_dir, eval->subject.mmproj_path, err);
    if (status != WL_OK) {
        wl_err_prefix(err, "tasks '%s'", given.tasks);
        return status;
    }
    if (given.out && (status = os_make_dirs(given.out, err)) != WL_OK) {
        return status;
    }
    if ((status = make_keys(eval, err)) != WL_OK ||
        (status = eval_answers_head(&eval->subject, &eval->options, &eval->head, err)) != WL_OK ||
        (status = eval_side_init(&eval->side, eval->tasks.n, err)) != WL_OK ||
        (status = eval_side_init(&eval->vs, eval->tasks.n, err)) != WL_OK ||
        (status = read_other(eval, err)) != WL_OK) {
        return status;
    }
    eval->options.is_done = eval->side.has_answer;
    return open_answers(eval, err);
}

static int finish(const struct eval *eval, enum wl_status status, const struct wl_err *err) {
    if (status != WL_INTERRUPTED) {
        return status == WL_OK ? 0 : cli_fail(status, err);
    }
    if (eval->answers_path[0]) {
        fprintf(stderr, "Interrupted; %zu of %zu answers are in '%s'. The same command goes on.\n",
                eval->side.n_answers, eval->side.n, eval->answers_path);
    } else {
        fputs("Interrupted; with --answers FILE the same command would go on.\n", stderr);
    }
    return wl_status_exit_code(status);
}

static void release(struct eval *eval) {
    eval_answers_close(&eval->writer);
    eval_side_release(&eval->side);
    eval_side_release(&eval->vs);
    json_decref(eval->head);
    free(eval->key_texts);
    free(eval->keys);
    task_set_release(&eval->tasks);
}

static int check_usage(const struct cli_context *context) {
    if (!given.model) {
        return cli_usage(context, "no model: give -m MODEL ('wattlaw models' lists yours)");
    }
    if (!given.tasks || context->n_args) {
        return cli_usage(context, "give the questions with --tasks FILE");
    }
    if (given.limit < 0 || given.max_tokens < 1 || given.max_tokens > TASK_MAX_TOKENS) {
        return cli_usage(context, "--limit, --max-tokens: expected 1 or more, at most %d",
                         TASK_MAX_TOKENS);
    }
    if (!(given.floor_pct <= 100) || (given.floor_pct < 0 && given.floor_pct != -1)) {
        return cli_usage(context, "--floor: expected 0 to 100, found %g", given.floor_pct);
    }
    return 0;
}

static int run(struct cli_context *context) {
    struct wl_err err = {0};
    struct eval eval = {.context = context, .writer = {.fd = -1}};
    int exit_code = check_usage(context);
    if (exit_code) {
        return exit_code;
    }
    enum wl_status status = engine_options_get(context, &eval.subject, &err);
    if (status == WL_USAGE) {
        return cli_usage(context, "%s", err.message);
    }
    engine_options_calibrate(context, &eval.subject);
    os_catch_interrupts();
    status = prepare(&eval, &err);
    if (status == WL_OK) {
        status = ask(&eval, &err);
    }
    if (status == WL_OK) {
        status = show(&eval, &err);
    }
    exit_code = finish(&eval, status, &err);
    release(&eval);
    return exit_code;
}

static const struct cli_example EXAMPLES[] = {
    {"wattlaw eval -m model.gguf --tasks questions.jsonl", "accuracy and energy by kind"},
    {"wattlaw eval -m s.gguf --tasks q.jsonl --answers s.jsonl --vs big.jsonl",
     "the same, against the kept answers of another model"},
    {"wattlaw eval -m vlm.gguf --mmproj mmproj.gguf --tasks panels.jsonl --floor 90",
     "images too; exit code 4 when less than 90 % are right"},
    {NULL, NULL}};

const struct cli_command CMD_eval = {
    .name = "eval",
    .arguments = "-m MODEL --tasks FILE [options]",
    .summary = "how many answers are right, and what a right one costs",
    .description =
        "Asks the model every question of a task file, greedily and each from an empty context, "
        "and "
        "prints a table by kind: right answers, accuracy with its 95 % interval (Wilson), empty "
        "and "
        "looping answers, energy per answer and per right answer, time.\n\n"
        "A task is a line of JSON: {\"prompt\": \"...\", \"reference\": \"...\"}, with images, a "
        "kind, and a scorer (normalised, exact, number, contains). docs/tasks.md has the "
        "format.\n\n"
        "With --answers an interrupted run goes on where it was, as long as the model, the options "
        "and the questions are the same; references and scorers may change, the answers are scored "
        "anew.\n\n"
        "--floor compares the accuracy as it was measured: 4 is the exit code when it is below. "
        "When "
        "it is above, but not beyond chance (95 %, one-sided), the result says so.",
    .options = OPTIONS,
    .examples = EXAMPLES,
    .run = run,
};
