// jansson without memory from its n-th allocation on, for tests of what happens then.
#ifndef WATTLAW_TESTS_FAILING_JANSSON_H
#define WATTLAW_TESTS_FAILING_JANSSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stdlib.h>

static size_t failing_n_left;
static bool failing_has_failed;

static void *failing_malloc(size_t size) {
    if (failing_n_left == 0) {
        failing_has_failed = true;
        return NULL;
    }
    failing_n_left--;
    return malloc(size);
}

static void failing_begin(size_t n_allocations) {
    failing_n_left = n_allocations;
    failing_has_failed = false;
    json_set_alloc_funcs(failing_malloc, free);
}

// True when an allocation was refused since failing_begin.
static bool failing_end(void) {
    json_set_alloc_funcs(malloc, free);
    return failing_has_failed;
}

#endif
