#include "worker/describe.h"

#include "base/str.h"
#include "worker/load_options.h"
#include "worker/utf8.h"

enum { MAX_TEMPLATE_BYTES = 4096 };

static void set_uint(json_t *object, const char *key, uint64_t value) {
    json_object_set_new(object, key, json_integer((json_int_t)value));
}

static void set_text(json_t *object, const char *key, const char *value) {
    json_object_set_new(object, key, json_text(value));
}

void describe_type_name(enum ggml_type type, char *out, size_t size) {
    str_copy(out, size, ggml_type_name(type));
    for (char *p = out; *p; p++) {
        *p = *p >= 'A' && *p <= 'Z' ? (char)(*p - 'A' + 'a') : *p;
    }
}

static json_t *tensor_types(const struct model_facts *facts) {
    json_t *types = json_object();
    for (int type = 0; type < GGML_TYPE_COUNT; type++) {
        if (facts->n_of_type[type] > 0) {
            char name[32];
            describe_type_name((enum ggml_type)type, name, sizeof name);
            set_uint(types, name, facts->n_of_type[type]);
        }
    }
    return types;
}

static void add_identity(json_t *out, const struct session *s) {
    const struct model_facts *f = &s->facts;
    char text[256] = "";
    set_text(out, "arch", f->arch);
    set_text(out, "name", f->name);
    llama_model_desc(s->model, text, sizeof text);
    set_text(out, "description", text);
    const char *ftype = llama_ftype_name(llama_model_ftype(s->model));
    set_text(out, "file_type", ftype ? ftype : "");
    json_object_set_new(out, "types", tensor_types(f));
    json_object_set_new(out, "is_synthetic", json_boolean(f->is_synthetic));
    const char *found = llama_model_chat_template(s->model, NULL);
    char chat_template[MAX_TEMPLATE_BYTES + 1] = "";
    str_copy(chat_template, sizeof chat_template, found ? found : "");
    json_object_set_new(out, "has_chat_template", json_boolean(found != NULL));
    set_text(out, "chat_template", chat_template);
}

static void add_shape(json_t *out, const struct session *s) {
    const struct model_facts *f = &s->facts;
    set_uint(out, "n_params", f->n_params);
    set_uint(out, "file_bytes", f->file_bytes);
    set_uint(out, "tensor_bytes", f->tensor_bytes);
    set_uint(out, "n_layer", f->n_layer);
    set_uint(out, "n_embd", f->n_embd);
    set_uint(out, "n_head", f->n_head);
    set_uint(out, "n_head_kv", f->n_head_kv);
    set_uint(out, "n_ff", f->n_ff);
    set_uint(out, "n_vocab", (uint64_t)llama_vocab_n_tokens(s->vocab));
    set_uint(out, "n_ctx_train", f->n_ctx_train);
    set_uint(out, "bytes_per_token", f->bytes_per_token);
    set_uint(out, "flops_per_token", 2 * f->active_params);
    set_uint(out, "kv_bytes_per_token",
             model_facts_kv_bytes(f, s->options.type_k, s->options.type_v, 1));
}

static void add_settings(json_t *out, const struct session *s) {
    const struct load_options *o = &s->options;
    set_uint(out, "n_ctx", llama_n_ctx(s->ctx));
    set_uint(out, "threads", (uint64_t)llama_n_threads(s->ctx));
    set_uint(out, "threads_batch", (uint64_t)llama_n_threads_batch(s->ctx));
    set_uint(out, "n_batch", llama_n_batch(s->ctx));
    set_uint(out, "n_ubatch", llama_n_ubatch(s->ctx));
    set_text(out, "type_k", ggml_type_name(o->type_k));
    set_text(out, "type_v", ggml_type_name(o->type_v));
    set_text(out, "load_mode", load_options_mode_name(o->load_mode));
    set_text(out, "flash_attn", load_options_flash_attn_name(o->flash_attn));
    json_object_set_new(out, "repack", json_boolean(o->has_repack));
}

json_t *describe_model(const struct session *session) {
    json_t *out = json_object();
    add_identity(out, session);
    add_shape(out, session);
    add_settings(out, session);
    return out;
}

json_t *describe_memory(const struct ram_prediction *ram) {
    json_t *out = json_object();
    set_uint(out, "weights_bytes", ram->weights_bytes);
    set_uint(out, "vision_bytes", ram->vision_bytes);
    set_uint(out, "kv_bytes", ram->kv_bytes);
    set_uint(out, "compute_bytes", ram->compute_bytes);
    set_uint(out, "other_bytes", ram->other_bytes);
    set_uint(out, "total_bytes", ram->total_bytes);
    return out;
}
