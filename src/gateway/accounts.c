#include "gateway/accounts.h"

#include <stdlib.h>
#include <string.h>

void accounts_init(struct accounts *accounts) {
    *accounts = (struct accounts){0};
    budget_init(&accounts->everybody.budget);
    limits_none(&accounts->everybody.key.each);
    accounts->everybody.key.is_admin = true;
    accounts->ourselves = accounts->everybody;
}

void accounts_release(struct accounts *accounts) {
    for (struct account *a = accounts->first, *next; a; a = next) {
        next = a->next;
        free(a);
    }
    keys_release(&accounts->keys);
    accounts_init(accounts);
}

static struct account *by_name(struct accounts *accounts, const char *name) {
    struct account *a = accounts->first;
    while (a && strcmp(a->key.name, name) != 0) {
        a = a->next;
    }
    return a;
}

// The key's own list of models belongs to accounts->keys.
static void take_key(struct account *account, const struct key *key) {
    account->key = *key;
    account->is_revoked = false;
    memcpy(account->budget.limit, key->limit, sizeof key->limit);
}

static bool take_keys(struct accounts *accounts, const struct keys *keys) {
    for (size_t i = 0; i < keys->n; i++) {
        if (!by_name(accounts, keys->items[i].name)) {
            struct account *account = calloc(1, sizeof *account);
            if (!account) {
                return false;
            }
            budget_init(&account->budget);
            memcpy(account->key.name, keys->items[i].name, sizeof account->key.name);
            account->is_revoked = true;
            account->next = accounts->first;
            accounts->first = account;
        }
    }
    for (struct account *a = accounts->first; a; a = a->next) {
        a->is_revoked = true;
        a->key.models = NULL;
        a->key.n_models = 0;
    }
    for (size_t i = 0; i < keys->n; i++) {
        take_key(by_name(accounts, keys->items[i].name), &keys->items[i]);
    }
    return true;
}

enum wl_status accounts_load(struct accounts *accounts, const char *text, size_t n,
                             struct wl_err *err) {
    struct keys keys;
    enum wl_status status = keys_parse(text, n, &keys, err);
    if (status != WL_OK) {
        return status;
    }
    if (!take_keys(accounts, &keys)) {
        keys_release(&keys);
        return wl_err_set(err, WL_MEMORY, "no memory for the keys");
    }
    keys_release(&accounts->keys);
    accounts->keys = keys;
    accounts->needs_key = true;
    return WL_OK;
}

struct account *accounts_find(struct accounts *accounts, const char *secret) {
    if (!accounts->needs_key) {
        return &accounts->everybody;
    }
    const struct key *key = secret ? keys_find(&accounts->keys, secret, strlen(secret)) : NULL;
    return key ? by_name(accounts, key->name) : NULL;
}
