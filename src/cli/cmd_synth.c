// Writes a model file of a true shape with random weights: enough to measure what it would cost.
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/str.h"
#include "base/units.h"
#include "cli/command.h"
#include "cli/progress.h"
#include "cli/synth_model.h"
#include "cli/synth_pair.h"
#include "cli/term.h"
#include "os/process.h"

static struct {
    const char *like, *type, *mmproj_type, *out, *arch, *name;
    int layers, embd, heads, kv_heads, head_dim, ff, vocab, ctx, tied;
    long long seed;
    int list, force;
} given = {.type = "q8_0", .seed = SYNTH_MODEL_SEED};

static const struct poptOption OPTIONS[] = {
    {"like", 0, POPT_ARG_STRING, &given.like, 0, "the shape of this model (see --list)", "MODEL"},
    {"type", 't', POPT_ARG_STRING, &given.type, 0,
     "how the weights are stored: f16, q8_0 (default), q4_0, q4_k_m, ...", "TYPE"},
    {"mmproj-type", 0, POPT_ARG_STRING, &given.mmproj_type, 0,
     "how an image encoder's weights are stored: f16 (default), q8_0 or f32", "TYPE"},
    {"out", 'o', POPT_ARG_STRING, &given.out, 0,
     "the file to write, or the folder for a model that sees images (default: in wattlaw's cache "
     "folder, which 'models' lists)",
     "FILE"},
    {"list", 'l', POPT_ARG_NONE, &given.list, 0, "print the shapes that --like knows", NULL},
    {"force", 'f', POPT_ARG_NONE, &given.force, 0,
     "write anew although such a file exists or another one is in its place", NULL},
    {"layers", 0, POPT_ARG_INT, &given.layers, 0, "number of blocks", "N"},
    {"embd", 0, POPT_ARG_INT, &given.embd, 0, "width of the embedding", "N"},
    {"heads", 0, POPT_ARG_INT, &given.heads, 0, "attention heads", "N"},
    {"kv-heads", 0, POPT_ARG_INT, &given.kv_heads, 0, "heads of the KV cache (default: --heads)",
     "N"},
    {"head-dim", 0, POPT_ARG_INT, &given.head_dim, 0, "width of a head (default: embd / heads)",
     "N"},
    {"ff", 0, POPT_ARG_INT, &given.ff, 0, "width of the feed-forward part", "N"},
    {"vocab", 0, POPT_ARG_INT, &given.vocab, 0, "tokens in the vocabulary (default: 32000)", "N"},
    {"ctx", 0, POPT_ARG_INT, &given.ctx, 0, "context length it claims (default: 4096)", "N"},
    {"arch", 0, POPT_ARG_STRING, &given.arch, 0,
     "architecture: llama (default), qwen2, qwen3, gemma3, qwen2vl or qwen3vl", "ARCH"},
    {"tied", 0, POPT_ARG_NONE, &given.tied, 0, "the output matrix is the embedding matrix", NULL},
    {"name", 0, POPT_ARG_STRING, &given.name, 0, "name in the file and of the file", "NAME"},
    {"seed", 0, POPT_ARG_LONGLONG, &given.seed, 0, "of the random weights (default: 1)", "N"},
    POPT_TABLEEND};

static const char *const LISTED_TYPES[] = {"q4_0", "q8_0", "f16"};
enum { N_LISTED_TYPES = 3 };

// Both files of a model that sees images, the encoder in f16.
static double all_bytes(const struct plan_shape *shape, const char *type) {
    const struct plan_vision *vision = plan_vision_by_name(shape->name);
    double encoder = vision ? synth_model_encoder_bytes(vision, shape->n_embd, "f16") : 0;
    return synth_model_bytes(shape, type) + encoder;
}

static json_t *vision_json(const struct plan_shape *shape) {
    const struct plan_vision *v = plan_vision_by_name(shape->name);
    if (!v) {
        return json_null();
    }
    return json_pack("{s:s, s:I, s:i, s:i, s:i, s:i, s:i, s:i, s:i}", "projector", v->projector,
                     "n_params", (json_int_t)plan_vision_params(v, shape->n_embd), "n_layer",
                     (int)v->n_layer, "n_embd", (int)v->n_embd, "n_head", (int)v->n_head, "n_ff",
                     (int)v->n_ff, "patch_size", (int)v->patch_size, "image_size",
                     (int)v->image_size, "merge", (int)v->n_merge);
}

static json_t *shape_json(const struct plan_shape *shape) {
    json_t *bytes = json_object();
    for (int i = 0; i < N_LISTED_TYPES; i++) {
        json_object_set_new(bytes, LISTED_TYPES[i],
                            json_integer((json_int_t)all_bytes(shape, LISTED_TYPES[i])));
    }
    return json_pack(
        "{s:s, s:s, s:I, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:b, s:o, s:o}", "name",
        shape->name, "arch", shape->arch, "n_params", (json_int_t)plan_shape_params(shape),
        "n_layer", (int)shape->n_layer, "n_embd", (int)shape->n_embd, "n_head", (int)shape->n_head,
        "n_head_kv", (int)shape->n_head_kv, "head_dim", (int)shape->head_dim, "n_ff",
        (int)shape->n_ff, "n_vocab", (int)shape->n_vocab, "n_ctx_train", (int)shape->n_ctx_train,
        "is_tied", shape->is_tied, "vision", vision_json(shape), "about_bytes", bytes);
}

static void print_document(json_t *document) {
    json_dumpf(document, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(document);
}

static void print_shapes_json(void) {
    json_t *shapes = json_array();
    for (size_t i = 0; i < plan_shape_count(); i++) {
        json_array_append_new(shapes, shape_json(plan_shape_at(i)));
    }
    print_document(json_pack("{s:i, s:o}", "schema_version", 1, "shapes", shapes));
}

// "135 M", "1.24 G" would read as bytes: "1.24 B" is what the field writes.
static void print_shapes(void) {
    printf("%s%-29s %-7s %6s %6s %7s %7s %10s %10s %10s%s\n", term_bold(stdout), "MODEL", "ARCH",
           "LAYERS", "WIDTH", "PARAMS", "VISION", "Q4_0", "Q8_0", "F16", term_reset(stdout));
    for (size_t i = 0; i < plan_shape_count(); i++) {
        const struct plan_shape *shape = plan_shape_at(i);
        const struct plan_vision *vision = plan_vision_by_name(shape->name);
        char params[UNITS_TEXT_BYTES], seen[UNITS_TEXT_BYTES] = "-", bytes[UNITS_TEXT_BYTES];
        units_params(params, (double)plan_shape_params(shape));
        if (vision) {
            units_params(seen, (double)plan_vision_params(vision, shape->n_embd));
        }
        printf("%-29s %-7s %6" PRIu32 " %6" PRIu32 " %7s %7s", shape->name, shape->arch,
               shape->n_layer, shape->n_embd, params, seen);
        for (int t = 0; t < N_LISTED_TYPES; t++) {
            printf(" %10s", units_bytes(bytes, all_bytes(shape, LISTED_TYPES[t])));
        }
        putchar('\n');
    }
}

static enum wl_status check_positive(struct wl_err *err) {
    const struct {
        const char *option;
        int value;
    } rows[] = {{"layers", given.layers},     {"embd", given.embd},
                {"heads", given.heads},       {"kv-heads", given.kv_heads},
                {"head-dim", given.head_dim}, {"ff", given.ff},
                {"vocab", given.vocab},       {"ctx", given.ctx}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (rows[i].value < 0) {
            return wl_err_set(err, WL_USAGE, "--%s: expected a number above 0, found %d",
                              rows[i].option, rows[i].value);
        }
    }
    if (given.seed < 0) {
        return wl_err_set(err, WL_USAGE, "--seed: expected 0 or above, found %lld", given.seed);
    }
    return WL_OK;
}

// Puts an option's value over the shape's; true when it was given.
static bool set(uint32_t *field, int value) {
    if (value > 0) {
        *field = (uint32_t)value;
    }
    return value > 0;
}

static bool apply_options(struct plan_shape *shape) {
    bool is_changed = false;
    // The width of a head follows the others unless it is given too.
    if (given.embd > 0 || given.heads > 0) {
        shape->head_dim = 0;
    }
    if (given.heads > 0) {
        shape->n_head_kv = (uint32_t)given.heads;
    }
    is_changed |= set(&shape->n_layer, given.layers);
    is_changed |= set(&shape->n_embd, given.embd);
    is_changed |= set(&shape->n_head, given.heads);
    is_changed |= set(&shape->n_head_kv, given.kv_heads);
    is_changed |= set(&shape->head_dim, given.head_dim);
    is_changed |= set(&shape->n_ff, given.ff);
    is_changed |= set(&shape->n_vocab, given.vocab);
    is_changed |= set(&shape->n_ctx_train, given.ctx);
    if (given.tied && !shape->is_tied) {
        shape->is_tied = true;
        is_changed = true;
    }
    if (given.arch && strcmp(given.arch, shape->arch) != 0) {
        shape->arch = given.arch;
        is_changed = true;
    }
    if (shape->n_head && shape->head_dim == 0) {
        shape->head_dim = shape->n_embd / shape->n_head;
    }
    return is_changed;
}

static enum wl_status check_shape(const struct plan_shape *shape, struct wl_err *err) {
    static const char *const ARCHS[] = {"llama",   "qwen2",   "qwen3", "gemma3",
                                        "qwen2vl", "qwen3vl", NULL};
    const struct {
        const char *option;
        uint32_t value;
    } rows[] = {{"layers", shape->n_layer},
                {"embd", shape->n_embd},
                {"heads", shape->n_head},
                {"ff", shape->n_ff}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (rows[i].value == 0) {
            return wl_err_set(
                err, WL_USAGE,
                "give a MODEL (--like MODEL), or all of --layers, --embd, --heads and --ff: "
                "--%s is missing",
                rows[i].option);
        }
    }
    size_t arch = 0;
    while (ARCHS[arch] && strcmp(ARCHS[arch], shape->arch) != 0) {
        arch++;
    }
    if (!ARCHS[arch]) {
        return wl_err_set(
            err, WL_USAGE,
            "--arch: expected llama, qwen2, qwen3, gemma3, qwen2vl or qwen3vl, found '%s'",
            shape->arch);
    }
    if (shape->n_head % shape->n_head_kv) {
        return wl_err_set(err, WL_USAGE,
                          "--kv-heads: expected a number that divides the %" PRIu32
                          " heads, found %" PRIu32,
                          shape->n_head, shape->n_head_kv);
    }
    if (shape->head_dim == 0 || shape->head_dim % 2 ||
        (!given.head_dim && !given.like && shape->n_embd % shape->n_head)) {
        return wl_err_set(err, WL_USAGE,
                          "a width of %" PRIu32 " is not made of %" PRIu32
                          " heads of an even width; give --head-dim",
                          shape->n_embd, shape->n_head);
    }
    return WL_OK;
}

static enum wl_status choose_shape(struct plan_shape *shape, char name[SYNTH_MODEL_NAME_BYTES],
                                   struct wl_err *err) {
    enum wl_status status = check_positive(err);
    *shape = (struct plan_shape){
        .arch = "llama", .n_vocab = 32000, .n_ctx_train = 4096, .rope_freq_base = 10000};
    if (status == WL_OK && given.like) {
        const struct plan_shape *like;
        status = synth_model_shape(given.like, &like, err);
        *shape = like ? *like : *shape;
    }
    if (status != WL_OK) {
        return status;
    }
    bool is_changed = apply_options(shape);
    if (given.name) {
        str_copy(name, SYNTH_MODEL_NAME_BYTES, given.name);
    } else if (is_changed || !given.like) {
        snprintf(name, SYNTH_MODEL_NAME_BYTES, "%.16s-%" PRIu32 "x%" PRIu32 "-ff%" PRIu32,
                 shape->arch, shape->n_layer, shape->n_embd, shape->n_ff);
    } else {
        str_copy(name, SYNTH_MODEL_NAME_BYTES, shape->name);
    }
    shape->name = name;
    return check_shape(shape, err);
}

static json_t *model_json(const struct synth_model *model) {
    return json_pack("{s:s, s:s, s:I, s:I, s:b, s:o}", "path", model->path, "type", model->type,
                     "bytes", (json_int_t)model->file_bytes, "n_params",
                     (json_int_t)model->n_params, "is_reused", model->is_reused, "seconds",
                     model->is_reused ? json_null() : wl_json_real(model->seconds));
}

static void print_pair_json(const struct synth_model_request *request,
                            const struct synth_pair *pair) {
    json_t *document = json_pack("{s:i, s:s, s:s, s:I, s:b}", "schema_version", 1, "name",
                                 request->shape.name, "arch", request->shape.arch, "seed",
                                 (json_int_t)request->seed, "is_synthetic", true);
    json_t *text = model_json(&pair->text);
    json_object_update(document, text);
    json_decref(text);
    json_t *encoder = request->vision ? model_json(&pair->encoder) : json_null();
    if (request->vision) {
        json_object_set_new(encoder, "projector", json_string(request->vision->projector));
    }
    json_object_set_new(document, "mmproj", encoder);
    print_document(document);
}

static void print_model(const char *kind, const struct synth_model *model) {
    char bytes[UNITS_TEXT_BYTES], seconds[UNITS_TEXT_BYTES], params[UNITS_TEXT_BYTES];
    units_params(params, (double)model->n_params);
    printf("%s %s, %s parameters, %s", kind, model->type, params,
           units_bytes(bytes, (double)model->file_bytes));
    if (model->is_reused) {
        puts("; was there already (--force writes it anew)");
    } else {
        printf("; written in %s\n", units_seconds(seconds, model->seconds));
    }
}

static void print_pair(const struct cli_context *context, const struct synth_model_request *request,
                       const struct synth_pair *pair) {
    puts(pair->text.path);
    if (request->vision) {
        puts(pair->encoder.path);
    }
    if (context->common.quiet) {
        return;
    }
    print_model(request->shape.arch, &pair->text);
    if (request->vision) {
        print_model(request->vision->projector, &pair->encoder);
    }
    puts("The weights are random: what this model costs is real, what it answers is noise.");
}

static enum wl_status choose_vision(struct synth_model_request *request, struct wl_err *err) {
    request->vision = given.like ? plan_vision_by_name(given.like) : NULL;
    if (given.mmproj_type && !request->vision) {
        return wl_err_set(err, WL_USAGE,
                          "--mmproj-type: '%s' sees no images; 'wattlaw synth --list' has the "
                          "models that do",
                          request->shape.name);
    }
    if (given.arch && request->vision) {
        return wl_err_set(err, WL_USAGE, "--arch: the image encoder of '%s' goes with %s only",
                          given.like, request->vision->name);
    }
    return WL_OK;
}

static enum wl_status write_files(const struct synth_model_request *request,
                                  const struct cli_context *context, struct synth_pair *pair,
                                  struct wl_err *err) {
    struct synth_pair_request both = {.text = *request,
                                      .mmproj_type = given.mmproj_type ? given.mmproj_type : "f16",
                                      .folder = given.out};
    struct progress progress;
    progress_begin(&progress, context->common.quiet);
    enum wl_status status = request->vision
                                ? synth_pair_write(&both, &progress, pair, err)
                                : synth_model_write(request, &progress, &pair->text, err);
    progress_end(&progress);
    return status;
}

static int make(const struct cli_context *context) {
    char name[SYNTH_MODEL_NAME_BYTES];
    struct wl_err err = {0};
    struct synth_model_request request = {.type = given.type,
                                          .seed = (uint64_t)given.seed,
                                          .out_path = given.out,
                                          .is_forced = given.force};
    struct synth_pair pair;
    enum wl_status status = choose_shape(&request.shape, name, &err);
    if (status == WL_OK) {
        status = choose_vision(&request, &err);
    }
    if (status == WL_OK) {
        request.out_path = request.vision ? NULL : given.out;
        status = write_files(&request, context, &pair, &err);
    }
    if (status == WL_USAGE) {
        return cli_usage(context, "%s", err.message);
    }
    if (status != WL_OK) {
        return cli_fail(status, &err);
    }
    if (context->common.json) {
        print_pair_json(&request, &pair);
    } else {
        print_pair(context, &request, &pair);
    }
    return 0;
}

static int run(struct cli_context *context) {
    if (context->n_args > 1 || (context->n_args && given.like)) {
        return cli_usage(context, "one model at a time; unexpected argument '%s'",
                         context->args[context->n_args - 1]);
    }
    if (context->n_args) {
        given.like = context->args[0];
    }
    if (given.list && context->common.json) {
        print_shapes_json();
        return 0;
    }
    if (given.list) {
        print_shapes();
        return 0;
    }
    os_catch_interrupts();
    return make(context);
}

static const struct cli_example EXAMPLES[] = {
    {"wattlaw synth --list", "the shapes it knows, with their sizes"},
    {"wattlaw synth qwen2.5-0.5b --type q4_0", "then: wattlaw study -m qwen2.5-0.5b-q4_0"},
    {"wattlaw synth qwen2-vl-2b -o models",
     "a model that sees images: its text part and its encoder"},
    {"wattlaw synth --layers 12 --embd 768 --heads 12 --ff 2048 -o mine.gguf",
     "a shape of your own, to see what it would cost before it is trained"},
    {NULL, NULL}};

const struct cli_command CMD_synth = {
    .name = "synth",
    .arguments = "MODEL [--type TYPE] [-o FILE] | --layers N --embd N --heads N --ff N ...",
    .summary = "write a model file of a true shape with random weights",
    .description =
        "Makes a GGUF file that loads and runs like the real model, without a download: the same "
        "layers, widths, vocabulary size and tensor types, with random weights. The work per token "
        "does not depend on the values, so time, energy, CPU and RAM are those of the real model. "
        "What it answers is noise: use it for cost, never for accuracy. Reports mark such "
        "models.\n\n"
        "With MODEL (or --like MODEL), single figures can be changed. A model that sees images "
        "becomes "
        "two files in one folder, the text model and its image encoder (mmproj). The mix of tensor "
        "types is the one that "
        "llama-quantize would choose. A file of the same shape, type and seed that exists already "
        "is used again.",
    .options = OPTIONS,
    .examples = EXAMPLES,
    .run = run,
};
