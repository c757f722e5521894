// Stub: see README.md. What src/os/darwin calls, as far as Linux can answer it: with these the
// darwin code runs the tests of its Linux twin, on Linux.
#include <crt_externs.h>
#include <errno.h>
#include <libproc.h>
#include <mach-o/dyld.h>
#include <mach/mach.h>
#include <mach/mach_time.h>
#include <spawn.h>
#include <string.h>
#include <sys/sysctl.h>
#include <time.h>
#include <unistd.h>

enum { TICKS_NUMER = 125, TICKS_DENOM = 3 }; // as on Apple silicon

char ***_NSGetEnviron(void) {
    return &environ;
}

int posix_spawn_file_actions_addinherit_np(posix_spawn_file_actions_t *actions, int fd) {
    (void)actions, (void)fd;
    return 0;
}

int _NSGetExecutablePath(char *path, uint32_t *size) {
    ssize_t n = readlink("/proc/self/exe", path, *size - 1);
    path[n > 0 ? n : 0] = '\0';
    return n > 0 ? 0 : -1;
}

kern_return_t mach_timebase_info(mach_timebase_info_data_t *info) {
    *info = (mach_timebase_info_data_t){.numer = TICKS_NUMER, .denom = TICKS_DENOM};
    return KERN_SUCCESS;
}

int proc_pid_rusage(int pid, int flavor, rusage_info_t *buffer) {
    struct rusage_info_v0 usage = {.ri_uuid = {0}};
    clockid_t id;
    struct timespec t;
    errno = clock_getcpuclockid(pid, &id);
    if (errno || flavor != RUSAGE_INFO_V0 || clock_gettime(id, &t) != 0) {
        return -1;
    }
    uint64_t ns = (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
    usage.ri_user_time = ns / TICKS_NUMER * TICKS_DENOM;
    memcpy(buffer, &usage, sizeof usage);
    return 0;
}

int sysctlbyname(const char *name, void *old, size_t *old_size, void *new_value, size_t new_size) {
    (void)new_value, (void)new_size;
    uint64_t bytes = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    if (strcmp(name, "hw.memsize") != 0 || *old_size != sizeof bytes) {
        return -1;
    }
    memcpy(old, &bytes, sizeof bytes);
    return 0;
}

mach_port_t mach_host_self(void) {
    return 1;
}

mach_port_t mach_task_self(void) {
    return 2;
}

kern_return_t mach_port_deallocate(mach_port_t task, mach_port_t name) {
    return task == 2 && name == 1 ? KERN_SUCCESS : -1;
}

kern_return_t host_statistics64(mach_port_t host, int flavor, host_info64_t info,
                                mach_msg_type_number_t *count) {
    vm_statistics64_data_t vm = {.free_count = (natural_t)sysconf(_SC_AVPHYS_PAGES)};
    if (host != 1 || flavor != HOST_VM_INFO64 || *count != HOST_VM_INFO64_COUNT) {
        return -1;
    }
    memcpy(info, &vm, sizeof vm);
    return KERN_SUCCESS;
}
