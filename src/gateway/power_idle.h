// Parts of power.c: what the machine takes at rest, learned from the times when nobody is there.
#ifndef WATTLAW_GATEWAY_POWER_IDLE_H
#define WATTLAW_GATEWAY_POWER_IDLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { POWER_IDLE_BINS = 240 }; // that are remembered

struct power_idle {
    bool is_given; // by the user: nothing is learned
    double given_w, given_sd_w;
    double bin_s;             // length of a bin
    double energy_j, seconds; // of the bin that fills
    double watts[POWER_IDLE_BINS];
    size_t n, at;
    double level_w, level_sd_w; // of the bins that are there
};

void power_idle_init(struct power_idle *idle, double given_w, double given_sd_w, double bin_s);
// A step in which nobody was there; one after work counts only a while later (warm caches, timers
// that run out): the caller leaves the first ones out.
void power_idle_add(struct power_idle *idle, double energy_j, double seconds);
void power_idle_break(struct power_idle *idle); // somebody came: the bin that fills is dropped
// Median of the bins and the standard error of it (from their median absolute deviation); NaN and
// NaN before three bins are there.
void power_idle_level(const struct power_idle *idle, double *watts, double *sd_w);

#endif
