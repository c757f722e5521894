// What `wattlaw compress` shows: the plan before the work, blocks and verdict after it.
#ifndef WATTLAW_CLI_COMPRESS_RESULT_H
#define WATTLAW_CLI_COMPRESS_RESULT_H

#include <stdio.h>

#include "engine/client.h"

// Mean KL divergence in nats per token up to which a result is called so.
#define COMPRESS_TRANSPARENT_KL 0.05
#define COMPRESS_GOOD_KL 0.15

struct compress_view {
    const struct engine_compress_options *options; // as they were asked for
    const struct engine_compress_result *result;
};

void compress_plan_print(FILE *stream, const struct compress_view *view);
void compress_result_print(const struct compress_view *view);
// Only the plan after a dry run. False when there is no memory for it.
bool compress_result_print_json(const struct compress_view *view);
// "transparent", "good" or "degraded": the upper end of the 95 % interval decides.
const char *compress_grade(const struct engine_compress_verdict *verdict);

#endif
