// Is the engine as fast as llama.cpp's own benchmark? Same file, threads, batch and environment,
// in turns (A B, B A, ...) so that drift of a shared machine cancels.
//
//   engine_vs_llama_bench [-r rounds] [-k runs] [-t threads] [-w passive|default]
//   MODEL.gguf|SHAPE[:TYPE]
//
// SHAPE is a name of src/plan/shapes.def, for example smollm2-135m:q4_0; it is written with random
// weights into /tmp. WATTLAW_ENGINE and LLAMA_BENCH name the two programs.
//
// What is compared: llama-bench's pp512 is one llama_decode of 512 tokens into an empty cache, with
// one row of logits; ours is the prefill phase of a run with n_prompt 512 and n_predict 1, which
// also picks that token. Its tg128 is 128 single-token decodes from an empty cache without picking
// tokens; ours is the decode phase of a run with n_prompt 1 and n_predict 129: 128 decodes, one
// position later, with greedy picks, text and the checks for CANCEL. Both programs warm up first.
#include <math.h>
#include <unistd.h>

#include "../tests/worker/drive.h"
#include "base/str.h"
#include "plan/shapes.h"
#include "stats/ratio.h"

enum { MAX_ROUNDS = 100, MAX_RUNS = 50, N_PROMPT = 512, N_DECODE = 128, MAX_OUTPUT = 1 << 20 };

struct options {
    int n_rounds;
    int n_runs;
    const char *threads;
    const char *policy; // OMP_WAIT_POLICY, or "default"
    const char *model;
};

// Tokens per second in one round.
struct rates {
    double prompt; // medians
    double decode;
    double best_prompt; // what the machine gives when nobody else takes it
    double best_decode;
};

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

// Sorts `values`.
static double quantile(double *values, size_t n, double q) {
    qsort(values, n, sizeof *values, compare_doubles);
    double at = q * (double)(n - 1);
    size_t low = (size_t)at;
    size_t high = low + 1 < n ? low + 1 : low;
    return values[low] + (at - (double)low) * (values[high] - values[low]);
}

static void die(const char *what, const char *detail) {
    fprintf(stderr, "engine_vs_llama_bench: %s: %s\n", what, detail);
    exit(1);
}

static const char *const *environment(const struct options *options) {
    static char setting[64];
    static const char *env[2];
    snprintf(setting, sizeof setting, "OMP_WAIT_POLICY=%s", options->policy);
    env[0] = strcmp(options->policy, "default") == 0 ? NULL : setting;
    return env;
}

static json_t *call(struct drive *engine, uint16_t type, json_t *request) {
    struct drive_answer answer = drive_call(engine, type, request, 3600);
    if (answer.outcome != DRIVE_RESULT) {
        die(engine_frame_name(type), wl_json_opt_string(answer.json, "message", "engine died"));
    }
    json_t *result = json_incref(answer.json);
    drive_answer_release(&answer);
    return result;
}

// Tokens per second of the phase with that name.
static double phase_rate(const json_t *result, const char *name) {
    size_t i;
    json_t *phase;
    json_array_foreach(json_object_get(result, "phases"), i, phase) {
        if (strcmp(wl_json_opt_string(phase, "phase", ""), name) == 0) {
            double ns =
                (double)(wl_json_opt_i64(phase, "t1_ns", 0) - wl_json_opt_i64(phase, "t0_ns", 0));
            return (double)wl_json_opt_i64(phase, "n_tokens", 0) * 1e9 / ns;
        }
    }
    return NAN;
}

static double run_rate(struct drive *engine, int n_prompt, int n_predict, const char *phase) {
    json_t *result = call(engine, ENGINE_RUN,
                          json_pack("{s:s, s:i, s:i, s:b}", "prompt",
                                    "the people of the city write a long story about the water",
                                    "n_prompt", n_prompt, "n_predict", n_predict, "ignore_eos", 1));
    double rate = phase_rate(result, phase);
    json_decref(result);
    return rate;
}

static struct rates measure_engine(const struct options *options) {
    struct drive engine;
    double prompt[MAX_RUNS];
    double decode[MAX_RUNS];
    if (!drive_start(&engine, environment(options), -1, NULL)) {
        die("cannot start the engine", drive_engine_path());
    }
    int threads = (int)strtol(options->threads, NULL, 10);
    json_decref(call(&engine, ENGINE_LOAD,
                     json_pack("{s:s, s:i, s:i, s:i}", "path", options->model, "threads", threads,
                               "threads_batch", threads, "n_ctx", N_PROMPT + N_DECODE)));
    run_rate(&engine, N_PROMPT, 1, "prefill"); // warm up as llama-bench does
    for (int i = 0; i < options->n_runs; i++) {
        prompt[i] = run_rate(&engine, N_PROMPT, 1, "prefill");
    }
    run_rate(&engine, 1, 2, "decode");
    for (int i = 0; i < options->n_runs; i++) {
        decode[i] = run_rate(&engine, 1, N_DECODE + 1, "decode");
    }
    drive_stop(&engine);
    size_t n = (size_t)options->n_runs;
    return (struct rates){quantile(prompt, n, 0.5), quantile(decode, n, 0.5),
                          quantile(prompt, n, 1), quantile(decode, n, 1)};
}

static void read_all(int fd, struct buf *out) {
    char chunk[4096];
    for (ssize_t n; (n = read(fd, chunk, sizeof chunk)) > 0;) {
        buf_append(out, chunk, (size_t)n);
    }
}

// Its warnings go to the same pipe: the JSON begins with a line "[".
static json_t *parse_output(const struct buf *out) {
    const char *begin = strstr(buf_text(out), "[\n");
    const char *end = strrchr(buf_text(out), ']');
    struct wl_err err;
    json_t *json = NULL;
    if (!begin || !end || end < begin) {
        die("llama-bench printed no JSON", buf_text(out));
    }
    if (wl_json_parse(begin, (size_t)(end - begin) + 1, &json, &err) != WL_OK) {
        die("llama-bench's JSON", err.message);
    }
    return json;
}

static double sample_quantile(const json_t *test, double q) {
    double values[MAX_RUNS];
    const json_t *samples = json_object_get(test, "samples_ts");
    size_t n = json_array_size(samples);
    for (size_t i = 0; i < n && i < MAX_RUNS; i++) {
        values[i] = json_number_value(json_array_get(samples, i));
    }
    return n > 0 ? quantile(values, n < MAX_RUNS ? n : MAX_RUNS, q) : NAN;
}

static struct rates measure_llama_bench(const struct options *options) {
    const char *program = getenv("LLAMA_BENCH") ? getenv("LLAMA_BENCH") : ".deps/bin/llama-bench";
    char runs[16];
    snprintf(runs, sizeof runs, "%d", options->n_runs);
    const char *argv[] = {program, "-m", options->model,   "-p", "512", "-n",
                          "128",   "-t", options->threads, "-r", runs,  "-lm",
                          "mmap",  "-o", "json",           NULL};
    int fds[2];
    int wait_status = 0;
    pid_t pid;
    struct wl_err err;
    struct buf out;
    buf_init(&out, MAX_OUTPUT);
    if (os_pipe(fds, &err) != WL_OK) {
        die("pipe", err.message);
    }
    struct os_spawn spawn = {.argv = argv,
                             .extra_env = environment(options),
                             .socket_fd = -1,
                             .output_fd = fds[1],
                             .dies_with_parent = true};
    if (os_spawn(&spawn, &pid, &err) != WL_OK) {
        die("cannot start llama-bench", err.message);
    }
    close(fds[1]);
    read_all(fds[0], &out);
    close(fds[0]);
    os_wait(pid, 60000000000, &wait_status, NULL);
    json_t *tests = parse_output(&out);
    const json_t *prompt = json_array_get(tests, 0);
    const json_t *decode = json_array_get(tests, 1);
    struct rates rates = {sample_quantile(prompt, 0.5), sample_quantile(decode, 0.5),
                          sample_quantile(prompt, 1), sample_quantile(decode, 1)};
    json_decref(tests);
    buf_release(&out);
    return rates;
}

// Medians of the rounds' medians, their ratio in each round with the 95 % interval of its median,
// and the ratio of the best samples of all.
static void print_line(const char *name, const struct rates *ours, const struct rates *theirs,
                       size_t n, bool is_prompt) {
    double a[MAX_ROUNDS] = {0};
    double b[MAX_ROUNDS] = {0};
    double ratio[MAX_ROUNDS] = {0};
    double best_a = 0;
    double best_b = 0;
    for (size_t i = 0; i < n; i++) {
        a[i] = is_prompt ? ours[i].prompt : ours[i].decode;
        b[i] = is_prompt ? theirs[i].prompt : theirs[i].decode;
        ratio[i] = a[i] / b[i];
        best_a = fmax(best_a, is_prompt ? ours[i].best_prompt : ours[i].best_decode);
        best_b = fmax(best_b, is_prompt ? theirs[i].best_prompt : theirs[i].best_decode);
    }
    struct stats_ratio paired = {.median_ratio = NAN};
    stats_paired_ratio(b, a, n, 1, &paired, NULL); // before quantile() sorts the pairs apart
    printf("%-10s engine %.2f t/s, llama-bench %.2f t/s, ratio %.3f (95 %% %.3f to %.3f, quartiles "
           "%.3f to %.3f, n %zu)%s\n",
           name, quantile(a, n, 0.5), quantile(b, n, 0.5), paired.median_ratio,
           paired.median_ci95.low, paired.median_ci95.high, quantile(ratio, n, 0.25),
           quantile(ratio, n, 0.75), n, paired.median_ratio >= 0.98 ? "" : " BELOW 0.98");
    printf("%-10s engine %.2f t/s, llama-bench %.2f t/s, ratio %.3f%s\n", "  best of", best_a,
           best_b, best_a / best_b, best_a >= 0.98 * best_b ? "" : " BELOW 0.98");
}

static void compare(const struct options *options) {
    struct rates ours[MAX_ROUNDS];
    struct rates theirs[MAX_ROUNDS];
    for (int round = 0; round < options->n_rounds; round++) {
        for (int turn = 0; turn < 2; turn++) {
            if ((turn + round) % 2 == 0) {
                theirs[round] = measure_llama_bench(options);
            } else {
                ours[round] = measure_engine(options);
            }
        }
        fprintf(stderr, "round %d of %d: prompt %.1f / %.1f, generation %.2f / %.2f t/s\n",
                round + 1, options->n_rounds, ours[round].prompt, theirs[round].prompt,
                ours[round].decode, theirs[round].decode);
    }
    size_t n = (size_t)options->n_rounds;
    printf("%s, %s threads, OMP_WAIT_POLICY %s, %zu rounds of %d runs\n", options->model,
           options->threads, options->policy, n, options->n_runs);
    print_line("prompt", ours, theirs, n, true);
    print_line("generation", ours, theirs, n, false);
}

// "smollm2-135m:q4_0" -> a file of random weights; its path is static.
static const char *write_shape(const char *wanted) {
    static char path[160];
    char name[64];
    str_copy(name, sizeof name, wanted);
    char *colon = strchr(name, ':');
    const char *type = colon ? colon + 1 : "q4_0";
    if (colon) {
        *colon = '\0';
    }
    const struct plan_shape *shape = plan_shape_by_name(name);
    struct drive engine;
    if (!shape) {
        die("neither a file nor a known shape", wanted);
    }
    if (!drive_start(&engine, NULL, -1, NULL)) {
        die("cannot start the engine", drive_engine_path());
    }
    snprintf(path, sizeof path, "/tmp/wattlaw-bench-%s-%s.gguf", name, type);
    json_decref(call(&engine, ENGINE_SYNTH,
                     json_pack("{s:s, s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:b, s:s, s:s}",
                               "path", path, "arch", shape->arch, "n_layer", (int)shape->n_layer,
                               "n_embd", (int)shape->n_embd, "n_head", (int)shape->n_head,
                               "n_head_kv", (int)shape->n_head_kv, "head_dim", (int)shape->head_dim,
                               "n_ff", (int)shape->n_ff, "n_vocab", (int)shape->n_vocab, "tied",
                               (int)shape->is_tied, "type", type, "name", shape->name)));
    drive_stop(&engine);
    return path;
}

int main(int argc, char **argv) {
    struct options options = {
        .n_rounds = 5, .n_runs = 3, .threads = "2", .policy = "passive", .model = NULL};
    for (int c; (c = getopt(argc, argv, "r:k:t:w:")) != -1;) {
        switch (c) {
        case 'r': options.n_rounds = (int)strtol(optarg, NULL, 10); break;
        case 'k': options.n_runs = (int)strtol(optarg, NULL, 10); break;
        case 't': options.threads = optarg; break;
        case 'w': options.policy = optarg; break;
        default: return 2;
        }
    }
    if (optind + 1 != argc || options.n_rounds < 1 || options.n_rounds > MAX_ROUNDS ||
        options.n_runs < 1 || options.n_runs > MAX_RUNS) {
        fputs("usage: engine_vs_llama_bench [-r rounds] [-k runs] [-t threads] "
              "[-w passive|default] MODEL.gguf|SHAPE[:TYPE]\n",
              stderr);
        return 2;
    }
    const char *wanted = argv[optind];
    bool is_file = access(wanted, R_OK) == 0;
    options.model = is_file ? wanted : write_shape(wanted);
    compare(&options);
    if (!is_file) {
        unlink(options.model);
    }
    return 0;
}
