#include "compressor/narrow_record.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "compressor/states.h"
#include "os/draft.h"

// In the byte order of this machine: it is not for others. The arrays follow, then a sum of all.
struct head {
    uint64_t magic;
    uint32_t layer, n_embd, n_head_kv, n_ff;
    uint32_t has; // bits: which of ARRAYS are there
    uint32_t unused;
    double figures[8];
};
static const uint64_t MAGIC = 0x32776f7272616eULL; // "narrow2"

enum width { WIDTH_EMBD, WIDTH_GROUPS, WIDTH_HEADS, WIDTH_FF, WIDTH_ONE };

static const struct array {
    size_t offset; // of the pointer in struct narrow_layer
    enum width rows, columns;
} ARRAYS[] = {
    {offsetof(struct narrow_layer, kept_groups), WIDTH_ONE, WIDTH_GROUPS},
    {offsetof(struct narrow_layer, kept), WIDTH_ONE, WIDTH_FF},
    {offsetof(struct narrow_layer, attn_output), WIDTH_EMBD, WIDTH_HEADS},
    {offsetof(struct narrow_layer, attn_norm), WIDTH_ONE, WIDTH_EMBD},
    {offsetof(struct narrow_layer, attention_moments), WIDTH_ONE, WIDTH_HEADS},
    {offsetof(struct narrow_layer, down), WIDTH_EMBD, WIDTH_FF},
    {offsetof(struct narrow_layer, down_bias), WIDTH_ONE, WIDTH_EMBD},
    {offsetof(struct narrow_layer, norm), WIDTH_ONE, WIDTH_EMBD},
    {offsetof(struct narrow_layer, gate), WIDTH_FF, WIDTH_EMBD},
    {offsetof(struct narrow_layer, up), WIDTH_FF, WIDTH_EMBD},
    {offsetof(struct narrow_layer, second_moments), WIDTH_ONE, WIDTH_FF},
};
static const size_t FIGURES[] = {
    offsetof(struct narrow_layer, error_cut),
    offsetof(struct narrow_layer, error_repaired),
    offsetof(struct narrow_layer, error_bias),
    offsetof(struct narrow_layer, error_healed),
    offsetof(struct narrow_layer, error_image),
    offsetof(struct narrow_layer, attention_error_cut),
    offsetof(struct narrow_layer, attention_error_repaired),
    offsetof(struct narrow_layer, seconds),
};

enum { N_ARRAYS = sizeof ARRAYS / sizeof ARRAYS[0], N_FIGURES = sizeof FIGURES / sizeof *FIGURES };
_Static_assert(N_FIGURES == sizeof(((struct head *)0)->figures) / sizeof(double), "a figure each");

static size_t width_of(enum width width, const struct block_shape *was,
                       const struct plan_layer *plan) {
    switch (width) {
    case WIDTH_EMBD: return was->n_embd;
    case WIDTH_GROUPS: return plan->n_head_kv;
    case WIDTH_HEADS:
        return (size_t)plan->n_head_kv * (was->n_head / was->n_head_kv) * was->head_dim;
    case WIDTH_FF: return plan->n_ff;
    case WIDTH_ONE: return 1;
    }
    return 0;
}

// All elements have four bytes.
static size_t bytes_of(const struct array *array, const struct block_shape *was,
                       const struct plan_layer *plan) {
    return 4 * width_of(array->rows, was, plan) * width_of(array->columns, was, plan);
}

// ---- writing ----

struct writer {
    int fd;
    uint64_t sum;
    int error; // errno of the write that failed
};

static void put(struct writer *w, const void *data, size_t n) {
    const char *from = data;
    w->sum = states_sum(w->sum, data, n);
    while (n > 0 && w->error == 0) {
        ssize_t step = write(w->fd, from, n);
        if (step > 0) {
            from += step;
            n -= (size_t)step;
        } else if (step == 0 || errno != EINTR) {
            w->error = step == 0 ? EIO : errno;
        }
    }
}

static void put_all(struct writer *w, const struct block_shape *was,
                    const struct narrow_layer *layer) {
    const struct plan_layer plan = {.n_head_kv = layer->n_head_kv, .n_ff = layer->n_ff};
    struct head head = {.magic = MAGIC,
                        .layer = layer->layer,
                        .n_embd = was->n_embd,
                        .n_head_kv = layer->n_head_kv,
                        .n_ff = layer->n_ff};
    const void *arrays[N_ARRAYS];
    for (size_t i = 0; i < N_ARRAYS; i++) {
        memcpy(&arrays[i], (const char *)layer + ARRAYS[i].offset, sizeof arrays[i]);
        head.has |= arrays[i] ? 1U << i : 0;
    }
    for (size_t i = 0; i < N_FIGURES; i++) {
        memcpy(&head.figures[i], (const char *)layer + FIGURES[i], sizeof head.figures[i]);
    }
    put(w, &head, sizeof head);
    for (size_t i = 0; i < N_ARRAYS; i++) {
        if (arrays[i]) {
            put(w, arrays[i], bytes_of(&ARRAYS[i], was, &plan));
        }
    }
    uint64_t sum = w->sum;
    put(w, &sum, sizeof sum);
}

enum wl_status narrow_record_write(const struct compress_source *source, const char *path,
                                   const struct narrow_layer *layer, struct wl_err *err) {
    struct block_shape was;
    struct os_draft draft;
    enum wl_status status = compress_source_shape(source, layer->layer, &was, err);
    if (status == WL_OK) {
        status = os_draft_open(&draft, path, err);
    }
    if (status != WL_OK) {
        return status;
    }
    struct writer w = {.fd = draft.fd};
    put_all(&w, &was, layer);
    if (w.error != 0) {
        os_draft_discard(&draft);
        return wl_err_errno(err, w.error, "cannot write '%s'", path);
    }
    return os_draft_publish(&draft, err);
}

// ---- reading ----

static bool map_file(struct narrow_record *record, const char *path) {
    struct stat info;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    bool is_file = fd >= 0 && fstat(fd, &info) == 0 && S_ISREG(info.st_mode) &&
                   (uint64_t)info.st_size >= sizeof(struct head) + sizeof(uint64_t) &&
                   info.st_size % 4 == 0;
    if (is_file) {
        record->n_bytes = (size_t)info.st_size;
        record->map = mmap(NULL, record->n_bytes, PROT_READ, MAP_PRIVATE, fd, 0);
        record->map = record->map == MAP_FAILED ? NULL : record->map;
    }
    if (fd >= 0) {
        close(fd);
    }
    return record->map != NULL;
}

static bool is_whole(const struct narrow_record *record) {
    uint64_t found;
    size_t n = record->n_bytes - sizeof found;
    memcpy(&found, (const char *)record->map + n, sizeof found);
    return states_sum(0, record->map, n) == found;
}

// Where a matrix is there its list of what stays must be, too, ascending and within the block.
static bool is_list_right(const uint32_t *kept, size_t n, uint32_t n_before) {
    for (size_t i = 0; kept && i < n; i++) {
        if (kept[i] >= n_before || (i > 0 && kept[i] <= kept[i - 1])) {
            return false;
        }
    }
    return kept || n == n_before || n == 0;
}

static bool take_layer(struct narrow_record *record, const struct block_shape *was, uint32_t layer,
                       const struct plan_layer *plan) {
    struct head head;
    memcpy(&head, record->map, sizeof head);
    if (head.magic != MAGIC || head.layer != layer || head.n_embd != was->n_embd ||
        head.n_head_kv != plan->n_head_kv || head.n_ff != plan->n_ff) {
        return false;
    }
    record->layer =
        (struct narrow_layer){.layer = layer, .n_head_kv = head.n_head_kv, .n_ff = head.n_ff};
    size_t at = sizeof head, end = record->n_bytes - sizeof(uint64_t);
    for (size_t i = 0; i < N_ARRAYS; i++) {
        size_t n = bytes_of(&ARRAYS[i], was, plan);
        if ((head.has >> i & 1) == 0) {
            continue;
        }
        if (n > end - at) {
            return false;
        }
        const void *array = (const char *)record->map + at;
        memcpy((char *)&record->layer + ARRAYS[i].offset, &array, sizeof array);
        at += n;
    }
    for (size_t i = 0; i < N_FIGURES; i++) {
        memcpy((char *)&record->layer + FIGURES[i], &head.figures[i], sizeof head.figures[i]);
    }
    return at == end && is_list_right(record->layer.kept, plan->n_ff, was->n_ff) &&
           is_list_right(record->layer.kept_groups, plan->n_head_kv, was->n_head_kv);
}

bool narrow_record_open(struct narrow_record *record, const struct compress_source *source,
                        const char *path, uint32_t layer, const struct plan_layer *plan) {
    struct block_shape was;
    *record = (struct narrow_record){0};
    if (compress_source_shape(source, layer, &was, NULL) != WL_OK || !map_file(record, path)) {
        return false;
    }
    bool is_right = is_whole(record) && take_layer(record, &was, layer, plan);
    if (!is_right) {
        narrow_record_close(record);
    }
    return is_right;
}

void narrow_record_close(struct narrow_record *record) {
    if (record->map) {
        munmap(record->map, record->n_bytes);
    }
    *record = (struct narrow_record){0};
}
