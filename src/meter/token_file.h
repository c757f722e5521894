// The password or access token of one host: the first line of <token folder>/<host>, a file that
// only its owner may read. Secrets come from nowhere else and go into no message.
#ifndef WATTLAW_METER_TOKEN_FILE_H
#define WATTLAW_METER_TOKEN_FILE_H

#include <stdbool.h>

#include "base/err.h"
#include "os/file.h"

enum { TOKEN_BYTES = 1024 };

struct token {
    char path[OS_PATH_BYTES]; // where it is, or would be
    bool is_present;
    char text[TOKEN_BYTES]; // printable, not empty; "" when there is no file
};

// `dir` NULL: "tokens" in the user's data folder. OK without a file (is_present is false).
// PERMISSION: others may read it, or it belongs to somebody else. INPUT: not a token.
enum wl_status token_file_read(const char *dir, const char *host, struct token *out,
                               struct wl_err *err);

#endif
