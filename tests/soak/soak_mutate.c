// Bytes made wrong: a few flipped, parts left out, doubled or put elsewhere, words of the trade put
// in.
#include <string.h>

#include "soak.h"

#define WORD(text)                                                                                 \
    { text, sizeof text - 1 }

static const struct {
    const char *text;
    size_t n;
} WORDS[] = {
    WORD("\r\n"),
    WORD("\r\n\r\n"),
    WORD("\n"),
    WORD("\0"),
    WORD("\0\0\0\0"),
    WORD("\xff\xfe"),
    WORD("\xf4\x90\x80\x80"),
    WORD("\\ud800"),
    WORD("\\u0000"),
    WORD("Content-Length: 5\r\n"),
    WORD("Content-Length: -1\r\n"),
    WORD("Content-Length: 99999999999999999999\r\n"),
    WORD("Transfer-Encoding: chunked\r\n"),
    WORD("Transfer-Encoding: gzip, chunked\r\n"),
    WORD("Expect: 100-continue\r\n"),
    WORD("Connection: close\r\n"),
    WORD("Connection: upgrade\r\nUpgrade: websocket\r\n"),
    WORD("X-Wattlaw-Canary: 1\r\n"),
    WORD("ffffffffffffffff\r\n"),
    WORD("%00"),
    WORD("%"),
    WORD("../"),
    WORD("{"),
    WORD("}"),
    WORD("["),
    WORD("]"),
    WORD("\""),
    WORD("null"),
    WORD("true"),
    WORD("-1"),
    WORD("1e309"),
    WORD("99999999999999999999"),
    WORD("-9223372036854775808"),
    WORD("[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["),
    WORD("{\"a\":{\"a\":{\"a\":{\"a\":"),
    WORD(",\"n\":64"),
    WORD(",\"stream\":\"yes\""),
    WORD(",\"max_tokens\":-1"),
    WORD(",\"max_tokens\":0"),
    WORD(",\"messages\":[]"),
    WORD(",\"stream_options\":[]"),
    WORD(",\"stop\":null,\"model\":\"\""),
};
enum { N_WORDS = sizeof WORDS / sizeof WORDS[0] };

// The `n` bytes at `at` give way to `more`.
static void replace(struct buf *bytes, size_t at, size_t n, const void *more, size_t n_more) {
    struct buf out;
    buf_init(&out, bytes->max_bytes);
    buf_append(&out, bytes->data, at);
    buf_append(&out, more, n_more);
    buf_append(&out, bytes->data + at + n, bytes->len - at - n);
    buf_release(bytes);
    *bytes = out;
}

static void put_long(struct rng *rng, struct buf *bytes, size_t at) {
    char run[512];
    memset(run, "A \t0["[rng_below(rng, 5)], sizeof run);
    for (uint32_t n = rng_below(rng, 80); n > 0; n--) {
        replace(bytes, at, 0, run, sizeof run);
    }
}

static void change_once(struct rng *rng, struct buf *bytes) {
    size_t at = rng_below(rng, (uint32_t)bytes->len);
    size_t rest = bytes->len - at;
    size_t n = 1 + rng_below(rng, rest < 40 ? (uint32_t)rest : 40);
    n = n < rest ? n : rest;
    size_t word = rng_below(rng, N_WORDS), to = rng_below(rng, (uint32_t)bytes->len);
    char part[64], byte = (char)rng_below(rng, 256);
    memcpy(part, bytes->data + at, n);
    switch (rng_below(rng, 8)) {
    case 0: bytes->data[at] = byte; break;
    case 1: bytes->data[at] ^= (char)(1 << rng_below(rng, 8)); break;
    case 2: replace(bytes, at, n, NULL, 0); break;
    case 3: replace(bytes, to, 0, part, n); break;
    case 4: replace(bytes, at, rest, NULL, 0); break; // cut off
    case 5: put_long(rng, bytes, at); break;
    default: replace(bytes, at, 0, WORDS[word].text, WORDS[word].n);
    }
}

void soak_mutate(struct rng *rng, struct buf *bytes) {
    for (uint32_t n = 1 + rng_below(rng, 4); n > 0 && bytes->len > 0; n--) {
        change_once(rng, bytes);
    }
}
