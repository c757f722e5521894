#include "account/keys.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/json_fields.h"
#include "base/sha256.h"
#include "base/str.h"

#define FIELD_NAME(name) #name,
static const char *const FIELDS[] = {
    "name",           "sha256",     "admin",  "requests_per_min",
    "tokens_per_day", "wh_per_day", "models", LIMITS_FIELD_LIST(FIELD_NAME) NULL};
static const char *const LIMIT_FIELDS[BUDGET_N_KINDS] = {[BUDGET_REQUESTS] = "requests_per_min",
                                                         [BUDGET_TOKENS] = "tokens_per_day",
                                                         [BUDGET_WH] = "wh_per_day"};
static const char *const FILE_FIELDS[] = {"keys", NULL};

static enum wl_status no_memory(struct wl_err *err) {
    return wl_err_set(err, WL_MEMORY, "no memory for the keys");
}

// ---- fields of a key

bool key_name_is_good(const char *name) {
    static const char GOOD[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.";
    size_t len = strlen(name);
    return len > 0 && len < KEY_NAME_BYTES && strspn(name, GOOD) == len;
}

static enum wl_status take_name(const json_t *object, char out[KEY_NAME_BYTES],
                                struct wl_err *err) {
    const json_t *value = json_object_get(object, "name");
    if (!json_is_string(value)) {
        return json_fields_wrong("name", "text", value, err);
    }
    if (!key_name_is_good(json_string_value(value))) {
        return wl_err_set(err, WL_INPUT,
                          "field 'name': expected 1 to %d letters, digits, '-', '_' or '.', found "
                          "'%.80s'",
                          KEY_NAME_BYTES - 1, json_string_value(value));
    }
    str_copy(out, KEY_NAME_BYTES, json_string_value(value));
    return WL_OK;
}

static int hex_digit(char c) {
    static const char DIGITS[] = "0123456789abcdef0123456789ABCDEF";
    const char *at = c ? strchr(DIGITS, c) : NULL;
    return at ? (int)((at - DIGITS) % 16) : -1;
}

static bool read_hex(const char *text, unsigned char out[KEY_HASH_BYTES]) {
    for (size_t i = 0; i < KEY_HASH_BYTES; i++) {
        int high = hex_digit(text[2 * i]), low = high < 0 ? -1 : hex_digit(text[2 * i + 1]);
        if (low < 0) {
            return false;
        }
        out[i] = (unsigned char)(16 * high + low);
    }
    return text[2 * KEY_HASH_BYTES] == '\0';
}

// What stands there instead is not shown: it may be the secret itself.
static enum wl_status take_hash(const json_t *object, unsigned char out[KEY_HASH_BYTES],
                                struct wl_err *err) {
    const json_t *value = json_object_get(object, "sha256");
    if (!json_is_string(value)) {
        return json_fields_wrong("sha256", "text of 64 hex digits", value, err);
    }
    if (!read_hex(json_string_value(value), out)) {
        return wl_err_set(err, WL_INPUT,
                          "field 'sha256': expected 64 hex digits, found text of %zu bytes that is "
                          "not that (the file has hashes of keys, never the keys)",
                          json_string_length(value));
    }
    return WL_OK;
}

static enum wl_status take_limit(const json_t *object, const char *field, double *out,
                                 struct wl_err *err) {
    const json_t *value = json_object_get(object, field);
    *out = NAN;
    if (value && !json_is_number(value)) {
        return json_fields_wrong(field, "a number (no limit: leave the field out)", value, err);
    }
    return json_fields_double(object, field, 0, INFINITY, out, err);
}

static enum wl_status add_model(const json_t *value, struct key *key, struct wl_err *err) {
    if (!json_is_string(value)) {
        return json_fields_wrong("models", "a list of names", value, err);
    }
    size_t len = json_string_length(value);
    if (len == 0 || len >= KEY_MODEL_BYTES) {
        return wl_err_set(err, len ? WL_LIMIT : WL_INPUT,
                          "field 'models': expected names of 1 to %d bytes, found one of %zu",
                          KEY_MODEL_BYTES - 1, len);
    }
    key->models[key->n_models] = strdup(json_string_value(value));
    if (!key->models[key->n_models]) {
        return no_memory(err);
    }
    key->n_models++;
    return WL_OK;
}

static enum wl_status take_models(const json_t *object, struct key *key, struct wl_err *err) {
    const json_t *value = json_object_get(object, "models");
    if (!value) {
        return WL_OK;
    }
    if (!json_is_array(value)) {
        return json_fields_wrong("models", "a list of names", value, err);
    }
    size_t n = json_array_size(value);
    if (n == 0 || n > KEY_MAX_MODELS) {
        return wl_err_set(err, n ? WL_LIMIT : WL_INPUT,
                          "field 'models': expected 1 to %d names (all models: leave the field "
                          "out), found %zu",
                          KEY_MAX_MODELS, n);
    }
    key->models = calloc(n, sizeof *key->models);
    if (!key->models) {
        return no_memory(err);
    }
    enum wl_status status = WL_OK;
    for (size_t i = 0; i < n && status == WL_OK; i++) {
        status = add_model(json_array_get(value, i), key, err);
    }
    return status;
}

static enum wl_status take_fields(json_t *object, struct key *key, struct wl_err *err) {
    enum wl_status status =
        json_fields_check(object, "an object {\"name\": ..., \"sha256\": ...}", FIELDS, err);
    if (status == WL_OK) {
        status = take_name(object, key->name, err);
    }
    if (status == WL_OK) {
        status = take_hash(object, key->hash, err);
    }
    for (int kind = 0; kind < BUDGET_N_KINDS && status == WL_OK; kind++) {
        status = take_limit(object, LIMIT_FIELDS[kind], &key->limit[kind], err);
    }
    if (status == WL_OK) {
        status = json_fields_bool(object, "admin", &key->is_admin, err);
    }
    limits_none(&key->each);
    if (status == WL_OK) {
        status = limits_read(object, &key->each, err);
    }
    return status == WL_OK ? take_models(object, key, err) : status;
}

// ---- the whole file

// A key and its place in the file, counted from 1.
struct numbered {
    const struct key *key;
    size_t number;
};

static int in_file_order(const struct numbered *a, const struct numbered *b) {
    return (a->number > b->number) - (a->number < b->number);
}

static int compare_names(const void *a, const void *b) {
    const struct numbered *x = a, *y = b;
    int order = strcmp(x->key->name, y->key->name);
    return order ? order : in_file_order(x, y);
}

static int compare_hashes(const void *a, const void *b) {
    const struct numbered *x = a, *y = b;
    int order = memcmp(x->key->hash, y->key->hash, KEY_HASH_BYTES);
    return order ? order : in_file_order(x, y);
}

static enum wl_status check_names(struct numbered *sorted, size_t n, struct wl_err *err) {
    qsort(sorted, n, sizeof *sorted, compare_names);
    for (size_t i = 1; i < n; i++) {
        const struct numbered *a = &sorted[i - 1], *b = &sorted[i];
        if (strcmp(a->key->name, b->key->name) == 0) {
            return wl_err_set(err, WL_INPUT, "key %zu: field 'name': key %zu has '%s' already",
                              b->number, a->number, b->key->name);
        }
    }
    return WL_OK;
}

static enum wl_status check_hashes(struct numbered *sorted, size_t n, struct wl_err *err) {
    qsort(sorted, n, sizeof *sorted, compare_hashes);
    for (size_t i = 1; i < n; i++) {
        const struct numbered *a = &sorted[i - 1], *b = &sorted[i];
        if (memcmp(a->key->hash, b->key->hash, KEY_HASH_BYTES) == 0) {
            return wl_err_set(err, WL_INPUT,
                              "key %zu '%s': field 'sha256': key %zu '%s' has the same", b->number,
                              b->key->name, a->number, a->key->name);
        }
    }
    return WL_OK;
}

static enum wl_status check_unique(const struct keys *keys, struct wl_err *err) {
    struct numbered *sorted = calloc(keys->n, sizeof *sorted);
    if (!sorted) {
        return no_memory(err);
    }
    for (size_t i = 0; i < keys->n; i++) {
        sorted[i] = (struct numbered){&keys->items[i], i + 1};
    }
    enum wl_status status = check_names(sorted, keys->n, err);
    if (status == WL_OK) {
        status = check_hashes(sorted, keys->n, err);
    }
    free(sorted);
    return status;
}

// Also where the name is not read yet.
static void say_which(size_t i, const json_t *object, struct wl_err *err) {
    const char *name = json_string_value(json_object_get(object, "name"));
    if (name && key_name_is_good(name)) {
        wl_err_prefix(err, "key %zu '%s'", i + 1, name);
    } else {
        wl_err_prefix(err, "key %zu", i + 1);
    }
}

static enum wl_status take_keys(const json_t *list, struct keys *out, struct wl_err *err) {
    size_t n = json_array_size(list);
    if (n == 0 || n > KEYS_MAX) {
        return wl_err_set(err, n ? WL_LIMIT : WL_INPUT,
                          "field 'keys': expected 1 to %d keys, found %zu", KEYS_MAX, n);
    }
    out->items = calloc(n, sizeof *out->items);
    if (!out->items) {
        return no_memory(err);
    }
    for (size_t i = 0; i < n; i++) {
        struct key *key = &out->items[out->n++];
        enum wl_status status = take_fields(json_array_get(list, i), key, err);
        if (status != WL_OK) {
            say_which(i, json_array_get(list, i), err);
            return status;
        }
    }
    return check_unique(out, err);
}

static enum wl_status take_file(json_t *root, struct keys *out, struct wl_err *err) {
    enum wl_status status =
        json_fields_check(root, "an object {\"keys\": [...]}", FILE_FIELDS, err);
    const json_t *list = json_object_get(root, "keys");
    if (status == WL_OK && !json_is_array(list)) {
        status = json_fields_wrong("keys", "a list of keys", list, err);
    }
    return status == WL_OK ? take_keys(list, out, err) : status;
}

enum wl_status keys_parse(const char *text, size_t n, struct keys *out, struct wl_err *err) {
    *out = (struct keys){0};
    json_t *root;
    enum wl_status status = wl_json_parse(text, n, &root, err);
    if (status == WL_OK) {
        status = take_file(root, out, err);
        json_decref(root);
    }
    if (status != WL_OK) {
        keys_release(out);
    }
    return status;
}

void keys_release(struct keys *keys) {
    for (size_t i = 0; i < keys->n; i++) {
        for (size_t k = 0; k < keys->items[i].n_models; k++) {
            free(keys->items[i].models[k]);
        }
        free(keys->items[i].models);
    }
    free(keys->items);
    *keys = (struct keys){0};
}

// ---- use

// 1 when all bytes are equal, else 0; no branch depends on them.
static size_t is_same_hash(const unsigned char *a, const unsigned char *b) {
    uint32_t difference = 0;
    for (size_t i = 0; i < KEY_HASH_BYTES; i++) {
        difference |= (uint32_t)(a[i] ^ b[i]);
    }
    return (difference - 1) >> 31;
}

const struct key *keys_find(const struct keys *keys, const char *secret, size_t n) {
    unsigned char hash[KEY_HASH_BYTES];
    sha256(secret, n, hash);
    size_t found = 0; // number of the key, from 1; hashes are unique
    for (size_t i = 0; i < keys->n; i++) {
        found |= (0 - is_same_hash(hash, keys->items[i].hash)) & (i + 1);
    }
    return found && n > 0 ? &keys->items[found - 1] : NULL;
}

bool key_may_use(const struct key *key, const char *model) {
    bool may_use = key->n_models == 0;
    for (size_t i = 0; i < key->n_models && !may_use; i++) {
        may_use = strcmp(key->models[i], model) == 0;
    }
    return may_use;
}

// ---- new keys

void key_secret(const unsigned char random[32], char out[KEY_SECRET_BYTES]) {
    static const char DIGITS[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    unsigned char bytes[33] = {0}; // 11 groups of 3; the digit of the last byte is left out
    memcpy(bytes, random, 32);
    memcpy(out, "wl-", 3);
    for (size_t i = 0; i < 43; i++) {
        const unsigned char *b = bytes + i / 4 * 3;
        uint32_t group = (uint32_t)b[0] << 16 | (uint32_t)b[1] << 8 | b[2];
        out[3 + i] = DIGITS[group >> (18 - 6 * (i % 4)) & 63u];
    }
    out[3 + 43] = '\0';
}

void key_write(struct buf *buf, const char *name, const char *secret) {
    unsigned char hash[KEY_HASH_BYTES];
    char hex[2 * KEY_HASH_BYTES + 1];
    sha256(secret, strlen(secret), hash);
    for (size_t i = 0; i < KEY_HASH_BYTES; i++) {
        snprintf(hex + 2 * i, 3, "%02x", hash[i]);
    }
    json_t *object = json_pack("{s:s, s:s}", "name", name, "sha256", hex);
    if (!object || !wl_json_write(buf, object)) {
        buf->is_failed = true; // no memory, or a name that is not text
    }
    json_decref(object);
}
