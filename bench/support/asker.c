#include "support/asker.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "os/clock.h"

int asker_connect(uint16_t port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    int yes = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
        close(fd);
        return -1;
    }
    if (fd >= 0) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    }
    return fd;
}

bool asker_open(struct asker *asker, uint16_t port) {
    asker->fd = asker_connect(port);
    return asker->fd >= 0;
}

void asker_close(struct asker *asker) {
    if (asker->fd >= 0) {
        close(asker->fd);
    }
    asker->fd = -1;
}

static bool send_all(int fd, const char *bytes, size_t n) {
    while (n > 0) {
        ssize_t sent = send(fd, bytes, n, MSG_NOSIGNAL);
        if (sent <= 0) {
            return false;
        }
        bytes += sent;
        n -= (size_t)sent;
    }
    return true;
}

static void on_body(void *context, const char *bytes, size_t n) {
    struct asker *asker = context;
    (void)bytes;
    (void)n;
    asker->first_ns = asker->first_ns ? asker->first_ns : os_now_ns();
}

struct asked asker_ask(struct asker *asker, const char *request, size_t n) {
    char bytes[16384];
    struct asked out = {0};
    asker->first_ns = 0;
    wire_begin(&asker->wire, on_body, asker);
    int64_t begin_ns = os_now_ns();
    bool is_alive = send_all(asker->fd, request, n);
    while (is_alive && asker->wire.state < WIRE_WHOLE) {
        ssize_t got = recv(asker->fd, bytes, sizeof bytes, 0);
        is_alive = got > 0;
        if (is_alive) {
            wire_feed(&asker->wire, bytes, (size_t)got);
        }
    }
    int64_t end_ns = os_now_ns();
    if (is_alive && asker->wire.state == WIRE_WHOLE) {
        out.status = asker->wire.status;
        out.first_s = (double)(asker->first_ns - begin_ns) * 1e-9;
        out.whole_s = (double)(end_ns - begin_ns) * 1e-9;
        out.n_body = asker->wire.n_body;
    }
    return out;
}

int asker_get(uint16_t port, const char *path) {
    struct asker asker;
    size_t n;
    char *request = wire_request(path, NULL, 0, &n);
    struct asked asked = {0};
    if (request && asker_open(&asker, port)) {
        asked = asker_ask(&asker, request, n);
        asker_close(&asker);
    }
    free(request);
    return asked.status;
}
