#include "plan/families.h"

#include <string.h>

static const struct plan_family FAMILIES[] = {
#define X(projector_, title_, how_, key_, caution_, memory_)                                       \
    {.projector = projector_,                                                                      \
     .title = title_,                                                                              \
     .how = how_,                                                                                  \
     .key = key_,                                                                                  \
     .caution = caution_,                                                                          \
     .memory = memory_},
#include "plan/families.def"
#undef X
};

static const struct plan_family UNKNOWN = {
    .projector = "", .title = "unknown family", .how = "", .key = "", .caution = "", .memory = ""};

size_t plan_family_count(void) {
    return sizeof FAMILIES / sizeof FAMILIES[0];
}

const struct plan_family *plan_family_at(size_t i) {
    return i < plan_family_count() ? &FAMILIES[i] : NULL;
}

const struct plan_family *plan_family_of(const char *projector) {
    for (size_t i = 0; i < plan_family_count(); i++) {
        if (strcmp(FAMILIES[i].projector, projector) == 0) {
            return &FAMILIES[i];
        }
    }
    return &UNKNOWN;
}
