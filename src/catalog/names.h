// Short names that are unique in the list. Used by catalog.c only.
#ifndef WATTLAW_CATALOG_NAMES_H
#define WATTLAW_CATALOG_NAMES_H

#include "catalog/found.h"

// Sets entries[i].name from files[i]; both have `n` items. The same files get the same names in
// whatever order they were found.
enum wl_status names_assign(const struct found_file *files, struct catalog_entry *entries, size_t n,
                            struct wl_err *err);

#endif
