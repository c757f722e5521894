// Tells whether this is still the machine that was calibrated.
#ifndef WATTLAW_MEASURE_MACHINE_ID_H
#define WATTLAW_MEASURE_MACHINE_ID_H

#include "base/err.h"
#include "sampler/machine.h"

enum { MACHINE_ID_BYTES = 32 };

// "machine:<16 hex digits>": a hash of CPU model, board, architecture, number of cores and the
// system's own identity (/etc/machine-id, where there is one). It gives none of them away.
void machine_id(const char *root, const struct machine *machine, char out[MACHINE_ID_BYTES]);

#endif
