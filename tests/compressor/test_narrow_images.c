// Image tokens among text: the streams are llama.cpp's own with the same embeddings at the same
// positions, and what they count for is what was asked for.
#include "narrow_test.h"

static const char QWEN2VL[] = "--arch qwen2vl --layers 4 --embd 64 --heads 4 --kv-heads 2 --ff 256 "
                              "--vocab 512 --type f16";

enum { ROWS = 4, COLUMNS = 5, IMAGE = ROWS * COLUMNS, IMAGE_AT = 12 };

// Every other sequence has an image of 4 x 5 tokens: at one time, at rows and columns; what follows
// counts on behind the larger of both, as llama.cpp's mtmd does it.
struct pictures {
    int32_t positions[4 * SEQUENCES * SEQUENCE];
    float embeddings[SEQUENCES / 2 * IMAGE * 64];
};

static void add_pictures(struct walk *w, struct pictures *p) {
    struct rng rng;
    rng_seed(&rng, 23);
    int32_t *time = p->positions, *row = time + w->text.n_tokens, *column = row + w->text.n_tokens;
    for (size_t s = 0, at = 0; s < SEQUENCES; s++) {
        int32_t next = 0;
        for (size_t i = 0; i < SEQUENCE; i++, at++) {
            size_t k = i - IMAGE_AT;
            bool is_image = s % 2 == 0 && i >= IMAGE_AT && k < IMAGE;
            time[at] = row[at] = column[at] = next;
            if (is_image) {
                w->tokens[at] = COMPRESS_IMAGE_TOKEN;
                row[at] += (int32_t)(k / COLUMNS);
                column[at] += (int32_t)(k % COLUMNS);
            }
            next += !is_image ? 1 : k + 1 == IMAGE ? COLUMNS : 0;
        }
    }
    for (size_t i = 0; i < SEQUENCES / 2 * IMAGE; i++) {
        float a = (float)rng_normal(&rng), b = (float)rng_normal(&rng);
        for (size_t j = 0; j < 64; j++) { // of a kind of their own
            p->embeddings[i * 64 + j] = 0.05F * (j % 2 ? 1 + a : j % 3 ? b - a : 1 - b);
        }
    }
    w->text.positions = p->positions;
    w->text.embeddings = p->embeddings;
    w->text.n_image_tokens = SEQUENCES / 2 * IMAGE;
}

static double image_error(double share) {
    static struct pictures pictures;
    struct walk w;
    if (!walk_begin(&w, made)) {
        return NAN;
    }
    add_pictures(&w, &pictures);
    for (uint32_t i = 0; i < w.plan.n_layer; i++) {
        w.plan.layers[i].n_ff = 128;
    }
    w.plan.layers[2].is_removed = true;
    w.options.image_share = share;
    CHECK(isfinite(walk_distance(&w)));
    CHECK(isfinite(w.layers[0].error_image) && isfinite(w.layers[3].error_image));
    check_stream(&w);
    double error = w.layers[0].error_image;
    walk_end(&w);
    return error;
}

static void test_shares(void) {
    double none = image_error(0), half = image_error(0.5);
    if (!(half < 0.9 * none)) {
        printf("error on image tokens with shares of 0 and 0.5: %g, %g\n", none, half);
        n_wrong++;
    }
}

// Without images a share of them changes nothing, and positions that only count do neither.
static void test_text_alone(void) {
    static int32_t positions[4 * SEQUENCES * SEQUENCE];
    double error[2] = {0};
    for (int i = 0; i < 2; i++) {
        struct walk w;
        if (!walk_begin(&w, made)) {
            return;
        }
        w.options.image_share = i ? 0.9 : 0;
        for (size_t at = 0; at < w.text.n_tokens; at++) {
            for (size_t kind = 0; kind < 3; kind++) {
                positions[kind * w.text.n_tokens + at] = (int32_t)(at % SEQUENCE);
            }
        }
        w.text.positions = i ? positions : NULL;
        w.plan.layers[1].n_ff = 96;
        CHECK_OK(walk_run(&w), w.err);
        CHECK(isnan(w.layers[1].error_image));
        error[i] = w.stream_error;
        walk_end(&w);
    }
    CHECK(error[0] > 0 && error[0] == error[1]);
}

static void test_refusals(void) {
    static struct pictures pictures;
    struct walk w;
    if (walk_begin(&w, made)) {
        add_pictures(&w, &pictures);
        w.text.n_image_tokens--;
        CHECK(walk_run(&w) == WL_INPUT && message_has(&w.err, "image tokens"));
        w.text.n_image_tokens++;
        w.options.image_share = 1.5;
        CHECK(walk_run(&w) == WL_INPUT && message_has(&w.err, "1.5"));
        w.options.image_share = 0.5;
        pictures.embeddings[1000] = NAN;
        CHECK(walk_run(&w) == WL_INPUT && message_has(&w.err, "image token 15"));
        walk_end(&w);
    }
    CHECK(made_synth("--arch gemma3 --layers 2 --embd 64 --heads 4 --kv-heads 2 --ff 256 "
                     "--vocab 512 --type f16",
                     out));
    if (walk_begin(&w, out)) {
        add_pictures(&w, &pictures);
        CHECK(walk_run(&w) == WL_UNSUPPORTED && message_has(&w.err, "gemma3"));
        walk_end(&w);
    }
}

int main(void) {
    struct made m;
    need_model(getenv("WATTLAW") ? getenv("WATTLAW") : "wattlaw, named in $WATTLAW");
    folder_begin();
    if (synth(&m, QWEN2VL) && made_write(&m, made)) {
        test_shares();
        test_text_alone();
        test_refusals();
    }
    test_folder_remove(folder);
    return n_wrong ? TEST_WRONG : TEST_RIGHT;
}
