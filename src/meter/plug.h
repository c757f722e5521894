// What all meters behind HTTP share: the address, the secret, the connection, and a reading that is
// a gap whenever the device answers late, wrongly or not at all. Shelly, Tasmota and Home Assistant
// add where to ask and how to read the answer.
#ifndef WATTLAW_METER_PLUG_H
#define WATTLAW_METER_PLUG_H

#include "meter/http_get.h"
#include "meter/meter.h"
#include "meter/plug_address.h"
#include "meter/plug_json.h"
#include "meter/token_file.h"

// How the text of the token file is used.
enum plug_secret {
    PLUG_SECRET_PASSWORD, // "user:password", or the password of "admin": when the device asks
    PLUG_SECRET_BEARER,   // an access token, in every request
    PLUG_SECRET_IN_QUERY, // the source itself puts it into its paths
};

struct plug {
    const struct os_clock *clock;
    struct http_get *http;
    struct plug_address address;
    struct token token;
    int64_t poll_ns; // an answer that takes longer is a gap
};

// Reads the token file and prepares the connection; sends nothing.
enum wl_status plug_open(const struct meter_env *env, const struct plug_address *address,
                         enum plug_secret secret, struct plug **out, struct wl_err *err);
void plug_close(struct plug *plug); // NULL is fine

// GET of <address><path>. Where access is refused, the message says which file to write.
enum wl_status plug_fetch(struct plug *plug, const char *path, const struct http_reply **reply,
                          struct wl_err *err);
static inline struct plug_text plug_text_of(const struct http_reply *reply) {
    return (struct plug_text){buf_text(&reply->body), reply->body.len};
}
// The same for PERMISSION that the answer itself tells: adds which file to write.
enum wl_status plug_explain_refusal(const struct plug *plug, struct wl_err *err);

// One reading of channel 0. `take` fills it from the answer and returns false when it has no value.
typedef bool plug_take(void *context, const struct http_reply *reply,
                       struct meter_channel_reading *out);
void plug_read(struct plug *plug, const char *path, plug_take *take, void *context,
               struct meter_reading *out);

// One channel, a wall meter read once a second that shows the power of 1 to 3 s ago: the pulses of
// its chip come that slowly at a few watts (energy-meter chips HLW8012, BL0937). The source puts
// in title and quantum.
void plug_describe(struct meter_info *info);
// ON_REQUEST, used only when named. `form` is how to name it, `fix` what to write where.
void plug_probe(const char *form, const char *fix, struct meter_verdict *out);

#endif
