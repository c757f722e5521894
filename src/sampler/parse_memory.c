#include "sampler/parse_memory.h"

#include <string.h>

static const uint64_t KIB = 1024;

// Digits after any spaces; false when there are none or the number is too large to be meant.
static bool read_number(const char **text, const char *end, uint64_t *out) {
    const char *p = *text;
    while (p < end && (*p == ' ' || *p == '\t')) {
        p++;
    }
    if (p == end || *p < '0' || *p > '9') {
        return false;
    }
    uint64_t value = 0;
    for (; p < end && *p >= '0' && *p <= '9'; p++) {
        if (value > (UINT64_C(1) << 50)) { // times 1024 still fits
            return false;
        }
        value = value * 10 + (uint64_t)(*p - '0');
    }
    *text = p;
    *out = value;
    return true;
}

// One "Key:   123 kB" line that is looked for.
struct wanted {
    const char *key; // with the colon
    uint64_t *bytes;
    bool is_found;
};

static void match_line(const char *line, const char *end, struct wanted *wanted, size_t n) {
    for (size_t i = 0; i < n; i++) {
        size_t key_len = strlen(wanted[i].key);
        if ((size_t)(end - line) <= key_len || memcmp(line, wanted[i].key, key_len) != 0) {
            continue;
        }
        const char *p = line + key_len;
        uint64_t kib;
        if (!wanted[i].is_found && read_number(&p, end, &kib)) {
            *wanted[i].bytes = kib * KIB;
            wanted[i].is_found = true;
        }
        return;
    }
}

static void match_lines(const char *text, size_t len, struct wanted *wanted, size_t n) {
    const char *end = text + len;
    for (const char *line = text; line < end;) {
        const char *newline = memchr(line, '\n', (size_t)(end - line));
        const char *line_end = newline ? newline : end;
        match_line(line, line_end, wanted, n);
        line = line_end + 1;
    }
}

bool parse_smaps_rollup(const char *text, size_t len, struct memory_rollup *out) {
    uint64_t rss = 0, pss = 0, anon = 0, file = 0, shmem = 0, swap = 0, swap_pss = 0;
    struct wanted wanted[] = {{"Rss:", &rss, false},         {"Pss:", &pss, false},
                              {"Pss_Anon:", &anon, false},   {"Pss_File:", &file, false},
                              {"Pss_Shmem:", &shmem, false}, {"Swap:", &swap, false},
                              {"SwapPss:", &swap_pss, false}};
    match_lines(text, len, wanted, sizeof wanted / sizeof wanted[0]);
    if (!wanted[0].is_found || !wanted[1].is_found) {
        return false;
    }
    *out = (struct memory_rollup){.rss_bytes = (int64_t)rss,
                                  .pss_bytes = (int64_t)pss,
                                  .pss_anon_bytes = (int64_t)anon,
                                  .pss_file_bytes = (int64_t)file,
                                  .pss_shmem_bytes = (int64_t)shmem,
                                  .swap_bytes = (int64_t)swap,
                                  .swap_pss_bytes = (int64_t)swap_pss};
    return true;
}

bool parse_statm(const char *text, size_t len, struct memory_statm *out) {
    const char *p = text, *end = text + len;
    uint64_t size, rss, shared;
    if (!read_number(&p, end, &size) || !read_number(&p, end, &rss) ||
        !read_number(&p, end, &shared)) {
        return false;
    }
    *out = (struct memory_statm){size, rss, shared};
    return true;
}

bool parse_meminfo(const char *text, size_t len, struct memory_info *out) {
    uint64_t total = 0, available = 0, free_ = 0, cached = 0, swap_total = 0, swap_free = 0;
    struct wanted wanted[] = {
        {"MemTotal:", &total, false},       {"MemAvailable:", &available, false},
        {"MemFree:", &free_, false},        {"Cached:", &cached, false},
        {"SwapTotal:", &swap_total, false}, {"SwapFree:", &swap_free, false}};
    match_lines(text, len, wanted, sizeof wanted / sizeof wanted[0]);
    *out = (struct memory_info){.total_bytes = total,
                                .available_bytes = wanted[1].is_found ? available : free_ + cached,
                                .swap_total_bytes = swap_total,
                                .swap_free_bytes = swap_free};
    return wanted[0].is_found;
}
