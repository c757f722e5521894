// The language between wattlaw and wattlaw-engine: frames over a socket pair (fd 3 of the engine).
// PURE: encodes and decodes bytes; client.c and the worker do the reading and writing.
// docs/protocol.md lists every message with its JSON fields.
//
// A frame is a 16-byte little-endian header and a payload:
//   u32 magic "WLE1" | u16 version | u16 type | u32 request id | u32 payload bytes
// The payload is one JSON object, except for the types marked binary below. Each type has a maximum
// length; a longer frame, an unknown type, another magic or version is a protocol error.
//
// Order: the engine sends HELLO at once. The client then sends one request at a time and gets any
// number of events with the same request id, closed by exactly one RESULT or ERROR. CANCEL may be
// sent during a RUN or SYNTH. End of file on the socket means: quit.
#ifndef WATTLAW_ENGINE_PROTOCOL_H
#define WATTLAW_ENGINE_PROTOCOL_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum {
    ENGINE_MAGIC = 0x31454c57, // "WLE1" as bytes
    ENGINE_VERSION = 1,        // bump when a message changes meaning
    ENGINE_HEADER_BYTES = 16,
    ENGINE_FD = 3,
};

// X(suffix, number, max payload bytes, direction: 'c' client to engine, 'e' engine to client, name)
#define ENGINE_FRAME_LIST(X)                                                                       \
    X(HELLO, 1, 65536, 'e', "hello")          /* {engine, version, llama, backends[], caps[]} */   \
    X(LOAD, 2, 1048576, 'c', "load")          /* {path, threads, threads_batch, n_ctx, ...} */     \
    X(DESCRIBE, 3, 4096, 'c', "describe")     /* {} of the loaded model */                         \
    X(TOKENIZE, 4, 16777216, 'c', "tokenize") /* {text, special, template} */                      \
    X(RUN, 5, 16777216, 'c', "run")           /* see docs/protocol.md */                           \
    X(UNLOAD, 6, 4096, 'c', "unload")                                                              \
    X(COMPRESS, 14, 1048576, 'c', "compress") /* of wattlaw-compressor, see docs */                \
    X(ANALYZE, 15, 1048576, 'c', "analyze")   /* likewise */                                       \
    X(CERTIFY, 16, 1048576, 'c', "certify")   /* likewise */                                       \
    X(SYNTH, 7, 65536, 'c', "synth")          /* write a random-weight GGUF */                     \
    X(VISION, 10, 1048576, 'c', "vision")     /* {mmproj, image_min_tokens, image_max_tokens} */   \
    X(COUNTER, 11, 1048576, 'c',                                                                   \
      "counter")                         /* {mmproj, model, ...} instead of LOAD: counts only */   \
    X(COUNT, 12, 16777216, 'c', "count") /* {sizes: [[w, h], ...]}, {messages, sizes}, {text} */   \
    X(IMAGE, 13, 67108868, 'c', "image") /* binary: u32 slot, then the encoded image */            \
    X(CANCEL, 8, 4096, 'c', "cancel")                                                              \
    X(PING, 9, 4096, 'c', "ping")                                                                  \
    X(PHASE, 32, 4096, 'e', "phase")                 /* event {phase, edge, t_ns, cpu_ns} */       \
    X(TOKEN, 33, 65536, 'e', "token")                /* event {id, text, t_ns} */                  \
    X(PROGRESS, 34, 4096, 'e', "progress")           /* event {what, done 0..1} */                 \
    X(TOKENS, 35, 67108864, 'e', "tokens")           /* binary: i32 token ids */                   \
    X(TOKEN_TIMES, 36, 67108864, 'e', "token-times") /* binary: i64 t_ns per generated token */    \
    X(RESULT, 64, 16777216, 'e', "result")                                                         \
    X(ERROR, 65, 65536, 'e', "error") /* {status, message} */

enum engine_frame_type {
#define X(suffix, number, max_bytes, direction, name) ENGINE_##suffix = number,
    ENGINE_FRAME_LIST(X)
#undef X
};

struct engine_header {
    uint16_t type;
    uint32_t request_id;
    uint32_t payload_bytes;
};

// 0 for an unknown type.
uint32_t engine_frame_max_bytes(uint16_t type);
const char *engine_frame_name(uint16_t type); // "unknown" for an unknown type
// 'c', 'e', or 0 for an unknown type.
char engine_frame_direction(uint16_t type);

void engine_header_encode(const struct engine_header *header,
                          unsigned char out[ENGINE_HEADER_BYTES]);
// PROTOCOL with what was expected and found: magic, version, type, direction (`from` is the
// sender's letter), length.
enum wl_status engine_header_decode(const unsigned char in[ENGINE_HEADER_BYTES], char from,
                                    struct engine_header *out, struct wl_err *err);

#endif
