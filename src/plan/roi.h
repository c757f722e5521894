// What a model costs per year and what a cheaper one saves, from figures measured per request.
// PURE arithmetic; report/roi.js does the same sums in the page and a test compares the two.
//
//   kWh per year    = Wh per request x requests per day x 365 / 1000
//   cost            = kWh x tariff
//   kg CO2e         = kWh x grams per kWh / 1000
//   hours waited    = seconds per request x requests per day x 365 / 3600
//   saved           = base - changed, for each of these
//   value of hours  = hours saved x wage
//   total saved     = cost saved + value of hours
//
// Intervals: a product with a fixed factor scales the interval. For a difference of two independent
// figures the interval is
//   low  = d - sqrt((base - base.low)^2 + (changed.high - changed)^2)
//   high = d + sqrt((base.high - base)^2 + (changed - changed.low)^2)
// (MOVER, Zou & Donner 2008: right for lopsided intervals too). The total adds ends to ends, since
// energy and time of a run go together. The rates are the user's and count as exact.
#ifndef WATTLAW_PLAN_ROI_H
#define WATTLAW_PLAN_ROI_H

#include <stdbool.h>

#include "base/err.h"
#include "stats/describe.h"

#define ROI_DAYS_PER_YEAR 365.0

struct roi_rates {
    double requests_per_day;
    double tariff_per_kwh;   // in `currency`
    double carbon_g_per_kwh; // grams CO2e
    double wage_per_hour;    // of who waits; 0 leaves the value of time out
    char currency[8];        // symbol, UTF-8
};

// 1000 requests a day, 0.30 per kWh, 400 g/kWh, wage 30, "$": round placeholders, which every
// output shows as assumptions.
void roi_rates_init(struct roi_rates *rates);
// USAGE, with the field's name and accepted range, for a negative, absurd or not finite rate.
enum wl_status roi_rates_check(const struct roi_rates *rates, struct wl_err *err);

// A figure with its 95 % interval; NaN when not known. An interval of NaNs means "not known".
struct roi_value {
    double value;
    struct stats_interval ci95;
};

struct roi_request {
    struct roi_value energy_wh; // gross: what the meter of the house counts
    struct roi_value time_s;
};

struct roi_year {
    struct roi_value kwh;
    struct roi_value cost;
    struct roi_value co2_kg;
    struct roi_value wait_hours;
};

struct roi_saving {
    struct roi_year saved;        // base - changed; negative when it costs more
    struct roi_value hours_value; // saved.wait_hours x wage
    struct roi_value total;       // saved.cost + hours_value; without energy: hours_value alone
};

// NaN in, NaN out, figure by figure.
void roi_year(const struct roi_request *request, const struct roi_rates *rates,
              struct roi_year *out);
void roi_saving(const struct roi_request *base, const struct roi_request *changed,
                const struct roi_rates *rates, struct roi_saving *out);

#endif
