// What a picture of a size costs in tokens for a model: counted once, as what a blank picture of
// that size adds to a question, and remembered. That is all it adds: tokens of its pixels and those
// of its markers. On the gateway's loop.
#ifndef WATTLAW_GATEWAY_PICTURE_ORACLE_H
#define WATTLAW_GATEWAY_PICTURE_ORACLE_H

#include "gateway/counting.h"
#include "gateway/picture_choice.h"

struct picture_oracle;
struct picture_question;

enum wl_status picture_oracle_open(struct counting *counting, struct picture_oracle **out,
                                   struct wl_err *err);
void picture_oracle_close(struct picture_oracle *oracle); // no question may be left. NULL is fine
// Another model server, or other settings of it.
void picture_oracle_forget(struct picture_oracle *oracle);

enum picture_oracle_answer {
    ORACLE_KNOWS,    // *n_tokens
    ORACLE_MUST_ASK, // picture_oracle_ask tells
    ORACLE_CANNOT    // nobody can count for this model now
};
enum picture_oracle_answer picture_oracle_look(struct picture_oracle *oracle, const char *model,
                                               struct picture_size size, int64_t *n_tokens);

// on_done comes on the loop, never from within; false: it could not be counted, and a try is worth
// nothing for a while. A failure here is one too.
enum wl_status picture_oracle_ask(struct picture_oracle *oracle, const char *model,
                                  struct picture_size size,
                                  void (*on_done)(void *context, bool is_known, int64_t n_tokens),
                                  void *context, struct picture_question **out, struct wl_err *err);
void picture_oracle_cancel(struct picture_question *question); // no on_done. NULL is fine

#endif
