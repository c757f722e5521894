// What became of each block, of the text model and of the image encoder.
#include <inttypes.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>

#include "base/units.h"
#include "report/compression_parts.h"
#include "report/html.h"
#include "report/html_page.h"

// ---- the table: only columns that have a figure ----

enum column_kind { COUNT, ERROR, SECONDS };
static const struct column {
    const char *name;
    enum column_kind kind;
    size_t offset; // of a double in struct compression_block
} COLUMNS[] = {
    {"Neurons", COUNT, offsetof(struct compression_block, n_ff)},
    {"of", COUNT, offsetof(struct compression_block, n_ff_before)},
    {"KV heads", COUNT, offsetof(struct compression_block, n_head_kv)},
    {"of", COUNT, offsetof(struct compression_block, n_head_kv_before)},
    {"Influence", ERROR, offsetof(struct compression_block, influence)},
    {"Error after the choice", ERROR, offsetof(struct compression_block, error[COMPRESSION_CUT])},
    {"after repair", ERROR, offsetof(struct compression_block, error[COMPRESSION_REPAIRED])},
    {"with bias", ERROR, offsetof(struct compression_block, error[COMPRESSION_BIAS])},
    {"after healing", ERROR, offsetof(struct compression_block, error[COMPRESSION_HEALED])},
    {"on image tokens", ERROR, offsetof(struct compression_block, error_image)},
    {"Attention, after the choice", ERROR, offsetof(struct compression_block, attention_cut)},
    {"after repair", ERROR, offsetof(struct compression_block, attention_repaired)},
    {"Time", SECONDS, offsetof(struct compression_block, seconds)},
};
enum { N_COLUMNS = sizeof COLUMNS / sizeof COLUMNS[0] };

static double value_of(const struct compression_block *block, const struct column *column) {
    return *(const double *)(const void *)((const char *)block + column->offset);
}

static bool is_column_known(const struct compression_blocks *b, const struct column *column) {
    for (uint32_t i = 0; i < b->n; i++) {
        if (isfinite(value_of(&b->items[i], column))) {
            return true;
        }
    }
    return false;
}

static void put_value(struct buf *out, const struct column *column, double value) {
    char text[FIGURE_BYTES], seconds[UNITS_TEXT_BYTES];
    if (!isfinite(value)) {
        buf_puts(out, "<td></td>");
    } else if (column->kind == COUNT) {
        html_cell(out, "%.0f", value);
    } else if (column->kind == SECONDS) {
        html_cell(out, "%s", units_seconds(seconds, value));
    } else {
        html_cell(out, "%s", compression_kl_text(text, value));
    }
}

static void put_block(struct buf *out, const struct compression_blocks *b, uint32_t i,
                      const struct column *const *columns, size_t n) {
    buf_printf(out, "<tr><th>%" PRIu32 "</th>", i);
    for (size_t k = 0; k < n; k++) {
        if (b->items[i].is_removed) {
            buf_puts(out, k == 0 ? "<td>taken out</td>" : "<td></td>");
        } else {
            put_value(out, columns[k], value_of(&b->items[i], columns[k]));
        }
    }
    buf_puts(out, "</tr>");
}

static void put_table(struct buf *out, const struct compression_blocks *b) {
    const struct column *columns[N_COLUMNS];
    const char *names[N_COLUMNS + 2] = {"Block"};
    size_t n = 0;
    for (size_t k = 0; k < N_COLUMNS; k++) {
        if (is_column_known(b, &COLUMNS[k])) {
            columns[n++] = &COLUMNS[k];
            names[n] = COLUMNS[k].name;
        }
    }
    buf_puts(out, "<details><summary>Block by block</summary>");
    html_table_open(out, "tall", names);
    for (uint32_t i = 0; i < b->n; i++) {
        put_block(out, b, i, columns, n);
    }
    html_table_close(out);
    buf_puts(out, "</details>\n");
}

static void put_plots(struct buf *out, const char *id, const struct compression_blocks *b) {
    buf_puts(out, "<div class=\"grid\">");
    compression_neurons_plot(out, id, b);
    compression_error_plot(out, id, b);
    buf_puts(out, "</div>\n");
}

void compression_blocks(struct buf *out, const struct compression *c) {
    struct compression_words words;
    if (c->blocks.n == 0) {
        return;
    }
    compression_say_blocks(c, &words);
    html_section(out, "blocks", "Blocks", NULL);
    compression_put_words(out, &words);
    put_plots(out, "text", &c->blocks);
    put_table(out, &c->blocks);
}

// ---- image encoder ----

static void put_pair(struct buf *out, const char *name, const char *before, const char *after,
                     const char *change) {
    buf_puts(out, "<tr>");
    html_element(out, "th", NULL, name);
    html_cell(out, "%s", before);
    html_cell(out, "%s", after);
    html_cell(out, "%s", change);
    buf_puts(out, "</tr>");
}

static void encoder_table(struct buf *out, const struct compression *c) {
    static const char *const NAMES[] = {"", "Original", "This file", "Change", NULL};
    char before[UNITS_TEXT_BYTES], after[UNITS_TEXT_BYTES], change[FIGURE_BYTES];
    html_table_open(out, NULL, NAMES);
    put_pair(out, "File", units_bytes(before, c->encoder.in_bytes),
             units_bytes(after, c->encoder.out_bytes),
             figure_change(change, c->encoder.out_bytes / c->encoder.in_bytes));
    put_pair(out, "Block weights", units_params(before, c->encoder.weights_before),
             units_params(after, c->encoder.weights_after),
             figure_change(change, c->encoder.weights_after / c->encoder.weights_before));
    put_pair(out, "Encoding a picture", units_seconds(before, c->encoder.seconds_before),
             units_seconds(after, c->encoder.seconds_after),
             figure_change(change, c->encoder.seconds_after / c->encoder.seconds_before));
    html_table_close(out);
}

void compression_encoder(struct buf *out, const struct compression *c) {
    char text[200], cosine[UNITS_TEXT_BYTES], error[UNITS_TEXT_BYTES];
    if (!c->encoder.is_there) {
        return;
    }
    snprintf(text, sizeof text,
             "Image tokens of pictures that were held out: cosine %s to those of before, error %s.",
             units_number(cosine, c->encoder.cosine),
             units_number(error, c->encoder.error_projected));
    html_section(out, "encoder", "Image encoder", text);
    encoder_table(out, c);
    if (c->encoder.blocks.n > 0) {
        put_plots(out, "encoder", &c->encoder.blocks);
        put_table(out, &c->encoder.blocks);
    }
}
