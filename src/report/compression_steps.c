// What each step of the way gained, and how long it took.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/units.h"
#include "report/compression_parts.h"
#include "report/html.h"
#include "report/html_page.h"

static const double LEAST_SHARE = 0.005; // that is not rounded to 0 %

// ---- rungs ----

struct gain { // means over the blocks where both were taken
    double before, after;
    uint32_t n;
};

// The error of the last step before `step` that was taken.
static double error_before(const struct compression_block *block, enum compression_step step) {
    double error = NAN;
    for (int i = 0; i < (int)step; i++) {
        error = isfinite(block->error[i]) ? block->error[i] : error;
    }
    return error;
}

static struct gain gain_of(const struct compression_blocks *b, enum compression_step step) {
    struct gain gain = {0};
    for (uint32_t i = 0; i < b->n; i++) {
        double before = error_before(&b->items[i], step), after = b->items[i].error[step];
        if (isfinite(before) && isfinite(after)) {
            gain.before += before;
            gain.after += after;
            gain.n++;
        }
    }
    gain.before /= gain.n;
    gain.after /= gain.n;
    return gain;
}

static void put_gain(struct buf *out, const char *name, const char *what, double before,
                     double after, const char *note) {
    char text[FIGURE_BYTES];
    buf_puts(out, "<tr>");
    buf_puts(out, "<th>");
    html_text(out, name);
    html_element(out, "span", "ci", what);
    buf_puts(out, "</th>");
    html_cell(out, "%s", compression_kl_text(text, before));
    html_cell(out, "%s", compression_kl_text(text, after));
    html_cell(out, "%s", before > 0 ? figure_change(text, after / before) : "-");
    html_element(out, "td", NULL, note);
    buf_puts(out, "</tr>");
}

static void put_block_gains(struct buf *out, const struct compression *c) {
    static const struct {
        enum compression_step step;
        const char *name;
    } ROWS[] = {{COMPRESSION_REPAIRED, "Least squares"},
                {COMPRESSION_BIAS, "A bias for the mean of what is lost"},
                {COMPRESSION_HEALED, "Block by block"}};
    for (size_t i = 0; i < sizeof ROWS / sizeof ROWS[0]; i++) {
        struct gain gain = gain_of(&c->blocks, ROWS[i].step);
        char note[48];
        snprintf(note, sizeof note, "%u block%s", gain.n, gain.n == 1 ? "" : "s");
        if (gain.n > 0) {
            put_gain(out, ROWS[i].name, "error of a block", gain.before, gain.after, note);
        }
    }
}

static void put_distilled(struct buf *out, const struct compression *c) {
    char note[128], time[UNITS_TEXT_BYTES], tokens[UNITS_TEXT_BYTES];
    if (!c->distilled.is_there) {
        return;
    }
    snprintf(note, sizeof note, "%s tokens in %s%s", units_params(tokens, c->distilled.n_tokens),
             units_seconds(time, c->distilled.seconds),
             c->distilled.is_kept ? "" : "; no better, not kept");
    put_gain(out, "All blocks together", "KL divergence", c->distilled.kl_before,
             c->distilled.kl_after, note);
}

static bool has_gains(const struct compression *c) {
    bool has = c->distilled.is_there;
    for (int step = COMPRESSION_REPAIRED; step < COMPRESSION_STEPS; step++) {
        has = has || gain_of(&c->blocks, (enum compression_step)step).n > 0;
    }
    return has;
}

static void put_gains(struct buf *out, const struct compression *c) {
    static const char *const NAMES[] = {"Step", "Before", "After", "Change", "Of", NULL};
    char text[160], error[FIGURE_BYTES];
    if (!has_gains(c)) {
        return;
    }
    html_table_open(out, NULL, NAMES);
    put_block_gains(out, c);
    put_distilled(out, c);
    html_table_close(out);
    if (isfinite(c->stream_error)) {
        snprintf(text, sizeof text,
                 "Means over the blocks. Behind the last block the stream is off by %.40s of its "
                 "square.",
                 compression_kl_text(error, c->stream_error));
        html_element(out, "p", "small", text);
    }
}

// ---- time ----

static const char *stage_words(const char *key) {
    static const char *const WORDS[][2] = {{"text", "Calibration text"},
                                           {"vocabulary", "Vocabulary"},
                                           {"analysis", "Analysis"},
                                           {"costs", "Costs on this machine"},
                                           {"blocks", "Blocks: choice, repair, healing"},
                                           {"distilling", "All blocks together"},
                                           {"types", "Tensor types"},
                                           {"verifying", "Verdict"},
                                           {"encoder", "Image encoder"},
                                           {"rivals", "What could be taken instead"},
                                           {"speed", "Times of all files"}};
    for (size_t i = 0; i < sizeof WORDS / sizeof WORDS[0]; i++) {
        if (strcmp(key, WORDS[i][0]) == 0) {
            return WORDS[i][1];
        }
    }
    return key;
}

static double sum_seconds(const struct compression *c) {
    double sum = 0;
    for (size_t i = 0; i < c->n_stages; i++) {
        sum += isfinite(c->stages[i].seconds) ? c->stages[i].seconds : 0;
    }
    return sum;
}

static void put_stage(struct buf *out, const char *name, double seconds, double total) {
    char time[UNITS_TEXT_BYTES];
    buf_puts(out, "<tr>");
    html_element(out, "th", NULL, name);
    html_cell(out, "%s", units_seconds(time, seconds));
    if (!isfinite(seconds) || !(total > 0)) {
        buf_puts(out, "<td></td>");
    } else if (seconds < LEAST_SHARE * total) {
        html_cell(out, "< 1 %%");
    } else {
        html_cell(out, "%.0f %%", 100 * seconds / total);
    }
    buf_puts(out, "</tr>");
}

static void put_stages(struct buf *out, const struct compression *c) {
    static const char *const NAMES[] = {"Stage", "Time", "Share", NULL};
    char time[UNITS_TEXT_BYTES];
    double total = sum_seconds(c);
    if (c->n_stages == 0) {
        return;
    }
    buf_printf(out, "<details><summary>Where the time went: %s</summary>",
               units_seconds(time, total));
    html_table_open(out, NULL, NAMES);
    for (size_t i = 0; i < c->n_stages; i++) {
        put_stage(out, stage_words(c->stages[i].name), c->stages[i].seconds, total);
    }
    html_table_close(out);
    buf_puts(out, "</details>\n");
}

void compression_healing(struct buf *out, const struct compression *c) {
    if (!has_gains(c) && c->n_stages == 0) {
        return;
    }
    html_section(out, "healing", "Repair, healing and time",
                 has_gains(c) ? "What each step gained, on text that was held out of it." : NULL);
    put_gains(out, c);
    put_stages(out, c);
}

// ---- vocabulary, rounds ----

void compression_vocabulary(struct buf *out, const struct compression *c) {
    char text[320], before[UNITS_TEXT_BYTES], after[UNITS_TEXT_BYTES], growth[UNITS_TEXT_BYTES];
    char coverage[64] = "";
    if (!c->vocabulary.is_there) {
        return;
    }
    if (isfinite(c->vocabulary.coverage)) {
        snprintf(coverage, sizeof coverage, "; %.1f %% of its tokens are there as they were",
                 100 * c->vocabulary.coverage);
    }
    snprintf(text, sizeof text,
             "%.0f of %.0f tokens stay, which makes %s of %s. Held-out text takes %s in tokens%s.",
             isfinite(c->vocabulary.n_after) ? c->vocabulary.n_after : 0,
             isfinite(c->vocabulary.n_before) ? c->vocabulary.n_before : 0,
             units_bytes(after, c->vocabulary.out_bytes),
             units_bytes(before, c->vocabulary.in_bytes),
             units_signed_pct(growth, 1 + c->vocabulary.growth), coverage);
    html_section(out, "vocabulary", "Vocabulary", NULL);
    html_element(out, "p", NULL, text);
}

void compression_rounds(struct buf *out, const struct compression *c) {
    static const char *const NAMES[] = {"Round", "Share of the cut", "Block weights",
                                        "KL divergence, nats per token", NULL};
    char weights[UNITS_TEXT_BYTES], kl[FIGURE_BYTES];
    if (c->n_rounds < 2) {
        return;
    }
    html_section(out, "rounds", "Rounds",
                 "The upper end of the interval was above the floor, so less was cut.");
    html_table_open(out, NULL, NAMES);
    for (size_t i = 0; i < c->n_rounds; i++) {
        const struct compression_round *round = &c->rounds[i];
        buf_printf(out, "<tr><th>%zu</th>", i + 1);
        if (isfinite(round->eased)) {
            html_cell(out, "%.0f %%", 100 * round->eased);
        } else {
            buf_puts(out, "<td></td>");
        }
        html_cell(out, "%s", units_params(weights, round->block_weights));
        html_cell(out, "%s", compression_kl_text(kl, round->kl));
        buf_puts(out, "</tr>");
    }
    html_table_close(out);
}
