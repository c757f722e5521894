// Frame headers: what goes in comes out, and everything else is refused with a reason.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "engine/protocol.h"

struct row {
    uint16_t type;
    uint32_t max_bytes;
    char direction;
    const char *name;
};

static const struct row ROWS[] = {
#define X(suffix, number, max_bytes, direction, name) {ENGINE_##suffix, max_bytes, direction, name},
    ENGINE_FRAME_LIST(X)
#undef X
};
enum { N_ROWS = sizeof ROWS / sizeof ROWS[0] };

static void has_consistent_table(void **state) {
    (void)state;
    for (size_t i = 0; i < N_ROWS; i++) {
        assert_true(ROWS[i].direction == 'c' || ROWS[i].direction == 'e');
        assert_in_range(ROWS[i].max_bytes, 1, 67108868); // 64 MiB of image and its slot
        assert_int_equal(engine_frame_max_bytes(ROWS[i].type), ROWS[i].max_bytes);
        assert_string_equal(engine_frame_name(ROWS[i].type), ROWS[i].name);
        assert_int_equal(engine_frame_direction(ROWS[i].type), ROWS[i].direction);
        for (size_t j = 0; j < i; j++) {
            assert_int_not_equal(ROWS[i].type, ROWS[j].type);
            assert_string_not_equal(ROWS[i].name, ROWS[j].name);
        }
    }
    assert_int_equal(engine_frame_max_bytes(999), 0);
    assert_int_equal(engine_frame_direction(999), 0);
    assert_string_equal(engine_frame_name(999), "unknown");
}

static void encodes_little_endian(void **state) {
    (void)state;
    unsigned char bytes[ENGINE_HEADER_BYTES];
    static const unsigned char EXPECTED[ENGINE_HEADER_BYTES] = {
        'W', 'L', 'E', '1', 1, 0, 5, 0, 0x44, 0x33, 0x22, 0x11, 0x03, 0x02, 0x01, 0x00};
    struct engine_header header = {ENGINE_RUN, 0x11223344, 0x00010203};
    engine_header_encode(&header, bytes);
    assert_memory_equal(bytes, EXPECTED, sizeof bytes);
}

static void round_trips_every_type(void **state) {
    (void)state;
    for (size_t i = 0; i < N_ROWS; i++) {
        unsigned char bytes[ENGINE_HEADER_BYTES];
        struct engine_header in = {ROWS[i].type, UINT32_MAX - (uint32_t)i, ROWS[i].max_bytes}, out;
        struct wl_err err;
        engine_header_encode(&in, bytes);
        assert_int_equal(engine_header_decode(bytes, ROWS[i].direction, &out, &err), WL_OK);
        assert_int_equal(out.type, in.type);
        assert_int_equal(out.request_id, in.request_id);
        assert_int_equal(out.payload_bytes, in.payload_bytes);
        char other = ROWS[i].direction == 'c' ? 'e' : 'c';
        assert_int_equal(engine_header_decode(bytes, other, &out, &err), WL_PROTOCOL);
        assert_non_null(strstr(err.message, ROWS[i].name));
        in.payload_bytes++;
        engine_header_encode(&in, bytes);
        assert_int_equal(engine_header_decode(bytes, ROWS[i].direction, &out, &err), WL_PROTOCOL);
        assert_non_null(strstr(err.message, "announced"));
    }
}

static void expect_refusal(size_t at, unsigned char value, const char *words) {
    unsigned char bytes[ENGINE_HEADER_BYTES];
    struct engine_header in = {ENGINE_RESULT, 1, 10}, out = {0};
    struct wl_err err;
    engine_header_encode(&in, bytes);
    bytes[at] = value;
    assert_int_equal(engine_header_decode(bytes, 'e', &out, &err), WL_PROTOCOL);
    assert_int_equal(out.type, 0); // left alone
    assert_non_null(strstr(err.message, words));
}

static void refuses_nonsense(void **state) {
    (void)state;
    expect_refusal(0, 'X', "expected magic");
    expect_refusal(3, '2', "expected magic");
    expect_refusal(4, 2, "expected protocol version 1, found 2");
    expect_refusal(5, 1, "found 257");
    expect_refusal(6, 99, "type 99");
    expect_refusal(15, 0xff, "announced");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(has_consistent_table),
        cmocka_unit_test(encodes_little_endian),
        cmocka_unit_test(round_trips_every_type),
        cmocka_unit_test(refuses_nonsense),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
