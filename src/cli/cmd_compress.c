// A smaller model out of a GGUF file, how far it is from the original, and what it saves.
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/str.h"
#include "base/units.h"
#include "catalog/catalog.h"
#include "cli/command.h"
#include "cli/compress_certificate.h"
#include "cli/compress_page.h"
#include "cli/compress_recipe.h"
#include "cli/compress_request.h"
#include "cli/compress_result.h"
#include "cli/compress_run.h"
#include "cli/model_label.h"
#include "cli/study_pair.h"
#include "cli/study_result.h"
#include "os/process.h"

#define GIVEN compress_given
static const char DEFAULT_CHECK[] = "60s";
enum { MAX_DOCUMENT_BYTES = 64 << 20 };

struct compress {
    struct cli_context *context;
    struct compress_paths paths;
    double check_s; // of measuring both models at the end; 0 = none
    json_t *request, *planned, *result;
    struct report_result *measured; // NULL: not measured
};

static struct compress_view view_of(const struct compress *compress, const json_t *result) {
    return (struct compress_view){compress->request, result, GIVEN.out, GIVEN.mmproj_out};
}

// ---- files ----

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

static enum wl_status check_place(const char *option, const char *out, const char *source,
                                  struct wl_err *err) {
    char folder[OS_PATH_BYTES];
    folder_of(folder, out);
    if (!os_is_dir(folder)) {
        return wl_err_set(err, WL_NOT_FOUND, "cannot write '%s': no folder '%s'", out, folder);
    }
    if (os_is_dir(out)) {
        return wl_err_set(err, WL_USAGE, "%s: expected a file, '%s' is a folder", option, out);
    }
    if (is_same_file(source, out)) {
        return wl_err_set(err, WL_USAGE,
                          "%s: '%s' is the model itself, which is never changed; expected another "
                          "file",
                          option, out);
    }
    return os_exists(out) && !GIVEN.force
               ? wl_err_set(err, WL_USAGE, "'%s' exists; --force replaces it", out)
               : WL_OK;
}

// The encoder that belongs to the model, where somebody needs it.
static enum wl_status find_encoder(struct compress *compress, struct wl_err *err) {
    char *path = compress->paths.mmproj;
    struct wl_err ignored;
    if (GIVEN.mmproj) {
        return catalog_resolve(NULL, GIVEN.mmproj, path, err);
    }
    if (GIVEN.mmproj_out) {
        return catalog_find_mmproj(compress->paths.model, path, err);
    }
    if (catalog_find_mmproj(compress->paths.model, path, &ignored) != WL_OK) {
        path[0] = '\0';
    }
    return WL_OK;
}

static enum wl_status find_files(struct compress *compress, struct wl_err *err) {
    struct compress_paths *paths = &compress->paths;
    enum wl_status status = catalog_resolve(NULL, compress->context->args[0], paths->model, err);
    if (status == WL_OK) {
        status = check_place("--out", GIVEN.out, paths->model, err);
    }
    if (status == WL_OK) {
        status = find_encoder(compress, err);
    }
    if (status == WL_OK && GIVEN.mmproj_out) {
        status = check_place("--mmproj-out", GIVEN.mmproj_out, paths->mmproj, err);
    }
    return status == WL_OK ? compress_files_of(GIVEN.out, GIVEN.mmproj_out, &paths->files, err)
                           : status;
}

static enum wl_status check_room(const struct compress *compress, struct wl_err *err) {
    const json_t *plan = json_object_get(compress->planned, "plan");
    const json_t *estimate = json_object_get(plan, "estimate");
    char folder[OS_PATH_BYTES], wanted[UNITS_TEXT_BYTES], there[UNITS_TEXT_BYTES];
    uint64_t free_bytes;
    double bytes =
        wl_json_opt_double(estimate, "disk_bytes", wl_json_opt_double(plan, "out_bytes", 0));
    folder_of(folder, GIVEN.out);
    enum wl_status status = os_free_bytes(folder, &free_bytes, err);
    if (status != WL_OK || bytes <= (double)free_bytes) {
        return status;
    }
    return wl_err_set(err, WL_LIMIT, "cannot write '%s': it needs about %s but '%s' has %s free",
                      GIVEN.out, units_bytes(wanted, bytes), folder,
                      units_bytes(there, (double)free_bytes));
}

static enum wl_status take_place(const char *from, const char *to, struct wl_err *err) {
    return rename(from, to) == 0 ? WL_OK
                                 : wl_err_errno(err, errno, "cannot rename '%s' to '%s'", from, to);
}

// ---- plan ----

static enum wl_status print_document(const struct compress_view *view, struct wl_err *err) {
    struct buf text;
    buf_init(&text, MAX_DOCUMENT_BYTES);
    json_t *document = compress_result_json(view);
    bool is_whole = document && wl_json_write_pretty(&text, document);
    if (is_whole) {
        printf("%s\n", buf_text(&text));
    }
    json_decref(document);
    buf_release(&text);
    return is_whole ? WL_OK : wl_err_set(err, WL_MEMORY, "no memory for the JSON");
}

static enum wl_status plan(struct compress *compress, struct wl_err *err) {
    enum wl_status status = compress_plan(compress->request, &compress->planned, err);
    if (status != WL_OK) {
        return status;
    }
    struct compress_view view = view_of(compress, compress->planned);
    if (GIVEN.dry_run && compress->context->common.json) {
        return print_document(&view, err);
    }
    if (GIVEN.dry_run || !compress->context->common.quiet) {
        compress_plan_print(GIVEN.dry_run ? stdout : stderr, &view);
    }
    if (!GIVEN.dry_run && !compress->context->common.quiet) {
        fputc('\n', stderr);
    }
    return WL_OK;
}

// Types of the original that are about as small as the result, and the usual small one.
static void choose_rivals(struct compress *compress) {
    static const struct {
        const char *type;
        double bits;
    } TYPES[] = {{"Q8_0", 8.5}, {"Q6_K", 6.56}, {"Q5_K", 5.5}, {"Q4_K", 4.5}, {"Q3_K", 3.44}};
    enum { USUAL = 3, N_TYPES = sizeof TYPES / sizeof TYPES[0] };
    const json_t *plan = json_object_get(compress->planned, "plan");
    double ratio =
        wl_json_opt_double(plan, "out_bytes", 0) / wl_json_opt_double(plan, "in_bytes", 1);
    double bits = wl_json_opt_double(plan, "bits_per_weight", 16);
    size_t i = 0;
    while (i + 1 < N_TYPES && TYPES[i].bits > bits * ratio) {
        i++;
    }
    json_t *list = json_array();
    if (TYPES[i].bits < bits) {
        json_array_append_new(list, json_string(TYPES[i].type));
    }
    if (i != USUAL && TYPES[USUAL].bits < bits) {
        json_array_append_new(list, json_string(TYPES[USUAL].type));
    }
    json_array_extend(list, json_object_get(compress->request, "rivals")); // files beside them
    json_object_set_new(compress->request, "rivals", list);
}

// ---- check: both side by side ----

static enum wl_status measure(struct compress *compress, struct wl_err *err) {
    const struct compress_paths *paths = &compress->paths;
    char *names[2] = {model_label(paths->model), model_label(GIVEN.out)};
    const char *encoder = paths->mmproj[0] ? paths->mmproj : NULL;
    const char *new_encoder = GIVEN.mmproj_out ? paths->files.encoder_unverified : encoder;
    struct study_pair pair = {
        .path = {paths->model, paths->files.unverified},
        .label = {names[0], names[1]},
        .mmproj = {encoder, new_encoder},
        .title = "compressed against the original",
        .tasks = (const char *const *)(void *)GIVEN.check_tasks,
        .task_limit = (size_t)GIVEN.task_limit,
        .n_ctx_train =
            (uint32_t)wl_json_opt_i64(json_object_get(compress->planned, "plan"), "n_ctx_train", 0),
        .budget_s = compress->check_s,
        .seed = (uint64_t)GIVEN.seed,
        .subject = {.threads = GIVEN.threads != -1 ? (uint32_t)GIVEN.threads : 0,
                    .image_max_tokens = GIVEN.image_tokens != -1 ? GIVEN.image_tokens : 0,
                    .root = compress->context->common.root}};
    while (GIVEN.check_tasks && GIVEN.check_tasks[pair.n_tasks]) {
        pair.n_tasks++;
    }
    enum wl_status status = study_pair_run(compress->context, &pair, &compress->measured, err);
    if (status == WL_OK && GIVEN.report) {
        status = study_result_write(compress->measured, GIVEN.report, err);
    }
    free(names[0]);
    free(names[1]);
    return status;
}

// A loss of right answers that is certain to be larger than accepted, or on average is.
static enum wl_status judge_answers(const struct compress *compress, struct wl_err *err) {
    const struct report_right_change *change =
        compress->measured ? &compress->measured->right_change : NULL;
    if (!change || change->n == 0 || GIVEN.accept || change->points >= -GIVEN.check_drop) {
        return WL_OK;
    }
    return wl_err_set(
        err, WL_GATE,
        "%.1f points of right answers are lost (95 %% %.1f to %.1f, %zu questions), "
        "accepted are %g: '%s' was not written; cut less, heal longer, or --accept it",
        -change->points, -change->ci95.high, -change->ci95.low, change->n, GIVEN.check_drop,
        GIVEN.out);
}

// ---- the work ----

static enum wl_status seal(struct compress *compress, struct wl_err *err) {
    const struct compress_files *files = &compress->paths.files;
    struct compress_view view = view_of(compress, compress->result);
    json_t *certificate = NULL;
    enum wl_status status = compress_certificate_make(&view, compress->measured, &certificate, err);
    if (status == WL_OK) {
        status = compress_certify(files->unverified, certificate, files->work, err);
    }
    json_decref(certificate);
    if (status == WL_OK) {
        status = take_place(files->unverified, GIVEN.out, err);
    }
    return status == WL_OK && GIVEN.mmproj_out
               ? take_place(files->encoder_unverified, GIVEN.mmproj_out, err)
               : status;
}

static void print_report_paths(bool has_page, bool has_study) {
    if (has_page || has_study) {
        putchar('\n');
    }
    if (has_page) {
        printf("report: %s/%s\n", GIVEN.report, COMPRESS_PAGE_NAME);
    }
    if (has_study) {
        printf("report: %s/report.html\n", GIVEN.report);
    }
}

static enum wl_status show(const struct compress *compress, bool has_page, struct wl_err *err) {
    struct compress_view view = view_of(compress, compress->result);
    if (compress->context->common.json) {
        return print_document(&view, err);
    }
    compress_result_print(&view);
    enum wl_status status = WL_OK;
    if (compress->measured) {
        putchar('\n');
        status = study_result_print(compress->context, compress->measured, err);
    }
    if (status == WL_OK && GIVEN.report) {
        print_report_paths(has_page, compress->measured != NULL);
    }
    return status;
}

// A page that cannot be written is told after the result, which took longer to make.
static enum wl_status tell(const struct compress *compress, struct wl_err *err) {
    struct compress_view view = view_of(compress, compress->result);
    struct wl_err page_err;
    enum wl_status page = WL_OK;
    if (GIVEN.report) {
        page = compress_page_write(&view, GIVEN.report, compress->measured != NULL, &page_err);
    }
    enum wl_status status = show(compress, page == WL_OK, err);
    return status == WL_OK && page != WL_OK ? wl_err_set(err, page, "%s", page_err.message)
                                            : status;
}

static enum wl_status finish(struct compress *compress, struct wl_err *err) {
    bool is_written = wl_json_opt_bool(compress->result, "is_written", false);
    enum wl_status verdict =
        is_written ? WL_OK
                   : wl_err_set(err, WL_GATE, "%s",
                                wl_json_opt_string(compress->result, "refusal", "refused"));
    if (verdict == WL_OK && compress->check_s > 0) {
        verdict = measure(compress, err);
        verdict = verdict == WL_OK ? judge_answers(compress, err) : verdict;
    }
    if (verdict == WL_OK) {
        verdict = seal(compress, err);
    }
    if (verdict != WL_OK && verdict != WL_GATE) {
        return verdict;
    }
    if (verdict == WL_GATE) { // told in the document, too
        json_object_set_new(compress->result, "is_written", json_false());
        json_object_set_new(compress->result, "refusal", json_string(err->message));
    }
    struct wl_err other;
    enum wl_status status = tell(compress, &other);
    return status == WL_OK ? verdict : wl_err_set(err, status, "%s", other.message);
}

static enum wl_status work(struct compress *compress, struct wl_err *err) {
    enum wl_status status = check_room(compress, err);
    if (status != WL_OK) {
        return status;
    }
    if (compress_request_chooses_rivals()) {
        choose_rivals(compress);
    }
    if (GIVEN.fresh) {
        json_object_set_new(compress->request, "fresh", json_true());
    }
    if (GIVEN.recipe) {
        char text[OS_PATH_BYTES];
        status = compress_recipe_make(GIVEN.recipe, compress->paths.model, GIVEN.out, text, err);
        if (status != WL_OK) {
            return status;
        }
        json_object_set_new(compress->request, "export", json_string(text));
    }
    status = compress_run(compress->context, compress->request, &compress->result, err);
    return status == WL_OK ? finish(compress, err) : status;
}

static enum wl_status prepare(struct compress *compress, struct wl_err *err) {
    const char *check = GIVEN.check ? GIVEN.check : DEFAULT_CHECK;
    enum wl_status status = compress_request_check(err);
    if (status == WL_OK && strcmp(check, "0") != 0 &&
        !str_parse_seconds(check, &compress->check_s)) {
        status = wl_err_set(err, WL_USAGE, "--check: expected a time such as 60s or 5m, found '%s'",
                            check);
    }
    if (status == WL_OK) {
        status = find_files(compress, err);
    }
    return status == WL_OK
               ? compress_request_make(compress->context, &compress->paths, &compress->request, err)
               : status;
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
    if (!GIVEN.out) {
        return cli_usage(context, "no file to write: give -o FILE");
    }
    os_catch_interrupts();
    enum wl_status status = prepare(&compress, &err);
    if (status == WL_OK) {
        status = plan(&compress, &err);
    }
    if (status == WL_OK && !GIVEN.dry_run) {
        status = work(&compress, &err);
    }
    json_decref(compress.request);
    json_decref(compress.planned);
    json_decref(compress.result);
    report_result_free(compress.measured);
    if (status == WL_USAGE) {
        return cli_usage(context, "%s", err.message);
    }
    return status == WL_OK ? 0 : cli_fail(status, &err);
}

static const struct cli_example EXAMPLES[] = {
    {"wattlaw compress model-q8_0.gguf -o small.gguf --budget 0.8 --calib notes/",
     "a fifth fewer block weights, kept good at texts like these"},
    {"wattlaw compress model-f16.gguf -o small.gguf --budget 600MB --type Q4_K",
     "what fits into 600 MB"},
    {"wattlaw compress builtin -o s.gguf --cut 0.6 --tasks calib-text --heal full",
     "the built-in model, and all that is left of it trained to answer as before"},
    {"wattlaw compress vlm.gguf -o s.gguf --mmproj-out eye.gguf --tasks mine.jsonl",
     "text model and image encoder, calibrated on your pictures and questions"},
    {"wattlaw compress m.gguf -o s.gguf --heal lora --minutes 480",
     "over night; exit code 4 and no file when it is not good enough"},
    {"wattlaw compress m.gguf -o s.gguf --cut 0.3 --dry-run", "only the plan"},
    {NULL, NULL}};

const struct cli_command CMD_compress = {
    .name = "compress",
    .arguments = "IN -o OUT [--budget BUDGET | --cut SHARE] [options]",
    .summary = "make a smaller model out of a GGUF file, and prove what was kept",
    .description =
        "Takes neurons, heads or whole blocks out of a model: those go that the outputs miss least "
        "(optimal brain surgeon), what is left is repaired by least squares and, with --heal, "
        "trained for a while to answer as before. The result runs wherever llama.cpp runs.\n\n"
        "The calibration text decides what stays good: give text (--calib) or questions (--tasks) "
        "like those that the model will be used for. What the model writes itself is added to "
        "them, and is all there is without them.\n\n"
        "At the end both models read text that was held out: KL divergence of the next-token "
        "distributions, perplexity, and how often the likeliest token is the same; beside them the "
        "original at lower bits, which costs nothing. When the floor is missed less is cut, up to "
        "three times; then nothing is written (exit code 4). After that both are measured side by "
        "side, with questions (--check-tasks) if there are any. All this is written into the file "
        "('wattlaw models --info OUT'); --report DIR puts it on a page with pictures, too "
        "(compression.html), also when the floor was missed.\n\n"
        "Interrupted, the same command goes on where it stopped (OUT.work). Start from weights of "
        "8 "
        "bits or more. IN may be a name that 'wattlaw models' lists.",
    .options = COMPRESS_OPTIONS,
    .examples = EXAMPLES,
    .run = run,
};
