// Any file of keys: refused in words, or keys that keep every promise of keys.h and are found
// again, whatever a client sends.
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "account/keys.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition) {
    if (!condition) {
        abort();
    }
}

static void check_key(const struct keys *keys, size_t i) {
    const struct key *key = &keys->items[i];
    require(key_name_is_good(key->name) && key->n_models <= KEY_MAX_MODELS);
    for (int kind = 0; kind < BUDGET_N_KINDS; kind++) {
        require(isnan(key->limit[kind]) || (key->limit[kind] >= 0 && isfinite(key->limit[kind])));
    }
    for (size_t k = 0; k < key->n_models; k++) {
        require(key->models[k][0] && strlen(key->models[k]) < KEY_MODEL_BYTES);
        require(key_may_use(key, key->models[k]));
    }
    require(key_may_use(key, "") == (key->n_models == 0));
    for (size_t k = 0; k < i; k++) {
        require(strcmp(key->name, keys->items[k].name) != 0);
        require(memcmp(key->hash, keys->items[k].hash, KEY_HASH_BYTES) != 0);
    }
}

// A key made of these bytes is written as a file that has it.
static void check_new(const uint8_t *data, size_t size) {
    unsigned char random[32] = {0};
    char secret[KEY_SECRET_BYTES];
    memcpy(random, data, size < sizeof random ? size : sizeof random);
    key_secret(random, secret);
    struct buf text;
    struct keys keys;
    buf_init(&text, 1000);
    buf_puts(&text, "{\"keys\":[");
    key_write(&text, "new", secret);
    buf_puts(&text, "]}");
    require(!text.is_failed && keys_parse(text.data, text.len, &keys, NULL) == WL_OK);
    require(keys.n == 1 && keys_find(&keys, secret, strlen(secret)) == &keys.items[0]);
    require(!keys_find(&keys, secret, strlen(secret) - 1));
    keys_release(&keys);
    buf_release(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    check_new(data, size);
    struct keys keys;
    struct wl_err err = {0};
    char *text = malloc(size ? size : 1); // exact, so that reading past the end is seen
    require(text != NULL);
    memcpy(text, data, size);
    enum wl_status status = keys_parse(text, size, &keys, &err);
    require(status == WL_OK || (err.message[0] && err.status == status));
    require(status == WL_OK ? keys.n >= 1 && keys.n <= KEYS_MAX : keys.n == 0 && !keys.items);
    for (size_t i = 0; i < keys.n; i++) {
        check_key(&keys, i);
    }
    (void)keys_find(&keys, text, size); // any bytes may be sent as a secret
    free(text);
    keys_release(&keys);
    return 0;
}
