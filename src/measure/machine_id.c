#include "measure/machine_id.h"

#include <stdint.h>
#include <stdio.h>

#include "meter/platform.h"

// FNV-1a over the text and its end, so that neighbouring texts do not run together.
static uint64_t add(uint64_t hash, const char *text) {
    do {
        hash = (hash ^ (unsigned char)*text) * 0x100000001b3u;
    } while (*text++);
    return hash;
}

void machine_id(const char *root, const struct machine *machine, char out[MACHINE_ID_BYTES]) {
    char number[16], system_id[64];
    snprintf(number, sizeof number, "%u", machine->n_cores);
    platform_line(root, "/etc/machine-id", system_id, sizeof system_id);
    const char *const texts[] = {machine->cpu_model, machine->board, machine->architecture, number,
                                 system_id};
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        hash = add(hash, texts[i]);
    }
    snprintf(out, MACHINE_ID_BYTES, "machine:%016llx", (unsigned long long)hash);
}
