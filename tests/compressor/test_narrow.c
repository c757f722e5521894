// Narrowing small models about which something is known beforehand. Each file that comes of it is
// loaded with llama.cpp.
#include "narrow_test.h"

static const char LLAMA[] = "--arch llama --layers 4 --embd 64 --heads 4 --kv-heads 2 --ff 256 "
                            "--vocab 512 --type f16";

static void test_nothing_cut(void) {
    struct made m;
    struct walk w;
    if (!synth(&m, LLAMA) || !made_write(&m, made) || !walk_begin(&w, made)) {
        return;
    }
    w.options.on_output_norm = take_norm;
    CHECK(walk_distance(&w) == 0);
    CHECK(w.stream_error == 0);
    CHECK(!w.has_norm);
    for (size_t i = 0; i < w.n_told; i++) {
        CHECK(!w.layers[i].kept && !w.layers[i].down && isnan(w.layers[i].error_cut));
    }
    struct gguf_file written;
    CHECK_OK(gguf_file_open(&written, out, &w.err), w.err);
    CHECK(written.file_bytes == w.source.file.file_bytes &&
          memcmp(written.map, w.source.file.map, (size_t)written.file_bytes) == 0);
    gguf_file_close(&written);
    walk_end(&w);
}

static void plan_ff(struct walk *w, uint32_t n_ff) {
    for (uint32_t i = 0; i < w->plan.n_layer; i++) {
        w->plan.layers[i].n_ff = n_ff;
    }
}

static void test_dead_neurons(void) {
    struct made m;
    struct walk w;
    if (!synth(&m, LLAMA)) {
        return;
    }
    for (uint32_t i = 0; i < 4; i++) {
        scale_columns(&m, i, "ffn_down.weight", 32 * i, 32 * i + 64, 0);
    }
    if (!made_write(&m, made) || !walk_begin(&w, made)) {
        return;
    }
    plan_ff(&w, 192);
    double distance = walk_distance(&w);
    CHECK(distance <= 1e-5);
    CHECK(w.layers[3].error_repaired < 1e-8);
    walk_end(&w);
}

// Neurons j and j + 128 do the same: one of them can do it for both.
static void test_duplicated_neurons(void) {
    struct made m;
    struct walk w;
    if (!synth(&m, LLAMA)) {
        return;
    }
    for (uint32_t i = 0; i < 4; i++) {
        int64_t ne[2];
        for (int k = 0; k < 2; k++) {
            float *values = values_of(&m, i, k ? "ffn_gate.weight" : "ffn_up.weight", ne);
            memcpy(values + 128 * ne[0], values, 128 * (size_t)ne[0] * sizeof *values);
        }
    }
    if (!made_write(&m, made) || !walk_begin(&w, made)) {
        return;
    }
    plan_ff(&w, 128);
    w.options.ridge = 2e-6; // it is most of what is off
    double distance = walk_distance(&w);
    if (!(distance <= 1e-5)) {
        printf("%g off\n", distance);
    }
    CHECK(distance <= 1e-5);
    CHECK(w.layers[0].error_repaired < 1e-8 && w.layers[0].error_cut > 0.01);
    check_stream(&w);
    walk_end(&w);
}

static void test_methods(void) {
    struct made m;
    if (!synth(&m, LLAMA) || !made_write(&m, made)) {
        return;
    }
    double error[4] = {0};
    for (int method = NARROW_REPAIR; method <= NARROW_WANDA; method++) {
        struct walk w;
        if (walk_begin(&w, made)) {
            plan_ff(&w, 128);
            w.options.method = (enum narrow_method)method;
            CHECK(isfinite(walk_distance(&w)));
            error[method] = w.stream_error;
            check_stream(&w);
            walk_end(&w);
        }
    }
    CHECK(error[NARROW_REPAIR] < error[NARROW_CUT]);
    CHECK(error[NARROW_CUT] < error[NARROW_MAGNITUDE]);
}

static void test_bias_and_norm(void) {
    struct made m;
    struct walk w;
    if (!synth(&m, LLAMA) || !made_write(&m, made) || !walk_begin(&w, made)) {
        return;
    }
    plan_ff(&w, 64);
    w.options.may_add_bias = true;
    w.options.on_output_norm = take_norm;
    CHECK(isfinite(walk_distance(&w)));
    size_t n_biases = 0;
    for (size_t i = 0; i < w.n_told; i++) {
        const struct narrow_layer *l = &w.layers[i];
        n_biases += l->down_bias != NULL;
        CHECK((l->down_bias != NULL) == (l->error_bias < l->error_repaired));
    }
    CHECK(n_biases > 0);
    CHECK(w.has_norm);
    check_stream(&w);
    walk_end(&w);
}

static void test_healing(void) {
    struct made m;
    struct walk w;
    if (!synth(&m, LLAMA) || !made_write(&m, made) || !walk_begin(&w, made)) {
        return;
    }
    plan_ff(&w, 64);
    w.options.may_add_bias = true;
    w.options.heal_seconds = 0.2;
    CHECK(isfinite(walk_distance(&w)));
    for (size_t i = 0; i < w.n_told; i++) {
        const struct narrow_layer *l = &w.layers[i];
        double before = l->down_bias ? l->error_bias : l->error_repaired;
        CHECK(l->error_healed <= before * (1 + 1e-6));
        CHECK((l->gate != NULL) == (l->norm != NULL));
    }
    check_stream(&w);
    walk_end(&w);
}

static void test_interruption(void) {
    struct made m;
    struct walk w;
    if (!synth(&m, LLAMA) || !made_write(&m, made) || !walk_begin(&w, made)) {
        return;
    }
    plan_ff(&w, 64);
    for (w.stop_at = 0; w.stop_at < 1; w.stop_at += 0.09) {
        CHECK(walk_run(&w) == WL_INTERRUPTED);
    }
    walk_end(&w);
}

static void test_refusals(void) {
    struct made m;
    struct walk w;
    if (!synth(&m, LLAMA) || !made_write(&m, made) || !walk_begin(&w, made)) {
        return;
    }
    w.plan.layers[0].is_removed = true;
    CHECK(walk_run(&w) == WL_INPUT && message_has(&w.err, "block 0"));
    w.plan.layers[0].is_removed = false;
    w.plan.layers[2].n_ff = 0;
    CHECK(walk_run(&w) == WL_INPUT && message_has(&w.err, "block 2"));
    w.plan.layers[2].n_ff = 512;
    CHECK(walk_run(&w) == WL_INPUT && message_has(&w.err, "256"));
    w.plan.layers[2].n_ff = 256;
    w.options.n_held_out = SEQUENCES;
    CHECK(walk_run(&w) == WL_INPUT && message_has(&w.err, "held out"));
    w.options.n_held_out = HELD_OUT;
    w.tokens[5] = 512;
    CHECK(walk_run(&w) == WL_INPUT && message_has(&w.err, "512"));
    w.tokens[5] = COMPRESS_IMAGE_TOKEN;
    CHECK(walk_run(&w) == WL_INPUT && message_has(&w.err, "image"));
    w.lengths[3] = 1;
    CHECK(walk_run(&w) == WL_INPUT && message_has(&w.err, "sequence 3"));
    walk_end(&w);
}

int main(void) {
    need_model(getenv("WATTLAW") ? getenv("WATTLAW") : "wattlaw, named in $WATTLAW");
    folder_begin();
    test_nothing_cut();
    test_dead_neurons();
    test_duplicated_neurons();
    test_methods();
    test_bias_and_norm();
    test_healing();
    test_interruption();
    test_refusals();
    test_folder_remove(folder);
    return n_wrong ? TEST_WRONG : TEST_RIGHT;
}
