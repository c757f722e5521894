// Stub: see README.md.
#ifndef DARWIN_STUB_MACH_MACH_TIME_H
#define DARWIN_STUB_MACH_MACH_TIME_H

#include "mach.h"

typedef struct {
    uint32_t numer, denom;
} mach_timebase_info_data_t;

kern_return_t mach_timebase_info(mach_timebase_info_data_t *info);

#endif
