// The programs: started, read, stopped, looked at.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/json.h"
#include "os/clock.h"
#include "os/file.h"
#include "os/process.h"
#include "soak.h"

int64_t soak_now_ms(void) {
    return os_now_ns() / 1000000;
}

static void sleep_ms(int64_t ms) {
    os_sleep_until_ns(os_now_ns() + ms * 1000000);
}

// ---- logs ----

static void take_line(struct soak_program *program, const char *line, size_t n) {
    if (memmem(line, n, "Sanitizer", 9) || memmem(line, n, "runtime error:", 14)) {
        program->n_reports++;
    }
    const char *port = memmem(line, n, "listening on http://", 20);
    if (port && !program->port) {
        const char *colon = strchr(port + 20, ':');
        program->port = colon ? (unsigned)strtoul(colon + 1, NULL, 10) : 0;
    }
    if (program->log_file) {
        fwrite(line, 1, n, program->log_file);
        fflush(program->log_file);
    }
}

void soak_read_log(struct soak_program *program) {
    char bytes[8192];
    ssize_t n;
    while (program->log_fd >= 0 && (n = read(program->log_fd, bytes, sizeof bytes)) > 0) {
        buf_append(&program->log, bytes, (size_t)n);
    }
    size_t at = 0;
    const char *end;
    while (at < program->log.len &&
           (end = memchr(program->log.data + at, '\n', program->log.len - at))) {
        size_t n_line = (size_t)(end - program->log.data) - at + 1;
        take_line(program, program->log.data + at, n_line);
        at += n_line;
    }
    if (at > 0) {
        program->log.len -= at;
        memmove(program->log.data, program->log.data + at, program->log.len);
    }
}

// ---- starting ----

static bool start(struct soak_program *program, const char *const *argv,
                  const char *const *extra_env, const char *log_path) {
    int fds[2];
    if (os_pipe(fds, NULL) != WL_OK) {
        return false;
    }
    if (!program->log_file) {
        program->log_file = fopen(log_path, "a");
        buf_init(&program->log, 64 << 20);
    }
    fcntl(fds[0], F_SETFL, O_NONBLOCK);
    struct os_spawn spawn = {.argv = argv,
                             .extra_env = extra_env,
                             .socket_fd = -1,
                             .output_fd = fds[1],
                             .dies_with_parent = true};
    bool is_started = os_spawn(&spawn, &program->pid, NULL) == WL_OK;
    close(fds[1]);
    program->log_fd = fds[0];
    return is_started;
}

// The port is the first that it says.
static bool read_port(struct soak_program *program, unsigned *port) {
    char text[16] = "";
    for (int i = 0; i < 200; i++) {
        ssize_t n = read(program->log_fd, text, sizeof text - 1);
        if (n > 0) {
            *port = (unsigned)strtoul(text, NULL, 10);
            return *port > 0;
        }
        sleep_ms(50);
    }
    return false;
}

bool soak_start_server(struct soak *soak) {
    char port[16], log[1200];
    const char *argv[] = {soak->server_program, "--port", port, "--slots", "6", NULL};
    const char *env[] = {"ASAN_OPTIONS=detect_leaks=0", NULL}; // it ends in the middle of its work
    unsigned told;
    snprintf(port, sizeof port, "%u", soak->server.port);
    snprintf(log, sizeof log, "%s/server.log", soak->dir);
    bool is_up = start(&soak->server, argv, env, log) && read_port(&soak->server, &told);
    if (is_up) {
        soak->server.port = told;
        soak->server_start_ms = soak_now_ms();
    }
    return is_up;
}

static json_t *settings_of(const struct soak *soak) {
    char upstream[64], meter[1200];
    snprintf(upstream, sizeof upstream, "http://127.0.0.1:%u", soak->server.port);
    snprintf(meter, sizeof meter, soak->has_fifo ? "fifo:%s" : "auto", soak->fifo);
    json_t *settings =
        json_pack("{s:i, s:s, s:s, s:s, s:i, s:i, s:f, s:f, s:f, s:i, s:s, s:f, s:i}", "port", 0,
                  "upstream", upstream, "ledger", soak->ledger, "meter", meter, "concurrency", 6,
                  "queue", 200, "answer_s", 4.0, "silence_s", 3.0, "drain_s", 20.0, "body_bytes",
                  4 << 20, "profile", soak->profile, "canary_every_s", 2.0, "canary_limit", 2);
    char canary[1200];
    snprintf(canary, sizeof canary, "%s/canary.jsonl", soak->dir);
    json_object_set_new(settings, "canary_tasks", json_string(canary));
    if (soak->has_keys) {
        json_object_set_new(settings, "keys", json_string(soak->keys));
    }
    if (soak->is_limited) {
        json_object_set_new(settings, "keeps_text", json_true());
    }
    return settings;
}

static bool is_up(struct soak *soak) {
    struct buf body;
    buf_init(&body, 1 << 20);
    bool is_ok = soak_get(soak->gateway.port, "/health", &body) &&
                 strstr(buf_text(&body), "\"status\":\"ok\"");
    buf_release(&body);
    return is_ok;
}

bool soak_start_gateway(struct soak *soak) {
    char path[1200], log[1200];
    snprintf(path, sizeof path, "%s/settings.json", soak->dir);
    snprintf(log, sizeof log, "%s/gateway.log", soak->dir);
    json_t *settings = settings_of(soak);
    json_dump_file(settings, path, JSON_INDENT(1));
    json_decref(settings);
    const char *argv[] = {soak->gateway_program, path, NULL};
    soak->gateway.port = 0;
    if (!start(&soak->gateway, argv, NULL, log)) {
        return false;
    }
    int64_t until_ms = soak_now_ms() + 30000;
    while (soak_now_ms() < until_ms) {
        soak_read_log(&soak->gateway);
        if (soak->gateway.port && is_up(soak)) {
            return true;
        }
        sleep_ms(50);
    }
    return false;
}

// ---- stopping ----

static void forget(struct soak_program *program) {
    soak_read_log(program);
    close(program->log_fd);
    program->log_fd = -1;
    program->pid = 0;
}

bool soak_has_ended(struct soak_program *program, int *wait_status) {
    if (program->pid == 0 || os_wait(program->pid, 0, wait_status, NULL) != WL_OK) {
        return false;
    }
    forget(program);
    return true;
}

int soak_stop(struct soak_program *program, int signal, int64_t limit_ms) {
    int wait_status = -1;
    if (program->pid == 0) {
        return 0;
    }
    kill(program->pid, signal);
    int64_t until_ms = soak_now_ms() + limit_ms;
    bool has_ended = false;
    while (!has_ended && soak_now_ms() < until_ms) {
        soak_read_log(program);
        has_ended = os_wait(program->pid, 20000000, &wait_status, NULL) == WL_OK;
    }
    if (!has_ended) {
        wait_status = -1;
        os_kill(program->pid);
    }
    forget(program);
    return wait_status;
}

// ---- looking ----

long soak_count_fds(pid_t pid) {
    char path[64];
    long n = 0;
    snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
    DIR *dir = opendir(path);
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        n += entry->d_name[0] != '.';
    }
    if (dir) {
        closedir(dir);
    }
    return n;
}

double soak_resident_mib(pid_t pid) {
    char path[64], line[256];
    unsigned long long total, resident = 0;
    snprintf(path, sizeof path, "/proc/%d/statm", (int)pid);
    if (os_slurp_line(path, line, sizeof line, NULL) != WL_OK ||
        sscanf(line, "%llu %llu", &total, &resident) != 2) {
        return 0;
    }
    return (double)resident * (double)sysconf(_SC_PAGESIZE) / (1 << 20);
}

static bool read_all(int fd, struct buf *out) {
    char bytes[8192];
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
    while (poll(&poll_fd, 1, 5000) == 1) {
        ssize_t n = read(fd, bytes, sizeof bytes);
        if (n <= 0) {
            return n == 0;
        }
        buf_append(out, bytes, (size_t)n);
    }
    return false;
}

bool soak_get(unsigned port, const char *path, struct buf *out) {
    char text[512];
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)port),
                             .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int n = snprintf(text, sizeof text,
                     "GET %s HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAuthorization: Bearer "
                     "%s\r\n\r\n",
                     path, SOAK_KEYS[SOAK_KEY_OPEN].secret);
    struct buf all;
    buf_init(&all, 16 << 20);
    bool is_got = connect(fd, (struct sockaddr *)&to, sizeof to) == 0 &&
                  send(fd, text, (size_t)n, MSG_NOSIGNAL) == n && read_all(fd, &all);
    close(fd);
    const char *body = is_got ? strstr(buf_text(&all), "\r\n\r\n") : NULL;
    if (body) {
        buf_puts(out, body + 4);
    }
    buf_release(&all);
    return body != NULL;
}
