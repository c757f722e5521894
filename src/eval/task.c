#include "eval/task.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/rng.h"
#include "base/str.h"

static const uint64_t DRAW_SEED = 1;
static const char *const KEYS[] = {"id",         "kind",   "prompt",    "images",
                                   "reference",  "scorer", "tolerance", "tolerance_rel",
                                   "max_tokens", NULL};

static enum wl_status no_memory(struct wl_err *err) {
    return wl_err_set(err, WL_MEMORY, "no memory for the task file");
}

static const char *found_text(const json_t *value) {
    static const char *const NAMES[] = {"an object", "a list", "text",  "a whole number",
                                        "a number",  "true",   "false", "null"};
    size_t type = (size_t)json_typeof(value);
    return type < sizeof NAMES / sizeof NAMES[0] ? NAMES[type] : "something else";
}

static enum wl_status wrong(const char *key, const char *expected, const json_t *value,
                            struct wl_err *err) {
    if (!value) {
        return wl_err_set(err, WL_INPUT, "key '%s' is missing: expected %s", key, expected);
    }
    return wl_err_set(err, WL_INPUT, "key '%s': expected %s, found %s", key, expected,
                      found_text(value));
}

// ---- keys

static enum wl_status check_keys(json_t *object, struct wl_err *err) {
    const char *key;
    json_t *value;
    json_object_foreach(object, key, value) {
        size_t i = 0;
        while (KEYS[i] && strcmp(KEYS[i], key) != 0) {
            i++;
        }
        if (!KEYS[i] && !str_starts_with(key, "x-")) {
            const char *nearest = str_nearest(key, KEYS);
            return wl_err_set(
                err, WL_INPUT, "unknown key '%s'%s%s%s (keys of your own begin with 'x-')", key,
                nearest ? ": did you mean '" : "", nearest ? nearest : "", nearest ? "'?" : "");
        }
    }
    return WL_OK;
}

static bool has_control(const char *text) {
    for (; *text; text++) {
        if ((unsigned char)*text < 0x20 || *text == 0x7f) {
            return true;
        }
    }
    return false;
}

// Text that is shown in tables and lines: short, and nothing that moves a cursor.
static enum wl_status take_name(const json_t *object, const char *key, size_t size, char **out,
                                struct wl_err *err) {
    const json_t *value = json_object_get(object, key);
    if (!json_is_string(value)) {
        return wrong(key, "text", value, err);
    }
    const char *text = json_string_value(value);
    if (strlen(text) >= size) {
        return wl_err_set(err, WL_LIMIT, "key '%s': expected at most %zu bytes, found %zu", key,
                          size - 1, strlen(text));
    }
    if (has_control(text)) {
        return wl_err_set(err, WL_INPUT, "key '%s': expected no control characters, found '%s'",
                          key, text);
    }
    *out = strdup(text);
    return *out ? WL_OK : no_memory(err);
}

static enum wl_status take_id(const json_t *object, size_t line, char **out, struct wl_err *err) {
    if (json_object_get(object, "id")) {
        enum wl_status status = take_name(object, "id", TASK_ID_BYTES, out, err);
        bool is_empty = status == WL_OK && *out && !(*out)[0];
        return is_empty ? wl_err_set(err, WL_INPUT, "key 'id': expected text, found none") : status;
    }
    char text[32];
    snprintf(text, sizeof text, "line %zu", line);
    *out = strdup(text);
    return *out ? WL_OK : no_memory(err);
}

static enum wl_status take_kind(const json_t *object, char **out, struct wl_err *err) {
    if (json_object_get(object, "kind")) {
        return take_name(object, "kind", TASK_KIND_BYTES, out, err);
    }
    *out = strdup("");
    return *out ? WL_OK : no_memory(err);
}

static enum wl_status take_prompt(const json_t *object, char **out, struct wl_err *err) {
    const json_t *value = json_object_get(object, "prompt");
    if (!json_is_string(value) || json_string_length(value) == 0) {
        return json_is_string(value)
                   ? wl_err_set(err, WL_INPUT, "key 'prompt': expected text, found none")
                   : wrong("prompt", "text", value, err);
    }
    *out = strdup(json_string_value(value));
    return *out ? WL_OK : no_memory(err);
}

// A list of texts that are not empty, or (when is_single_too) one of them.
struct text_list {
    const char *key;
    const char *expected;
    size_t max;
    bool is_single_too;
};

static enum wl_status add_text(const struct text_list *list, const json_t *value, char **texts,
                               size_t *n, struct wl_err *err) {
    if (!json_is_string(value)) {
        return wrong(list->key, list->expected, value, err);
    }
    if (json_string_length(value) == 0) {
        return wl_err_set(err, WL_INPUT, "key '%s': expected %s, found an empty one", list->key,
                          list->expected);
    }
    texts[*n] = strdup(json_string_value(value));
    if (!texts[*n]) {
        return no_memory(err);
    }
    (*n)++;
    return WL_OK;
}

static enum wl_status take_texts(const json_t *object, const struct text_list *list, char ***texts,
                                 size_t *n, struct wl_err *err) {
    const json_t *value = json_object_get(object, list->key);
    bool is_list = json_is_array(value);
    if (!is_list && !(list->is_single_too && json_is_string(value))) {
        return wrong(list->key, list->expected, value, err);
    }
    size_t n_given = is_list ? json_array_size(value) : 1;
    if (n_given == 0 || n_given > list->max) {
        return wl_err_set(err, n_given ? WL_LIMIT : WL_INPUT,
                          "key '%s': expected 1 to %zu in the list, found %zu", list->key,
                          list->max, n_given);
    }
    *texts = calloc(n_given, sizeof **texts);
    if (!*texts) {
        return no_memory(err);
    }
    enum wl_status status = WL_OK;
    for (size_t i = 0; i < n_given && status == WL_OK; i++) {
        status = add_text(list, is_list ? json_array_get(value, i) : value, *texts, n, err);
    }
    return status;
}

static enum wl_status take_images(const json_t *object, struct task_item *item,
                                  struct wl_err *err) {
    static const struct text_list LIST = {"images", "a list of file names", TASK_MAX_IMAGES, false};
    return json_object_get(object, "images")
               ? take_texts(object, &LIST, &item->images, &item->n_images, err)
               : WL_OK;
}

static enum wl_status take_tolerance(const json_t *object, const char *key, double max,
                                     enum score_method method, double *out, struct wl_err *err) {
    const json_t *value = json_object_get(object, key);
    if (!value) {
        return WL_OK;
    }
    if (method != SCORE_NUMBER) {
        return wl_err_set(err, WL_INPUT, "key '%s' is for the scorer 'number', found '%s'", key,
                          score_method_name(method));
    }
    if (!json_is_number(value)) {
        return wrong(key, "a number", value, err);
    }
    *out = json_number_value(value);
    if (!(*out >= 0 && *out <= max)) {
        return wl_err_set(err, WL_INPUT, "key '%s': expected 0 to %g, found %g", key, max, *out);
    }
    return WL_OK;
}

static enum wl_status take_rule(const json_t *object, struct score_rule *rule, struct wl_err *err) {
    const json_t *scorer = json_object_get(object, "scorer");
    rule->method = SCORE_NORMALISED;
    if (scorer && !json_is_string(scorer)) {
        return wrong("scorer", "text", scorer, err);
    }
    if (scorer && score_method_by_name(json_string_value(scorer), &rule->method, err) != WL_OK) {
        return wl_err_prefix(err, "key 'scorer'");
    }
    enum wl_status status =
        take_tolerance(object, "tolerance", 1e300, rule->method, &rule->tolerance, err);
    return status == WL_OK
               ? take_tolerance(object, "tolerance_rel", 1, rule->method, &rule->tolerance_rel, err)
               : status;
}

static enum wl_status take_references(const json_t *object, struct task_item *item,
                                      struct wl_err *err) {
    static const struct text_list LIST = {"reference", "text, or a list of texts",
                                          TASK_MAX_REFERENCES, true};
    enum wl_status status = take_texts(object, &LIST, &item->references, &item->n_references, err);
    for (size_t i = 0; i < item->n_references && status == WL_OK; i++) {
        status = score_check_reference(&item->rule, item->references[i], err);
        if (status != WL_OK) {
            wl_err_prefix(err, "key 'reference'");
        }
    }
    return status;
}

static enum wl_status take_max_tokens(const json_t *object, uint32_t *out, struct wl_err *err) {
    const json_t *value = json_object_get(object, "max_tokens");
    if (!value) {
        return WL_OK;
    }
    json_int_t n = json_integer_value(value);
    if (!json_is_integer(value)) {
        return wrong("max_tokens", "a whole number", value, err);
    }
    if (n < 1 || n > TASK_MAX_TOKENS) {
        return wl_err_set(err, WL_INPUT, "key 'max_tokens': expected 1 to %d, found %lld",
                          TASK_MAX_TOKENS, (long long)n);
    }
    *out = (uint32_t)n;
    return WL_OK;
}

// ---- lines

static void release_texts(char **texts, size_t n) {
    for (size_t i = 0; i < n; i++) {
        free(texts[i]);
    }
    free(texts);
}

static void release_item(struct task_item *item) {
    free(item->id);
    free(item->kind);
    free(item->prompt);
    release_texts(item->images, item->n_images);
    release_texts(item->references, item->n_references);
    *item = (struct task_item){0};
}

static enum wl_status parse_object(json_t *object, size_t line, struct task_item *item,
                                   struct wl_err *err) {
    enum wl_status status = check_keys(object, err);
    if (status != WL_OK || (status = take_id(object, line, &item->id, err)) != WL_OK ||
        (status = take_kind(object, &item->kind, err)) != WL_OK ||
        (status = take_prompt(object, &item->prompt, err)) != WL_OK ||
        (status = take_images(object, item, err)) != WL_OK ||
        (status = take_rule(object, &item->rule, err)) != WL_OK ||
        (status = take_references(object, item, err)) != WL_OK) {
        return status;
    }
    return take_max_tokens(object, &item->max_tokens, err);
}

// "bad JSON at line 1 column 7": the line is the file's, and the caller says it.
static void drop_line_one(struct wl_err *err) {
    static const char WORDS[] = " at line 1";
    char *at = strstr(err->message, WORDS);
    if (at) {
        memmove(at + 3, at + sizeof WORDS - 1, strlen(at + sizeof WORDS - 1) + 1);
    }
}

static enum wl_status parse_line(const char *text, size_t len, size_t line, struct task_item *item,
                                 struct wl_err *err) {
    json_t *object;
    enum wl_status status = wl_json_parse(text, len, &object, err);
    if (status != WL_OK) {
        drop_line_one(err);
        return status;
    }
    if (json_is_object(object)) {
        status = parse_object(object, line, item, err);
    } else {
        status = wl_err_set(err, WL_INPUT, "expected an object {\"prompt\": ...}, found %s",
                            found_text(object));
    }
    json_decref(object);
    return status;
}

static bool is_space(char c) {
    return c == ' ' || c == '\t' || c == '\r';
}

// The line without white space at its ends; NULL when it is blank or a comment.
static const char *line_content(const char *text, size_t *len) {
    while (*len && is_space(text[0])) {
        text++;
        (*len)--;
    }
    while (*len && is_space(text[*len - 1])) {
        (*len)--;
    }
    return *len && text[0] != '#' ? text : NULL;
}

// ---- the whole file

struct reader {
    struct task_set *set;
    size_t *lines; // of each item, for messages
    size_t capacity;
};

static enum wl_status make_room(struct reader *reader, struct wl_err *err) {
    if (reader->set->n == TASK_MAX_ITEMS) {
        return wl_err_set(err, WL_LIMIT, "more than %d items", TASK_MAX_ITEMS);
    }
    if (reader->set->n < reader->capacity) {
        return WL_OK;
    }
    size_t capacity = reader->capacity ? 2 * reader->capacity : 64;
    struct task_item *items = realloc(reader->set->items, capacity * sizeof *items);
    if (!items) {
        return no_memory(err);
    }
    reader->set->items = items;
    size_t *lines = realloc(reader->lines, capacity * sizeof *lines);
    if (!lines) {
        return no_memory(err);
    }
    reader->lines = lines;
    reader->capacity = capacity;
    return WL_OK;
}

static enum wl_status read_line(struct reader *reader, const char *text, size_t len, size_t line,
                                struct wl_err *err) {
    if (len > TASK_MAX_LINE_BYTES) {
        return wl_err_set(err, WL_LIMIT, "expected at most %d bytes, found %zu",
                          TASK_MAX_LINE_BYTES, len);
    }
    text = line_content(text, &len);
    if (!text) {
        return WL_OK;
    }
    enum wl_status status = make_room(reader, err);
    if (status != WL_OK) {
        return status;
    }
    struct task_set *set = reader->set;
    struct task_item *item = &set->items[set->n];
    *item = (struct task_item){0};
    status = parse_line(text, len, line, item, err);
    if (status != WL_OK) {
        release_item(item);
        return status;
    }
    reader->lines[set->n++] = line;
    return WL_OK;
}

static enum wl_status read_lines(struct reader *reader, const char *text, size_t n,
                                 struct wl_err *err) {
    static const char BOM[] = "\xef\xbb\xbf";
    size_t skip = n >= 3 && memcmp(text, BOM, 3) == 0 ? 3 : 0;
    size_t line = 0;
    for (size_t at = skip; at < n; line++) {
        const char *end = memchr(text + at, '\n', n - at);
        size_t len = end ? (size_t)(end - text) - at : n - at;
        enum wl_status status = read_line(reader, text + at, len, line + 1, err);
        if (status != WL_OK) {
            wl_err_prefix(err, "line %zu", line + 1);
            return status;
        }
        at += len + 1;
    }
    return WL_OK;
}

struct id_line {
    const char *id;
    size_t line;
};

static int compare_ids(const void *a, const void *b) {
    const struct id_line *x = a, *y = b;
    int order = strcmp(x->id, y->id);
    return order ? order : (x->line > y->line) - (x->line < y->line);
}

static enum wl_status check_ids(const struct reader *reader, struct wl_err *err) {
    size_t n = reader->set->n;
    struct id_line *ids = malloc((n + 1) * sizeof *ids);
    if (!ids || !reader->lines) {
        free(ids);
        return no_memory(err);
    }
    for (size_t i = 0; i < n; i++) {
        ids[i] = (struct id_line){reader->set->items[i].id, reader->lines[i]};
    }
    qsort(ids, n, sizeof *ids, compare_ids);
    enum wl_status status = WL_OK;
    for (size_t i = 1; i < n && status == WL_OK; i++) {
        if (strcmp(ids[i].id, ids[i - 1].id) == 0) {
            status = wl_err_set(err, WL_INPUT, "line %zu: id '%s' was used in line %zu already",
                                ids[i].line, ids[i].id, ids[i - 1].line);
        }
    }
    free(ids);
    return status;
}

enum wl_status task_set_parse(const char *text, size_t n, struct task_set *out,
                              struct wl_err *err) {
    *out = (struct task_set){0};
    struct wl_err local = {0};
    struct reader reader = {.set = out};
    enum wl_status status = read_lines(&reader, text, n, &local);
    if (status == WL_OK && out->n == 0) {
        status = wl_err_set(&local, WL_INPUT,
                            "no item: expected a line such as {\"prompt\": \"...\", \"reference\": "
                            "\"...\"}");
    }
    if (status == WL_OK) {
        status = check_ids(&reader, &local);
    }
    free(reader.lines);
    if (status != WL_OK) {
        task_set_release(out);
        if (err) {
            *err = local;
        }
    }
    return status;
}

void task_set_release(struct task_set *set) {
    for (size_t i = 0; i < set->n; i++) {
        release_item(&set->items[i]);
    }
    free(set->items);
    *set = (struct task_set){0};
}

// Every k-th item would miss kinds that alternate.
enum wl_status task_set_draw(struct task_set *set, size_t n, struct wl_err *err) {
    if (n == 0 || n >= set->n) {
        return WL_OK;
    }
    uint32_t *order = calloc(set->n, sizeof *order);
    bool *is_kept = calloc(set->n, sizeof *is_kept);
    if (!order || !is_kept) {
        free(order);
        free(is_kept);
        return no_memory(err);
    }
    struct rng rng;
    rng_seed(&rng, DRAW_SEED);
    for (size_t i = 0; i < set->n; i++) {
        order[i] = (uint32_t)i;
    }
    rng_shuffle_u32(&rng, order, set->n);
    for (size_t i = 0; i < n; i++) {
        is_kept[order[i]] = true;
    }
    size_t n_kept = 0;
    for (size_t i = 0; i < set->n; i++) {
        struct task_item item = set->items[i];
        if (is_kept[i]) {
            set->items[n_kept++] = item;
        } else {
            release_item(&item);
        }
    }
    set->n = n_kept;
    free(order);
    free(is_kept);
    return WL_OK;
}

enum wl_status task_set_append(struct task_set *set, struct task_set *more, struct wl_err *err) {
    if (set->n + more->n > TASK_MAX_ITEMS) {
        return wl_err_set(err, WL_LIMIT, "more than %d items", TASK_MAX_ITEMS);
    }
    for (size_t i = 0; i < set->n; i++) {
        for (size_t k = 0; k < more->n; k++) {
            if (strcmp(set->items[i].id, more->items[k].id) == 0) {
                return wl_err_set(err, WL_INPUT, "both task files have an item '%s'",
                                  set->items[i].id);
            }
        }
    }
    struct task_item *items = realloc(set->items, (set->n + more->n + 1) * sizeof *items);
    if (!items) {
        return no_memory(err);
    }
    if (more->n > 0) {
        memcpy(items + set->n, more->items, more->n * sizeof *items);
    }
    set->items = items;
    set->n += more->n;
    free(more->items);
    *more = (struct task_set){0};
    return WL_OK;
}
