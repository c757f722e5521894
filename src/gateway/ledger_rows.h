// Rows on their way to the ledger's file, each with who wants to hear of it; and what the machine
// took, added up until it is written. No locks: ledger_thread.c has them.
#ifndef WATTLAW_GATEWAY_LEDGER_ROWS_H
#define WATTLAW_GATEWAY_LEDGER_ROWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/ledger.h"

struct row_answer {
    void (*on_safe)(void *context, bool is_written);
    void *context;
    bool is_written;
    struct row_answer *next;
};

struct row_list {
    struct ledger_row *rows;     // their texts belong to the list
    struct row_answer **answers; // NULL: nobody waits, or not any more
    size_t n, capacity;
    size_t text_bytes; // of all prompts and answers
};

size_t row_text_bytes(const struct ledger_row *row);
// A copy with its texts; on_safe may be NULL. False without memory: the list is as it was.
bool row_list_add(struct row_list *list, const struct ledger_row *row,
                  void (*on_safe)(void *context, bool is_written), void *context);
// All of `from` goes behind what is in `to`. False without memory: both are as they were.
bool row_list_move(struct row_list *to, struct row_list *from);
// The answer of row i for the caller (NULL: none, or taken before).
struct row_answer *row_list_take_answer(struct row_list *list, size_t i);
void row_list_drop(struct row_list *list, size_t n); // the first n; their answers must be taken
void row_list_release(struct row_list *list);        // zeroed ones are fine

// One day (UTC) of one source.
struct machine_sum {
    int64_t wall_ms; // somewhere in the day
    char source[LEDGER_NAME_BYTES];
    struct ledger_machine sum;
    struct machine_sum *next;
};
// False without memory: nothing is added.
bool machine_sum_add(struct machine_sum **sums, int64_t wall_ms, const char *source,
                     const struct ledger_machine *more);
// All of `from` is added to `to`; needs no memory.
void machine_sums_move(struct machine_sum **to, struct machine_sum **from);
void machine_sums_release(struct machine_sum **sums);

#endif
