// The parent's side of the engine: starts wattlaw-engine, sends it one request at a time, and
// survives whatever it does. The engine is untrusted: every frame is bounded and checked, every
// wait has a deadline, its output is kept for the error message.
//
// After CRASHED, PROTOCOL or TIMEOUT (and INTERRUPTED, if it did not obey) the process is gone and
// reaped: requests then answer CRASHED until engine_restart(). After any other failure, the
// engine's own refusals included, the next request may follow at once.
//
// A handle is used by one thread at a time. The engine is killed when the thread that started it
// ends (Linux), so start it from one that lives as long.
#ifndef WATTLAW_ENGINE_CLIENT_H
#define WATTLAW_ENGINE_CLIENT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "engine/result.h"
#include "os/file.h"

struct engine;

// How long to wait for an answer. All zero = the request's own defaults, stated at each request.
struct engine_wait {
    int64_t total_ns;   // for the whole request; 0 = default, -1 = no limit
    int64_t silence_ns; // without any frame; 0 = default, -1 = no limit
    // Asked about ten times a second; once true, the request is cancelled. NULL = the engine's.
    bool (*is_cancelled)(void *context);
    void *cancel_context;
};

// Which program answers: the requests are grouped by it. Default: the engine.
enum engine_program {
    ENGINE_PROGRAM_ENGINE,     // wattlaw-engine: all but those of the compressor
    ENGINE_PROGRAM_COMPRESSOR, // wattlaw-compressor: engine_compress, engine_certify,
                               // engine_analyze, engine_ping
};

struct engine_options {
    enum engine_program program;
    const char *path;            // NULL = engine_find(), engine_find_compressor()
    const char *omp_wait_policy; // "passive", "active"; NULL = leave the environment as it is
    int64_t hello_timeout_ns;    // 0 = 20 s
    int64_t cancel_grace_ns;     // how long a cancelled request may take to end; 0 = 5 s
    bool (*is_cancelled)(void *context); // for all requests; NULL = os_is_interrupted()
    void *cancel_context;
};

// Where wattlaw-engine is: $WATTLAW_ENGINE, beside this executable, ../libexec/wattlaw/,
// ../lib/wattlaw/, the build tree. NOT_FOUND says where it looked.
enum wl_status engine_find(char out[OS_PATH_BYTES], struct wl_err *err);
// The same for wattlaw-compressor and $WATTLAW_COMPRESSOR.
enum wl_status engine_find_compressor(char out[OS_PATH_BYTES], struct wl_err *err);
// The same for wattlaw-gateway and $WATTLAW_GATEWAY, which is no engine but lies beside it.
enum wl_status engine_find_gateway(char out[OS_PATH_BYTES], struct wl_err *err);

// Starts the process and waits for its HELLO. options may be NULL.
enum wl_status engine_start(const struct engine_options *options, struct engine **out,
                            struct wl_err *err);
// Asks it to end by closing the socket, kills it after 2 s, frees the handle. NULL is fine.
void engine_stop(struct engine *engine);
// A fresh process with the same options; the model must be loaded again.
enum wl_status engine_restart(struct engine *engine, struct wl_err *err);

bool engine_is_running(const struct engine *engine);
pid_t engine_pid(const struct engine *engine);           // -1 when it is not running
const json_t *engine_hello(const struct engine *engine); // borrowed; NULL when not running
bool engine_has_cap(const struct engine *engine, const char *cap); // "run", "tokenize", "synth"
// What the engine printed lately (at most 64 KiB), for --verbose and bug reports. Borrowed, valid
// until the next call.
const char *engine_log_text(struct engine *engine);

struct engine_load_options {
    const char *path;
    uint32_t threads, threads_batch; // 0 = usable cores
    uint32_t n_ctx;                  // 0 = 4096, never above the model's own
    uint32_t n_batch, n_ubatch;      // 0 = 2048, 512
    const char *load_mode;           // "mmap", "none"; NULL = mmap
    const char *type_k, *type_v;     // "f16", "q8_0", "q4_0", "f32"; NULL = f16
    const char *flash_attn;          // "auto", "on", "off"; NULL = auto
    bool no_repack;
    uint64_t max_ram_bytes; // refuse with MEMORY when the prediction is larger; 0 = no check
    const char *mmproj;     // the image encoder; NULL = none, the model sees no images
    int32_t image_min_tokens, image_max_tokens; // of one image; 0 = as the files say
    struct engine_wait wait;                    // defaults: total 10 min
};

// `model` and `load` (the load phase) may be NULL.
enum wl_status engine_load(struct engine *engine, const struct engine_load_options *options,
                           struct engine_model *model, struct engine_phase *load,
                           struct wl_err *err);
// Another image encoder or another image budget for the model that is loaded; `vision` and `load`
// may be NULL. Without mmproj in the options the one that is loaded is loaded again.
struct engine_vision_options {
    const char *mmproj;
    int32_t image_min_tokens, image_max_tokens; // 0 = as the file says
    struct engine_wait wait;                    // defaults: total 10 min
};
enum wl_status engine_load_vision(struct engine *engine,
                                  const struct engine_vision_options *options,
                                  struct engine_vision *vision, struct engine_phase *load,
                                  struct wl_err *err);

// What an image of each size costs in tokens, counted by the engine itself without pixels. The
// model needs no weights for this: `model` NULL lets the engine make a stand-in text model for the
// projector (the wrapper text tokens are then not the real ones: text_tokens is 0).
struct engine_image_size {
    uint32_t width, height;
};
enum { ENGINE_MAX_COUNTS = 4096 };
// `counts` has room for n. Only RUN needs LOAD before; this needs engine_load or
// engine_open_counter.
enum wl_status engine_count_images(struct engine *engine, const struct engine_image_size *sizes,
                                   size_t n, struct engine_image_count *counts, struct wl_err *err);
// Instead of a LOAD: only what counting needs, in a fraction of a second whatever the size of the
// files. One of the two may be NULL: without `model` only images can be counted, without `mmproj`
// only prompts without images (`vision` is zeroed then).
struct engine_counter_options {
    const char *mmproj, *model;
    int32_t image_min_tokens, image_max_tokens;
};
enum wl_status engine_open_counter(struct engine *engine,
                                   const struct engine_counter_options *options,
                                   struct engine_vision *vision, struct wl_err *err);

// The tokens of a whole prompt, as a server that uses the model's own chat template would count
// them. Needs engine_open_counter with a model, or engine_load. UNSUPPORTED when libllama cannot
// write the messages as the template would, so that the number would be wrong.
struct engine_message;
struct engine_prompt {
    const struct engine_message *messages; // n_messages of them; or `text`
    size_t n_messages;
    // Where the contents have ENGINE_IMAGE_MARKER, as many.
    const struct engine_image_size *images;
    size_t n_images;
    const char *text;
};
enum wl_status engine_count_prompt(struct engine *engine, const struct engine_prompt *prompt,
                                   int64_t *n_tokens, struct wl_err *err);

// Hands an encoded image (JPEG, PNG, WebP) to the engine, which keeps it in `slot` until it is
// replaced, freed (n 0) or the engine ends. *out tells what its header says; NULL = not wanted.
enum { ENGINE_MAX_IMAGE_SLOTS = 256 };
enum wl_status engine_put_image(struct engine *engine, uint32_t slot, const void *bytes, size_t n,
                                struct engine_image *out, struct wl_err *err);

enum wl_status engine_describe(struct engine *engine, struct engine_model *out, struct wl_err *err);
enum wl_status engine_unload(struct engine *engine, struct wl_err *err);
enum wl_status engine_ping(struct engine *engine, struct wl_err *err); // total 10 s

struct engine_tokenize_options {
    const char *text;
    bool add_special;
    bool is_template;        // wrap the text in the model's chat template first
    struct engine_wait wait; // defaults: total 2 min
};

// `ids` (malloc'd, free() it) may be NULL when only the number matters.
enum wl_status engine_tokenize(struct engine *engine, const struct engine_tokenize_options *options,
                               size_t *n_tokens, int32_t **ids, struct wl_err *err);

struct engine_message {
    const char *role, *content;
};

#define ENGINE_IMAGE_MARKER "<__media__>"

struct engine_run_options {
    const char *prompt;                    // or messages
    const struct engine_message *messages; // n_messages of them
    size_t n_messages;
    bool is_template; // apply the model's chat template when it has one
    // Slots of engine_put_image. They stand where the prompt has ENGINE_IMAGE_MARKER, as many as
    // there are images; before the text (of the last user message) where it has none.
    const uint32_t *images;
    size_t n_images;
    bool is_full_decode; // no scaling in the JPEG decoder, even where the encoder sees less
    uint32_t n_prompt;   // 0 = as tokenized; else repeated and cut to exactly this many
    uint32_t n_predict;  // at most; at least 1
    bool ignore_eos;
    bool wants_token_times; // fills token_t_ns of the result
    double temperature;     // 0 = greedy
    uint32_t top_k;         // 0 = all
    double top_p, min_p;    // 0 = off
    uint32_t seed;
    bool reuse_prefix;       // false = the KV cache is cleared first
    double max_seconds;      // the engine ends the generation; 0 = no limit
    struct engine_wait wait; // defaults: no total, silence 30 min (a long prefill is silent)
};

// Called from inside engine_run(); they may not use the engine. Any may be NULL.
struct engine_run_events {
    // t_ns and cpu_ns as in engine_phase.
    void (*on_phase)(void *context, const char *phase, bool is_begin, int64_t t_ns, int64_t cpu_ns);
    void (*on_token)(void *context, int32_t id, const char *text, int64_t t_ns);
    void *context;
};

// `events` may be NULL; TOKEN events are asked for only when on_token is set. INTERRUPTED when it
// was cancelled: then `out` holds what was generated so far (stop CANCEL) if the engine obeyed.
// `out` is always initialised and to be released, whatever the status.
enum wl_status engine_run(struct engine *engine, const struct engine_run_options *options,
                          const struct engine_run_events *events, struct engine_run_result *out,
                          struct wl_err *err);

// An image encoder with its projector. Zeros mean: as is usual for the projector, or not stated in
// the file.
struct engine_synth_vision {
    const char *projector; // "qwen2vl_merger", "idefics3", ... (docs/protocol.md)
    uint32_t n_layer, n_embd, n_head, n_ff;
    uint32_t patch_size, image_size;
    uint32_t n_merge;    // this many patches squared become one token
    uint32_t n_embd_out; // the text model's n_embd
    uint32_t preproc_image_size, min_pixels, max_pixels;
    uint32_t n_deepstack, window_pattern;
};

struct engine_synth_options {
    const char *path; // the file to write
    const char *arch; // "llama", "qwen2", "qwen3", "gemma3", "qwen2vl", "qwen3vl"
    uint32_t n_layer, n_embd, n_head, n_head_kv;
    uint32_t head_dim; // 0 = n_embd / n_head
    uint32_t n_ff, n_vocab, n_ctx;
    uint32_t n_deepstack; // of the image encoder that a qwen3vl goes with
    bool is_tied;         // output shares the embedding's tensor
    const char *type;     // "f32", "f16", "q8_0", "q4_0", "q4_k", ...
    const char *name;     // NULL = none
    uint64_t seed;
    double rope_freq_base; // 0 = the engine's default
    // Not NULL: this is written instead of a text model; of the above path, type ("f16", "q8_0",
    // "f32"), name and seed count.
    const struct engine_synth_vision *vision;
    struct engine_wait wait; // defaults: total 1 h, silence 10 min
};

struct engine_synth_result {
    int64_t file_bytes, n_params;
};

// `on_progress` (done in 0..1) may be NULL.
enum wl_status engine_synth(struct engine *engine, const struct engine_synth_options *options,
                            void (*on_progress)(void *context, const char *what, double done),
                            void *context, struct engine_synth_result *out, struct wl_err *err);

// A smaller model out of a GGUF file. `request` and *result (a new reference) are the objects of
// docs/protocol.md, COMPRESS; of the result only that it is an object has been checked, so its
// members are read as anything from outside is. A missed floor is OK, with is_written false.
// Silence of 2 h ends it (a large block is silent). `on_progress` (done in 0..1) may be NULL.
enum wl_status engine_compress(struct engine *engine, const json_t *request,
                               void (*on_progress)(void *context, const char *what, double done),
                               void *context, json_t **result, struct wl_err *err);
// The certificate of a compressed file is filled in, and the work folder of its making removed.
enum wl_status engine_certify(struct engine *engine, const char *path, const json_t *certificate,
                              const char *work, struct wl_err *err);

// What each part of a model is worth (docs/protocol.md, ANALYZE). Zeros and NULL mean the
// compressor's own defaults.
struct engine_analyze_options {
    const char *path;     // only read
    const char *text;     // calibration: a file or a folder
    const char *tasks;    // a task file
    uint32_t n_tokens;    // of calibration
    uint32_t n_tokens_kl; // held-out tokens that divergences are of
    bool with_bonds;      // the spectra of tensor trains too
    uint32_t threads;
    uint64_t seed;           // 0 is one of them
    bool is_forced;          // weights of few bits too
    const char *scratch;     // folder for large temporary files
    struct engine_wait wait; // defaults: no total, silence 2 h (a large block is silent)
};

// *out is the answer, an object and a new reference; what is in it is still to be checked
// (report/analysis.h reads it). INTERRUPTED after a cancel. `on_progress` (done in 0..1) may be
// NULL.
enum wl_status engine_analyze(struct engine *engine, const struct engine_analyze_options *options,
                              void (*on_progress)(void *context, const char *what, double done),
                              void *context, json_t **out, struct wl_err *err);

#endif
