// Zone names and their classification: lines "<folder> <name> <0 or 1: readable>". Whatever the
// tree looks like, nothing is counted twice and nothing nested is counted at all.
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "meter/powercap_zones.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool is_true) {
    if (!is_true) {
        abort();
    }
}

// Cuts `line` at its spaces.
static void add_zone(char *line, struct powercap_zones *zones) {
    char *name = strchr(line, ' ');
    if (!name || zones->n == POWERCAP_MAX_ZONES) {
        return;
    }
    *name++ = '\0';
    char *flag = strchr(name, ' ');
    if (flag) {
        *flag++ = '\0';
    }
    struct powercap_zone zone;
    if (!powercap_parse_dir(line, &zone)) {
        return;
    }
    require(zone.depth >= 1 && zone.depth <= POWERCAP_MAX_DEPTH);
    size_t len = strnlen(name, sizeof zone.name - 1);
    memcpy(zone.name, name, len);
    zone.name[len] = '\0';
    zone.domain = powercap_domain_of(zone.name);
    zone.access_error = flag && *flag == '0' ? 13 : 0;
    // A zone below another belongs to the last one of smaller depth, as in a real tree.
    for (size_t i = 0; i < zones->n; i++) {
        if (zones->zone[i].depth + 1 == zone.depth) {
            zone.parent = (int)i;
        }
    }
    zones->zone[zones->n++] = zone;
}

static void check(const struct powercap_zones *zones) {
    for (size_t i = 0; i < zones->n; i++) {
        const struct powercap_zone *a = &zones->zone[i];
        if (a->use != POWERCAP_COUNTED) {
            continue;
        }
        require(a->domain == POWERCAP_PACKAGE || a->domain == POWERCAP_DRAM);
        for (size_t k = i + 1; k < zones->n; k++) {
            const struct powercap_zone *b = &zones->zone[k];
            const char *a_in = a->parent >= 0 ? zones->zone[a->parent].name : "";
            const char *b_in = b->parent >= 0 ? zones->zone[b->parent].name : "";
            require(b->use != POWERCAP_COUNTED || strcmp(a->name, b->name) != 0 ||
                    strcmp(a_in, b_in) != 0);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char *text = malloc(size + 1);
    struct powercap_zones *zones = calloc(1, sizeof *zones);
    if (text && zones) {
        if (size) {
            memcpy(text, data, size);
        }
        text[size] = '\0';
        for (char *line = text; line && *line;) {
            char *newline = strchr(line, '\n');
            if (newline) {
                *newline = '\0';
            }
            add_zone(line, zones);
            line = newline ? newline + 1 : NULL;
        }
        powercap_zones_classify(zones);
        check(zones);
    }
    free(text);
    free(zones);
    return 0;
}
