// How a compression was made: the text, what was asked for, the floor.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/units.h"
#include "report/compression_parts.h"
#include "report/html.h"
#include "report/html_page.h"

enum { MAX_FILES = 8, MAX_CHARS = 80 };
static const double MOST = 1e15;

static void open_fact(struct buf *out, const char *name) {
    html_element(out, "dt", NULL, name);
    buf_puts(out, "<dd>");
}

static void put_fact(struct buf *out, const char *name, const char *value) {
    if (value[0]) {
        open_fact(out, name);
        html_text_cut(out, value, MAX_CHARS);
        buf_puts(out, "</dd>");
    }
}

// ---- calibration ----

static const char *base_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash && slash[1] ? slash + 1 : path;
}

static void put_count(struct buf *out, const json_t *text, const char *key, const char *what) {
    double n = compression_figure(text, key, 0, MOST);
    if (n > 0) {
        buf_printf(out, ", %.0f %s", n, what);
    }
}

static void put_calibration(struct buf *out, const json_t *document) {
    const json_t *text = json_object_get(document, "text");
    double n = compression_figure(text, "n_tokens", 0, MOST);
    if (!isfinite(n)) {
        return;
    }
    open_fact(out, "calibration");
    buf_printf(out, "%.0f tokens", n);
    put_count(out, text, "n_from_text", "of text");
    put_count(out, text, "n_from_tasks", "of questions and answers");
    put_count(out, text, "n_from_self", "that the model wrote itself");
    put_count(out, text, "n_image_tokens", "of pictures");
    put_count(out, text, "n_held_out", "more held out for the verdict");
    buf_puts(out, "</dd>");
}

static void put_sources(struct buf *out, const json_t *request) {
    const json_t *tasks = json_object_get(request, "tasks");
    const char *text = wl_json_opt_string(request, "text", "");
    size_t n = json_array_size(tasks);
    if (!text[0] && n == 0) {
        return;
    }
    open_fact(out, "sources");
    html_text_cut(out, base_name(text), MAX_CHARS);
    for (size_t i = 0; i < n && i < MAX_FILES; i++) {
        const char *path = json_string_value(json_array_get(tasks, i));
        buf_puts(out, i > 0 || text[0] ? ", " : "");
        html_text_cut(out, path ? base_name(path) : "?", MAX_CHARS);
    }
    buf_puts(out, n > MAX_FILES ? ", \xe2\x80\xa6</dd>" : "</dd>");
}

// ---- what was asked for ----

static void put_wish(struct buf *out, const json_t *request, const char *key, const char *name) {
    const json_t *value = json_object_get(request, key);
    char text[UNITS_TEXT_BYTES];
    if (json_is_string(value)) {
        put_fact(out, name, json_string_value(value));
    } else if (json_is_number(value)) {
        put_fact(out, name, units_number(text, json_number_value(value)));
    }
}

static void put_wishes(struct buf *out, const json_t *request) {
    static const char *const WISHES[][2] = {{"budget", "budget"},
                                            {"cut", "share of block weights to cut"},
                                            {"n_ff", "neurons of each block"},
                                            {"n_drop", "blocks to take out"},
                                            {"shapes", "shapes of blocks"},
                                            {"type", "type of the matrices"},
                                            {"vocabulary", "vocabulary"},
                                            {"mmproj_cut", "share of the encoder to cut"},
                                            {"mmproj_drop", "encoder blocks to take out"},
                                            {"mmproj_type", "type of the encoder"}};
    for (size_t i = 0; i < sizeof WISHES / sizeof WISHES[0]; i++) {
        put_wish(out, request, WISHES[i][0], WISHES[i][1]);
    }
}

static void put_method(struct buf *out, const json_t *request) {
    const char *method = wl_json_opt_string(request, "method", "repair");
    double local_s = compression_figure(request, "local_seconds", 0, MOST);
    double lora_s = compression_figure(request, "lora_seconds", 0, MOST);
    char time[UNITS_TEXT_BYTES];
    if (strcmp(method, "repair") != 0) {
        put_fact(out, "method",
                 strcmp(method, "cut") == 0 ? "optimal brain surgeon, no repair" : method);
        return;
    }
    open_fact(out, "method");
    buf_puts(out, "optimal brain surgeon, least squares");
    if (local_s > 0) {
        buf_printf(out, ", %s of healing block by block", units_seconds(time, local_s));
    }
    if (lora_s > 0) {
        buf_printf(out, ", %s of all blocks together", units_seconds(time, lora_s));
    }
    buf_puts(out, "</dd>");
}

static void put_floor(struct buf *out, const json_t *request) {
    double most = compression_figure(request, "floor", 0, MOST);
    char text[96], number[UNITS_TEXT_BYTES];
    snprintf(text, sizeof text, "KL divergence at most %s nats per token (95 %%), else no file",
             units_number(number, most));
    put_fact(out, "floor", isfinite(most) ? text : "none");
}

void compression_method(struct buf *out, const struct compression *c) {
    const json_t *request = json_object_get(c->document, "request");
    html_section(out, "method", "How it was made", NULL);
    buf_puts(out, "<div class=\"panel\"><dl>");
    put_fact(out, "model", wl_json_opt_string(request, "path", ""));
    put_fact(out, "architecture", c->arch);
    if (c->is_mixed) {
        put_fact(out, "shapes", "each block its own, under another architecture");
    }
    put_calibration(out, c->document);
    put_sources(out, request);
    put_method(out, request);
    put_wishes(out, request);
    put_floor(out, request);
    put_wish(out, request, "seed", "seed");
    buf_puts(out, "</dl></div>\n");
}
