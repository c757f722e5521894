// Two fitted knees: did the clamp move it, and the level above it?
#include <math.h>

#include "stats/knee.h"

struct figure {
    double value;
    struct stats_interval ci95;
};

// The difference of two independent estimates with lopsided intervals (MOVER, Zou & Donner 2008).
static struct stats_interval difference_of(const struct figure *base,
                                           const struct figure *changed) {
    double difference = changed->value - base->value;
    double down = hypot(changed->value - changed->ci95.low, base->ci95.high - base->value);
    double up = hypot(changed->ci95.high - changed->value, base->value - base->ci95.low);
    return (struct stats_interval){difference - down, difference + up};
}

// An interval that is not known on a side, or reaches 0 there, has no end there.
static struct figure log_of(const struct figure *figure) {
    double low = figure->ci95.low, high = figure->ci95.high;
    return (struct figure){
        log(figure->value),
        {low > 0 ? log(low) : (double)-INFINITY, high > 0 ? log(high) : (double)INFINITY}};
}

static void contrast(const struct figure *base, const struct figure *changed,
                     struct knee_contrast *out) {
    out->is_valid = true;
    out->difference = changed->value - base->value;
    out->difference_ci95 = difference_of(base, changed);
    out->is_different = out->difference_ci95.low > 0 || out->difference_ci95.high < 0;
    out->ratio = base->value > 0 ? changed->value / base->value : NAN;
    out->ratio_ci95 = (struct stats_interval){NAN, NAN};
    if (base->value > 0 && changed->value > 0) {
        struct figure base_log = log_of(base), changed_log = log_of(changed);
        struct stats_interval logs = difference_of(&base_log, &changed_log);
        out->ratio_ci95 = (struct stats_interval){exp(logs.low), exp(logs.high)};
    }
}

void knee_compare(const struct knee_fit *base, const struct knee_fit *changed,
                  struct knee_comparison *out) {
    *out = (struct knee_comparison){0};
    if (base->has_knee && changed->has_knee) {
        struct figure a = {base->knee_x, base->knee_ci95};
        struct figure b = {changed->knee_x, changed->knee_ci95};
        contrast(&a, &b, &out->knee);
    }
    struct figure a = {base->level_above, base->level_above_ci95};
    struct figure b = {changed->level_above, changed->level_above_ci95};
    contrast(&a, &b, &out->level_above);
}
