// What goes wrong around the gateway, for some time each.
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "account/keys.h"
#include "os/file.h"
#include "os/process.h"
#include "soak.h"

#define FAULT_NAME(name) #name,
static const char *const NAMES[] = {SOAK_FAULT_LIST(FAULT_NAME)};

// Until what a fault has left behind is over: looks at the model server, tries of the ledger. Some
// faults must not be felt at all.
static const int64_t GRACE_MS[FAULT_N] = {[FAULT_server_killed] = 7000,
                                          [FAULT_server_stopped] = 7000,
                                          [FAULT_disk_full] = 2500,
                                          [FAULT_ledger_locked] = 2500,
                                          [FAULT_gateway_killed] = 1000};

enum { SERVER_EXIT_CODE = 9 }; // when it is asked to end

const char *soak_fault_name(enum soak_fault fault) {
    return NAMES[fault];
}

static void put_calm_off(struct soak *soak, enum soak_fault fault, int64_t until_ms) {
    int64_t since_ms = GRACE_MS[fault] ? until_ms + GRACE_MS[fault] : 0;
    soak->calm_since_ms = since_ms > soak->calm_since_ms ? since_ms : soak->calm_since_ms;
}

// Nobody is signalled where it does not run: 0 would be all of us.
static void send_signal(const struct soak_program *program, int number) {
    if (program->pid > 0) {
        kill(program->pid, number);
    }
}

// ---- files that are read again ----

static void write_file(const char *path, const char *text, size_t n) {
    os_write_atomic(path, text, n, NULL);
}

static void put_limit(struct buf *out, const char *name, double limit) {
    if (limit > 0) {
        buf_printf(out, ",\"%s\":%g", name, limit);
    }
}

// key_write without its closing brace, so that more fields can follow.
static void put_key(struct buf *out, const struct soak_key *key) {
    key_write(out, key->name, key->secret);
    out->len--;
    put_limit(out, "requests_per_min", key->requests_per_min);
    put_limit(out, "tokens_per_day", key->tokens_per_day);
    put_limit(out, "wh_per_day", key->wh_per_day);
    buf_puts(out, key->is_admin ? ",\"admin\":true}" : "}");
}

void soak_write_keys(struct soak *soak, bool is_good) {
    struct buf out;
    buf_init(&out, 1 << 16);
    buf_puts(&out, "{\"keys\":[");
    for (size_t i = 0; i < SOAK_N_KEYS; i++) {
        buf_puts(&out, i ? "," : "");
        put_key(&out, &SOAK_KEYS[i]);
    }
    for (uint32_t i = rng_below(&soak->fault_rng, 4); i > 0; i--) { // some come and go
        char name[16];
        snprintf(name, sizeof name, "spare%u", i);
        buf_puts(&out, ",");
        key_write(&out, name, name);
    }
    buf_puts(&out, "]}");
    if (!is_good) {
        soak_mutate(&soak->fault_rng, &out);
        buf_puts(&out, "]"); // never good by chance
    }
    write_file(soak->keys, buf_text(&out), out.len);
    buf_release(&out);
}

void soak_write_profile(struct soak *soak, bool is_good) {
    struct buf out;
    buf_init(&out, 1 << 16);
    buf_puts(&out, "{\"schema_version\":1");
    if (soak->is_limited) {
        buf_puts(&out, ",\"limits\":{\"input_tokens\":600,\"output_tokens\":60,\"seconds\":3,"
                       "\"joules\":5000},\"policy\":\"truncate\"");
    }
    buf_printf(&out,
               ",\"images\":{\"auto\":{\"tokens\":60,\"pixels\":%u},\"max_images\":8,"
               "\"first\":%s}}",
               20000 + rng_below(&soak->fault_rng, 30000),
               rng_below(&soak->fault_rng, 2) ? "true" : "false");
    if (!is_good) {
        soak_mutate(&soak->fault_rng, &out);
        buf_puts(&out, "]");
    }
    write_file(soak->profile, buf_text(&out), out.len);
    buf_release(&out);
}

static void reload(struct soak *soak) {
    send_signal(&soak->gateway, SIGHUP);
}

// ---- the ledger's file ----

static void limit_files(struct soak *soak, rlim_t bytes) {
    struct rlimit limit = {.rlim_cur = bytes, .rlim_max = RLIM_INFINITY};
    if (soak->gateway.pid > 0) {
        prlimit(soak->gateway.pid, RLIMIT_FSIZE, &limit, NULL);
    }
}

static void lock_ledger(struct soak *soak) {
    sqlite3 *db = NULL;
    if (sqlite3_open_v2(soak->ledger, &db, SQLITE_OPEN_READWRITE, NULL) == SQLITE_OK) {
        sqlite3_busy_timeout(db, 500);
        sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL);
    }
    soak->lock = db;
}

static void unlock_ledger(struct soak *soak) {
    if (soak->lock) {
        sqlite3_exec(soak->lock, "ROLLBACK", NULL, NULL, NULL);
        sqlite3_close(soak->lock);
        soak->lock = NULL;
    }
}

// ---- the meter ----

static void feed_meter(struct soak *soak) {
    int64_t now_ms = soak_now_ms();
    if (!soak->has_fifo || soak->fault_until_ms[FAULT_meter_lost] || now_ms < soak->fifo_next_ms) {
        return;
    }
    if (soak->fifo_fd < 0) {
        soak->fifo_fd = open(soak->fifo, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    }
    char line[32];
    int n = snprintf(line, sizeof line, "%.3f\n", 5 + 3 * sin((double)now_ms / 700));
    if (soak->fifo_fd >= 0 && write(soak->fifo_fd, line, (size_t)n) < 0) {
        close(soak->fifo_fd);
        soak->fifo_fd = -1;
    }
    soak->fifo_next_ms = now_ms + 100;
}

static void lose_meter(struct soak *soak) {
    if (soak->fifo_fd >= 0) {
        close(soak->fifo_fd);
        soak->fifo_fd = -1;
    }
}

// ---- all ----

static void restart_gateway(struct soak *soak) {
    soak_stop(&soak->gateway, SIGKILL, 10000);
    soak->is_accounted = false;
    lose_meter(soak);
    if (!soak_start_gateway(soak)) {
        soak_problem(soak, "the gateway does not start after kill -9");
    }
}

void soak_fault_begin(struct soak *soak, enum soak_fault fault) {
    int64_t now_ms = soak_now_ms();
    int64_t length_ms = 200 + rng_below(&soak->fault_rng, 2000);
    if (soak->fault_until_ms[fault]) {
        return;
    }
    soak->n_faults[fault]++;
    soak->fault_until_ms[fault] = now_ms + length_ms;
    put_calm_off(soak, fault, now_ms + length_ms);
    switch (fault) {
    case FAULT_server_killed: soak_stop(&soak->server, SIGKILL, 5000); break;
    case FAULT_server_stopped: send_signal(&soak->server, SIGSTOP); break;
    case FAULT_disk_full: limit_files(soak, 4096); break;
    case FAULT_ledger_locked: lock_ledger(soak); break;
    case FAULT_keys_read_again: soak_write_keys(soak, true); break;
    case FAULT_keys_broken: soak_write_keys(soak, false); break;
    case FAULT_profile_read_again: soak_write_profile(soak, true); break;
    case FAULT_profile_broken: soak_write_profile(soak, false); break;
    case FAULT_meter_lost: lose_meter(soak); break;
    default: restart_gateway(soak);
    }
    if (fault >= FAULT_keys_read_again && fault <= FAULT_profile_broken) {
        reload(soak);
    }
}

static void end_fault(struct soak *soak, enum soak_fault fault) {
    soak->fault_until_ms[fault] = 0;
    put_calm_off(soak, fault, soak_now_ms());
    switch (fault) {
    case FAULT_server_stopped: send_signal(&soak->server, SIGCONT); break;
    case FAULT_disk_full: limit_files(soak, RLIM_INFINITY); break;
    case FAULT_ledger_locked: unlock_ledger(soak); break;
    case FAULT_keys_broken: soak_write_keys(soak, true); break;
    case FAULT_profile_broken: soak_write_profile(soak, true); break;
    default: break;
    }
}

// It was killed, or was asked to end.
static void revive_server(struct soak *soak) {
    int wait_status;
    int64_t now_ms = soak_now_ms();
    if (soak_has_ended(&soak->server, &wait_status)) {
        char how[128];
        if (wait_status != SERVER_EXIT_CODE << 8) {
            soak_problem(soak, "the fake model server %s",
                         os_describe_exit(how, sizeof how, wait_status));
        }
        soak->fault_until_ms[FAULT_server_killed] = now_ms + rng_below(&soak->fault_rng, 1000);
        put_calm_off(soak, FAULT_server_killed, soak->fault_until_ms[FAULT_server_killed]);
    }
    if (soak->server.pid == 0 && now_ms >= soak->fault_until_ms[FAULT_server_killed]) {
        soak->fault_until_ms[FAULT_server_killed] = 0;
        if (!soak_start_server(soak)) {
            soak_problem(soak, "the fake model server does not start");
        }
        put_calm_off(soak, FAULT_server_killed, now_ms);
    }
}

void soak_faults_tick(struct soak *soak) {
    int64_t now_ms = soak_now_ms();
    for (int i = 0; i < FAULT_N; i++) {
        int64_t until_ms = soak->fault_until_ms[i];
        if (i != FAULT_server_killed && until_ms && now_ms >= until_ms) {
            end_fault(soak, (enum soak_fault)i);
        }
    }
    revive_server(soak);
    feed_meter(soak);
}

void soak_faults_end(struct soak *soak) {
    for (int i = 0; i < FAULT_N; i++) {
        if (i != FAULT_server_killed && soak->fault_until_ms[i]) {
            end_fault(soak, (enum soak_fault)i);
        }
    }
    soak->fault_until_ms[FAULT_server_killed] = 0;
    revive_server(soak);
}
