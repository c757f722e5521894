// What GGUF files there are on this machine, and what to type for them.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/units.h"
#include "catalog/catalog.h"
#include "cli/command.h"
#include "cli/model_info.h"
#include "cli/term.h"

enum { TABLE_COLUMNS = 100, N_COLUMNS = 7, CELL_BYTES = 80, MIN_NAME_COLUMNS = 24 };

static struct { int paths_only, info; } given;

static const struct poptOption OPTIONS[] = {
    {"path", 0, POPT_ARG_NONE, &given.paths_only, 0, "print only the paths, one per line", NULL},
    {"info", 0, POPT_ARG_NONE, &given.info, 0,
     "one model: what its file says, and the certificate of a compressed one", NULL},
    POPT_TABLEEND};

// A row of the table; the name apart, because it may be longer than its column.
struct row {
    const char *name;
    char cells[N_COLUMNS - 1][CELL_BYTES];
};

enum { CELL_ARCH, CELL_PARAMS, CELL_TYPE, CELL_SIZE, CELL_SOURCE, CELL_NOTE };

static const struct row HEADER = {"NAME", {"ARCH", "PARAMS", "TYPE", "SIZE", "SOURCE", "NOTE"}};

static const char *note_of(const struct catalog_entry *entry) {
    return entry->problem[0]                               ? "unusable"
           : entry->is_mmproj                              ? "image encoder"
           : entry->has_facts && entry->facts.is_synthetic ? "random weights"
           : entry->mmproj                                 ? "sees images"
                                                           : "";
}

static void make_row(struct row *row, const struct catalog_entry *entry) {
    const struct gguf_facts *facts = &entry->facts;
    char size[UNITS_TEXT_BYTES], params[UNITS_TEXT_BYTES];
    *row = (struct row){.name = entry->name};
    snprintf(row->cells[CELL_ARCH], CELL_BYTES, "%.20s", facts->arch[0] ? facts->arch : "-");
    snprintf(row->cells[CELL_PARAMS], CELL_BYTES, "%s",
             units_params(params, (double)facts->n_params));
    snprintf(row->cells[CELL_TYPE], CELL_BYTES, "%s", facts->file_type[0] ? facts->file_type : "-");
    snprintf(row->cells[CELL_SIZE], CELL_BYTES, "%s", units_bytes(size, (double)entry->bytes));
    snprintf(row->cells[CELL_SOURCE], CELL_BYTES, "%s", entry->source);
    snprintf(row->cells[CELL_NOTE], CELL_BYTES, "%s", note_of(entry));
}

// Columns on the screen: bytes that do not continue a UTF-8 character.
static int columns_of(const char *text) {
    int n = 0;
    for (; *text; text++) {
        n += ((unsigned char)*text & 0xc0) != 0x80;
    }
    return n;
}

static void widen(int widths[N_COLUMNS], const struct row *row) {
    int name = columns_of(row->name);
    widths[0] = name > widths[0] ? name : widths[0];
    for (int i = 1; i < N_COLUMNS; i++) {
        int width = columns_of(row->cells[i - 1]);
        widths[i] = width > widths[i] ? width : widths[i];
    }
}

static void put_cell(const char *text, int width, bool is_right) {
    int pad = width - columns_of(text);
    printf("%*s%s%*s", is_right && pad > 0 ? pad : 0, "", text, !is_right && pad > 0 ? pad : 0, "");
}

static void put_row(const struct row *row, const int widths[N_COLUMNS]) {
    char name[1024];
    gguf_clean_text(name, sizeof name, row->name);
    int name_columns = columns_of(name);
    if (name_columns > widths[0]) { // a name must stay whole: people type it
        printf("%s\n%*s", name, widths[0], "");
    } else {
        put_cell(name, widths[0], false);
    }
    int last = N_COLUMNS - 1; // no spaces at the end of a line
    while (last > 1 && !row->cells[last - 1][0]) {
        last--;
    }
    for (int i = 1; i <= last; i++) {
        bool is_number = i - 1 == CELL_PARAMS || i - 1 == CELL_SIZE;
        fputs("  ", stdout);
        put_cell(row->cells[i - 1], i == last && !is_number ? 0 : widths[i], is_number);
    }
    putchar('\n');
}

static void put_problems(const struct catalog *catalog, const bool *is_wanted) {
    for (size_t i = 0; i < catalog->n_entries; i++) {
        const struct catalog_entry *entry = &catalog->entries[i];
        if (is_wanted[i] && entry->problem[0]) {
            char name[1024];
            gguf_clean_text(name, sizeof name, entry->name);
            fprintf(stderr, "wattlaw: warning: '%s': %s\n", name, entry->problem);
        }
    }
}

static void print_table(const struct catalog *catalog, const bool *is_wanted) {
    int widths[N_COLUMNS] = {0};
    struct row row;
    widen(widths, &HEADER);
    for (size_t i = 0; i < catalog->n_entries; i++) {
        if (is_wanted[i]) {
            make_row(&row, &catalog->entries[i]);
            widen(widths, &row);
        }
    }
    int others = 0;
    for (int i = 1; i < N_COLUMNS; i++) {
        others += 2 + widths[i];
    }
    int room = TABLE_COLUMNS - others;
    room = room < MIN_NAME_COLUMNS ? MIN_NAME_COLUMNS : room;
    widths[0] = widths[0] > room ? room : widths[0];
    fputs(term_bold(stdout), stdout);
    put_row(&HEADER, widths);
    fputs(term_reset(stdout), stdout);
    for (size_t i = 0; i < catalog->n_entries; i++) {
        if (is_wanted[i]) {
            make_row(&row, &catalog->entries[i]);
            put_row(&row, widths);
        }
    }
}

static void print_paths(const struct catalog *catalog, const bool *is_wanted) {
    for (size_t i = 0; i < catalog->n_entries; i++) {
        if (is_wanted[i]) {
            puts(catalog->entries[i].path);
        }
    }
}

// File names need not be UTF-8; JSON must be.
static json_t *text_json(const char *text) {
    char clean[OS_PATH_BYTES];
    if (!text) {
        return json_null();
    }
    gguf_clean_text(clean, sizeof clean, text);
    return json_string(clean);
}

static json_t *aliases_json(const struct catalog *catalog, size_t entry) {
    json_t *list = json_array();
    for (size_t i = 0; i < catalog->n_aliases; i++) {
        if (catalog->aliases[i].entry == entry) {
            json_array_append_new(list, text_json(catalog->aliases[i].name));
        }
    }
    return list;
}

static json_t *types_json(const struct gguf_facts *facts) {
    json_t *types = json_object();
    for (uint32_t i = 0; i < GGUF_MAX_TYPES; i++) {
        if (facts->type_tensors[i]) {
            json_object_set_new(types, gguf_type_at(i)->name, json_integer(facts->type_tensors[i]));
        }
    }
    return types;
}

static json_t *number_or_null(uint64_t value) {
    return value && value <= INT64_MAX ? json_integer((json_int_t)value) : json_null();
}

static json_t *facts_json(const struct gguf_facts *facts) {
    return json_pack(
        "{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:b}", "arch", text_json(facts->arch),
        "title", text_json(facts->name), "type", text_json(facts->file_type), "n_params",
        number_or_null(facts->n_params), "n_layer", number_or_null(facts->n_layer), "n_embd",
        number_or_null(facts->n_embd), "n_ctx_train", number_or_null(facts->n_ctx_train),
        "tensor_bytes", number_or_null(facts->tensor_bytes), "tensor_types", types_json(facts),
        "is_synthetic", facts->is_synthetic);
}

static json_t *entry_json(const struct catalog *catalog, size_t i) {
    const struct catalog_entry *entry = &catalog->entries[i];
    return json_pack("{s:o, s:o, s:s, s:o, s:I, s:i, s:b, s:o, s:o, s:o, s:o}", "name",
                     text_json(entry->name), "path", text_json(entry->path), "source",
                     entry->source, "group", text_json(entry->group), "bytes",
                     (json_int_t)entry->bytes, "n_parts", (int)entry->n_parts, "is_mmproj",
                     entry->is_mmproj, "mmproj", text_json(entry->mmproj), "problem",
                     entry->problem[0] ? text_json(entry->problem) : json_null(), "aliases",
                     aliases_json(catalog, i), "facts",
                     entry->has_facts ? facts_json(&entry->facts) : json_null());
}

static json_t *places_json(const struct catalog *catalog) {
    json_t *list = json_array();
    for (size_t i = 0; i < catalog->n_places; i++) {
        const struct catalog_place *place = &catalog->places[i];
        json_array_append_new(list,
                              json_pack("{s:s, s:o, s:b, s:i, s:o}", "source", place->source,
                                        "path", text_json(place->path), "exists", place->exists,
                                        "n_found", (int)place->n_found, "note",
                                        place->note[0] ? text_json(place->note) : json_null()));
    }
    return list;
}

static void print_json(const struct catalog *catalog, const bool *is_wanted) {
    json_t *models = json_array();
    for (size_t i = 0; i < catalog->n_entries; i++) {
        if (is_wanted[i]) {
            json_array_append_new(models, entry_json(catalog, i));
        }
    }
    json_t *document = json_pack("{s:i, s:o, s:o, s:b}", "schema_version", 1, "models", models,
                                 "searched", places_json(catalog), "is_cut", catalog->is_cut);
    json_dumpf(document, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(document);
}

static void print_nothing_found(const struct catalog *catalog) {
    puts("No GGUF file found. Searched:");
    for (size_t i = 0; i < catalog->n_places; i++) {
        const struct catalog_place *place = &catalog->places[i];
        printf("  %-11s  %s%s\n", place->source, place->path,
               place->note[0]  ? " (not readable)"
               : place->exists ? " (no model in it)"
                               : " (absent)");
    }
    puts("\nTo get one:\n"
         "  wattlaw synth --like smollm2-135m\n"
         "      a file of that model's shape with random weights: enough to measure cost\n"
         "  llama-cli -hf ggml-org/gemma-3-270m-it-GGUF   or   ollama pull gemma3:270m\n"
         "      a trained model; it is found where these programs keep it\n"
         "  export WATTLAW_MODELS_PATH=/your/models\n"
         "      more folders to search, separated by ':'");
}

static void warn_places(const struct cli_context *context, const struct catalog *catalog) {
    for (size_t i = 0; i < catalog->n_places; i++) {
        if (catalog->places[i].note[0]) {
            cli_warn(context, "%s: %s", catalog->places[i].source, catalog->places[i].note);
        }
    }
    if (catalog->is_cut) {
        cli_warn(context, "stopped after %d folders or %d files: there may be more models",
                 CATALOG_MAX_FOLDERS, CATALOG_MAX_ENTRIES);
    }
}

static int answer(const struct cli_context *context, const struct catalog *catalog,
                  const bool *is_wanted, size_t n_wanted) {
    const char *pattern = context->n_args ? context->args[0] : NULL;
    warn_places(context, catalog);
    if (context->common.json) {
        print_json(catalog, is_wanted);
    } else if (given.paths_only) {
        print_paths(catalog, is_wanted);
    } else if (n_wanted) {
        print_table(catalog, is_wanted);
        if (!context->common.quiet) {
            put_problems(catalog, is_wanted);
        }
    } else if (!pattern || catalog->n_entries == 0) {
        print_nothing_found(catalog);
    }
    if (n_wanted == 0 && pattern) {
        struct wl_err err;
        return cli_fail(wl_err_set(&err, WL_NOT_FOUND,
                                   "none of %zu models fits '%s'; 'wattlaw models' lists all",
                                   catalog->n_entries, pattern),
                        &err);
    }
    return 0;
}

static int run(struct cli_context *context) {
    if (context->n_args > 1) {
        return cli_usage(context, "expected at most one pattern, found %d", context->n_args);
    }
    struct catalog catalog;
    struct wl_err err;
    if (given.info) {
        if (context->n_args == 0) {
            return cli_usage(context, "--info: no model given");
        }
        enum wl_status told = model_info_print(context, context->args[0], &err);
        return told == WL_OK ? 0 : cli_fail(told, &err);
    }
    enum wl_status status = catalog_find(NULL, !given.paths_only, &catalog, &err);
    bool *is_wanted = calloc(catalog.n_entries + 1, sizeof *is_wanted);
    int exit_code;
    if (status != WL_OK || !is_wanted) {
        exit_code = status != WL_OK ? cli_fail(status, &err) : cli_fail(WL_MEMORY, NULL);
    } else {
        size_t n_wanted = 0;
        for (size_t i = 0; i < catalog.n_entries; i++) {
            is_wanted[i] = !context->n_args || catalog_matches(&catalog, i, context->args[0]);
            n_wanted += is_wanted[i];
        }
        exit_code = answer(context, &catalog, is_wanted, n_wanted);
    }
    free(is_wanted);
    catalog_release(&catalog);
    return exit_code;
}

static const struct cli_example EXAMPLES[] = {
    {"wattlaw models", "all of them"},
    {"wattlaw models qwen", "those with qwen in the name or the repository"},
    {"wattlaw models --path '*-q8_0'", "only the paths, for scripts"},
    {"wattlaw models --info small.gguf", "what was compressed, and what was kept"},
    {"wattlaw study -m smollm2-135m-instruct-q8_0", "a name can be used wherever a path can"},
    {NULL, NULL}};

const struct cli_command CMD_models = {
    .name = "models",
    .arguments = "[--path] [PATTERN] | --info MODEL",
    .summary = "the GGUF models on this machine, and what to type for them",
    .description =
        "Lists GGUF files where people already have them: the caches of llama.cpp and the Hugging "
        "Face hub, Ollama's store, LM Studio, Jan, GPT4All, wattlaw's own folders, and the folders "
        "in WATTLAW_MODELS_PATH. A name from the first column, or an unambiguous part of it, can "
        "be given wherever a command expects a model. PATTERN is a part of a name or repository, "
        "or a shell pattern with * and ?.\n\n"
        "Only headers are read. Files that are damaged or incomplete are listed as unusable, with "
        "the reason. An image encoder (mmproj) is shown last; a model that one belongs to 'sees "
        "images'.",
    .options = OPTIONS,
    .examples = EXAMPLES,
    .run = run,
};
