#include "support/load.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "os/clock.h"
#include "stats/describe.h"
#include "support/asker.h"
#include "support/stage.h"

enum { MAX_EVENTS = 128, MAX_TIMES = 1 << 20 };

struct client {
    int fd;
    struct wire wire;
    int64_t begin_ns;
};

struct run {
    const struct load *load;
    int epoll;
    struct client *clients;
    double *times_s;
    size_t n_times;
    struct load_result result;
};

// Requests are small: the socket's buffer takes them at once.
static void ask(struct run *run, struct client *client) {
    wire_begin(&client->wire, NULL, NULL);
    client->begin_ns = os_now_ns();
    if (send(client->fd, run->load->request, run->load->n_request, MSG_NOSIGNAL) !=
        (ssize_t)run->load->n_request) {
        client->wire.state = WIRE_BROKEN;
    }
}

static void connect_client(struct run *run, struct client *client) {
    client->fd = asker_connect(run->load->port);
    struct epoll_event event = {.events = EPOLLIN, .data = {.ptr = client}};
    if (client->fd < 0 || fcntl(client->fd, F_SETFL, O_NONBLOCK) != 0 ||
        epoll_ctl(run->epoll, EPOLL_CTL_ADD, client->fd, &event) != 0) {
        stage_fail("cannot connect to port %u", (unsigned)run->load->port);
    }
    ask(run, client);
}

static void note_answer(struct run *run, const struct client *client) {
    if (client->wire.status != 200) {
        run->result.n_failures++;
        return;
    }
    run->result.n_answers++;
    if (run->n_times < MAX_TIMES) {
        run->times_s[run->n_times++] = (double)(os_now_ns() - client->begin_ns) * 1e-9;
    }
}

static void on_readable(struct run *run, struct client *client) {
    char bytes[16384];
    ssize_t n = recv(client->fd, bytes, sizeof bytes, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (n > 0) {
        wire_feed(&client->wire, bytes, (size_t)n);
    }
    if (n <= 0 || client->wire.state == WIRE_BROKEN) {
        run->result.n_failures++;
        close(client->fd);
        connect_client(run, client);
    } else if (client->wire.state == WIRE_WHOLE) {
        note_answer(run, client);
        ask(run, client);
    }
}

static void turn(struct run *run, int64_t until_ns) {
    struct epoll_event events[MAX_EVENTS];
    while (os_now_ns() < until_ns) {
        int n = epoll_wait(run->epoll, events, MAX_EVENTS, 100);
        for (int i = 0; i < n; i++) {
            on_readable(run, events[i].data.ptr);
        }
    }
}

static void finish(struct run *run, int64_t begin_ns) {
    struct load_result *result = &run->result;
    result->seconds = (double)(os_now_ns() - begin_ns) * 1e-9;
    stats_sort(run->times_s, run->n_times);
    result->p50_s = stats_quantile_sorted(run->times_s, run->n_times, 0.5);
    result->p99_s = stats_quantile_sorted(run->times_s, run->n_times, 0.99);
    for (unsigned i = 0; i < run->load->n_clients; i++) {
        close(run->clients[i].fd);
    }
    close(run->epoll);
    free(run->clients);
    free(run->times_s);
}

struct load_result load_run(const struct load *load) {
    struct run run = {.load = load, .epoll = epoll_create1(EPOLL_CLOEXEC)};
    run.clients = calloc(load->n_clients, sizeof *run.clients);
    run.times_s = malloc(MAX_TIMES * sizeof *run.times_s);
    if (run.epoll < 0 || !run.clients || !run.times_s) {
        stage_fail("no memory for %u clients", load->n_clients);
    }
    int64_t begin_ns = os_now_ns();
    for (unsigned i = 0; i < load->n_clients; i++) {
        connect_client(&run, &run.clients[i]);
    }
    turn(&run, begin_ns + (int64_t)(load->seconds * 1e9));
    finish(&run, begin_ns);
    return run.result;
}
