#include "gateway/http_server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/str.h"
#include "gateway/http_exchange.h"
#include "os/clock.h"

enum {
    LISTEN_BACKLOG = 511,
    LOOK_MS =
        100, // after so long without an answer it is worth looking whether the client is there
};

// ---- listening ----

static enum wl_status parse_address(const struct http_listen *where,
                                    struct sockaddr_storage *address, socklen_t *n,
                                    struct wl_err *err) {
    memset(address, 0, sizeof *address);
    struct sockaddr_un *path = (struct sockaddr_un *)(void *)address;
    struct sockaddr_in *v4 = (struct sockaddr_in *)(void *)address;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)(void *)address;
    if (where->host[0] == '/') {
        path->sun_family = AF_UNIX;
        *n = sizeof *path;
        return str_copy(path->sun_path, sizeof path->sun_path, where->host)
                   ? WL_OK
                   : wl_err_set(err, WL_INPUT,
                                "the path of a socket may have %zu characters, '%s' has %zu",
                                sizeof path->sun_path - 1, where->host, strlen(where->host));
    }
    if (inet_pton(AF_INET, where->host, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons(where->port);
        *n = sizeof *v4;
        return WL_OK;
    }
    if (inet_pton(AF_INET6, where->host, &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons(where->port);
        *n = sizeof *v6;
        return WL_OK;
    }
    return wl_err_set(err, WL_INPUT,
                      "cannot listen on '%s': expected an address like 127.0.0.1 or ::1, or the "
                      "path of a socket",
                      where->host);
}

// A socket that nobody listens on is left from a gateway that was killed.
static void remove_stale_socket(const struct sockaddr_un *address) {
    struct stat info;
    if (lstat(address->sun_path, &info) != 0 || !S_ISSOCK(info.st_mode)) {
        return;
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0) {
        if (connect(fd, (const struct sockaddr *)address, sizeof *address) != 0 &&
            errno == ECONNREFUSED) {
            unlink(address->sun_path);
        }
        close(fd);
    }
}

static enum wl_status bind_fd(int fd, const struct http_listen *where,
                              const struct sockaddr_storage *address, socklen_t n,
                              struct wl_err *err) {
    int yes = 1;
    mode_t mask = 0;
    if (address->ss_family == AF_UNIX) {
        remove_stale_socket((const struct sockaddr_un *)(const void *)address);
        mask = umask(0177);
    } else {
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    }
    bool is_bound =
        bind(fd, (const struct sockaddr *)address, n) == 0 && listen(fd, LISTEN_BACKLOG) == 0;
    int error = errno;
    if (address->ss_family == AF_UNIX) {
        umask(mask);
    }
    if (is_bound) {
        return WL_OK;
    }
    if (error == EADDRINUSE) {
        return wl_err_set(err, WL_BUSY,
                          "cannot listen on %s port %u: another program does; stop it, or choose "
                          "another with --port",
                          where->host, (unsigned)where->port);
    }
    return wl_err_errno(err, error, "cannot listen on %s port %u", where->host,
                        (unsigned)where->port);
}

static enum wl_status open_listener(struct http_server *server, const struct http_listen *where,
                                    struct wl_err *err) {
    struct sockaddr_storage address;
    socklen_t n = 0;
    enum wl_status status = parse_address(where, &address, &n, err);
    if (status != WL_OK) {
        return status;
    }
    server->listen_fd = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (server->listen_fd < 0) {
        return wl_err_errno(err, errno, "cannot make a socket for %s", where->host);
    }
    status = bind_fd(server->listen_fd, where, &address, n, err);
    if (status != WL_OK) {
        return status;
    }
    if (address.ss_family == AF_UNIX) {
        server->socket_path = strdup(where->host);
        return server->socket_path ? WL_OK : wl_err_set(err, WL_MEMORY, "no memory for a path");
    }
    if (getsockname(server->listen_fd, (struct sockaddr *)&address, &n) == 0) {
        server->port = address.ss_family == AF_INET
                           ? ntohs(((struct sockaddr_in *)(void *)&address)->sin_port)
                           : ntohs(((struct sockaddr_in6 *)(void *)&address)->sin6_port);
    }
    return WL_OK;
}

// ---- running libmicrohttpd on the loop ----

static void on_timer(uv_timer_t *timer);

static void run(struct http_server *server) {
    MHD_UNSIGNED_LONG_LONG wait_ms;
    server->is_run_wanted = false;
    MHD_run(server->daemon);
    if (MHD_get_timeout(server->daemon, &wait_ms) == MHD_YES) {
        if (wait_ms == 0) {
            server->is_run_wanted = true;
        }
        uv_timer_start(&server->timer, on_timer, wait_ms, 0);
    } else {
        uv_timer_stop(&server->timer);
    }
}

static void on_poll(uv_poll_t *poll, int status, int events) {
    (void)status;
    (void)events;
    run(poll->data);
}

static void on_prepare(uv_prepare_t *prepare) {
    struct http_server *server = prepare->data;
    if (server->is_run_wanted) {
        run(server);
    }
}

static void on_timer(uv_timer_t *timer) {
    run(timer->data);
}

static void on_look(uv_timer_t *timer) {
    struct http_server *server = timer->data;
    int64_t before_ns = os_now_ns() - LOOK_MS * INT64_C(1000000);
    for (struct http_exchange *e = server->first; e; e = e->next) {
        if (e->is_suspended && !e->watch && e->since_ns <= before_ns) {
            http_exchange_watch(e);
        }
    }
}

static enum wl_status join_loop(struct http_server *server, struct wl_err *err) {
    const union MHD_DaemonInfo *info =
        MHD_get_daemon_info(server->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    if (!info || uv_poll_init(server->loop, &server->poll, info->epoll_fd) != 0) {
        return wl_err_set(err, WL_UNSUPPORTED,
                          "this system's libmicrohttpd cannot be waited for (no epoll)");
    }
    uv_prepare_init(server->loop, &server->prepare);
    uv_timer_init(server->loop, &server->timer);
    uv_timer_init(server->loop, &server->look);
    server->n_handles = 4;
    server->poll.data = server->prepare.data = server;
    server->timer.data = server->look.data = server;
    uv_poll_start(&server->poll, UV_READABLE, on_poll);
    uv_prepare_start(&server->prepare, on_prepare);
    uv_timer_start(&server->look, on_look, LOOK_MS, LOOK_MS);
    return WL_OK;
}

static struct MHD_Daemon *start_daemon(struct http_server *server) {
    return MHD_start_daemon(
        MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, http_exchange_access, server,
        MHD_OPTION_NOTIFY_COMPLETED, http_exchange_completed, server, MHD_OPTION_LISTEN_SOCKET,
        server->listen_fd, MHD_OPTION_CONNECTION_LIMIT, server->limits.n_connections,
        MHD_OPTION_CONNECTION_TIMEOUT, server->limits.silence_seconds,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, server->limits.header_bytes,
        MHD_OPTION_CONNECTION_MEMORY_INCREMENT, (size_t)1024, MHD_OPTION_STRICT_FOR_CLIENT, 1,
        MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1, MHD_OPTION_END);
}

enum wl_status http_server_open(uv_loop_t *loop, const struct http_listen *where,
                                const struct http_limits *limits,
                                const struct http_handlers *handlers, void *context,
                                struct http_server **out, struct wl_err *err) {
    struct http_server *server = calloc(1, sizeof *server);
    *out = NULL;
    if (!server) {
        return wl_err_set(err, WL_MEMORY, "no memory for the server");
    }
    *server = (struct http_server){
        .loop = loop, .listen_fd = -1, .limits = *limits, .handlers = handlers, .context = context};
    enum wl_status status = open_listener(server, where, err);
    if (status == WL_OK) {
        server->daemon = start_daemon(server);
        status = server->daemon ? join_loop(server, err)
                                : wl_err_set(err, WL_FAILED, "libmicrohttpd does not start on %s",
                                             where->host);
    }
    if (status != WL_OK) {
        http_server_close(server);
        return status;
    }
    *out = server;
    return WL_OK;
}

uint16_t http_server_port(const struct http_server *server) {
    return server->port;
}

size_t http_server_n_exchanges(const struct http_server *server) {
    return server->n_exchanges;
}

void http_server_stop_listening(struct http_server *server) {
    if (server->listen_fd >= 0) {
        MHD_quiesce_daemon(server->daemon);
        close(server->listen_fd);
        server->listen_fd = -1;
    }
    if (server->socket_path) {
        unlink(server->socket_path);
        free(server->socket_path);
        server->socket_path = NULL;
    }
}

// ---- closing ----

static void release(struct http_server *server) {
    if (server->n_handles == 0) {
        free(server->socket_path);
        free(server);
    }
}

static void on_closed(uv_handle_t *handle) {
    struct http_server *server = handle->data;
    server->n_handles--;
    release(server);
}

// libmicrohttpd does not stop while connections are suspended.
static void end_exchanges(struct http_server *server) {
    for (struct http_exchange *e = server->first, *next; e; e = next) {
        next = e->next;
        http_exchange_lost(e);
    }
    MHD_run(server->daemon);
}

void http_server_close(struct http_server *server) {
    if (!server) {
        return;
    }
    if (server->daemon) {
        http_server_stop_listening(server);
        end_exchanges(server);
        MHD_stop_daemon(server->daemon);
    } else if (server->listen_fd >= 0) {
        close(server->listen_fd);
    }
    if (server->n_handles > 0) {
        uv_close((uv_handle_t *)&server->poll, on_closed);
        uv_close((uv_handle_t *)&server->prepare, on_closed);
        uv_close((uv_handle_t *)&server->timer, on_closed);
        uv_close((uv_handle_t *)&server->look, on_closed);
    } else {
        release(server);
    }
}
