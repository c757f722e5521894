// What one measured window is: who ran, how many tokens, the figures of metrics.def, the energy of
// every source, the phases and the flags. PURE. The store keeps records, the laws are fitted to
// them, the report shows them.
#ifndef WATTLAW_RECORD_RECORD_H
#define WATTLAW_RECORD_RECORD_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

enum metric_id {
#define METRIC(id, unit, better, title, meaning) METRIC_##id,
#include "record/metrics.def"
#undef METRIC
    METRIC_COUNT
};

struct metric_info {
    const char *id;
    const char *unit;
    int better; // -1 lower, +1 higher, 0 a condition
    const char *title;
    const char *meaning;
};

const struct metric_info *metric_info(enum metric_id id);
// METRIC_COUNT when there is none of that name.
enum metric_id metric_by_id(const char *id);

// How far a figure may be trusted (design.md section 2). Order: best first.
enum record_label { LABEL_MEASURED, LABEL_CALIBRATED, LABEL_ESTIMATED, LABEL_UNRESOLVED };
const char *record_label_name(enum record_label label);
// LABEL_UNRESOLVED for an unknown name.
enum record_label record_label_by_name(const char *name);

// X(suffix, bit, name, what it means)
#define RECORD_FLAG_LIST(X)                                                                        \
    X(WARMUP, 0, "warm-up", "first run after load; left out of every fit")                         \
    X(THROTTLED, 1, "throttled", "the CPU lowered its clock because of heat or power")             \
    X(UNDERVOLT, 2, "under-voltage", "the supply sagged; speed and power are not normal")          \
    X(IDLE_DRIFT, 3, "idle-drift", "idle power or load before and after differ too much")          \
    X(GAP, 4, "gap", "samples are missing in the window")                                          \
    X(WRAP, 5, "wrap", "a counter wrapped (handled)")                                              \
    X(RESET, 6, "reset", "a counter was reset in the window; its energy is not usable")            \
    X(BUSY, 7, "busy", "other programs used the CPU")                                              \
    X(STEAL, 8, "steal", "the hypervisor took CPU time away")                                      \
    X(SHORT, 9, "short", "window shorter than the source resolves")                                \
    X(PAPER, 10, "paper-check", "long run that compares the two CPU modes; left out of every fit") \
    X(SCORED, 11, "scored", "asked for its answer, whatever its length; left out of every fit")

enum record_flag {
#define X(suffix, bit, name, meaning) RECORD_##suffix = 1 << (bit),
    RECORD_FLAG_LIST(X)
#undef X
};

// The names of the set bits, comma-separated; "" for none.
char *record_flags_text(char *out, size_t size, uint32_t flags);
uint32_t record_flags_parse(const char *text);

enum { RECORD_MAX_ENERGIES = 8, RECORD_MAX_PHASES = 8, RECORD_NAME_BYTES = 32 };

// Energy of one window from one source. sd are 1 sigma of the random part; the systematic part
// (gain, offset, model) is apart because repeats do not shrink it.
struct record_energy {
    char source[RECORD_NAME_BYTES]; // "rapl", "estimate"
    char scope[RECORD_NAME_BYTES];  // "cpu", "soc", "board", "wall"
    enum record_label label; // how the source knows it; whether this window is resolved: see below
    double gross_j, gross_sd_j;
    double net_j, net_sd_j;
    double systematic_rel; // 1 sigma relative gain error of the source
    double coverage;       // 0..1
    double idle_w, idle_sd_w;
};

// Whether a figure says something: its 95 % interval, of the random part `sd` and the relative
// systematic one, is not wider than the value (design: else print the word, never the number).
bool record_is_resolved(double value, double sd, double systematic_rel);
// The label to print with the gross energy of one window: unresolved where it is.
enum record_label record_energy_label(const struct record_energy *energy);

struct record_phase {
    char name[RECORD_NAME_BYTES]; // as struct engine_phase's (engine/result.h)
    int64_t t0_ns, t1_ns;   // CLOCK_MONOTONIC: its first begin and last end in the first request
    int64_t duration_ns;    // per request; less than t1 - t0 where others lie between its parts
    int64_t cpu_ns;         // CPU time of the engine
    int64_t peak_rss_bytes; // largest RSS of the engine in it; 0 = not known
    uint32_t n_tokens;
    double gross_j, net_j; // from the primary source; NaN when not resolved
};

// What the model saw: nominal against effective pixels, and the budget in force. All 0 for a
// prompt without images.
struct record_vision {
    uint32_t n_images;
    uint32_t width, height;    // nominal, of the first image
    uint64_t effective_pixels; // that the encoder saw, all images; 0: the family does not tell
    uint32_t image_tokens;     // that the text model saw, all images
    uint32_t n_views;          // encoder runs: tiles and overviews
    uint32_t image_min_tokens, image_max_tokens; // as asked; 0 = as the files say
};

struct record {
    int64_t id;       // the store's; 0 before it is stored
    int64_t model_id; // the store's
    uint32_t seq;     // order in which the study ran it
    uint32_t cell;    // index of the (prompt, generated) pair in the plan
    uint32_t repeat;  // 0-based within the cell
    uint32_t prompt_tokens;
    uint32_t generated_tokens; // asked for and reached
    uint32_t n_requests; // equal requests in this window, back to back; all figures are per request
    int64_t t0_ns, t1_ns; // CLOCK_MONOTONIC
    int64_t wall_ns;      // CLOCK_REALTIME at t0
    uint32_t flags;
    double value[METRIC_COUNT]; // NaN when not measured
    struct record_energy energy[RECORD_MAX_ENERGIES];
    uint32_t n_energies; // [0] is the primary source
    struct record_phase phase[RECORD_MAX_PHASES];
    uint32_t n_phases;
    struct record_vision vision;
};

// All values NaN, the rest 0.
void record_init(struct record *record);

// The JSON form used in files and `--json`; absent figures are null.
json_t *record_to_json(const struct record *record);
enum wl_status record_from_json(const json_t *object, struct record *out, struct wl_err *err);

#endif
