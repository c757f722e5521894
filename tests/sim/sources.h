// One row per kind of energy source: what it states of itself (meter_info) and how such a device
// behaves when it is read. The figures are those the source files state; see docs/measurement.md.
#ifndef WATTLAW_TESTS_SOURCES_H
#define WATTLAW_TESTS_SOURCES_H

#include "sim/plant.h"

struct sim_source {
    const char *name;
    struct meter_info info;
    struct plant_habit habit;
    double period_s; // it is read this often
};

extern const struct sim_source SIM_SOURCES[];
extern const size_t SIM_N_SOURCES;

enum { SIM_CSV_MEANS = 14 }; // the row of a logger that writes the mean of every second

#endif
