#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/str.h"
#include "base/units.h"
#include "cli/command.h"
#include "cli/study_result.h"
#include "plan/roi.h"

static struct {
    const char *study, *currency;
    double requests, tariff, carbon, wage, wh, seconds, vs_wh, vs_seconds;
} given = {.requests = NAN,
           .tariff = NAN,
           .carbon = NAN,
           .wage = NAN,
           .wh = NAN,
           .seconds = NAN,
           .vs_wh = NAN,
           .vs_seconds = NAN};

static const struct poptOption OPTIONS[] = {
    {"requests", 'r', POPT_ARG_DOUBLE, &given.requests, 0, "requests per day (default: 1000)", "N"},
    {"tariff", 0, POPT_ARG_DOUBLE, &given.tariff, 0, "price of a kWh (default: 0.30)", "PRICE"},
    {"carbon", 0, POPT_ARG_DOUBLE, &given.carbon, 0, "grams of CO2e per kWh (default: 400)", "G"},
    {"wage", 0, POPT_ARG_DOUBLE, &given.wage, 0,
     "value of an hour of waiting (default: 30; 0 leaves it out)", "PRICE"},
    {"currency", 0, POPT_ARG_STRING, &given.currency, 0, "symbol (default: $)", "TEXT"},
    {"study", 0, POPT_ARG_STRING, &given.study, 0,
     "whose figures: a number, a uuid's beginning, or latest (default)", "STUDY"},
    {"wh", 0, POPT_ARG_DOUBLE, &given.wh, 0, "instead of a study: Wh per request", "WH"},
    {"seconds", 0, POPT_ARG_DOUBLE, &given.seconds, 0, "and seconds per request", "S"},
    {"vs-wh", 0, POPT_ARG_DOUBLE, &given.vs_wh, 0, "the same of what it is compared with", "WH"},
    {"vs-seconds", 0, POPT_ARG_DOUBLE, &given.vs_seconds, 0, "likewise", "S"},
    POPT_TABLEEND};

static void take_rates(struct roi_rates *rates) {
    roi_rates_init(rates);
    rates->requests_per_day = isnan(given.requests) ? rates->requests_per_day : given.requests;
    rates->tariff_per_kwh = isnan(given.tariff) ? rates->tariff_per_kwh : given.tariff;
    rates->carbon_g_per_kwh = isnan(given.carbon) ? rates->carbon_g_per_kwh : given.carbon;
    rates->wage_per_hour = isnan(given.wage) ? rates->wage_per_hour : given.wage;
    if (given.currency) {
        str_copy(rates->currency, sizeof rates->currency, given.currency);
    }
}

struct side {
    char label[128];
    struct roi_request request;
};

static struct roi_value plain_value(double value) {
    return (struct roi_value){.value = value, .ci95 = {.low = value, .high = value}};
}

static enum wl_status sides_from_study(struct cli_context *context, struct side sides[2], size_t *n,
                                       struct wl_err *err) {
    struct store *store;
    struct report_result *result;
    enum wl_status status = study_store_open(context, STORE_READ_ONLY, &store, err);
    if (status != WL_OK) {
        return status;
    }
    status = study_result_load(store, given.study, NULL, &result, err);
    if (status == WL_OK) {
        *n = result->n_models;
        for (size_t i = 0; i < *n; i++) {
            str_copy(sides[i].label, sizeof sides[i].label, result->model[i].name);
            sides[i].request = result->request[i];
        }
        report_result_free(result);
    }
    store_close(store);
    return status;
}

static void sides_from_options(struct side sides[2], size_t *n) {
    static const char *const LABELS[] = {"base", "changed"};
    const double wh[] = {given.wh, given.vs_wh}, seconds[] = {given.seconds, given.vs_seconds};
    *n = isfinite(given.vs_wh) || isfinite(given.vs_seconds) ? 2 : 1;
    for (size_t i = 0; i < *n; i++) {
        str_copy(sides[i].label, sizeof sides[i].label, LABELS[i]);
        sides[i].request.energy_wh = plain_value(wh[i]);
        sides[i].request.time_s = plain_value(seconds[i]);
    }
}

static void print_value(const char *name, const struct roi_value *v, const char *unit) {
    char value[UNITS_TEXT_BYTES], low[UNITS_TEXT_BYTES], high[UNITS_TEXT_BYTES];
    if (!isfinite(v->value)) {
        printf("  %-14s %12s\n", name, "not known");
    } else if (v->ci95.low == v->ci95.high || !isfinite(v->ci95.low)) {
        printf("  %-14s %12s %s\n", name, units_number(value, v->value), unit);
    } else {
        printf("  %-14s %12s %-8s (95 %%: %s to %s)\n", name, units_number(value, v->value), unit,
               units_number(low, v->ci95.low), units_number(high, v->ci95.high));
    }
}

static void print_year(const char *label, const struct roi_year *year,
                       const struct roi_rates *rates) {
    printf("%s, per year\n", label);
    print_value("energy", &year->kwh, "kWh");
    print_value("cost", &year->cost, rates->currency);
    print_value("CO2e", &year->co2_kg, "kg");
    print_value("waiting", &year->wait_hours, "hours");
}

static json_t *value_json(const struct roi_value *v) {
    return json_pack("{s:o, s:[o,o]}", "value", wl_json_real(v->value), "ci95",
                     wl_json_real(v->ci95.low), wl_json_real(v->ci95.high));
}

static json_t *year_json(const struct roi_year *year) {
    return json_pack("{s:o, s:o, s:o, s:o}", "kwh", value_json(&year->kwh), "cost",
                     value_json(&year->cost), "co2_kg", value_json(&year->co2_kg), "wait_hours",
                     value_json(&year->wait_hours));
}

static void print_json(const struct side *sides, size_t n, const struct roi_rates *rates) {
    struct roi_year year;
    json_t *models = json_array();
    for (size_t i = 0; i < n; i++) {
        roi_year(&sides[i].request, rates, &year);
        json_array_append_new(
            models, json_pack("{s:s, s:o, s:o, s:o}", "model", sides[i].label, "energy_wh",
                              value_json(&sides[i].request.energy_wh), "time_s",
                              value_json(&sides[i].request.time_s), "per_year", year_json(&year)));
    }
    json_t *document = json_pack("{s:i, s:{s:f, s:f, s:f, s:f, s:s}, s:o}", "schema_version", 1,
                                 "rates", "requests_per_day", rates->requests_per_day,
                                 "tariff_per_kwh", rates->tariff_per_kwh, "carbon_g_per_kwh",
                                 rates->carbon_g_per_kwh, "wage_per_hour", rates->wage_per_hour,
                                 "currency", rates->currency, "models", models);
    if (n == 2) {
        struct roi_saving saving;
        roi_saving(&sides[0].request, &sides[1].request, rates, &saving);
        json_object_set_new(document, "saved",
                            json_pack("{s:o, s:o, s:o}", "per_year", year_json(&saving.saved),
                                      "hours_value", value_json(&saving.hours_value), "total",
                                      value_json(&saving.total)));
    }
    json_dumpf(document, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(document);
}

static void print_text(const struct side *sides, size_t n, const struct roi_rates *rates) {
    struct roi_year year;
    char requests[UNITS_TEXT_BYTES];
    printf("%s requests a day, %s%.3g per kWh, %.0f g CO2e per kWh, %s%.3g per hour of waiting\n\n",
           units_number(requests, rates->requests_per_day), rates->currency, rates->tariff_per_kwh,
           rates->carbon_g_per_kwh, rates->currency, rates->wage_per_hour);
    for (size_t i = 0; i < n; i++) {
        roi_year(&sides[i].request, rates, &year);
        print_year(sides[i].label, &year, rates);
    }
    if (n == 2) {
        struct roi_saving saving;
        roi_saving(&sides[0].request, &sides[1].request, rates, &saving);
        print_year("saved", &saving.saved, rates);
        print_value("value of time", &saving.hours_value, rates->currency);
        print_value("in all", &saving.total, rates->currency);
    }
}

static int run(struct cli_context *context) {
    struct wl_err err = {0};
    struct roi_rates rates;
    struct side sides[2] = {0};
    size_t n = 0;
    if (context->n_args) {
        return cli_usage(context, "unexpected argument '%s'", context->args[0]);
    }
    take_rates(&rates);
    enum wl_status status = roi_rates_check(&rates, &err);
    if (status != WL_OK) {
        return cli_usage(context, "%s", err.message);
    }
    if (isfinite(given.wh) || isfinite(given.seconds)) {
        sides_from_options(sides, &n);
    } else {
        status = sides_from_study(context, sides, &n, &err);
    }
    if (status != WL_OK) {
        return cli_fail(status, &err);
    }
    if (context->common.json) {
        print_json(sides, n, &rates);
    } else {
        print_text(sides, n, &rates);
    }
    return 0;
}

static const struct cli_example EXAMPLES[] = {
    {"wattlaw roi -r 5000 --tariff 0.34 --carbon 380", "from the latest study"},
    {"wattlaw roi --wh 0.25 --seconds 40 --vs-wh 0.1 --vs-seconds 15", "from figures of your own"},
    {NULL, NULL}};

const struct cli_command CMD_roi = {
    .name = "roi",
    .arguments = "[-r REQUESTS] [--tariff PRICE] [--carbon G] [--wage PRICE] [options]",
    .summary = "what a model costs per year, and what the cheaper one saves",
    .description =
        "Energy, cost, CO2e and hours of waiting per year, from the gross energy and the "
        "time per request that a study measured, or from figures given as options. The "
        "rates are yours; the defaults are round placeholders.",
    .options = OPTIONS,
    .examples = EXAMPLES,
    .run = run,
};
