// What targets that work on files begin with.
#ifndef FUZZ_SCRATCH_H
#define FUZZ_SCRATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

// What must hold whatever the input is: libFuzzer takes an abort as a finding.
static inline void require(bool is_true) {
    if (!is_true) {
        abort();
    }
}

// A new folder; `clean` removes it and what is in it at the end of the process.
static inline void scratch_folder(char *out, size_t size, void (*clean)(void)) {
    snprintf(out, size, "/tmp/wattlaw-fuzz-XXXXXX");
    require(mkdtemp(out) != NULL);
    atexit(clean);
}

#endif
