#include "account/metrics.h"

#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"

enum { NUMBER_BYTES = 32 };
static const double MAX_WHOLE = 9007199254740992; // 2^53: all integers up to it are exact

void histogram_init(struct histogram *h, const double *bounds, size_t n_bounds) {
    size_t n = n_bounds < HISTOGRAM_MAX_BOUNDS ? n_bounds : HISTOGRAM_MAX_BOUNDS;
    *h = (struct histogram){.bounds = bounds, .n_bounds = n};
}

// An infinite value would make the sum useless for ever.
void histogram_add(struct histogram *h, double value) {
    if (!isfinite(value)) {
        return;
    }
    size_t i = 0;
    while (i < h->n_bounds && value > h->bounds[i]) {
        i++;
    }
    if (i < h->n_bounds) {
        h->counts[i]++;
    }
    h->n++;
    h->sum += value;
}

// ---- text

static const char *number_text(double value, char out[NUMBER_BYTES]) {
    if (isnan(value)) {
        return "NaN";
    }
    if (isinf(value)) {
        return value > 0 ? "+Inf" : "-Inf";
    }
    bool is_whole = fabs(value) <= MAX_WHOLE && value == nearbyint(value);
    // + 0.0: no "-0".
    snprintf(out, NUMBER_BYTES, is_whole ? "%.0f" : "%.15g", value + 0.0);
    return out;
}

static bool is_control(const char *text) {
    unsigned char c = (unsigned char)text[0];
    return c < 0x20 || c == 0x7f || (c == 0xc2 && (unsigned char)text[1] < 0xa0);
}

// `escaped` are the characters that get a backslash.
static void put_escaped(struct buf *buf, const char *text, const char *escaped) {
    while (*text) {
        size_t len = str_utf8_len(text);
        if (*text == '\n') {
            buf_puts(buf, "\\n");
        } else if (len == 0 || is_control(text)) {
            buf_puts(buf, "?");
        } else {
            if (strchr(escaped, *text)) {
                buf_puts(buf, "\\");
            }
            buf_append(buf, text, len);
        }
        text += len ? len : 1;
    }
}

static void put_label(struct buf *buf, const char *name, const char *value, bool *has_one) {
    buf_printf(buf, "%s%s=\"", *has_one ? "," : "{", name);
    put_escaped(buf, value ? value : "", "\\\"");
    buf_puts(buf, "\"");
    *has_one = true;
}

// `le`: a bucket's bound, which comes last; NULL: none.
static void put_labels(struct buf *buf, const struct metric_label *labels, const char *le) {
    bool has_one = false;
    for (; labels && labels->name; labels++) {
        put_label(buf, labels->name, labels->value, &has_one);
    }
    if (le) {
        put_label(buf, "le", le, &has_one);
    }
    buf_puts(buf, has_one ? "} " : " ");
}

void metric_family(struct buf *buf, const char *name, const char *type, const char *help) {
    buf_printf(buf, "# HELP %s ", name);
    put_escaped(buf, help, "\\");
    buf_printf(buf, "\n# TYPE %s %s\n", name, type);
}

void metric_sample(struct buf *buf, const char *name, const struct metric_label *labels,
                   double value) {
    char number[NUMBER_BYTES];
    buf_puts(buf, name);
    put_labels(buf, labels, NULL);
    buf_printf(buf, "%s\n", number_text(value, number));
}

static void put_bucket(struct buf *buf, const char *name, const struct metric_label *labels,
                       double bound, uint64_t count) {
    char number[NUMBER_BYTES];
    buf_printf(buf, "%s_bucket", name);
    put_labels(buf, labels, number_text(bound, number));
    buf_printf(buf, "%" PRIu64 "\n", count);
}

void metric_histogram(struct buf *buf, const char *name, const struct metric_label *labels,
                      const struct histogram *h) {
    char number[NUMBER_BYTES];
    uint64_t count = 0;
    for (size_t i = 0; i < h->n_bounds; i++) {
        count += h->counts[i];
        put_bucket(buf, name, labels, h->bounds[i], count);
    }
    put_bucket(buf, name, labels, INFINITY, h->n);
    buf_printf(buf, "%s_sum", name);
    put_labels(buf, labels, NULL);
    buf_printf(buf, "%s\n", number_text(h->sum, number));
    buf_printf(buf, "%s_count", name);
    put_labels(buf, labels, NULL);
    buf_printf(buf, "%" PRIu64 "\n", h->n);
}
