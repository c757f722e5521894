// What an assembly keeps: fields, and texts that grow, all of it bounded. Part of assemble.c.
#ifndef WATTLAW_OPENAI_ASSEMBLE_STORE_H
#define WATTLAW_OPENAI_ASSEMBLE_STORE_H

#include <stdbool.h>

#include "openai/assemble.h"

// Puts a copy of `value` in place of what was there.
enum wl_status openai_store_set(struct openai_assembly *a, json_t *into, const char *key,
                                const json_t *value, struct wl_err *err);
// *out is the object or list (as make() gives it) at `key`, made where there is none; borrowed.
enum wl_status openai_store_open(struct openai_assembly *a, json_t *into, const char *key,
                                 json_t *(*make)(void), json_t **out, struct wl_err *err);
// Puts copies of the elements of `more` behind those of `list`.
enum wl_status openai_store_extend(struct openai_assembly *a, json_t *list, const json_t *more,
                                   struct wl_err *err);
// Puts `value` behind the text at `key`, which must be a constant.
enum wl_status openai_store_append(struct openai_assembly *a, json_t *holder, const char *key,
                                   const json_t *value, struct wl_err *err);
// The texts get to where they belong. False without memory.
bool openai_store_put_texts(struct openai_assembly *a);
void openai_store_release_texts(struct openai_assembly *a);

#endif
