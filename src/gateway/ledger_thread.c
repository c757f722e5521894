#include "gateway/ledger_thread.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "gateway/ledger_rows.h"
#include "os/clock.h"

static const int64_t NS_OF_A_MS = 1000000;
static const int64_t MS_OF_A_DAY = 86400000;
static const int64_t RETENTION_PERIOD_NS = 3600000000000;
// So few that rows which come meanwhile wait for some milliseconds only.
static const int64_t RETENTION_PORTION = 500;
static const int64_t CLOSE_LIMIT_NS = 3000000000;
static const int64_t CLOSE_RETRY_NS = 100000000;
static const int64_t DEFAULT_RETRY_MS = 1000;
// Memory of a burst that is over is given back above this.
enum { MAX_KEPT_ROWS = 1024 };

struct log_line {
    struct log_line *next;
    char text[];
};

struct order_queue {
    struct ledger_order *first, *last;
};
struct answer_queue {
    struct row_answer *first, *last;
};
struct log_queue {
    struct log_line *first, *last;
};

struct ledger_thread {
    // Of the thread alone.
    struct store *store;
    int64_t retention_ms, retry_ns;
    int64_t retention_at_ns; // INT64_MAX: never

    uv_thread_t thread;
    uv_mutex_t mutex; // for all below
    uv_cond_t is_wanted;
    uv_async_t ready; // something of the three queues is for the loop
    struct row_list waiting;
    struct row_list pending; // changed by the thread only, with the mutex; it reads it without
    struct row_list settled, pending_settled; // energies in place of estimates; likewise
    struct machine_sum *sums, *pending_sums;
    struct order_queue orders, done;
    struct answer_queue answers;
    struct log_queue log;
    int64_t retry_at_ns;  // while it fails; 0 else
    int64_t sums_at_ns;   // when the sums are to be written; INT64_MAX: there are none
    int64_t settle_at_ns; // likewise the energies
    bool is_closing;
    int64_t close_by_ns;
    uint64_t n_written, n_failures;
    char problem[256]; // of the last write; "": it went well

    void (*on_log)(void *context, const char *line);
    void *context;
};

// ---- queues for the loop; all with the mutex ----

#define APPEND(queue, item)                                                                        \
    do {                                                                                           \
        (item)->next = NULL;                                                                       \
        *((queue)->last ? &(queue)->last->next : &(queue)->first) = (item);                        \
        (queue)->last = (item);                                                                    \
    } while (0)

#define TAKE(queue, item)                                                                          \
    do {                                                                                           \
        (item) = (queue)->first;                                                                   \
        if (item) {                                                                                \
            (queue)->first = (item)->next;                                                         \
            (queue)->last = (queue)->first ? (queue)->last : NULL;                                 \
        }                                                                                          \
    } while (0)

static void log_line(struct ledger_thread *ledger, const char *text) {
    struct log_line *line = malloc(sizeof *line + strlen(text) + 1);
    if (line) { // a line is not worth more than the row that it is about
        memcpy(line->text, text, strlen(text) + 1);
        APPEND(&ledger->log, line);
        uv_async_send(&ledger->ready);
    }
}

static void tell(struct ledger_thread *ledger, size_t row, bool is_written) {
    struct row_answer *answer = row_list_take_answer(&ledger->pending, row);
    if (answer) {
        answer->is_written = is_written;
        APPEND(&ledger->answers, answer);
        uv_async_send(&ledger->ready);
    }
}

static void tell_failure(struct ledger_thread *ledger, size_t first) {
    for (size_t i = first; i < ledger->pending.n; i++) {
        tell(ledger, i, false);
    }
}

static void finish_order(struct ledger_thread *ledger, struct ledger_order *order) {
    APPEND(&ledger->done, order);
    uv_async_send(&ledger->ready);
}

// ---- writing; on the thread, with the mutex where it does not say otherwise ----

static size_t n_waiting_rows(const struct ledger_thread *ledger) {
    return ledger->waiting.n + ledger->pending.n;
}

static void log_failure(struct ledger_thread *ledger, const struct wl_err *err) {
    char line[WL_ERR_MESSAGE_BYTES + 128];
    snprintf(line, sizeof line, "ledger: %s (%zu rows wait, tried again every %.3g s)",
             err->message, n_waiting_rows(ledger), (double)ledger->retry_ns / 1e9);
    log_line(ledger, line);
}

static void note_failure(struct ledger_thread *ledger, const struct wl_err *err) {
    if (!ledger->problem[0]) {
        log_failure(ledger, err);
    }
    ledger->n_failures++;
    str_copy(ledger->problem, sizeof ledger->problem, err->message);
    int64_t pause_ns = ledger->retry_ns;
    if (ledger->is_closing && pause_ns > CLOSE_RETRY_NS) {
        pause_ns = CLOSE_RETRY_NS;
    }
    ledger->retry_at_ns = os_now_ns() + pause_ns;
}

static void note_success(struct ledger_thread *ledger) {
    if (ledger->problem[0]) {
        log_line(ledger, "ledger: can be written again, nothing is lost");
    }
    ledger->problem[0] = '\0';
    ledger->retry_at_ns = 0;
}

// The first n are in the file.
static void settle_rows(struct ledger_thread *ledger, size_t n) {
    for (size_t i = 0; i < n; i++) {
        tell(ledger, i, true);
    }
    row_list_drop(&ledger->pending, n);
    if (ledger->pending.n == 0 && ledger->pending.capacity > MAX_KEPT_ROWS) {
        row_list_release(&ledger->pending);
    }
}

static enum wl_status add_first(struct ledger_thread *ledger, size_t n, struct wl_err *err) {
    uv_mutex_unlock(&ledger->mutex);
    enum wl_status status = ledger_add(ledger->store, ledger->pending.rows, n, err);
    uv_mutex_lock(&ledger->mutex);
    if (status == WL_OK) {
        ledger->n_written += n;
        settle_rows(ledger, n);
    }
    return status;
}

// The first row, which the file refuses: dropped when it is there already (a commit that failed may
// have been one after all). Else the file itself is bad, and the row waits.
static enum wl_status drop_twin(struct ledger_thread *ledger, struct wl_err *err) {
    bool is_there = false;
    const char *id = ledger->pending.rows[0].id;
    struct wl_err has_err;
    if (ledger_has(ledger->store, id, &is_there, &has_err) != WL_OK || !is_there) {
        return err->status;
    }
    char line[LEDGER_ID_BYTES + 64];
    snprintf(line, sizeof line, "ledger: has request '%s' already, its second row is dropped", id);
    log_line(ledger, line);
    settle_rows(ledger, 1);
    return WL_OK;
}

// All at once; halves while a row is refused, so that a bad one does not keep the others out.
static enum wl_status write_rows(struct ledger_thread *ledger, struct wl_err *err) {
    row_list_move(&ledger->pending, &ledger->waiting); // without memory: the next time
    enum wl_status status = WL_OK;
    for (size_t n = ledger->pending.n; ledger->pending.n > 0 && status == WL_OK;) {
        n = n < ledger->pending.n ? n : ledger->pending.n;
        status = add_first(ledger, n, err);
        if (status == WL_OK) {
            n *= 2;
        } else if (status == WL_INPUT && n > 1) {
            n /= 2;
            status = WL_OK;
        } else if (status == WL_INPUT) {
            status = drop_twin(ledger, err);
        }
    }
    return status;
}

static enum wl_status write_sums(struct ledger_thread *ledger, struct wl_err *err) {
    enum wl_status status = WL_OK;
    machine_sums_move(&ledger->pending_sums, &ledger->sums);
    uv_mutex_unlock(&ledger->mutex);
    while (ledger->pending_sums && status == WL_OK) {
        struct machine_sum *s = ledger->pending_sums;
        status = ledger_add_machine(ledger->store, s->wall_ms, s->source, &s->sum, err);
        if (status == WL_OK) {
            ledger->pending_sums = s->next;
            free(s);
        }
    }
    uv_mutex_lock(&ledger->mutex);
    ledger->sums_at_ns = !ledger->pending_sums && !ledger->sums ? INT64_MAX : os_now_ns();
    return status;
}

static int64_t settle_time_ns(void) {
    return os_now_ns() + LEDGER_SETTLE_MS * NS_OF_A_MS;
}

// Behind the rows that they belong to.
static enum wl_status write_settled(struct ledger_thread *ledger, struct wl_err *err) {
    struct row_list *list = &ledger->pending_settled;
    uv_mutex_unlock(&ledger->mutex);
    enum wl_status status = ledger_settle(ledger->store, list->rows, list->n, err);
    uv_mutex_lock(&ledger->mutex);
    if (status == WL_OK) {
        row_list_release(list);
        ledger->settle_at_ns = ledger->settled.n > 0 ? settle_time_ns() : INT64_MAX;
    }
    return status;
}

static bool has_rows(const struct ledger_thread *ledger) {
    return n_waiting_rows(ledger) > 0;
}

// What nobody waits for is written at its time, or before an order that may ask for it.
static bool is_due(const struct ledger_thread *ledger, int64_t at_ns) {
    bool is_asked = ledger->orders.first || ledger->is_closing;
    return at_ns != INT64_MAX && (is_asked || at_ns <= os_now_ns());
}

static bool has_due_settled(const struct ledger_thread *ledger) {
    return is_due(ledger, ledger->settle_at_ns);
}

static bool has_due_sums(const struct ledger_thread *ledger) {
    return is_due(ledger, ledger->sums_at_ns);
}

static bool has_to_write(const struct ledger_thread *ledger) {
    return has_rows(ledger) || has_due_settled(ledger) || has_due_sums(ledger);
}

static void write_all(struct ledger_thread *ledger) {
    struct wl_err err;
    // What is settled by now belongs to rows that are there by now: those are written first. What
    // comes meanwhile may belong to rows that come meanwhile.
    bool has_settled = has_due_settled(ledger);
    if (has_settled) {
        row_list_move(&ledger->pending_settled, &ledger->settled);
    }
    enum wl_status status = has_rows(ledger) ? write_rows(ledger, &err) : WL_OK;
    if (status == WL_OK && has_settled) {
        status = write_settled(ledger, &err);
    }
    if (status == WL_OK && has_due_sums(ledger)) {
        status = write_sums(ledger, &err);
    }
    if (status == WL_OK) {
        note_success(ledger);
    } else {
        note_failure(ledger, &err);
        tell_failure(ledger, 0);
    }
}

// Rows that come while the file cannot be written hear so at once, not after the next try.
static void refuse_new_rows(struct ledger_thread *ledger) {
    size_t n_before = ledger->pending.n;
    if (row_list_move(&ledger->pending, &ledger->waiting)) {
        tell_failure(ledger, n_before);
    }
}

static void write_what_waits(struct ledger_thread *ledger) {
    if (has_to_write(ledger) && ledger->retry_at_ns <= os_now_ns()) {
        write_all(ledger);
    }
    if (ledger->retry_at_ns != 0) {
        refuse_new_rows(ledger);
    }
}

// ---- orders, old rows ----

static bool work_at_an_order(struct ledger_thread *ledger) {
    struct ledger_order *order = NULL;
    if (!ledger->is_closing) {
        TAKE(&ledger->orders, order);
    }
    if (!order) {
        return false;
    }
    uv_mutex_unlock(&ledger->mutex);
    order->status = order->ask(order, ledger->store, &order->err);
    uv_mutex_lock(&ledger->mutex);
    finish_order(ledger, order);
    return true;
}

static void forget_some(struct ledger_thread *ledger) {
    struct wl_err err;
    int64_t n_gone = 0;
    uv_mutex_unlock(&ledger->mutex);
    int64_t before_ms = os_wall_ns() / NS_OF_A_MS - ledger->retention_ms;
    enum wl_status status =
        ledger_forget(ledger->store, before_ms, RETENTION_PORTION, &n_gone, &err);
    uv_mutex_lock(&ledger->mutex);
    if (status != WL_OK) {
        char line[WL_ERR_MESSAGE_BYTES + 64];
        snprintf(line, sizeof line, "ledger: %s (old requests stay for another hour)", err.message);
        log_line(ledger, line);
    }
    if (status != WL_OK || n_gone < RETENTION_PORTION) {
        ledger->retention_at_ns = os_now_ns() + RETENTION_PERIOD_NS;
    }
}

static bool forget_when_due(struct ledger_thread *ledger) {
    bool is_due = !ledger->is_closing && ledger->retention_at_ns <= os_now_ns();
    if (is_due) {
        forget_some(ledger);
    }
    return is_due;
}

// ---- the thread ----

static int64_t next_ns(const struct ledger_thread *ledger) {
    int64_t at_ns = ledger->is_closing ? INT64_MAX : ledger->retention_at_ns;
    int64_t due_ns =
        ledger->sums_at_ns < ledger->settle_at_ns ? ledger->sums_at_ns : ledger->settle_at_ns;
    int64_t write_ns = ledger->retry_at_ns != 0 ? ledger->retry_at_ns : due_ns;
    return write_ns < at_ns ? write_ns : at_ns;
}

static void wait(struct ledger_thread *ledger) {
    int64_t at_ns = next_ns(ledger);
    int64_t now_ns = os_now_ns();
    if (at_ns == INT64_MAX) {
        uv_cond_wait(&ledger->is_wanted, &ledger->mutex);
    } else if (at_ns > now_ns) {
        uv_cond_timedwait(&ledger->is_wanted, &ledger->mutex, (uint64_t)(at_ns - now_ns));
    }
}

static bool is_at_end(const struct ledger_thread *ledger) {
    bool is_given_up = ledger->retry_at_ns != 0 && ledger->close_by_ns <= os_now_ns();
    return ledger->is_closing && (is_given_up || !has_to_write(ledger));
}

static void run(void *context) {
    struct ledger_thread *ledger = context;
    uv_mutex_lock(&ledger->mutex);
    while (!is_at_end(ledger)) {
        write_what_waits(ledger);
        bool has_worked = work_at_an_order(ledger) || forget_when_due(ledger);
        bool has_more = ledger->retry_at_ns == 0 && has_to_write(ledger);
        if (!has_worked && !has_more && !is_at_end(ledger)) {
            wait(ledger);
        }
    }
    uv_mutex_unlock(&ledger->mutex);
}

// ---- the loop ----

static bool give_back_one(struct ledger_thread *ledger) {
    struct log_line *line;
    struct row_answer *answer = NULL;
    struct ledger_order *order = NULL;
    uv_mutex_lock(&ledger->mutex);
    TAKE(&ledger->log, line);
    if (!line) {
        TAKE(&ledger->answers, answer);
    }
    if (!line && !answer) {
        TAKE(&ledger->done, order);
    }
    uv_mutex_unlock(&ledger->mutex);
    if (line && ledger->on_log) {
        ledger->on_log(ledger->context, line->text);
    } else if (answer) {
        answer->on_safe(answer->context, answer->is_written);
    } else if (order) {
        order->on_done(order, order->status, &order->err);
    }
    bool was_something = line || answer || order;
    free(line);
    free(answer);
    return was_something;
}

static void on_ready(uv_async_t *ready) {
    while (give_back_one(ready->data)) {
    }
}

enum wl_status ledger_thread_add(struct ledger_thread *ledger, const struct ledger_row *row,
                                 void (*on_safe)(void *context, bool is_written), void *context,
                                 struct wl_err *err) {
    enum wl_status status = WL_OK;
    uv_mutex_lock(&ledger->mutex);
    size_t text_bytes =
        ledger->waiting.text_bytes + ledger->pending.text_bytes + row_text_bytes(row);
    if (n_waiting_rows(ledger) >= LEDGER_MAX_WAITING ||
        text_bytes > LEDGER_MAX_WAITING_TEXT_BYTES) {
        status =
            wl_err_set(err, WL_LIMIT, "%zu rows wait for the ledger, that is too many%s%s",
                       n_waiting_rows(ledger), ledger->problem[0] ? ": " : "", ledger->problem);
    } else if (!row_list_add(&ledger->waiting, row, on_safe, context)) {
        status = wl_err_set(err, WL_MEMORY, "no memory for a row of the ledger");
    } else {
        uv_cond_signal(&ledger->is_wanted);
    }
    uv_mutex_unlock(&ledger->mutex);
    return status;
}

void ledger_thread_settle(struct ledger_thread *ledger, const struct ledger_row *row) {
    struct ledger_row energy = *row;
    energy.prompt = energy.answer = NULL;
    uv_mutex_lock(&ledger->mutex);
    size_t n = ledger->settled.n + ledger->pending_settled.n;
    if (n >= LEDGER_MAX_WAITING || !row_list_add(&ledger->settled, &energy, NULL, NULL)) {
        log_line(ledger, "ledger: the energy of a request stays an estimate, too many wait");
    } else if (ledger->settle_at_ns == INT64_MAX) {
        ledger->settle_at_ns = settle_time_ns();
        uv_cond_signal(&ledger->is_wanted);
    }
    uv_mutex_unlock(&ledger->mutex);
}

void ledger_thread_add_machine(struct ledger_thread *ledger, int64_t wall_ms, const char *source,
                               const struct ledger_machine *more) {
    uv_mutex_lock(&ledger->mutex);
    if (machine_sum_add(&ledger->sums, wall_ms, source, more) && ledger->sums_at_ns == INT64_MAX) {
        ledger->sums_at_ns = os_now_ns() + LEDGER_MACHINE_MS * NS_OF_A_MS;
        uv_cond_signal(&ledger->is_wanted);
    }
    uv_mutex_unlock(&ledger->mutex);
}

void ledger_thread_ask(struct ledger_thread *ledger, struct ledger_order *order) {
    order->err = (struct wl_err){0};
    uv_mutex_lock(&ledger->mutex);
    APPEND(&ledger->orders, order);
    uv_cond_signal(&ledger->is_wanted);
    uv_mutex_unlock(&ledger->mutex);
}

void ledger_thread_health(const struct ledger_thread *ledger, struct ledger_health *out) {
    struct ledger_thread *l = (struct ledger_thread *)ledger; // the lock is not its state
    uv_mutex_lock(&l->mutex);
    *out = (struct ledger_health){.is_failing = l->problem[0] != '\0',
                                  .n_waiting = n_waiting_rows(l),
                                  .n_written = l->n_written,
                                  .n_failures = l->n_failures};
    str_copy(out->problem, sizeof out->problem, l->problem);
    uv_mutex_unlock(&l->mutex);
}

// ---- opening and closing ----

static void release(struct ledger_thread *ledger) {
    store_close(ledger->store);
    row_list_release(&ledger->waiting);
    row_list_release(&ledger->pending);
    row_list_release(&ledger->settled);
    row_list_release(&ledger->pending_settled);
    machine_sums_release(&ledger->sums);
    machine_sums_release(&ledger->pending_sums);
    uv_cond_destroy(&ledger->is_wanted);
    uv_mutex_destroy(&ledger->mutex);
    free(ledger);
}

static void on_closed(uv_handle_t *handle) {
    release(handle->data);
}

static struct ledger_thread *new_thread(const struct ledger_thread_options *options) {
    struct ledger_thread *ledger = calloc(1, sizeof *ledger);
    if (!ledger) {
        return NULL;
    }
    int64_t retry_ms = options->retry_ms > 0 ? options->retry_ms : DEFAULT_RETRY_MS;
    ledger->retry_ns = retry_ms * NS_OF_A_MS;
    ledger->retention_ms = options->retention_days * MS_OF_A_DAY;
    ledger->retention_at_ns = options->retention_days > 0 ? os_now_ns() : INT64_MAX;
    ledger->sums_at_ns = ledger->settle_at_ns = INT64_MAX;
    ledger->on_log = options->on_log;
    ledger->context = options->context;
    if (uv_mutex_init(&ledger->mutex) != 0) {
        free(ledger);
        return NULL;
    }
    if (uv_cond_init(&ledger->is_wanted) != 0) {
        uv_mutex_destroy(&ledger->mutex);
        free(ledger);
        return NULL;
    }
    return ledger;
}

enum wl_status ledger_thread_open(const struct ledger_thread_options *options,
                                  struct ledger_thread **out, struct wl_err *err) {
    struct ledger_thread *ledger = new_thread(options);
    *out = NULL;
    if (!ledger) {
        return wl_err_set(err, WL_MEMORY, "no memory for the ledger");
    }
    enum wl_status status =
        ledger_open(options->path, STORE_READ_WRITE_CREATE, &ledger->store, err);
    if (status == WL_OK && uv_async_init(options->loop, &ledger->ready, on_ready) != 0) {
        status = wl_err_set(err, WL_MEMORY, "no memory for the ledger's thread");
    }
    if (status != WL_OK) {
        release(ledger);
        return status;
    }
    ledger->ready.data = ledger;
    int error = uv_thread_create(&ledger->thread, run, ledger);
    if (error) {
        uv_close((uv_handle_t *)&ledger->ready, on_closed);
        return wl_err_set(err, WL_IO, "cannot start the ledger's thread: %s", uv_strerror(error));
    }
    *out = ledger;
    return WL_OK;
}

static void end_what_waits(struct ledger_thread *ledger) {
    for (;;) {
        struct ledger_order *order;
        TAKE(&ledger->orders, order);
        if (!order) {
            break;
        }
        order->status = wl_err_set(&order->err, WL_INTERRUPTED, "the gateway ends");
        finish_order(ledger, order);
    }
    refuse_new_rows(ledger);
    if (n_waiting_rows(ledger) > 0 || ledger->pending_sums) {
        char line[sizeof ledger->problem + 64];
        snprintf(line, sizeof line, "ledger: %zu rows are lost: %s", n_waiting_rows(ledger),
                 ledger->problem);
        log_line(ledger, line);
    }
}

void ledger_thread_close(struct ledger_thread *ledger) {
    if (!ledger) {
        return;
    }
    uv_mutex_lock(&ledger->mutex);
    ledger->is_closing = true;
    ledger->close_by_ns = os_now_ns() + CLOSE_LIMIT_NS;
    ledger->retry_at_ns = ledger->retry_at_ns ? 1 : 0; // at once
    uv_cond_signal(&ledger->is_wanted);
    uv_mutex_unlock(&ledger->mutex);
    uv_thread_join(&ledger->thread);
    uv_mutex_lock(&ledger->mutex);
    end_what_waits(ledger);
    uv_mutex_unlock(&ledger->mutex);
    on_ready(&ledger->ready);
    uv_close((uv_handle_t *)&ledger->ready, on_closed);
}
