// The exported model pair computes in llama.cpp what it computed in training:
//
//     builtin_parity [--perturb FAULT] MODELS_DIR TASKS_DIR
//
// runs the prompts of MODELS_DIR/reference.json (models/train/parity.py says what is in it) on the
// two files that it names and compares tokens, image embeddings, logits and greedy answers. Then it
// does the same with references that are wrong on purpose: one that is taken for right fails the
// test. With --perturb only that one is compared, loudly. 0 right, 1 wrong, 2 usage, 77 no models.
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/str.h"
#include "os/file.h"
#include "parity_compare.h"

enum { RIGHT = 0, WRONG = 1, USAGE = 2, SKIPPED = 77 };
enum { MAX_REFERENCE_BYTES = 1 << 20, MAX_PIXELS = 1 << 20, MAX_ANSWER_TOKENS = 256 };

struct parity {
    json_t *reference;
    const char *models_dir, *tasks_dir;
    char reference_path[OS_PATH_BYTES], text_path[OS_PATH_BYTES], mmproj_path[OS_PATH_BYTES];
    struct pair pair;
    struct parity_found found;
};

// ---- reading ----

static enum wl_status model_path(const struct parity *p, const char *key, char out[OS_PATH_BYTES],
                                 struct wl_err *err) {
    const char *name;
    enum wl_status status = wl_json_get_string(p->reference, key, &name, err);
    return status == WL_OK ? os_path_join(out, p->models_dir, name, err) : status;
}

static enum wl_status read_reference(struct parity *p, struct wl_err *err) {
    struct buf text;
    const char *format = "";
    buf_init(&text, MAX_REFERENCE_BYTES);
    enum wl_status status = os_slurp(p->reference_path, &text, err);
    if (status == WL_OK) {
        status = wl_json_parse(buf_text(&text), text.len, &p->reference, err);
    }
    buf_release(&text);
    if (status == WL_OK) {
        status = wl_json_get_string(p->reference, "format", &format, err);
    }
    if (status == WL_OK && strcmp(format, "wattlaw-parity-1") != 0) {
        status = wl_err_set(err, WL_INPUT, "format is '%s', expected 'wattlaw-parity-1'", format);
    }
    if (status == WL_OK) {
        status = model_path(p, "text", p->text_path, err);
    }
    if (status == WL_OK) {
        status = model_path(p, "mmproj", p->mmproj_path, err);
    }
    return status == WL_OK ? WL_OK : wl_err_prefix(err, "reference '%s'", p->reference_path);
}

// The picture whose formula parity.py states.
static enum wl_status draw_pattern(const json_t *sides, struct image *out, struct wl_err *err) {
    int64_t width = wl_json_opt_i64(sides, "width", 0);
    int64_t height = wl_json_opt_i64(sides, "height", 0);
    if (width < 1 || height < 1 || width > MAX_PIXELS || height > MAX_PIXELS / width) {
        return wl_err_set(err, WL_INPUT, "an image of %lld x %lld pixels", (long long)width,
                          (long long)height);
    }
    *out = (struct image){(uint32_t)width, (uint32_t)height, malloc(3 * (size_t)(width * height))};
    for (uint32_t y = 0; y < out->height && out->rgb; y++) {
        for (uint32_t x = 0; x < out->width; x++) {
            for (uint32_t c = 0; c < 3; c++) {
                out->rgb[3 * ((size_t)y * out->width + x) + c] =
                    (unsigned char)((x * 7 + y * 13 + c * 29) & 255);
            }
        }
    }
    return out->rgb ? WL_OK : wl_err_set(err, WL_MEMORY, "no memory for an image");
}

static enum wl_status read_picture(const char *dir, const char *name, struct image *out,
                                   struct wl_err *err) {
    char path[OS_PATH_BYTES];
    struct buf bytes;
    buf_init(&bytes, IMAGE_LIMITS.max_bytes);
    enum wl_status status = os_path_join(path, dir, name, err);
    if (status == WL_OK) {
        status = os_slurp(path, &bytes, err);
    }
    if (status == WL_OK) {
        status = image_decode(buf_text(&bytes), bytes.len, NULL, 0, 0, out, err);
    }
    buf_release(&bytes);
    return status == WL_OK ? WL_OK : wl_err_prefix(err, "picture '%s'", name);
}

// ---- running ----

static enum wl_status ask(struct parity *p, const json_t *prompt, bool is_turned,
                          struct pair_figures *out, struct wl_err *err) {
    const json_t *source = json_object_get(prompt, "image");
    const char *file = wl_json_opt_string(source, "file", NULL);
    const char *text;
    struct image image = {0};
    enum wl_status status = wl_json_get_string(prompt, "prompt", &text, err);
    if (status == WL_OK && json_is_object(source)) {
        status = file ? read_picture(p->tasks_dir, file, &image, err)
                      : draw_pattern(source, &image, err);
    }
    if (status == WL_OK) {
        status = pair_ask(&p->pair, text, image.rgb ? &image : NULL, is_turned, out, err);
    }
    image_release(&image);
    return status == WL_OK ? WL_OK
                           : wl_err_prefix(err, "%s", wl_json_opt_string(prompt, "name", "?"));
}

static enum wl_status answer(struct parity *p, const json_t *prompt, struct pair_figures *out,
                             struct wl_err *err) {
    int64_t limit = wl_json_opt_i64(prompt, "limit", 0);
    int64_t end = wl_json_opt_i64(p->reference, "end", -1);
    if (limit < 1 || limit > MAX_ANSWER_TOKENS) {
        return wl_err_set(err, WL_INPUT, "limit is %lld, expected 1 to %d", (long long)limit,
                          MAX_ANSWER_TOKENS);
    }
    enum wl_status status = ask(p, prompt, false, out, err);
    return status == WL_OK ? pair_answer(&p->pair, (llama_token)end, (size_t)limit, out, err)
                           : status;
}

static enum wl_status run_all(struct parity *p, struct wl_err *err) {
    const json_t *cases = json_object_get(p->reference, "cases");
    const json_t *answers = json_object_get(p->reference, "answers");
    struct parity_found *found = &p->found;
    *found = (struct parity_found){
        .cases = calloc(json_array_size(cases) + 1, sizeof *found->cases),
        .answers = calloc(json_array_size(answers) + 1, sizeof *found->answers),
        .n_vocab = p->pair.n_vocab,
        .width = p->pair.width,
    };
    enum wl_status status = found->cases && found->answers
                                ? WL_OK
                                : wl_err_set(err, WL_MEMORY, "no memory for the figures");
    while (status == WL_OK && found->n_cases < json_array_size(cases)) {
        size_t i = found->n_cases++;
        status = ask(p, json_array_get(cases, i), false, &found->cases[i], err);
    }
    while (status == WL_OK && found->n_answers < json_array_size(answers)) {
        size_t i = found->n_answers++;
        status = answer(p, json_array_get(answers, i), &found->answers[i], err);
    }
    return status;
}

static void release(struct parity *p) {
    for (size_t i = 0; i < p->found.n_cases; i++) {
        pair_figures_release(&p->found.cases[i]);
    }
    for (size_t i = 0; i < p->found.n_answers; i++) {
        pair_figures_release(&p->found.answers[i]);
    }
    free(p->found.cases);
    free(p->found.answers);
    pair_close(&p->pair);
    json_decref(p->reference);
}

// ---- comparing ----

static void print_outcome(const struct parity *p, const struct parity_outcome *outcome) {
    printf("largest differences: embedding %.3g (%.3g allowed), logits %.3g (%.3g allowed)\n",
           outcome->embedding, parity_tolerance(p->reference, "embedding"), outcome->logits,
           parity_tolerance(p->reference, "logits"));
    printf("%zu cases, the likeliest token compared in %zu; %zu of %zu greedy answers equal\n",
           p->found.n_cases, outcome->n_argmax, outcome->n_answers_equal, p->found.n_answers);
}

// The largest image with more pixels one way than the other; the number of cases if there is none.
static size_t oblong_case(const struct parity *p) {
    const json_t *cases = json_object_get(p->reference, "cases");
    size_t found = p->found.n_cases;
    for (size_t i = 0; i < p->found.n_cases; i++) {
        const json_t *image = json_object_get(json_array_get(cases, i), "image");
        bool is_oblong = wl_json_opt_i64(image, "width", 0) != wl_json_opt_i64(image, "height", 0);
        bool is_larger =
            found == p->found.n_cases || p->found.cases[i].n_cells > p->found.cases[found].n_cells;
        found = is_oblong && is_larger ? i : found;
    }
    return found;
}

// As parity_compare, with one case run wrongly.
static enum wl_status compare_turned(struct parity *p, FILE *out, struct parity_outcome *outcome,
                                     struct wl_err *err) {
    size_t i = oblong_case(p);
    if (i >= p->found.n_cases) {
        return wl_err_set(err, WL_INPUT, "the reference has no image that is not square");
    }
    struct pair_figures right = p->found.cases[i];
    const json_t *prompt = json_array_get(json_object_get(p->reference, "cases"), i);
    enum wl_status status = ask(p, prompt, true, &p->found.cases[i], err);
    if (status == WL_OK) {
        *outcome = parity_compare(p->reference, &p->found, out);
    }
    pair_figures_release(&p->found.cases[i]);
    p->found.cases[i] = right;
    return status;
}

static enum wl_status compare_wrongly(struct parity *p, const struct parity_fault *fault, FILE *out,
                                      struct parity_outcome *outcome, struct wl_err *err) {
    if (!fault->apply) {
        return compare_turned(p, out, outcome, err);
    }
    json_t *wrong = json_deep_copy(p->reference);
    fault->apply(wrong);
    *outcome = parity_compare(wrong, &p->found, out);
    json_decref(wrong);
    return WL_OK;
}

// Every wrong reference must be noticed; the one about answers needs answers.
static enum wl_status check_faults(struct parity *p, struct wl_err *err) {
    size_t n_noticed = 0;
    for (const struct parity_fault *fault = PARITY_FAULTS; fault->name; fault++) {
        struct parity_outcome outcome = {0};
        if (strcmp(fault->name, "answers") == 0 && p->found.n_answers == 0) {
            continue;
        }
        enum wl_status status = compare_wrongly(p, fault, NULL, &outcome, err);
        if (status == WL_OK && outcome.n_faults == 0) {
            status = wl_err_set(err, WL_FAILED, "this was not noticed: %s", fault->what);
        }
        if (status != WL_OK) {
            return status;
        }
        n_noticed++;
    }
    printf("%zu wrong references noticed\n", n_noticed);
    return WL_OK;
}

static const struct parity_fault *find_fault(const char *name) {
    const struct parity_fault *fault = PARITY_FAULTS;
    while (fault->name && strcmp(fault->name, name) != 0) {
        fault++;
    }
    return fault->name ? fault : NULL;
}

static int run(struct parity *p, const char *perturb, struct wl_err *err) {
    struct parity_outcome outcome = {0};
    enum wl_status status = pair_open(&p->pair, p->text_path, p->mmproj_path, err);
    if (status == WL_OK) {
        status = run_all(p, err);
    }
    if (status == WL_OK && perturb) {
        status = compare_wrongly(p, find_fault(perturb), stderr, &outcome, err);
    } else if (status == WL_OK) {
        outcome = parity_compare(p->reference, &p->found, stderr);
    }
    if (status == WL_OK) {
        print_outcome(p, &outcome);
    }
    if (status == WL_OK && outcome.n_faults > 0) {
        status =
            wl_err_set(err, WL_FAILED, "%zu figures are not as they should be", outcome.n_faults);
    } else if (status == WL_OK && !perturb) {
        status = check_faults(p, err);
    }
    return status == WL_OK ? RIGHT : WRONG;
}

// ---- the program ----

static bool see_model(void *context, const char *name) {
    bool *has_model = context;
    *has_model = *has_model || str_ends_with(name, ".gguf");
    return true;
}

// Models without a reference are a fault: nobody would know whether they are right.
static int without_reference(const struct parity *p, struct wl_err *err) {
    bool has_model = false;
    if (os_is_dir(p->models_dir)) {
        os_list_dir(p->models_dir, 1024, see_model, &has_model, NULL);
    }
    if (has_model) {
        wl_err_set(err, WL_NOT_FOUND,
                   "'%s' has models but no reference.json; make it with models/train/release.py",
                   p->models_dir);
        return WRONG;
    }
    printf("skipped: there are no models in '%s' (models/train/release.py makes them)\n",
           p->models_dir);
    return SKIPPED;
}

static int check(struct parity *p, const char *perturb, struct wl_err *err) {
    if (os_path_join(p->reference_path, p->models_dir, "reference.json", err) != WL_OK) {
        return WRONG;
    }
    if (!os_exists(p->reference_path)) {
        return without_reference(p, err);
    }
    if (read_reference(p, err) != WL_OK) {
        return WRONG;
    }
    if (!os_exists(p->text_path) || !os_exists(p->mmproj_path)) {
        printf("skipped: not both of '%s' and '%s' are there\n", p->text_path, p->mmproj_path);
        return SKIPPED;
    }
    return run(p, perturb, err);
}

static int usage(const char *program) {
    fprintf(stderr, "usage: %s [--perturb FAULT] MODELS_DIR TASKS_DIR\nfaults:\n", program);
    for (const struct parity_fault *fault = PARITY_FAULTS; fault->name; fault++) {
        fprintf(stderr, "  %-8s %s\n", fault->name, fault->what);
    }
    return USAGE;
}

int main(int argc, char **argv) {
    const char *perturb = argc == 5 && strcmp(argv[1], "--perturb") == 0 ? argv[2] : NULL;
    if ((argc != 3 && !perturb) || (perturb && !find_fault(perturb))) {
        return usage(argv[0]);
    }
    struct parity parity = {.models_dir = argv[argc - 2], .tasks_dir = argv[argc - 1]};
    struct wl_err err = {0};
    int code = check(&parity, perturb, &err);
    if (code == WRONG) {
        fprintf(stderr, "builtin_parity: %s\n", err.message);
    }
    release(&parity);
    return code;
}
