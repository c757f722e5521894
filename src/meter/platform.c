#include "meter/platform.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/str.h"

enum {
    MAX_CPUINFO_BYTES = 2 << 20, // 1024 logical CPUs with long flag lines
    MAX_PHYSICAL = 4096,
    MAX_SUPPLIES = 64,
};

bool platform_is_machine_root(const char *root) {
    return !root || root[0] == '\0' || strcmp(root, "/") == 0;
}

enum wl_status platform_path(char out[OS_PATH_BYTES], const char *root, const char *path,
                             struct wl_err *err) {
    return os_path_join(out, platform_is_machine_root(root) ? "/" : root, path, err);
}

bool platform_line(const char *root, const char *path, char *out, size_t size) {
    char full[OS_PATH_BYTES];
    out[0] = '\0';
    if (platform_path(full, root, path, NULL) != WL_OK ||
        os_slurp_line(full, out, size, NULL) != WL_OK) {
        out[0] = '\0';
        return false;
    }
    out[strcspn(out, "\n")] = '\0';
    for (unsigned char *p = (unsigned char *)out; *p; p++) {
        if (*p < 0x20 || *p == 0x7f) {
            *p = '?';
        }
    }
    char *trimmed = str_trim(out);
    memmove(out, trimmed, strlen(trimmed) + 1);
    return true;
}

// One "key<tabs>: value" line, both parts trimmed and bounded.
struct pair {
    char key[32];
    char value[PLATFORM_TEXT_BYTES];
    const char *raw_value; // whole, for the long list of flags
    size_t raw_len;
};

static bool split_line(const char *line, size_t len, struct pair *out) {
    const char *colon = memchr(line, ':', len);
    if (!colon) {
        return false;
    }
    size_t key_len = (size_t)(colon - line);
    while (key_len && (line[key_len - 1] == '\t' || line[key_len - 1] == ' ')) {
        key_len--;
    }
    const char *value = colon + 1;
    size_t value_len = len - (size_t)(value - line);
    while (value_len && *value == ' ') {
        value++;
        value_len--;
    }
    if (key_len >= sizeof out->key) {
        return false;
    }
    memcpy(out->key, line, key_len);
    out->key[key_len] = '\0';
    out->raw_value = value;
    out->raw_len = value_len;
    size_t kept = value_len < sizeof out->value ? value_len : sizeof out->value - 1;
    memcpy(out->value, value, kept);
    out->value[kept] = '\0';
    for (unsigned char *p = (unsigned char *)out->value; *p; p++) {
        if (*p < 0x20 || *p == 0x7f) {
            *p = '?';
        }
    }
    return true;
}

static bool has_word(const char *text, size_t len, const char *word) {
    size_t word_len = strlen(word);
    for (size_t i = 0; i + word_len <= len; i++) {
        bool begins = i == 0 || text[i - 1] == ' ';
        bool ends = i + word_len == len || text[i + word_len] == ' ';
        if (begins && ends && memcmp(text + i, word, word_len) == 0) {
            return true;
        }
    }
    return false;
}

// What is gathered over the lines of all logical CPUs.
struct cpuinfo_sums {
    unsigned package;
    uint32_t *physical; // package << 16 | core, each once
    size_t n_physical;
    double mhz_sum;
    unsigned n_mhz;
};

static void note_core(struct cpuinfo_sums *sums, unsigned core) {
    uint32_t key = (uint32_t)sums->package << 16 | (core & 0xffffu);
    for (size_t i = sums->n_physical; i > 0; i--) {
        if (sums->physical[i - 1] == key) {
            return;
        }
    }
    if (sums->n_physical < MAX_PHYSICAL) {
        sums->physical[sums->n_physical++] = key;
    }
}

static void note_pair(const struct pair *pair, struct platform *out, struct cpuinfo_sums *sums) {
    uint64_t number;
    double mhz;
    if (strcmp(pair->key, "processor") == 0) {
        out->n_logical++;
    } else if (strcmp(pair->key, "vendor_id") == 0) {
        out->arch = PLATFORM_ARCH_X86;
        out->is_amd = str_starts_with(pair->value, "AuthenticAMD") ||
                      str_starts_with(pair->value, "HygonGenuine");
    } else if (strcmp(pair->key, "CPU implementer") == 0) {
        out->arch = PLATFORM_ARCH_ARM;
    } else if (strcmp(pair->key, "model name") == 0 && !out->cpu_model[0]) {
        str_copy(out->cpu_model, sizeof out->cpu_model, pair->value);
    } else if (strcmp(pair->key, "physical id") == 0 && str_parse_u64(pair->value, &number)) {
        sums->package = (unsigned)(number & 0xffffu);
    } else if (strcmp(pair->key, "core id") == 0 && str_parse_u64(pair->value, &number)) {
        note_core(sums, (unsigned)number);
    } else if (strcmp(pair->key, "cpu MHz") == 0 && str_parse_double(pair->value, &mhz) &&
               mhz > 0) {
        sums->mhz_sum += mhz;
        sums->n_mhz++;
    } else if (strcmp(pair->key, "flags") == 0) {
        out->has_hypervisor |= has_word(pair->raw_value, pair->raw_len, "hypervisor");
    } else if (strcmp(pair->key, "Model") == 0 && !out->board[0]) {
        str_copy(out->board, sizeof out->board, pair->value); // Raspberry Pi kernels
    }
}

void platform_parse_cpuinfo(const char *text, size_t len, struct platform *out) {
    struct cpuinfo_sums sums = {.physical = calloc(MAX_PHYSICAL, sizeof *sums.physical)};
    if (!sums.physical) {
        return;
    }
    const char *end = text + len;
    for (const char *line = text; line < end;) {
        size_t left = (size_t)(end - line);
        const char *newline = memchr(line, '\n', left);
        size_t line_len = newline ? (size_t)(newline - line) : left;
        struct pair pair;
        if (split_line(line, line_len, &pair)) {
            note_pair(&pair, out, &sums);
        }
        line += line_len + 1;
    }
    out->n_physical = sums.n_physical ? (unsigned)sums.n_physical : out->n_logical;
    out->mean_mhz = sums.n_mhz ? sums.mhz_sum / sums.n_mhz : 0;
    free(sums.physical);
}

struct supply_visit {
    const char *root;
    struct platform *out;
};

static bool visit_supply(void *context, const char *name) {
    struct supply_visit *visit = context;
    char path[OS_PATH_BYTES], type[32], scope[32], state[32];
    int n = snprintf(path, sizeof path, "/sys/class/power_supply/%.200s/type", name);
    if (n < 0 || !platform_line(visit->root, path, type, sizeof type)) {
        return true;
    }
    snprintf(path, sizeof path, "/sys/class/power_supply/%.200s/scope", name);
    if (platform_line(visit->root, path, scope, sizeof scope) && strcmp(scope, "Device") == 0) {
        return true; // a mouse's or a headset's battery
    }
    if (strcmp(type, "Battery") == 0) {
        visit->out->has_battery = true;
        snprintf(path, sizeof path, "/sys/class/power_supply/%.200s/status", name);
        visit->out->is_on_battery |= platform_line(visit->root, path, state, sizeof state) &&
                                     strcmp(state, "Discharging") == 0;
    } else if (strcmp(type, "Mains") == 0 || strcmp(type, "USB") == 0) {
        snprintf(path, sizeof path, "/sys/class/power_supply/%.200s/online", name);
        visit->out->has_mains |=
            platform_line(visit->root, path, state, sizeof state) && strcmp(state, "1") == 0;
    }
    return true;
}

static void read_supplies(const char *root, struct platform *out) {
    char path[OS_PATH_BYTES];
    struct supply_visit visit = {root, out};
    if (platform_path(path, root, "/sys/class/power_supply", NULL) == WL_OK) {
        os_list_dir(path, MAX_SUPPLIES, visit_supply, &visit, NULL);
    }
}

void platform_read(const char *root, struct platform *out) {
    *out = (struct platform){0};
    char path[OS_PATH_BYTES];
    struct buf text;
    buf_init(&text, MAX_CPUINFO_BYTES);
    if (platform_path(path, root, "/proc/cpuinfo", NULL) == WL_OK) {
        os_slurp(path, &text, NULL); // what fits is enough
        platform_parse_cpuinfo(buf_text(&text), text.len, out);
    }
    buf_release(&text);
    char line[PLATFORM_TEXT_BYTES];
    if (platform_line(root, "/proc/device-tree/model", line, sizeof line) && line[0]) {
        str_copy(out->board, sizeof out->board, line);
    }
    platform_line(root, "/sys/class/dmi/id/sys_vendor", out->vendor, sizeof out->vendor);
    platform_line(root, "/sys/class/dmi/id/product_name", out->product, sizeof out->product);
    uint64_t chassis;
    if (platform_line(root, "/sys/class/dmi/id/chassis_type", line, sizeof line) &&
        str_parse_u64(line, &chassis) && chassis < 256) {
        out->chassis_type = (int)chassis;
    }
    read_supplies(root, out);
}

bool platform_is_virtual(const struct platform *platform) {
    static const char *const VENDORS[] = {
        "QEMU",   "KVM",          "Xen",         "VMware",    "innotek",
        "Google", "Amazon",       "Parallels",   "OpenStack", "Nutanix",
        "BHYVE",  "DigitalOcean", "Red Hat KVM", "Hetzner",   "Microsoft Corporation Virtual"};
    if (platform->has_hypervisor || str_starts_with(platform->board, "linux,dummy-virt")) {
        return true;
    }
    char full[2 * PLATFORM_TEXT_BYTES + 2];
    snprintf(full, sizeof full, "%s %s", platform->vendor, platform->product);
    for (size_t i = 0; i < sizeof VENDORS / sizeof VENDORS[0]; i++) {
        if (str_starts_with(full, VENDORS[i])) {
            return !strstr(full, ".metal"); // bare-metal cloud instances carry the same vendor
        }
    }
    return false;
}
