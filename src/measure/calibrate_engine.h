// The work of a calibration done by an engine with a model: generation and prompts for a time.
#ifndef WATTLAW_MEASURE_CALIBRATE_ENGINE_H
#define WATTLAW_MEASURE_CALIBRATE_ENGINE_H

#include "measure/calibrate.h"
#include "measure/subject.h"

struct calibrate_engine {
    struct subject *subject; // open; its model is loaded anew with other threads
    uint32_t threads;        // as loaded now
    uint32_t all_threads;
};

// `work` refers to `engine`, which must stay where it is.
void calibrate_engine_init(struct calibrate_engine *engine, struct subject *subject,
                           struct calibrate_work *work);

#endif
