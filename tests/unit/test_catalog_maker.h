// Writes tiny GGUF files for the tests of src/catalog, byte by byte, right or wrong on purpose.
#ifndef WATTLAW_TESTS_TEST_CATALOG_MAKER_H
#define WATTLAW_TESTS_TEST_CATALOG_MAKER_H

#include <stdint.h>
#include <string.h>

#include "base/buf.h"

struct gguf_maker {
    struct buf bytes;
    uint64_t n_tensors, n_keys;
    uint64_t data_bytes; // claimed by the tensors so far
};

static inline void put_number(struct buf *buf, uint64_t value, size_t width) {
    for (size_t i = 0; i < width; i++) {
        unsigned char byte = (unsigned char)(value >> (8 * i));
        buf_append(buf, &byte, 1);
    }
}

static inline void put_string(struct buf *buf, const char *text) {
    put_number(buf, strlen(text), 8);
    buf_puts(buf, text);
}

static inline void maker_init(struct gguf_maker *maker) {
    *maker = (struct gguf_maker){0};
    buf_init(&maker->bytes, 64 << 20);
    buf_puts(&maker->bytes, "GGUF");
    put_number(&maker->bytes, 3, 4);
    put_number(&maker->bytes, 0, 8);
    put_number(&maker->bytes, 0, 8);
}

static inline void maker_key(struct gguf_maker *maker, const char *key, uint32_t type) {
    maker->n_keys++;
    put_string(&maker->bytes, key);
    put_number(&maker->bytes, type, 4);
}

static inline void maker_text(struct gguf_maker *maker, const char *key, const char *value) {
    maker_key(maker, key, 8);
    put_string(&maker->bytes, value);
}

static inline void maker_u32(struct gguf_maker *maker, const char *key, uint32_t value) {
    maker_key(maker, key, 4);
    put_number(&maker->bytes, value, 4);
}

static inline void maker_bool(struct gguf_maker *maker, const char *key, int value) {
    maker_key(maker, key, 7);
    put_number(&maker->bytes, value ? 1 : 0, 1);
}

static inline void maker_tokens(struct gguf_maker *maker, uint32_t n) {
    maker_key(maker, "tokenizer.ggml.tokens", 9);
    put_number(&maker->bytes, 8, 4);
    put_number(&maker->bytes, n, 8);
    for (uint32_t i = 0; i < n; i++) {
        put_string(&maker->bytes, "tok");
    }
}

// An F16 matrix (type 1) or whatever `type` says, of `row` x `rows` weights and `size` bytes.
static inline void maker_tensor(struct gguf_maker *maker, const char *name, uint64_t row,
                                uint64_t rows, uint32_t type, uint64_t size) {
    maker->n_tensors++;
    put_string(&maker->bytes, name);
    put_number(&maker->bytes, 2, 4);
    put_number(&maker->bytes, row, 8);
    put_number(&maker->bytes, rows, 8);
    put_number(&maker->bytes, type, 4);
    put_number(&maker->bytes, maker->data_bytes, 8);
    maker->data_bytes = (maker->data_bytes + size + 31) / 32 * 32;
}

static inline void maker_patch(struct gguf_maker *maker, size_t at, uint64_t value, size_t width) {
    for (size_t i = 0; i < width; i++) {
        maker->bytes.data[at + i] = (char)(value >> (8 * i));
    }
}

// Writes the counts and the tensor data (zeros).
static inline void maker_finish(struct gguf_maker *maker) {
    maker_patch(maker, 8, maker->n_tensors, 8);
    maker_patch(maker, 16, maker->n_keys, 8);
    static const char ZEROS[32];
    if (maker->n_tensors) {
        buf_append(&maker->bytes, ZEROS, (32 - maker->bytes.len % 32) % 32);
    }
    for (uint64_t done = 0; done < maker->data_bytes; done += 32) {
        buf_append(&maker->bytes, ZEROS, 32);
    }
}

// A whole small model: two q8_0 matrices of 64 x 32 = 4096 weights and a few keys.
static inline void maker_model(struct gguf_maker *maker, const char *arch, const char *name,
                               uint32_t n_embd) {
    char key[96];
    maker_init(maker);
    maker_text(maker, "general.architecture", arch);
    maker_text(maker, "general.name", name);
    maker_u32(maker, "general.file_type", 7);
    const struct {
        const char *key;
        uint32_t value;
    } rows[] = {{"block_count", 2},           {"context_length", 256},
                {"embedding_length", n_embd}, {"feed_forward_length", 128},
                {"attention.head_count", 4},  {"attention.head_count_kv", 2}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        snprintf(key, sizeof key, "%s.%s", arch, rows[i].key);
        maker_u32(maker, key, rows[i].value);
    }
    maker_tokens(maker, 5);
    maker_tensor(maker, "token_embd.weight", 64, 32, 8, 64 / 32 * 34 * 32);
    maker_tensor(maker, "blk.0.attn_q.weight", 64, 32, 8, 64 / 32 * 34 * 32);
    maker_finish(maker);
}

static inline void maker_mmproj(struct gguf_maker *maker, const char *name, uint32_t width) {
    maker_init(maker);
    maker_text(maker, "general.architecture", "clip");
    maker_text(maker, "general.type", "mmproj");
    maker_text(maker, "general.name", name);
    maker_u32(maker, "general.file_type", 1);
    maker_bool(maker, "clip.has_vision_encoder", 1);
    maker_text(maker, "clip.projector_type", "idefics3");
    maker_u32(maker, "clip.vision.projection_dim", width);
    maker_tensor(maker, "v.patch_embd.weight", 32, 2, 1, 128);
    maker_finish(maker);
}

#endif
