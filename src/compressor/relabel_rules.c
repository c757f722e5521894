#include "compressor/relabel_rules.h"

#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "compressor/relabel.h"

const struct relabel_rule RELABEL_RULES[] = {
#define X(name, part, columns, rows, deci, openelm)                                                \
    {name, RELABEL_##part, RELABEL_##columns, RELABEL_##rows, {RELABEL_##deci, RELABEL_##openelm}},
#include "compressor/relabel.def"
#undef X
};
const size_t RELABEL_N_RULES = sizeof RELABEL_RULES / sizeof *RELABEL_RULES;

const char *relabel_tensor_name(const struct relabel_rule *rule, size_t layer,
                                char out[RELABEL_NAME_BYTES]) {
    if (rule->part == RELABEL_TABLE) {
        snprintf(out, RELABEL_NAME_BYTES, "%s", rule->name);
    } else {
        snprintf(out, RELABEL_NAME_BYTES, "blk.%zu.%s", layer, rule->name);
    }
    return out;
}

const struct relabel_rule *relabel_rule_of(const char *name, size_t *layer) {
    const char *rest = name;
    size_t n = 0;
    bool is_in_layer = str_starts_with(name, "blk.");
    if (is_in_layer) {
        size_t n_digits = strspn(name + 4, "0123456789");
        for (size_t i = 0; i < n_digits && n <= RELABEL_MAX_LAYERS; i++) {
            n = 10 * n + (size_t)(name[4 + i] - '0');
        }
        rest = name + 4 + n_digits;
        rest += *rest == '.';
    }
    for (size_t i = 0; i < RELABEL_N_RULES; i++) {
        const struct relabel_rule *rule = &RELABEL_RULES[i];
        char expected[RELABEL_NAME_BYTES];
        *layer = n;
        if ((rule->part != RELABEL_TABLE) == is_in_layer && strcmp(rule->name, rest) == 0 &&
            strcmp(relabel_tensor_name(rule, n, expected), name) == 0) {
            return rule;
        }
    }
    return NULL;
}
