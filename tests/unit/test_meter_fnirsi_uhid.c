// The FNIRSI source on a real hidraw node: the kernel's own HID layer, with a meter behind
// /dev/uhid instead of a USB cable. Needs a kernel with UHID and the right to use it; else it is
// skipped.
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#ifdef __linux__
#include <linux/input.h>
#include <linux/uhid.h>

#include "meter/fnirsi_find.h"
#include "meter/meter.h"
#include "near.h"

static const int64_t MS = 1000000;
static const double POWER_W = 6; // 5 V and 1.2 A

static void put_le32(uint8_t *out, uint32_t value) {
    for (int i = 0; i < 4; i++) {
        out[i] = (uint8_t)(value >> (8 * i));
    }
}

static bool send_event(int fd, const struct uhid_event *event) {
    return write(fd, event, sizeof *event) == sizeof *event;
}

static bool plug_in(int fd) {
    // Vendor page: one input and one output report of 64 bytes, without numbers.
    static const uint8_t DESCRIPTOR[] = {0x06, 0x00, 0xFF, 0x09, 0x01, 0xA1, 0x01, 0x09, 0x02,
                                         0x15, 0x00, 0x26, 0xFF, 0x00, 0x75, 0x08, 0x95, 0x40,
                                         0x81, 0x02, 0x09, 0x03, 0x15, 0x00, 0x26, 0xFF, 0x00,
                                         0x75, 0x08, 0x95, 0x40, 0x91, 0x02, 0xC0};
    struct uhid_event event = {.type = UHID_CREATE2};
    snprintf((char *)event.u.create2.name, sizeof event.u.create2.name, "wattlaw test FNB58");
    event.u.create2.rd_size = sizeof DESCRIPTOR;
    event.u.create2.bus = BUS_USB;
    event.u.create2.vendor = 0x2E3C;
    event.u.create2.product = 0x5558;
    memcpy(event.u.create2.rd_data, DESCRIPTOR, sizeof DESCRIPTOR);
    return send_event(fd, &event);
}

static bool unplug(int fd) {
    struct uhid_event event = {.type = UHID_DESTROY};
    return send_event(fd, &event);
}

struct emulator {
    int fd;
    int is_stopping, n_starts, n_wrong; // atomic
};

static void obey(struct emulator *emulator, const struct uhid_event *event) {
    uint8_t expected[FNIRSI_REPORT_BYTES];
    const uint8_t *data = event->u.output.data; // with the report's number, 0, in front
    fnirsi_command_write(expected, (enum fnirsi_command)data[2]);
    bool is_right = event->u.output.size == FNIRSI_REPORT_BYTES + 1 && data[0] == 0 &&
                    memcmp(data + 1, expected, sizeof expected) == 0;
    __atomic_fetch_add(&emulator->n_wrong, !is_right, __ATOMIC_SEQ_CST);
    __atomic_fetch_add(&emulator->n_starts, data[2] == FNIRSI_HELLO, __ATOMIC_SEQ_CST);
}

static void push_report(const struct emulator *emulator) {
    struct uhid_event event = {.type = UHID_INPUT2, .u.input2.size = FNIRSI_REPORT_BYTES};
    uint8_t *report = event.u.input2.data;
    report[0] = 0xAA;
    report[1] = 0x04;
    for (int i = 0; i < FNIRSI_SAMPLES; i++) {
        put_le32(report + 2 + 15 * i, 500000);
        put_le32(report + 6 + 15 * i, 120000);
    }
    report[63] = fnirsi_crc8(report + 1, 62);
    send_event(emulator->fd, &event); // fails while unplugged
}

static void *emulate(void *context) {
    struct emulator *emulator = context;
    int64_t next_ns = os_now_ns();
    while (!__atomic_load_n(&emulator->is_stopping, __ATOMIC_SEQ_CST)) {
        struct pollfd ready = {.fd = emulator->fd, .events = POLLIN};
        struct uhid_event event;
        if (poll(&ready, 1, 5) > 0 && read(emulator->fd, &event, sizeof event) > 0 &&
            event.type == UHID_OUTPUT) {
            obey(emulator, &event);
        }
        bool is_awake = __atomic_load_n(&emulator->n_starts, __ATOMIC_SEQ_CST) > 0;
        if (is_awake && os_now_ns() >= next_ns) {
            push_report(emulator);
            next_ns = os_now_ns() + 40 * MS;
        }
    }
    return NULL;
}

// udev makes the node a moment after the device is there.
static bool wait_for_node(struct fnirsi_found *found) {
    for (int i = 0; i < 100; i++) {
        fnirsi_find(NULL, found);
        if (found->model && access(found->path, R_OK | W_OK) == 0) {
            return true;
        }
        usleep(30000);
    }
    return false;
}

// Reads for at most `limit_ms` until `n` readings of that validity have come.
static bool read_until(struct meter *meter, bool is_valid, int n, int64_t limit_ms) {
    int64_t end_ns = os_now_ns() + limit_ms * MS;
    while (n > 0 && os_now_ns() < end_ns) {
        struct meter_reading reading;
        assert_int_equal(meter_read(meter, &reading, NULL), WL_OK);
        if (reading.is_empty) {
            usleep(20000);
        } else if (reading.channel[0].is_valid == is_valid) {
            n--;
        }
        if (!reading.is_empty && reading.channel[0].is_valid) {
            assert_near(reading.channel[0].value, POWER_W, 1e-6);
        }
    }
    return n == 0;
}

static void a_real_node_is_read_lost_and_found(void **state) {
    struct emulator *emulator = *state;
    struct fnirsi_found found;
    assert_true(plug_in(emulator->fd));
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, emulate, emulator), 0);
    if (!wait_for_node(&found)) {
        __atomic_store_n(&emulator->is_stopping, 1, __ATOMIC_SEQ_CST);
        pthread_join(thread, NULL);
        unplug(emulator->fd);
        print_message("skipped: no node in /dev was made for the emulated meter\n");
        skip();
    }
    struct meter_env env = {0};
    struct meter *meter = NULL;
    struct wl_err err = {0};
    if (meter_open(&env, "fnirsi", &meter, &err) != WL_OK) {
        fail_msg("%s", err.message);
    }
    assert_true(read_until(meter, true, 100, 4000));
    assert_true(unplug(emulator->fd));
    assert_true(read_until(meter, false, 1, 2000));
    assert_true(plug_in(emulator->fd));
    assert_true(read_until(meter, true, 20, 6000));
    meter_close(meter);
    __atomic_store_n(&emulator->is_stopping, 1, __ATOMIC_SEQ_CST);
    pthread_join(thread, NULL);
    unplug(emulator->fd);
    assert_int_equal(emulator->n_wrong, 0);
    assert_int_equal(emulator->n_starts, 2);
}

int main(void) {
    struct emulator emulator = {.fd = open("/dev/uhid", O_RDWR | O_CLOEXEC)};
    if (emulator.fd < 0) {
        printf("skipped: /dev/uhid cannot be opened (%s)\n", strerror(errno));
        return 77;
    }
    struct fnirsi_found found;
    fnirsi_find(NULL, &found);
    if (found.model) {
        printf("skipped: a real FNIRSI meter is plugged in\n");
        return 77;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(a_real_node_is_read_lost_and_found, &emulator),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
#else
int main(void) {
    printf("skipped: hidraw is Linux's\n");
    return 77;
}
#endif
