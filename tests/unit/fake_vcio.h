// A Raspberry Pi's firmware behind its mailbox, for tests: answers the 4124-byte buffer of
// /dev/vcio as the kernel does, or misbehaves as asked. Include after cmocka.
#ifndef WATTLAW_TESTS_FAKE_VCIO_H
#define WATTLAW_TESTS_FAKE_VCIO_H

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "meter/device.h"

enum { FAKE_VCIO_WORDS = 1031 };

struct fake_vcio {
    // Errno of opening each node; 0 opens.
    int restricted_error, plain_error;
    int ioctl_error;
    uint32_t status, error; // words 1 and 5 of the answer
    const char *adc;        // answer to pmic_read_adc
    const char *throttled;  // answer to get_throttled
    size_t n_fill;          // the answer is this many 'x' without an end
    int n_bad_answers;      // this many answers are `bad` first
    const char *bad;
    unsigned n_open, n_ioctl;
    char opened[32];
    char command[64];
};

// Twelve rails under load, as newer firmware prints them; two voltages stand alone.
static const char FAKE_ADC[] = "   3V7_WL_SW_A current(0)=0.08685000A\n"
                               "     3V3_SYS_A current(1)=0.13073000A\n"
                               "     1V8_SYS_A current(2)=0.18690000A\n"
                               "    DDR_VDD2_A current(3)=0.41000000A\n"
                               "    DDR_VDDQ_A current(4)=0.00000000A\n"
                               "     1V1_SYS_A current(5)=0.19000000A\n"
                               "      0V8_SW_A current(6)=0.36000000A\n"
                               "    VDD_CORE_A current(7)=8.00000000A\n"
                               "     3V3_DAC_A current(17)=0.00048840A\n"
                               "     3V3_ADC_A current(18)=0.00061050A\n"
                               "     0V8_AON_A current(16)=0.00305250A\n"
                               "        HDMI_A current(22)=0.02400000A\n"
                               "   3V7_WL_SW_V volt(8)=3.70000000V\n"
                               "     3V3_SYS_V volt(9)=3.30000000V\n"
                               "     1V8_SYS_V volt(10)=1.80000000V\n"
                               "    DDR_VDD2_V volt(11)=1.10000000V\n"
                               "    DDR_VDDQ_V volt(12)=0.60000000V\n"
                               "     1V1_SYS_V volt(13)=1.10000000V\n"
                               "      0V8_SW_V volt(14)=0.80000000V\n"
                               "    VDD_CORE_V volt(15)=0.90000000V\n"
                               "     0V8_AON_V volt(19)=0.80000000V\n"
                               "     3V3_DAC_V volt(20)=3.30000000V\n"
                               "     3V3_ADC_V volt(21)=3.30000000V\n"
                               "        HDMI_V volt(23)=5.00000000V\n"
                               "       EXT5V_V volt(24)=5.12000000V\n"
                               "       BATT_V volt(25)=0.00488400V\n";
// Worked out by hand from the above.
static const double FAKE_ADC_CORE_W = 7.2, FAKE_ADC_DRAM_W = 0.451;
static const double FAKE_ADC_SUM_W = 0.321345 + 0.431409 + 0.33642 + 0.451 + 0 + 0.209 + 0.288 +
                                     7.2 + 0.00161172 + 0.00201465 + 0.002442 + 0.12;

static inline int fake_vcio_open(void *context, const char *path, int flags) {
    struct fake_vcio *fake = context;
    bool is_restricted = strcmp(path, "/dev/vcio_gencmd") == 0;
    assert_true(is_restricted || strcmp(path, "/dev/vcio") == 0);
    errno = is_restricted ? fake->restricted_error : fake->plain_error;
    if (errno) {
        return -1;
    }
    fake->n_open++;
    snprintf(fake->opened, sizeof fake->opened, "%s", path);
    return open("/dev/null", flags | O_CLOEXEC);
}

static inline void fake_vcio_answer(struct fake_vcio *fake, char *text) {
    const char *answer = "error=1 error_msg=\"Command not registered\"";
    if (strcmp(fake->command, "pmic_read_adc") == 0 && fake->adc) {
        answer = fake->adc;
    } else if (strcmp(fake->command, "get_throttled") == 0 && fake->throttled) {
        answer = fake->throttled;
    }
    if (fake->n_bad_answers > 0) {
        fake->n_bad_answers--;
        answer = fake->bad;
    }
    snprintf(text, 4096, "%s", answer);
    if (fake->n_fill) {
        memset(text, 'x', fake->n_fill);
    }
}

static inline int fake_vcio_ioctl(void *context, int fd, unsigned long request, void *argument) {
    struct fake_vcio *fake = context;
    uint32_t words[FAKE_VCIO_WORDS];
    assert_true(fd >= 0 && fcntl(fd, F_GETFD) >= 0); // open, and not closed before
    assert_int_equal(request, _IOWR(100, 0, char *));
    assert_int_equal((uintptr_t)argument % 16, 0);
    memcpy(words, argument, sizeof words); // a buffer that is too short is seen by the sanitizer
    assert_int_equal(words[0], 4124);
    assert_int_equal(words[1], 0);
    assert_int_equal(words[2], 0x00030080);
    assert_int_equal(words[3], 4096);
    assert_int_equal(words[4], 0);
    assert_int_equal(words[5], 0);
    assert_int_equal(words[FAKE_VCIO_WORDS - 1], 0);
    snprintf(fake->command, sizeof fake->command, "%.60s", (const char *)&words[6]);
    fake->n_ioctl++;
    if (fake->ioctl_error) {
        errno = fake->ioctl_error;
        return -1;
    }
    words[1] = fake->status ? fake->status : 0x80000000u;
    words[5] = fake->error;
    fake_vcio_answer(fake, (char *)&words[6]);
    memcpy(argument, words, sizeof words);
    return 0;
}

static inline struct meter_device_ops fake_vcio_ops(struct fake_vcio *fake) {
    return (struct meter_device_ops){
        .context = fake, .open = fake_vcio_open, .ioctl = fake_vcio_ioctl};
}

#endif
