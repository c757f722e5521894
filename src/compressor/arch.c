#include "compressor/arch.h"

#include <stdio.h>
#include <string.h>

static const struct compress_arch ARCHS[] = {
#define X(name_, ...) {.name = name_, __VA_ARGS__},
#include "compressor/arch.def"
#undef X
};

enum { N_ARCHS = sizeof ARCHS / sizeof ARCHS[0] };

const struct compress_arch *compress_arch_find(const char *name) {
    for (size_t i = 0; i < N_ARCHS; i++) {
        if (strcmp(ARCHS[i].name, name) == 0) {
            return &ARCHS[i];
        }
    }
    return NULL;
}

const char *compress_arch_names(char *out, size_t size) {
    size_t len = 0;
    out[0] = '\0';
    for (size_t i = 0; i < N_ARCHS && len < size; i++) {
        int n = snprintf(out + len, size - len, "%s%s", i ? ", " : "", ARCHS[i].name);
        len += n > 0 ? (size_t)n : 0;
    }
    return out;
}
