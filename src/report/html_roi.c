// The calculator: results for the default rates are printed here, roi.js only replaces them when
// somebody types.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "report/figures.h"
#include "report/html.h"
#include "report/html_sections.h"

char *html_roi_number(char out[64], double value) {
    char digits[48];
    double magnitude = fabs(value);
    if (!isfinite(value) || magnitude >= 1e21) {
        memcpy(out, "-", 2);
        return out;
    }
    int decimals = magnitude >= 99.95     ? 0
                   : magnitude >= 9.995   ? 1
                   : magnitude >= 0.9995  ? 2
                   : magnitude >= 0.09995 ? 3
                                          : 4;
    snprintf(digits, sizeof digits, "%.*f", decimals, magnitude);
    size_t whole = strcspn(digits, "."), used = 0;
    if (value < 0) {
        used = (size_t)snprintf(out, 64, "\xe2\x88\x92");
    }
    for (size_t i = 0; digits[i] && used < 60; i++) {
        if (i > 0 && i < whole && (whole - i) % 3 == 0) {
            used += (size_t)snprintf(out + used, 64 - used, "\xe2\x80\xaf");
        }
        out[used++] = digits[i];
    }
    out[used] = '\0';
    return out;
}

static void put_value(struct buf *out, const char *id, const struct roi_value *v) {
    char text[64];
    buf_printf(out, "<td id=\"roi-%s\"><b>%s</b><span class=\"ci\">", id,
               isfinite(v->value) ? html_roi_number(text, v->value) : "unresolved");
    if (isfinite(v->value) && isfinite(v->ci95.low) && isfinite(v->ci95.high)) {
        buf_puts(out, html_roi_number(text, v->ci95.low));
        buf_puts(out, " \xe2\x80\x93 ");
        buf_puts(out, html_roi_number(text, v->ci95.high));
    }
    buf_puts(out, "</span></td>");
}

static void put_data(struct buf *out, const char *name, const struct roi_value *v) {
    if (isfinite(v->value)) {
        buf_printf(out, " data-%s=\"%.17g\"", name, v->value);
    }
    if (isfinite(v->ci95.low) && isfinite(v->ci95.high)) {
        buf_printf(out, " data-%s-low=\"%.17g\" data-%s-high=\"%.17g\"", name, v->ci95.low, name,
                   v->ci95.high);
    }
}

static void put_input(struct buf *out, const char *name, const char *label, double value) {
    buf_printf(out,
               "<label>%s<input name=\"%s\" type=\"number\" min=\"0\" step=\"any\" "
               "inputmode=\"decimal\" value=\"%.10g\"></label>",
               label, name, value);
}

static void put_form(struct buf *out, const struct report_result *result) {
    buf_printf(out, "<form id=\"roi-form\" class=\"panel\" data-models=\"%zu\"", result->n_models);
    for (size_t i = 0; i < result->n_models; i++) {
        char name[16];
        snprintf(name, sizeof name, "%s-wh", HTML_ROLE[i]);
        put_data(out, name, &result->request[i].energy_wh);
        snprintf(name, sizeof name, "%s-s", HTML_ROLE[i]);
        put_data(out, name, &result->request[i].time_s);
    }
    buf_puts(out, ">");
    put_input(out, "requests", "Requests per day", result->rates.requests_per_day);
    put_input(out, "tariff", "Tariff per kWh", result->rates.tariff_per_kwh);
    put_input(out, "carbon",
              "Grid carbon, g CO\xe2\x82\x82"
              "e per kWh",
              result->rates.carbon_g_per_kwh);
    put_input(out, "wage", "Wage per hour of waiting", result->rates.wage_per_hour);
    buf_puts(out, "<label>Currency<input name=\"currency\" maxlength=\"4\" value=\"");
    html_text(out, result->rates.currency);
    buf_puts(out, "\"></label></form>");
}

struct row {
    const char *key;
    const char *title;
    bool has_currency;
};

static const struct row ROWS[] = {{"kwh", "Energy, kWh", false},
                                  {"cost", "Energy cost", true},
                                  {"co2",
                                   "Carbon, kg CO\xe2\x82\x82"
                                   "e",
                                   false},
                                  {"hours", "Waiting, hours", false}};

static const struct roi_value *value_of(const struct roi_year *year, size_t row) {
    const struct roi_value *const values[] = {&year->kwh, &year->cost, &year->co2_kg,
                                              &year->wait_hours};
    return values[row];
}

static void put_row_title(struct buf *out, const struct report_result *result,
                          const struct row *row) {
    buf_printf(out, "<tr><th scope=\"row\">%s", row->title);
    if (row->has_currency) {
        buf_puts(out, ", <span class=\"roi-currency\">");
        html_text(out, result->rates.currency);
        buf_puts(out, "</span>");
    }
    buf_puts(out, "</th>");
}

static void put_savings(struct buf *out, const struct report_result *result,
                        const struct roi_saving *saving) {
    static const struct row VALUE = {"value", "Value of the time saved", true};
    static const struct row TOTAL = {"total", "Total saved", true};
    put_row_title(out, result, &VALUE);
    buf_puts(out, "<td></td><td></td>");
    put_value(out, "saved-value", &saving->hours_value);
    buf_puts(out, "</tr>");
    put_row_title(out, result, &TOTAL);
    buf_puts(out, "<td></td><td></td>");
    put_value(out, "saved-total", &saving->total);
    buf_puts(out, "</tr>");
}

static void put_results(struct buf *out, const struct report_result *result) {
    struct roi_year year[REPORT_MAX_MODELS];
    struct roi_saving saving = {0};
    bool is_pair = result->n_models == 2;
    for (size_t i = 0; i < result->n_models; i++) {
        roi_year(&result->request[i], &result->rates, &year[i]);
    }
    if (is_pair) {
        roi_saving(&result->request[0], &result->request[1], &result->rates, &saving);
    }
    buf_puts(out, "<div class=\"scroll\"><table><thead><tr><th>Per year</th>");
    buf_puts(out, is_pair ? "<th>base</th><th>vs</th><th>saved</th>" : "<th>this model</th>");
    buf_puts(out, "</tr></thead><tbody>");
    for (size_t r = 0; r < sizeof ROWS / sizeof ROWS[0]; r++) {
        put_row_title(out, result, &ROWS[r]);
        for (size_t i = 0; i < result->n_models; i++) {
            char id[32];
            snprintf(id, sizeof id, "%s-%s", HTML_ROLE[i], ROWS[r].key);
            put_value(out, id, value_of(&year[i], r));
        }
        if (is_pair) {
            char id[32];
            snprintf(id, sizeof id, "saved-%s", ROWS[r].key);
            put_value(out, id, value_of(&saving.saved, r));
        }
        buf_puts(out, "</tr>");
    }
    if (is_pair) {
        put_savings(out, result, &saving);
    }
    buf_puts(out, "</tbody></table></div>");
}

void html_roi(struct buf *out, const struct report_result *result) {
    char source[4 * RECORD_NAME_BYTES];
    buf_puts(out, "<h2 id=\"savings\">What it costs in a year</h2>"
                  "<p class=\"lead\">From the mean request of this study. The rates are "
                  "assumptions: change them. Ranges are the 95&nbsp;% intervals of the measured "
                  "figures; the rates count as exact.");
    if (figure_source(source, sizeof source, &result->model[0])[0]) {
        buf_puts(out, " Energy is what the source sees: ");
        html_text(out, source);
        buf_puts(out, ".");
    }
    buf_puts(out, "</p><div class=\"roi\">");
    put_form(out, result);
    put_results(out, result);
    buf_puts(out, "</div>");
}
