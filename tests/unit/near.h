// Comparing doubles in tests: cmocka 1.1's own macro compares floats.
#ifndef WATTLAW_TESTS_NEAR_H
#define WATTLAW_TESTS_NEAR_H

#include <math.h>

// Prints both values; NaN is never near anything.
#define assert_near(found, expected, tolerance)                                                    \
    do {                                                                                           \
        double near_found_ = (found), near_expected_ = (expected);                                 \
        if (!(fabs(near_found_ - near_expected_) <= (tolerance))) {                                \
            fail_msg("%s is %.17g, expected %.17g within %g", #found, near_found_, near_expected_, \
                     (double)(tolerance));                                                         \
        }                                                                                          \
    } while (0)

#endif
