// A small HTTP server on loopback for tests of network meters: one thread, a table of routes that a
// test may change while it runs, and every way of misbehaving that a plug has.
#ifndef WATTLAW_TESTS_HTTP_SERVER_H
#define WATTLAW_TESTS_HTTP_SERVER_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0
#endif

enum {
    HTTP_SERVER_ROUTES = 8,
    HTTP_SERVER_CONNECTIONS = 8,
    HTTP_SERVER_REQUEST_BYTES = 4096,
};

enum http_server_way {
    HTTP_WAY_PLAIN,
    HTTP_WAY_CHUNKED,
    HTTP_WAY_HTTP10,   // no length: the end of the connection ends the body
    HTTP_WAY_CUT,      // the connection ends in the middle of the body
    HTTP_WAY_RESET,    // the connection is reset instead of an answer
    HTTP_WAY_SILENT,   // nothing comes
    HTTP_WAY_LYING,    // a Content-Length of 100 MB
    HTTP_WAY_ENDLESS,  // a body of a megabyte without a length
    HTTP_WAY_NONSENSE, // what comes is not HTTP
    HTTP_WAY_DRIP,     // one byte in 100 ms
};

struct http_server_route {
    const char *path;    // the request's target begins with it
    int code;            // 0: 200
    const char *headers; // each with "\r\n"; NULL: none
    const char *body;
    enum http_server_way way;
    int delay_ms;          // before the answer
    const char *secret;    // must be in the request's Authorization header, else 401; NULL: open
    const char *challenge; // of that 401: a whole WWW-Authenticate header with "\r\n"
};

struct http_server {
    int listen_fd, wake_fd[2];
    int port;
    pthread_t thread;
    pthread_mutex_t lock; // guards what follows
    struct http_server_route route[HTTP_SERVER_ROUTES];
    size_t n_routes;
    unsigned n_requests, n_connections;
    char last_request[HTTP_SERVER_REQUEST_BYTES];
};

// --- answering ----------------------------------------------------------------------------------

// Sleeps, or returns true early because the server shall stop.
static inline bool http_server_pause(const struct http_server *server, int ms) {
    struct pollfd stop = {.fd = server->wake_fd[0], .events = POLLIN};
    return poll(&stop, 1, ms) > 0;
}

static inline void http_server_send(int fd, const char *data, size_t len) {
    while (len > 0) {
        ssize_t n = send(fd, data, len, MSG_NOSIGNAL);
        if (n <= 0) {
            return;
        }
        data += n;
        len -= (size_t)n;
    }
}

static inline void http_server_reset(int fd) {
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
}

static inline void http_server_head(int fd, const struct http_server_route *route,
                                    const char *version, const char *framing) {
    char head[1024];
    int len = snprintf(
        head, sizeof head, "%s %d Said\r\nContent-Type: application/json\r\n%s%s\r\n", version,
        route->code ? route->code : 200, framing, route->headers ? route->headers : "");
    http_server_send(fd, head, (size_t)len);
}

static inline void http_server_length(const struct http_server_route *route, char out[64]) {
    snprintf(out, 64, "Content-Length: %zu\r\n", strlen(route->body));
}

static inline void http_server_chunks(int fd, const char *body) {
    char size[16];
    for (size_t len = strlen(body); len > 0;) {
        size_t part = len > 7 ? 7 : len;
        http_server_send(fd, size, (size_t)snprintf(size, sizeof size, "%zx\r\n", part));
        http_server_send(fd, body, part);
        http_server_send(fd, "\r\n", 2);
        body += part;
        len -= part;
    }
    http_server_send(fd, "0\r\n\r\n", 5);
}

// Returns whether the connection stays open.
static inline bool http_server_answer(const struct http_server *server, int fd,
                                      const struct http_server_route *route) {
    char length[64], filler[1024];
    memset(filler, 'x', sizeof filler);
    http_server_length(route, length);
    switch (route->way) {
    case HTTP_WAY_PLAIN:
        http_server_head(fd, route, "HTTP/1.1", length);
        http_server_send(fd, route->body, strlen(route->body));
        return true;
    case HTTP_WAY_CHUNKED:
        http_server_head(fd, route, "HTTP/1.1", "Transfer-Encoding: chunked\r\n");
        http_server_chunks(fd, route->body);
        return true;
    case HTTP_WAY_HTTP10:
        http_server_head(fd, route, "HTTP/1.0", "");
        http_server_send(fd, route->body, strlen(route->body));
        return false;
    case HTTP_WAY_CUT:
        http_server_head(fd, route, "HTTP/1.1", length);
        http_server_send(fd, route->body, strlen(route->body) / 2);
        return false;
    case HTTP_WAY_RESET: http_server_reset(fd); return false;
    case HTTP_WAY_SILENT: return !http_server_pause(server, 3500);
    case HTTP_WAY_LYING:
        http_server_head(fd, route, "HTTP/1.1", "Content-Length: 100000000\r\n");
        http_server_send(fd, route->body, strlen(route->body));
        return false;
    case HTTP_WAY_ENDLESS:
        http_server_head(fd, route, "HTTP/1.1", "");
        for (int i = 0; i < 1024; i++) {
            http_server_send(fd, filler, sizeof filler);
        }
        return false;
    case HTTP_WAY_NONSENSE: http_server_send(fd, "5.2 W\n\0\xff\n", 9); return false;
    case HTTP_WAY_DRIP:
        http_server_head(fd, route, "HTTP/1.1", length);
        for (size_t i = 0; i < strlen(route->body) && i < 40; i++) {
            http_server_send(fd, route->body + i, 1);
            if (http_server_pause(server, 100)) {
                return false;
            }
        }
        return false;
    }
    return false;
}

// --- the thread ---------------------------------------------------------------------------------

static inline bool http_server_find(struct http_server *server, const char *request,
                                    struct http_server_route *out) {
    const char *target = strchr(request, ' ');
    bool is_found = false;
    pthread_mutex_lock(&server->lock);
    snprintf(server->last_request, sizeof server->last_request, "%s", request);
    server->n_requests++;
    for (size_t i = 0; target && i < server->n_routes && !is_found; i++) {
        *out = server->route[i];
        is_found = strncmp(target + 1, out->path, strlen(out->path)) == 0;
    }
    pthread_mutex_unlock(&server->lock);
    return is_found;
}

static inline bool http_server_serve(struct http_server *server, int fd) {
    char request[HTTP_SERVER_REQUEST_BYTES] = "";
    struct http_server_route route;
    size_t len = 0;
    while (!strstr(request, "\r\n\r\n")) {
        ssize_t n = recv(fd, request + len, sizeof request - 1 - len, 0);
        if (n <= 0) {
            return false;
        }
        len += (size_t)n;
        request[len] = '\0';
    }
    if (!http_server_find(server, request, &route)) {
        route = (struct http_server_route){.code = 404, .body = "{\"code\":404}"};
    }
    if (route.delay_ms && http_server_pause(server, route.delay_ms)) {
        return false;
    }
    const char *secret = strstr(request, "\r\nAuthorization: ");
    if (route.secret && (!secret || !strstr(secret, route.secret))) {
        route = (struct http_server_route){
            .code = 401, .headers = route.challenge, .body = "Unauthorized"};
    }
    return http_server_answer(server, fd, &route);
}

static inline void *http_server_run(void *context) {
    struct http_server *server = context;
    struct pollfd fds[2 + HTTP_SERVER_CONNECTIONS] = {
        {.fd = server->wake_fd[0], .events = POLLIN},
        {.fd = server->listen_fd, .events = POLLIN},
    };
    nfds_t n = 2;
    while (poll(fds, n, -1) >= 0 && !fds[0].revents) {
        for (nfds_t i = n - 1; i >= 2; i--) {
            if (fds[i].revents && !http_server_serve(server, fds[i].fd)) {
                close(fds[i].fd);
                fds[i] = fds[--n];
            }
        }
        if (fds[1].revents && n < 2 + HTTP_SERVER_CONNECTIONS) {
            fds[n++] =
                (struct pollfd){.fd = accept(server->listen_fd, NULL, NULL), .events = POLLIN};
            pthread_mutex_lock(&server->lock);
            server->n_connections++;
            pthread_mutex_unlock(&server->lock);
        }
    }
    while (n > 2) {
        close(fds[--n].fd);
    }
    return NULL;
}

// --- for tests ----------------------------------------------------------------------------------

// `port` 0: any. A stopped server may be started again on the port it had.
static inline void http_server_start(struct http_server *server, int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    socklen_t len = sizeof address;
    int yes = 1;
    *server = (struct http_server){0};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    server->listen_fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(server->listen_fd >= 0);
    setsockopt(server->listen_fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    assert_int_equal(bind(server->listen_fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(server->listen_fd, 8), 0);
    assert_int_equal(getsockname(server->listen_fd, (struct sockaddr *)&address, &len), 0);
    server->port = ntohs(address.sin_port);
    assert_int_equal(pipe(server->wake_fd), 0);
    pthread_mutex_init(&server->lock, NULL);
    assert_int_equal(pthread_create(&server->thread, NULL, http_server_run, server), 0);
}

static inline void http_server_stop(struct http_server *server) {
    assert_int_equal(write(server->wake_fd[1], "x", 1), 1);
    pthread_join(server->thread, NULL);
    close(server->listen_fd);
    close(server->wake_fd[0]);
    close(server->wake_fd[1]);
    pthread_mutex_destroy(&server->lock);
}

// Adds the route, or replaces the one of the same path. Its strings must live on.
static inline void http_server_route(struct http_server *server, struct http_server_route route) {
    size_t i = 0;
    pthread_mutex_lock(&server->lock);
    while (i < server->n_routes && strcmp(server->route[i].path, route.path) != 0) {
        i++;
    }
    assert_true(i < HTTP_SERVER_ROUTES);
    server->route[i] = route;
    server->n_routes = i == server->n_routes ? i + 1 : server->n_routes;
    pthread_mutex_unlock(&server->lock);
}

// A copy of the last request's head; valid until the next call.
static inline const char *http_server_last(struct http_server *server) {
    static char request[HTTP_SERVER_REQUEST_BYTES];
    pthread_mutex_lock(&server->lock);
    memcpy(request, server->last_request, sizeof request);
    pthread_mutex_unlock(&server->lock);
    return request;
}

static inline unsigned http_server_requests(struct http_server *server) {
    pthread_mutex_lock(&server->lock);
    unsigned n = server->n_requests;
    pthread_mutex_unlock(&server->lock);
    return n;
}

static inline unsigned http_server_connections(struct http_server *server) {
    pthread_mutex_lock(&server->lock);
    unsigned n = server->n_connections;
    pthread_mutex_unlock(&server->lock);
    return n;
}

#endif
