// A network that is slower than this one: what goes through comes out so much later, in both
// directions, in order and at full bandwidth. For kernels without tc's netem.
//   delay_relay LISTEN_PORT TARGET_PORT MICROSECONDS
// Listens on all addresses of its network namespace, goes on to 127.0.0.1; a round trip takes
// twice the delay longer.
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { PIECE_BYTES = 256 * 1024, MOST_PIECES = 512 };

struct piece {
    int64_t due_ns;
    size_t n, n_sent;
    char *bytes;
};

// What is under way from one side to the other.
struct lane {
    int from, to;
    struct piece pieces[MOST_PIECES];
    size_t first, n;
    bool is_ended; // nothing more comes
};

static int64_t delay_ns;

static int64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

static void die(const char *what) {
    perror(what);
    exit(1);
}

static void take(struct lane *lane) {
    static char buffer[PIECE_BYTES];
    ssize_t n = recv(lane->from, buffer, sizeof buffer, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (n <= 0) {
        lane->is_ended = true;
        return;
    }
    struct piece *piece = &lane->pieces[(lane->first + lane->n++) % MOST_PIECES];
    *piece = (struct piece){.due_ns = now_ns() + delay_ns, .n = (size_t)n};
    piece->bytes = malloc((size_t)n);
    if (!piece->bytes) {
        die("malloc");
    }
    memcpy(piece->bytes, buffer, (size_t)n);
}

static bool is_due(const struct lane *lane, int64_t at_ns) {
    return lane->n > 0 && lane->pieces[lane->first].due_ns <= at_ns;
}

static void give(struct lane *lane) {
    struct piece *piece = &lane->pieces[lane->first];
    ssize_t n = send(lane->to, piece->bytes + piece->n_sent, piece->n - piece->n_sent,
                     MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN && errno != EINTR) {
        exit(0); // the other side has gone, and with it what we are for
    }
    piece->n_sent += n > 0 ? (size_t)n : 0;
    if (piece->n_sent == piece->n) {
        free(piece->bytes);
        lane->first = (lane->first + 1) % MOST_PIECES;
        lane->n--;
    }
}

// The time until something is due that is not; negative: nothing is.
static int64_t wait_ns(const struct lane lanes[2], int64_t at_ns) {
    int64_t wait = -1;
    for (int i = 0; i < 2; i++) {
        int64_t left = lanes[i].pieces[lanes[i].first].due_ns - at_ns;
        if (lanes[i].n > 0 && left > 0 && (wait < 0 || left < wait)) {
            wait = left;
        }
    }
    return wait;
}

static void relay(int client, int server) {
    static struct lane lanes[2];
    lanes[0] = (struct lane){.from = client, .to = server};
    lanes[1] = (struct lane){.from = server, .to = client};
    while (true) {
        struct pollfd fds[2] = {{.fd = client}, {.fd = server}};
        // One time for both questions, or what falls due between them waits for ever.
        int64_t at_ns = now_ns();
        for (int i = 0; i < 2; i++) {
            fds[i].events |= !lanes[i].is_ended && lanes[i].n < MOST_PIECES ? POLLIN : 0;
            fds[1 - i].events |= is_due(&lanes[i], at_ns) ? POLLOUT : 0;
        }
        for (int i = 0; i < 2; i++) {
            if ((lanes[i].is_ended && lanes[i].n == 0) || (fds[i].revents & POLLERR)) {
                exit(0);
            }
            if (!fds[i].events) {
                fds[i].fd = -1; // else the end of a stream wakes us all the time
            }
        }
        int64_t wait = wait_ns(lanes, at_ns);
        struct timespec timeout = {.tv_sec = wait / 1000000000, .tv_nsec = wait % 1000000000};
        if (ppoll(fds, 2, wait < 0 ? NULL : &timeout, NULL) < 0 && errno != EINTR) {
            die("ppoll");
        }
        for (int i = 0; i < 2; i++) {
            if (fds[i].revents & (POLLIN | POLLHUP)) {
                take(&lanes[i]);
            }
            if (is_due(&lanes[i], now_ns())) {
                give(&lanes[i]);
            }
        }
    }
}

static int new_socket(void) {
    int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    if (fd < 0) {
        die("socket");
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    return fd;
}

static struct sockaddr_in address(const char *port, in_addr_t host) {
    return (struct sockaddr_in){.sin_family = AF_INET,
                                .sin_port = htons((uint16_t)strtoul(port, NULL, 10)),
                                .sin_addr.s_addr = htonl(host)};
}

int main(int argc, char **argv) {
    if (argc != 4) {
        fputs("usage: delay_relay LISTEN_PORT TARGET_PORT MICROSECONDS\n", stderr);
        return 2;
    }
    delay_ns = strtoll(argv[3], NULL, 10) * 1000;
    prctl(PR_SET_TIMERSLACK, 1UL);
    signal(SIGCHLD, SIG_IGN);
    struct sockaddr_in here = address(argv[1], INADDR_ANY),
                       there = address(argv[2], INADDR_LOOPBACK);
    int listener = new_socket();
    if (bind(listener, (struct sockaddr *)&here, sizeof here) != 0 || listen(listener, 16) != 0) {
        die(argv[1]);
    }
    while (true) {
        int client = accept(listener, NULL, NULL), server = new_socket(), one = 1;
        if (client < 0) {
            die("accept");
        }
        setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        if (connect(server, (struct sockaddr *)&there, sizeof there) == 0 && fork() == 0) {
            prctl(PR_SET_PDEATHSIG, SIGTERM);
            close(listener);
            relay(client, server);
        }
        close(client);
        close(server);
    }
}
