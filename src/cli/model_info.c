#include "cli/model_info.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/units.h"
#include "catalog/catalog.h"
#include "catalog/gguf_file.h"
#include "cli/term.h"

enum { CERTIFICATE_BYTES = 8192 + 1, DESCRIPTION_BYTES = 512 };

struct model_info {
    char path[OS_PATH_BYTES];
    struct gguf_facts facts;
    uint64_t file_bytes;
    char description[DESCRIPTION_BYTES];
    json_t *certificate; // NULL: none, or not filled in
};

static double number(const json_t *object, const char *key) {
    return wl_json_opt_double(object, key, NAN);
}

static enum wl_status read_info(const char *name, struct model_info *info, struct wl_err *err) {
    static char certificate[CERTIFICATE_BYTES];
    char description[DESCRIPTION_BYTES];
    const struct gguf_text texts[] = {
        {"general.wattlaw.certificate", certificate, sizeof certificate},
        {"general.description", description, sizeof description}};
    struct wl_err ignored;
    *info = (struct model_info){0};
    enum wl_status status = catalog_resolve(NULL, name, info->path, err);
    if (status == WL_OK) {
        status = gguf_peek_texts(info->path, texts, 2, &info->facts, err);
    }
    if (status == WL_OK) {
        status = os_file_size(info->path, &info->file_bytes, err);
    }
    if (status != WL_OK) {
        return status;
    }
    gguf_clean_text(info->description, sizeof info->description, description);
    if (wl_json_parse(certificate, strlen(certificate), &info->certificate, &ignored) == WL_OK &&
        !json_is_object(info->certificate)) {
        json_decref(info->certificate);
        info->certificate = NULL;
    }
    return WL_OK;
}

// ---- in words ----

static void print_facts(const struct model_info *info) {
    const struct gguf_facts *f = &info->facts;
    char size[UNITS_TEXT_BYTES], params[UNITS_TEXT_BYTES];
    printf("%s%s%s\n", term_bold(stdout), f->name[0] ? f->name : info->path, term_reset(stdout));
    printf("  file            %s\n", info->path);
    printf("  architecture    %s, %s, %s in %s\n", f->arch,
           units_params(params, (double)f->n_params), f->file_type,
           units_bytes(size, (double)info->file_bytes));
    printf("  shape           %" PRIu32 " blocks, %" PRIu32 " wide, %" PRIu32 " neurons, %" PRIu32
           " heads (%" PRIu32 " KV), %" PRIu32 " tokens, context %" PRIu32 "\n",
           f->n_layer, f->n_embd, f->n_ff, f->n_head, f->n_head_kv, f->n_vocab, f->n_ctx_train);
    if (info->description[0]) {
        printf("  description     %s\n", info->description);
    }
}

static void print_text(const char *label, const json_t *object, const char *key) {
    char clean[DESCRIPTION_BYTES];
    gguf_clean_text(clean, sizeof clean, wl_json_opt_string(object, key, "?"));
    printf("  %-15s %s\n", label, clean);
}

static void print_change(const char *label, const json_t *measured, const char *key) {
    const json_t *figure = json_object_get(measured, key);
    if (!figure) {
        return;
    }
    char how[32];
    gguf_clean_text(how, sizeof how, wl_json_opt_string(figure, "label", ""));
    printf("  %-15s ", label);
    if (!wl_json_opt_bool(figure, "is_resolved", false) || strcmp(how, "unresolved") == 0) {
        puts("unresolved");
        return;
    }
    printf("%.4g -> %.4g (x%.3g", number(figure, "before"), number(figure, "after"),
           number(figure, "ratio"));
    if (isfinite(number(figure, "low"))) {
        printf("; 95 %% x%.3g to x%.3g", number(figure, "low"), number(figure, "high"));
    }
    printf(", n=%" PRId64 "%s%s)\n", wl_json_opt_i64(figure, "n", 0), how[0] ? ", " : "", how);
}

static void print_measured(const json_t *measured) {
    print_change("prompt tok/s", measured, "prompt_tok_s");
    print_change("decode tok/s", measured, "decode_tok_s");
    print_change("CPU AUC %.s", measured, "cpu_auc_pct_s");
    print_change("RAM AUC MiB.s", measured, "ram_auc_mib_s");
    print_change("net energy J", measured, "energy_net_j");
    const json_t *right = json_object_get(measured, "right_answers");
    if (right) {
        printf("  right answers   %+.1f points (95 %% %+.1f to %+.1f, %" PRId64 " questions)\n",
               number(right, "points"), number(right, "low"), number(right, "high"),
               wl_json_opt_i64(right, "n", 0));
    }
}

static void print_rivals(const json_t *rivals) {
    char clean[64], bytes[UNITS_TEXT_BYTES];
    for (size_t i = 0; i < json_array_size(rivals); i++) {
        const json_t *rival = json_array_get(rivals, i);
        gguf_clean_text(clean, sizeof clean, wl_json_opt_string(rival, "name", "?"));
        double kl = number(rival, "kl_mean"), ratio = number(rival, "decode_ratio");
        printf("  beside it       %s: %s", clean, units_bytes(bytes, number(rival, "bytes")));
        if (isfinite(kl)) {
            printf(", KL %.4g", kl);
        }
        if (isfinite(ratio)) {
            printf(", decode x%.3g", ratio);
        }
        putchar('\n');
    }
}

static void print_certificate(const json_t *c) {
    const json_t *plan = json_object_get(c, "plan"), *verdict = json_object_get(c, "verdict");
    char before[UNITS_TEXT_BYTES], after[UNITS_TEXT_BYTES];
    printf("\n%scertificate%s (what the file says of itself)\n", term_bold(stdout),
           term_reset(stdout));
    print_text("made by", c, "made_by");
    print_text("from", json_object_get(c, "source"), "name");
    print_text("fingerprint", json_object_get(c, "source"), "fingerprint");
    printf("  block weights   %s -> %s\n",
           units_params(before, number(plan, "block_weights_before")),
           units_params(after, number(plan, "block_weights_after")));
    print_text("grade", c, "grade");
    printf("  KL divergence   %.4g nats per token (standard error %.2g, %" PRId64
           " tokens), same token %.1f %%\n",
           number(verdict, "kl_mean"), number(verdict, "kl_sem"), wl_json_opt_i64(verdict, "n", 0),
           100 * number(verdict, "top1_share"));
    print_measured(json_object_get(c, "measured"));
    print_rivals(json_object_get(c, "rivals"));
}

// ---- JSON ----

static json_t *clean_json(const char *text) {
    char clean[OS_PATH_BYTES];
    gguf_clean_text(clean, sizeof clean, text);
    return json_string(clean);
}

static enum wl_status print_json(const struct model_info *info, struct wl_err *err) {
    const struct gguf_facts *f = &info->facts;
    json_t *document = json_pack(
        "{s:i, s:o, s:I, s:o, s:o, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:O?}",
        "schema_version", 1, "path", clean_json(info->path), "bytes", (json_int_t)info->file_bytes,
        "arch", clean_json(f->arch), "title", clean_json(f->name), "type", clean_json(f->file_type),
        "n_params", (json_int_t)f->n_params, "n_layer", (json_int_t)f->n_layer, "n_embd",
        (json_int_t)f->n_embd, "n_ff", (json_int_t)f->n_ff, "n_head", (json_int_t)f->n_head,
        "n_head_kv", (json_int_t)f->n_head_kv, "n_vocab", (json_int_t)f->n_vocab, "n_ctx_train",
        (json_int_t)f->n_ctx_train, "description", clean_json(info->description), "certificate",
        info->certificate);
    if (!document) {
        return wl_err_set(err, WL_MEMORY, "no memory for the JSON");
    }
    json_dumpf(document, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(document);
    return WL_OK;
}

enum wl_status model_info_print(const struct cli_context *context, const char *name,
                                struct wl_err *err) {
    struct model_info info;
    enum wl_status status = read_info(name, &info, err);
    if (status == WL_OK && context->common.json) {
        status = print_json(&info, err);
    } else if (status == WL_OK) {
        print_facts(&info);
        if (info.certificate) {
            print_certificate(info.certificate);
        }
    }
    json_decref(info.certificate);
    return status;
}
