#include "openai/assemble_store.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"

// What a value, a member and a growing text take in memory besides their characters: about that of
// jansson's structures, so that many small ones are bounded as one large one is.
enum { VALUE_BYTES = 32, MEMBER_BYTES = 64, TEXT_BYTES = 128, TEXTS_STEP = 8 };

// One text that grows. It is put into its holder at the end: each change there would copy it.
struct openai_text {
    json_t *holder; // a reference of its own: a strange upstream may take it out of the answer
    const char *key;
    struct buf buf;
};

static enum wl_status no_memory(struct wl_err *err) {
    return wl_err_set(err, WL_MEMORY, "no memory for the answer");
}

// ---- bounds

static enum wl_status charge(struct openai_assembly *a, size_t n_bytes, struct wl_err *err) {
    if (n_bytes > a->max_bytes - a->n_bytes) {
        return wl_err_set(err, WL_LIMIT, "the answer: expected at most %zu bytes, found more",
                          a->max_bytes);
    }
    a->n_bytes += n_bytes;
    return WL_OK;
}

static size_t weight_of(const json_t *value);

static size_t weight_of_member(const char *key, const json_t *value) {
    return MEMBER_BYTES + strlen(key) + weight_of(value);
}

// Values come from the parser, which bounds their depth.
static size_t weight_of(const json_t *value) {
    size_t n_bytes = VALUE_BYTES + json_string_length(value);
    for (size_t i = 0; i < json_array_size(value); i++) {
        n_bytes += weight_of(json_array_get(value, i));
    }
    json_t *object = (json_t *)value; // only read
    for (void *i = json_object_iter(object); i; i = json_object_iter_next(object, i)) {
        n_bytes += weight_of_member(json_object_iter_key(i), json_object_iter_value(i));
    }
    return n_bytes;
}

// ---- fields

enum wl_status openai_store_set(struct openai_assembly *a, json_t *into, const char *key,
                                const json_t *value, struct wl_err *err) {
    const json_t *old = json_object_get(into, key);
    if (old && json_equal(old, value)) {
        return WL_OK;
    }
    size_t n_freed = old ? weight_of_member(key, old) : 0;
    a->n_bytes -= n_freed < a->n_bytes ? n_freed : a->n_bytes;
    enum wl_status status = charge(a, weight_of_member(key, value), err);
    if (status != WL_OK) {
        return status;
    }
    json_t *copy = json_deep_copy(value);
    return json_object_set_new_nocheck(into, key, copy) == 0 ? WL_OK : no_memory(err);
}

enum wl_status openai_store_open(struct openai_assembly *a, json_t *into, const char *key,
                                 json_t *(*make)(void), json_t **out, struct wl_err *err) {
    json_t *empty = make();
    *out = json_object_get(into, key);
    if (!empty) {
        return no_memory(err);
    }
    enum wl_status status = WL_OK;
    if (!*out || json_typeof(*out) != json_typeof(empty)) {
        status = openai_store_set(a, into, key, empty, err);
        *out = json_object_get(into, key);
    }
    json_decref(empty);
    return status;
}

enum wl_status openai_store_extend(struct openai_assembly *a, json_t *list, const json_t *more,
                                   struct wl_err *err) {
    for (size_t i = 0; i < json_array_size(more); i++) {
        const json_t *value = json_array_get(more, i);
        enum wl_status status = charge(a, weight_of(value), err);
        if (status != WL_OK) {
            return status;
        }
        if (json_array_append_new(list, json_deep_copy(value)) != 0) {
            return no_memory(err);
        }
    }
    return WL_OK;
}

// ---- texts that grow

static bool is_text(const struct openai_text *text, const json_t *holder, const char *key) {
    return text->holder == holder && text->key == key;
}

static struct openai_text *find_text(struct openai_assembly *a, const json_t *holder,
                                     const char *key) {
    if (a->n_texts && is_text(&a->texts[a->last_text], holder, key)) {
        return &a->texts[a->last_text];
    }
    for (size_t i = 0; i < a->n_texts; i++) {
        if (is_text(&a->texts[i], holder, key)) {
            a->last_text = i;
            return &a->texts[i];
        }
    }
    return NULL;
}

static enum wl_status make_text(struct openai_assembly *a, json_t *holder, const char *key,
                                struct openai_text **out, struct wl_err *err) {
    enum wl_status status = charge(a, TEXT_BYTES, err);
    if (status != WL_OK) {
        return status;
    }
    if (a->n_texts % TEXTS_STEP == 0) {
        struct openai_text *texts = realloc(a->texts, (a->n_texts + TEXTS_STEP) * sizeof *texts);
        if (!texts) {
            return no_memory(err);
        }
        a->texts = texts;
    }
    // An empty one keeps its place among the members.
    if (json_object_set_new_nocheck(holder, key, json_string("")) != 0) {
        return no_memory(err);
    }
    *out = &a->texts[a->n_texts];
    **out = (struct openai_text){.holder = json_incref(holder), .key = key};
    buf_init(&(*out)->buf, SIZE_MAX / 2); // `charge` is the bound
    a->last_text = a->n_texts++;
    return WL_OK;
}

enum wl_status openai_store_append(struct openai_assembly *a, json_t *holder, const char *key,
                                   const json_t *value, struct wl_err *err) {
    struct openai_text *text = find_text(a, holder, key);
    enum wl_status status = text ? WL_OK : make_text(a, holder, key, &text, err);
    if (status != WL_OK || (status = charge(a, json_string_length(value), err)) != WL_OK) {
        return status;
    }
    return buf_append(&text->buf, json_string_value(value), json_string_length(value))
               ? WL_OK
               : no_memory(err);
}

bool openai_store_put_texts(struct openai_assembly *a) {
    for (size_t i = 0; i < a->n_texts; i++) {
        const struct openai_text *text = &a->texts[i];
        json_t *value = json_stringn_nocheck(buf_text(&text->buf), text->buf.len);
        if (json_object_set_new_nocheck(text->holder, text->key, value) != 0) {
            return false;
        }
    }
    return true;
}

void openai_store_release_texts(struct openai_assembly *a) {
    for (size_t i = 0; i < a->n_texts; i++) {
        json_decref(a->texts[i].holder);
        buf_release(&a->texts[i].buf);
    }
    free(a->texts);
    a->texts = NULL;
    a->n_texts = a->last_text = 0;
}
