// Where pictures may be fetched from: addresses of the network, hosts, and how a URL may be
// written.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/un.h>

#include "gateway/picture_address.h"
#include "gateway/picture_url.h"

static bool is_public(const char *text) {
    struct sockaddr_in in = {.sin_family = AF_INET};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
    if (inet_pton(AF_INET, text, &in.sin_addr) == 1) {
        return picture_address_is_public((struct sockaddr *)&in);
    }
    assert_int_equal(inet_pton(AF_INET6, text, &in6.sin6_addr), 1);
    return picture_address_is_public((struct sockaddr *)&in6);
}

static void what_everybody_can_reach_is_public(void **state) {
    static const char *const PUBLIC[] = {
        "1.1.1.1",         "8.8.8.8",         "9.255.255.255",        "11.0.0.0",
        "100.63.255.255",  "100.128.0.0",     "126.255.255.255",      "128.0.0.0",
        "169.253.255.255", "169.255.0.0",     "172.15.255.255",       "172.32.0.0",
        "192.167.255.255", "192.169.0.0",     "198.17.255.255",       "198.20.0.0",
        "223.255.255.255", "2606:4700::1111", "2a00:1450:4001::200e", "2001:200::1",
        "2001:4860::8888", "::ffff:8.8.8.8",  "64:ff9b::8.8.8.8",     "3ffe:ffff::1"};
    (void)state;
    for (size_t i = 0; i < sizeof PUBLIC / sizeof *PUBLIC; i++) {
        if (!is_public(PUBLIC[i])) {
            fail_msg("%s is public", PUBLIC[i]);
        }
    }
}

static void what_only_some_can_reach_is_not(void **state) {
    static const char *const OTHERS[] = {"0.0.0.0",
                                         "0.255.255.255",
                                         "10.0.0.1",
                                         "10.255.255.255",
                                         "100.64.0.0",
                                         "100.127.255.255",
                                         "100.100.100.200",
                                         "127.0.0.1",
                                         "127.255.255.255",
                                         "169.254.0.1",
                                         "169.254.169.254",
                                         "172.16.0.0",
                                         "172.31.255.255",
                                         "192.0.0.192",
                                         "192.0.2.1",
                                         "192.88.99.1",
                                         "192.168.0.1",
                                         "192.168.255.255",
                                         "198.18.0.1",
                                         "198.19.255.255",
                                         "198.51.100.7",
                                         "203.0.113.7",
                                         "224.0.0.1",
                                         "239.255.255.255",
                                         "240.0.0.1",
                                         "255.255.255.255",
                                         "168.63.129.16",
                                         "::",
                                         "::1",
                                         "::8.8.8.8",
                                         "::ffff:127.0.0.1",
                                         "::ffff:10.1.2.3",
                                         "::ffff:0:8.8.8.8",
                                         "64:ff9b::127.0.0.1",
                                         "64:ff9b::192.168.1.1",
                                         "64:ff9b:1::1",
                                         "100::1",
                                         "fc00::1",
                                         "fdff::1",
                                         "fe80::1",
                                         "fec0::1",
                                         "ff02::1",
                                         "ff0e::1",
                                         "2001::1",
                                         "2001:0:4136:e378::1",
                                         "2001:db8::1",
                                         "2001:10::1",
                                         "2001:1ff:ffff::1",
                                         "2002:7f00:1::1",
                                         "2002:808:808::1",
                                         "3fff::1",
                                         "5f00::1",
                                         "4000::1"};
    (void)state;
    for (size_t i = 0; i < sizeof OTHERS / sizeof *OTHERS; i++) {
        if (is_public(OTHERS[i])) {
            fail_msg("%s is not public", OTHERS[i]);
        }
    }
    struct sockaddr_un local = {.sun_family = AF_UNIX};
    assert_false(picture_address_is_public((struct sockaddr *)&local));
}

static void kinds_are_told_by_the_scheme(void **state) {
    (void)state;
    assert_int_equal(picture_url_kind("data:image/png;base64,AA==", 26), PICTURE_URL_DATA);
    assert_int_equal(picture_url_kind("DATA:", 5), PICTURE_URL_DATA);
    assert_int_equal(picture_url_kind("https://a/", 10), PICTURE_URL_HTTP);
    assert_int_equal(picture_url_kind("HTTP://a/", 9), PICTURE_URL_HTTP);
    static const char *const OTHERS[] = {
        "",      "file:///etc/passwd", "ftp://a/", " http://a/", "http:/a", "/a.png", "a.png",
        "//a/b", "gopher://a/"};
    for (size_t i = 0; i < sizeof OTHERS / sizeof *OTHERS; i++) {
        assert_int_equal(picture_url_kind(OTHERS[i], strlen(OTHERS[i])), PICTURE_URL_OTHER);
    }
    assert_int_equal(picture_url_kind("https://", 4), PICTURE_URL_OTHER); // cut
}

static void assert_read(const char *url, const char *host, uint16_t port, const char *text) {
    struct picture_url out;
    struct wl_err err;
    if (picture_url_parse(url, strlen(url), &out, &err)) {
        fail_msg("%s: %s", url, err.message);
    }
    assert_string_equal(out.host, host);
    assert_int_equal(out.port, port);
    assert_string_equal(out.text, text);
}

static void addresses_are_put_together_anew(void **state) {
    (void)state;
    assert_read("http://example.org", "example.org", 80, "http://example.org:80/");
    assert_read("HTTPS://Example.ORG/A.png?x=1#y", "example.org", 443,
                "https://example.org:443/A.png?x=1");
    assert_read("https://example.org:8443?q", "example.org", 8443, "https://example.org:8443/?q");
    assert_read("http://a_b.example.org/a@b:c", "a_b.example.org", 80,
                "http://a_b.example.org:80/a@b:c");
    assert_read("http://[2001:DB8::1]:81/x", "[2001:db8::1]", 81, "http://[2001:db8::1]:81/x");
    assert_read("http://2130706433/", "2130706433", 80, "http://2130706433:80/");
    assert_read("http://0x7f.1/", "0x7f.1", 80, "http://0x7f.1:80/");
    assert_read("http://a/?http://b/", "a", 80, "http://a:80/?http://b/");
    assert_read("http://a#@b/", "a", 80, "http://a:80/");
}

static void addresses_that_two_could_read_differently_are_refused(void **state) {
    static const char *const BAD[] = {"http://",
                                      "http:///x",
                                      "http://user@host/",
                                      "http://user:pw@host/",
                                      "http://a\\@b/",
                                      "http://a b/",
                                      "http://a\tb/",
                                      "http://a\n/",
                                      "http://a/\x7f",
                                      "http://\xc3\xa4/",
                                      "http://a%2eb/",
                                      "http://.a/",
                                      "http://a./",
                                      "http://a..b/",
                                      "http://a:/",
                                      "http://a:0/",
                                      "http://a:65536/",
                                      "http://a:+80/",
                                      "http://a:80:80/",
                                      "http://[::1/",
                                      "http://::1/",
                                      "http://[::1]x/",
                                      "http://[fe80::1%25eth0]/",
                                      "http://[]/",
                                      "http://a,b/",
                                      "http://a;b/",
                                      "http://(a)/",
                                      "http://a'b/",
                                      "file://a/",
                                      "https:/a",
                                      "http://[::1]:x/",
                                      "http://a:000080/"};
    struct picture_url out;
    struct wl_err err;
    (void)state;
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) {
        if (picture_url_parse(BAD[i], strlen(BAD[i]), &out, &err) != WL_INPUT) {
            fail_msg("'%s' is no address", BAD[i]);
        }
    }
    assert_int_equal(picture_url_parse("http://a\0b/", 11, &out, &err), WL_INPUT);
    static char longest[PICTURE_URL_BYTES + 2] = "http://a/";
    memset(longest + 9, 'x', sizeof longest - 10);
    assert_int_equal(picture_url_parse(longest, PICTURE_URL_BYTES, &out, &err), WL_LIMIT);
    assert_int_equal(picture_url_parse(longest, PICTURE_URL_BYTES - 1, &out, &err), WL_OK);
    assert_int_equal(strlen(out.text), PICTURE_URL_BYTES - 1 + 3); // ":80"
    memset(longest + 7, 'x', 300);
    assert_int_equal(picture_url_parse(longest, 307, &out, &err), WL_INPUT); // a host of 300
}

static bool is_at(const char *url, const char *allowed) {
    struct picture_url out;
    assert_int_equal(picture_url_parse(url, strlen(url), &out, NULL), WL_OK);
    return picture_url_is_at(&out, allowed);
}

static void hosts_are_matched_whole(void **state) {
    (void)state;
    assert_true(is_at("http://example.org/x", "example.org"));
    assert_true(is_at("https://EXAMPLE.org/x", "Example.Org"));
    assert_false(is_at("http://a.example.org/", "example.org"));
    assert_false(is_at("http://badexample.org/", "example.org"));
    assert_false(is_at("http://example.org.evil.net/", "example.org"));
    assert_false(is_at("http://example.or/", "example.org"));
    assert_true(is_at("http://example.org/", ".example.org"));
    assert_true(is_at("http://a.b.example.org/", ".example.org"));
    assert_false(is_at("http://badexample.org/", ".example.org"));
    assert_false(is_at("http://example.org.evil.net/", ".example.org"));
    assert_false(is_at("http://org/", ".example.org"));
    assert_false(is_at("http://example.org/", ""));
    assert_false(is_at("http://example.org/", "."));
    assert_false(is_at("http://example.org/", "*"));
}

static void ports_are_the_schemes_unless_allowed(void **state) {
    (void)state;
    assert_true(is_at("http://example.org:80/", "example.org"));
    assert_true(is_at("https://example.org:443/", "example.org"));
    assert_false(is_at("http://example.org:443/", "example.org"));
    assert_false(is_at("http://example.org:22/", ".example.org"));
    assert_true(is_at("http://example.org:8080/", "example.org:8080"));
    assert_true(is_at("http://a.example.org:8080/", ".example.org:8080"));
    assert_false(is_at("http://example.org/", "example.org:8080"));
    assert_false(is_at("http://example.org/", "example.org:"));
    assert_false(is_at("http://example.org/", ":80"));
    assert_true(is_at("http://[::1]/", "[::1]"));
    assert_true(is_at("http://[::1]:90/", "[::1]:90"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_everybody_can_reach_is_public),
        cmocka_unit_test(what_only_some_can_reach_is_not),
        cmocka_unit_test(kinds_are_told_by_the_scheme),
        cmocka_unit_test(addresses_are_put_together_anew),
        cmocka_unit_test(addresses_that_two_could_read_differently_are_refused),
        cmocka_unit_test(hosts_are_matched_whole),
        cmocka_unit_test(ports_are_the_schemes_unless_allowed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
