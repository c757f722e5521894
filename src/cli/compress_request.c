#include "cli/compress_request.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/str.h"
#include "catalog/catalog.h"
#include "cli/task_file.h"
#include "meter/estimate.h"
#include "os/file.h"
#include "sampler/machine.h"

#define DEFAULT_CUT 0.2
#define DEFAULT_MINUTES 10.0
static const double LOCAL_SHARE = 0.3; // of the minutes, where all blocks are trained together too
enum { MAX_PLAN_BYTES = 1 << 20, SECONDS_PER_MINUTE = 60 };

struct compress_given compress_given = {.cut = -1,
                                        .encoder_cut = -1,
                                        .minutes = -1,
                                        .check_drop = 3,
                                        .width = -1,
                                        .drop = -1,
                                        .encoder_drop = -1,
                                        .image_tokens = -1,
                                        .n_tokens = -1,
                                        .threads = -1,
                                        .task_limit = 64,
                                        .seed = 1};
#define GIVEN compress_given

const struct poptOption COMPRESS_OPTIONS[] = {
    {"out", 'o', POPT_ARG_STRING, &GIVEN.out, 0, "the file to write", "FILE"},
    {"budget", 'b', POPT_ARG_STRING, &GIVEN.budget, 0,
     "what to keep to: a share of the block weights (0.4), a file size (600MB), a speed (20tok/s; "
     "100ptok/s of the prompt) or the energy of an answer (1.5J); where to cut is then worked out",
     "BUDGET"},
    {"cut", 0, POPT_ARG_DOUBLE, &GIVEN.cut, 0,
     "share of the block weights to take out of the feed-forward parts alone (default: 0.2)",
     "SHARE"},
    {"width", 0, POPT_ARG_INT, &GIVEN.width, 0,
     "instead: feed-forward neurons that every block keeps", "N"},
    {"drop", 0, POPT_ARG_INT, &GIVEN.drop, 0,
     "instead: whole blocks to take out, those that change the least", "N"},
    {"plan", 0, POPT_ARG_STRING, &GIVEN.plan, 0,
     "instead: what becomes of each block, JSON as --dry-run --json prints it in plan.layers",
     "FILE"},
    {"shapes", 0, POPT_ARG_STRING, &GIVEN.shapes, 0,
     "same: all blocks get the same sizes (default); mixed: each its own where that is better, "
     "under an architecture that knows such (llama, qwen2, qwen3)",
     "HOW"},
    {"vocabulary", 0, POPT_ARG_STRING, &GIVEN.vocabulary, 0,
     "tokens to keep: 'used' ones (of the calibration text), or at most N", "N"},
    {"type", 0, POPT_ARG_STRING, &GIVEN.type, 0,
     "type of the tensors, such as Q4_K, or auto with --budget in bytes (default: as they are)",
     "TYPE"},
    {"mmproj", 0, POPT_ARG_STRING, &GIVEN.mmproj, 0,
     "the model's image encoder, for tasks with pictures (default: the one that belongs to it)",
     "FILE"},
    {"mmproj-out", 0, POPT_ARG_STRING, &GIVEN.mmproj_out, 0,
     "make the image encoder smaller too, and write it here", "FILE"},
    {"encoder-cut", 0, POPT_ARG_DOUBLE, &GIVEN.encoder_cut, 0,
     "share of the encoder's block weights to take away (default: 0.2)", "SHARE"},
    {"encoder-drop", 0, POPT_ARG_INT, &GIVEN.encoder_drop, 0,
     "whole blocks of the encoder to take out", "N"},
    {"encoder-type", 0, POPT_ARG_STRING, &GIVEN.encoder_type, 0, "type of its tensors", "TYPE"},
    {"image-tokens", 0, POPT_ARG_INT, &GIVEN.image_tokens, 0,
     "the most tokens of an image in use (default: the file's own)", "N"},
    {"calib", 0, POPT_ARG_STRING, &GIVEN.calib, 0,
     "calibration text like what the model is used for: a .txt or .md file, or a folder of them",
     "FILE"},
    {"tasks", 0, POPT_ARG_ARGV, &GIVEN.tasks, 0,
     "calibrate with questions and answers too, one JSON object per line; 'calib-text' and "
     "'calib-panel' came with wattlaw; may be given several times",
     "FILE"},
    {"tokens", 0, POPT_ARG_INT, &GIVEN.n_tokens, 0,
     "tokens of calibration, a part of which is held out for the verdict (default: 40960)", "N"},
    {"heal", 0, POPT_ARG_STRING, &GIVEN.heal, 0,
     "what is done about the loss: none, closed (default: least squares), local (each block is "
     "trained to answer as before), lora (then all together, in low rank) or full (all weights; "
     "small models)",
     "HOW"},
    {"minutes", 0, POPT_ARG_DOUBLE, &GIVEN.minutes, 0, "of training (default: 10)", "N"},
    {"floor", 0, POPT_ARG_STRING, &GIVEN.floor, 0,
     "mean KL divergence from the original that is accepted, in nats per token: transparent "
     "(0.05), good (0.15, default), none, or a number; when it is missed less is cut",
     "KL"},
    {"accept", 0, POPT_ARG_NONE, &GIVEN.accept, 0,
     "write the file even where a floor is missed, and say so", NULL},
    {"check", 0, POPT_ARG_STRING, &GIVEN.check, 0,
     "time for measuring both models side by side at the end, such as 60s or 5m; 0 leaves it out "
     "(default: 60s)",
     "TIME"},
    {"check-tasks", 0, POPT_ARG_ARGV, &GIVEN.check_tasks, 0,
     "questions that both are asked then, others than those of --tasks; may be given several times",
     "FILE"},
    {"check-limit", 0, POPT_ARG_INT, &GIVEN.task_limit, 0,
     "ask at most N of each group (default: 64; 0 = all)", "N"},
    {"check-drop", 0, POPT_ARG_DOUBLE, &GIVEN.check_drop, 0,
     "points of right answers that may be lost (default: 3)", "POINTS"},
    {"rivals", 0, POPT_ARG_STRING, &GIVEN.rivals, 0,
     "what to judge and time beside it: types of the original such as Q8_0,Q4_K, auto (default), "
     "models such as ./smaller.gguf, or none",
     "LIST"},
    {"report", 0, POPT_ARG_STRING, &GIVEN.report, 0,
     "folder for a page about the compression and the report of the check", "DIR"},
    {"export-recipe", 0, POPT_ARG_STRING, &GIVEN.recipe, 0,
     "folder for a training set and a script, for healing on a machine with a GPU", "DIR"},
    {"method", 0, POPT_ARG_STRING, &GIVEN.method, 0,
     "how neurons are chosen: repair (default; optimal brain surgeon), cut (the same without "
     "repair), magnitude or wanda (rivals, for comparison)",
     "NAME"},
    {"force", 'f', POPT_ARG_NONE, &GIVEN.force, 0,
     "replace the file if it exists, and cut weights of few bits too", NULL},
    {"fresh", 0, POPT_ARG_NONE, &GIVEN.fresh, 0,
     "start anew instead of going on with what an interrupted run has finished", NULL},
    {"threads", 't', POPT_ARG_INT, &GIVEN.threads, 0, "threads (default: usable cores)", "N"},
    {"seed", 0, POPT_ARG_LONGLONG, &GIVEN.seed, 0, "of text and training (default: 1)", "N"},
    {"dry-run", 'n', POPT_ARG_NONE, &GIVEN.dry_run, 0, "only print the plan", NULL},
    POPT_TABLEEND};

// ---- checks ----

static enum wl_status check_whole_numbers(struct wl_err *err) {
    const struct {
        const char *option;
        int value;
    } rows[] = {{"width", GIVEN.width},
                {"drop", GIVEN.drop},
                {"encoder-drop", GIVEN.encoder_drop},
                {"image-tokens", GIVEN.image_tokens},
                {"tokens", GIVEN.n_tokens},
                {"threads", GIVEN.threads}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (rows[i].value != -1 && rows[i].value < 1) {
            return wl_err_set(err, WL_USAGE, "--%s: expected 1 or more, found %d", rows[i].option,
                              rows[i].value);
        }
    }
    if (GIVEN.task_limit < 0) {
        return wl_err_set(err, WL_USAGE, "--check-limit: expected 0 or more, found %d",
                          GIVEN.task_limit);
    }
    return GIVEN.seed < 0
               ? wl_err_set(err, WL_USAGE, "--seed: expected 0 or above, found %lld", GIVEN.seed)
               : WL_OK;
}

static enum wl_status check_share(const char *option, double value, struct wl_err *err) {
    return value == -1 || (value > 0 && value < 1)
               ? WL_OK
               : wl_err_set(err, WL_USAGE, "--%s: expected a share above 0 and below 1, found %g",
                            option, value);
}

static enum wl_status check_word(const char *option, const char *word, const char *const *words,
                                 const char *expected, struct wl_err *err) {
    size_t i = 0;
    while (word && words[i] && strcmp(words[i], word) != 0) {
        i++;
    }
    return !word || words[i]
               ? WL_OK
               : wl_err_set(err, WL_USAGE, "--%s: expected %s, found '%s'", option, expected, word);
}

static enum wl_status check_ways(struct wl_err *err) {
    const struct {
        const char *option;
        bool is_given;
    } ways[] = {{"--cut", GIVEN.cut != -1},
                {"--width", GIVEN.width != -1},
                {"--drop", GIVEN.drop != -1},
                {"--plan", GIVEN.plan != NULL},
                {"--budget", GIVEN.budget != NULL}};
    const char *first = NULL;
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        if (ways[i].is_given && first) {
            return wl_err_set(err, WL_USAGE, "give %s or %s, not both", first, ways[i].option);
        }
        first = ways[i].is_given ? ways[i].option : first;
    }
    return WL_OK;
}

static bool repairs(void) {
    return !GIVEN.method || strcmp(GIVEN.method, "repair") == 0;
}

static const char *heal_word(void) {
    return GIVEN.heal ? GIVEN.heal : repairs() ? "closed" : "none";
}

static bool is_heal(const char *word) {
    return strcmp(heal_word(), word) == 0;
}

static bool trains(void) {
    return is_heal("local") || is_heal("lora") || is_heal("full");
}

static enum wl_status check_healing(struct wl_err *err) {
    if (!repairs() && !is_heal("none")) {
        return wl_err_set(err, WL_USAGE, "--heal %s goes with --method repair only, found '%s'",
                          heal_word(), GIVEN.method);
    }
    if (GIVEN.minutes != -1 && !trains()) {
        return wl_err_set(err, WL_USAGE, "--minutes goes with --heal local, lora or full only");
    }
    if (GIVEN.minutes != -1 && !(GIVEN.minutes > 0 && GIVEN.minutes <= 1e6)) {
        return wl_err_set(err, WL_USAGE, "--minutes: expected above 0, found %g", GIVEN.minutes);
    }
    return WL_OK;
}

static enum wl_status floor_of(double *floor_kl, struct wl_err *err) {
    const char *word = GIVEN.floor ? GIVEN.floor : "good";
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

static enum wl_status check_encoder(struct wl_err *err) {
    bool speaks_of_it = GIVEN.encoder_cut != -1 || GIVEN.encoder_drop != -1 || GIVEN.encoder_type;
    return speaks_of_it && !GIVEN.mmproj_out
               ? wl_err_set(err, WL_USAGE,
                            "--encoder-cut, --encoder-drop and --encoder-type go with --mmproj-out "
                            "only")
               : WL_OK;
}

// 0: those that are used.
static enum wl_status vocabulary_of(uint64_t *n, struct wl_err *err) {
    *n = 0;
    if (!GIVEN.vocabulary || strcmp(GIVEN.vocabulary, "used") == 0) {
        return WL_OK;
    }
    return str_parse_u64(GIVEN.vocabulary, n) && *n > 0 && *n <= INT32_MAX
               ? WL_OK
               : wl_err_set(err, WL_USAGE, "--vocabulary: expected 'used' or a number, found '%s'",
                            GIVEN.vocabulary);
}

enum wl_status compress_request_check(struct wl_err *err) {
    static const char *const METHODS[] = {"repair", "cut", "magnitude", "wanda", NULL};
    static const char *const HEALS[] = {"none", "closed", "local", "lora", "full", NULL};
    static const char *const SHAPES[] = {"same", "mixed", NULL};
    double floor_kl;
    uint64_t n_tokens;
    enum wl_status status = check_whole_numbers(err);
    status = status == WL_OK ? vocabulary_of(&n_tokens, err) : status;
    status = status == WL_OK ? check_share("cut", GIVEN.cut, err) : status;
    status = status == WL_OK ? check_share("encoder-cut", GIVEN.encoder_cut, err) : status;
    status = status == WL_OK ? check_ways(err) : status;
    status = status == WL_OK ? check_word("method", GIVEN.method, METHODS,
                                          "repair, cut, magnitude or wanda", err)
                             : status;
    status = status == WL_OK
                 ? check_word("heal", GIVEN.heal, HEALS, "none, closed, local, lora or full", err)
                 : status;
    status =
        status == WL_OK ? check_word("shapes", GIVEN.shapes, SHAPES, "same or mixed", err) : status;
    status = status == WL_OK ? check_healing(err) : status;
    status = status == WL_OK ? check_encoder(err) : status;
    return status == WL_OK ? floor_of(&floor_kl, err) : status;
}

// ---- the request ----

static void set(json_t *request, const char *key, json_t *value) {
    json_object_set_new(request, key, value);
}

static void set_text(json_t *request, const char *key, const char *text) {
    if (text) {
        set(request, key, json_string(text));
    }
}

static void set_number(json_t *request, const char *key, int value) {
    if (value != -1) {
        set(request, key, json_integer(value));
    }
}

static enum wl_status set_plan(json_t *request, struct wl_err *err) {
    struct buf buf;
    json_t *plan = NULL;
    buf_init(&buf, MAX_PLAN_BYTES);
    enum wl_status status = os_slurp(GIVEN.plan, &buf, err);
    if (status == WL_OK) {
        status = wl_json_parse(buf_text(&buf), buf.len, &plan, err);
    }
    buf_release(&buf);
    if (status == WL_OK) {
        set(request, "plan", plan);
    }
    return status;
}

static enum wl_status set_cut(json_t *request, struct wl_err *err) {
    set_text(request, "budget", GIVEN.budget);
    set_number(request, "n_ff", GIVEN.width);
    set_number(request, "n_drop", GIVEN.drop);
    bool is_given = GIVEN.budget || GIVEN.width != -1 || GIVEN.drop != -1 || GIVEN.plan;
    bool does_more = GIVEN.vocabulary || GIVEN.type || GIVEN.mmproj_out;
    if (GIVEN.cut != -1 || (!is_given && !does_more)) {
        set(request, "cut", json_real(GIVEN.cut != -1 ? GIVEN.cut : DEFAULT_CUT));
    }
    set_text(request, "shapes", GIVEN.shapes);
    set_text(request, "type", GIVEN.type);
    return GIVEN.plan ? set_plan(request, err) : WL_OK;
}

static void set_healing(json_t *request) {
    double seconds = (GIVEN.minutes != -1 ? GIVEN.minutes : DEFAULT_MINUTES) * SECONDS_PER_MINUTE;
    bool is_global = is_heal("lora") || is_heal("full");
    bool is_none = repairs() && is_heal("none");
    set_text(request, "method", is_none ? "cut" : GIVEN.method ? GIVEN.method : "repair");
    if (trains()) {
        set(request, "local_seconds", json_real(is_global ? LOCAL_SHARE * seconds : seconds));
    }
    if (is_global) {
        set(request, "lora_seconds", json_real((1 - LOCAL_SHARE) * seconds));
    }
    if (is_heal("full")) {
        set(request, "lora_rank", json_integer(0));
    }
}

static enum wl_status set_tasks(json_t *request, struct wl_err *err) {
    json_t *list = json_array();
    char path[OS_PATH_BYTES];
    enum wl_status status = WL_OK;
    for (size_t i = 0; GIVEN.tasks && GIVEN.tasks[i] && status == WL_OK; i++) {
        status = task_file_find(GIVEN.tasks[i], path, err);
        if (status == WL_OK && !os_exists(path)) {
            status = wl_err_set(err, WL_NOT_FOUND, "--tasks: no file '%s'", GIVEN.tasks[i]);
        }
        json_array_append_new(list, json_string(path));
    }
    set(request, "tasks", list);
    if (status == WL_OK && GIVEN.calib && !os_exists(GIVEN.calib)) {
        status = wl_err_set(err, WL_NOT_FOUND, "--calib: no file or folder '%s'", GIVEN.calib);
    }
    set_text(request, "text", GIVEN.calib);
    return status;
}

static void set_encoder(json_t *request, const struct compress_paths *paths) {
    if (paths->mmproj[0]) {
        set_text(request, "mmproj", paths->mmproj);
    }
    set_number(request, "image_max_tokens", GIVEN.image_tokens);
    if (!GIVEN.mmproj_out) {
        return;
    }
    set_text(request, "mmproj_out", paths->files.encoder_unverified);
    set_text(request, "mmproj_type", GIVEN.encoder_type);
    set_number(request, "mmproj_drop", GIVEN.encoder_drop);
    bool does_more = GIVEN.encoder_type || GIVEN.encoder_drop != -1;
    if (GIVEN.encoder_cut != -1 || !does_more) {
        set(request, "mmproj_cut",
            json_real(GIVEN.encoder_cut != -1 ? GIVEN.encoder_cut : DEFAULT_CUT));
    }
}

// What a second of all cores takes over idle, by the machine's class.
static void set_power(json_t *request, const struct cli_context *context) {
    struct meter_estimate_params params;
    struct machine machine;
    struct wl_err ignored;
    meter_estimate_params_for(context->common.root, &params);
    if (machine_read(context->common.root, &machine, &ignored) == WL_OK && machine.n_cores > 0) {
        double n = GIVEN.threads != -1 ? (double)GIVEN.threads : (double)machine.n_cores;
        set(request, "joules_per_s", wl_json_real(params.core_w * n));
    }
}

static bool is_file_name(const char *word) {
    size_t len = strlen(word), end = strlen(".gguf");
    return strchr(word, '/') || (len > end && strcmp(word + len - end, ".gguf") == 0);
}

// A type is known by the compressor; a file is looked for where models are.
static enum wl_status add_rival(json_t *list, const char *word, struct wl_err *err) {
    char path[OS_PATH_BYTES];
    enum wl_status status = WL_OK;
    if (is_file_name(word)) {
        status = catalog_resolve(NULL, word, path, err);
        word = path;
    } else if (strcmp(word, "auto") == 0) {
        return WL_OK; // when the size is known
    }
    if (status == WL_OK) {
        json_array_append_new(list, json_string(word));
    }
    return status;
}

static enum wl_status set_rivals(json_t *request, struct wl_err *err) {
    const char *text = GIVEN.rivals ? GIVEN.rivals : "auto";
    if (strcmp(text, "none") == 0) {
        return WL_OK;
    }
    json_t *list = json_array();
    char *copy = strdup(text), *rest = NULL;
    enum wl_status status = WL_OK;
    for (char *word = copy ? strtok_r(copy, ",", &rest) : NULL; word && status == WL_OK;
         word = strtok_r(NULL, ",", &rest)) {
        status = add_rival(list, str_trim(word), err);
    }
    free(copy);
    set(request, "rivals", list);
    bool is_empty = json_array_size(list) == 0 && !compress_request_chooses_rivals();
    return status == WL_OK && is_empty
               ? wl_err_set(err, WL_USAGE,
                            "--rivals: expected types, models, auto or none, found '%s'", text)
               : status;
}

bool compress_request_chooses_rivals(void) {
    const char *text = GIVEN.rivals ? GIVEN.rivals : "auto";
    size_t len = strlen("auto");
    for (const char *at = text; at; at = strchr(at, ',')) {
        at += *at == ',';
        if (strncmp(at, "auto", len) == 0 && (at[len] == ',' || at[len] == '\0')) {
            return true;
        }
    }
    return false;
}

enum wl_status compress_request_make(const struct cli_context *context,
                                     const struct compress_paths *paths, json_t **request,
                                     struct wl_err *err) {
    double floor_kl = 0;
    uint64_t n_tokens = 0;
    json_t *r =
        json_pack("{s:s, s:s, s:s, s:I, s:b}", "path", paths->model, "out", paths->files.unverified,
                  "work", paths->files.work, "seed", (json_int_t)GIVEN.seed, "force", GIVEN.force);
    enum wl_status status =
        r ? set_cut(r, err) : wl_err_set(err, WL_INPUT, "a file name is not UTF-8 text");
    status = status == WL_OK ? vocabulary_of(&n_tokens, err) : status;
    status = status == WL_OK ? set_tasks(r, err) : status;
    status = status == WL_OK ? set_rivals(r, err) : status;
    status = status == WL_OK ? floor_of(&floor_kl, err) : status;
    if (status != WL_OK) {
        json_decref(r);
        return status;
    }
    if (GIVEN.vocabulary) {
        set(r, "vocabulary",
            n_tokens > 0 ? json_integer((json_int_t)n_tokens) : json_string("used"));
    }
    set_healing(r);
    set_encoder(r, paths);
    set_power(r, context);
    set_number(r, "n_tokens", GIVEN.n_tokens);
    set_number(r, "threads", GIVEN.threads);
    if (floor_kl > 0 && !GIVEN.accept) {
        set(r, "floor", json_real(floor_kl));
    }
    *request = r;
    return WL_OK;
}
