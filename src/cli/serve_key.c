#include "cli/serve_key.h"

#include <string.h>
#include <sys/stat.h>

#include "base/json.h"
#include "os/file.h"
#include "os/random.h"

enum { MAX_FILE_BYTES = 4 << 20 };

// As text, so that what its owner wrote stays; NULL with words.
static json_t *read_file(const char *path, struct wl_err *err) {
    struct buf text;
    struct keys keys;
    json_t *root = NULL;
    if (!os_exists(path)) {
        return json_pack("{s:[]}", "keys");
    }
    buf_init(&text, MAX_FILE_BYTES);
    if (os_slurp(path, &text, err) == WL_OK &&
        keys_parse(buf_text(&text), text.len, &keys, err) == WL_OK) {
        keys_release(&keys);
        wl_json_parse(buf_text(&text), text.len, &root, err);
    }
    buf_release(&text);
    return root;
}

static enum wl_status write_file(const char *path, const json_t *root, struct wl_err *err) {
    struct buf text;
    struct keys keys;
    buf_init(&text, MAX_FILE_BYTES);
    enum wl_status status =
        wl_json_write_pretty(&text, root) && buf_puts(&text, "\n")
            ? keys_parse(buf_text(&text), text.len, &keys, err) // a name twice shows here
            : wl_err_set(err, WL_LIMIT, "the keys file would be larger than 4 MiB");
    if (status == WL_OK) {
        keys_release(&keys);
        mode_t mask = umask(077);
        status = os_write_atomic(path, text.data, text.len, err);
        umask(mask);
    }
    buf_release(&text);
    return status;
}

enum wl_status serve_key_add(const char *path, const char *name, char secret[KEY_SECRET_BYTES],
                             struct wl_err *err) {
    unsigned char random[32];
    struct buf line;
    json_t *key = NULL;
    if (!key_name_is_good(name)) {
        return wl_err_set(
            err, WL_INPUT,
            "a key's name has 1 to 63 letters, digits, '-', '_' or '.', found '%.80s'", name);
    }
    enum wl_status status = os_random(random, sizeof random, err);
    json_t *root = status == WL_OK ? read_file(path, err) : NULL;
    if (!root) {
        return err->status;
    }
    key_secret(random, secret);
    buf_init(&line, 4096);
    key_write(&line, name, secret);
    status = wl_json_parse(buf_text(&line), line.len, &key, err);
    buf_release(&line);
    if (status == WL_OK) {
        json_array_append_new(json_object_get(root, "keys"), key);
        status = write_file(path, root, err);
    }
    json_decref(root);
    return status;
}
