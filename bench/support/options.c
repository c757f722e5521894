#include "support/options.h"

#include <string.h>

#include "base/json.h"
#include "base/str.h"
#include "support/stage.h"

bool option_flag(int argc, char **argv, const char *name) {
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], name) == 0) {
            return true;
        }
    }
    return false;
}

const char *option_text(int argc, char **argv, const char *name) {
    for (int i = 1; i + 1 < argc; i++) {
        if (strcmp(argv[i], name) == 0) {
            return argv[i + 1];
        }
    }
    return NULL;
}

double option_number(int argc, char **argv, const char *name, double otherwise) {
    const char *text = option_text(argc, argv, name);
    double value = otherwise;
    if (text && !str_parse_double(text, &value)) {
        stage_fail("%s: expected a number, found '%s'", name, text);
    }
    return value;
}

// 0: not known; else how many arguments it is.
static int n_words(const char *const *names, const char *argument) {
    for (; *names; names++) {
        size_t n = strlen(*names);
        bool takes_value = (*names)[n - 1] == '=';
        n -= takes_value;
        if (strlen(argument) == n && memcmp(argument, *names, n) == 0) {
            return 1 + takes_value;
        }
    }
    return 0;
}

void option_check(int argc, char **argv, const char *const *names, const char *usage) {
    for (int i = 1, n; i < argc; i += n) {
        n = n_words(names, argv[i]);
        if (n == 0 || i + n > argc) {
            stage_fail("%s", usage);
        }
    }
}

void option_print_json(json_t *document) {
    struct buf text;
    buf_init(&text, 1 << 22);
    wl_json_write_pretty(&text, document);
    puts(buf_text(&text));
    buf_release(&text);
    json_decref(document);
}
