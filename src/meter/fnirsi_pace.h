// When the samples of a stream of reports were taken. The meter samples evenly by its own crystal
// and stamps nothing; what is known is when reports arrive: never before they were taken, sometimes
// later (USB, a busy machine). A slow loop follows the arrivals, so that samples stay evenly spaced
// while the meter's clock neither drifts away nor jumps with every delay. PURE.
#ifndef WATTLAW_METER_FNIRSI_PACE_H
#define WATTLAW_METER_FNIRSI_PACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FNIRSI_REPORT_NS 40000000LL // nominal: four samples of 10 ms
// A queue this full may have thrown reports away behind what it holds (the kernel keeps 64).
enum { FNIRSI_QUEUE_REPORTS = 60 };

struct fnirsi_pace {
    int64_t last_ns;   // last sample of the newest report
    int64_t report_ns; // time between reports, as followed
    bool is_running;
};

#define FNIRSI_PACE_INIT                                                                           \
    { .report_ns = FNIRSI_REPORT_NS }

// `n` reports were taken from the queue, which is empty now; the newest by `arrival_ns`. True when
// reports are missing between the last ones and these: they are placed by their arrival then.
bool fnirsi_pace_arrive(struct fnirsi_pace *pace, size_t n, int64_t arrival_ns);
// When sample `sample` (0 is its oldest) of report `report` (0..n-1) of those was taken.
int64_t fnirsi_pace_sample_ns(const struct fnirsi_pace *pace, size_t n, size_t report,
                              size_t sample);

#endif
