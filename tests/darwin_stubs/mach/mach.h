// Stub: see README.md.
#ifndef DARWIN_STUB_MACH_MACH_H
#define DARWIN_STUB_MACH_MACH_H

#include <stdint.h>

typedef int kern_return_t;
typedef unsigned mach_port_t, mach_msg_type_number_t, natural_t;
typedef int *host_info64_t;

typedef struct {
    natural_t free_count, active_count, inactive_count, wire_count;
    natural_t purgeable_count, speculative_count;
} vm_statistics64_data_t;

#define KERN_SUCCESS 0
#define HOST_VM_INFO64 4
#define HOST_VM_INFO64_COUNT                                                                       \
    ((mach_msg_type_number_t)(sizeof(vm_statistics64_data_t) / sizeof(int)))

mach_port_t mach_host_self(void);
mach_port_t mach_task_self(void);
kern_return_t mach_port_deallocate(mach_port_t task, mach_port_t name);
kern_return_t host_statistics64(mach_port_t host, int flavor, host_info64_t info,
                                mach_msg_type_number_t *count);

#endif
