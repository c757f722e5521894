// What an earlier run left in the work folder is taken up only where it fits the model: a list of
// other lengths, or numbers of tokens that are none, are made again or refused in words.
#include <sys/socket.h>

#include "compressor/job_state.h"
#include "target_test.h"

enum { N_LAYER = 3, N_VOCAB = 512, N_SEQUENCES = 8, MAX_TOKENS = 4096 };

static char folder[OS_PATH_BYTES], base[OS_PATH_BYTES], work[OS_PATH_BYTES];
static const char STORY[] =
    "Once upon a time there was a little girl called Lily. She liked to play in the park with her "
    "red ball. One day she saw a big dog. \"Hello, dog!\" she said. The dog was happy.";

// ---- a job without the process around it ----

struct test {
    struct job job;
    struct frame_io io;
    struct reply reply;
    int other; // end of the socket
    json_t *request;
    struct wl_err err;
};

// Some sequences of the same text.
static void make_text(struct calib_part *part) {
    struct llama_model_params params = llama_model_default_params();
    params.vocab_only = true;
    struct llama_model *model = llama_model_load_from_file(base, params);
    part->tokens = calloc(MAX_TOKENS, sizeof *part->tokens);
    part->is_first = calloc(MAX_TOKENS, sizeof *part->is_first);
    part->lengths = calloc(N_SEQUENCES, sizeof *part->lengths);
    part->documents = calloc(N_SEQUENCES, sizeof *part->documents);
    part->sources = calloc(N_SEQUENCES, sizeof *part->sources);
    for (uint32_t i = 0; i < N_SEQUENCES && model; i++) {
        int32_t n = llama_tokenize(llama_model_get_vocab(model), STORY, (int32_t)strlen(STORY),
                                   part->tokens + part->n_tokens,
                                   (int32_t)(MAX_TOKENS - part->n_tokens), false, true);
        CHECK(n > 0);
        part->lengths[part->n_sequences++] = n > 0 ? (uint32_t)n : 0;
        part->documents[i] = i;
        part->n_tokens += n > 0 ? (size_t)n : 0;
    }
    CHECK(model != NULL);
    if (model) {
        llama_model_free(model);
    }
}

static bool begin(struct test *t, const char *request) {
    int pair[2];
    json_t *identity = json_pack("{s:s}", "who", "test");
    *t = (struct test){0};
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    t->io.fd = pair[0];
    t->other = pair[1];
    t->reply.io = &t->io;
    t->request = json_loads(request, 0, NULL);
    t->job = (struct job){.reply = &t->reply,
                          .request = t->request,
                          .path = base,
                          .out = "out.gguf",
                          .eased = 1,
                          .result = json_object(),
                          .seconds = json_object()};
    snprintf(t->job.base.path, sizeof t->job.base.path, "%s", base);
    interrupt_init(&t->job.interrupt, &t->io, 0);
    CHECK_OK(compress_source_open(&t->job.source, base, COMPRESS_CAREFUL, &t->err), t->err);
    CHECK_OK(work_open(&t->job.work, work, identity, &t->err), t->err);
    make_text(&t->job.calib.calibration);
    json_decref(identity);
    return t->err.status == WL_OK;
}

static void end(struct test *t) {
    struct job *job = &t->job;
    work_close(&job->work);
    plan_release(&job->plan);
    analysis_release(&job->analysis);
    trim_result_release(&job->trim);
    compress_calib_release(&job->calib);
    compress_source_close(&job->source);
    json_decref(job->seconds);
    json_decref(job->result);
    json_decref(t->request);
    close(t->io.fd);
    close(t->other);
}

static json_t *stage_of(struct test *t, const char *name) {
    json_t *stage = (json_t *)work_result(&t->job.work, name);
    CHECK(stage != NULL);
    return stage;
}

// ---- stages ----

static void analysis_of_fewer_blocks(void) {
    struct test t;
    if (begin(&t, "{\"n_drop\": 1}")) {
        CHECK_OK(job_analyse(&t.job, &t.err), t.err);
        CHECK(t.job.analysis.n_layer == N_LAYER);
        analysis_release(&t.job.analysis);
        CHECK(json_array_remove(json_object_get(stage_of(&t, "analysis"), "layers"), N_LAYER - 1) ==
              0);
        CHECK_OK(job_analyse(&t.job, &t.err), t.err);
        CHECK(t.job.analysis.n_layer == N_LAYER);
    }
    end(&t);
}

// How many tokens the model had by the second run.
static uint32_t trimmed_again(struct test *t) {
    struct test again;
    uint32_t n_before = 0;
    work_finish(&t->job.work, "other", json_null(), &t->err); // writes what was changed
    if (begin(&again, "{\"vocabulary\": 0}")) {
        CHECK_OK(job_trim_vocabulary(&again.job, &again.err), again.err);
        n_before = again.job.trim.n_before;
        CHECK(again.job.source.n_vocab == again.job.trim.n_after);
        CHECK(json_integer_value(json_object_get(stage_of(&again, "vocabulary"), "n_before")) ==
              N_VOCAB);
    }
    end(&again);
    return n_before;
}

static void set_count(struct test *t, const char *key, json_int_t value) {
    json_object_set_new(stage_of(t, "vocabulary"), key, json_integer(value));
}

static void write_ids(struct test *t, size_t n, int32_t value) {
    static int32_t ids[N_VOCAB];
    char path[OS_PATH_BYTES];
    for (size_t i = 0; i < N_VOCAB; i++) {
        ids[i] = value;
    }
    CHECK_OK(work_file(&t->job.work, "new-ids.bin", path, &t->err), t->err);
    test_write(path, ids, n * sizeof *ids);
}

static void numbers_of_other_tokens(void) {
    struct test t;
    if (begin(&t, "{\"vocabulary\": 0}")) {
        CHECK_OK(job_trim_vocabulary(&t.job, &t.err), t.err);
        CHECK(trimmed_again(&t) == N_VOCAB); // as it was
        set_count(&t, "n_before", 16);       // fewer than the text names
        write_ids(&t, 16, 0);
        CHECK(trimmed_again(&t) == N_VOCAB);
        set_count(&t, "n_before", INT64_C(1) << 62); // times four: none
        write_ids(&t, 0, 0);
        CHECK(trimmed_again(&t) == N_VOCAB);
        set_count(&t, "n_before", N_VOCAB);
        set_count(&t, "n_after", INT64_C(1) << 32);
        write_ids(&t, N_VOCAB, 100000);
        CHECK(trimmed_again(&t) == N_VOCAB);
    }
    end(&t);
}

static void text_of_other_tokens(void) {
    struct test t, again;
    if (begin(&t, "{\"vocabulary\": 0}")) {
        CHECK_OK(job_trim_vocabulary(&t.job, &t.err), t.err);
        if (begin(&again, "{\"vocabulary\": 0}")) {
            again.job.calib.calibration.tokens[3] = 1 << 20;
            CHECK(job_trim_vocabulary(&again.job, &again.err) == WL_INPUT);
            CHECK(message_has(&again.err, "token 3 of the calibration text is 1048576"));
        }
        end(&again);
    }
    end(&t);
}

static void file_of_other_tokens(void) {
    struct test t, again;
    if (begin(&t, "{\"vocabulary\": 0}")) {
        struct change change;
        CHECK_OK(job_trim_vocabulary(&t.job, &t.err), t.err);
        if (change_begin(&change, base)) { // the whole one again
            change_write(&change, t.job.base.path);
            change_end(&change);
        }
        if (begin(&again, "{\"vocabulary\": 0}")) {
            CHECK(job_trim_vocabulary(&again.job, &again.err) == WL_INPUT);
            CHECK(message_has(&again.err, "begin anew"));
        }
        end(&again);
    }
    end(&t);
}

// ---- plans ----

static void check_plan(const char *plan, const char *word) {
    struct test t;
    char request[512];
    snprintf(request, sizeof request, "{\"plan\": %s}", plan);
    if (begin(&t, request)) {
        enum wl_status status = job_make_plan(&t.job, &t.err);
        CHECK(status == (word ? WL_INPUT : WL_OK) && (!word || message_has(&t.err, word)));
        CHECK(word || t.job.plan.layers[1].n_ff == 192);
    }
    end(&t);
}

static void plans_of_users(void) {
    check_plan("[{\"n_ff\": 192}, {\"n_ff\": 192}, {\"n_ff\": 192, \"is_removed\": false}]", NULL);
    check_plan("{}", "a list of 3 blocks");
    check_plan("[{}]", "a list of 3 blocks, found 1");
    check_plan("[{}, {}, 7]", "block 2: expected an object");
    check_plan("[{}, {\"n_ff\": \"192\"}, {}]", "block 1: key 'n_ff'");
    check_plan("[{}, {\"n_ff\": 0}, {}]", "block 1: expected 'n_ff' from 1 to 256, found 0");
    check_plan("[{}, {\"n_ff\": 4294967488}, {}]", "found 4294967488");
    check_plan("[{}, {\"n_head_kv\": -1}, {}]", "'n_head_kv' from 0 to 2, found -1");
    check_plan("[{}, {\"nff\": 192}, {}]",
               "block 1: expected n_ff, n_head_kv or is_removed, found 'nff'");
    check_plan("[{}, {}, {\"is_removed\": \"no\"}]", "block 2: key 'is_removed'");
}

int main(void) {
    need_backends();
    test_folder(folder);
    test_path(base, folder, "base.gguf");
    test_path(work, folder, "out.gguf.work");
    need_made(made_synth("--arch llama --layers 3 --embd 64 --heads 4 --kv-heads 2 --ff 256 "
                         "--vocab 512 --type f16",
                         base),
              folder);
    analysis_of_fewer_blocks();
    numbers_of_other_tokens();
    text_of_other_tokens();
    file_of_other_tokens();
    plans_of_users();
    struct work left;
    if (work_find(&left, work)) {
        work_remove(&left);
    }
    test_folder_remove(folder);
    return n_wrong ? TEST_WRONG : TEST_RIGHT;
}
