#include "catalog/gguf_peek.h"

#include <inttypes.h>
#include <string.h>

#include "base/str.h"
#include "catalog/gguf_cursor.h"

// Value types of GGUF keys.
enum value_type {
    VALUE_U8,
    VALUE_I8,
    VALUE_U16,
    VALUE_I16,
    VALUE_U32,
    VALUE_I32,
    VALUE_F32,
    VALUE_BOOL,
    VALUE_STRING,
    VALUE_ARRAY,
    VALUE_U64,
    VALUE_I64,
    VALUE_F64,
    N_VALUE_TYPES
};

// Bytes of one value; 0 for strings and arrays, which say their own length.
static const unsigned char WIDTHS[N_VALUE_TYPES] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

// A value as far as we keep it: a whole number, a text, or only the number of items.
struct value {
    uint32_t type;
    bool is_number; // a whole number >= 0, or the first item of an array of them
    uint64_t number;
    char text[256];
    uint64_t n_items; // of an array
};

struct peek {
    const struct gguf_bytes *bytes;
    struct gguf_cursor cursor;
    struct gguf_facts *facts;
    struct wl_err *err;
    int64_t file_type;
    uint64_t alignment;
    uint64_t data_end; // of the tensor that ends last, from the start of the data
    uint64_t last_tensor;
    char last_tensor_name[80];
};

void gguf_clean_text(char *out, size_t size, const char *text) {
    size_t used = 0;
    while (*text) {
        size_t len = str_utf8_len(text);
        // U+0080 to U+009F are controls too.
        bool is_control =
            len == 1 ? (unsigned char)text[0] < 0x20 || text[0] == 0x7f
                     : len == 2 && (unsigned char)text[0] == 0xc2 && (unsigned char)text[1] < 0xa0;
        bool is_kept = len && !is_control;
        size_t kept_len = is_kept ? len : 1;
        if (used + kept_len >= size) {
            break;
        }
        memcpy(out + used, is_kept ? text : "?", kept_len);
        used += kept_len;
        text += len ? len : 1;
    }
    out[used] = '\0';
}

static enum wl_status read_number(struct peek *peek, uint32_t type, struct value *value) {
    uint64_t raw = 0;
    enum wl_status status = gguf_cursor_number(&peek->cursor, "a value", WIDTHS[type], &raw);
    bool is_signed =
        type == VALUE_I8 || type == VALUE_I16 || type == VALUE_I32 || type == VALUE_I64;
    bool is_negative = is_signed && (raw >> (8 * WIDTHS[type] - 1) & 1);
    value->is_number = type != VALUE_F32 && type != VALUE_F64 && !is_negative;
    value->number = value->is_number ? raw : 0;
    return status;
}

static enum wl_status skip_strings(struct peek *peek, uint64_t n) {
    enum wl_status status = WL_OK;
    for (uint64_t i = 0; i < n && status == WL_OK; i++) {
        status = gguf_cursor_string(&peek->cursor, "a string of an array", GGUF_MAX_STRING_BYTES,
                                    NULL, 0, NULL);
    }
    return status;
}

static enum wl_status read_array(struct peek *peek, struct value *value, int depth);

static enum wl_status skip_arrays(struct peek *peek, uint64_t n, int depth) {
    enum wl_status status = WL_OK;
    for (uint64_t i = 0; i < n && status == WL_OK; i++) {
        struct value inner;
        status = read_array(peek, &inner, depth + 1);
    }
    return status;
}

static enum wl_status check_type(struct peek *peek, const char *what, uint64_t at, uint32_t type) {
    if (type < N_VALUE_TYPES) {
        return WL_OK;
    }
    return wl_err_set(peek->err, WL_INPUT,
                      "%s at byte %" PRIu64 ": expected 0 to %d, found %" PRIu32, what, at,
                      N_VALUE_TYPES - 1, type);
}

// The smallest an item can be bounds the count before the first item is looked at.
static enum wl_status check_items(struct peek *peek, uint64_t at, uint32_t type, uint64_t n) {
    uint64_t least = type == VALUE_STRING ? 8 : type == VALUE_ARRAY ? 12 : WIDTHS[type];
    uint64_t left = gguf_cursor_left(&peek->cursor);
    if (n <= left / least) {
        return WL_OK;
    }
    bool is_cut = peek->cursor.end < peek->cursor.bytes->file_bytes &&
                  n <= (peek->cursor.bytes->file_bytes - peek->cursor.at) / least;
    return wl_err_set(peek->err, is_cut ? WL_LIMIT : WL_INPUT,
                      "array at byte %" PRIu64 ": expected at most %" PRIu64
                      " items in the %" PRIu64 " bytes that are left, found %" PRIu64,
                      at, left / least, left, n);
}

static enum wl_status read_array(struct peek *peek, struct value *value, int depth) {
    uint64_t at = peek->cursor.at;
    if (depth > GGUF_MAX_ARRAY_DEPTH) {
        return wl_err_set(peek->err, WL_LIMIT, "array at byte %" PRIu64 ": nested deeper than %d",
                          at, GGUF_MAX_ARRAY_DEPTH);
    }
    uint32_t type;
    enum wl_status status = gguf_cursor_u32(&peek->cursor, "the item type of an array", &type);
    if (status != WL_OK || (status = check_type(peek, "array item type", at, type)) != WL_OK ||
        (status = gguf_cursor_u64(&peek->cursor, "an array's length", &value->n_items)) != WL_OK ||
        (status = check_items(peek, at, type, value->n_items)) != WL_OK || value->n_items == 0) {
        return status;
    }
    if (type == VALUE_STRING) {
        return skip_strings(peek, value->n_items);
    }
    if (type == VALUE_ARRAY) {
        return skip_arrays(peek, value->n_items, depth);
    }
    status = read_number(peek, type, value);
    uint64_t rest = (value->n_items - 1) * WIDTHS[type]; // fits: check_items bounded the product
    return status == WL_OK ? gguf_cursor_skip(&peek->cursor, "an array", rest) : status;
}

static const struct gguf_text *find_text(const struct peek *peek, const char *key) {
    for (size_t i = 0; i < peek->bytes->n_texts; i++) {
        if (strcmp(peek->bytes->texts[i].key, key) == 0) {
            return &peek->bytes->texts[i];
        }
    }
    return NULL;
}

// `text` may be NULL.
static enum wl_status read_text(struct peek *peek, const struct gguf_text *text,
                                struct value *value) {
    char *out = text ? text->out : value->text;
    size_t size = text ? text->size : sizeof value->text;
    enum wl_status status =
        gguf_cursor_string(&peek->cursor, "a string", GGUF_MAX_STRING_BYTES, out, size, NULL);
    if (status == WL_OK && text) {
        str_copy(value->text, sizeof value->text, out);
    }
    return status;
}

static enum wl_status read_value(struct peek *peek, const struct gguf_text *text,
                                 struct value *value) {
    *value = (struct value){0};
    uint64_t at = peek->cursor.at;
    enum wl_status status = gguf_cursor_u32(&peek->cursor, "a value type", &value->type);
    if (status != WL_OK || (status = check_type(peek, "value type", at, value->type)) != WL_OK) {
        return status;
    }
    if (value->type == VALUE_STRING) {
        return read_text(peek, text, value);
    }
    if (value->type == VALUE_ARRAY) {
        return read_array(peek, value, 1);
    }
    return read_number(peek, value->type, value);
}

static uint32_t as_u32(const struct value *value) {
    return value->is_number && value->number <= UINT32_MAX ? (uint32_t)value->number : 0;
}

static void keep_text(char *out, size_t size, const struct value *value) {
    if (value->type == VALUE_STRING) {
        gguf_clean_text(out, size, value->text);
    }
}

static void keep_general(struct peek *peek, const char *key, const struct value *value) {
    struct gguf_facts *facts = peek->facts;
    if (strcmp(key, "architecture") == 0) {
        keep_text(facts->arch, sizeof facts->arch, value);
    } else if (strcmp(key, "name") == 0) {
        keep_text(facts->name, sizeof facts->name, value);
    } else if (strcmp(key, "type") == 0) {
        keep_text(facts->kind, sizeof facts->kind, value);
    } else if (strcmp(key, "size_label") == 0) {
        keep_text(facts->size_label, sizeof facts->size_label, value);
    } else if (strcmp(key, "file_type") == 0 && value->is_number && value->number < 1024) {
        peek->file_type = (int64_t)value->number;
    } else if (strcmp(key, "alignment") == 0 && value->is_number) {
        peek->alignment = value->number;
    }
}

// Keys of the architecture, "llama.block_count", without their first word.
static void keep_shape(struct gguf_facts *facts, const char *key, const struct value *value) {
    const struct {
        const char *key;
        uint32_t *field;
    } rows[] = {
        {"block_count", &facts->n_layer},
        {"context_length", &facts->n_ctx_train},
        {"embedding_length", &facts->n_embd},
        {"attention.head_count", &facts->n_head},
        {"attention.head_count_kv", &facts->n_head_kv},
        {"attention.key_length", &facts->head_dim},
        {"feed_forward_length", &facts->n_ff},
        {"vocab_size", &facts->n_vocab},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (strcmp(key, rows[i].key) == 0) {
            *rows[i].field = as_u32(value);
        }
    }
}

static void keep_clip(struct gguf_facts *facts, const char *key, const struct value *value) {
    if (strcmp(key, "projector_type") == 0 || strcmp(key, "vision.projector_type") == 0 ||
        (strcmp(key, "audio.projector_type") == 0 && !facts->projector[0])) {
        keep_text(facts->projector, sizeof facts->projector, value);
    } else if (strcmp(key, "vision.projection_dim") == 0 ||
               (strcmp(key, "audio.projection_dim") == 0 && !facts->projection_dim)) {
        facts->projection_dim = as_u32(value);
    } else if (strcmp(key, "has_vision_encoder") == 0 || strcmp(key, "has_audio_encoder") == 0) {
        facts->is_mmproj = facts->is_mmproj || value->number;
    }
}

static void keep_split(struct gguf_facts *facts, const char *key, const struct value *value) {
    if (strcmp(key, "no") == 0) {
        facts->part_no = as_u32(value);
    } else if (strcmp(key, "count") == 0) {
        facts->n_parts = as_u32(value);
    }
}

static void keep_own(struct gguf_facts *facts, const char *key, const struct value *value) {
    if (strcmp(key, "synth") == 0) {
        facts->is_synthetic = value->type == VALUE_STRING ? value->text[0] : value->number != 0;
    } else if (strcmp(key, "synth.seed") == 0 && value->is_number) {
        facts->has_synth_seed = true;
        facts->synth_seed = value->number;
    }
}

static void keep(struct peek *peek, const char *key, const struct value *value) {
    const char *dot = strchr(key, '.');
    if (!dot) {
        return;
    }
    size_t len = (size_t)(dot - key);
    const char *rest = dot + 1;
    struct gguf_facts *facts = peek->facts;
    if (len == 7 && memcmp(key, "general", len) == 0) {
        keep_general(peek, rest, value);
    } else if (len == 4 && memcmp(key, "clip", len) == 0) {
        keep_clip(facts, rest, value);
    } else if (len == 5 && memcmp(key, "split", len) == 0) {
        keep_split(facts, rest, value);
    } else if (len == 7 && memcmp(key, "wattlaw", len) == 0) {
        keep_own(facts, rest, value);
    } else if (strcmp(key, "tokenizer.ggml.tokens") == 0) {
        if (!facts->n_vocab && value->n_items <= UINT32_MAX) {
            facts->n_vocab = (uint32_t)value->n_items;
        }
    } else if (!facts->arch[0] || (strlen(facts->arch) == len && !memcmp(key, facts->arch, len))) {
        keep_shape(facts, rest, value);
    }
}

static enum wl_status read_keys(struct peek *peek) {
    for (uint64_t i = 0; i < peek->facts->n_keys; i++) {
        char key[128]; // longer ones are none of ours
        struct value value;
        enum wl_status status = gguf_cursor_string(&peek->cursor, "a key", GGUF_MAX_KEY_BYTES - 1,
                                                   key, sizeof key, NULL);
        if (status != WL_OK) {
            return wl_err_prefix(peek->err, "key %" PRIu64, i);
        }
        status = read_value(peek, find_text(peek, key), &value);
        if (status != WL_OK) {
            return wl_err_prefix(peek->err, "key %" PRIu64 " '%s'", i, key);
        }
        keep(peek, key, &value);
    }
    return WL_OK;
}

// Multiplies the dimensions; false when the product does not fit.
static bool read_count(const uint64_t *dims, uint32_t n_dims, uint64_t *out) {
    uint64_t n = 1;
    for (uint32_t i = 0; i < n_dims; i++) {
        if (dims[i] != 0 && n > (uint64_t)INT64_MAX / dims[i]) {
            return false;
        }
        n *= dims[i];
    }
    *out = n;
    return true;
}

struct tensor {
    char name[GGUF_MAX_TENSOR_NAME_BYTES + 1];
    uint64_t dims[4];
    uint32_t n_dims, type;
    uint64_t offset;
};

static enum wl_status read_tensor(struct peek *peek, struct tensor *tensor) {
    struct gguf_cursor *cursor = &peek->cursor;
    enum wl_status status =
        gguf_cursor_string(cursor, "a tensor's name", GGUF_MAX_TENSOR_NAME_BYTES, tensor->name,
                           sizeof tensor->name, NULL);
    uint64_t at = cursor->at;
    if (status == WL_OK) {
        status = gguf_cursor_u32(cursor, "a tensor's number of dimensions", &tensor->n_dims);
    }
    if (status == WL_OK && tensor->n_dims > 4) {
        return wl_err_set(peek->err, WL_INPUT,
                          "dimensions at byte %" PRIu64 ": expected at most 4, found %" PRIu32, at,
                          tensor->n_dims);
    }
    for (uint32_t i = 0; i < tensor->n_dims && status == WL_OK; i++) {
        status = gguf_cursor_u64(cursor, "a tensor's dimension", &tensor->dims[i]);
    }
    if (status == WL_OK) {
        status = gguf_cursor_u32(cursor, "a tensor's type", &tensor->type);
    }
    return status == WL_OK ? gguf_cursor_u64(cursor, "a tensor's offset", &tensor->offset) : status;
}

static enum wl_status add_typed(struct peek *peek, const struct tensor *tensor,
                                const struct gguf_type *type, uint64_t index, uint64_t n) {
    struct gguf_facts *facts = peek->facts;
    uint64_t row = tensor->n_dims ? tensor->dims[0] : 1;
    if (row % type->block_weights) {
        return wl_err_set(peek->err, WL_INPUT,
                          "%s rows: expected a multiple of %" PRIu32 " weights, found %" PRIu64,
                          type->name, type->block_weights, row);
    }
    uint64_t blocks = n / type->block_weights;
    if (blocks > (uint64_t)INT64_MAX / 2 / type->block_bytes ||
        tensor->offset > (uint64_t)INT64_MAX / 2) {
        return wl_err_set(peek->err, WL_INPUT,
                          "%" PRIu64 " weights at data byte %" PRIu64 " fit in no file", n,
                          tensor->offset);
    }
    uint64_t size = blocks * type->block_bytes;
    if (tensor->offset + size > peek->data_end) {
        peek->data_end = tensor->offset + size;
        peek->last_tensor = index;
        gguf_clean_text(peek->last_tensor_name, sizeof peek->last_tensor_name, tensor->name);
    }
    if (facts->tensor_bytes + size < size || facts->tensor_bytes + size > (uint64_t)INT64_MAX) {
        return wl_err_set(peek->err, WL_INPUT, "all tensors together fit in no file");
    }
    facts->tensor_bytes += size;
    facts->type_tensors[tensor->type]++;
    facts->type_params[tensor->type] += n;
    return WL_OK;
}

static enum wl_status add_tensor(struct peek *peek, const struct tensor *tensor, uint64_t index) {
    struct gguf_facts *facts = peek->facts;
    uint64_t n;
    if (!read_count(tensor->dims, tensor->n_dims, &n) ||
        facts->n_params > (uint64_t)INT64_MAX - n) {
        return wl_err_set(peek->err, WL_INPUT, "more weights than fit in 63 bits");
    }
    facts->n_params += n;
    facts->has_output = facts->has_output || strcmp(tensor->name, "output.weight") == 0;
    if (tensor->offset % peek->alignment) {
        return wl_err_set(peek->err, WL_INPUT,
                          "data offset: expected a multiple of %" PRIu64 ", found %" PRIu64,
                          peek->alignment, tensor->offset);
    }
    const struct gguf_type *type = gguf_type_at(tensor->type);
    if (!type) {
        facts->n_unknown_types++; // newer than us: still a model, of unknown size
        return WL_OK;
    }
    return add_typed(peek, tensor, type, index, n);
}

static enum wl_status read_tensors(struct peek *peek) {
    for (uint64_t i = 0; i < peek->facts->n_tensors; i++) {
        struct tensor tensor = {0};
        enum wl_status status = read_tensor(peek, &tensor);
        if (status == WL_OK) {
            status = add_tensor(peek, &tensor, i);
        }
        if (status != WL_OK) {
            return wl_err_prefix(peek->err, "tensor %" PRIu64 " '%s'", i, tensor.name);
        }
    }
    peek->facts->header_bytes = peek->cursor.at;
    return WL_OK;
}

static enum wl_status check_data(struct peek *peek) {
    const struct gguf_bytes *bytes = peek->cursor.bytes;
    uint64_t start = (peek->cursor.at + peek->alignment - 1) / peek->alignment * peek->alignment;
    uint64_t end = start + peek->data_end; // both far below 2^63
    if (bytes->is_header_only || peek->data_end == 0 || end <= bytes->file_bytes) {
        return WL_OK;
    }
    return wl_err_set(peek->err, WL_INPUT,
                      "tensor %" PRIu64 " '%s' ends at byte %" PRIu64 " but the file has %" PRIu64
                      "; is the download complete?",
                      peek->last_tensor, peek->last_tensor_name, end, bytes->file_bytes);
}

static enum wl_status read_magic(struct peek *peek) {
    char magic[5] = "";
    uint64_t word;
    enum wl_status status = gguf_cursor_number(&peek->cursor, "the magic", 4, &word);
    if (status != WL_OK) {
        return status;
    }
    for (int i = 0; i < 4; i++) {
        magic[i] = (char)(word >> (8 * i) & 0xff);
    }
    if (memcmp(magic, "GGUF", 4) != 0) {
        char found[8];
        gguf_clean_text(found, sizeof found, magic);
        return wl_err_set(peek->err, WL_INPUT,
                          "not a GGUF file: expected 'GGUF' at byte 0, found '%s'", found);
    }
    return WL_OK;
}

static enum wl_status read_version(struct peek *peek) {
    uint32_t version;
    enum wl_status status = gguf_cursor_u32(&peek->cursor, "the version", &version);
    if (status != WL_OK) {
        return status;
    }
    peek->facts->version = version;
    if (version == 2 || version == 3) {
        return WL_OK;
    }
    if (version && (version & 0xffff) == 0) {
        return wl_err_set(peek->err, WL_INPUT,
                          "version at byte 4: a big-endian file; expected a little-endian one");
    }
    return wl_err_set(peek->err, WL_INPUT, "version at byte 4: expected 2 or 3, found %" PRIu32,
                      version);
}

static enum wl_status check_count(struct peek *peek, const char *what, uint64_t at, uint64_t n,
                                  uint64_t max) {
    if (n <= max) {
        return WL_OK;
    }
    return wl_err_set(peek->err, WL_LIMIT,
                      "number of %s at byte %" PRIu64 ": expected at most %" PRIu64
                      ", found %" PRIu64,
                      what, at, max, n);
}

static enum wl_status read_counts(struct peek *peek) {
    struct gguf_facts *facts = peek->facts;
    enum wl_status status =
        gguf_cursor_u64(&peek->cursor, "the number of tensors", &facts->n_tensors);
    if (status == WL_OK) {
        status = check_count(peek, "tensors", 8, facts->n_tensors, GGUF_MAX_TENSORS);
    }
    if (status == WL_OK) {
        status = gguf_cursor_u64(&peek->cursor, "the number of keys", &facts->n_keys);
    }
    return status == WL_OK ? check_count(peek, "keys", 16, facts->n_keys, GGUF_MAX_KEYS) : status;
}

static enum wl_status check_alignment(struct peek *peek) {
    uint64_t value = peek->alignment;
    if (value && value <= GGUF_MAX_ALIGNMENT && (value & (value - 1)) == 0) {
        return WL_OK;
    }
    return wl_err_set(peek->err, WL_INPUT,
                      "general.alignment: expected a power of two up to %d, found %" PRIu64,
                      GGUF_MAX_ALIGNMENT, value);
}

// The mixture the file names, else the type that holds most weights.
static void name_file_type(struct peek *peek) {
    struct gguf_facts *facts = peek->facts;
    const char *name = gguf_file_type_name(peek->file_type);
    uint64_t most = 0;
    for (uint32_t i = 0; i < GGUF_MAX_TYPES && peek->file_type < 0; i++) {
        if (facts->type_params[i] > most) {
            most = facts->type_params[i];
            name = gguf_type_at(i)->name;
        }
    }
    if (name) {
        gguf_clean_text(facts->file_type, sizeof facts->file_type, name);
    }
}

enum wl_status gguf_peek(const struct gguf_bytes *bytes, struct gguf_facts *out,
                         struct wl_err *err) {
    struct wl_err own;
    struct peek peek = {
        .bytes = bytes, .facts = out, .err = err ? err : &own, .file_type = -1, .alignment = 32};
    *out = (struct gguf_facts){0};
    gguf_cursor_init(&peek.cursor, bytes, peek.err);
    enum wl_status status;
    if ((status = read_magic(&peek)) != WL_OK || (status = read_version(&peek)) != WL_OK ||
        (status = read_counts(&peek)) != WL_OK || (status = read_keys(&peek)) != WL_OK) {
        return status;
    }
    out->is_mmproj =
        out->is_mmproj || strcmp(out->arch, "clip") == 0 || strcmp(out->kind, "mmproj") == 0;
    if ((status = check_alignment(&peek)) != WL_OK || (status = read_tensors(&peek)) != WL_OK) {
        name_file_type(&peek);
        return status;
    }
    name_file_type(&peek);
    return check_data(&peek);
}

static enum wl_status read_memory(const void *context, uint64_t offset, void *out, size_t len,
                                  struct wl_err *err) {
    (void)err;
    memcpy(out, (const char *)context + offset, len);
    return WL_OK;
}

enum wl_status gguf_peek_memory(const void *data, size_t len, struct gguf_facts *out,
                                struct wl_err *err) {
    struct gguf_bytes bytes = {.read = read_memory, .context = data, .file_bytes = len};
    return gguf_peek(&bytes, out, err);
}
