#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compressor/target_plan.h"

enum { MAX_KEY_BYTES = 65535, MAX_ARCH_BYTES = 64, MAX_ALIGNMENT = 65536 };

static size_t scalar_bytes(enum gguf_type type) {
    switch (type) {
    case GGUF_TYPE_UINT8:
    case GGUF_TYPE_INT8:
    case GGUF_TYPE_BOOL: return 1;
    case GGUF_TYPE_UINT16:
    case GGUF_TYPE_INT16: return 2;
    case GGUF_TYPE_UINT64:
    case GGUF_TYPE_INT64:
    case GGUF_TYPE_FLOAT64: return 8;
    default: return 4;
    }
}

static uint64_t load_u64(const unsigned char *data) {
    uint64_t value = 0;
    for (size_t i = 8; i-- > 0;) {
        value = value << 8 | data[i];
    }
    return value;
}

static void store_u32(unsigned char *out, uint32_t value) {
    for (size_t i = 0; i < 4; i++) {
        out[i] = (unsigned char)(value >> 8 * i);
    }
}

// The reader has checked that all of it lies in the file.
static uint64_t element_bytes(enum gguf_type type, const unsigned char *data) {
    return type == GGUF_TYPE_STRING ? 8 + load_u64(data) : scalar_bytes(type);
}

static uint64_t value_bytes(enum gguf_type type, uint64_t n, const unsigned char *data) {
    if (type != GGUF_TYPE_STRING) {
        return n * scalar_bytes(type);
    }
    uint64_t total = 0;
    for (uint64_t i = 0; i < n; i++) {
        total += element_bytes(type, data + total);
    }
    return total;
}

static enum wl_status no_memory(const char *key, struct wl_err *err) {
    return wl_err_set(err, WL_MEMORY, "no memory for the key '%s'", key);
}

enum wl_status target_copy_keys(struct compress_target *target, struct wl_err *err) {
    const struct gguf_file *source = target->source;
    target->keys = calloc(source->n_kv + 1, sizeof *target->keys);
    if (!target->keys) {
        return wl_err_set(err, WL_MEMORY, "no memory for %" PRIu64 " keys", source->n_kv);
    }
    target->n_keys = (size_t)source->n_kv;
    target->keys_capacity = target->n_keys + 1;
    for (size_t i = 0; i < target->n_keys; i++) {
        const struct gguf_kv *kv = &source->kvs[i];
        target->keys[i] = (struct target_key){.name = kv->key,
                                              .name_len = kv->key_len,
                                              .type = kv->type,
                                              .is_array = kv->is_array,
                                              .n = kv->n,
                                              .data = kv->data,
                                              .n_bytes = value_bytes(kv->type, kv->n, kv->data)};
    }
    return WL_OK;
}

static void release_key(struct target_key *key) {
    free(key->own_name);
    free(key->own_data);
    *key = (struct target_key){0};
}

void target_release_keys(struct compress_target *target) {
    for (size_t i = 0; i < target->n_keys; i++) {
        release_key(&target->keys[i]);
    }
    free(target->keys);
}

static struct target_key *find(const struct compress_target *target, const char *name, size_t len) {
    for (size_t i = 0; i < target->n_keys; i++) {
        struct target_key *key = &target->keys[i];
        if (key->name_len == len && memcmp(key->name, name, len) == 0) {
            return key;
        }
    }
    return NULL;
}

const struct target_key *target_find_key(const struct compress_target *target, const char *key) {
    return find(target, key, strlen(key));
}

uint64_t target_alignment(const struct compress_target *target) {
    const struct target_key *key = target_find_key(target, "general.alignment");
    if (!key) {
        return GGUF_DEFAULT_ALIGNMENT;
    }
    uint64_t value = 0;
    if (!key->is_array && key->type != GGUF_TYPE_STRING) {
        for (uint64_t i = key->n_bytes; i-- > 0;) {
            value = value << 8 | key->data[i];
        }
    }
    bool is_fine = value > 0 && value <= MAX_ALIGNMENT && (value & (value - 1)) == 0;
    return is_fine ? value : 0;
}

// A new key at the end, with its name.
static struct target_key *append(struct compress_target *target, const char *name, size_t len) {
    if (target->n_keys == target->keys_capacity) {
        size_t capacity = 2 * target->keys_capacity + 1;
        struct target_key *keys = realloc(target->keys, capacity * sizeof *keys);
        if (!keys) {
            return NULL;
        }
        target->keys = keys;
        target->keys_capacity = capacity;
    }
    char *own_name = malloc(len);
    if (!own_name) {
        return NULL;
    }
    memcpy(own_name, name, len);
    struct target_key *key = &target->keys[target->n_keys++];
    *key = (struct target_key){.name = own_name, .name_len = len, .own_name = own_name};
    return key;
}

// Takes `data`, whether it succeeds or not.
static enum wl_status set(struct compress_target *target, const char *name,
                          const struct target_key *value, unsigned char *data, struct wl_err *err) {
    size_t len = strlen(name);
    if (len == 0 || len > MAX_KEY_BYTES) {
        free(data);
        return wl_err_set(err, WL_INPUT, "a key has a name of 1 to %d bytes, not %zu",
                          MAX_KEY_BYTES, len);
    }
    struct target_key *key = find(target, name, len);
    key = key || !data ? key : append(target, name, len);
    if (!key || !data) {
        free(data);
        return no_memory(name, err);
    }
    free(key->own_data);
    key->type = value->type;
    key->is_array = value->is_array;
    key->n = value->n;
    key->n_bytes = value->n_bytes;
    key->data = key->own_data = data;
    return WL_OK;
}

enum wl_status compress_target_set_u32(struct compress_target *target, const char *key,
                                       uint32_t value, struct wl_err *err) {
    const struct target_key kind = {.type = GGUF_TYPE_UINT32, .n = 1, .n_bytes = 4};
    unsigned char *data = malloc(4);
    if (data) {
        store_u32(data, value);
    }
    return set(target, key, &kind, data, err);
}

enum wl_status compress_target_set_f32(struct compress_target *target, const char *key, float value,
                                       struct wl_err *err) {
    const struct target_key kind = {.type = GGUF_TYPE_FLOAT32, .n = 1, .n_bytes = 4};
    unsigned char *data = malloc(4);
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if (data) {
        store_u32(data, bits);
    }
    return set(target, key, &kind, data, err);
}

enum wl_status compress_target_set_string(struct compress_target *target, const char *key,
                                          const char *value, struct wl_err *err) {
    uint64_t len = strlen(value);
    const struct target_key kind = {.type = GGUF_TYPE_STRING, .n = 1, .n_bytes = 8 + len};
    unsigned char *data = malloc((size_t)(8 + len));
    if (data) {
        store_u32(data, (uint32_t)len);
        store_u32(data + 4, (uint32_t)(len >> 32));
        memcpy(data + 8, value, (size_t)len);
    }
    return set(target, key, &kind, data, err);
}

enum wl_status compress_target_set_u32s(struct compress_target *target, const char *key,
                                        const uint32_t *values, size_t n, struct wl_err *err) {
    const struct target_key kind = {
        .type = GGUF_TYPE_UINT32, .is_array = true, .n = n, .n_bytes = 4 * (uint64_t)n};
    unsigned char *data = calloc(n ? n : 1, 4);
    for (size_t i = 0; i < n && data; i++) {
        store_u32(data + 4 * i, values[i]);
    }
    return set(target, key, &kind, data, err);
}

enum wl_status compress_target_remove(struct compress_target *target, const char *key,
                                      struct wl_err *err) {
    (void)err;
    struct target_key *found = find(target, key, strlen(key));
    if (found) {
        release_key(found);
        size_t behind = target->n_keys - (size_t)(found - target->keys) - 1;
        memmove(found, found + 1, behind * sizeof *found);
        target->n_keys--;
    }
    return WL_OK;
}

// ---- picking ----

// Where each element begins, and where the last one ends; NULL without memory.
static uint64_t *offsets_of(const struct target_key *key) {
    uint64_t *offsets = calloc((size_t)key->n + 1, sizeof *offsets);
    for (uint64_t i = 0; i < key->n && offsets; i++) {
        offsets[i + 1] = offsets[i] + element_bytes(key->type, key->data + offsets[i]);
    }
    return offsets;
}

static enum wl_status check_pick(const struct target_key *found, const char *key,
                                 const uint32_t *kept, size_t n, struct wl_err *err) {
    if (!found) {
        return wl_err_set(err, WL_INPUT, "cannot pick from the key '%s': the file has none", key);
    }
    if (!found->is_array) {
        return wl_err_set(err, WL_INPUT, "cannot pick from the key '%s': it is not an array", key);
    }
    for (size_t i = 0; i < n; i++) {
        if (kept[i] >= found->n) {
            return wl_err_set(err, WL_INPUT,
                              "cannot pick element %" PRIu32 " of the key '%s': it has %" PRIu64,
                              kept[i], key, found->n);
        }
    }
    return WL_OK;
}

enum wl_status compress_target_pick(struct compress_target *target, const char *key,
                                    const uint32_t *kept, size_t n, struct wl_err *err) {
    struct target_key *found = find(target, key, strlen(key));
    enum wl_status status = check_pick(found, key, kept, n, err);
    if (status != WL_OK) {
        return status;
    }
    uint64_t *offsets = offsets_of(found);
    uint64_t total = 0;
    for (size_t i = 0; i < n && offsets; i++) {
        uint64_t len = offsets[kept[i] + (size_t)1] - offsets[kept[i]];
        total = len > UINT64_MAX / 2 - total ? UINT64_MAX / 2 : total + len;
    }
    unsigned char *data = offsets ? malloc(total ? (size_t)total : 1) : NULL;
    uint64_t at = 0;
    for (size_t i = 0; i < n && data; i++) {
        uint64_t len = offsets[kept[i] + (size_t)1] - offsets[kept[i]];
        memcpy(data + at, found->data + offsets[kept[i]], (size_t)len);
        at += len;
    }
    free(offsets);
    const struct target_key kind = {
        .type = found->type, .is_array = true, .n = n, .n_bytes = total};
    return set(target, key, &kind, data, err);
}

// ---- the architecture ----

static bool begins_with(const struct target_key *key, const char *prefix, size_t len) {
    return key->name_len > len && memcmp(key->name, prefix, len) == 0;
}

// "<old>.block_count" -> "<arch>.block_count"
static enum wl_status rename_key(struct compress_target *target, struct target_key *key,
                                 size_t old_len, const char *arch, struct wl_err *err) {
    size_t arch_len = strlen(arch);
    size_t len = key->name_len - old_len + arch_len;
    char *name = malloc(len + 1);
    if (!name) {
        return no_memory(arch, err);
    }
    memcpy(name, arch, arch_len + 1);
    memcpy(name + arch_len, key->name + old_len, key->name_len - old_len);
    if (find(target, name, len)) {
        enum wl_status status =
            wl_err_set(err, WL_INPUT, "cannot make the model a '%s': it has a key '%.*s' already",
                       arch, (int)(len < MAX_KEY_BYTES ? len : MAX_KEY_BYTES), name);
        free(name);
        return status;
    }
    free(key->own_name);
    key->name = key->own_name = name;
    key->name_len = len;
    return WL_OK;
}

// The old architecture with a dot; false when the file does not say one.
static bool old_prefix(const struct compress_target *target, char out[MAX_ARCH_BYTES + 2]) {
    const struct target_key *key = target_find_key(target, "general.architecture");
    if (!key || key->is_array || key->type != GGUF_TYPE_STRING || key->n_bytes <= 8 ||
        key->n_bytes > 8 + MAX_ARCH_BYTES) {
        return false;
    }
    snprintf(out, MAX_ARCH_BYTES + 2, "%.*s.", (int)(key->n_bytes - 8),
             (const char *)key->data + 8);
    return true;
}

enum wl_status compress_target_set_arch(struct compress_target *target, const char *arch,
                                        struct wl_err *err) {
    char prefix[MAX_ARCH_BYTES + 2];
    if (*arch == '\0' || strlen(arch) > MAX_ARCH_BYTES || strchr(arch, '.')) {
        return wl_err_set(err, WL_INPUT, "'%s' is no name of an architecture", arch);
    }
    if (!old_prefix(target, prefix)) {
        return wl_err_set(err, WL_INPUT,
                          "cannot make the model a '%s': it does not say its architecture", arch);
    }
    size_t len = strlen(prefix);
    bool is_same = len == strlen(arch) + 1 && memcmp(prefix, arch, len - 1) == 0;
    for (size_t i = 0; i < target->n_keys && !is_same; i++) {
        struct target_key *key = &target->keys[i];
        enum wl_status status =
            begins_with(key, prefix, len) ? rename_key(target, key, len - 1, arch, err) : WL_OK;
        if (status != WL_OK) {
            return status;
        }
    }
    return compress_target_set_string(target, "general.architecture", arch, err);
}
