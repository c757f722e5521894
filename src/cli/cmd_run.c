// One prompt: the answer streams to stdout, the energy card follows on stderr.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/units.h"
#include "catalog/catalog.h"
#include "cli/command.h"
#include "cli/engine_options.h"
#include "cli/progress.h"
#include "cli/term.h"
#include "image/image.h"
#include "measure/window.h"
#include "os/clock.h"
#include "os/process.h"

enum { MAX_PROMPT_BYTES = 8 << 20 };

static struct {
    const char *model, *mmproj, *prompt, *file;
    char **images;
    int n_predict, seed, top_k, raw;
    double temperature, top_p, idle_s;
} given = {.n_predict = 256, .top_k = 40, .top_p = 0.95, .idle_s = 1};

static const struct poptOption OPTIONS[] = {
    {"model", 'm', POPT_ARG_STRING, &given.model, 0,
     "GGUF file, or a name that 'wattlaw models' lists", "MODEL"},
    {"prompt", 'p', POPT_ARG_STRING, &given.prompt, 0, "what to ask", "TEXT"},
    {"image", 'i', POPT_ARG_ARGV, &given.images, 0,
     "a picture to look at: JPEG, PNG or WebP file, or a data: URI; may be given several times",
     "FILE"},
    {"mmproj", 0, POPT_ARG_STRING, &given.mmproj, 0,
     "image encoder (default: the one that belongs to the model)", "FILE"},
    {"file", 'f', POPT_ARG_STRING, &given.file, 0, "read the prompt from a file; - is stdin",
     "FILE"},
    {"n-predict", 'n', POPT_ARG_INT, &given.n_predict, 0, "most tokens to answer (default: 256)",
     "N"},
    {"raw", 0, POPT_ARG_NONE, &given.raw, 0,
     "give the text as it is, without the model's chat template", NULL},
    {"temperature", 0, POPT_ARG_DOUBLE, &given.temperature, 0,
     "0 (default) always takes the likeliest token", "T"},
    {"top-k", 0, POPT_ARG_INT, &given.top_k, 0,
     "with a temperature: among the K best (default: 40)", "K"},
    {"top-p", 0, POPT_ARG_DOUBLE, &given.top_p, 0,
     "with a temperature: among the likeliest that sum to P (default: 0.95)", "P"},
    {"seed", 0, POPT_ARG_INT, &given.seed, 0, "of the sampling (default: 0)", "N"},
    {"idle", 0, POPT_ARG_DOUBLE, &given.idle_s, 0,
     "seconds of idle baseline before the answer, for net energy from a meter (default: 1)", "S"},
    {NULL, 0, POPT_ARG_INCLUDE_TABLE, (void *)ENGINE_OPTIONS, 0, NULL, NULL},
    POPT_TABLEEND};

static void on_token(void *context, int32_t id, const char *text, int64_t t_ns) {
    (void)context;
    (void)id;
    (void)t_ns;
    fputs(text, stdout);
    fflush(stdout);
}

static void print_energy(const struct record_energy *e) {
    char gross[UNITS_TEXT_BYTES], net[UNITS_TEXT_BYTES], sd[UNITS_TEXT_BYTES];
    if (record_energy_label(e) == LABEL_UNRESOLVED) {
        bool is_unknown = record_is_resolved(e->gross_j, e->gross_sd_j, 0);
        fprintf(stderr, "  energy   unresolved: %s %s (scope %s)\n",
                is_unknown ? "too little is known of this machine by"
                           : "the window is too short for",
                e->source, e->scope);
        return;
    }
    double net_sd = hypot(e->net_sd_j, e->systematic_rel * e->net_j);
    fprintf(stderr, "  energy   %s net \u00b1 %s, %s gross   %s, %s, scope %s\n",
            units_energy(net, e->net_j), units_energy(sd, 1.96 * net_sd),
            units_energy(gross, e->gross_j), record_label_name(e->label), e->source, e->scope);
}

static void print_image(const struct record *record) {
    char load[UNITS_TEXT_BYTES], encode[UNITS_TEXT_BYTES], prefill[UNITS_TEXT_BYTES];
    const struct record_vision *vision = &record->vision;
    const double *v = record->value;
    if (vision->n_images == 0) {
        return;
    }
    fprintf(stderr, "  image    %ux%u%s: %u tokens", vision->width, vision->height,
            vision->n_images > 1 ? " and more" : "", vision->image_tokens);
    if (vision->effective_pixels) {
        fprintf(stderr, ", %.3f Mpx seen", (double)vision->effective_pixels * 1e-6);
    }
    fprintf(stderr, "; read %s, encode %s, prefill %s\n",
            units_seconds(load, v[METRIC_image_load_s]), units_seconds(encode, v[METRIC_vision_s]),
            units_seconds(prefill, v[METRIC_image_prefill_s]));
}

static void print_card(const struct record *record, double rel_load_s) {
    char time[UNITS_TEXT_BYTES], prefill[UNITS_TEXT_BYTES], decode[UNITS_TEXT_BYTES];
    char peak[UNITS_TEXT_BYTES], core[UNITS_TEXT_BYTES], load[UNITS_TEXT_BYTES];
    const double *v = record->value;
    fprintf(stderr, "\n%s%u + %u tokens%s in %s  (load %s)\n", term_bold(stderr),
            record->prompt_tokens, record->generated_tokens, term_reset(stderr),
            units_seconds(time, v[METRIC_time_s]), units_seconds(load, rel_load_s));
    print_image(record);
    fprintf(stderr, "  prompt   %s, %.1f tokens/s\n", units_seconds(prefill, v[METRIC_prefill_s]),
            v[METRIC_prompt_tps]);
    fprintf(stderr, "  answer   %s, ", units_seconds(decode, v[METRIC_decode_s]));
    if (isfinite(v[METRIC_decode_tps])) {
        fprintf(stderr, "%.1f tokens/s\n", v[METRIC_decode_tps]);
    } else {
        fputs("one token\n", stderr);
    }
    fprintf(stderr, "  CPU      %s of core time, AUC %.0f %%\u00b7s\n",
            units_seconds(core, v[METRIC_cpu_core_s]), v[METRIC_cpu_auc_pct_s]);
    fprintf(stderr, "  RAM      %s peak, AUC %.0f MiB\u00b7s\n",
            units_bytes(peak, v[METRIC_ram_peak_mib] * UNITS_BYTES_PER_MIB),
            v[METRIC_ram_auc_mib_s]);
    for (uint32_t i = 0; i < record->n_energies; i++) {
        print_energy(&record->energy[i]);
    }
    char flags[256];
    if (record->flags) {
        fprintf(stderr, "  flags    %s\n", record_flags_text(flags, sizeof flags, record->flags));
    }
}

static int print_json(const struct window *window) {
    json_t *object = record_to_json(&window->record);
    json_object_set_new(object, "schema_version", json_integer(1));
    json_object_set_new(object, "text", json_string(window->result.text));
    json_object_set_new(object, "stop", json_string(engine_stop_name(window->result.stop)));
    struct buf text;
    buf_init(&text, 64 << 20);
    bool is_written = wl_json_write_pretty(&text, object);
    json_decref(object);
    printf("%s\n", buf_text(&text));
    buf_release(&text);
    return is_written ? 0 : 1;
}

static enum wl_status read_prompt(struct buf *text, struct wl_err *err) {
    if (given.prompt) {
        return buf_puts(text, given.prompt)
                   ? WL_OK
                   : wl_err_set(err, WL_LIMIT, "the prompt is longer than %d bytes",
                                MAX_PROMPT_BYTES);
    }
    const char *path = strcmp(given.file, "-") == 0 ? "/dev/stdin" : given.file;
    return os_slurp(path, text, err);
}

static enum wl_status give_image(struct engine *engine, uint32_t slot, const char *given_as,
                                 struct wl_err *err) {
    struct buf bytes;
    buf_init(&bytes, IMAGE_LIMITS.max_bytes);
    unsigned char *decoded = NULL;
    size_t n = 0;
    enum wl_status status;
    if (strncmp(given_as, "data:", 5) == 0) {
        status = image_from_data_uri(given_as, strlen(given_as), NULL, &decoded, &n, err);
    } else {
        status = os_slurp(given_as, &bytes, err);
        n = bytes.len;
    }
    if (status == WL_OK) {
        status =
            engine_put_image(engine, slot, decoded ? decoded : (void *)bytes.data, n, NULL, err);
    }
    if (status != WL_OK) {
        wl_err_prefix(err, "image '%.200s'", given_as);
    }
    free(decoded);
    buf_release(&bytes);
    return status;
}

// The images of the command line, in slots 0, 1, ...
static enum wl_status give_images(struct engine *engine, size_t *n, struct wl_err *err) {
    enum wl_status status = WL_OK;
    for (*n = 0; given.images && given.images[*n] && status == WL_OK; (*n)++) {
        if (*n == ENGINE_MAX_RUN_IMAGES) {
            return wl_err_set(err, WL_LIMIT, "at most %d images", ENGINE_MAX_RUN_IMAGES);
        }
        status = give_image(engine, (uint32_t)*n, given.images[*n], err);
    }
    return status;
}

static enum wl_status ask(struct cli_context *context, struct subject *subject, const char *prompt,
                          struct window *window, struct wl_err *err) {
    struct idle idle;
    bool needs_idle =
        subject->meters.n && meter_info(subject->meters.meter[0])->kind != METER_MODEL;
    static const uint32_t SLOTS[ENGINE_MAX_RUN_IMAGES] = {0, 1, 2,  3,  4,  5,  6,  7,
                                                          8, 9, 10, 11, 12, 13, 14, 15};
    size_t n_images = 0;
    enum wl_status status = give_images(subject->engine, &n_images, err);
    if (status == WL_OK && needs_idle) {
        status = idle_measure(subject, given.idle_s, &idle, err);
    }
    if (status != WL_OK) {
        return status;
    }
    struct engine_run_events events = {.on_token = context->common.json ? NULL : on_token};
    struct window_options options = {
        .run = {.prompt = prompt,
                .is_template = !given.raw && subject->model.has_chat_template,
                .images = SLOTS,
                .n_images = n_images,
                .n_predict = (uint32_t)given.n_predict,
                .temperature = given.temperature,
                .top_k = given.temperature > 0 ? (uint32_t)given.top_k : 0,
                .top_p = given.temperature > 0 ? given.top_p : 0,
                .seed = (uint32_t)given.seed},
        .events = &events};
    status = window_run(subject, &options, needs_idle ? &idle : NULL, window, err);
    if (status == WL_UNSUPPORTED && options.run.is_template) {
        cli_warn(context, "%s; asking without it", err->message);
        options.run.is_template = false;
        status = window_run(subject, &options, needs_idle ? &idle : NULL, window, err);
    }
    return status;
}

static int answer(struct cli_context *context, struct subject_options *options,
                  const char *prompt) {
    struct wl_err err = {0};
    struct subject subject;
    struct window window;
    struct progress progress;
    progress_begin(&progress, context->common.quiet);
    progress_update(&progress, 0, -1, "loading the model");
    enum wl_status status = subject_open(&subject, options, &err);
    progress_end(&progress);
    if (status != WL_OK) {
        return cli_fail(status, &err);
    }
    status = ask(context, &subject, prompt, &window, &err);
    int exit_code = 0;
    if (status != WL_OK) {
        fputc('\n', stdout);
        exit_code = cli_fail(status, &err);
    } else if (context->common.json) {
        exit_code = print_json(&window);
    } else {
        fputc('\n', stdout);
        fflush(stdout);
        if (!context->common.quiet) {
            print_card(&window.record, window.record.value[METRIC_load_s]);
        }
    }
    if (status == WL_OK) {
        window_release(&window);
    }
    subject_close(&subject);
    return exit_code;
}

static int run(struct cli_context *context) {
    struct wl_err err = {0};
    struct subject_options options;
    char path[OS_PATH_BYTES], mmproj[OS_PATH_BYTES];
    if (!given.model) {
        return cli_usage(context, "no model: give -m MODEL ('wattlaw models' lists yours)");
    }
    if (!given.prompt == !given.file || context->n_args) {
        return cli_usage(context, "give the prompt with -p TEXT or with -f FILE");
    }
    if (given.n_predict < 1 || given.temperature < 0 || given.top_k < 0) {
        return cli_usage(context, "-n, --temperature, --top-k: a negative or zero value");
    }
    enum wl_status status = engine_options_get(context, &options, &err);
    if (status == WL_USAGE) {
        return cli_usage(context, "%s", err.message);
    }
    engine_options_calibrate(context, &options);
    os_catch_interrupts();
    struct buf prompt;
    buf_init(&prompt, MAX_PROMPT_BYTES);
    status = read_prompt(&prompt, &err);
    if (status == WL_OK) {
        status = catalog_resolve(NULL, given.model, path, &err);
    }
    options.model_path = path;
    if (status == WL_OK && (given.images || given.mmproj)) {
        status = given.mmproj ? catalog_resolve(NULL, given.mmproj, mmproj, &err)
                              : catalog_find_mmproj(path, mmproj, &err);
        options.mmproj_path = mmproj;
    }
    int exit_code =
        status == WL_OK ? answer(context, &options, buf_text(&prompt)) : cli_fail(status, &err);
    buf_release(&prompt);
    return exit_code;
}

static const struct cli_example EXAMPLES[] = {
    {"wattlaw run -m qwen2.5-0.5b-instruct-q8_0.gguf -p 'Name three rivers.'",
     "the answer, then what it cost"},
    {"wattlaw run -m builtin -i panel.webp -p 'What number is shown?'", "ask about a picture"},
    {"wattlaw run -m model.gguf -f letter.txt -n 100 --json", "text and figures as JSON"},
    {NULL, NULL}};

const struct cli_command CMD_run = {
    .name = "run",
    .arguments = "-m MODEL -p TEXT [options]",
    .summary = "answer one prompt and show what it cost",
    .description = "Streams the model's answer to standard output, and prints a card on standard "
                   "error: tokens, time by phase, CPU, RAM and energy of this one prompt.\n\n"
                   "Pictures stand before the text, or where the prompt has <__media__>, as many "
                   "as there are pictures.",
    .options = OPTIONS,
    .examples = EXAMPLES,
    .run = run,
};
