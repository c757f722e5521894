// What `wattlaw compress` shows: the plan before the work, blocks and verdict after it. Request and
// result are those of docs/protocol.md; members that are missing are passed over, since the result
// comes from another process.
#ifndef WATTLAW_CLI_COMPRESS_RESULT_H
#define WATTLAW_CLI_COMPRESS_RESULT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

struct compress_view {
    const json_t *request, *result;
    const char *out, *mmproj_out; // as the user named them; mmproj_out: NULL without
};

void compress_plan_print(FILE *stream, const struct compress_view *view);
void compress_result_print(const struct compress_view *view);
// The document of --json: request and result as one, with the grade. NULL: no memory for it.
json_t *compress_result_json(const struct compress_view *view);
// "transparent", "good" or "degraded": the upper end of the 95 % interval decides.
const char *compress_grade(const json_t *verdict);

#endif
