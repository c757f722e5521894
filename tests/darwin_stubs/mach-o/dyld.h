// Stub: see README.md.
#ifndef DARWIN_STUB_MACH_O_DYLD_H
#define DARWIN_STUB_MACH_O_DYLD_H

#include <stdint.h>

int _NSGetExecutablePath(char *path, uint32_t *size);

#endif
