// A load and fault driver for wattlaw-gateway: many clients, good and bad ones, in front of it, a
// fake model server behind it, and a world around it that fails now and then. What it checks at the
// end of each round is in soak_check.c. One thread; a seed makes its choices repeatable.
#ifndef TESTS_SOAK_H
#define TESTS_SOAK_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/rng.h"

// ---- what clients do ----

// name, weight in the mix
#define SOAK_KIND_LIST(X)                                                                          \
    X(chat, 12)                                                                                    \
    X(chat_stream, 12)                                                                             \
    X(completion, 4)                                                                               \
    X(embedding, 4)                                                                                \
    X(messages, 4)                                                                                 \
    X(pictures, 6)                                                                                 \
    X(turns, 3)                                                                                    \
    X(forward, 3)                                                                                  \
    X(page, 5)                                                                                     \
    X(feedback, 2)                                                                                 \
    X(pipelined, 3)                                                                                \
    X(no_key, 1)                                                                                   \
    X(bad_picture, 4)                                                                              \
    X(bad_json, 8)                                                                                 \
    X(bad_http, 10)                                                                                \
    X(abort_headers, 2)                                                                            \
    X(abort_body, 2)                                                                               \
    X(abort_waiting, 4)                                                                            \
    X(abort_stream, 4)                                                                             \
    X(slow_writer, 2)                                                                              \
    X(slow_reader, 2)                                                                              \
    X(server_status, 2)                                                                            \
    X(server_dies, 3)                                                                              \
    X(server_garbage, 2)                                                                           \
    X(server_silent, 1)                                                                            \
    X(server_odd, 5)                                                                               \
    X(server_exits, 1)

#define SOAK_KIND_ID(name, weight) KIND_##name,
enum soak_kind { SOAK_KIND_LIST(SOAK_KIND_ID) KIND_N };
const char *soak_kind_name(enum soak_kind kind);

struct soak_counts {
    uint64_t n_begun, n_whole, n_cut, n_by_class[6]; // answers by status / 100
};

// What was answered as a whole and must be in the ledger.
struct soak_answer {
    char id[40];
    int status;
    int64_t prompt_tokens, completion_tokens; // -1: not told
};

// What one client will do, and what it expects.
struct soak_plan {
    enum soak_kind kind;
    struct buf bytes;         // of all its requests
    size_t n_answers;         // that are to come on this connection
    size_t write_step;        // 0: all at once
    size_t read_step;         // 0: whatever is there
    int64_t pause_ms;         // between steps
    size_t abort_written;     // leaves after so many bytes; SIZE_MAX: not
    size_t abort_read;        // likewise
    int64_t abort_ms;         // leaves after so long; INT64_MAX: not
    bool resets;              // it leaves with a reset
    bool is_rowless;          // its answers need not be in the ledger
    bool is_stream, is_clean; // clean: 200 is expected where nothing is wrong around it
};

enum { SOAK_N_KEYS = 6, SOAK_KEY_OPEN = 0 };
struct soak_key {
    const char *name, *secret;
    double requests_per_min, tokens_per_day, wh_per_day; // 0: none
    bool is_admin;
};
extern const struct soak_key SOAK_KEYS[SOAK_N_KEYS];

struct soak;

// soak_plan.c: `plan->bytes` is to be released.
void soak_plan_make(struct soak *soak, enum soak_kind kind, struct soak_plan *plan);
enum soak_kind soak_plan_choose(struct soak *soak);
// soak_mutate.c: some bytes of it are changed, or many.
void soak_mutate(struct rng *rng, struct buf *bytes);
// soak_raw.c: bytes that are hardly HTTP.
void soak_raw_request(struct soak *soak, struct buf *out);
// soak_picture.c: a picture as a data: address.
void soak_picture(struct rng *rng, bool is_bad, struct buf *out);

// ---- clients (soak_client.c) ----

struct soak_client;
struct soak_client *soak_client_begin(struct soak *soak, struct soak_plan *plan); // takes the bytes
int soak_client_fd(const struct soak_client *client);
short soak_client_events(const struct soak_client *client, int64_t now_ms);
// False when it is done; it is freed then.
bool soak_client_step(struct soak_client *client, short events, int64_t now_ms);
void soak_client_end(struct soak_client *client); // NULL is fine

// ---- the programs (soak_process.c) ----

struct soak_program {
    pid_t pid;  // 0: does not run
    int log_fd; // what it writes; -1
    unsigned port;
    struct buf log;
    FILE *log_file;
    size_t n_reports; // lines of a sanitizer
};

bool soak_start_server(struct soak *soak);
bool soak_start_gateway(struct soak *soak);
void soak_read_log(struct soak_program *program);
// The exit status as waitpid has it; -1: it did not end within the time and was killed.
int soak_stop(struct soak_program *program, int signal, int64_t limit_ms);
// True once after it has ended by itself.
bool soak_has_ended(struct soak_program *program, int *wait_status);
long soak_count_fds(pid_t pid);
double soak_resident_mib(pid_t pid);
// GET on its own connection: the body; false when nothing sensible came within 5 s.
bool soak_get(unsigned port, const char *path, struct buf *out);

// ---- the world around it (soak_faults.c) ----

#define SOAK_FAULT_LIST(X)                                                                         \
    X(server_killed)                                                                               \
    X(server_stopped)                                                                              \
    X(disk_full)                                                                                   \
    X(ledger_locked)                                                                               \
    X(keys_read_again)                                                                             \
    X(keys_broken)                                                                                 \
    X(profile_read_again)                                                                          \
    X(profile_broken)                                                                              \
    X(meter_lost)                                                                                  \
    X(gateway_killed)

#define SOAK_FAULT_ID(name) FAULT_##name,
enum soak_fault { SOAK_FAULT_LIST(SOAK_FAULT_ID) FAULT_N };
const char *soak_fault_name(enum soak_fault fault);

void soak_write_keys(struct soak *soak, bool is_good);
void soak_write_profile(struct soak *soak, bool is_good);
void soak_fault_begin(struct soak *soak, enum soak_fault fault);
void soak_faults_tick(struct soak *soak); // ends what is over; feeds the meter
void soak_faults_end(struct soak *soak);  // all of them

// ---- checks (soak_check.c) ----

void soak_problem(struct soak *soak, const char *format, ...) __attribute__((format(printf, 2, 3)));
bool soak_is_at_rest(struct soak *soak);
void soak_check_running(struct soak *soak); // before the gateway is stopped
void soak_check_ledger(struct soak *soak);  // after

// ---- all ----

enum { SOAK_MAX_CLIENTS = 128 };

struct soak {
    struct rng rng, fault_rng;
    const char *gateway_program, *server_program;
    char dir[1024], ledger[1100], keys[1100], profile[1100], fifo[1100];
    struct soak_program gateway, server;
    bool has_keys, has_fifo, is_limited;
    bool is_accounted; // the sums of this round must be right: it was not killed
    long n_fds_at_begin;

    struct soak_client *clients[SOAK_MAX_CLIENTS];
    size_t n_clients, n_active;

    int64_t fault_until_ms[FAULT_N]; // 0: none
    int64_t calm_since_ms;           // nothing is wrong since then; INT64_MAX: something is
    int fifo_fd;                     // -1
    int64_t fifo_next_ms;
    void *lock; // sqlite3 that holds the ledger
    int64_t server_start_ms, next_client_ms;

    struct soak_counts counts[KIND_N];
    uint64_t n_faults[FAULT_N], n_events, n_hup;
    struct soak_answer *answers;
    size_t n_answers, answers_capacity;
    char last_ids[16][40]; // for feedback
    size_t n_last_ids;

    float *resident_mib;
    size_t n_resident;
    int64_t resident_next_ms;
    uint64_t n_rows, n_problems, n_rounds;
    double first_mib, last_mib;
    json_t *problems;
};

int64_t soak_now_ms(void);

#endif
