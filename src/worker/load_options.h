// The fields of a LOAD request, checked.
#ifndef WATTLAW_WORKER_LOAD_OPTIONS_H
#define WATTLAW_WORKER_LOAD_OPTIONS_H

#include <jansson.h>

#include "worker/session.h"

enum wl_status load_options_parse(const json_t *request, struct load_options *options,
                                  struct wl_err *err);
const char *load_options_mode_name(enum llama_load_mode mode);
const char *load_options_flash_attn_name(enum llama_flash_attn_type type);

#endif
