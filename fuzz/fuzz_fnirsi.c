// Reports of 64 bytes (the last may be short) as a stream, and the text of a uevent file: whatever
// comes, power is finite and not negative, and samples do not lie after their arrival.
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "meter/fnirsi_pace.h"
#include "meter/fnirsi_report.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool is_true) {
    if (!is_true) {
        abort();
    }
}

static void check_text(const uint8_t *data, size_t size) {
    char *text = malloc(size + 1);
    if (text) {
        if (size) {
            memcpy(text, data, size);
        }
        text[size] = '\0';
        const struct fnirsi_model *model = fnirsi_model_of_uevent(text);
        require(!model || fnirsi_model_find(model->vendor, model->product) == model);
        free(text);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    check_text(data, size);
    struct fnirsi_pace pace = FNIRSI_PACE_INIT;
    int64_t arrival_ns = 0;
    for (size_t at = 0; at < size; at += FNIRSI_REPORT_BYTES) {
        uint8_t report[FNIRSI_REPORT_BYTES] = {0};
        size_t len = size - at < sizeof report ? size - at : sizeof report;
        double power_w[FNIRSI_SAMPLES];
        memcpy(report, data + at, len);
        // As it is, and with the checksum put right, so that what lies behind it is reached.
        for (int pass = 0; pass < 2; pass++) {
            if (fnirsi_report_parse(report, len, power_w) == FNIRSI_DATA) {
                for (size_t i = 0; i < FNIRSI_SAMPLES; i++) {
                    require(isfinite(power_w[i]) && power_w[i] >= 0 && power_w[i] < 1000);
                }
            }
            report[FNIRSI_REPORT_BYTES - 1] = fnirsi_crc8(report + 1, FNIRSI_REPORT_BYTES - 2);
        }
        size_t n = 1 + report[2] % 70;
        arrival_ns += ((int64_t)report[3] << 20) + report[4];
        bool is_placed_by_count = n >= FNIRSI_QUEUE_REPORTS && pace.is_running;
        fnirsi_pace_arrive(&pace, n, arrival_ns);
        int64_t last_ns = INT64_MIN;
        for (size_t i = 0; i < n * FNIRSI_SAMPLES; i++) {
            int64_t t_ns = fnirsi_pace_sample_ns(&pace, n, i / FNIRSI_SAMPLES, i % FNIRSI_SAMPLES);
            require(t_ns > last_ns && (is_placed_by_count || t_ns <= arrival_ns));
            last_ns = t_ns;
        }
    }
    return 0;
}
