#include "worker/gguf_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

// A table entry takes at least so many bytes, which bounds the counts that a header may announce.
enum { MIN_KV_BYTES = 13, MIN_TENSOR_BYTES = 32 };
enum { MAX_SHOWN_NAME = 80, MAX_ALIGNMENT = 65536 };

struct cursor {
    const unsigned char *map;
    uint64_t size;
    uint64_t at;
    const char *what; // being read, for messages
    struct wl_err *err;
    bool has_failed;
};

static bool fail(struct cursor *in, const char *format, ...) __attribute__((format(printf, 2, 3)));

static bool fail(struct cursor *in, const char *format, ...) {
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (!in->has_failed) {
        wl_err_set(in->err, WL_INPUT, "%s", text);
    }
    in->has_failed = true;
    return false;
}

// The next `n` bytes, or NULL when the file ends before.
static const unsigned char *take(struct cursor *in, uint64_t n) {
    if (in->has_failed) {
        return NULL;
    }
    if (n > in->size - in->at) {
        fail(in,
             "%s at byte %" PRIu64 " needs %" PRIu64 " more bytes but the file ends at %" PRIu64
             "; it is truncated or damaged, fetch it again",
             in->what, in->at, n, in->size);
        return NULL;
    }
    const unsigned char *data = in->map + in->at;
    in->at += n;
    return data;
}

static uint64_t load_le(const unsigned char *data, size_t n) {
    uint64_t value = 0;
    for (size_t i = n; i-- > 0;) {
        value = value << 8 | data[i];
    }
    return value;
}

static uint32_t take_u32(struct cursor *in) {
    const unsigned char *data = take(in, 4);
    return data ? (uint32_t)load_le(data, 4) : 0;
}

static uint64_t take_u64(struct cursor *in) {
    const unsigned char *data = take(in, 8);
    return data ? load_le(data, 8) : 0;
}

static const char *take_string(struct cursor *in, size_t *len) {
    uint64_t n = take_u64(in);
    const unsigned char *data = take(in, n);
    *len = data ? (size_t)n : 0;
    return (const char *)data;
}

static size_t value_bytes(uint32_t type) {
    static const unsigned char BYTES[GGUF_TYPE_COUNT] = {
        [GGUF_TYPE_UINT8] = 1,   [GGUF_TYPE_INT8] = 1,   [GGUF_TYPE_UINT16] = 2,
        [GGUF_TYPE_INT16] = 2,   [GGUF_TYPE_UINT32] = 4, [GGUF_TYPE_INT32] = 4,
        [GGUF_TYPE_FLOAT32] = 4, [GGUF_TYPE_BOOL] = 1,   [GGUF_TYPE_UINT64] = 8,
        [GGUF_TYPE_INT64] = 8,   [GGUF_TYPE_FLOAT64] = 8};
    return type < GGUF_TYPE_COUNT ? BYTES[type] : 0;
}

static void skip_elements(struct cursor *in, uint32_t type, uint64_t n) {
    if (type == GGUF_TYPE_STRING) {
        size_t len;
        for (uint64_t i = 0; i < n && !in->has_failed; i++) {
            take_string(in, &len);
        }
        return;
    }
    size_t bytes = value_bytes(type);
    if (bytes == 0) {
        fail(in, "%s has value type %" PRIu32 ", expected 0 to %d (and no array in an array)",
             in->what, type, GGUF_TYPE_COUNT - 1);
    } else if (n > in->size / bytes) {
        fail(in, "%s has %" PRIu64 " elements, more than the file has room for", in->what, n);
    } else {
        take(in, n * bytes);
    }
}

static void read_kv(struct cursor *in, struct gguf_kv *kv) {
    kv->key = take_string(in, &kv->key_len);
    uint32_t type = take_u32(in);
    kv->n = 1;
    kv->is_array = type == GGUF_TYPE_ARRAY;
    if (kv->is_array) {
        type = take_u32(in);
        kv->n = take_u64(in);
    }
    char what[MAX_SHOWN_NAME + 16];
    snprintf(what, sizeof what, "key '%.*s'",
             (int)(kv->key_len < MAX_SHOWN_NAME ? kv->key_len : MAX_SHOWN_NAME),
             kv->key ? kv->key : "");
    if (!in->has_failed) {
        in->what = what;
        kv->type = (enum gguf_type)type;
        kv->data = in->map + in->at;
        skip_elements(in, type, kv->n);
    }
    in->what = "the table of keys";
}

static void read_kvs(struct cursor *in, struct gguf_file *file) {
    in->what = "the table of keys";
    if (file->n_kv > (in->size - in->at) / MIN_KV_BYTES) {
        fail(in, "the header announces %" PRIu64 " keys but the file has room for at most %" PRIu64,
             file->n_kv, (in->size - in->at) / MIN_KV_BYTES);
        return;
    }
    file->kvs = calloc(file->n_kv ? file->n_kv : 1, sizeof *file->kvs);
    if (!file->kvs) {
        fail(in, "no memory for %" PRIu64 " keys", file->n_kv);
        return;
    }
    for (uint64_t i = 0; i < file->n_kv && !in->has_failed; i++) {
        read_kv(in, &file->kvs[i]);
    }
}

static void read_shape(struct cursor *in, struct gguf_tensor *t) {
    t->n_dims = take_u32(in);
    if (!in->has_failed && (t->n_dims < 1 || t->n_dims > 4)) {
        fail(in, "tensor '%s' has %" PRIu32 " dimensions, expected 1 to 4", t->name, t->n_dims);
    }
    t->n_elements = 1;
    for (uint32_t i = 0; i < 4; i++) {
        t->ne[i] = i < t->n_dims && !in->has_failed ? take_u64(in) : 1;
        if (in->has_failed) {
            return;
        }
        if (t->ne[i] == 0 || t->ne[i] > (uint64_t)INT64_MAX / t->n_elements) {
            fail(in, "tensor '%s': dimension %" PRIu32 " is %" PRIu64, t->name, i, t->ne[i]);
            return;
        }
        t->n_elements *= t->ne[i];
    }
}

static void read_type(struct cursor *in, struct gguf_tensor *t) {
    uint32_t type = take_u32(in);
    if (in->has_failed) {
        return;
    }
    if (type >= GGML_TYPE_COUNT || ggml_blck_size((enum ggml_type)type) == 0) {
        fail(in,
             "tensor '%s' has type %" PRIu32 ", which this llama.cpp does not know; the file may "
             "be newer than the engine",
             t->name, type);
        return;
    }
    t->type = (enum ggml_type)type;
    uint64_t block = (uint64_t)ggml_blck_size(t->type);
    if (t->ne[0] % block != 0) {
        fail(in, "tensor '%s': rows of %" PRIu64 " elements are not a multiple of %" PRIu64 " (%s)",
             t->name, t->ne[0], block, ggml_type_name(t->type));
        return;
    }
    uint64_t n_blocks = t->n_elements / block;
    uint64_t block_bytes = ggml_type_size(t->type);
    if (n_blocks > in->size / block_bytes) {
        fail(in,
             "tensor '%s' (%s, %" PRIu64 " elements) is larger than the file of %" PRIu64
             " bytes; the file is truncated or damaged",
             t->name, ggml_type_name(t->type), t->n_elements, in->size);
        return;
    }
    t->n_bytes = n_blocks * block_bytes;
}

static void read_tensor(struct cursor *in, struct gguf_tensor *t) {
    size_t len;
    const char *name = take_string(in, &len);
    size_t kept = len < GGUF_NAME_BYTES ? len : GGUF_NAME_BYTES - 1;
    if (name) {
        memcpy(t->name, name, kept);
    }
    t->name[kept] = '\0';
    read_shape(in, t);
    read_type(in, t);
    t->offset = take_u64(in);
}

static void read_tensors(struct cursor *in, struct gguf_file *file) {
    in->what = "the table of tensors";
    if (in->has_failed) {
        return;
    }
    if (file->n_tensors > (in->size - in->at) / MIN_TENSOR_BYTES) {
        fail(in,
             "the header announces %" PRIu64 " tensors but the file has room for at most "
             "%" PRIu64,
             file->n_tensors, (in->size - in->at) / MIN_TENSOR_BYTES);
        return;
    }
    file->tensors = calloc(file->n_tensors ? file->n_tensors : 1, sizeof *file->tensors);
    if (!file->tensors) {
        fail(in, "no memory for %" PRIu64 " tensors", file->n_tensors);
        return;
    }
    for (uint64_t i = 0; i < file->n_tensors && !in->has_failed; i++) {
        read_tensor(in, &file->tensors[i]);
    }
}

static void read_header(struct cursor *in, struct gguf_file *file) {
    in->what = "the GGUF header";
    const unsigned char *magic = take(in, 4);
    if (magic && memcmp(magic, "GGUF", 4) != 0) {
        fail(in,
             "not a GGUF file: it begins with bytes %02x %02x %02x %02x, expected 47 47 55 46 "
             "(\"GGUF\")",
             magic[0], magic[1], magic[2], magic[3]);
    }
    uint32_t version = take_u32(in);
    if (!in->has_failed && version != 2 && version != 3) {
        fail(in, "GGUF version %" PRIu32 ", expected 2 or 3%s", version,
             version >> 16 ? " (big-endian files are not supported)" : "");
    }
    file->n_tensors = take_u64(in);
    file->n_kv = take_u64(in);
}

static void check_extents(struct cursor *in, struct gguf_file *file) {
    file->alignment = gguf_file_uint(file, "general.alignment", 0, GGUF_DEFAULT_ALIGNMENT);
    if (file->alignment == 0 || file->alignment > MAX_ALIGNMENT ||
        (file->alignment & (file->alignment - 1)) != 0) {
        fail(in, "general.alignment is %" PRIu64 ", expected a power of two up to %d",
             file->alignment, MAX_ALIGNMENT);
        return;
    }
    file->data_offset = (in->at + file->alignment - 1) & ~(file->alignment - 1);
    for (uint64_t i = 0; i < file->n_tensors && !in->has_failed; i++) {
        const struct gguf_tensor *t = &file->tensors[i];
        uint64_t room = file->data_offset < in->size ? in->size - file->data_offset : 0;
        if (t->offset > room || t->n_bytes > room - t->offset) {
            fail(in,
                 "tensor %" PRIu64 " '%s' (%" PRIu64 " bytes at %" PRIu64 " of the data section) "
                 "reaches beyond the end of the file at byte %" PRIu64
                 "; it is truncated or damaged, fetch it again",
                 i, t->name, t->n_bytes, t->offset, in->size);
        } else if (t->offset % file->alignment != 0) {
            fail(in,
                 "tensor %" PRIu64 " '%s' begins at %" PRIu64 ", expected a multiple of %" PRIu64,
                 i, t->name, t->offset, file->alignment);
        }
    }
}

static enum wl_status map_file(struct gguf_file *file, const char *path, struct wl_err *err) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return wl_err_errno(err, errno, "cannot open the model '%s'", path);
    }
    enum wl_status status = WL_OK;
    struct stat st;
    if (fstat(fd, &st) != 0) {
        status = wl_err_errno(err, errno, "cannot stat the model '%s'", path);
    } else if (!S_ISREG(st.st_mode)) {
        status = wl_err_set(err, WL_INPUT, "the model '%s' is not a regular file", path);
    } else if (st.st_size < 24) {
        status = wl_err_set(err, WL_INPUT,
                            "the model '%s' has %lld bytes; a GGUF file has a header "
                            "of 24 bytes at least",
                            path, (long long)st.st_size);
    } else {
        file->file_bytes = (uint64_t)st.st_size;
        void *map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        file->map = map == MAP_FAILED ? NULL : map;
        status = file->map ? WL_OK : wl_err_errno(err, errno, "cannot map the model '%s'", path);
    }
    close(fd);
    return status;
}

enum wl_status gguf_file_open(struct gguf_file *file, const char *path, struct wl_err *err) {
    *file = (struct gguf_file){0};
    enum wl_status status = map_file(file, path, err);
    if (status != WL_OK) {
        return status;
    }
    struct wl_err own;
    struct cursor in = {.map = file->map, .size = file->file_bytes, .err = &own};
    read_header(&in, file);
    if (!in.has_failed) {
        read_kvs(&in, file);
    }
    read_tensors(&in, file);
    if (!in.has_failed) {
        check_extents(&in, file);
    }
    if (in.has_failed) {
        gguf_file_close(file);
        return wl_err_set(err, own.status, "cannot use the model '%s': %s", path, own.message);
    }
    return WL_OK;
}

void gguf_file_close(struct gguf_file *file) {
    if (file->map) {
        munmap(file->map, (size_t)file->file_bytes);
    }
    free(file->kvs);
    free(file->tensors);
    *file = (struct gguf_file){0};
}

const struct gguf_kv *gguf_file_find(const struct gguf_file *file, const char *key) {
    size_t len = strlen(key);
    for (uint64_t i = 0; i < file->n_kv; i++) {
        const struct gguf_kv *kv = &file->kvs[i];
        if (kv->key_len == len && memcmp(kv->key, key, len) == 0) {
            return kv;
        }
    }
    return NULL;
}

uint64_t gguf_file_uint(const struct gguf_file *file, const char *key, uint64_t i,
                        uint64_t fallback) {
    const struct gguf_kv *kv = gguf_file_find(file, key);
    if (!kv || i >= kv->n || kv->type == GGUF_TYPE_STRING || kv->type == GGUF_TYPE_FLOAT32 ||
        kv->type == GGUF_TYPE_FLOAT64) {
        return fallback;
    }
    size_t bytes = value_bytes(kv->type);
    return load_le(kv->data + i * bytes, bytes);
}

bool gguf_file_string(const struct gguf_file *file, const char *key, char *out, size_t size) {
    const struct gguf_kv *kv = gguf_file_find(file, key);
    if (!kv || kv->is_array || kv->type != GGUF_TYPE_STRING) {
        return false;
    }
    uint64_t len = load_le(kv->data, 8);
    size_t kept = len < size ? (size_t)len : size - 1;
    memcpy(out, kv->data + 8, kept);
    out[kept] = '\0';
    return true;
}

bool gguf_file_bool(const struct gguf_file *file, const char *key) {
    const struct gguf_kv *kv = gguf_file_find(file, key);
    return kv && !kv->is_array && kv->type == GGUF_TYPE_BOOL && kv->data[0] != 0;
}
