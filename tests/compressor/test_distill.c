// A damaged model learns from the original: the divergence falls, and what verify.h finds in the
// file is what was promised; for every architecture, type and kind of change, with images too.
// Interrupted and taken up, it ends where it would have ended.
#include <math.h>
#include <stdint.h>

#include "base/rng.h"
#include "compressor/distill.h"
#include "compressor/source.h"
#include "compressor/verify.h"
#include "made_model.h"
#include "text_model_test.h"

static double rate = 0.003; // of what is tried

enum { LENGTH = 40, N_SEQUENCES = 16, N_HELD_OUT = 4, N_TOKENS = LENGTH * N_SEQUENCES };

static char original[OS_PATH_BYTES], coarse[OS_PATH_BYTES];
static char folder[OS_PATH_BYTES], damaged[OS_PATH_BYTES], learnt[OS_PATH_BYTES];

// ---- models and text ----

// Feed-forward parts give less and are noisy; the first norm is off.
static void damage(struct made *made, double size) {
    for (struct ggml_tensor *t = ggml_get_first_tensor(made->tensors); t;
         t = ggml_get_next_tensor(made->tensors, t)) {
        bool is_down = strstr(t->name, "ffn_down.weight") || strstr(t->name, "attn_v.weight");
        bool is_norm = strcmp(t->name, "blk.0.ffn_norm.weight") == 0;
        float *w = t->data;
        for (int64_t i = 0; i < ggml_nelements(t) && t->type == GGML_TYPE_F32; i++) {
            w[i] *= is_norm || is_down ? (float)(1 - size + size * rng_normal(&made->rng)) : 1;
        }
    }
}

static void make_damaged(const char *from, enum made_type type, double size) {
    struct made made;
    CHECK(made_open(&made, from, type));
    damage(&made, size);
    CHECK(made_write(&made, damaged));
}

struct sample {
    int32_t tokens[N_TOKENS], positions[4 * N_TOKENS];
    uint32_t lengths[N_SEQUENCES];
    float *embeddings;
    struct compress_text text;
};

// Numbers that repeat themselves in places, so that there is something to foretell.
static void make_sample(struct sample *s, int32_t n_vocab) {
    struct rng rng;
    rng_seed(&rng, 11);
    *s = (struct sample){0};
    for (size_t i = 0; i < N_TOKENS; i++) {
        bool is_again = i >= 5 && rng_uniform(&rng) < 0.5;
        s->tokens[i] = is_again ? s->tokens[i - 5] : (int32_t)rng_below(&rng, (uint32_t)n_vocab);
    }
    for (size_t i = 0; i < N_SEQUENCES; i++) {
        s->lengths[i] = LENGTH;
    }
    s->text = (struct compress_text){.tokens = s->tokens,
                                     .lengths = s->lengths,
                                     .n_sequences = N_SEQUENCES,
                                     .n_tokens = N_TOKENS};
}

// Tokens 8 to 20 of each sequence become a picture of three by four.
static void add_images(struct sample *s, size_t n_embd) {
    enum { AT = 8, ROWS = 3, COLUMNS = 4 };
    struct rng rng;
    size_t n_images = 0;
    rng_seed(&rng, 12);
    s->embeddings = calloc(N_SEQUENCES * ROWS * COLUMNS, n_embd * sizeof(float));
    for (size_t i = 0; i < N_TOKENS; i++) {
        int32_t at = (int32_t)(i % LENGTH), inside = at - AT;
        bool is_image = inside >= 0 && inside < ROWS * COLUMNS;
        int32_t place = inside < 0 ? at : is_image ? AT : at - ROWS * COLUMNS + COLUMNS;
        int32_t row = is_image ? inside / COLUMNS : 0, column = is_image ? inside % COLUMNS : 0;
        s->positions[i] = place;
        s->positions[N_TOKENS + i] = place + row;
        s->positions[2 * N_TOKENS + i] = place + column;
        s->tokens[i] = is_image ? COMPRESS_IMAGE_TOKEN : s->tokens[i];
        for (size_t k = 0; is_image && k < n_embd; k++) {
            s->embeddings[n_images * n_embd + k] = (float)rng_normal(&rng);
        }
        n_images += is_image;
    }
    s->text.positions = s->positions;
    s->text.embeddings = s->embeddings;
    s->text.n_image_tokens = n_images;
}

static struct compress_text held_out(const struct sample *s) {
    struct compress_text text = s->text;
    text.tokens += (N_SEQUENCES - N_HELD_OUT) * LENGTH;
    text.lengths += N_SEQUENCES - N_HELD_OUT;
    text.n_sequences = N_HELD_OUT;
    text.n_tokens = N_HELD_OUT * LENGTH;
    return text;
}

// ---- running ----

struct look {
    int n_asked;
    double stop_at, last; // share
};

static bool look(void *context, double share_done) {
    struct look *l = context;
    CHECK(share_done >= l->last && share_done <= 1);
    l->last = share_done;
    l->n_asked++;
    return share_done < l->stop_at;
}

static struct distill_options options_of(uint32_t rank, size_t n_steps, struct look *l) {
    *l = (struct look){.stop_at = 2};
    return (struct distill_options){.n_held_out = N_HELD_OUT,
                                    .rank = rank,
                                    .rate = rate,
                                    .max_steps = n_steps,
                                    .batch_tokens = 200,
                                    .seed = 3,
                                    .threads = 1,
                                    .scratch_dir = folder,
                                    .go_on = look,
                                    .context = l};
}

static struct distill_result run(const char *from, const struct sample *s,
                                 const struct distill_options *options, enum wl_status expected,
                                 const char *word) {
    struct distill_result result;
    struct wl_err err = {0};
    unlink(learnt);
    enum wl_status status = distill_run(from, damaged, learnt, &s->text, options, &result, &err);
    if (status != expected) {
        printf("status %d, expected %d: %s\n", status, expected, err.message);
        n_wrong++;
    }
    CHECK(!word || message_has(&err, word));
    CHECK(os_exists(learnt) == (status == WL_OK && result.is_kept));
    return result;
}

static double verified(const char *from, const struct sample *s, const int32_t *new_ids) {
    struct compress_text text = held_out(s);
    struct verify_options options = {
        .skip = 1, .threads = 1, .scratch_dir = folder, .new_ids = new_ids};
    struct verify_result result = {0};
    bool is_done;
    struct wl_err err = {0};
    CHECK_OK(compress_verify(from, learnt, &text, &options, &result, &is_done, &err), err);
    return result.kl_mean;
}

// What was promised is in the file; how much the divergence fell.
static double check_learning(const char *what, const char *from, const struct sample *s,
                             uint32_t rank, size_t n_steps, double accuracy) {
    struct look l;
    struct distill_options options = options_of(rank, n_steps, &l);
    struct distill_result r = run(from, s, &options, WL_OK, NULL);
    CHECK(r.n_steps == n_steps && r.is_kept && r.kl_after < r.kl_before && l.n_asked > 0);
    double found = r.is_kept && !s->text.n_image_tokens ? verified(from, s, NULL) : r.kl_after;
    printf("%s, rank %u: %.4f -> %.4f nats a token in %zu steps; in the file %.4f\n", what, rank,
           r.kl_before, r.kl_after, r.n_steps, found);
    CHECK(fabs(found - r.kl_after) < accuracy * r.kl_after);
    return r.kl_after / r.kl_before;
}

// ---- the built-in model ----

static void learns_low_ranks_and_all(const struct sample *s) {
    make_damaged(original, MADE_F32, 0.3);
    CHECK(check_learning("built-in in F32", original, s, 8, 15, 0.02) < 0.8);
    CHECK(check_learning("built-in in F32", original, s, 0, 15, 0.02) < 0.8);
}

static void learns_in_coarse_types(const struct sample *s) {
    make_damaged(coarse, MADE_AS_IS, 0.3); // norms alone are F32 there
    rate = 5e-4;                           // it is near already
    CHECK(check_learning("built-in in Q8_0", original, s, 4, 15, 0.05) < 0.98);
    rate = 0.003;
}

static void writes_nothing_that_is_not_better(const struct sample *s) {
    struct look l;
    struct made made;
    struct distill_options options = options_of(4, 2, &l);
    CHECK(made_open(&made, original, MADE_AS_IS) && made_write(&made, damaged));
    options.rate = 10; // breaks it
    struct distill_result r = run(original, s, &options, WL_OK, NULL);
    CHECK(!r.is_kept && r.kl_after == r.kl_before && r.kl_before < 1e-3);
}

static void ends_in_time(const struct sample *s) {
    struct look l;
    struct distill_options options = options_of(4, 0, &l);
    make_damaged(original, MADE_F32, 0.3);
    options.seconds = 4;
    struct distill_result r = run(original, s, &options, WL_OK, NULL);
    CHECK(r.n_steps == 0 || r.n_tokens > 0);
    CHECK(l.last <= 1);
}

// ---- interruptions ----

static void spoil(const char *path) {
    FILE *file = fopen(path, "r+b");
    CHECK(file != NULL);
    if (file) {
        fseek(file, 5000, SEEK_SET);
        int byte = fgetc(file);
        fseek(file, 5000, SEEK_SET);
        fputc(byte ^ 1, file);
        fclose(file);
    }
}

static void is_taken_up(const struct sample *s) {
    char kept[OS_PATH_BYTES], state[OS_PATH_BYTES];
    struct look l;
    struct distill_options options = options_of(4, 12, &l);
    test_folder(kept);
    test_path(state, kept, "distill.state");
    make_damaged(original, MADE_F32, 0.3);
    struct distill_result whole = run(original, s, &options, WL_OK, NULL);
    options.checkpoint_dir = kept;
    for (int is_spoilt = 0; is_spoilt < 2; is_spoilt++) {
        l = (struct look){.stop_at = 0.5};
        run(original, s, &options, WL_INTERRUPTED, "interrupted");
        CHECK(os_exists(state));
        if (is_spoilt) {
            spoil(state);
        }
        l = (struct look){.stop_at = 2};
        struct distill_result again = run(original, s, &options, WL_OK, NULL);
        CHECK(again.n_steps == 12 && again.n_tokens == whole.n_tokens);
        CHECK(fabs(again.kl_after - whole.kl_after) < 1e-3 * whole.kl_after);
        CHECK(!os_exists(state));
    }
    l = (struct look){.stop_at = 0};
    options.checkpoint_dir = NULL;
    run(original, s, &options, WL_INTERRUPTED, NULL);
    test_folder_remove(kept);
}

// ---- images ----

static void images_are_seen(const struct sample *s) {
    struct look l;
    struct made made;
    struct distill_options options = options_of(4, 1, &l);
    options.rate = 1e-6;
    CHECK(made_open(&made, original, MADE_F32) && made_write(&made, damaged));
    struct distill_result r = run(original, s, &options, WL_OK, NULL);
    printf("built-in against itself with images: %.2g\n", r.kl_before);
    CHECK(r.kl_before < 1e-3);
    make_damaged(original, MADE_F32, 0.3);
    CHECK(check_learning("built-in with images", original, s, 4, 12, 0.1) < 0.9);
}

// ---- other architectures ----

#define TINY " --embd 64 --heads 4 --kv-heads 2 --ff 128 --type f16 --vocab "

static void other_architectures(void) {
    static const struct {
        const char *name, *synth;
        int32_t n_vocab;
    } SUBJECTS[] = {
        {"llama", "--arch llama --layers 2" TINY "512", 512},
        {"llama of many tokens", "--arch llama --layers 2" TINY "6000", 6000},
        {"qwen2", "--arch qwen2 --layers 2" TINY "512", 512},
        {"qwen3", "--arch qwen3 --layers 2 --head-dim 32" TINY "512", 512},
        {"gemma3", "--arch gemma3 --layers 7 --head-dim 32" TINY "512", 512},
    };
    static struct sample s;
    char sharp[OS_PATH_BYTES];
    test_path(sharp, folder, "sharp.gguf");
    for (size_t i = 0; i < sizeof SUBJECTS / sizeof SUBJECTS[0]; i++) {
        struct made made;
        if (!made_synth(SUBJECTS[i].synth, made_base_path())) {
            printf("not tried: %s; there is no working wattlaw synth\n", SUBJECTS[i].name);
            continue;
        }
        CHECK(made_open(&made, made_base_path(), MADE_SHARP));
        for (struct ggml_tensor *t = ggml_get_first_tensor(made.tensors); t;
             t = ggml_get_next_tensor(made.tensors, t)) { // else all tokens are equally likely
            float *w = t->data;
            bool is_end = strcmp(t->name, "output_norm.weight") == 0;
            for (int64_t k = 0; k < ggml_nelements(t) && is_end; k++) {
                w[k] *= 8;
            }
        }
        CHECK(made_write(&made, sharp));
        make_sample(&s, SUBJECTS[i].n_vocab);
        make_damaged(sharp, MADE_F32, 0.5);
        CHECK(check_learning(SUBJECTS[i].name, sharp, &s, 4, 15, 0.05) < 1);
    }
    unlink(sharp);
}

// ---- what is wrong, and what is gone ----

static void tokens_that_are_gone(const struct sample *s) {
    static int32_t fewer[1024];
    struct look l;
    struct distill_options options = options_of(4, 10, &l);
    for (int32_t i = 0; i < 1024; i++) {
        fewer[i] = i;
    }
    fewer[s->tokens[0]] = -1; // its sequence is left out
    options.new_ids = fewer;
    make_damaged(original, MADE_F32, 0.3);
    struct distill_result r = run(original, s, &options, WL_OK, NULL);
    CHECK(r.is_kept && r.kl_after < r.kl_before);
    double found = verified(original, s, fewer);
    CHECK(fabs(found - r.kl_after) < 0.02 * r.kl_after);
}

static void says_what_is_wrong(struct sample *s, const char *stories) {
    struct look l;
    struct distill_options options = options_of(4, 1, &l);
    make_damaged(original, MADE_F32, 0.3);
    options.n_held_out = 0;
    run(original, s, &options, WL_INPUT, "held out");
    options.n_held_out = N_SEQUENCES;
    run(original, s, &options, WL_INPUT, "held out");
    options.n_held_out = N_HELD_OUT;
    options.max_steps = 0;
    run(original, s, &options, WL_INPUT, "an end");
    options.max_steps = 1;
    s->lengths[3] = 1;
    run(original, s, &options, WL_INPUT, "sequence 3");
    s->lengths[3] = LENGTH + 1;
    run(original, s, &options, WL_INPUT, "expected 640");
    s->lengths[3] = LENGTH;
    s->tokens[7] = 4000;
    run(original, s, &options, WL_INPUT, "token 7");
    s->tokens[7] = 1;
    options.scratch_dir = "/nowhere/at/all";
    run(original, s, &options, WL_NOT_FOUND, "/nowhere/at/all");
    options.scratch_dir = folder;
    run("/nowhere/a.gguf", s, &options, WL_NOT_FOUND, "/nowhere/a.gguf");
    if (stories) {
        run(stories, s, &options, WL_INPUT, "does not come from");
    }
}

static void names_an_unknown_architecture(const struct sample *s) {
    struct look l;
    struct made made;
    struct distill_options options = options_of(4, 1, &l);
    CHECK(made_open(&made, original, MADE_AS_IS));
    gguf_set_val_str(made.keys, "general.architecture", "mamba");
    CHECK(made_write(&made, damaged));
    run(original, s, &options, WL_UNSUPPORTED, "mamba");
}

int main(void) {
    static struct sample text, pictures;
    static char stories[OS_PATH_BYTES];
    const char *models = getenv("WATTLAW_TEST_MODELS");
    test_path(original, source_dir(), "models/builtin/builtin.gguf");
    test_path(coarse, source_dir(), "models/builtin/builtin-q8_0.gguf");
    need_model(original);
    need_model(coarse);
    test_folder(folder);
    test_path(damaged, folder, "damaged.gguf");
    test_path(learnt, folder, "learnt.gguf");
    make_sample(&text, 900);
    make_sample(&pictures, 900);
    add_images(&pictures, 256);
    learns_low_ranks_and_all(&text);
    learns_in_coarse_types(&text);
    writes_nothing_that_is_not_better(&text);
    ends_in_time(&text);
    is_taken_up(&text);
    images_are_seen(&pictures);
    tokens_that_are_gone(&text);
    if (made_begin()) {
        other_architectures();
        made_end();
    } else {
        printf("without other architectures: there is no wattlaw\n");
    }
    bool has_stories = models && os_exists(test_path(stories, models, "stories260k-f32.gguf"));
    says_what_is_wrong(&text, has_stories ? stories : NULL);
    names_an_unknown_architecture(&text);
    free(pictures.embeddings);
    test_folder_remove(folder);
    return n_wrong > 0 ? TEST_WRONG : TEST_RIGHT;
}
