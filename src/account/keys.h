// The file of API keys: who may ask, and how much. Keys stand there only as SHA-256. PURE.
//
//   {"keys": [{"name": "kitchen", "sha256": "9f86d0...", "requests_per_min": 30,
//              "tokens_per_day": 100000, "wh_per_day": 50, "input_tokens": 4000,
//              "output_tokens": 500, "seconds": 60, "joules": 200, "models": ["builtin"]}]}
#ifndef WATTLAW_ACCOUNT_KEYS_H
#define WATTLAW_ACCOUNT_KEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "account/budget.h"
#include "account/limits.h"
#include "base/buf.h"
#include "base/err.h"

enum {
    KEYS_MAX = 4096,
    KEY_NAME_BYTES = 64,
    KEY_MAX_MODELS = 32,
    KEY_MODEL_BYTES = 256,
    KEY_HASH_BYTES = 32,
    KEY_SECRET_BYTES = 48
};

struct key {
    char name[KEY_NAME_BYTES];          // letters, digits, '-', '_', '.'; unique
    unsigned char hash[KEY_HASH_BYTES]; // unique
    bool is_admin;                      // may see what others use
    double limit[BUDGET_N_KINDS];       // NaN: none
    struct request_limits each;         // of each request
    char **models;                      // that it may use; none: all
    size_t n_models;
};
struct keys {
    struct key *items;
    size_t n;
};

// INPUT names the key (number and name), the field, what was expected and found; LIMIT says which
// one is too long. Unknown fields are refused: a limit with a misspelt name would not limit. So are
// a file without any key and an empty list of models, which could be meant as all or as nothing.
enum wl_status keys_parse(const char *text, size_t n, struct keys *out, struct wl_err *err);
void keys_release(struct keys *keys); // zeroed ones are fine
// By the secret that a client sends; NULL: not there, as an empty one never is. Takes the same time
// wherever it stands.
const struct key *keys_find(const struct keys *keys, const char *secret, size_t n);
bool key_may_use(const struct key *key, const char *model);

bool key_name_is_good(const char *name); // 1 to 63 of the characters above
// A new secret, "wl-" and 43 characters of 32 random bytes, and its line for the file.
void key_secret(const unsigned char random[32], char out[KEY_SECRET_BYTES]);
void key_write(struct buf *buf, const char *name, const char *secret); // JSON object

#endif
