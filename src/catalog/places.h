// The list of folders to search. Used by catalog.c only.
#ifndef WATTLAW_CATALOG_PLACES_H
#define WATTLAW_CATALOG_PLACES_H

#include "catalog/catalog.h"

enum { CATALOG_MAX_PLACES = 64 };

// Appends to catalog->places (n_places up to CATALOG_MAX_PLACES); the same folder only once.
enum wl_status places_list(const struct catalog_env *env, struct catalog *catalog,
                           struct wl_err *err);
bool places_is_ollama(const struct catalog_place *place);

#endif
