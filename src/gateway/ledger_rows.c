#include "gateway/ledger_rows.h"

#include <stdlib.h>
#include <string.h>

#include "base/str.h"

static const int64_t MS_OF_A_DAY = 86400000;

// ---- rows ----

static size_t text_bytes(const char *text) {
    return text ? strlen(text) + 1 : 0;
}

size_t row_text_bytes(const struct ledger_row *row) {
    return text_bytes(row->prompt) + text_bytes(row->answer);
}

static void free_texts(struct ledger_row *row) {
    free((char *)row->prompt);
    free((char *)row->answer);
    row->prompt = row->answer = NULL;
}

static bool copy_texts(struct ledger_row *row, const struct ledger_row *of) {
    row->prompt = of->prompt ? strdup(of->prompt) : NULL;
    row->answer = of->answer ? strdup(of->answer) : NULL;
    if ((of->prompt && !row->prompt) || (of->answer && !row->answer)) {
        free_texts(row);
        return false;
    }
    return true;
}

static bool make_room(struct row_list *list, size_t n_more) {
    size_t capacity = list->capacity ? list->capacity : 16;
    while (capacity < list->n + n_more) {
        capacity *= 2;
    }
    if (capacity == list->capacity) {
        return true;
    }
    struct ledger_row *rows = realloc(list->rows, capacity * sizeof *rows);
    if (!rows) {
        return false;
    }
    list->rows = rows;
    struct row_answer **answers = realloc(list->answers, capacity * sizeof(struct row_answer *));
    if (!answers) {
        return false;
    }
    list->answers = answers;
    list->capacity = capacity;
    return true;
}

bool row_list_add(struct row_list *list, const struct ledger_row *row,
                  void (*on_safe)(void *context, bool is_written), void *context) {
    struct row_answer *answer = NULL;
    if (!make_room(list, 1) || (on_safe && !(answer = calloc(1, sizeof *answer)))) {
        return false;
    }
    struct ledger_row *copy = &list->rows[list->n];
    *copy = *row;
    if (!copy_texts(copy, row)) {
        free(answer);
        return false;
    }
    if (answer) {
        *answer = (struct row_answer){.on_safe = on_safe, .context = context};
    }
    list->answers[list->n++] = answer;
    list->text_bytes += row_text_bytes(copy);
    return true;
}

bool row_list_move(struct row_list *to, struct row_list *from) {
    if (to->n == 0) {
        struct row_list empty = *to;
        *to = *from;
        *from = empty;
        return true;
    }
    if (!make_room(to, from->n)) {
        return false;
    }
    if (from->n > 0) {
        memcpy(to->rows + to->n, from->rows, from->n * sizeof *from->rows);
        memcpy(to->answers + to->n, from->answers, from->n * sizeof(struct row_answer *));
    }
    to->n += from->n;
    to->text_bytes += from->text_bytes;
    from->n = from->text_bytes = 0;
    return true;
}

struct row_answer *row_list_take_answer(struct row_list *list, size_t i) {
    struct row_answer *answer = list->answers[i];
    list->answers[i] = NULL;
    return answer;
}

void row_list_drop(struct row_list *list, size_t n) {
    for (size_t i = 0; i < n; i++) {
        list->text_bytes -= row_text_bytes(&list->rows[i]);
        free_texts(&list->rows[i]);
    }
    list->n -= n;
    if (list->n > 0) {
        memmove(list->rows, list->rows + n, list->n * sizeof *list->rows);
        memmove(list->answers, list->answers + n, list->n * sizeof(struct row_answer *));
    }
}

void row_list_release(struct row_list *list) {
    row_list_drop(list, list->n);
    free(list->rows);
    free(list->answers);
    *list = (struct row_list){0};
}

// ---- the machine ----

static int64_t day_of(int64_t wall_ms) {
    return wall_ms / MS_OF_A_DAY;
}

static void add_machine(struct ledger_machine *sum, const struct ledger_machine *more) {
    sum->measured_j += more->measured_j;
    sum->shared_j += more->shared_j;
    sum->idle_j += more->idle_j;
    sum->busy_s += more->busy_s;
    sum->idle_s += more->idle_s;
    sum->gap_s += more->gap_s;
}

// The node goes into the list, or into the one that is there for its day and source.
static void put_sum(struct machine_sum **sums, struct machine_sum *more) {
    struct machine_sum *s = *sums;
    while (s &&
           (day_of(s->wall_ms) != day_of(more->wall_ms) || strcmp(s->source, more->source) != 0)) {
        s = s->next;
    }
    if (s) {
        add_machine(&s->sum, &more->sum);
        free(more);
    } else {
        more->next = *sums;
        *sums = more;
    }
}

bool machine_sum_add(struct machine_sum **sums, int64_t wall_ms, const char *source,
                     const struct ledger_machine *more) {
    struct machine_sum *s = calloc(1, sizeof *s);
    if (!s) {
        return false;
    }
    s->wall_ms = wall_ms;
    s->sum = *more;
    str_copy(s->source, sizeof s->source, source);
    put_sum(sums, s);
    return true;
}

void machine_sums_move(struct machine_sum **to, struct machine_sum **from) {
    while (*from) {
        struct machine_sum *s = *from;
        *from = s->next;
        put_sum(to, s);
    }
}

void machine_sums_release(struct machine_sum **sums) {
    while (*sums) {
        struct machine_sum *s = *sums;
        *sums = s->next;
        free(s);
    }
}
