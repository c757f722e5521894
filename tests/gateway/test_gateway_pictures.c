// The pictures of requests: taken, counted, shrunk; fetched from a server of the test; refused; and
// given up at every stage.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fake_counting.h"
#include "gateway/http_server.h"
#include "gateway/picture_uri.h"
#include "gateway/pictures.h"
#include "loop.h"

static const struct http_limits LIMITS = {.header_bytes = 8192,
                                          .body_bytes = 100000,
                                          .waiting_bytes = 1 << 20,
                                          .n_connections = 64,
                                          .silence_seconds = 20};

struct bench {
    uv_loop_t loop;
    struct http_client *client;
    struct gateway_worker *worker;
    struct counting counting;
    struct pictures *pictures;
    struct pictures_policy policy;
    struct openai_request *request; // on the heap, so that what reads it too late is seen
    struct pictures_order *order;
    bool is_done;
    enum wl_status status;
    // The picture's server.
    struct http_server *server;
    struct http_exchange *held;
    int n_asked;
    bool is_asked;
};

static bool any_address(const struct sockaddr *address) {
    (void)address;
    return true;
}

static void open_bench(struct bench *b, bool (*may_connect)(const struct sockaddr *)) {
    struct wl_err err;
    memset(b, 0, sizeof *b);
    uv_loop_init(&b->loop);
    b->counting = (struct counting){.loop = &b->loop, .cost = cost_of_cells};
    assert_int_equal(http_client_open(&b->loop, 4, &b->client, &err), WL_OK);
    assert_int_equal(worker_open(&b->loop, &b->worker, &err), WL_OK);
    const struct pictures_options options = {.loop = &b->loop,
                                             .client = b->client,
                                             .worker = b->worker,
                                             .counting = &b->counting,
                                             .may_connect = may_connect};
    assert_int_equal(pictures_open(&options, &b->pictures, &err), WL_OK);
}

static void drop_order(struct bench *b) {
    if (b->request) {
        openai_request_release(b->request);
    }
    free(b->request);
    free(b->order);
    b->request = NULL;
    b->order = NULL;
}

static void close_bench(struct bench *b) {
    drop_order(b);
    assert_int_equal(b->counting.n_under_way, 0);
    pictures_close(b->pictures);
    worker_close(b->worker, NULL, NULL);
    http_client_close(b->client);
    http_server_close(b->server);
    assert_true(loop_is_empty(&b->loop));
}

// ---- requests ----

static struct image picture(uint32_t width, uint32_t height) {
    struct image image = {width, height, malloc((size_t)width * height * 3)};
    for (size_t i = 0; i < (size_t)width * height * 3; i++) {
        image.rgb[i] = (unsigned char)(60 + i / 3 % width * 120 / width);
    }
    return image;
}

static struct buf file_of(uint32_t width, uint32_t height, enum image_format format) {
    struct image image = picture(width, height);
    unsigned char *bytes;
    struct buf out;
    size_t n;
    assert_int_equal(image_encode(&image, format, 90, &bytes, &n, NULL), WL_OK);
    buf_init(&out, 1 << 26);
    buf_append(&out, bytes, n);
    free(bytes);
    image_release(&image);
    return out;
}

static char *jpeg_uri(uint32_t width, uint32_t height) {
    struct buf uri, file = file_of(width, height, IMAGE_JPEG);
    buf_init(&uri, 1 << 26);
    picture_uri_write(&uri, IMAGE_JPEG, file.data, file.len);
    buf_release(&file);
    return buf_detach(&uri);
}

static const char *const DETAIL[] = {"auto", "low", "high"};

// One message with a text and, behind it, these pictures.
static void make_order(struct bench *b, const char *const *uris, size_t n,
                       enum openai_detail detail) {
    struct buf text;
    struct openai_fault fault;
    drop_order(b);
    buf_init(&text, 1 << 27);
    buf_puts(&text, "{\"model\":\"m\",\"messages\":[{\"role\":\"system\",\"content\":\"x\"},"
                    "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"what?\"}");
    for (size_t i = 0; i < n; i++) {
        buf_printf(&text,
                   ",{\"type\":\"image_url\",\"image_url\":{\"url\":\"%s\",\"detail\":\"%s\"}}",
                   uris[i], DETAIL[detail]);
    }
    buf_puts(&text, "]}]}");
    b->request = calloc(1, sizeof *b->request);
    if (openai_request_parse(OPENAI_CHAT, text.data, text.len, b->request, &fault)) {
        fail_msg("%s", fault.err.message);
    }
    buf_release(&text);
}

static void on_done(void *context, struct pictures_order *order) {
    struct bench *b = context;
    assert_ptr_equal(order, b->order);
    assert_null(order->work);
    b->status = order->status;
    assert_int_equal(order->status, order->fault.err.status);
    b->is_done = true;
}

static void start(struct bench *b) {
    b->order = calloc(1, sizeof *b->order);
    *b->order = (struct pictures_order){
        .request = b->request, .policy = &b->policy, .on_done = on_done, .context = b};
    b->is_done = false;
    pictures_start(b->pictures, b->order);
    assert_false(b->is_done); // never from within
}

static void run_order(struct bench *b, const char *const *uris, size_t n,
                      enum openai_detail detail) {
    make_order(b, uris, n, detail);
    start(b);
    assert_true(loop_until(&b->loop, &b->is_done));
}

static void run_one(struct bench *b, const char *uri) {
    run_order(b, &uri, 1, OPENAI_DETAIL_AUTO);
}

static void assert_ok(const struct bench *b) {
    if (b->status) {
        fail_msg("%s", b->order->fault.err.message);
    }
}

static void assert_refused(const struct bench *b, enum wl_status status, const char *code,
                           const char *param, const char *word) {
    assert_int_equal(b->status, status);
    assert_string_equal(b->order->fault.code ? b->order->fault.code : "", code);
    assert_string_equal(b->order->fault.param, param);
    if (!strstr(b->order->fault.err.message, word)) {
        fail_msg("no '%s' in '%s'", word, b->order->fault.err.message);
    }
    assert_false(b->request->is_changed);
}

static const char FIRST[] = "messages[1].content[1].image_url.url";

static struct picture_size size_of(const struct bench *b, size_t i, enum image_format format) {
    unsigned char *bytes;
    size_t n;
    struct image_header header;
    struct image image;
    const struct openai_image *it = &b->request->images[i];
    assert_int_equal(image_from_data_uri(it->url, it->n_url, NULL, &bytes, &n, NULL), WL_OK);
    assert_int_equal(image_probe(bytes, n, NULL, &header, NULL), WL_OK);
    assert_int_equal(header.format, format);
    assert_int_equal(image_decode(bytes, n, NULL, 0, 0, &image, NULL), WL_OK);
    image_release(&image);
    free(bytes);
    return (struct picture_size){header.width, header.height};
}

// ---- sizes ----

static void what_is_cheap_enough_stays_the_very_same(void **state) {
    struct bench b;
    (void)state;
    open_bench(&b, NULL);
    char *uri = jpeg_uri(640, 480);
    b.policy.detail[OPENAI_DETAIL_AUTO].max_tokens = 500;
    run_one(&b, uri);
    assert_ok(&b);
    assert_string_equal(b.request->images[0].url, uri);
    assert_false(b.request->is_changed);
    assert_int_equal(b.order->pixels_in, 640 * 480);
    assert_int_equal(b.order->pixels_out, 640 * 480);
    assert_int_equal(b.order->tokens_in, 0);
    assert_int_equal(b.order->n_changed, 0);
    assert_int_equal(b.counting.n_counts, 2); // without and with
    b.policy.detail[OPENAI_DETAIL_AUTO].max_tokens = 0;
    run_one(&b, uri);
    assert_ok(&b);
    assert_int_equal(b.counting.n_counts, 2); // nothing to decide
    free(uri);
    close_bench(&b);
}

static void what_is_too_expensive_is_shrunk(void **state) {
    struct bench b;
    (void)state;
    open_bench(&b, NULL);
    char *uri = jpeg_uri(1600, 1200);
    b.policy.detail[OPENAI_DETAIL_AUTO].max_tokens = 300;
    b.policy.detail[OPENAI_DETAIL_LOW].max_tokens = 100;
    run_one(&b, uri);
    assert_ok(&b);
    struct picture_size size = size_of(&b, 0, IMAGE_JPEG);
    assert_int_equal(b.order->tokens_in, cost_of_cells((struct picture_size){1600, 1200}));
    assert_int_equal(b.order->tokens_out, cost_of_cells(size));
    assert_in_range(b.order->tokens_out, 255, 300);
    assert_int_equal(b.order->pixels_in, 1600 * 1200);
    assert_int_equal(b.order->pixels_out, size.width * size.height);
    assert_int_equal(b.order->n_changed, 1);
    assert_true(b.request->is_changed);
    int n_counts = b.counting.n_counts;
    assert_in_range(n_counts, 5, 14);
    run_one(&b, uri); // all of it is known now
    assert_ok(&b);
    assert_int_equal(b.counting.n_counts, n_counts);
    run_order(&b, &(const char *){uri}, 1, OPENAI_DETAIL_LOW);
    assert_ok(&b);
    assert_in_range(b.order->tokens_out, 80, 100);
    run_order(&b, &(const char *){uri}, 1, OPENAI_DETAIL_HIGH);
    assert_ok(&b);
    assert_false(b.request->is_changed);
    n_counts = b.counting.n_counts;
    free(uri);
    uri = jpeg_uri(1200, 900); // of the same shape
    run_one(&b, uri);
    assert_ok(&b);
    assert_int_equal(b.counting.n_counts, n_counts + 1);
    pictures_forget_costs(b.pictures);
    run_one(&b, uri);
    assert_true(b.counting.n_counts > n_counts + 5);
    free(uri);
    close_bench(&b);
}

static void several_pictures_are_summed_up(void **state) {
    struct bench b;
    (void)state;
    open_bench(&b, NULL);
    char *large = jpeg_uri(1000, 1000), *small = jpeg_uri(100, 100);
    b.policy.detail[OPENAI_DETAIL_AUTO].max_tokens = 200;
    run_order(&b, (const char *const[]){large, small, large}, 3, OPENAI_DETAIL_AUTO);
    assert_ok(&b);
    assert_int_equal(b.order->n_changed, 2);
    assert_int_equal(b.order->pixels_in, 2010000);
    struct picture_size size = size_of(&b, 0, IMAGE_JPEG);
    assert_int_equal(b.order->pixels_out, 2 * size.width * size.height + 10000);
    assert_int_equal(b.order->tokens_out, 2 * cost_of_cells(size));
    assert_string_equal(b.request->images[1].url, small);
    assert_string_equal(b.request->images[0].url, b.request->images[2].url);
    free(large);
    free(small);
    close_bench(&b);
}

static void pictures_may_come_first(void **state) {
    struct bench b;
    (void)state;
    open_bench(&b, NULL);
    char *uri = jpeg_uri(100, 100);
    b.policy.images_first = true;
    run_one(&b, uri);
    assert_ok(&b);
    assert_int_equal(b.request->images[0].part, 0);
    assert_true(b.request->is_changed);
    run_one(&b, "data:image/png;base64,!!!!");
    assert_int_equal(b.status, WL_INPUT);
    assert_string_equal(b.order->fault.param, "messages[1].content[0].image_url.url");
    free(uri);
    close_bench(&b);
}

static void without_counts_only_nominal_limits_are_kept(void **state) {
    struct bench b;
    (void)state;
    open_bench(&b, NULL);
    char *uri = jpeg_uri(1000, 500);
    b.policy.detail[OPENAI_DETAIL_AUTO] = (struct picture_budget){100, 20000};
    b.counting.cannot = true;
    run_one(&b, uri);
    assert_ok(&b);
    struct picture_size size = size_of(&b, 0, IMAGE_JPEG);
    assert_int_equal(size.width, 200);
    assert_int_equal(size.height, 100);
    assert_int_equal(b.order->tokens_in, 0);
    assert_int_equal(b.order->n_changed, 1);
    assert_int_equal(b.counting.n_counts, 0);
    b.counting.cannot = false;
    b.counting.status = WL_UNSUPPORTED;
    run_one(&b, uri);
    assert_ok(&b);
    assert_int_equal(b.order->pixels_out, 20000);
    assert_int_equal(b.counting.n_counts, 1);
    run_one(&b, uri);
    assert_int_equal(b.counting.n_counts, 1); // not asked again for a while
    free(uri);
    close_bench(&b);
}

static void counts_may_fail_in_the_middle(void **state) {
    struct bench b;
    (void)state;
    open_bench(&b, NULL);
    char *uri = jpeg_uri(1000, 500);
    b.policy.detail[OPENAI_DETAIL_AUTO].max_tokens = 100;
    b.counting.n_to_fail_after = 4;
    run_one(&b, uri);
    assert_ok(&b);
    assert_string_equal(b.request->images[0].url, uri);
    assert_int_equal(b.counting.n_counts, 4);
    free(uri);
    close_bench(&b);
}

static int64_t free_of_charge(struct picture_size size) {
    (void)size;
    return 0;
}

static void pictures_that_cost_nothing_are_not_counted(void **state) {
    struct bench b;
    (void)state;
    open_bench(&b, NULL);
    char *uri = jpeg_uri(1000, 500);
    b.policy.detail[OPENAI_DETAIL_AUTO].max_tokens = 100;
    b.counting.cost = free_of_charge; // a server that leaves them out
    run_one(&b, uri);
    assert_ok(&b);
    assert_false(b.request->is_changed);
    free(uri);
    close_bench(&b);
}

static void constant_costs_change_nothing(void **state) {
    struct bench b;
    (void)state;
    open_bench(&b, NULL);
    char *uri = jpeg_uri(1000, 500);
    b.policy.detail[OPENAI_DETAIL_AUTO] = (struct picture_budget){100, 20000};
    b.counting.cost = cost_of_nothing_else;
    run_one(&b, uri);
    assert_ok(&b);
    assert_string_equal(b.request->images[0].url, uri);
    assert_in_range(b.counting.n_counts, 2, 10);
    free(uri);
    close_bench(&b);
}

// ---- refusals ----

static void what_is_no_picture_is_refused(void **state) {
    struct bench b;
    (void)state;
    open_bench(&b, NULL);
    run_one(&b, "file:///etc/passwd");
    assert_refused(&b, WL_INPUT, "invalid_image_url", FIRST, "data:image/");
    run_one(&b, "data:image/png;base64,AAA");
    assert_refused(&b, WL_INPUT, "invalid_image_url", FIRST, "base64");
    run_one(&b, "data:image/png;base64,AAAA");
    assert_refused(&b, WL_INPUT, "image_parse_error", FIRST, "");
    char *uri = jpeg_uri(200, 100);
    b.policy.max_pixels_in = 19999;
    run_one(&b, uri);
    assert_refused(&b, WL_LIMIT, "image_too_large", FIRST, "19999");
    b.policy.max_pixels_in = 0;
    b.policy.max_bytes = 100;
    run_one(&b, uri);
    assert_refused(&b, WL_LIMIT, "image_file_too_large", FIRST, "100");
    b.policy.max_bytes = 0;
    b.policy.max_images = 1;
    run_order(&b, (const char *const[]){uri, uri}, 2, OPENAI_DETAIL_AUTO);
    assert_refused(&b, WL_LIMIT, "array_above_max_length", "messages", "at most 1");
    // Nothing of a request is changed when one of its pictures is refused.
    b.policy.max_images = 0;
    b.policy.detail[OPENAI_DETAIL_AUTO].max_tokens = 10;
    run_order(&b, (const char *const[]){uri, "data:image/png;base64,AAAA"}, 2, OPENAI_DETAIL_AUTO);
    assert_refused(&b, WL_INPUT, "image_parse_error", "messages[1].content[2].image_url.url", "");
    free(uri);
    close_bench(&b);
}

static void short_forms_are_named_as_they_are(void **state) {
    struct bench b;
    struct openai_fault fault;
    (void)state;
    open_bench(&b, NULL);
    static const char TEXT[] = "{\"messages\":[{\"role\":\"user\",\"content\":["
                               "{\"type\":\"input_image\",\"image_url\":\"ftp://a/b.png\"}]}]}";
    b.request = calloc(1, sizeof *b.request);
    assert_int_equal(openai_request_parse(OPENAI_CHAT, TEXT, sizeof TEXT - 1, b.request, &fault),
                     WL_OK);
    start(&b);
    assert_true(loop_until(&b.loop, &b.is_done));
    assert_refused(&b, WL_INPUT, "invalid_image_url", "messages[0].content[0].image_url", "https");
    close_bench(&b);
}

static void hosts_must_be_allowed(void **state) {
    static const char *const URLS[] = {
        "http://example.org/a.png", "https://example.org/a.png",       "HTTP://EXAMPLE.ORG/a.png",
        "http://a.example.net:81/", "http://example.net@example.com/", "http://127.0.0.1/"};
    static const char *const ALLOWED[] = {".example.net", "1.2.3.4"};
    struct bench b;
    (void)state;
    open_bench(&b, any_address);
    for (int k = 0; k < 2; k++) {
        for (size_t i = 0; i < sizeof URLS / sizeof *URLS; i++) {
            run_one(&b, URLS[i]);
            assert_refused(&b, WL_INPUT, "invalid_image_url", FIRST,
                           strchr(URLS[i], '@') ? "user" : "--allow-image-host");
        }
        b.policy.allowed_hosts = ALLOWED;
        b.policy.n_allowed_hosts = 2;
    }
    close_bench(&b);
}

// ---- from the network ----

static struct buf served;

static void on_request(void *context, struct http_exchange *exchange) {
    struct bench *b = context;
    const char *path = http_exchange_path(exchange);
    struct buf body;
    b->n_asked++;
    b->is_asked = true;
    buf_init(&body, 1 << 26);
    if (strcmp(path, "/held") == 0) {
        b->held = exchange;
        return;
    }
    if (strcmp(path, "/picture") == 0) {
        buf_append(&body, served.data, served.len);
        http_reply(exchange, 200, "application/octet-stream", &body);
    } else if (strcmp(path, "/redirect") == 0) {
        http_exchange_add_header(exchange, "Location", "/picture");
        http_reply(exchange, 302, "text/plain", &body);
    } else if (strcmp(path, "/stream") == 0) { // of unknown length
        http_stream_begin(exchange, 200, "image/jpeg");
        http_stream_write(exchange, served.data, served.len);
        http_stream_end(exchange);
    } else if (strcmp(path, "/text") == 0) {
        buf_puts(&body, "no picture");
        http_reply(exchange, 200, "image/png", &body);
    } else if (strcmp(path, "/empty") == 0) {
        http_reply(exchange, 200, "image/png", &body);
    } else {
        buf_puts(&body, "none");
        http_reply(exchange, 404, "text/plain", &body);
    }
}

static void nothing(void *context, struct http_exchange *exchange) {
    struct bench *b = context;
    b->held = b->held == exchange ? NULL : b->held;
}

static const struct http_handlers HANDLERS = {.on_headers = nothing,
                                              .on_too_large = nothing,
                                              .on_unclear = nothing,
                                              .on_request = on_request,
                                              .on_gone = nothing,
                                              .on_drained = nothing,
                                              .on_end = nothing};

static void serve(struct bench *b) {
    struct wl_err err;
    if (http_server_open(&b->loop, &(struct http_listen){"127.0.0.1", 0}, &LIMITS, &HANDLERS, b,
                         &b->server, &err)) {
        fail_msg("%s", err.message);
    }
}

static char *url_at(const struct bench *b, const char *host, const char *path) {
    static char url[256];
    snprintf(url, sizeof url, "http://%s:%u%s", host, http_server_port(b->server), path);
    return url;
}

// "host:port" of the test's server, for the policy.
static void allow(struct bench *b, const char *host) {
    static char pattern[128];
    static const char *hosts[] = {pattern};
    snprintf(pattern, sizeof pattern, "%s:%u", host, http_server_port(b->server));
    b->policy.allowed_hosts = hosts;
    b->policy.n_allowed_hosts = 1;
}

static void pictures_are_fetched_into_the_request(void **state) {
    static const char *const PATHS[] = {"/picture", "/stream"};
    struct bench b;
    (void)state;
    open_bench(&b, any_address);
    serve(&b);
    allow(&b, "localhost"); // a name: it must be looked for
    served = file_of(320, 200, IMAGE_PNG);
    for (size_t i = 0; i < 2; i++) {
        run_one(&b, url_at(&b, "LocalHost", PATHS[i]));
        assert_ok(&b);
        struct picture_size size = size_of(&b, 0, IMAGE_PNG);
        assert_int_equal(size.width, 320);
        assert_true(b.request->is_changed);
        assert_int_equal(b.order->n_changed, 0); // in size
        assert_int_equal(b.order->pixels_out, 64000);
    }
    b.policy.detail[OPENAI_DETAIL_AUTO].max_tokens = 40;
    run_one(&b, url_at(&b, "localhost", "/picture"));
    assert_ok(&b);
    assert_int_equal(b.order->n_changed, 1);
    assert_in_range(b.order->tokens_out, 20, 40);
    assert_int_equal(b.n_asked, 3);
    buf_release(&served);
    close_bench(&b);
}

static void what_a_host_may_not_send(void **state) {
    struct bench b;
    (void)state;
    open_bench(&b, any_address);
    serve(&b);
    allow(&b, "127.0.0.1");
    served = file_of(320, 200, IMAGE_JPEG);
    run_one(&b, url_at(&b, "127.0.0.1", "/redirect"));
    assert_refused(&b, WL_INPUT, "failed_to_download_image", FIRST, "302");
    assert_int_equal(b.n_asked, 1); // it was not followed
    run_one(&b, url_at(&b, "127.0.0.1", "/nowhere"));
    assert_refused(&b, WL_INPUT, "failed_to_download_image", FIRST, "404");
    run_one(&b, url_at(&b, "127.0.0.1", "/empty"));
    assert_refused(&b, WL_INPUT, "failed_to_download_image", FIRST, "empty");
    run_one(&b, url_at(&b, "127.0.0.1", "/text"));
    assert_refused(&b, WL_INPUT, "image_parse_error", FIRST, "");
    b.policy.max_bytes = served.len - 1;
    run_one(&b, url_at(&b, "127.0.0.1", "/picture"));
    assert_refused(&b, WL_LIMIT, "image_file_too_large", FIRST, "more than");
    run_one(&b, url_at(&b, "127.0.0.1", "/stream"));
    assert_refused(&b, WL_LIMIT, "image_file_too_large", FIRST, "more than");
    b.policy.max_bytes = served.len;
    run_one(&b, url_at(&b, "127.0.0.1", "/stream"));
    assert_ok(&b);
    b.policy.fetch_ms = 100;
    run_one(&b, url_at(&b, "127.0.0.1", "/held"));
    assert_refused(&b, WL_INPUT, "failed_to_download_image", FIRST, "imed out");
    buf_release(&served);
    close_bench(&b);
}

// However a private address is written, and whatever stands for it: it is not connected to.
static void private_addresses_are_not_connected_to(void **state) {
    static const char *const HOSTS[] = {"127.0.0.1",       "localhost", "0x7f.1",
                                        "2130706433",      "127.1",     "0177.0.0.1",
                                        "0.0.0.0",         "[::1]",     "[::ffff:127.0.0.1]",
                                        "[::ffff:7f00:1]", "[::]"};
    struct bench b;
    (void)state;
    open_bench(&b, NULL);
    serve(&b);
    served = file_of(32, 20, IMAGE_JPEG);
    for (size_t i = 0; i < sizeof HOSTS / sizeof *HOSTS; i++) {
        allow(&b, HOSTS[i]);
        run_one(&b, url_at(&b, HOSTS[i], "/picture"));
        assert_refused(&b, WL_INPUT, "failed_to_download_image", FIRST, "may not be connected to");
    }
    assert_int_equal(b.n_asked, 0);
    buf_release(&served);
    close_bench(&b);
}

static bool is_guarded_end;

static void ignore_data(void *context, struct http_call *call, const char *bytes, size_t n) {
    (void)context, (void)call, (void)bytes, (void)n;
}

static void note_end(void *context, struct http_call *call, enum wl_status status,
                     const char *message) {
    (void)context, (void)call, (void)status, (void)message;
    is_guarded_end = true;
}

// A connection that an unguarded call has opened is not used by one that must ask first.
static void kept_connections_are_not_used(void **state) {
    struct bench b;
    struct http_call *call;
    (void)state;
    open_bench(&b, NULL);
    serve(&b);
    allow(&b, "localhost");
    served = file_of(32, 20, IMAGE_JPEG);
    const struct http_call_options options = {.method = "GET",
                                              .url = url_at(&b, "localhost", "/picture"),
                                              .on_data = ignore_data,
                                              .on_end = note_end};
    is_guarded_end = false;
    assert_int_equal(http_call_start(b.client, &options, &call, NULL), WL_OK);
    assert_true(loop_until(&b.loop, &is_guarded_end));
    assert_int_equal(b.n_asked, 1);
    run_one(&b, url_at(&b, "localhost", "/picture"));
    assert_refused(&b, WL_INPUT, "failed_to_download_image", FIRST, "may not be connected to");
    assert_int_equal(b.n_asked, 1);
    buf_release(&served);
    close_bench(&b);
}

// ---- giving up ----

static void cancel_and_drop(struct bench *b) {
    pictures_cancel(b->pictures, b->order);
    drop_order(b); // at once
    memset(&b->policy, 0xee, sizeof b->policy);
    loop_run_for(&b->loop, 30);
    assert_false(b->is_done);
}

static void what_is_fetched_or_counted_can_be_given_up(void **state) {
    struct bench b;
    (void)state;
    open_bench(&b, any_address);
    serve(&b);
    allow(&b, "127.0.0.1");
    make_order(&b, &(const char *){url_at(&b, "127.0.0.1", "/held")}, 1, OPENAI_DETAIL_AUTO);
    start(&b);
    assert_true(loop_until(&b.loop, &b.is_asked));
    cancel_and_drop(&b);
    for (int i = 0; i < 100 && b.held; i++) { // the server looks for it now and then
        loop_run_for(&b.loop, 20);
    }
    assert_null(b.held);
    memset(&b.policy, 0, sizeof b.policy);
    char *uri = jpeg_uri(800, 600);
    b.policy.detail[OPENAI_DETAIL_AUTO].max_tokens = 100;
    b.counting.delay_ms = 10000;
    make_order(&b, &(const char *){uri}, 1, OPENAI_DETAIL_AUTO);
    start(&b);
    while (b.counting.n_under_way == 0) {
        uv_run(&b.loop, UV_RUN_ONCE);
    }
    cancel_and_drop(&b);
    assert_int_equal(b.counting.n_under_way, 0);
    free(uri);
    close_bench(&b);
}

struct gate {
    struct worker_order order; // first
    sem_t opens;
    bool is_done;
};

static void wait_at_gate(struct worker_order *order) {
    sem_wait(&((struct gate *)order)->opens);
}

static void pass_gate(struct worker_order *order) {
    ((struct gate *)order)->is_done = true;
}

static void what_waits_for_the_thread_can_be_given_up(void **state) {
    struct bench b;
    struct gate gate = {.order = {.work = wait_at_gate, .on_done = pass_gate}};
    (void)state;
    open_bench(&b, NULL);
    sem_init(&gate.opens, 0, 0);
    worker_submit(b.worker, &gate.order);
    char *uri = jpeg_uri(800, 600);
    make_order(&b, &(const char *){uri}, 1, OPENAI_DETAIL_AUTO);
    start(&b);
    loop_run_for(&b.loop, 20);
    cancel_and_drop(&b);
    sem_post(&gate.opens);
    assert_true(loop_until(&b.loop, &gate.is_done));
    free(uri);
    close_bench(&b);
    sem_destroy(&gate.opens);
}

// At any moment: after every number of turns of the loop, the thread being wherever it is.
static void orders_can_be_given_up_at_any_moment(void **state) {
    struct bench b;
    (void)state;
    open_bench(&b, NULL);
    char *uri = jpeg_uri(1200, 900);
    for (int n_turns = 0; n_turns < 60; n_turns++) {
        b.policy = (struct pictures_policy){.detail[OPENAI_DETAIL_AUTO].max_tokens = 100};
        pictures_forget_costs(b.pictures);
        make_order(&b, (const char *const[]){uri, uri}, 2, OPENAI_DETAIL_AUTO);
        start(&b);
        for (int i = 0; i < n_turns && !b.is_done; i++) {
            uv_run(&b.loop, i % 3 == 2 ? UV_RUN_NOWAIT : UV_RUN_ONCE);
        }
        if (b.is_done) {
            break;
        }
        pictures_cancel(b.pictures, b.order);
        drop_order(&b);
        memset(&b.policy, 0xee, sizeof b.policy);
    }
    loop_run_for(&b.loop, 50);
    free(uri);
    close_bench(&b);
}

static void a_close_ends_what_the_thread_has_not_begun(void **state) {
    struct bench b;
    (void)state;
    open_bench(&b, NULL);
    char *uri = jpeg_uri(2000, 1500);
    make_order(&b, &(const char *){uri}, 1, OPENAI_DETAIL_AUTO);
    start(&b);
    pictures_cancel(b.pictures, b.order);
    free(uri);
    close_bench(&b); // before the loop has turned
    assert_false(b.is_done);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_cheap_enough_stays_the_very_same),
        cmocka_unit_test(what_is_too_expensive_is_shrunk),
        cmocka_unit_test(several_pictures_are_summed_up),
        cmocka_unit_test(pictures_may_come_first),
        cmocka_unit_test(without_counts_only_nominal_limits_are_kept),
        cmocka_unit_test(counts_may_fail_in_the_middle),
        cmocka_unit_test(pictures_that_cost_nothing_are_not_counted),
        cmocka_unit_test(constant_costs_change_nothing),
        cmocka_unit_test(what_is_no_picture_is_refused),
        cmocka_unit_test(short_forms_are_named_as_they_are),
        cmocka_unit_test(hosts_must_be_allowed),
        cmocka_unit_test(pictures_are_fetched_into_the_request),
        cmocka_unit_test(what_a_host_may_not_send),
        cmocka_unit_test(private_addresses_are_not_connected_to),
        cmocka_unit_test(kept_connections_are_not_used),
        cmocka_unit_test(what_is_fetched_or_counted_can_be_given_up),
        cmocka_unit_test(what_waits_for_the_thread_can_be_given_up),
        cmocka_unit_test(orders_can_be_given_up_at_any_moment),
        cmocka_unit_test(a_close_ends_what_the_thread_has_not_begun),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
