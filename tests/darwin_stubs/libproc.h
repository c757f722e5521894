// Stub: see README.md.
#ifndef DARWIN_STUB_LIBPROC_H
#define DARWIN_STUB_LIBPROC_H

#include <stdint.h>
#include <sys/types.h>

typedef void *rusage_info_t;
#define RUSAGE_INFO_V0 0
#define RUSAGE_INFO_V6 6

struct rusage_info_v0 {
    uint8_t ri_uuid[16];
    uint64_t ri_user_time;
    uint64_t ri_system_time;
};

struct rusage_info_v6 { // without its many other fields
    uint64_t ri_user_time;
    uint64_t ri_system_time;
    uint64_t ri_energy_nj;
    uint64_t ri_penergy_nj;
};

int proc_pid_rusage(int pid, int flavor, rusage_info_t *buffer);

#endif
