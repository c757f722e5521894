#include "plan/roi.h"

#include <math.h>
#include <string.h>

#define SECONDS_PER_HOUR 3600.0
#define PER_KILO 1000.0

void roi_rates_init(struct roi_rates *rates) {
    *rates = (struct roi_rates){.requests_per_day = 1000,
                                .tariff_per_kwh = 0.30,
                                .carbon_g_per_kwh = 400,
                                .wage_per_hour = 30,
                                .currency = "$"};
}

enum wl_status roi_rates_check(const struct roi_rates *rates, struct wl_err *err) {
    const struct {
        const char *name;
        double value, max;
    } rows[] = {{"requests per day", rates->requests_per_day, 1e12},
                {"tariff per kWh", rates->tariff_per_kwh, 1e6},
                {"carbon g/kWh", rates->carbon_g_per_kwh, 1e5},
                {"wage per hour", rates->wage_per_hour, 1e6}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (!(rows[i].value >= 0 && rows[i].value <= rows[i].max)) {
            return wl_err_set(err, WL_USAGE, "%s: expected 0 to %g, found %g", rows[i].name,
                              rows[i].max, rows[i].value);
        }
    }
    return WL_OK;
}

static struct roi_value scaled(struct roi_value v, double factor) {
    return (struct roi_value){v.value * factor, {v.ci95.low * factor, v.ci95.high * factor}};
}

static struct roi_value difference(struct roi_value a, struct roi_value b) {
    double d = a.value - b.value;
    return (struct roi_value){d,
                              {d - hypot(a.value - a.ci95.low, b.ci95.high - b.value),
                               d + hypot(a.ci95.high - a.value, b.value - b.ci95.low)}};
}

static struct roi_value sum(struct roi_value a, struct roi_value b) {
    return (struct roi_value){a.value + b.value,
                              {a.ci95.low + b.ci95.low, a.ci95.high + b.ci95.high}};
}

void roi_year(const struct roi_request *request, const struct roi_rates *rates,
              struct roi_year *out) {
    double requests = rates->requests_per_day * ROI_DAYS_PER_YEAR;
    out->kwh = scaled(request->energy_wh, requests / PER_KILO);
    out->cost = scaled(out->kwh, rates->tariff_per_kwh);
    out->co2_kg = scaled(out->kwh, rates->carbon_g_per_kwh / PER_KILO);
    out->wait_hours = scaled(request->time_s, requests / SECONDS_PER_HOUR);
}

void roi_saving(const struct roi_request *base, const struct roi_request *changed,
                const struct roi_rates *rates, struct roi_saving *out) {
    const struct roi_request less = {difference(base->energy_wh, changed->energy_wh),
                                     difference(base->time_s, changed->time_s)};
    roi_year(&less, rates, &out->saved);
    out->hours_value = scaled(out->saved.wait_hours, rates->wage_per_hour);
    out->total =
        isnan(out->saved.cost.value) ? out->hours_value : sum(out->saved.cost, out->hours_value);
}
