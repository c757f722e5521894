// Functions that have a safer twin; using one is a compile error. Force-included by the build.
#ifndef WATTLAW_BASE_BANNED_H
#define WATTLAW_BASE_BANNED_H

// The system headers must be seen before the words are poisoned.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

// clang's optimised builds have macros of these names, which it refuses to poison.
#ifndef __clang__
#pragma GCC poison strcpy strcat strncpy strncat sprintf vsprintf strtok atoi atol atoll atof
#pragma GCC poison gets gmtime localtime ctime asctime rand srand tmpnam tempnam mktemp
#endif

#endif
