// One request to the model server, from its headers to its row in the ledger:
//
//   receive -> prepare (read, pictures, count, limits) -> queue (slot, budget) -> ask -> relay
//           -> close (joules, ledger, last bytes)
//
// Each step is a file job_<step>.c; a step that waits comes back through a callback. A client that
// leaves, a limit or a dead model server lead to job_close from any step.
#ifndef WATTLAW_GATEWAY_JOB_H
#define WATTLAW_GATEWAY_JOB_H

#include "gateway/gateway.h"
#include "gateway/routes.h"
#include "openai/assemble.h"
#include "openai/reply.h"
#include "openai/request.h"
#include "openai/sse.h"

enum job_state {
    JOB_RECEIVING,
    JOB_PREPARING,
    JOB_QUEUED,
    JOB_ASKING, // sent; nothing has come yet
    JOB_RELAYING,
    JOB_CLOSING, // the answer's end is known; the ledger is not yet written
    JOB_CLOSED
};

struct job {
    struct gateway *gateway;
    struct http_exchange *exchange; // NULL: the client's side is over
    const struct route *route;
    struct account *account;
    enum job_state state;
    unsigned n_holds; // of those who will call back: exchange, meter, ledger
    struct job *previous, *next;
    struct job *queue_previous, *queue_next;
    uint64_t passed_in_run; // of the queue
    char id[LEDGER_ID_BYTES];
    int64_t begin_wall_ms;
    int64_t begin_ns, queued_ns, sent_ns, first_ns, end_ns; // 0: not yet

    // What is asked.
    struct openai_request request;
    bool is_read;          // `request` is filled
    bool waits_for_server; // to be counted; `prepare` goes on when it is up
    bool is_canary;
    struct buf body; // where it differs from what came
    struct request_limits limits;
    struct pictures_order pictures;
    bool has_pictures_order;
    struct count_call *count;
    int64_t input_tokens; // as counted; OPENAI_ABSENT
    size_t n_turns_dropped, n_turns_tries;
    double need[BUDGET_N_KINDS];
    bool is_granted; // `need` is held
    bool is_retried; // the model server refused the connection once

    // What comes.
    struct http_call *call;
    bool is_inside;     // the model server's count of us
    bool is_sse;        // it answers with a stream
    bool is_streaming;  // so do we
    bool is_assembling; // it streams, we do not
    bool is_paused;
    bool is_done_seen; // data: [DONE]
    struct sse sse;
    struct buf reply; // a whole answer
    char reply_type[128];
    struct openai_assembly assembly;
    struct openai_usage usage;
    uint64_t ended; // choices
    uint64_t n_pieces;
    json_t *last_piece; // to make a last one like it
    json_t *held;       // the piece that ends a choice: the energy goes into it
    struct buf held_raw;
    json_t *tail;           // the piece with the usage, for clients that asked for it
    struct buf answer_text; // kept only where the ledger keeps texts

    // What becomes of it.
    struct power_user user;
    bool is_metered; // `user` is in the meter's list
    struct power_cost cost;
    struct ledger_row row;
    enum ledger_end end;
    bool is_refused;           // there is no answer, but `fault`
    unsigned status;           // of the answer
    const char *finish;        // "length" where we have ended it
    struct openai_fault fault; // what is told to the client where there is no answer
};

// ---- receive (job_receive.c) ----

// A request's headers are there: finds its route and account, refuses what can be refused.
void job_receive(struct gateway *gateway, struct http_exchange *exchange);
void job_receive_body(struct job *job);
// The secret that the client shows, without "Bearer "; NULL.
const char *job_secret(struct http_exchange *exchange);

// ---- prepare (job_prepare.c) ----

void job_prepare(struct job *job);
void job_prepare_on(struct job *job); // the model server is up

// ---- queue (job_queue.c) ----

void job_enqueue(struct job *job);
void job_unqueue(struct job *job); // nothing where it does not wait
// Sends those whose turn it is; gives up those that waited too long.
void job_queue_run(struct gateway *gateway);

// ---- ask and relay (job_ask.c, job_relay.c) ----

void job_ask(struct job *job);
// The first byte is about to go to the client as a stream.
void job_begin_stream(struct job *job);
void job_take_events(struct job *job, const char *bytes, size_t n);
void job_flush_held(struct job *job);
// What an answer of another form says of its tokens.
void job_take_opaque(struct job *job, const json_t *value);
// It has run out of its time or joules: what came so far is its answer.
void job_stop_at_limit(struct job *job);

// ---- close (job_close.c) ----

// The answer is whole, or has ended as `end` says. Once.
void job_close(struct job *job, enum ledger_end end);
// There is no answer: the client is told why. Once, instead of job_close.
void job_refuse(struct job *job, enum ledger_end end, unsigned http_status, const char *code,
                const char *param, const char *format, ...) __attribute__((format(printf, 6, 7)));
// The same with what is in job->fault.
void job_refuse_with_fault(struct job *job, enum ledger_end end, unsigned http_status);
// The client has left.
void job_abandon(struct job *job);
// One of those who hold it is done; the last one ends it.
void job_drop(struct job *job);

// ---- texts for the ledger (job_text.c); nothing unless it keeps them ----

void job_note_text(struct job *job, const json_t *piece); // of a stream
void job_take_texts(struct job *job);                     // into the row
void job_release_texts(struct job *job);

// ---- what is told beside the answer (job_headers.c) ----

void job_add_headers(struct job *job, bool is_whole);
void job_energy(const struct job *job, struct openai_energy *out);

#endif
