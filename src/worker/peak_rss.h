// The largest resident set of this process since a mark, from the kernel's own high-water mark.
// Linux only: elsewhere, and where /proc does not allow it, the answer is 0.
#ifndef WATTLAW_WORKER_PEAK_RSS_H
#define WATTLAW_WORKER_PEAK_RSS_H

#include <stdint.h>

void peak_rss_mark(void);     // the high-water mark begins again, at what is resident now
int64_t peak_rss_bytes(void); // the most since then; 0 when not known

#endif
