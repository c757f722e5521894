// What the files that read a request share.
#ifndef WATTLAW_OPENAI_REQUEST_PARTS_H
#define WATTLAW_OPENAI_REQUEST_PARTS_H

#include "openai/request.h"

enum { OPENAI_N_LIMIT_NAMES = 4 };
// The names under which servers know the limit of the output; the first is known to all of them.
extern const char *const openai_limit_names[OPENAI_N_LIMIT_NAMES];

// False for what is no whole number; 20.0 is one.
bool openai_whole_number(const json_t *value, int64_t *out);
// INPUT: 'param' is missing (found NULL), or of a wrong type.
enum wl_status openai_wrong_type(struct openai_fault *fault, const char *param,
                                 const char *expected, const json_t *found);
// `messages` with their pictures.
enum wl_status openai_request_read_messages(struct openai_request *request,
                                            struct openai_fault *fault);

#endif
