// What `wattlaw knee` counted, for people and for programs.
#ifndef WATTLAW_CLI_KNEE_RESULT_H
#define WATTLAW_CLI_KNEE_RESULT_H

#include <stdbool.h>

#include "engine/result.h"
#include "plan/image_map.h"

struct knee_result {
    const char *mmproj; // path, harmless on a terminal
    const char *model;  // likewise; NULL = a stand-in
    const struct engine_vision *vision;
    const struct image_map *map;
};

void knee_result_print(const struct knee_result *result);
void knee_result_print_json(const struct knee_result *result);
// "1920x1080"; returns `out`.
enum { KNEE_SIZE_BYTES = 24 };
char *knee_size_text(char out[KNEE_SIZE_BYTES], struct image_map_size size);

#endif
