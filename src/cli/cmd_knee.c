// What an image costs in tokens, for one image encoder: counted, not encoded.
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "catalog/catalog.h"
#include "catalog/gguf_peek.h"
#include "cli/command.h"
#include "cli/knee_result.h"
#include "cli/progress.h"
#include "measure/image_map_count.h"
#include "os/process.h"
#include "plan/families.h"
#include "report/knee_svg.h"

enum { MAX_SVG_BYTES = 4 << 20 };

static struct { const char *mmproj, *model, *budgets, *svg; } given;

static const struct poptOption OPTIONS[] = {
    {"mmproj", 0, POPT_ARG_STRING, &given.mmproj, 0,
     "the image encoder: a GGUF file, or a name that 'wattlaw models' lists (default: the one that "
     "belongs to -m)",
     "FILE"},
    {"model", 'm', POPT_ARG_STRING, &given.model, 0,
     "its text model, whose tokenizer counts the text around a picture; no weights are read",
     "MODEL"},
    {"budgets", 'b', POPT_ARG_STRING, &given.budgets, 0,
     "values of image_max_tokens to try: 64,256 or 64..1024 (default: 1/16 to 2 times "
     "the largest image)",
     "LIST"},
    {"svg", 0, POPT_ARG_STRING, &given.svg, 0, "draw tokens against pixels into this file", "FILE"},
    POPT_TABLEEND};

struct request {
    char mmproj[OS_PATH_BYTES], model[OS_PATH_BYTES];
    int32_t budgets[IMAGE_MAP_MAX_BUDGETS];
    size_t n_budgets;
};

static enum wl_status take_budgets(struct request *request, struct wl_err *err) {
    uint32_t values[IMAGE_MAP_MAX_BUDGETS];
    size_t n = 0;
    if (!given.budgets) {
        return WL_OK;
    }
    bool is_list = str_parse_sweep(given.budgets, values, IMAGE_MAP_MAX_BUDGETS, &n);
    if (!is_list || values[n - 1] > IMAGE_MAP_MAX_BUDGET) {
        return wl_err_set(err, WL_USAGE,
                          "--budgets: expected up to %d numbers of tokens from 1 to %d, "
                          "as 64,256 or 64..1024; found '%s'",
                          IMAGE_MAP_MAX_BUDGETS, IMAGE_MAP_MAX_BUDGET, given.budgets);
    }
    for (size_t i = 0; i < n; i++) {
        request->budgets[i] = (int32_t)values[i];
    }
    request->n_budgets = n;
    return WL_OK;
}

static enum wl_status take_files(struct request *request, struct wl_err *err) {
    enum wl_status status = WL_OK;
    if (given.model) {
        status = catalog_resolve(NULL, given.model, request->model, err);
    }
    if (status == WL_OK) {
        status = given.mmproj ? catalog_resolve(NULL, given.mmproj, request->mmproj, err)
                              : catalog_find_mmproj(request->model, request->mmproj, err);
    }
    return status;
}

static void on_progress(void *context, double done, const char *what) {
    progress_update(context, done, -1, what);
}

static enum wl_status write_svg(const struct knee_result *result, struct wl_err *err) {
    struct buf text;
    char title[128], subtitle[256];
    const char *slash = strrchr(result->mmproj, '/');
    snprintf(title, sizeof title, "%s: what a picture costs",
             plan_family_of(result->vision->projector)->title);
    snprintf(subtitle, sizeof subtitle, "%s; square pictures, by image_max_tokens",
             slash ? slash + 1 : result->mmproj);
    buf_init(&text, MAX_SVG_BYTES);
    knee_svg(&text, result->map, title, subtitle);
    enum wl_status status =
        text.is_failed
            ? wl_err_set(err, WL_LIMIT, "the picture is larger than %d bytes", MAX_SVG_BYTES)
            : os_write_atomic(given.svg, text.data, text.len, err);
    buf_release(&text);
    return status;
}

static enum wl_status answer(struct cli_context *context, const struct request *request,
                             struct wl_err *err) {
    struct engine_vision vision;
    struct image_map *map;
    struct progress progress;
    char mmproj[OS_PATH_BYTES], model[OS_PATH_BYTES];
    struct image_map_request counting = {.mmproj = request->mmproj,
                                         .model = given.model ? request->model : NULL,
                                         .budgets = request->budgets,
                                         .n_budgets = request->n_budgets,
                                         .on_progress = on_progress,
                                         .context = &progress};
    progress_begin(&progress, context->common.quiet);
    enum wl_status status = image_map_count(&counting, &vision, &map, err);
    progress_end(&progress);
    if (status != WL_OK) {
        return status;
    }
    gguf_clean_text(mmproj, sizeof mmproj, request->mmproj);
    gguf_clean_text(model, sizeof model, request->model);
    const struct knee_result result = {
        .mmproj = mmproj, .model = given.model ? model : NULL, .vision = &vision, .map = map};
    status = given.svg ? write_svg(&result, err) : WL_OK;
    if (context->common.json) {
        knee_result_print_json(&result);
    } else {
        knee_result_print(&result);
    }
    image_map_free(map);
    return status;
}

static int run(struct cli_context *context) {
    struct wl_err err = {0};
    struct request request = {.n_budgets = 0};
    if (context->n_args) {
        return cli_usage(context, "unexpected argument '%s'; the encoder is given with --mmproj",
                         context->args[0]);
    }
    if (!given.mmproj && !given.model) {
        return cli_usage(context, "no image encoder: give --mmproj FILE, or -m MODEL where "
                                  "'wattlaw models' says that it sees images");
    }
    enum wl_status status = take_budgets(&request, &err);
    if (status != WL_OK) {
        return cli_usage(context, "%s", err.message);
    }
    os_catch_interrupts();
    status = take_files(&request, &err);
    if (status == WL_OK) {
        status = answer(context, &request, &err);
    }
    return status == WL_OK ? 0 : cli_fail(status, &err);
}

static const struct cli_example EXAMPLES[] = {
    {"wattlaw knee --mmproj mmproj-smolvlm-500m-q8_0.gguf", "every size and budget of one encoder"},
    {"wattlaw knee -m smolvlm-500m --budgets 64,128,512", "with the model's own text tokens"},
    {"wattlaw knee --mmproj mmproj.gguf --svg knee.svg --json > knee.json", "for a report"},
    {NULL, NULL}};

const struct cli_command CMD_knee = {
    .name = "knee",
    .arguments = "--mmproj FILE [-m MODEL] [--budgets LIST] [--svg FILE]",
    .summary = "what an image costs in tokens, size by size, and what makes it cheaper",
    .description =
        "Asks the engine how many tokens a vision-language model would see of pictures of many "
        "sizes, by default and with image budgets (image_max_tokens). Nothing is encoded and no "
        "weights are read, so it takes about a second for a model of any size.\n\n"
        "The knee is the size above which more pixels cost no more tokens: the encoder shrinks the "
        "picture anyway. Knees and steps are exact to the pixel. Some families have none: every "
        "picture costs the same, or the cost jumps with the number of tiles. What helps differs "
        "as much, so nothing is assumed: a smaller picture, a budget and a crop are named as "
        "savers only where the counts say so, and a budget that is ignored, or raises the cost, is "
        "said to be.\n\n"
        "Without -m a stand-in takes the text model's place: image tokens are exact, the text "
        "around a picture (marks of tiles, begin and end) is then not counted.",
    .options = OPTIONS,
    .examples = EXAMPLES,
    .run = run,
};
