// Requests as those send them who mean no good, and mutations of them.
#include <string.h>

#include "soak.h"

#define RAW(text)                                                                                  \
    { text, sizeof text - 1 }
#define BODY "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}]}" // 46 bytes
#define CHAT "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\n"
#define HIDDEN "GET /health HTTP/1.1\r\nHost: hidden\r\n\r\n"

static const struct {
    const char *text;
    size_t n;
} REQUESTS[] = {
    RAW(CHAT "Content-Length: 46\r\n\r\n" BODY),
    RAW(CHAT "Content-Length: 46\r\nContent-Length: 3\r\n\r\n" BODY HIDDEN),
    RAW(CHAT "Content-Length: 3\r\nContent-Length: 46\r\n\r\n" BODY),
    RAW(CHAT "Content-Length: 46\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" HIDDEN),
    RAW(CHAT "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n2e\r\n" BODY "\r\n0\r\n\r\n"),
    RAW(CHAT "Transfer-Encoding: xchunked\r\nContent-Length: 46\r\n\r\n" BODY),
    RAW(CHAT "Transfer-Encoding : chunked\r\n\r\n2e\r\n" BODY "\r\n0\r\n\r\n"),
    RAW(CHAT "Transfer-Encoding:\tchunked\r\n\r\nzz\r\n" BODY "\r\n0\r\n\r\n"),
    RAW(CHAT "Transfer-Encoding: chunked\r\n\r\n-1\r\n" BODY "\r\n0\r\n\r\n"),
    RAW(CHAT "Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n" BODY),
    RAW(CHAT "Transfer-Encoding: chunked\r\n\r\n2e;ext=\"\r\n\"\r\n" BODY
             "\r\n0\r\nTrailer: x\r\n\r\n"),
    RAW(CHAT "Transfer-Encoding: chunked\r\n\r\n5\r\nab"),
    RAW(CHAT "Content-Length: -46\r\n\r\n" BODY),
    RAW(CHAT "Content-Length: 46x\r\n\r\n" BODY),
    RAW(CHAT "Content-Length: 0x2e\r\n\r\n" BODY),
    RAW(CHAT "Content-Length: 18446744073709551616\r\n\r\n" BODY),
    RAW(CHAT "Content-Length: 99999999999\r\n\r\n" BODY),
    RAW(CHAT "Content-Length: 1000\r\nExpect: 100-continue\r\n\r\n"),
    RAW(CHAT "Content-Length: 46\r\nExpect: 200-ok\r\n\r\n" BODY),
    RAW(CHAT "\r\n" BODY),
    RAW("POST /v1/chat/completions HTTP/1.0\r\nContent-Length: 46\r\n\r\n" BODY),
    RAW("POST /v1/chat/completions HTTP/9.9\r\nHost: a\r\nContent-Length: 46\r\n\r\n" BODY),
    RAW("POST http://other/v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: "
        "46\r\n\r\n" BODY),
    RAW("POST\t/v1/chat/completions\tHTTP/1.1\r\nHost: a\r\nContent-Length: 46\r\n\r\n" BODY),
    RAW("POST /v1/chat/completions%00/../ HTTP/1.1\r\nHost: a\r\nContent-Length: 46\r\n\r\n" BODY),
    RAW("POST /v1/chat/../../etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n"),
    RAW("GET /v1/models/..%2f..%2fprops HTTP/1.1\r\nHost: a\r\n\r\n"),
    RAW("GET /v1/models/a%0d%0aX-Evil:%20b HTTP/1.1\r\nHost: a\r\n\r\n"),
    RAW("GET /v1/energy?days=1&days=2&%zz=%&=== HTTP/1.1\r\nHost: a\r\n\r\n"),
    RAW("HEAD /v1/models HTTP/1.1\r\nHost: a\r\n\r\n"),
    RAW("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"),
    RAW("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"),
    RAW("CONNECT other:443 HTTP/1.1\r\nHost: other\r\n\r\n"),
    RAW("TRACE / HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n"),
    RAW("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    RAW("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    RAW("\0\0\0\0\0\0\0\0"),
    RAW("GET / HTTP/1.1\r\nHost: a\r\nNull: a\0b\r\n\r\n"),
    RAW("GET / HTTP/1.1\r\nHost: a\r\n folded: yes\r\n\r\n"),
    RAW("GET / HTTP/1.1\nHost: a\n\n"),
    RAW("GET / HTTP/1.1\r\rHost: a\r\r"),
    RAW("GET /\r\n\r\n"),
    RAW("\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    RAW(HIDDEN HIDDEN HIDDEN HIDDEN HIDDEN HIDDEN HIDDEN HIDDEN),
    RAW(CHAT "Content-Length: 46\r\nX-Wattlaw-Canary: guessed\r\n\r\n" BODY HIDDEN),
    RAW("GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer \r\nCookie: a=b; c; =d\r\n\r\n"),
    RAW("GET / HTTP/1.1\r\nHost: a\r\nRange: bytes=0-1,3-\r\nAccept-Encoding: gzip\r\n\r\n"),
};
enum { N_REQUESTS = sizeof REQUESTS / sizeof REQUESTS[0] };

static void put_many_headers(struct soak *soak, struct buf *out) {
    buf_puts(out, "GET /health HTTP/1.1\r\nHost: a\r\n");
    for (uint32_t n = rng_below(&soak->rng, 3000); n > 0; n--) {
        buf_printf(out, "X-%u: y\r\n", n);
    }
    buf_puts(out, "\r\n");
}

void soak_raw_request(struct soak *soak, struct buf *out) {
    uint32_t n = rng_below(&soak->rng, N_REQUESTS + 1);
    if (n == N_REQUESTS) {
        put_many_headers(soak, out);
    } else {
        buf_append(out, REQUESTS[n].text, REQUESTS[n].n);
    }
    if (rng_below(&soak->rng, 3) > 0) {
        soak_mutate(&soak->rng, out);
    }
}
