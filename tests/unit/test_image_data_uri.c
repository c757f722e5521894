// Pictures in data URIs: what is read, and what is refused with a word why.
#include "image_samples.h"

static enum wl_status read_uri(const char *uri, unsigned char **bytes, size_t *n,
                               struct wl_err *err) {
    size_t len = strlen(uri);
    char *exact = malloc(len ? len : 1); // no NUL: the length counts
    memcpy(exact, uri, len);
    enum wl_status status = image_from_data_uri(exact, len, NULL, bytes, n, err);
    free(exact);
    return status;
}

static void assert_reads(const char *uri, const void *expected, size_t n_expected) {
    unsigned char *bytes;
    size_t n;
    struct wl_err err = {0};
    if (read_uri(uri, &bytes, &n, &err)) {
        fail_msg("%s: %s", uri, err.message);
    }
    assert_int_equal(n, n_expected);
    assert_memory_equal(bytes, expected, n);
    free(bytes);
}

static void assert_refuses(const char *uri, const char *word) {
    unsigned char *bytes = (unsigned char *)"";
    size_t n = 7;
    struct wl_err err = {0};
    assert_int_equal(read_uri(uri, &bytes, &n, &err), WL_INPUT);
    assert_true(!bytes && n == 0);
    if (!strstr(err.message, word)) {
        fail_msg("no '%s' in '%s'", word, err.message);
    }
}

static void reads_every_byte(void **state) {
    (void)state;
    assert_reads("data:image/png;base64,AA==", "\0", 1);
    assert_reads("data:image/png;base64,AAE=", "\0\1", 2);
    assert_reads("data:image/png;base64,AAEC", "\0\1\2", 3);
    assert_reads("data:image/png;base64,+/+/", "\xfb\xff\xbf", 3);
    assert_reads("data:image/jpeg;base64,aGVsbG8sIHdvcmxk", "hello, world", 12);
    assert_reads("DATA:Image/x-y+z;charset=utf-8;BASE64,QUJD", "ABC", 3);
}

static void refuses_other_uris(void **state) {
    (void)state;
    static const char *const uris[] = {"",
                                       "data:",
                                       "data:image/png",
                                       "data:image/png;base64",
                                       "data:image/png,QUJD",
                                       "data:image/;base6,QUJD",
                                       "data:text/plain;base64,QUJD",
                                       "data:;base64,QUJD",
                                       "https://example.org/a.png",
                                       "file:///etc/passwd",
                                       " data:image/png;base64,QUJD"};
    for (size_t i = 0; i < sizeof uris / sizeof uris[0]; i++) {
        assert_refuses(uris[i], "data:image/png;base64,");
    }
}

static void refuses_damaged_base64(void **state) {
    (void)state;
    assert_refuses("data:image/png;base64,", "multiple of 4");
    assert_refuses("data:image/png;base64,QUI", "padding");
    assert_refuses("data:image/png;base64,QUJDQQ", "padding");
    assert_refuses("data:image/png;base64,QQ=A", "character 2 of 4");
    assert_refuses("data:image/png;base64,QUJD=UJD", "character 4 of 8");
    assert_refuses("data:image/png;base64,QQ==QUJD", "character 2 of 8");
    assert_refuses("data:image/png;base64,Q===", "character 1 of 4");
    assert_refuses("data:image/png;base64,====", "character 0 of 4");
    assert_refuses("data:image/png;base64,QUJ\xc3", "0xc3");
    assert_refuses("data:image/png;base64,-_-_", "0x2d"); // the alphabet for file names
    assert_refuses("data:image/png;base64,QUJD\nQUJDQUJ", "base64 -w 0");
    assert_refuses("data:image/png;base64,QUJDQU \n", "one piece");
    assert_refuses("data:image/png;base64,QUJDQR==", "bits behind");
    assert_refuses("data:image/png;base64,QUJDQUJ=", "bits behind");
    assert_refuses("data:image/png;base64,QUJD%2B==", "multiple of 4");
}

static void keeps_the_limit(void **state) {
    (void)state;
    static const char uri[] = "data:image/png;base64,QUJDRA==";
    struct image_limits limits = {.max_bytes = 4, .max_pixels = 1, .max_side = 1};
    unsigned char *bytes;
    size_t n;
    assert_int_equal(image_from_data_uri(uri, sizeof uri - 1, &limits, &bytes, &n, NULL), WL_OK);
    assert_int_equal(n, 4);
    free(bytes);
    limits.max_bytes = 3;
    assert_int_equal(image_from_data_uri(uri, sizeof uri - 1, &limits, &bytes, &n, NULL), WL_LIMIT);
    assert_null(bytes);
}

static void does_not_believe_the_type(void **state) {
    (void)state;
    unsigned char *bytes;
    size_t n;
    struct image_header header;
    assert_int_equal(read_uri("data:image/png;base64,R0lGODlhAQABAAAAACw=", &bytes, &n, NULL),
                     WL_OK);
    assert_int_equal(image_probe(bytes, n, NULL, &header, NULL), WL_INPUT); // a GIF
    free(bytes);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_every_byte),          cmocka_unit_test(refuses_other_uris),
        cmocka_unit_test(refuses_damaged_base64),    cmocka_unit_test(keeps_the_limit),
        cmocka_unit_test(does_not_believe_the_type),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
