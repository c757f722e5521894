#include "cli/analyze_result.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/units.h"
#include "cli/term.h"

enum { N_SHADES = 6 };

static void head(const char *text) {
    printf("%s%s%s\n", term_bold(stdout), text, term_reset(stdout));
}

// ---- numbers ----

static void print_number(int width, double value) {
    char text[UNITS_TEXT_BYTES];
    printf(" %*s", width, units_number(text, value));
}

// Error, bound, and how many times the bound the error is.
static void print_error(double error, double tail) {
    double ratio = report_analysis_ratio(error, tail);
    print_number(9, error);
    print_number(8, isfinite(ratio) ? tail : 0);
    if (isfinite(ratio)) {
        printf(" %5.*f", ratio < 100 ? 1 : 0, fmin(ratio, 99999));
    } else {
        printf(" %5s", "-");
    }
}

static void print_error_head(const char *what, const char *const *columns, size_t n) {
    printf("%s%s: error as a share of the part's output, the bound of any choice, their ratio%s\n",
           term_bold(stdout), what, term_reset(stdout));
    printf("%5s", "");
    for (size_t i = 0; i < n; i++) {
        printf(" %24s", columns[i]);
    }
    printf("\n%sBLOCK", term_bold(stdout));
    for (size_t i = 0; i < n; i++) {
        printf("     ERROR    BOUND TIMES");
    }
    printf("%s\n", term_reset(stdout));
}

// ---- tables ----

static void print_ffn(const struct report_analysis *a) {
    static const char *const COLUMNS[] = {"with 3/4", "1/2", "1/4"};
    print_error_head("Neurons", COLUMNS, 3);
    for (uint32_t i = 0; i < a->n_layer; i++) {
        const struct report_analysis_layer *l = &a->layers[i];
        printf("%5" PRIu32, i);
        for (size_t k = 12; k >= 4; k -= 4) {
            print_error(l->ffn_error[k - 1], l->ffn_tail[k - 1]);
        }
        putchar('\n');
    }
    putchar('\n');
}

// Numbers of KV heads, of the first block's, that are worth a column.
static size_t group_columns(const struct report_analysis *a, uint32_t n[3], char text[3][24]) {
    const struct report_analysis_layer *first = &a->layers[0];
    size_t n_columns = 0;
    for (uint32_t quarters = 3; quarters > 0; quarters--) {
        uint32_t n_groups = report_analysis_groups(first, quarters);
        if (n_columns == 0 || n[n_columns - 1] != n_groups) {
            n[n_columns] = n_groups;
            snprintf(text[n_columns++], 24, "%" PRIu32 " of %" PRIu32, n_groups, first->n_groups);
        }
    }
    return n_columns;
}

static void print_groups(const struct report_analysis *a) {
    uint32_t n[3];
    char text[3][24];
    const char *const columns[] = {text[0], text[1], text[2]};
    if (a->layers[0].n_groups < 2) {
        puts("One KV head in each block: attention goes whole or not at all.\n");
        return;
    }
    size_t n_columns = group_columns(a, n, text);
    print_error_head("KV heads", columns, n_columns);
    for (uint32_t i = 0; i < a->n_layer; i++) {
        const struct report_analysis_layer *l = &a->layers[i];
        printf("%5" PRIu32, i);
        for (size_t k = 0; k < n_columns; k++) {
            uint32_t at = n[k] < l->n_groups ? n[k] : l->n_groups;
            print_error(l->group_error[at - 1], l->group_tail[at - 1]);
        }
        putchar('\n');
    }
    putchar('\n');
}

static void print_blocks(const struct report_analysis *a) {
    puts("Blocks: change of direction, what the parts add to the stream; nats per token for an\n"
         "error of 1 in a part, without the attention, without the block");
    head("BLOCK INFLUENCE ATTENTION      FFN  FFN ERROR  ATTN ERROR    NO ATTN   NO BLOCK");
    for (uint32_t i = 0; i < a->n_layer; i++) {
        const struct report_analysis_layer *l = &a->layers[i];
        printf("%5" PRIu32, i);
        print_number(9, l->influence);
        print_number(9, l->attention_share);
        print_number(8, l->ffn_share);
        print_number(10, l->ffn_sensitivity);
        print_number(11, l->attention_sensitivity);
        print_number(10, l->kl_no_attention);
        print_number(10, l->kl_removed);
        putchar('\n');
    }
    putchar('\n');
}

static void print_spectrum(const struct report_spectrum *s) {
    printf(" %9.2f %8" PRIu32 " %7" PRIu32 " %6" PRIu32, s->entropy, s->chi_10, s->chi_1, s->rank);
}

static void print_spectra(const struct report_analysis *a) {
    puts("Spectra where the inputs really go: entropy in nats, values that carry 90 % and 99 %");
    printf("%5s %33s %33s\n", "", "feed-forward", "attention");
    head("BLOCK   ENTROPY CHI 10 % CHI 1 %     OF   ENTROPY CHI 10 % CHI 1 %     OF");
    for (uint32_t i = 0; i < a->n_layer; i++) {
        printf("%5" PRIu32, i);
        print_spectrum(&a->layers[i].ffn);
        print_spectrum(&a->layers[i].attention);
        putchar('\n');
    }
    putchar('\n');
}

static void print_bonds(const struct report_analysis *a) {
    puts("Bonds of the matrices as tensor trains of two cores: entropy, values that carry 90 %");
    head("BLOCK           GATE            UP          DOWN             Q        OUTPUT");
    for (uint32_t i = 0; i < a->n_layer; i++) {
        printf("%5" PRIu32, i);
        for (size_t k = 0; k < REPORT_ANALYSIS_BONDS; k++) {
            const struct report_spectrum *s = &a->layers[i].bonds[k];
            char text[40];
            snprintf(text, sizeof text, "%.2f %" PRIu32 "/%" PRIu32, s->entropy, s->chi_10,
                     s->rank);
            printf(" %14s", text);
        }
        putchar('\n');
    }
    putchar('\n');
}

// ---- the map ----

static void print_map(const struct report_analysis *a) {
    static const double FROM[N_SHADES] = {0, 0.0001, 0.001, 0.01, 0.05, 0.15};
    static const char MARK[N_SHADES + 1] = ".:-+#@";
    head("Nats that a block costs with fewer neurons, in sixteenths");
    printf("%5s ", "");
    for (uint32_t k = 1; k <= REPORT_ANALYSIS_WIDTHS; k++) {
        printf("%4" PRIu32, k);
    }
    putchar('\n');
    for (uint32_t i = 0; i < a->n_layer; i++) {
        printf("%5" PRIu32 " ", i);
        for (uint32_t k = 1; k <= REPORT_ANALYSIS_WIDTHS; k++) {
            double kl = report_analysis_ffn_kl(&a->layers[i], k);
            size_t shade = 0;
            while (shade + 1 < N_SHADES && kl >= FROM[shade + 1]) {
                shade++;
            }
            const char *style = shade < 2 ? term_dim(stdout) : shade > 3 ? term_bold(stdout) : "";
            printf(" %s%c%c%c%s", style, MARK[shade], MARK[shade], MARK[shade],
                   *style ? term_reset(stdout) : "");
        }
        putchar('\n');
    }
    printf("%6s . less than 0.0001   : 0.0001   - 0.001   + 0.01   # 0.05   @ 0.15 up\n\n", "");
}

// ---- words ----

static void print_wrapped(const char *text, int width) {
    int column = 1;
    putchar('-');
    while (*text) {
        int len = (int)strcspn(text, " ");
        bool fits = column + 1 + len <= width;
        printf("%s%.*s", fits ? " " : "\n  ", len, text);
        column = fits ? column + 1 + len : 2 + len;
        text += len;
        text += *text == ' ';
    }
    putchar('\n');
}

static void print_facts(const char *name, const struct report_analysis *a) {
    char bytes[UNITS_TEXT_BYTES], time[UNITS_TEXT_BYTES];
    printf("%s%s%s  %s, %" PRIu32 " blocks of %" PRId64 " neurons and %" PRId64 " KV heads, %s\n",
           term_bold(stdout), name, term_reset(stdout), a->arch, a->n_layer, a->n_ff, a->n_head_kv,
           units_bytes(bytes, (double)a->file_bytes));
    printf("%" PRId64 " tokens of calibration, divergences on %" PRId64 " held out, %s\n\n",
           a->n_tokens, a->n_tokens_kl, units_seconds(time, a->seconds + a->text_seconds));
}

void analyze_result_print(const char *name, const struct report_analysis *analysis, int width) {
    struct report_analysis_words words;
    report_analysis_words(analysis, &words);
    print_facts(name, analysis);
    print_ffn(analysis);
    print_groups(analysis);
    print_blocks(analysis);
    print_spectra(analysis);
    if (analysis->has_bonds) {
        print_bonds(analysis);
    }
    print_map(analysis);
    head("What can go, and what should stay");
    for (size_t i = 0; i < words.n; i++) {
        print_wrapped(words.text[i], width);
    }
}
