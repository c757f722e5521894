// Walks one folder for GGUF files, bounded in depth and number, never twice through the same
// folder, so loops of symbolic links end. Understands the Hugging Face layout
// (models--ORG--NAME/snapshots/REV/) wherever it meets it. Used by catalog.c only.
#ifndef WATTLAW_CATALOG_WALK_H
#define WATTLAW_CATALOG_WALK_H

#include "catalog/found.h"

struct walk_folder {
    dev_t device;
    ino_t inode;
};

// One for the whole search.
struct walk {
    struct found *found;
    struct walk_folder *visited;
    size_t n_visited, visited_capacity;
    struct wl_err *err;
    enum wl_status status; // MEMORY once anything failed
};

void walk_release(struct walk *walk);
// Counts in place->n_found; what could not be read goes into place->note.
void walk_place(struct walk *walk, struct catalog_place *place);
void walk_note(struct catalog_place *place, const struct wl_err *err);

#endif
