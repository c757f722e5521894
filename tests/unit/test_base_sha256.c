// SHA-256 against published digests, and at every length where its padding changes.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/sha256.h"

// FIPS 180-4 example messages, in base64.
static void published_messages_in_base64(void **state) {
    (void)state;
    char out[SHA256_BASE64_BYTES];
    sha256_base64("", 0, out);
    assert_string_equal(out, "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
    sha256_base64("abc", 3, out);
    assert_string_equal(out, "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=");
    const char *two_blocks = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
    sha256_base64(two_blocks, strlen(two_blocks), out);
    assert_string_equal(out, "JI1qYdIGOLjlwCaTDD5gOaM85Flk/yFn9uzt1BnbBsE=");
}

// Messages of 'a' alone; the digests are coreutils' sha256sum's.
static void every_length_of_the_padding(void **state) {
    (void)state;
    static const struct {
        size_t len;
        const char *hex;
    } ROWS[] = {
        {0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {1, "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"},
        {55, "9f4390f8d30c2dd92ec9f095b65e2b9ae9b0a925a5258e241c9f1e910f734318"},
        {56, "b35439a4ac6f0948b6d6f9e3c6af0f5f590ce20f1bde7090ef7970686ec6738a"},
        {63, "7d3e74a05d7db15bce4ad9ec0658ea98e3f06eeecf16b4c6fff2da457ddc2f34"},
        {64, "ffe054fe7ae0cb6dc65c3af9b61d5209f439851db43d0ba5997337df154668eb"},
        {65, "635361c48bb9eab14198e76ea8ab7f1a41685d6ad62aa9146d301d4f17eb0ae0"},
        {119, "31eba51c313a5c08226adf18d4a359cfdfd8d2e816b13f4af952f7ea6584dcfb"},
        {120, "2f3d335432c70b580af0e8e1b3674a7c020d683aa5f73aaaedfdc55af904c21c"},
        {128, "6836cf13bac400e9105071cd6af47084dfacad4e5e302c94bfed24e013afb73e"},
        {1000000, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"},
    };
    size_t largest = ROWS[sizeof ROWS / sizeof ROWS[0] - 1].len;
    char *text = malloc(largest);
    assert_non_null(text);
    memset(text, 'a', largest);
    for (size_t i = 0; i < sizeof ROWS / sizeof ROWS[0]; i++) {
        unsigned char digest[SHA256_BYTES];
        char hex[2 * SHA256_BYTES + 1];
        sha256(ROWS[i].len ? text : NULL, ROWS[i].len, digest);
        for (size_t k = 0; k < SHA256_BYTES; k++) {
            snprintf(hex + 2 * k, 3, "%02x", digest[k]);
        }
        assert_string_equal(hex, ROWS[i].hex);
    }
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_messages_in_base64),
        cmocka_unit_test(every_length_of_the_padding),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
