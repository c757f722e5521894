// What people should know of a family of image encoders (families.def), as plain sentences. PURE.
// No figure comes from here: what an image costs is counted by the engine.
#ifndef WATTLAW_PLAN_FAMILIES_H
#define WATTLAW_PLAN_FAMILIES_H

#include <stddef.h>

struct plan_family {
    const char *projector; // GGUF's clip.projector_type
    const char *title;     // "Qwen2-VL"
    const char *how;       // how it cuts a picture
    const char *key;       // metadata of the mmproj file that changes the cost; "" = none known
    const char *caution;   // about answers; "" = nothing known
    const char *memory;    // about RAM and work; "" = nothing known
};

size_t plan_family_count(void);
const struct plan_family *plan_family_at(size_t i); // NULL past the end
// Never NULL: a projector that is not in the table has the title "unknown family" and no advice.
const struct plan_family *plan_family_of(const char *projector);

#endif
