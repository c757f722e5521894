// One line per record, RFC 4180 quoting, '.' decimals, empty where not measured. The columns follow
// metrics.def, what the model saw, and the energy sources that occur.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "report/figures.h"
#include "report/formats.h"

// Quoted when needed. A text that a spreadsheet would run as a formula gets an apostrophe in front.
static void put_field(struct buf *out, const char *text) {
    bool is_formula = text[0] && strchr("=+-@", text[0]);
    if (!is_formula && !strpbrk(text, ",\"\n\r")) {
        buf_puts(out, text);
        return;
    }
    buf_puts(out, is_formula ? "\"'" : "\"");
    for (const char *p = text; *p; p++) {
        buf_append(out, p, 1);
        if (*p == '"') {
            buf_puts(out, "\"");
        }
    }
    buf_puts(out, "\"");
}

static void put_number(struct buf *out, double value) {
    buf_puts(out, ",");
    if (isfinite(value)) {
        buf_printf(out, "%.12g", value);
    }
}

// All sources of all models, each once.
struct source_list {
    const struct report_source *source[REPORT_MAX_MODELS * RECORD_MAX_ENERGIES];
    size_t n;
};

static bool is_same(const struct report_source *a, const char *source, const char *scope) {
    return strcmp(a->source, source) == 0 && strcmp(a->scope, scope) == 0;
}

static void list_sources(const struct report_result *result, struct source_list *list) {
    list->n = 0;
    for (size_t m = 0; m < result->n_models; m++) {
        for (size_t i = 0; i < result->model[m].n_sources; i++) {
            const struct report_source *source = &result->model[m].source[i];
            size_t k = 0;
            while (k < list->n && !is_same(list->source[k], source->source, source->scope)) {
                k++;
            }
            if (k == list->n) {
                list->source[list->n++] = source;
            }
        }
    }
}

static void put_source_header(struct buf *out, const struct report_source *source) {
    static const char *const COLUMNS[] = {"gross_j", "gross_sd_j", "net_j", "net_sd_j", "label"};
    for (size_t i = 0; i < sizeof COLUMNS / sizeof COLUMNS[0]; i++) {
        char name[3 * RECORD_NAME_BYTES];
        snprintf(name, sizeof name, "%s.%s.%s", source->source, source->scope, COLUMNS[i]);
        buf_puts(out, ",");
        put_field(out, name);
    }
}

static void put_source(struct buf *out, const struct record *record,
                       const struct report_source *source) {
    for (uint32_t i = 0; i < record->n_energies; i++) {
        const struct record_energy *energy = &record->energy[i];
        if (is_same(source, energy->source, energy->scope)) {
            put_number(out, energy->gross_j);
            put_number(out, energy->gross_sd_j);
            put_number(out, energy->net_j);
            put_number(out, energy->net_sd_j);
            buf_printf(out, ",%s", record_label_name(record_energy_label(energy)));
            return;
        }
    }
    buf_puts(out, ",,,,,");
}

static void put_vision(struct buf *out, const struct record_vision *seen) {
    if (seen->n_images == 0) {
        buf_puts(out, ",,,,,,,,");
        return;
    }
    buf_printf(out, ",%u,%u,%u,", seen->n_images, seen->width, seen->height);
    if (seen->effective_pixels > 0) { // else the family does not tell
        buf_printf(out, "%llu", (unsigned long long)seen->effective_pixels);
    }
    buf_printf(out, ",%u,%u,%u,%u", seen->image_tokens, seen->n_views, seen->image_min_tokens,
               seen->image_max_tokens);
}

static void put_record(struct buf *out, const struct report_model *model, const char *role,
                       const struct record *record, const struct source_list *sources) {
    char flags[256];
    buf_printf(out, "%u,%s,", record->seq, role);
    put_field(out, model->name);
    buf_printf(out, ",%u,%u,%u,%u,%u,%lld,%lld,", record->cell, record->repeat,
               record->prompt_tokens, record->generated_tokens, record->n_requests,
               (long long)record->wall_ns, (long long)(record->t1_ns - record->t0_ns));
    put_field(out, record_flags_text(flags, sizeof flags, record->flags));
    for (unsigned i = 0; i < METRIC_COUNT; i++) {
        put_number(out, record->value[i]);
    }
    put_vision(out, &record->vision);
    for (size_t i = 0; i < sources->n; i++) {
        put_source(out, record, sources->source[i]);
    }
    buf_puts(out, "\n");
}

bool report_format_csv(const struct report_result *result, const struct report_options *options,
                       struct buf *out) {
    static const char *const ROLES[] = {"base", "vs"};
    struct source_list sources;
    (void)options;
    list_sources(result, &sources);
    buf_puts(out, "seq,role,model,cell,repeat,prompt_tokens,generated_tokens,n_requests,wall_ns,"
                  "window_ns,flags");
    for (unsigned i = 0; i < METRIC_COUNT; i++) {
        buf_printf(out, ",%s", metric_info((enum metric_id)i)->id);
    }
    buf_puts(out, ",n_images,image_width,image_height,effective_pixels,image_tokens,n_views,"
                  "image_min_tokens,image_max_tokens");
    for (size_t i = 0; i < sources.n; i++) {
        put_source_header(out, sources.source[i]);
    }
    buf_puts(out, "\n");
    for (size_t m = 0; m < result->n_models; m++) {
        const struct report_model *model = &result->model[m];
        for (size_t i = 0; i < model->n_records; i++) {
            put_record(out, model, ROLES[m], &model->records[i], &sources);
        }
    }
    return !out->is_failed;
}
