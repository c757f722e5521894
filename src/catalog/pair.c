#include "catalog/pair.h"

#include <string.h>
#include <strings.h>

enum { LIKENESS_MIN = 4 }; // common first characters that make two names alike

static size_t folder_length(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? (size_t)(slash - path) : 0;
}

static bool is_together(const struct found_file *a, const struct found_file *b) {
    if (strcmp(a->source, b->source) != 0 || strcmp(a->group, b->group) != 0) {
        return false;
    }
    size_t a_len = folder_length(a->path), b_len = folder_length(b->path);
    bool is_same_folder = a_len == b_len && memcmp(a->path, b->path, a_len) == 0;
    // Snapshots of one repository are separate folders.
    return is_same_folder || strcmp(a->source, "huggingface") == 0;
}

// "mmproj-gemma-3-f16" -> "gemma-3-f16": what is left may name the model.
static const char *without_mmproj(const char *stem) {
    if (strncasecmp(stem, "mmproj", 6) == 0) {
        stem += 6;
        stem += strspn(stem, "-_.");
    }
    return stem;
}

static size_t likeness(const char *model, const char *encoder) {
    encoder = without_mmproj(encoder);
    size_t n = 0;
    while (model[n] && strncasecmp(model + n, encoder + n, 1) == 0) {
        n++;
    }
    return n;
}

// Which of equal encoders to take: f16 is what their publishers tested, q8_0 is half of it.
static int type_rank(const struct catalog_entry *entry, const char *stem) {
    static const char *const ORDER[] = {"f16", "q8_0", "bf16", "f32"};
    const char *type = entry->facts.file_type;
    if (!type[0]) {
        const char *dash = strrchr(stem, '-');
        type = dash ? dash + 1 : "";
    }
    int rank = 0;
    while (rank < 4 && strcasecmp(type, ORDER[rank]) != 0) {
        rank++;
    }
    return rank;
}

static bool can_pair(const struct catalog_entry *model, const struct catalog_entry *encoder) {
    uint32_t width = model->facts.n_embd, projected = encoder->facts.projection_dim;
    return !width || !projected || width == projected;
}

static size_t models_together(const struct found_file *files, const struct catalog_entry *entries,
                              size_t n, size_t model) {
    size_t count = 0;
    for (size_t i = 0; i < n; i++) {
        count += !entries[i].is_mmproj && is_together(&files[i], &files[model]);
    }
    return count;
}

int pair_find(const struct found_file *files, const struct catalog_entry *entries, size_t n,
              size_t model) {
    int best = -1;
    size_t best_likeness = 0;
    int best_rank = 0;
    for (size_t i = 0; i < n; i++) {
        if (!entries[i].is_mmproj || !is_together(&files[i], &files[model]) ||
            !can_pair(&entries[model], &entries[i])) {
            continue;
        }
        size_t alike = likeness(files[model].stem, files[i].stem);
        // In a folder of all sorts only the name tells; a repository's folder is about one model.
        if (files[i].is_flat && alike < LIKENESS_MIN &&
            models_together(files, entries, n, model) > 1) {
            continue;
        }
        int rank = type_rank(&entries[i], files[i].stem);
        if (best < 0 || alike > best_likeness || (alike == best_likeness && rank < best_rank)) {
            best = (int)i;
            best_likeness = alike;
            best_rank = rank;
        }
    }
    return best;
}
