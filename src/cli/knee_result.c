#include "cli/knee_result.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/units.h"
#include "catalog/gguf_peek.h"
#include "cli/knee_plot.h"
#include "cli/term.h"
#include "plan/families.h"

enum { MAX_SHOWN_LEVERS = 8, MAX_SHOWN_STEPS = 8 };

static const char *const ASPECT_NAMES[IMAGE_MAP_N_ASPECTS] = {"square", "4:3", "16:9"};

char *knee_size_text(char out[KNEE_SIZE_BYTES], struct image_map_size size) {
    snprintf(out, KNEE_SIZE_BYTES, "%" PRIu32 "x%" PRIu32, size.width, size.height);
    return out;
}

static void print_heading(const char *text) {
    printf("\n%s%s%s\n", term_bold(stdout), text, term_reset(stdout));
}

// Words behind `lead`, broken so that lines end within the terminal and begin below each other.
static void print_wrapped(const char *lead, const char *text) {
    size_t indent = strlen(lead), column = indent;
    size_t width = (size_t)term_width();
    fputs(lead, stdout);
    while (*text) {
        size_t length = strcspn(text, " ");
        if (column > indent && column + 1 + length > width) {
            printf("\n%*s", (int)indent, "");
            column = indent;
        } else if (column > indent) {
            putchar(' ');
            column++;
        }
        printf("%.*s", (int)length, text);
        column += length;
        text += length + strspn(text + length, " ");
    }
    putchar('\n');
}

// "0.50 MP"; "-" when it is not known.
static char *megapixels(char out[KNEE_SIZE_BYTES], uint64_t pixels) {
    snprintf(out, KNEE_SIZE_BYTES, pixels ? "%.*f MP" : "-", pixels < 100000 ? 3 : 2,
             (double)pixels * 1e-6);
    return out;
}

// ---- what it is, and its knee ----

static const char *file_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static void print_encoder(const struct knee_result *result) {
    const struct engine_vision *v = result->vision;
    const struct plan_family *family = plan_family_of(v->projector);
    char params[UNITS_TEXT_BYTES];
    char projector[ENGINE_SHORT_BYTES];
    gguf_clean_text(projector, sizeof projector, v->projector);
    printf("%s%s%s (%s)\n", term_bold(stdout), family->title, term_reset(stdout), projector);
    if (family->how[0]) {
        print_wrapped("  pictures  ", family->how);
    }
    char text[512];
    int n = snprintf(text, sizeof text, "%.300s, %s parameters", file_name(result->mmproj),
                     units_params(params, (double)v->n_params));
    if (v->patch_size) {
        n += snprintf(text + n, sizeof text - (size_t)n, ", patches of %" PRIu32 " pixels",
                      v->patch_size);
    }
    if (v->pixels_per_token > 0) {
        snprintf(text + n, sizeof text - (size_t)n, ", %.0f pixels per token", v->pixels_per_token);
    }
    print_wrapped("  encoder   ", text);
    if (result->model) {
        printf("  wrapper   counted with %s\n", file_name(result->model));
    } else {
        puts("  wrapper   text around the picture is not counted; give its model with -m");
    }
}

static void print_knee(const char *name, const struct image_map_knee *knee) {
    char size[KNEE_SIZE_BYTES], area[KNEE_SIZE_BYTES];
    printf("  %-8s ", name);
    if (knee->shape == IMAGE_MAP_CONSTANT) {
        printf("no knee: constant, %" PRIu32 " tokens\n", knee->tokens);
    } else if (knee->shape == IMAGE_MAP_GROWS) {
        printf("no knee: grows without end, %" PRIu32 " to %" PRIu32 " tokens\n",
               knee->least_tokens, knee->tokens);
    } else {
        printf("%s %s (%s): %" PRIu32 " tokens above, least %" PRIu32 "\n",
               knee->shape == IMAGE_MAP_STEPS ? "steps, flat from" : "knee at",
               knee_size_text(size, knee->at), megapixels(area, image_map_pixels(knee->at)),
               knee->tokens, knee->least_tokens);
    }
}

static bool is_same_knee(const struct image_map_knee *a, const struct image_map_knee *b) {
    return a->shape == IMAGE_MAP_CONSTANT && b->shape == IMAGE_MAP_CONSTANT &&
           a->tokens == b->tokens;
}

static void print_steps(const struct image_map_steps *steps) {
    char size[KNEE_SIZE_BYTES];
    for (size_t i = 0; i < steps->n && i < MAX_SHOWN_STEPS; i++) {
        const struct image_map_step *step = &steps->step[i];
        printf("           from %-11s %6" PRIu32 " -> %" PRIu32 " tokens, %" PRIu32 " view%s\n",
               knee_size_text(size, step->at), step->before, step->after, step->views_after,
               step->views_after == 1 ? "" : "s");
    }
    if (steps->n > MAX_SHOWN_STEPS) {
        printf("           and %zu more (--json has them)\n", steps->n - MAX_SHOWN_STEPS);
    }
}

static void print_default(const struct image_map_reading *base) {
    print_heading("Default knee");
    if (is_same_knee(&base->knee[0], &base->knee[1]) &&
        is_same_knee(&base->knee[0], &base->knee[2])) {
        print_knee("all", &base->knee[0]);
        return;
    }
    for (size_t a = 0; a < IMAGE_MAP_N_ASPECTS; a++) {
        print_knee(ASPECT_NAMES[a], &base->knee[a]);
        if (base->knee[a].shape == IMAGE_MAP_STEPS) {
            print_steps(&base->steps[a]);
        }
    }
}

// ---- tables ----

static void print_sizes(const struct image_map *map) {
    char size[KNEE_SIZE_BYTES], area[KNEE_SIZE_BYTES];
    printf("\n%s%-10s %8s %8s %10s %6s %14s%s\n", term_bold(stdout), "picture", "image", "wrapper",
           "positions", "views", "encoder sees", term_reset(stdout));
    for (size_t i = 0; i < map->sizes.n_table; i++) {
        const struct image_map_cost *cost = &map->reading[0].costs[i];
        printf("%-10s %8" PRIu32 " %8" PRIu32 " %10" PRIu32 " %6" PRIu32 " %14s\n",
               knee_size_text(size, map->sizes.at[i]), cost->image_tokens, cost->text_tokens,
               cost->positions, cost->n_views, megapixels(area, cost->effective_pixels));
    }
}

// What a budget does, in words; "" when nothing is odd.
static const char *verdict(const struct image_map_reading *reading, char out[96]) {
    char size[KNEE_SIZE_BYTES];
    out[0] = '\0';
    if (!reading->costs) {
        snprintf(out, 96, "does not load");
    } else if (reading->is_ignored) {
        snprintf(out, 96, "ignored");
    } else if (reading->is_same && reading->budget > 0) {
        snprintf(out, 96, "as the default");
    } else if (reading->rise.size.width > 0) {
        snprintf(out, 96, "RAISES %s: %" PRIu32 " -> %" PRIu32,
                 knee_size_text(size, reading->rise.size), reading->rise.before,
                 reading->rise.after);
    } else if (reading->excess.size.width > 0) {
        snprintf(out, 96, "up to %" PRIu32 " (%s)", reading->excess.after,
                 knee_size_text(size, reading->excess.size));
    }
    return out;
}

static void print_budget_knees(const struct image_map *map) {
    char size[KNEE_SIZE_BYTES], words[96];
    printf("\n%sBudgets (image_max_tokens)%s: image tokens at the most, and the knee\n",
           term_bold(stdout), term_reset(stdout));
    printf("%s%-8s %8s %10s %10s %10s%s\n", term_bold(stdout), "budget", "at most", "square", "4:3",
           "16:9", term_reset(stdout));
    for (size_t i = 0; i < map->n_readings; i++) {
        const struct image_map_reading *reading = &map->reading[i];
        char name[24] = "default";
        if (i > 0) {
            snprintf(name, sizeof name, "%" PRId32, reading->budget);
        }
        printf("%-8s", name);
        if (reading->costs) {
            printf(" %8" PRIu32, reading->max_image_tokens);
        }
        for (size_t a = 0; reading->costs && a < IMAGE_MAP_N_ASPECTS; a++) {
            const struct image_map_knee *knee = &reading->knee[a];
            printf(" %10s", knee->at.width > 0 ? knee_size_text(size, knee->at)
                                               : image_map_shape_name(knee->shape));
        }
        verdict(reading, words);
        printf("%s%s\n", words[0] ? "  " : "", words);
    }
}

static bool is_raised(const struct image_map *map, const struct image_map_reading *reading,
                      size_t i) {
    uint32_t before = image_map_tokens(&map->reading[0].costs[i]);
    return (uint32_t)reading->budget <= map->reading[0].max_image_tokens &&
           image_map_tokens(&reading->costs[i]) > before;
}

static bool is_shown(const struct image_map *map, size_t reading) {
    return map->reading[reading].costs && (reading == 0 || !map->reading[reading].is_same);
}

// Tokens of each picture with each budget that changes something.
static void print_budgets(const struct image_map *map) {
    size_t n_shown = 0;
    bool has_raised = false;
    char size[KNEE_SIZE_BYTES];
    for (size_t r = 1; r < map->n_readings; r++) {
        n_shown += is_shown(map, r);
    }
    if (n_shown == 0) {
        return;
    }
    printf("\n%s%-10s %8s", term_bold(stdout), "tokens", "default");
    for (size_t r = 1; r < map->n_readings; r++) {
        if (is_shown(map, r)) {
            printf(" %7" PRId32 " ", map->reading[r].budget);
        }
    }
    printf("%s\n", term_reset(stdout));
    for (size_t i = 0; i < map->sizes.n_table; i++) {
        printf("%-10s %8" PRIu32, knee_size_text(size, map->sizes.at[i]),
               image_map_tokens(&map->reading[0].costs[i]));
        for (size_t r = 1; r < map->n_readings; r++) {
            if (is_shown(map, r)) {
                bool is_up = is_raised(map, &map->reading[r], i);
                has_raised = has_raised || is_up;
                printf("%s %7" PRIu32 "%s%s", is_up ? term_bold(stdout) : "",
                       image_map_tokens(&map->reading[r].costs[i]), is_up ? "!" : " ",
                       is_up ? term_reset(stdout) : "");
            }
        }
        putchar('\n');
    }
    if (has_raised) {
        puts("! more than the default, although the budget is no larger");
    }
}

// ---- levers and traps ----

static void print_lever(const struct image_map_photo *photo, const struct image_map_lever *lever) {
    char size[KNEE_SIZE_BYTES], area[KNEE_SIZE_BYTES], saved[UNITS_TEXT_BYTES];
    double ratio = (double)lever->tokens / (double)image_map_tokens(&photo->cost);
    printf("  %7" PRIu32 " tokens %8s   sees %-8s  ", lever->tokens, units_signed_pct(saved, ratio),
           megapixels(area, lever->effective_pixels));
    switch (lever->kind) {
    case IMAGE_MAP_LEVER_SHRINK: printf("shrink to %s\n", knee_size_text(size, lever->size)); break;
    case IMAGE_MAP_LEVER_BUDGET: printf("image_max_tokens %" PRId32 "\n", lever->budget); break;
    case IMAGE_MAP_LEVER_CROP:
        printf("crop to %s, losing %.0f %%\n", knee_size_text(size, lever->size),
               100 * lever->lost_share);
        break;
    }
}

static void print_photo(const struct image_map *map, size_t index) {
    struct image_map_photo photo;
    char size[KNEE_SIZE_BYTES], area[KNEE_SIZE_BYTES];
    image_map_levers(map, index, &photo);
    printf("\n%sWhat saves on a %s photo%s (now %" PRIu32 " tokens, the encoder sees %s)\n",
           term_bold(stdout), knee_size_text(size, photo.size), term_reset(stdout),
           image_map_tokens(&photo.cost), megapixels(area, photo.cost.effective_pixels));
    for (size_t i = 0; i < photo.n_levers && i < MAX_SHOWN_LEVERS; i++) {
        print_lever(&photo, &photo.lever[i]);
    }
    if (photo.n_levers == 0) {
        puts("  nothing that was counted: no size, crop or budget");
    } else if (!photo.can_shrink) {
        puts("  shrinking the picture saves nothing");
    }
    if (photo.free_size.width > 0) {
        printf("  shrunk to %s it costs as much: the encoder sees no more of a larger one\n",
               knee_size_text(size, photo.free_size));
    }
}

static void print_traps(const struct knee_result *result) {
    struct image_map_trap traps[IMAGE_MAP_MAX_TRAPS];
    size_t n = image_map_traps(result->map, result->vision->is_non_causal, traps);
    if (n > 0) {
        print_heading("Traps, as counted");
    }
    for (size_t i = 0; i < n; i++) {
        bool is_loud = traps[i].kind == IMAGE_MAP_TRAP_BUDGET_RAISES;
        fputs(is_loud ? term_bold(stdout) : "", stdout);
        print_wrapped(is_loud ? "  ! " : "  - ", traps[i].text);
        fputs(is_loud ? term_reset(stdout) : "", stdout);
    }
}

static void print_advice(const struct engine_vision *vision) {
    const struct plan_family *family = plan_family_of(vision->projector);
    if (family->key[0] || family->caution[0] || family->memory[0]) {
        print_heading("Known of this family, not counted");
    }
    if (family->key[0]) {
        char text[256];
        snprintf(text, sizeof text, "in the mmproj file: %s", family->key);
        print_wrapped("  - ", text);
    }
    if (family->caution[0]) {
        print_wrapped("  - ", family->caution);
    }
    if (family->memory[0]) {
        print_wrapped("  - ", family->memory);
    }
}

// Something that is worth drawing.
static bool has_curve(const struct image_map *map) {
    bool is_found = false;
    for (size_t i = 0; i < map->n_readings; i++) {
        is_found = is_found || (i > 0 && is_shown(map, i));
    }
    for (size_t a = 0; a < IMAGE_MAP_N_ASPECTS; a++) {
        is_found = is_found || map->reading[0].knee[a].shape != IMAGE_MAP_CONSTANT;
    }
    return is_found;
}

void knee_result_print(const struct knee_result *result) {
    const struct image_map *map = result->map;
    print_encoder(result);
    print_default(&map->reading[0]);
    if (has_curve(map)) {
        putchar('\n');
        knee_plot_print(map, term_width());
    }
    print_sizes(map);
    if (map->n_readings > 1) {
        print_budget_knees(map);
        print_budgets(map);
    }
    for (size_t i = 0; i < IMAGE_MAP_N_PHOTOS; i++) {
        print_photo(map, i);
    }
    print_traps(result);
    print_advice(result->vision);
}
