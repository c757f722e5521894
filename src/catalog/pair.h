// Which image encoder (mmproj file) belongs to which model. PURE on what was found.
#ifndef WATTLAW_CATALOG_PAIR_H
#define WATTLAW_CATALOG_PAIR_H

#include "catalog/found.h"

// Index of the encoder for the model files[model], or -1. `entries` has the facts, as far as read.
int pair_find(const struct found_file *files, const struct catalog_entry *entries, size_t n,
              size_t model);

#endif
