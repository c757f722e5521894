// Which /dev/hidraw nodes are FNIRSI meters, from /sys/class/hidraw; nothing is opened.
#ifndef WATTLAW_METER_FNIRSI_FIND_H
#define WATTLAW_METER_FNIRSI_FIND_H

#include "base/err.h"
#include "meter/fnirsi_report.h"

enum { FNIRSI_PATH_BYTES = 256 };

struct fnirsi_found {
    const struct fnirsi_model *model; // NULL: none
    char path[FNIRSI_PATH_BYTES];     // "/dev/hidraw3", on the machine
    size_t n;                         // how many there are; the first in name order is told
};

void fnirsi_find(const char *root, struct fnirsi_found *out);
// The model behind a node that the user named (a link to one will do); NULL when it is none.
const struct fnirsi_model *fnirsi_model_at(const char *root, const char *path);

#endif
