// Stub: see README.md.
#ifndef DARWIN_STUB_SYS_SYSCTL_H
#define DARWIN_STUB_SYS_SYSCTL_H

#include <stddef.h>

int sysctlbyname(const char *name, void *old, size_t *old_size, void *new_value, size_t new_size);

#endif
