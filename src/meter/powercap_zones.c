#include "meter/powercap_zones.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"
#include "meter/platform.h"

static const char CLASS_DIR[] = "/sys/class/powercap";

enum wl_status powercap_path(char out[OS_PATH_BYTES], const char *root, const char *dir,
                             const char *file, struct wl_err *err) {
    char inner[512];
    int n = snprintf(inner, sizeof inner, "%s/%s/%s", CLASS_DIR, dir, file);
    if (n < 0 || (size_t)n >= sizeof inner) {
        return wl_err_set(err, WL_LIMIT, "path too long: '%.80s'", dir);
    }
    return platform_path(out, root, inner, err);
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

// ":a:1f" to the end of the name.
static bool parse_ids(const char *text, struct powercap_zone *out) {
    while (*text == ':') {
        unsigned value = 0;
        size_t n_digits = 0;
        for (text++; hex_digit(*text) >= 0; text++) {
            value = value * 16 + (unsigned)hex_digit(*text);
            if (++n_digits > 4) {
                return false;
            }
        }
        if (n_digits == 0 || out->depth == POWERCAP_MAX_DEPTH) {
            return false;
        }
        out->id[out->depth++] = value;
    }
    return *text == '\0' && out->depth > 0;
}

bool powercap_parse_dir(const char *dir, struct powercap_zone *out) {
    static const char PREFIX[] = "intel-rapl";
    *out = (struct powercap_zone){.parent = -1, .is_enabled = true};
    const char *colon = strchr(dir, ':');
    if (!colon || !str_starts_with(dir, PREFIX) || !str_copy(out->dir, sizeof out->dir, dir)) {
        return false;
    }
    size_t suffix_len = (size_t)(colon - dir) - strlen(PREFIX);
    out->is_mmio = suffix_len == 5 && memcmp(dir + strlen(PREFIX), "-mmio", 5) == 0;
    bool is_known_type = suffix_len == 0 || out->is_mmio ||
                         (suffix_len == 5 && memcmp(dir + strlen(PREFIX), "-tpmi", 5) == 0);
    return is_known_type && parse_ids(colon, out);
}

enum powercap_domain powercap_domain_of(const char *name) {
    if (str_starts_with(name, "package-")) {
        return POWERCAP_PACKAGE;
    }
    if (strcmp(name, "core") == 0) {
        return POWERCAP_CORE;
    }
    if (strcmp(name, "uncore") == 0) {
        return POWERCAP_UNCORE;
    }
    if (strcmp(name, "dram") == 0) {
        return POWERCAP_DRAM;
    }
    return str_starts_with(name, "psys") ? POWERCAP_PSYS : POWERCAP_OTHER;
}

static bool zone_line(const char *root, const char *dir, const char *file, char *out, size_t size) {
    char path[512];
    int n = snprintf(path, sizeof path, "%s/%s/%s", CLASS_DIR, dir, file);
    return n > 0 && (size_t)n < sizeof path && platform_line(root, path, out, size);
}

static void read_limits(const char *root, struct powercap_zone *zone) {
    for (unsigned i = 0; i < POWERCAP_MAX_LIMITS; i++) {
        char file[64], line[64];
        uint64_t power_uw, window_us;
        snprintf(file, sizeof file, "constraint_%u_power_limit_uw", i);
        if (!zone_line(root, zone->dir, file, line, sizeof line) ||
            !str_parse_u64(line, &power_uw) || power_uw == 0) {
            continue;
        }
        struct powercap_limit *limit = &zone->limit[zone->n_limits++];
        *limit = (struct powercap_limit){.power_w = (double)power_uw * 1e-6, .window_s = NAN};
        snprintf(file, sizeof file, "constraint_%u_time_window_us", i);
        if (zone_line(root, zone->dir, file, line, sizeof line) &&
            str_parse_u64(line, &window_us)) {
            limit->window_s = (double)window_us * 1e-6;
        }
        snprintf(file, sizeof file, "constraint_%u_name", i);
        if (zone_line(root, zone->dir, file, line, sizeof line)) {
            str_copy(limit->name, sizeof limit->name, line);
        }
    }
}

static int access_error(const char *root, const char *dir) {
    char path[OS_PATH_BYTES];
    if (powercap_path(path, root, dir, "energy_uj", NULL) != WL_OK) {
        return ENAMETOOLONG;
    }
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return errno;
    }
    close(fd);
    return 0;
}

struct zone_visit {
    const char *root;
    struct powercap_zones *out;
};

static bool visit_zone(void *context, const char *dir) {
    struct zone_visit *visit = context;
    struct powercap_zone zone;
    char line[64];
    if (!powercap_parse_dir(dir, &zone) ||
        !zone_line(visit->root, dir, "name", line, sizeof line) || !line[0]) {
        return true;
    }
    str_copy(zone.name, sizeof zone.name, line);
    zone.domain = powercap_domain_of(zone.name);
    if (zone_line(visit->root, dir, "max_energy_range_uj", line, sizeof line)) {
        str_parse_u64(line, &zone.range_uj);
    }
    if (zone_line(visit->root, dir, "enabled", line, sizeof line)) {
        zone.is_enabled = strcmp(line, "0") != 0;
    }
    zone.access_error = access_error(visit->root, dir);
    if (zone.access_error == ENOENT) {
        return true; // a zone that only limits power
    }
    read_limits(visit->root, &zone);
    visit->out->zone[visit->out->n++] = zone;
    return visit->out->n < POWERCAP_MAX_ZONES;
}

// MSR zones before their MMIO twins (the nested zones hang from the MSR ones), then by number.
static int compare_zones(const void *a_, const void *b_) {
    const struct powercap_zone *a = a_, *b = b_;
    if (a->is_mmio != b->is_mmio) {
        return a->is_mmio ? 1 : -1;
    }
    for (unsigned i = 0; i < POWERCAP_MAX_DEPTH; i++) {
        bool a_ends = i >= a->depth, b_ends = i >= b->depth;
        if (a_ends || b_ends) {
            return a_ends && b_ends ? strcmp(a->dir, b->dir) : (a_ends ? -1 : 1);
        }
        if (a->id[i] != b->id[i]) {
            return a->id[i] < b->id[i] ? -1 : 1;
        }
    }
    return strcmp(a->dir, b->dir);
}

static void find_parents(struct powercap_zones *zones) {
    for (size_t i = 0; i < zones->n; i++) {
        struct powercap_zone *zone = &zones->zone[i];
        const char *last = strrchr(zone->dir, ':');
        size_t len = (size_t)(last - zone->dir);
        zone->parent = -1;
        for (size_t k = 0; k < zones->n && zone->depth > 1; k++) {
            if (strlen(zones->zone[k].dir) == len &&
                memcmp(zones->zone[k].dir, zone->dir, len) == 0) {
                zone->parent = (int)k;
            }
        }
    }
}

enum wl_status powercap_zones_read(const char *root, struct powercap_zones *out,
                                   struct wl_err *err) {
    *out = (struct powercap_zones){0};
    char path[OS_PATH_BYTES];
    enum wl_status status = platform_path(path, root, CLASS_DIR, err);
    if (status != WL_OK) {
        return status;
    }
    struct zone_visit visit = {root, out};
    status = os_list_dir(path, 4096, visit_zone, &visit, err);
    if (status == WL_OK) {
        qsort(out->zone, out->n, sizeof out->zone[0], compare_zones);
        find_parents(out);
        powercap_zones_classify(out);
    }
    return status;
}

// What a zone is part of: the package's name for a zone inside one, else "".
static const char *group_of(const struct powercap_zones *zones, const struct powercap_zone *zone) {
    return zone->parent >= 0 ? zones->zone[zone->parent].name : "";
}

static bool is_same_domain(const struct powercap_zones *zones, const struct powercap_zone *a,
                           const struct powercap_zone *b) {
    return strcmp(a->name, b->name) == 0 && strcmp(group_of(zones, a), group_of(zones, b)) == 0;
}

// Of zones that show the same domain one counts. The first in order does (the MSR one, the lowest
// number), unless it cannot be read and a later one can.
static bool is_twin(const struct powercap_zones *zones, size_t index) {
    const struct powercap_zone *zone = &zones->zone[index];
    for (size_t i = 0; i < zones->n; i++) {
        const struct powercap_zone *other = &zones->zone[i];
        if (i == index || !is_same_domain(zones, zone, other)) {
            continue;
        }
        bool other_is_better = !other->access_error && zone->access_error;
        bool is_equal = !other->access_error == !zone->access_error;
        if (other_is_better || (is_equal && i < index)) {
            return true;
        }
    }
    return false;
}

void powercap_zones_classify(struct powercap_zones *zones) {
    for (size_t i = 0; i < zones->n; i++) {
        struct powercap_zone *zone = &zones->zone[i];
        if (zone->domain == POWERCAP_OTHER) {
            zone->use = POWERCAP_UNKNOWN;
        } else if (is_twin(zones, i)) {
            zone->use = POWERCAP_TWIN;
        } else if (zone->domain == POWERCAP_PSYS) {
            zone->use = POWERCAP_PLATFORM;
        } else if (zone->domain == POWERCAP_CORE || zone->domain == POWERCAP_UNCORE) {
            zone->use = POWERCAP_NESTED;
        } else {
            zone->use = POWERCAP_COUNTED;
        }
    }
}
