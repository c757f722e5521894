#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "compressor/distill_parts.h"
#include "os/draft.h"

// A file is a header, of every tensor its weights, means, squares and best weights, and the mark of
// all of that.
static const char MAGIC[8] = "wldist1";
enum { PART_BYTES = 1 << 16 }; // that are marked together

struct header {
    char magic[8];
    uint64_t mark, n_tensors, n_figures;
    struct distill_progress progress;
};

// FNV-1a's steps, on eight bytes at once.
uint64_t distill_mark(uint64_t mark, const void *data, size_t n) {
    const unsigned char *bytes = data;
    uint64_t word;
    for (; n >= sizeof word; n -= sizeof word, bytes += sizeof word) {
        memcpy(&word, bytes, sizeof word);
        mark = (mark ^ word) * 0x100000001b3U;
        mark ^= mark >> 29;
    }
    for (; n > 0; n--) {
        mark = (mark ^ *bytes++) * 0x100000001b3U;
    }
    return mark ^ mark >> 32;
}

// The tables, and of every tensor how it begins.
uint64_t distill_mark_file(uint64_t mark, const struct gguf_file *file) {
    const unsigned char *map = file->map;
    mark = distill_mark(mark, &file->file_bytes, sizeof file->file_bytes);
    mark = distill_mark(mark, map, (size_t)file->data_offset);
    for (uint64_t i = 0; i < file->n_tensors; i++) {
        const struct gguf_tensor *tensor = &file->tensors[i];
        size_t n = tensor->n_bytes < 4096 ? (size_t)tensor->n_bytes : 4096;
        mark = distill_mark(mark, map + file->data_offset + tensor->offset, n);
    }
    return mark;
}

static struct header header_of(uint64_t mark, const struct distill_model *model) {
    struct header header = {.mark = mark, .n_tensors = model->n_tensors};
    memcpy(header.magic, MAGIC, sizeof MAGIC);
    for (size_t i = 0; i < model->n_tensors; i++) {
        header.n_figures += model->tensors[i].n;
    }
    return header;
}

// ---- writing ----

struct writer {
    FILE *file;
    uint64_t mark;
    bool is_ok;
};

static void put(struct writer *w, const void *data, size_t n) {
    const char *from = data;
    for (size_t part; n > 0; n -= part, from += part) {
        part = n < PART_BYTES ? n : PART_BYTES;
        w->mark = distill_mark(w->mark, from, part);
        w->is_ok = w->is_ok && fwrite(from, 1, part, w->file) == part;
    }
}

static bool write_all(FILE *file, uint64_t mark, const struct distill_model *model,
                      const struct distill_progress *progress) {
    struct writer w = {.file = file, .is_ok = true};
    struct header header = header_of(mark, model);
    header.progress = *progress;
    put(&w, &header, sizeof header);
    for (size_t i = 0; i < model->n_tensors; i++) {
        const struct heal_tensor *t = &model->tensors[i];
        put(&w, t->w, t->n * sizeof *t->w);
        put(&w, t->mean, t->n * sizeof *t->mean);
        put(&w, t->square, t->n * sizeof *t->square);
        put(&w, t->best, t->n * sizeof *t->best);
    }
    uint64_t of_all = w.mark;
    put(&w, &of_all, sizeof of_all);
    return w.is_ok;
}

enum wl_status distill_keep(const char *path, uint64_t mark, const struct distill_model *model,
                            const struct distill_progress *progress, struct wl_err *err) {
    struct os_draft draft;
    enum wl_status status = os_draft_open(&draft, path, err);
    if (status != WL_OK) {
        return status;
    }
    int fd = dup(draft.fd);
    FILE *file = fd >= 0 ? fdopen(fd, "wb") : NULL;
    bool is_ok = file && write_all(file, mark, model, progress);
    is_ok = file && fclose(file) == 0 && is_ok;
    if (is_ok) {
        return os_draft_publish(&draft, err);
    }
    os_draft_discard(&draft);
    return wl_err_set(err, WL_IO, "cannot write '%s'", path);
}

// ---- reading ----

static bool get(FILE *file, uint64_t *mark, void *data, size_t n) {
    if (fread(data, 1, n, file) != n) {
        return false;
    }
    *mark = distill_mark(*mark, data, n);
    return true;
}

static bool is_sound(const struct distill_progress *p) {
    return isfinite(p->kl_before) && isfinite(p->kl_best) && p->seconds >= 0 &&
           isfinite(p->seconds);
}

static bool is_of(const struct header *header, const struct header *expected) {
    return memcmp(header->magic, expected->magic, sizeof header->magic) == 0 &&
           header->mark == expected->mark && header->n_tensors == expected->n_tensors &&
           header->n_figures == expected->n_figures;
}

// Everything is read twice: nothing is changed by a file that is damaged.
static bool check_file(FILE *file, uint64_t mark, const struct distill_model *model,
                       struct distill_progress *progress) {
    struct header header = {0}, expected = header_of(mark, model);
    uint64_t of_all = 0, found;
    char *room = malloc(PART_BYTES);
    bool is_ok = room && get(file, &of_all, &header, sizeof header);
    *progress = header.progress;
    is_ok = is_ok && is_of(&header, &expected) && is_sound(progress);
    for (size_t i = 0; i < 4 * model->n_tensors && is_ok; i++) {
        size_t left = model->tensors[i / 4].n * sizeof(float);
        for (size_t n; left > 0 && is_ok; left -= n) {
            n = left < PART_BYTES ? left : PART_BYTES;
            is_ok = get(file, &of_all, room, n);
        }
    }
    free(room);
    return is_ok && fread(&found, sizeof found, 1, file) == 1 && found == of_all &&
           fgetc(file) == EOF;
}

static bool read_tensors(FILE *file, struct distill_model *model) {
    bool is_ok = fseek(file, (long)sizeof(struct header), SEEK_SET) == 0;
    for (size_t i = 0; i < model->n_tensors && is_ok; i++) {
        struct heal_tensor *t = &model->tensors[i];
        is_ok = fread(t->w, sizeof *t->w, t->n, file) == t->n &&
                fread(t->mean, sizeof *t->mean, t->n, file) == t->n &&
                fread(t->square, sizeof *t->square, t->n, file) == t->n &&
                fread(t->best, sizeof *t->best, t->n, file) == t->n;
    }
    return is_ok;
}

bool distill_take_up(const char *path, uint64_t mark, struct distill_model *model,
                     struct distill_progress *progress) {
    struct distill_progress found;
    FILE *file = fopen(path, "rbe");
    if (!file) {
        return false;
    }
    bool is_ok = check_file(file, mark, model, &found) && read_tensors(file, model);
    fclose(file);
    if (is_ok) {
        *progress = found;
    }
    return is_ok;
}
