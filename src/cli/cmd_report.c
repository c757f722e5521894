#include <stdio.h>
#include <string.h>

#include "base/units.h"
#include "cli/command.h"
#include "cli/study_result.h"
#include "os/clock.h"
#include "report/report.h"
#include "stats/describe.h"

static struct {
    const char *study, *out, *format;
    int list;
} given = {.out = "wattlaw-report"};

static const struct poptOption OPTIONS[] = {
    {"study", 0, POPT_ARG_STRING, &given.study, 0,
     "which one: a number, a uuid's beginning, or latest (default)", "STUDY"},
    {"out", 'o', POPT_ARG_STRING, &given.out, 0,
     "folder for report.html, report.json and records.csv (default: wattlaw-report)", "DIR"},
    {"format", 'f', POPT_ARG_STRING, &given.format, 0,
     "instead: print one format (text, json, csv or html) on stdout", "FORMAT"},
    {"list", 'l', POPT_ARG_NONE, &given.list, 0, "list the studies in the store", NULL},
    POPT_TABLEEND};

static enum wl_status list_studies(struct cli_context *context, struct store *store,
                                   struct wl_err *err) {
    struct store_study *studies;
    size_t n;
    enum wl_status status = store_study_list(store, &studies, &n, err);
    if (status != WL_OK) {
        return status;
    }
    json_t *rows = json_array();
    for (size_t i = 0; i < n; i++) {
        char when[32];
        const struct store_study *s = &studies[i];
        os_format_utc(when, sizeof when, s->created_wall_ns);
        json_array_append_new(rows,
                              json_pack("{s:I, s:s, s:s, s:s, s:s, s:I}", "id", (json_int_t)s->id,
                                        "uuid", s->uuid, "title", s->title, "created", when,
                                        "state", store_study_state_name(s->state), "n_records",
                                        (json_int_t)s->n_records));
        if (!context->common.json) {
            printf("%4lld  %.8s  %s  %-11s %4u windows, %u model%s  %s\n", (long long)s->id,
                   s->uuid, when, store_study_state_name(s->state), s->n_records, s->n_models,
                   s->n_models == 1 ? "" : "s", s->title);
        }
    }
    if (context->common.json) {
        json_t *document = json_pack("{s:i, s:O}", "schema_version", 1, "studies", rows);
        json_dumpf(document, stdout, JSON_INDENT(2));
        putchar('\n');
        json_decref(document);
    } else if (n == 0) {
        puts("the store has no study yet: 'wattlaw study' makes one");
    }
    json_decref(rows);
    store_study_free_list(studies, n);
    return WL_OK;
}

static enum wl_status print_format(const struct report_result *result, const char *name,
                                   struct wl_err *err) {
    enum report_format format = report_format_by_name(name);
    if (format == REPORT_FORMAT_COUNT) {
        return wl_err_set(err, WL_USAGE, "--format: expected text, json, csv or html, found '%s'",
                          name);
    }
    struct buf text;
    buf_init(&text, REPORT_MAX_BYTES);
    enum wl_status status = report_write(result, format, NULL, &text, err);
    if (status == WL_OK) {
        fwrite(buf_text(&text), 1, text.len, stdout);
    }
    buf_release(&text);
    return status;
}

static enum wl_status make_report(struct cli_context *context, struct store *store,
                                  struct wl_err *err) {
    struct report_result *result;
    enum wl_status status = study_result_load(store, given.study, NULL, &result, err);
    if (status != WL_OK) {
        return status;
    }
    if (given.format) {
        status = print_format(result, given.format, err);
    } else {
        status = study_result_write(result, given.out, err);
        if (status == WL_OK) {
            status = study_result_print(context, result, err);
        }
        if (status == WL_OK && !context->common.json) {
            printf("\nreport: %s/report.html\n", given.out);
        }
    }
    report_result_free(result);
    return status;
}

static int run(struct cli_context *context) {
    struct wl_err err = {0};
    struct store *store;
    if (context->n_args) {
        return cli_usage(context, "unexpected argument '%s'", context->args[0]);
    }
    enum wl_status status = study_store_open(context, STORE_READ_ONLY, &store, &err);
    if (status != WL_OK) {
        return cli_fail(status, &err);
    }
    status = given.list ? list_studies(context, store, &err) : make_report(context, store, &err);
    store_close(store);
    return status == WL_OK      ? 0
           : status == WL_USAGE ? cli_usage(context, "%s", err.message)
                                : cli_fail(status, &err);
}

static const struct cli_example EXAMPLES[] = {
    {"wattlaw report", "the latest study again, from the store"},
    {"wattlaw report --list", "all studies"},
    {"wattlaw report --study 3 --format csv > runs.csv", "the raw records of study 3"},
    {NULL, NULL}};

const struct cli_command CMD_report = {
    .name = "report",
    .arguments = "[--study STUDY] [-o DIR | -f FORMAT | --list]",
    .summary = "rebuild the report of a stored study",
    .description = "Reads a study from the store, fits its laws again, and writes the report: an "
                   "HTML page that needs nothing else, JSON with everything, and the raw records "
                   "as CSV.",
    .options = OPTIONS,
    .examples = EXAMPLES,
    .run = run,
};
