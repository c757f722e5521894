#include "meter/fnirsi_pace.h"

#include "meter/fnirsi_report.h"

// Gains of the loop: an eighth of the error goes into the time, a 128th into the period; with these
// it settles within about a second and does not ring.
enum { TIME_SHARE = 8, PERIOD_SHARE = 128 };
// A report that comes later than this tells about the machine, not about the meter's clock.
static const int64_t MAX_ERROR_NS = 2000000;
static const int64_t LOST_NS = FNIRSI_REPORT_NS * 3 / 2;
static const int64_t MIN_REPORT_NS = FNIRSI_REPORT_NS * 9 / 10;
static const int64_t MAX_REPORT_NS = FNIRSI_REPORT_NS * 11 / 10;

static int64_t clamp(int64_t value, int64_t low, int64_t high) {
    return value < low ? low : value > high ? high : value;
}

bool fnirsi_pace_arrive(struct fnirsi_pace *pace, size_t n, int64_t arrival_ns) {
    if (!pace->is_running) {
        *pace = (struct fnirsi_pace){arrival_ns, FNIRSI_REPORT_NS, true};
        return false;
    }
    int64_t expected_ns = pace->last_ns + (int64_t)n * pace->report_ns;
    int64_t error_ns = arrival_ns - expected_ns;
    if (n >= FNIRSI_QUEUE_REPORTS) {
        pace->last_ns = expected_ns; // what is missing is missing behind these
        return false;
    }
    if (error_ns > LOST_NS) {
        pace->last_ns = arrival_ns;
        return true;
    }
    int64_t small_ns = clamp(error_ns, -MAX_ERROR_NS, MAX_ERROR_NS);
    // Nothing is taken after it has arrived.
    pace->last_ns = error_ns < 0 ? arrival_ns : expected_ns + small_ns / TIME_SHARE;
    pace->report_ns = clamp(pace->report_ns + small_ns / PERIOD_SHARE / (int64_t)(n ? n : 1),
                            MIN_REPORT_NS, MAX_REPORT_NS);
    return false;
}

int64_t fnirsi_pace_sample_ns(const struct fnirsi_pace *pace, size_t n, size_t report,
                              size_t sample) {
    int64_t after = (int64_t)((n - 1 - report) * FNIRSI_SAMPLES + (FNIRSI_SAMPLES - 1 - sample));
    return pace->last_ns - after * pace->report_ns / FNIRSI_SAMPLES;
}
