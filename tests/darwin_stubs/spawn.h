// Stub: see README.md.
#ifndef DARWIN_STUB_SPAWN_H
#define DARWIN_STUB_SPAWN_H

#pragma GCC system_header // include_next is no standard C
#include_next <spawn.h>

#define POSIX_SPAWN_CLOEXEC_DEFAULT 0 // refused by the C library under the shims

int posix_spawn_file_actions_addinherit_np(posix_spawn_file_actions_t *actions, int fd);

#endif
