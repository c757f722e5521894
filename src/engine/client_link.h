// One engine process and the frames to and from it: starting, exchanging one request, finding out
// how it died. Below client.c, which knows what the requests mean; private to this folder.
#ifndef WATTLAW_ENGINE_CLIENT_LINK_H
#define WATTLAW_ENGINE_CLIENT_LINK_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/err.h"
#include "engine/client_log.h"
#include "engine/protocol.h"

struct link {
    pid_t pid;     // -1 when there is none
    int socket_fd; // -1 when closed
    int log_fd;    // -1 when closed, by us or by the engine
    uint32_t last_id;
    struct engine_log log;
    struct engine_header header; // of the frame that is arriving, once `in` holds all of it
    struct buf in;               // the arriving frame: header, then payload
    struct buf out;              // what is not sent yet
    size_t n_sent;               // of out
};

// One request on its way.
struct link_request {
    uint16_t type;                // 0 when nothing is sent and HELLO is awaited
    const json_t *body;           // borrowed
    const struct buf *bytes;      // borrowed; sent as they are instead of the body, or NULL
    const char *doing;            // "loading 'x.gguf'", for messages
    const char *advice;           // the next step when the process dies of it, "" for none
    int64_t total_ns, silence_ns; // <= 0: no limit
    int64_t cancel_grace_ns;
    bool is_cancellable;                 // the engine understands CANCEL here
    bool (*is_cancelled)(void *context); // or NULL
    void *cancel_context;
    // Gets every frame but the closing one; a failure stops the engine. NULL = none may come.
    enum wl_status (*on_event)(void *context, uint16_t type, const char *payload, size_t len,
                               struct wl_err *err);
    void *context;
    // Set by link_exchange:
    json_t *result;       // the caller's reference; of RESULT or HELLO
    int64_t t0_ns, t1_ns; // request handed over, answer read
    bool was_cancelled;   // CANCEL was sent before the answer came
};

void link_init(struct link *link);
// Starts the program. The link must be initialised or closed.
enum wl_status link_open(struct link *link, const char *path, const char *omp_wait_policy,
                         struct wl_err *err);
// Closes the socket, gives the process grace_ns to end, kills it, reaps it, closes everything.
// The log stays.
void link_close(struct link *link, int64_t grace_ns);
void link_release(struct link *link); // link_close() without grace, and the memory

// Keeps what the engine printed so far; never waits.
void link_drain_log(struct link *link);
// The connection broke: finds out why the process ended (ending it if it did not), closes the
// link. Always CRASHED, with the whole story in err.
enum wl_status link_post_mortem(struct link *link, const struct link_request *request,
                                struct wl_err *err);

// Sends the request and reads until its RESULT or ERROR. WL_OK with ->result set; or the engine's
// own ERROR (it lives on); or LIMIT when the request is too long to send; or CRASHED, PROTOCOL,
// TIMEOUT, INTERRUPTED, after which the link is closed and the message says why.
enum wl_status link_exchange(struct link *link, struct link_request *request, struct wl_err *err);

#endif
