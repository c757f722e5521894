// What every request of the client shares: the handle, the waits, the JSON body. Private to this
// folder.
#ifndef WATTLAW_ENGINE_CLIENT_REQUEST_H
#define WATTLAW_ENGINE_CLIENT_REQUEST_H

#include "base/units.h"
#include "engine/client.h"
#include "engine/client_link.h"

#define CLIENT_SECONDS(n) ((int64_t)(n)*UNITS_NS_PER_S)

struct engine {
    struct link link;
    enum engine_program program;
    char path[OS_PATH_BYTES];
    char omp_wait_policy[16]; // "" = leave
    int64_t hello_timeout_ns, cancel_grace_ns;
    bool (*is_cancelled)(void *context);
    void *cancel_context;
    json_t *hello; // NULL when not running
};

// Marks the handle as not running; the hello says whether there is a process to be asked.
void client_forget_process(struct engine *engine);

// A request with its waits and cancel hook filled in; `wait` may be NULL.
struct link_request client_prepare(const struct engine *engine, uint16_t type,
                                   const struct engine_wait *wait, int64_t default_total_ns,
                                   int64_t default_silence_ns);
// Takes over the body; NULL (a text was not UTF-8) is an INPUT error.
enum wl_status client_exchange(struct engine *engine, struct link_request *request, json_t *body,
                               struct wl_err *err);
// The same with bytes in place of the body.
enum wl_status client_exchange_bytes(struct engine *engine, struct link_request *request,
                                     const struct buf *bytes, struct wl_err *err);
// For requests on whose way progress and phase borders are welcome and not needed.
enum wl_status client_ignore_progress(void *context, uint16_t type, const char *payload, size_t len,
                                      struct wl_err *err);
// For those whose progress is shown; `context` is a struct client_progress.
struct client_progress {
    void (*on_progress)(void *context, const char *what, double done); // NULL: not wanted
    void *context;
};
enum wl_status client_take_progress(void *context, uint16_t type, const char *payload, size_t len,
                                    struct wl_err *err);
// The answer contradicts itself or the request: nothing this process says is worth having, so it
// is killed. Returns err's status, the message now says while doing what.
enum wl_status client_distrust(struct engine *engine, const char *doing, struct wl_err *err);
// Time stamps are checked against the request's own times; both sides share CLOCK_MONOTONIC.
struct engine_bounds client_bounds(const struct link_request *request);

// Members of the body. One that fails (text that is not UTF-8) turns the whole body into NULL.
void client_set(json_t **body, const char *key, json_t *value);
void client_set_text(json_t **body, const char *key, const char *text); // NULL: left out
void client_set_number(json_t **body, const char *key, uint64_t value);
void client_set_budget(json_t **body, const char *mmproj, int32_t image_min_tokens,
                       int32_t image_max_tokens); // of an image encoder
void client_set_bool(json_t **body, const char *key, bool value);
// For client_set: NULL when one is not UTF-8.
json_t *client_messages(const struct engine_message *messages, size_t n);

#endif
