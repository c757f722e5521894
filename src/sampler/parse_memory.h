// Memory as /proc tells it. PURE parsers over bounded text.
#ifndef WATTLAW_SAMPLER_PARSE_MEMORY_H
#define WATTLAW_SAMPLER_PARSE_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct memory_rollup {
    int64_t rss_bytes;
    int64_t pss_bytes;
    int64_t pss_anon_bytes; // 0 before Linux 5.4, which does not split Pss
    int64_t pss_file_bytes;
    int64_t pss_shmem_bytes;
    int64_t swap_bytes;
    int64_t swap_pss_bytes;
};

// /proc/<pid>/smaps_rollup; false unless Rss and Pss are there.
bool parse_smaps_rollup(const char *text, size_t len, struct memory_rollup *out);

struct memory_statm {
    uint64_t size_pages; // 0 for a zombie
    uint64_t rss_pages;
    uint64_t shared_pages;
};

// /proc/<pid>/statm.
bool parse_statm(const char *text, size_t len, struct memory_statm *out);

struct memory_info {
    uint64_t total_bytes;
    uint64_t available_bytes; // MemFree + Cached on kernels without MemAvailable
    uint64_t swap_total_bytes;
    uint64_t swap_free_bytes;
};

// /proc/meminfo; false without MemTotal.
bool parse_meminfo(const char *text, size_t len, struct memory_info *out);

#endif
