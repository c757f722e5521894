#include "compressor/source_json.h"

#include "compressor/pack.h"
#include "compressor/relabel.h"

static uint64_t elements(const struct compress_source *source, const char *const *names) {
    uint64_t n = 0;
    for (uint32_t layer = 0; layer < source->n_layer; layer++) {
        for (size_t i = 0; names[i]; i++) {
            const struct gguf_tensor *tensor =
                compress_source_tensor(source, (int32_t)layer, names[i]);
            n += tensor ? tensor->n_elements : 0;
        }
    }
    return n;
}

enum wl_status compress_source_json(const struct compress_source *source, json_t **out,
                                    struct wl_err *err) {
    static const char *const FFN[] = {"ffn_gate.weight", "ffn_up.weight", "ffn_down.weight", NULL};
    static const char *const ATTENTION[] = {"attn_q.weight", "attn_k.weight", "attn_v.weight",
                                            "attn_output.weight", NULL};
    struct block_shape shape;
    const char *flexible = "";
    if (relabel_find(&source->file, &flexible, NULL) != WL_OK) {
        flexible = "";
    }
    enum wl_status status = compress_source_shape(source, 0, &shape, err);
    if (status == WL_OK) {
        *out = json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:s}", "file_bytes",
                         (json_int_t)source->file.file_bytes, "n_embd", (json_int_t)source->n_embd,
                         "n_vocab", (json_int_t)source->n_vocab, "n_head", (json_int_t)shape.n_head,
                         "n_head_kv", (json_int_t)shape.n_head_kv, "n_ff", (json_int_t)shape.n_ff,
                         "step", (json_int_t)pack_step(source), "ffn_weights",
                         (json_int_t)elements(source, FFN), "attention_weights",
                         (json_int_t)elements(source, ATTENTION), "flexible", flexible);
        status = *out ? WL_OK : wl_err_set(err, WL_MEMORY, "no memory for the file's sizes");
    }
    return status;
}
