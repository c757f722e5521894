#include "support/stage.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "os/clock.h"
#include "os/file.h"
#include "os/process.h"
#include "support/asker.h"

static const int64_t WAIT_NS = INT64_C(30000000000);

static struct stage *standing; // to be cleared away when the benchmark fails

void stage_fail(const char *format, ...) {
    va_list args;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    struct stage *left = standing;
    standing = NULL;
    if (left) {
        stage_close(left);
    }
    exit(1);
}

// ---- the folder ----

void stage_open(struct stage *stage) {
    char dir[OS_PATH_BYTES];
    struct wl_err err = {0};
    *stage = (struct stage){.folder = "/tmp/wattlaw-bench-XXXXXX"};
    if (os_executable_dir(dir, &err) != WL_OK || !mkdtemp(stage->folder)) {
        stage_fail("cannot make a folder: %s", err.message);
    }
    snprintf(stage->bin, sizeof stage->bin, "%.480s/../bin", dir);
    standing = stage;
}

static void remove_folder(const char *folder) {
    const char *const argv[] = {"rm", "-rf", folder, NULL};
    struct os_spawn spawn = {.argv = argv, .socket_fd = -1, .output_fd = -1, .searches_path = true};
    pid_t pid;
    int status;
    if (os_spawn(&spawn, &pid, NULL) == WL_OK) {
        os_wait(pid, WAIT_NS, &status, NULL);
    }
}

void stage_close(struct stage *stage) {
    while (stage->n > 0) {
        stage_end(stage, stage->pid[stage->n - 1]);
    }
    remove_folder(stage->folder);
    standing = NULL;
}

// ---- programs ----

uint16_t stage_free_port(void) {
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t n = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, n) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &n) != 0) {
        stage_fail("no free port");
    }
    close(fd);
    return ntohs(address.sin_port);
}

pid_t stage_start(struct stage *stage, const char *name, const char *const *argv) {
    char log[STAGE_PATH_BYTES], program[STAGE_PATH_BYTES + 64];
    const char *args[STAGE_MAX_ARGS] = {argv[0]};
    struct wl_err err = {0};
    pid_t pid;
    snprintf(log, sizeof log, "%s/%s.log", stage->folder, name);
    snprintf(program, sizeof program, "%s/%s", stage->bin, argv[0]);
    for (size_t i = 1; argv[i] && i + 1 < STAGE_MAX_ARGS; i++) {
        args[i] = argv[i];
    }
    args[0] = access(program, X_OK) == 0 ? program : argv[0];
    int fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    struct os_spawn spawn = {.argv = args,
                             .socket_fd = -1,
                             .output_fd = fd,
                             .dies_with_parent = true,
                             .searches_path = true};
    if (fd < 0 || stage->n == STAGE_MAX_PROGRAMS || os_spawn(&spawn, &pid, &err) != WL_OK) {
        stage_fail("cannot start %s: %s", name, err.message);
    }
    close(fd);
    stage->pid[stage->n++] = pid;
    return pid;
}

static void show_log(const struct stage *stage, const char *name) {
    char path[STAGE_PATH_BYTES], line[512];
    snprintf(path, sizeof path, "%s/%s.log", stage->folder, name);
    FILE *file = fopen(path, "r");
    while (file && fgets(line, sizeof line, file)) {
        fputs(line, stderr);
    }
    if (file) {
        fclose(file);
    }
}

void stage_wait(const struct stage *stage, pid_t pid, const char *name, uint16_t port,
                const char *path) {
    int64_t until_ns = os_now_ns() + WAIT_NS;
    int status;
    while (asker_get(port, path) != 200) {
        bool has_ended = os_wait(pid, 0, &status, NULL) != WL_TIMEOUT;
        if (has_ended || os_now_ns() > until_ns) {
            show_log(stage, name);
            stage_fail("%s %s", name, has_ended ? "has ended" : "is not ready after 30 seconds");
        }
        os_sleep_until_ns(os_now_ns() + 20000000);
    }
}

void stage_end(struct stage *stage, pid_t pid) {
    int status;
    kill(pid, SIGTERM);
    if (os_wait(pid, WAIT_NS, &status, NULL) != WL_OK) {
        os_kill(pid);
    }
    for (size_t i = 0; i < stage->n; i++) {
        if (stage->pid[i] == pid) {
            stage->pid[i] = stage->pid[--stage->n];
            return;
        }
    }
}

// ---- the usual ones ----

pid_t stage_start_stub(struct stage *stage, uint16_t *port) {
    char number[16];
    *port = stage_free_port();
    snprintf(number, sizeof number, "%u", (unsigned)*port);
    const char *const argv[] = {"fake_model_server", "--port", number, NULL};
    pid_t pid = stage_start(stage, "stub", argv);
    stage_wait(stage, pid, "stub", *port, "/health");
    return pid;
}

pid_t stage_start_gateway(struct stage *stage, const char *name, const char *program,
                          uint16_t upstream, const char *const *more, uint16_t *port) {
    char number[16], url[64];
    *port = stage_free_port();
    snprintf(number, sizeof number, "%u", (unsigned)*port);
    snprintf(url, sizeof url, "http://127.0.0.1:%u", (unsigned)upstream);
    const char *argv[STAGE_MAX_ARGS] = {"wattlaw", "serve",    "--upstream", url, "--port",
                                        number,    "--meters", "estimate",   "-q"};
    size_t n = 9;
    for (; more && *more && n + 1 < STAGE_MAX_ARGS; more++) {
        argv[n++] = *more;
    }
    if (program) {
        setenv("WATTLAW_GATEWAY", program, 1);
    }
    pid_t pid = stage_start(stage, name, argv);
    unsetenv("WATTLAW_GATEWAY");
    stage_wait(stage, pid, name, *port, "/health");
    return pid;
}
