// Any bytes as a model that is to become smaller: refused in words, or what is written of it can be
// read again and has the blocks that were asked for. The first bytes choose the rest of the
// question.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "compressor/certificate.h"
#include "compressor/pack.h"
#include "compressor/plan.h"
#include "compressor/relabel.h"
#include "compressor/source.h"
#include "compressor/target.h"
#include "compressor/trim_vocab.h"
#include "scratch.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { N_CHOICES = 8, MAX_BYTES = 1 << 18, MAX_LOADED = 4 };

static int in_fd = -1;
static char in_path[64], folder[32], out_path[64];

static bool is_ok(enum wl_status status, const struct wl_err *err) {
    require(status == WL_OK || (err->status == status && err->message[0]));
    return status == WL_OK;
}

static void clean(void) {
    unlink(out_path);
    rmdir(folder);
}

static void begin(void) {
    scratch_folder(folder, sizeof folder, clean);
    snprintf(out_path, sizeof out_path, "%s/out.gguf", folder);
    in_fd = memfd_create("in.gguf", MFD_CLOEXEC);
    require(in_fd >= 0);
    snprintf(in_path, sizeof in_path, "/proc/self/fd/%d", in_fd);
}

// ---- sizes ----

// Any sizes: a plan that holds has some left of every block.
static void check_sizes(const struct compress_source *source, const uint8_t *choices) {
    struct plan plan = {0};
    struct plan_sizes whole, sizes;
    struct wl_err err = {0};
    if (!is_ok(plan_init(&plan, source, &err), &err)) {
        return;
    }
    require(is_ok(plan_sizes(&plan, source, &whole, &err), &err));
    for (uint32_t i = 0; i < plan.n_layer; i++) {
        struct plan_layer *layer = &plan.layers[i];
        uint32_t choice = choices[i % 4];
        layer->n_ff = choice % 3 ? layer->n_ff * (choice / 3 % 9) / 8 : layer->n_ff;
        layer->n_head_kv = choice % 5 ? layer->n_head_kv : layer->n_head_kv * (choice / 5 % 5) / 4;
        layer->is_removed = i > 0 && choice % 7 == 0;
    }
    plan.is_mixed = choices[4] % 2;
    if (is_ok(plan_check(&plan, source, &err), &err)) {
        require(!plan.layers[0].is_removed && plan.layers[0].n_head_kv > 0);
        for (uint32_t i = 0; i < plan.n_layer; i++) {
            require(plan.layers[i].is_removed || plan.layers[i].n_ff > 0);
        }
        require(is_ok(plan_sizes(&plan, source, &sizes, &err), &err));
        require(sizes.block_weights <= whole.block_weights);
        require(sizes.file_bytes <= whole.file_bytes);
    }
    plan_release(&plan);
}

// ---- a file with fewer blocks ----

static void check_written(const struct compress_source *source, const struct plan *plan) {
    struct compress_source small;
    struct gguf_file file;
    struct wl_err err = {0};
    uint64_t n_layer = 0;
    for (uint32_t i = 0; i < plan->n_layer; i++) {
        n_layer += !plan->layers[i].is_removed;
    }
    if (plan->is_mixed) {
        char arch[64], key[96];
        require(is_ok(gguf_file_open(&file, out_path, &err), &err));
        require(gguf_file_string(&file, "general.architecture", arch, sizeof arch));
        snprintf(key, sizeof key, "%s.feed_forward_length", arch);
        const struct gguf_kv *sizes = gguf_file_find(&file, key);
        require(sizes && sizes->is_array && sizes->n == n_layer);
        snprintf(key, sizeof key, "%s.block_count", arch);
        require(gguf_file_uint(&file, key, 0, 0) == n_layer);
        gguf_file_close(&file);
        return;
    }
    if (!is_ok(compress_source_open(&small, out_path, COMPRESS_FORCE, &err), &err)) {
        fprintf(stderr, "%s\n", err.message);
        abort();
    }
    require(small.n_layer == n_layer && small.n_vocab == source->n_vocab);
    require(small.is_tied == source->is_tied && !small.rope_factors == !source->rope_factors);
    compress_source_close(&small);
}

static void check_fewer(const struct compress_source *source, const uint8_t *choices) {
    struct plan plan = {0};
    struct pack pack = {0}; // no block is new
    struct compress_target *target = NULL;
    struct wl_err err = {0};
    bool is_done = false;
    if (!is_ok(plan_init(&plan, source, &err), &err)) {
        return;
    }
    for (uint32_t i = 1; i < plan.n_layer; i++) {
        plan.layers[i].is_removed = choices[i % 4] % 3 == 0;
    }
    plan.is_mixed = choices[4] % 2;
    if (is_ok(plan_check(&plan, source, &err), &err) &&
        is_ok(compress_target_new(&source->file, &target, &err), &err) &&
        is_ok(certificate_reserve(target, &err), &err) &&
        is_ok(pack_finish(&pack, target, source, &plan, &err), &err) &&
        is_ok(compress_target_write(target, out_path, NULL, NULL, &is_done, &err), &err)) {
        check_written(source, &plan);
    }
    compress_target_free(target);
    plan_release(&plan);
}

static void check_model(const uint8_t *choices) {
    struct compress_source source;
    struct wl_err err = {0};
    enum compress_force force = choices[5] % 2 ? COMPRESS_FORCE : COMPRESS_CAREFUL;
    if (!is_ok(compress_source_open(&source, in_path, force, &err), &err)) {
        return;
    }
    int32_t token = choices[6];
    float *x = calloc(source.n_embd, sizeof *x);
    require(x != NULL);
    is_ok(compress_source_embed(&source, &token, 1, x, &err), &err);
    free(x);
    for (uint32_t i = 0; i < source.n_layer && i < MAX_LOADED; i++) {
        struct compress_block block;
        is_ok(compress_source_load(&source, i, &block, &err), &err);
        compress_block_release(&block);
    }
    check_sizes(&source, choices);
    check_fewer(&source, choices);
    compress_source_close(&source);
}

// ---- any file ----

static void check_vocabulary(const struct gguf_file *file, const uint8_t *choices) {
    struct trim_vocab v;
    struct vocab_trim trim = {0};
    struct wl_err err = {0};
    if (!is_ok(trim_vocab_open(&v, file, &err), &err)) {
        return;
    }
    size_t n = v.vocab.n_tokens;
    uint64_t *counts = calloc(n + 1, sizeof *counts);
    bool *needed = calloc(n + 1, sizeof *needed);
    require(counts && needed);
    for (size_t i = 0; i < n; i++) {
        counts[i] = (i * 2654435761u >> 8) % 4 * (choices[0] % 3);
    }
    trim_vocab_need(&v, file, needed);
    const struct trim_choice choice = {
        .counts = counts, .needed = needed, .n_wanted = choices[7], .n_first = choices[6]};
    if (is_ok(trim_vocab_choose(&v, &choice, &trim, &err), &err)) {
        for (size_t i = 0; i < n; i++) {
            require(!needed[i] || trim.renumber[i] >= 0);
        }
    }
    vocab_trim_release(&trim);
    free(counts);
    free(needed);
    trim_vocab_close(&v);
}

static void check_file(const uint8_t *choices) {
    struct gguf_file file;
    struct wl_err err = {0};
    const char *arch = NULL;
    if (!is_ok(gguf_file_open(&file, in_path, &err), &err)) {
        return;
    }
    require(!is_ok(relabel_find(&file, &arch, &err), &err) || arch);
    check_vocabulary(&file, choices);
    gguf_file_close(&file);
    json_t *certificate = json_pack("{s:i}", "kept", choices[0]);
    is_ok(certificate_fill(in_path, certificate, &err), &err);
    json_decref(certificate);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (in_fd < 0) {
        begin();
    }
    if (size < N_CHOICES || size > MAX_BYTES) {
        return 0;
    }
    size_t n = size - N_CHOICES;
    require(ftruncate(in_fd, (off_t)n) == 0 && pwrite(in_fd, data + N_CHOICES, n, 0) == (ssize_t)n);
    check_model(data);
    check_file(data);
    return 0;
}
