// One whole answer out of the pieces of a stream: for clients that did not ask for a stream while
// the gateway needs one (to stop an answer at its budget, or to see a client leave). PURE.
#ifndef WATTLAW_OPENAI_ASSEMBLE_H
#define WATTLAW_OPENAI_ASSEMBLE_H

#include <jansson.h>
#include <stddef.h>

#include "openai/reply.h"

enum { OPENAI_MAX_CALLS = 128 }; // of tools, in one choice

struct openai_text;

struct openai_assembly {
    enum openai_endpoint endpoint;       // OPENAI_CHAT or OPENAI_COMPLETION
    json_t *reply;                       // so far, but for its choices
    json_t *choices[OPENAI_MAX_CHOICES]; // NULL: nothing came of it
    struct openai_text *texts;           // that grow
    size_t n_texts, last_text;           // the one that grew last
    size_t n_bytes, max_bytes;           // of text, and what surrounds it in memory (about)
};

void openai_assembly_init(struct openai_assembly *a, enum openai_endpoint endpoint,
                          size_t max_bytes);
void openai_assembly_release(struct openai_assembly *a); // zeroed ones are fine

// Deltas are put behind each other: content, reasoning_content, refusal, text; tool_calls by their
// index, their arguments behind each other; logprobs' lists; role and finish_reason as they come.
// Fields of the piece itself (id, created, model, system_fingerprint, usage, timings and unknown
// ones) are those of the last piece that has them; `object` is that of a whole answer. A null
// piece is passed over. Nothing of `piece` is kept or changed.
// INPUT for what is no piece (also for an error, with its words); LIMIT; MEMORY: then only
// openai_assembly_release is left.
enum wl_status openai_assembly_add(struct openai_assembly *a, const json_t *piece,
                                   struct wl_err *err);
// Choices without a finish_reason get this one (NULL: null). There is at least one choice. The
// answer, a new reference, NULL without memory; the assembly is empty afterwards.
json_t *openai_assembly_take(struct openai_assembly *a, const char *finish_reason);

#endif
