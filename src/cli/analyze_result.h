// What `wattlaw analyze` found, for people.
#ifndef WATTLAW_CLI_ANALYZE_RESULT_H
#define WATTLAW_CLI_ANALYZE_RESULT_H

#include "report/analysis.h"

// `name` is harmless on a terminal; `width` is that of the lines of text.
void analyze_result_print(const char *name, const struct report_analysis *analysis, int width);

#endif
