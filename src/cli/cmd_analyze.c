// What each part of a model is worth, before anything is cut.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/str.h"
#include "catalog/catalog.h"
#include "catalog/gguf_peek.h"
#include "cli/analyze_result.h"
#include "cli/command.h"
#include "cli/progress.h"
#include "cli/task_file.h"
#include "cli/term.h"
#include "engine/client.h"
#include "os/process.h"

enum { MAX_PAGE_BYTES = 64 << 20, MAX_ANALYSIS_BYTES = 16 << 20, MAX_TEXT_WIDTH = 100 };

static struct {
    const char *out, *from, *calib, *tasks;
    int n_tokens, n_tokens_kl, threads;
    long long seed;
    int bonds, force;
} given = {.n_tokens = -1, .n_tokens_kl = -1, .threads = -1, .seed = 1};

static const struct poptOption OPTIONS[] = {
    {"calib", 0, POPT_ARG_STRING, &given.calib, 0,
     "text like what the model is used for: a .txt or .md file, or a folder of them", "FILE"},
    {"tasks", 0, POPT_ARG_STRING, &given.tasks, 0,
     "questions and answers too, one JSON object per line; 'text' came with wattlaw", "FILE"},
    {"tokens", 0, POPT_ARG_INT, &given.n_tokens, 0,
     "tokens of text, a part of which is held out (default: 40960)", "N"},
    {"kl-tokens", 0, POPT_ARG_INT, &given.n_tokens_kl, 0,
     "held-out tokens that every changed model is asked about (default: 1024)", "N"},
    {"bonds", 0, POPT_ARG_NONE, &given.bonds, 0,
     "the bonds of the matrices as tensor trains too (takes longer)", NULL},
    {"out", 'o', POPT_ARG_STRING, &given.out, 0, "write a page with pictures into this HTML file",
     "FILE"},
    {"from", 0, POPT_ARG_STRING, &given.from, 0,
     "instead of MODEL: what --json printed earlier; nothing is computed", "FILE"},
    {"force", 'f', POPT_ARG_NONE, &given.force, 0,
     "replace the HTML file if it exists, and analyse weights of few bits too", NULL},
    {"threads", 't', POPT_ARG_INT, &given.threads, 0, "threads (default: usable cores)", "N"},
    {"seed", 0, POPT_ARG_LONGLONG, &given.seed, 0, "of what the model writes itself (default: 1)",
     "N"},
    POPT_TABLEEND};

struct analyze {
    struct cli_context *context;
    char path[OS_PATH_BYTES], tasks_path[OS_PATH_BYTES];
    char name[OS_PATH_BYTES]; // of the model, harmless on a terminal
    struct progress progress;
    json_t *document; // the compressor's answer, or what is in the file
    struct report_analysis analysis;
};

// ---- what is asked

static enum wl_status check_numbers(struct wl_err *err) {
    const struct {
        const char *option;
        int value, low;
    } rows[] = {{"tokens", given.n_tokens, 1},
                {"kl-tokens", given.n_tokens_kl, 2},
                {"threads", given.threads, 1}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (rows[i].value != -1 && rows[i].value < rows[i].low) {
            return wl_err_set(err, WL_USAGE, "--%s: expected %d or more, found %d", rows[i].option,
                              rows[i].low, rows[i].value);
        }
    }
    return given.seed >= 0
               ? WL_OK
               : wl_err_set(err, WL_USAGE, "--seed: expected 0 or above, found %lld", given.seed);
}

static enum wl_status check_out(struct wl_err *err) {
    char folder[OS_PATH_BYTES];
    if (!given.out) {
        return WL_OK;
    }
    if (os_is_dir(given.out)) {
        return wl_err_set(err, WL_USAGE, "--out: expected a file, '%s' is a folder", given.out);
    }
    if (os_exists(given.out) && !given.force) {
        return wl_err_set(err, WL_USAGE, "'%s' exists; --force replaces it", given.out);
    }
    if (!str_copy(folder, sizeof folder, given.out)) {
        return wl_err_set(err, WL_LIMIT, "--out: path too long: '%.80s...'", given.out);
    }
    char *slash = strrchr(folder, '/');
    if (slash) {
        slash[slash == folder ? 1 : 0] = '\0';
    }
    return !slash || os_is_dir(folder)
               ? WL_OK
               : wl_err_set(err, WL_NOT_FOUND, "cannot write '%s': no folder '%s'", given.out,
                            folder);
}

static enum wl_status check_texts(struct analyze *analyze, struct wl_err *err) {
    enum wl_status status = WL_OK;
    if (given.tasks) {
        status = task_file_find(given.tasks, analyze->tasks_path, err);
    }
    if (status == WL_OK && given.tasks && !os_exists(analyze->tasks_path)) {
        return wl_err_set(err, WL_NOT_FOUND, "--tasks: no file '%s'", given.tasks);
    }
    if (status == WL_OK && given.calib && !os_exists(given.calib)) {
        return wl_err_set(err, WL_NOT_FOUND, "--calib: no file or folder '%s'", given.calib);
    }
    return status;
}

// ---- the work

static void show(void *context, const char *what, double done) {
    struct analyze *analyze = context;
    progress_update(&analyze->progress, done, -1, what);
}

static enum wl_status ask(struct analyze *analyze, struct engine *engine, struct wl_err *err) {
    const char *scratch = getenv("TMPDIR");
    const struct engine_analyze_options options = {
        .path = analyze->path,
        .text = given.calib,
        .tasks = given.tasks ? analyze->tasks_path : NULL,
        .n_tokens = given.n_tokens != -1 ? (uint32_t)given.n_tokens : 0,
        .n_tokens_kl = given.n_tokens_kl != -1 ? (uint32_t)given.n_tokens_kl : 0,
        .with_bonds = given.bonds != 0,
        .threads = given.threads != -1 ? (uint32_t)given.threads : 0,
        .seed = (uint64_t)given.seed,
        .is_forced = given.force != 0,
        .scratch = scratch && scratch[0] ? scratch : NULL};
    progress_begin(&analyze->progress, analyze->context->common.quiet);
    enum wl_status status =
        engine_analyze(engine, &options, show, analyze, &analyze->document, err);
    progress_end(&analyze->progress);
    return status;
}

static enum wl_status run_compressor(struct analyze *analyze, struct wl_err *err) {
    struct engine *engine = NULL;
    // Nothing is timed here; threads that spin would only be in each other's way on a busy machine.
    const struct engine_options options = {.program = ENGINE_PROGRAM_COMPRESSOR,
                                           .omp_wait_policy =
                                               getenv("OMP_WAIT_POLICY") ? NULL : "passive"};
    enum wl_status status = engine_start(&options, &engine, err);
    if (status == WL_OK) {
        status = ask(analyze, engine, err);
    }
    engine_stop(engine);
    if (status == WL_OK) {
        gguf_clean_text(analyze->name, sizeof analyze->name, analyze->path);
        status = report_analysis_read(analyze->document, &analyze->analysis, err);
        if (status == WL_INPUT) {
            status = wl_err_set(err, WL_PROTOCOL, "wattlaw-compressor answered nonsense: %.600s",
                                err->message);
        }
    }
    return status;
}

static enum wl_status read_earlier(struct analyze *analyze, struct wl_err *err) {
    struct buf text;
    buf_init(&text, MAX_ANALYSIS_BYTES);
    enum wl_status status = os_slurp(given.from, &text, err);
    if (status == WL_OK) {
        status = wl_json_parse(buf_text(&text), text.len, &analyze->document, err);
        if (status == WL_OK) {
            const char *name = wl_json_opt_string(analyze->document, "path", given.from);
            gguf_clean_text(analyze->name, sizeof analyze->name, name);
            status = report_analysis_read(analyze->document, &analyze->analysis, err);
        }
        if (status != WL_OK) {
            wl_err_prefix(err, "'%.200s'", given.from);
        }
    }
    buf_release(&text);
    return status;
}

// ---- the answer

static enum wl_status write_page(const struct analyze *analyze, struct wl_err *err) {
    const char *slash = strrchr(analyze->name, '/');
    const struct report_analysis_page page = {.title = slash ? slash + 1 : analyze->name,
                                              .subtitle = analyze->name,
                                              .version = WATTLAW_VERSION};
    struct buf text;
    buf_init(&text, MAX_PAGE_BYTES);
    enum wl_status status =
        report_analysis_html(&analyze->analysis, &page, &text)
            ? os_write_atomic(given.out, text.data, text.len, err)
            : wl_err_set(err, WL_LIMIT, "the page is larger than %d bytes", MAX_PAGE_BYTES);
    buf_release(&text);
    return status;
}

static json_t *document_json(const struct analyze *analyze) {
    struct report_analysis_words words;
    json_t *sentences = json_array();
    report_analysis_words(&analyze->analysis, &words);
    for (size_t i = 0; i < words.n; i++) {
        json_array_append_new(sentences, json_string(words.text[i]));
    }
    const json_t *of = analyze->document;
    return json_pack("{s:i, s:s, s:O, s:O, s:O, s:o}", "schema_version", 1, "path", analyze->name,
                     "model", json_object_get(of, "model"), "text_seconds",
                     json_object_get(of, "text_seconds"), "analysis",
                     json_object_get(of, "analysis"), "words", sentences);
}

static enum wl_status print_json(const struct analyze *analyze, struct wl_err *err) {
    struct buf text;
    buf_init(&text, 64 << 20);
    json_t *document = document_json(analyze);
    bool is_written = document && wl_json_write_pretty(&text, document);
    if (is_written) {
        printf("%s\n", buf_text(&text));
    }
    json_decref(document);
    buf_release(&text);
    return is_written ? WL_OK : wl_err_set(err, WL_MEMORY, "no memory for the JSON");
}

static enum wl_status answer(const struct analyze *analyze, struct wl_err *err) {
    enum wl_status status = given.out ? write_page(analyze, err) : WL_OK;
    int width = term_width() - 1;
    if (status == WL_OK && analyze->context->common.json) {
        return print_json(analyze, err);
    }
    if (status == WL_OK) {
        analyze_result_print(analyze->name, &analyze->analysis,
                             width < MAX_TEXT_WIDTH ? width : MAX_TEXT_WIDTH);
    }
    return status;
}

static enum wl_status work(struct analyze *analyze, struct wl_err *err) {
    enum wl_status status;
    if ((status = check_numbers(err)) || (status = check_out(err)) ||
        (status = check_texts(analyze, err))) {
        return status;
    }
    os_catch_interrupts();
    if (given.from) {
        status = read_earlier(analyze, err);
    } else {
        status = catalog_resolve(NULL, analyze->context->args[0], analyze->path, err);
        status = status == WL_OK ? run_compressor(analyze, err) : status;
    }
    return status == WL_OK ? answer(analyze, err) : status;
}

static int run(struct cli_context *context) {
    struct wl_err err = {0};
    static struct analyze analyze;
    analyze.context = context;
    if (context->n_args < 1 && !given.from) {
        return cli_usage(context, "no model: give a GGUF file ('wattlaw models' lists yours)");
    }
    if (context->n_args > (given.from ? 0 : 1)) {
        return cli_usage(context, "%s; unexpected argument '%s'",
                         given.from ? "--from takes the place of a model" : "one model at a time",
                         context->args[given.from ? 0 : 1]);
    }
    enum wl_status status = work(&analyze, &err);
    report_analysis_release(&analyze.analysis);
    json_decref(analyze.document);
    if (status == WL_USAGE) {
        return cli_usage(context, "%s", err.message);
    }
    return status == WL_OK ? 0 : cli_fail(status, &err);
}

static const struct cli_example EXAMPLES[] = {
    {"wattlaw analyze model-q8_0.gguf --calib notes/ -o report.html",
     "what can go from it without harm to texts like these, with pictures"},
    {"wattlaw analyze builtin --tasks text --tokens 8192", "the built-in model, in a minute"},
    {"wattlaw analyze model-q8_0.gguf --json > model.json", "to keep it, and later:"},
    {"wattlaw analyze --from model.json -o report.html", "draw it without computing anything"},
    {NULL, NULL}};

const struct cli_command CMD_analyze = {
    .name = "analyze",
    .arguments = "MODEL [options]",
    .summary = "what each part of a model is worth, before anything is cut",
    .description =
        "Lets text run through the model and tells of every block how much of its output fewer "
        "neurons or KV heads can give after the best repair, beside the bound that no choice can "
        "beat (the tail of the activation-weighted spectrum); how much the block changes the "
        "stream; and what an error in it costs at the end, as KL divergence of the next-token "
        "distributions from the original's: with half of its neurons, with half of its KV heads, "
        "without attention, and without the block. The model is only read.\n\n"
        "A small ratio of error and bound means that single neurons carry what matters, so that "
        "pruning is near its best. A bound of 0 says nothing: there are as many neurons as "
        "outputs then.\n\n"
        "The text decides what seems dispensable: give text (--calib) or questions (--tasks) like "
        "those that the model will be used for. What the model writes itself is added to them, "
        "and is all there is without them.\n\n"
        "It takes minutes for a model of a billion weights with the default number of tokens, and "
        "hours for one of eight; --tokens 8192 --kl-tokens 256 is a quick look. 'wattlaw compress' "
        "then does the cutting.",
    .options = OPTIONS,
    .examples = EXAMPLES,
    .run = run,
};
