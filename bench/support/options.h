// Options of a benchmark: --name VALUE and --flag.
#ifndef WATTLAW_BENCH_OPTIONS_H
#define WATTLAW_BENCH_OPTIONS_H

#include <jansson.h>
#include <stdbool.h>

bool option_flag(int argc, char **argv, const char *name);
double option_number(int argc, char **argv, const char *name, double otherwise);
const char *option_text(int argc, char **argv, const char *name); // NULL: not given
// Ends the benchmark with `usage` when there is an argument that is in none of `names` (NULL at the
// end; those that take a value end with '=').
void option_check(int argc, char **argv, const char *const *names, const char *usage);
// Prints a document and lets it go.
void option_print_json(json_t *document);

#endif
