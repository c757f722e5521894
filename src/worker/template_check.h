// Whether libllama writes the messages as the model's own chat template does. libllama does not run
// the template: it recognises the family and writes the family's plain form. Families that were
// compared with a server are accepted; what a template does beyond the plain form would make a
// count wrong, so it is refused. PURE.
#ifndef WATTLAW_WORKER_TEMPLATE_CHECK_H
#define WATTLAW_WORKER_TEMPLATE_CHECK_H

#include <llama.h>
#include <stddef.h>

#include "base/err.h"

// UNSUPPORTED says what the template does. `chat_template` NULL: the file has none.
enum wl_status template_check(const char *chat_template, const struct llama_chat_message *messages,
                              size_t n, struct wl_err *err);

#endif
