#include "gateway/http_client.h"

#include <curl/curl.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// What curl reads at once, for each call; answers come in small pieces.
static const long RECEIVE_BYTES = 8192;
enum { MAX_SPARE = 64 };

// One socket of curl's. That of a connection stays registered while it is kept for the next
// request, so that a request costs no registering and unregistering; see on_socket.
struct watch {
    uv_poll_t poll;
    struct http_client *client;
    curl_socket_t fd;
    int events;         // registered
    bool is_wanted;     // curl wants to hear of it
    bool is_connection; // else of curl's search for a host's address, which closes it unasked
    bool is_made;       // the connection is; an attempt that is given up is closed unasked, too
};

struct http_call {
    struct http_client *client;
    CURL *easy;
    struct curl_slist *headers;
    struct http_call_options options; // strings are curl's copies, not to be read
    long status;
    bool has_head, is_cancelled, is_ended;
    bool is_forbidden; // may_connect has refused an address
    char message[CURL_ERROR_SIZE];
    struct http_call *previous, *next;
};

struct http_client {
    uv_loop_t *loop;
    CURLM *multi;
    uv_timer_t timer;
    struct watch **watches; // by descriptor
    size_t n_watches;
    struct http_call *first;
    CURL *spare[MAX_SPARE]; // made once, used again
    size_t n_spare;
    int depth;          // of calls into curl that call us back
    size_t n_cancelled; // calls that wait for curl to be done
    int n_handles;
    bool is_closing;
};

static void settle(struct http_client *client);

static void free_when_closed(struct http_client *client) {
    if (client->is_closing && client->n_handles == 0) {
        free(client->watches);
        free(client);
    }
}

// ---- sockets and times ----

static void act(struct http_client *client, curl_socket_t fd, int what) {
    int n_running;
    client->depth++;
    curl_multi_socket_action(client->multi, fd, what, &n_running);
    client->depth--;
    settle(client);
}

static void on_event(uv_poll_t *poll, int status, int events) {
    struct watch *watch = poll->data;
    if (!watch->is_wanted) { // of a kept connection: the server has closed it, or speaks unasked
        uv_poll_stop(poll);
        watch->events = 0;
        return;
    }
    int what = (events & UV_READABLE ? CURL_CSELECT_IN : 0) |
               (events & UV_WRITABLE ? CURL_CSELECT_OUT : 0) | (status < 0 ? CURL_CSELECT_ERR : 0);
    act(watch->client, watch->fd, what);
}

static struct watch *find_watch(struct http_client *client, curl_socket_t fd) {
    return fd >= 0 && (size_t)fd < client->n_watches ? client->watches[fd] : NULL;
}

static struct watch *make_watch(struct http_client *client, curl_socket_t fd) {
    if ((size_t)fd >= client->n_watches) {
        size_t n = (size_t)fd * 2 + 16;
        struct watch **more = realloc(client->watches, n * sizeof(struct watch *));
        if (!more) {
            return NULL;
        }
        memset(more + client->n_watches, 0, (n - client->n_watches) * sizeof(struct watch *));
        client->watches = more;
        client->n_watches = n;
    }
    struct watch *watch = calloc(1, sizeof *watch);
    if (!watch || uv_poll_init(client->loop, &watch->poll, fd) != 0) {
        free(watch);
        return NULL;
    }
    watch->client = client;
    watch->fd = fd;
    watch->poll.data = watch;
    client->n_handles++;
    return client->watches[fd] = watch;
}

static void on_watch_closed(uv_handle_t *handle) {
    struct watch *watch = handle->data;
    struct http_client *client = watch->client;
    free(watch);
    client->n_handles--;
    free_when_closed(client);
}

static void end_watch(struct http_client *client, struct watch *watch) {
    client->watches[watch->fd] = NULL;
    uv_poll_stop(&watch->poll);
    uv_close((uv_handle_t *)&watch->poll, on_watch_closed);
}

static curl_socket_t on_open_socket(void *context, curlsocktype purpose,
                                    struct curl_sockaddr *address) {
    struct http_call *call = context;
    (void)purpose;
    if (call->options.may_connect && !call->options.may_connect(&address->addr)) {
        call->is_forbidden = true;
        return CURL_SOCKET_BAD;
    }
    curl_socket_t fd = socket(address->family, address->socktype, address->protocol);
    if (fd < 0) {
        return CURL_SOCKET_BAD;
    }
    struct watch *watch = find_watch(call->client, fd);
    if (watch) { // of a socket that is no more
        end_watch(call->client, watch);
    }
    watch = fcntl(fd, F_SETFD, FD_CLOEXEC) == 0 ? make_watch(call->client, fd) : NULL;
    if (!watch) {
        close(fd);
        return CURL_SOCKET_BAD;
    }
    watch->is_connection = true;
    return fd;
}

static int on_close_socket(void *context, curl_socket_t fd) {
    struct http_client *client = context;
    struct watch *watch = find_watch(client, fd);
    if (watch) {
        end_watch(client, watch);
    }
    return close(fd);
}

// Not registering a socket anew that is registered for the same already saves two system calls for
// each request: libuv unregisters first.
static int on_socket(CURL *easy, curl_socket_t fd, int what, void *context, void *unused) {
    struct http_client *client = context;
    struct watch *watch = find_watch(client, fd);
    (void)easy;
    (void)unused;
    if (what == CURL_POLL_REMOVE) {
        if (watch && watch->is_connection && watch->is_made) {
            watch->is_wanted = false;
        } else if (watch) {
            end_watch(client, watch);
        }
        return 0;
    }
    int events = (what & CURL_POLL_IN ? UV_READABLE : 0) | (what & CURL_POLL_OUT ? UV_WRITABLE : 0);
    watch = watch ? watch : make_watch(client, fd);
    if (!watch) {
        return -1;
    }
    watch->is_wanted = true;
    watch->is_made = watch->is_made || what & CURL_POLL_IN; // an attempt waits to write
    if (watch->events != events) {
        watch->events = events;
        return uv_poll_start(&watch->poll, events, on_event) == 0 ? 0 : -1;
    }
    return 0;
}

static void on_timer(uv_timer_t *timer) {
    act(timer->data, CURL_SOCKET_TIMEOUT, 0);
}

static int on_timeout(CURLM *multi, long timeout_ms, void *context) {
    struct http_client *client = context;
    (void)multi;
    if (timeout_ms < 0) {
        uv_timer_stop(&client->timer);
    } else {
        uv_timer_start(&client->timer, on_timer, (uint64_t)timeout_ms, 0);
    }
    return 0;
}

// ---- the end of calls ----

static void release_call(struct http_call *call) {
    struct http_client *client = call->client;
    curl_multi_remove_handle(client->multi, call->easy);
    *(call->previous ? &call->previous->next : &client->first) = call->next;
    if (call->next) {
        call->next->previous = call->previous;
    }
    curl_slist_free_all(call->headers);
    if (client->n_spare < MAX_SPARE && !client->is_closing) {
        curl_easy_reset(call->easy);
        client->spare[client->n_spare++] = call->easy;
    } else {
        curl_easy_cleanup(call->easy);
    }
    free(call);
}

static enum wl_status status_of(CURLcode code) {
    switch (code) {
    case CURLE_OK: return WL_OK;
    case CURLE_OPERATION_TIMEDOUT: return WL_TIMEOUT;
    case CURLE_OUT_OF_MEMORY: return WL_MEMORY;
    case CURLE_COULDNT_CONNECT:
    case CURLE_COULDNT_RESOLVE_HOST: return WL_NOT_FOUND;
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_URL_MALFORMAT:
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_BAD_CONTENT_ENCODING: return WL_INPUT;
    default: return WL_IO;
    }
}

static void tell_end(struct http_call *call, CURLcode code) {
    const char *message =
        call->message[0] || code == CURLE_OK ? call->message : curl_easy_strerror(code);
    enum wl_status status = status_of(code);
    call->is_ended = true;
    if (status && call->is_forbidden && !call->has_head) {
        status = WL_PERMISSION;
        message = "the host is at an address that may not be connected to";
    }
    call->options.on_end(call->options.context, call, status, message);
}

static void end_call(struct http_call *call, CURLcode code) {
    if (call->is_cancelled) {
        call->client->n_cancelled--;
    } else {
        tell_end(call, code);
    }
    release_call(call);
}

// What curl has finished, and what was cancelled while curl was at work.
static void settle(struct http_client *client) {
    int n_left;
    if (client->depth > 0) {
        return;
    }
    for (CURLMsg *m; (m = curl_multi_info_read(client->multi, &n_left));) {
        if (m->msg == CURLMSG_DONE) {
            struct http_call *call = NULL;
            CURLcode code = m->data.result; // `m` does not outlive what follows
            curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&call);
            end_call(call, code);
        }
    }
    for (struct http_call *call = client->first, *next; call && client->n_cancelled > 0;
         call = next) {
        next = call->next;
        if (call->is_cancelled) {
            client->n_cancelled--;
            release_call(call);
        }
    }
}

// ---- what comes ----

// Informational heads (100 Continue) are none; that of the answer is told with the first byte
// behind.
static size_t on_header(char *bytes, size_t size, size_t n, void *context) {
    struct http_call *call = context;
    (void)bytes;
    n *= size;
    if (call->is_cancelled) {
        return 0;
    }
    if (n > 2 || call->has_head) {
        return n;
    }
    long status = 0;
    curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &status);
    if (status >= 200) {
        const char *type = NULL;
        curl_easy_getinfo(call->easy, CURLINFO_CONTENT_TYPE, &type);
        call->has_head = true;
        call->status = status;
        if (call->options.on_head) {
            call->options.on_head(call->options.context, call, status, type ? type : "");
        }
    }
    return call->is_cancelled ? 0 : n;
}

static size_t on_data(char *bytes, size_t size, size_t n, void *context) {
    struct http_call *call = context;
    n *= size;
    if (!call->is_cancelled) {
        call->options.on_data(call->options.context, call, bytes, n);
    }
    return call->is_cancelled ? 0 : n;
}

// ---- calls ----

static bool set_headers(struct http_call *call, const struct http_call_options *o) {
    // Waiting for "100 Continue" would cost a round trip; curl's form type is not ours.
    struct curl_slist *list = curl_slist_append(NULL, "Expect:");
    for (size_t i = 0; list && o->headers && o->headers[i]; i++) {
        struct curl_slist *more = curl_slist_append(list, o->headers[i]);
        if (!more) {
            curl_slist_free_all(list);
            return false;
        }
        list = more;
    }
    call->headers = list;
    return list && curl_easy_setopt(call->easy, CURLOPT_HTTPHEADER, list) == CURLE_OK;
}

static bool set_body(CURL *easy, const struct http_call_options *o) {
    if (strcmp(o->method, "POST") == 0) {
        return curl_easy_setopt(easy, CURLOPT_POSTFIELDS, o->body ? o->body : "") == CURLE_OK &&
               curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)o->n_body) ==
                   CURLE_OK;
    }
    return strcmp(o->method, "GET") == 0 ||
           curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, o->method) == CURLE_OK;
}

// A connection that another call has made was not asked about.
static void set_guard(CURL *easy) {
    curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, 1L);
    curl_easy_setopt(easy, CURLOPT_FORBID_REUSE, 1L);
#if LIBCURL_VERSION_NUM >= 0x075700
    // The search for a name that nobody answers for is not waited for when the call is over.
    curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
#endif
}

static bool set_up(struct http_call *call, const struct http_call_options *o) {
    CURL *easy = call->easy;
    curl_easy_setopt(easy, CURLOPT_PRIVATE, call);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, call->message);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_TCP_NODELAY, 1L);
    curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, RECEIVE_BYTES);
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(easy, CURLOPT_PROXY, ""); // a model server is not behind the user's proxy
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, call);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_data);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, call);
    curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, on_open_socket);
    curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, call);
    curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, on_close_socket);
    curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, call->client);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)o->connect_ms);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)o->total_ms);
    if (o->may_connect) {
        set_guard(easy);
    }
    return curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_URL, o->url) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_UNIX_SOCKET_PATH, o->unix_socket) == CURLE_OK &&
           set_headers(call, o) && set_body(easy, o);
}

enum wl_status http_call_start(struct http_client *client, const struct http_call_options *options,
                               struct http_call **out, struct wl_err *err) {
    struct http_call *call = calloc(1, sizeof *call);
    CURL *easy = client->n_spare > 0 ? client->spare[--client->n_spare] : curl_easy_init();
    *out = NULL;
    if (!call || !easy) {
        free(call);
        curl_easy_cleanup(easy);
        return wl_err_set(err, WL_MEMORY, "no memory for a request to '%s'", options->url);
    }
    *call = (struct http_call){
        .client = client, .easy = easy, .options = *options, .next = client->first};
    if (client->first) {
        client->first->previous = call;
    }
    client->first = call;
    if (!set_up(call, options) || curl_multi_add_handle(client->multi, easy) != CURLM_OK) {
        release_call(call);
        return wl_err_set(err, WL_INPUT, "cannot ask '%s': is it an http:// or https:// address?",
                          options->url);
    }
    *out = call;
    return WL_OK;
}

long http_call_status(const struct http_call *call) {
    return call->status;
}

const char *http_call_header(struct http_call *call, const char *name) {
    struct curl_header *header;
    return curl_easy_header(call->easy, name, 0, CURLH_HEADER, -1, &header) == CURLHE_OK
               ? header->value
               : NULL;
}

void http_call_pause(struct http_call *call, bool is_paused) {
    if (call->is_cancelled || call->is_ended) {
        return;
    }
    call->client->depth++;
    curl_easy_pause(call->easy, is_paused ? CURLPAUSE_RECV : CURLPAUSE_CONT);
    call->client->depth--;
}

void http_call_cancel(struct http_call *call) {
    if (!call || call->is_cancelled || call->is_ended) {
        return;
    }
    call->is_cancelled = true;
    if (call->client->depth > 0) {
        call->client->n_cancelled++;
    } else {
        release_call(call);
    }
}

// ---- the client ----

enum wl_status http_client_open(uv_loop_t *loop, unsigned n_kept, struct http_client **out,
                                struct wl_err *err) {
    struct http_client *client = calloc(1, sizeof *client);
    *out = NULL;
    if (!client || curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK ||
        !(client->multi = curl_multi_init())) {
        free(client);
        return wl_err_set(err, WL_MEMORY, "libcurl does not start");
    }
    client->loop = loop;
    client->n_handles = 1;
    uv_timer_init(loop, &client->timer);
    client->timer.data = client;
    curl_multi_setopt(client->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl_multi_setopt(client->multi, CURLMOPT_SOCKETDATA, client);
    curl_multi_setopt(client->multi, CURLMOPT_TIMERFUNCTION, on_timeout);
    curl_multi_setopt(client->multi, CURLMOPT_TIMERDATA, client);
    curl_multi_setopt(client->multi, CURLMOPT_MAXCONNECTS, (long)n_kept);
    *out = client;
    return WL_OK;
}

static void on_timer_closed(uv_handle_t *handle) {
    struct http_client *client = handle->data;
    client->n_handles--;
    free_when_closed(client);
}

void http_client_close(struct http_client *client) {
    if (!client) {
        return;
    }
    client->is_closing = true;
    for (struct http_call *call = client->first, *next; call; call = next) {
        next = call->next;
        release_call(call);
    }
    while (client->n_spare > 0) {
        curl_easy_cleanup(client->spare[--client->n_spare]);
    }
    curl_multi_cleanup(client->multi);
    curl_global_cleanup();
    uv_close((uv_handle_t *)&client->timer, on_timer_closed);
}
