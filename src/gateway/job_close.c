// The end of a request: joules, budgets, the ledger's row, and only then the last bytes.
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "base/units.h"
#include "gateway/job.h"
#include "gateway/log.h"
#include "openai/json_text.h"
#include "os/clock.h"

// ---- letting go ----

void job_drop(struct job *job) {
    struct gateway *gateway = job->gateway;
    if (--job->n_holds > 0) {
        return;
    }
    *(job->previous ? &job->previous->next : &gateway->first_job) = job->next;
    if (job->next) {
        job->next->previous = job->previous;
    }
    gateway->n_jobs--;
    openai_request_release(&job->request);
    openai_assembly_release(&job->assembly);
    sse_release(&job->sse);
    buf_release(&job->body);
    buf_release(&job->reply);
    buf_release(&job->held_raw);
    buf_release(&job->answer_text);
    json_decref(job->last_piece);
    json_decref(job->held);
    json_decref(job->tail);
    free(job);
}

static void cancel_parts(struct job *job) {
    job_unqueue(job);
    count_cancel(job->count);
    job->count = NULL;
    if (job->has_pictures_order) {
        pictures_cancel(job->gateway->pictures, &job->pictures);
        job->has_pictures_order = false;
    }
    http_call_cancel(job->call);
    job->call = NULL;
}

// ---- what it used ----

static void note_usage(struct job *job) {
    if (job->is_sse || job->reply.len == 0 || job->status != 200) {
        bool is_cut = job->usage.completion_tokens == OPENAI_ABSENT && job->is_read;
        job->usage.completion_tokens =
            is_cut && job->is_inside ? (int64_t)job->n_pieces : job->usage.completion_tokens;
        if (job->usage.prompt_tokens == OPENAI_ABSENT && job->is_inside) {
            job->usage.prompt_tokens = job->input_tokens;
        }
    }
}

static double seconds_between(int64_t from_ns, int64_t to_ns) {
    return from_ns > 0 && to_ns > 0 ? (double)(to_ns - from_ns) * 1e-9 : (double)NAN;
}

static int64_t known(int64_t n) {
    return n >= 0 ? n : LEDGER_ABSENT;
}

static void put_cost(struct job *job) {
    struct ledger_row *row = &job->row;
    row->gross_j = row->gross_sd_j = row->net_j = row->net_sd_j = (double)NAN;
    if (!job->is_metered) {
        return;
    }
    struct openai_energy energy;
    job_energy(job, &energy);
    row->gross_j = energy.gross_j;
    row->gross_sd_j = energy.gross_sd_j;
    row->net_j = energy.net_j;
    row->net_sd_j = energy.net_sd_j;
    row->n_shared = energy.n_shared;
    str_copy(row->source, sizeof row->source, energy.source);
    str_copy(row->scope, sizeof row->scope, energy.scope);
    str_copy(row->label, sizeof row->label, energy.label);
}

static void fill_row(struct job *job) {
    struct ledger_row *row = &job->row;
    str_copy(row->id, sizeof row->id, job->id);
    row->begin_wall_ms = job->begin_wall_ms;
    str_copy(row->key, sizeof row->key, job->account->key.name);
    str_copy(row->endpoint, sizeof row->endpoint, job->is_canary ? "canary" : job->route->name);
    row->http_status = (int)job->status;
    row->end = job->end;
    row->is_stream = job->is_streaming;
    row->prompt_tokens = known(job->usage.prompt_tokens);
    row->cached_tokens = known(job->usage.cached_tokens);
    row->completion_tokens = known(job->usage.completion_tokens);
    row->n_images = job->is_read ? (int64_t)job->request.n_images : 0;
    row->pixels_in = (int64_t)job->pictures.pixels_in;
    row->pixels_out = (int64_t)job->pictures.pixels_out;
    row->n_turns_dropped = (int64_t)job->n_turns_dropped;
    row->wait_s = seconds_between(job->queued_ns, job->sent_ns);
    row->first_s = seconds_between(job->begin_ns, job->first_ns);
    row->total_s = seconds_between(job->begin_ns, job->end_ns);
    str_copy(row->error, sizeof row->error, job->fault.err.message);
    put_cost(job);
}

// ---- the meter and the budgets ----

// A stream shows when its prompt is done; of a whole answer the model server may tell. NaN: nobody
// knows.
static double prompt_net_j(const struct job *job) {
    double prompt_ms = job->usage.prompt_ms, all_ms = prompt_ms + job->usage.predicted_ms;
    if (job->is_sse) {
        return job->user.life.account.prompt_net_j;
    }
    double net_j = isfinite(job->row.net_j) ? job->row.net_j : job->row.gross_j;
    return all_ms > 0 ? net_j * prompt_ms / all_ms : (double)NAN;
}

static void count_figures(struct job *job) {
    figures_add(&job->gateway->figures, &job->row, prompt_net_j(job), job->pictures.n_changed);
}

// An estimate stands in the ledger where the joules come after the row.
static void correct_estimate(struct job *job, double more_j) {
    job->account->budget.spent[BUDGET_WH] += more_j / UNITS_J_PER_WH;
    put_cost(job);
    if (job->gateway->ledger) {
        ledger_thread_settle(job->gateway->ledger, &job->row);
    }
    count_figures(job);
}

static void on_settled(void *context, struct power_user *user) {
    struct job *job = context;
    double told_j = job->cost.gross_j;
    power_cost(job->gateway->power, user, &job->cost);
    if (job->row.id[0]) {
        correct_estimate(job, job->cost.gross_j - told_j);
    }
    job_drop(job);
}

static void leave_meter(struct job *job) {
    struct power *power = job->gateway->power;
    if (!job->is_metered) {
        return;
    }
    job->n_holds++;
    int64_t prompt = job->usage.prompt_tokens, cached = job->usage.cached_tokens;
    if (job->is_sse && job->end == LEDGER_ANSWERED && prompt > 0) { // else its end is not known
        power_learn(power, &job->user, (double)(prompt - (cached > 0 ? cached : 0)));
    }
    power_leave(power, &job->user, on_settled, job);
    power_cost(power, &job->user, &job->cost);
}

static double smoothed(double old, double value) {
    return old > 0 ? fmax(value, 0.9 * old + 0.1 * value) : value;
}

static void settle_budget(struct job *job) {
    struct gateway *gateway = job->gateway;
    int64_t prompt = job->usage.prompt_tokens, completion = job->usage.completion_tokens;
    double used[BUDGET_N_KINDS] = {[BUDGET_TOKENS] = NAN, [BUDGET_WH] = 0};
    if (prompt != OPENAI_ABSENT) {
        used[BUDGET_TOKENS] = (double)prompt + (double)(completion > 0 ? completion : 0);
    } else if (!job->is_inside || job->end == LEDGER_REFUSED) {
        used[BUDGET_TOKENS] = 0;
    }
    if (job->is_metered) {
        used[BUDGET_WH] = job->cost.gross_j / UNITS_J_PER_WH;
        gateway->typical_j = smoothed(gateway->typical_j, job->cost.gross_j);
    }
    gateway->typical_s = smoothed(gateway->typical_s, seconds_between(job->sent_ns, job->end_ns));
    budget_settle(&job->account->budget, job->need, used);
}

static void leave(struct job *job) {
    struct gateway *gateway = job->gateway;
    leave_meter(job);
    if (job->is_granted) {
        settle_budget(job);
        job->account->n_running--;
        gateway->n_running--;
    }
    if (job->is_inside) {
        upstream_leave(gateway->upstream);
    }
    job->is_granted = job->is_inside = false;
}

// ---- the last bytes ----

static void write_piece(struct job *job, json_t *piece) {
    struct buf json, event;
    buf_init(&json, SIZE_MAX);
    buf_init(&event, SIZE_MAX);
    if (piece && openai_json_write(&json, piece)) {
        sse_write(&event, json.data, json.len);
        http_stream_write(job->exchange, buf_text(&event), event.len);
    }
    buf_release(&json);
    buf_release(&event);
}

static bool add_energy(struct job *job, json_t *reply) {
    struct openai_energy energy;
    if (!job->is_metered) {
        return false;
    }
    job_energy(job, &energy);
    return openai_reply_add_energy(reply, &job->usage, &energy);
}

static void write_energy_comment(struct job *job) {
    struct openai_energy energy;
    struct buf text;
    if (!job->is_metered) {
        return;
    }
    buf_init(&text, 4096);
    job_energy(job, &energy);
    json_t *object = openai_energy_json(&energy);
    buf_puts(&text, ": wattlaw ");
    if (object && openai_json_write(&text, object) && buf_puts(&text, "\n\n")) {
        http_stream_write(job->exchange, buf_text(&text), text.len);
    }
    json_decref(object);
    buf_release(&text);
}

static uint64_t all_choices(const struct job *job) {
    uint64_t n = (uint64_t)job->request.n_choices * job->request.n_prompts;
    return n >= 64 ? UINT64_MAX : (UINT64_C(1) << n) - 1;
}

// An answer that we have ended gets the piece that its model would have sent.
static void make_end(struct job *job) {
    uint64_t open = all_choices(job) & ~job->ended;
    if (job->finish && open) {
        job_flush_held(job);
        job->held = openai_finish_piece(job->request.endpoint, job->last_piece, open, job->finish);
    }
}

static void end_stream(struct job *job) {
    static const char DONE[] = "data: [DONE]\n\n";
    if (!job->is_read && job->end == LEDGER_UPSTREAM_DIED) {
        http_stream_abort(job->exchange); // how its form tells of errors is not known
        return;
    }
    if (!job->is_read) {
        write_energy_comment(job);
    } else if (job->end == LEDGER_UPSTREAM_DIED || job->end == LEDGER_GATEWAY_ENDED) {
        struct buf text, event;
        job_flush_held(job);
        buf_init(&text, 8192);
        buf_init(&event, 16384);
        openai_fault_write(&text, 502, &job->fault);
        sse_write(&event, buf_text(&text), text.len);
        http_stream_write(job->exchange, buf_text(&event), event.len);
        buf_release(&text);
        buf_release(&event);
    } else {
        make_end(job);
        json_t *last = job->tail ? job->tail : job->held;
        if (job->tail) {
            job_flush_held(job);
        }
        add_energy(job, last);
        write_piece(job, last);
        http_stream_write(job->exchange, DONE, sizeof DONE - 1);
    }
    http_stream_end(job->exchange);
}

static void reply_fault(struct job *job) {
    struct buf body;
    buf_init(&body, 8192);
    openai_fault_write(&body, (int)job->status, &job->fault);
    job_add_headers(job, true);
    http_reply(job->exchange, job->status, "application/json", &body);
}

static void reply_json(struct job *job, json_t *reply) {
    struct buf body;
    buf_init(&body, SIZE_MAX);
    if (reply && openai_json_write(&body, reply)) {
        job_add_headers(job, true);
        http_reply(job->exchange, job->status, "application/json", &body);
        return;
    }
    buf_release(&body);
    job->status = 507;
    openai_fault_set(&job->fault, WL_MEMORY, NULL, NULL, "no memory for the answer");
    reply_fault(job);
}

static void reply_whole(struct job *job) {
    json_t *reply = NULL;
    bool has_energy = job->status == 200 && job->is_metered && job->reply.len > 0 &&
                      openai_json_parse(job->reply.data, job->reply.len, &reply, NULL) == WL_OK &&
                      json_is_object(reply) && add_energy(job, reply);
    if (has_energy) {
        reply_json(job, reply);
    } else {
        job_add_headers(job, true);
        http_reply(job->exchange, job->status, job->reply_type[0] ? job->reply_type : NULL,
                   &job->reply);
    }
    json_decref(reply);
}

static void reply_assembled(struct job *job) {
    json_t *reply = openai_assembly_take(&job->assembly, job->finish);
    job->status = 200;
    if (reply && !json_object_get(reply, "model")) {
        json_object_set_new(reply, "model", json_string(job->row.model));
    }
    add_energy(job, reply);
    reply_json(job, reply);
    json_decref(reply);
}

static void finish(struct job *job) {
    job->state = JOB_CLOSED;
    if (!job->exchange || http_exchange_is_gone(job->exchange)) {
        return;
    }
    if (job->is_streaming) {
        end_stream(job);
    } else if (job->is_refused) {
        reply_fault(job);
    } else if (job->is_assembling) {
        reply_assembled(job);
    } else {
        reply_whole(job);
    }
}

// ---- the ledger ----

static void on_safe(void *context, bool is_written) {
    struct job *job = context;
    (void)is_written; // kept and tried again; new requests are refused meanwhile
    finish(job);
    job_drop(job);
}

static void remember(struct gateway *gateway, const struct ledger_row *row) {
    gateway->recent[gateway->recent_at] = *row;
    gateway->recent[gateway->recent_at].prompt = gateway->recent[gateway->recent_at].answer = NULL;
    gateway->recent_at = (gateway->recent_at + 1) % GATEWAY_N_RECENT;
    gateway->n_recent += gateway->n_recent < GATEWAY_N_RECENT;
}

// False when it was not taken: then nobody calls back.
static bool write_row(struct job *job, void (*on_written)(void *context, bool is_written)) {
    struct gateway *gateway = job->gateway;
    struct wl_err err = {0};
    if (!gateway->ledger) {
        return false;
    }
    if (ledger_thread_add(gateway->ledger, &job->row, on_written, job, &err) != WL_OK) {
        log_event(LOG_WARNING, "request %s is not in the ledger: %s", job->id, err.message);
        return false;
    }
    return true;
}

static void record(struct job *job) {
    struct gateway *gateway = job->gateway;
    if (job->route->kind == ROUTE_FORWARD) {
        finish(job);
        return;
    }
    fill_row(job);
    if (!job->is_metered || job->user.is_settled) {
        count_figures(job);
    }
    log_request(&job->row);
    remember(gateway, &job->row);
    job_take_texts(job);
    bool must_be_safe = !job->is_refused; // else nothing was computed
    bool is_waiting = write_row(job, must_be_safe ? on_safe : NULL) && must_be_safe;
    job_release_texts(job);
    if (is_waiting) {
        job->n_holds++; // on_safe lets go
    } else {
        finish(job);
    }
}

// What a whole answer says of its tokens.
static void read_whole(struct job *job) {
    json_t *reply = NULL;
    bool is_whole = !job->is_sse && job->status == 200 && job->is_granted && job->reply.len > 0;
    if (is_whole && openai_json_parse(job->reply.data, job->reply.len, &reply, NULL) == WL_OK) {
        if (job->is_read) {
            openai_usage_read(reply, &job->usage);
        } else {
            job_take_opaque(job, reply);
        }
        if (isfinite(job->usage.prompt_ms)) { // what a stream would have shown
            job->first_ns = job->sent_ns + (int64_t)(job->usage.prompt_ms * 1e6);
        }
    }
    json_decref(reply);
}

void job_close(struct job *job, enum ledger_end end) {
    struct gateway *gateway = job->gateway;
    if (job->state >= JOB_CLOSING) {
        return;
    }
    cancel_parts(job);
    job->state = JOB_CLOSING;
    job->end = end;
    job->end_ns = os_now_ns();
    if (end == LEDGER_ANSWERED && job->status >= 400) {
        job->end = LEDGER_REFUSED; // by the model server, in its own words
    }
    read_whole(job);
    note_usage(job);
    job->n_holds++; // what follows may let all others go
    leave(job);
    record(job);
    job_drop(job);
    job_queue_run(gateway);
}

void job_refuse_with_fault(struct job *job, enum ledger_end end, unsigned http_status) {
    if (job->state >= JOB_CLOSING) {
        return;
    }
    job->is_refused = true;
    job->status = http_status;
    job_close(job, end);
}

void job_refuse(struct job *job, enum ledger_end end, unsigned http_status, const char *code,
                const char *param, const char *format, ...) {
    char message[WL_ERR_MESSAGE_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    openai_fault_set(&job->fault, WL_FAILED, code, param, "%s", message);
    job_refuse_with_fault(job, end, http_status);
}

void job_abandon(struct job *job) {
    job->status = job->status ? job->status : 499;
    job_close(job, LEDGER_CLIENT_LEFT);
}
