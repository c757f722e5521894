// Inside os only: a child's environment.
#ifndef WATTLAW_OS_PROCESS_ENV_H
#define WATTLAW_OS_PROCESS_ENV_H

// The parent's environment with `extra` ("NAME=value", NULL-terminated; may be NULL) added or
// replacing. The strings are borrowed, the array is to be freed; NULL without memory.
const char **os_merge_env(const char *const *extra);

#endif
