// How many tensors of each kind have which type.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "report/compression_parts.h"
#include "report/html.h"
#include "report/html_page.h"

static const double MOST_BYTES = 1e15;

// "ffn_down" of "blk.12.ffn_down.weight".
static void class_of(const char *tensor, char out[COMPRESSION_NAME_BYTES]) {
    if (strncmp(tensor, "blk.", 4) == 0) {
        size_t digits = strspn(tensor + 4, "0123456789");
        tensor += digits > 0 && tensor[4 + digits] == '.' ? 5 + digits : 0;
    }
    compression_name(out, tensor);
    size_t len = strlen(out), end = strlen(".weight");
    if (len > end && strcmp(out + len - end, ".weight") == 0) {
        out[len - end] = '\0';
    }
}

// The place of `name` in a list that grows; `most` when it is full.
static size_t place_of(char names[][COMPRESSION_NAME_BYTES], size_t *n, size_t most,
                       const char *name) {
    size_t i = 0;
    while (i < *n && strcmp(names[i], name) != 0) {
        i++;
    }
    if (i == *n && *n < most) {
        memcpy(names[(*n)++], name, strlen(name) + 1);
    }
    return i;
}

void compression_types_read(const json_t *json, struct compression_types *out) {
    const json_t *tensors = json_object_get(json, "tensors");
    out->in_bytes = compression_figure(json, "in_bytes", 0, MOST_BYTES);
    out->out_bytes = compression_figure(json, "out_bytes", 0, MOST_BYTES);
    out->error = compression_figure(json, "error", 0, 1e6);
    for (size_t i = 0; i < json_array_size(tensors); i++) {
        const json_t *tensor = json_array_get(tensors, i);
        char class_name[COMPRESSION_NAME_BYTES], type[COMPRESSION_NAME_BYTES];
        class_of(wl_json_opt_string(tensor, "name", "?"), class_name);
        compression_name(type, wl_json_opt_string(tensor, "type", "?"));
        size_t row = place_of(out->class_name, &out->n_classes, COMPRESSION_CLASSES, class_name);
        size_t column = place_of(out->type_name, &out->n_types, COMPRESSION_TYPES, type);
        if (row < COMPRESSION_CLASSES && column < COMPRESSION_TYPES) {
            out->count[row][column]++;
        } else {
            out->n_others++;
        }
    }
}

static void put_rows(struct buf *out, const struct compression_types *types) {
    for (size_t i = 0; i < types->n_classes; i++) {
        buf_puts(out, "<tr>");
        html_element(out, "th", NULL, types->class_name[i]);
        for (size_t k = 0; k < types->n_types; k++) {
            if (types->count[i][k] > 0) {
                html_cell(out, "%u", types->count[i][k]);
            } else {
                buf_puts(out, "<td></td>");
            }
        }
        buf_puts(out, "</tr>");
    }
}

void compression_types_table(struct buf *out, const struct compression *c) {
    const char *names[COMPRESSION_TYPES + 2] = {"Tensor"};
    if (!c->has_types || c->types.n_types == 0) {
        return;
    }
    for (size_t k = 0; k < c->types.n_types; k++) {
        names[k + 1] = c->types.type_name[k];
    }
    html_section(out, "types", "Tensor types",
                 "How many tensors of each kind got which type; rounding is weighed by how much "
                 "each column is used.");
    html_table_open(out, "dense", names);
    put_rows(out, &c->types);
    html_table_close(out);
    if (c->types.n_others > 0) {
        char text[64];
        snprintf(text, sizeof text, "And %zu more of other kinds.", c->types.n_others);
        html_element(out, "p", "small", text);
    }
}
