#include "eval/score.h"

const char *score_method_name(enum score_method method) {
    (void)method;
    return "exact";
}
