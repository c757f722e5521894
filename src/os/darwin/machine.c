// Never run on hardware so far: checked against declarations only (tests/darwin_stubs).
#include "os/machine.h"

#include <mach/mach.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/sysctl.h>
#include <unistd.h>

int os_n_cores(void) {
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 ? (int)n : 1;
}

// There are neither affinity masks nor cgroups.
int os_n_usable_cores(void) {
    return os_n_cores();
}

uint64_t os_ram_bytes(void) {
    uint64_t bytes = 0;
    size_t size = sizeof bytes;
    bool is_read = sysctlbyname("hw.memsize", &bytes, &size, NULL, 0) == 0 && size == sizeof bytes;
    return is_read ? bytes : 0;
}

// Free pages (speculatively read ones are among them) and those that can be had without writing
// anything back: near enough to Linux's MemAvailable.
uint64_t os_ram_available_bytes(void) {
    vm_statistics64_data_t vm = {0};
    mach_msg_type_number_t count = HOST_VM_INFO64_COUNT;
    mach_port_t host = mach_host_self();
    kern_return_t result = host_statistics64(host, HOST_VM_INFO64, (host_info64_t)&vm, &count);
    mach_port_deallocate(mach_task_self(), host);
    long page_bytes = sysconf(_SC_PAGESIZE);
    if (result != KERN_SUCCESS || page_bytes <= 0) {
        return 0;
    }
    uint64_t n_pages = (uint64_t)vm.free_count + vm.inactive_count + vm.purgeable_count;
    return n_pages * (uint64_t)page_bytes;
}
