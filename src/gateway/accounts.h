// Who may ask, and what they have used: the keys of the file with their budgets. Budgets live on
// when the file is read again. One thread.
#ifndef WATTLAW_GATEWAY_ACCOUNTS_H
#define WATTLAW_GATEWAY_ACCOUNTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "account/keys.h"

// One key's, or that of everybody where no keys are needed. Stays when its key has gone from the
// file: what it has used today counts when the key comes back.
struct account {
    struct key key; // name "" for everybody
    struct budget budget;
    uint32_t n_running; // requests at the model server
    bool is_revoked;    // its key is no longer in the file
    bool is_restored;   // what it used before this process began is counted
    struct account *next;
};

struct accounts {
    struct account *first;
    struct account everybody;
    struct account ourselves; // canaries
    struct keys keys;         // as read; the accounts have their names
    bool needs_key;
};

void accounts_init(struct accounts *accounts);
void accounts_release(struct accounts *accounts);
// Takes the file's text. The keys that were there stay when it is refused (as keys_parse).
enum wl_status accounts_load(struct accounts *accounts, const char *text, size_t n,
                             struct wl_err *err);
// The account of a request with this secret (NULL: it has shown none); NULL: it may not ask.
struct account *accounts_find(struct accounts *accounts, const char *secret);
#endif
