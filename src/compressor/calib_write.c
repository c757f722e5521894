#include "compressor/calib_write.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

// A start leaves room for at least so much of the model's own.
enum { MIN_WRITTEN = 16, MAX_FRUITLESS = 512, MIN_AT_ONCE = 2, MAX_CACHE_BYTES = 64 << 20 };

struct writing {
    struct calib_tokens tokens;
    struct calib_origin origin;
    struct rng rng;
    size_t n_fed;
    uint32_t last_in_batch; // number of its last token in the batch
    bool is_in_batch;       // all its tokens are, so the next one can be drawn
    bool is_from_nothing, is_finished;
};

static const size_t FREE = SIZE_MAX;

// Texts are taken in the order in which they were begun, else short ones would be preferred.
struct writings {
    struct writing *items;
    size_t n, capacity;
    size_t n_taken;
    size_t slots[CALIB_MAX_AT_ONCE]; // which item each sequence computes; FREE
    size_t n_waiting;                // tokens of those not taken
    size_t n_done;                   // tokens of those taken
    size_t n_from_nothing, n_from_documents;
    size_t n_fruitless; // begun in vain, or the same as before, one after the other
};

// ---- nothing twice

void calib_seen_release(struct calib_seen *seen) {
    free(seen->hashes);
    *seen = (struct calib_seen){0};
}

// False when it was there, or there is no memory to remember it.
static bool see(struct calib_seen *seen, const struct calib_tokens *tokens) {
    uint64_t hash = 0xcbf29ce484222325u; // FNV-1a
    for (size_t i = 0; i < tokens->n; i++) {
        hash = (hash ^ (uint32_t)tokens->ids[i]) * 0x100000001b3u;
    }
    for (size_t i = 0; i < seen->n; i++) {
        if (seen->hashes[i] == hash) {
            return false;
        }
    }
    if (seen->n == seen->capacity) {
        size_t capacity = 2 * seen->capacity + 64;
        uint64_t *hashes = realloc(seen->hashes, capacity * sizeof *hashes);
        if (!hashes) {
            return false;
        }
        seen->hashes = hashes;
        seen->capacity = capacity;
    }
    seen->hashes[seen->n++] = hash;
    return true;
}

uint32_t calib_at_once(const struct text_model *m, uint32_t max_length) {
    uint64_t width =
        (uint64_t)llama_model_n_embd(m->model) /
        (uint64_t)(llama_model_n_head(m->model) > 0 ? llama_model_n_head(m->model) : 1);
    uint64_t of_token = 2 * sizeof(uint16_t) * width * (uint64_t)llama_model_n_layer(m->model) *
                        (uint64_t)llama_model_n_head_kv(m->model);
    uint64_t n = of_token > 0 ? MAX_CACHE_BYTES / (of_token * max_length) : CALIB_MAX_AT_ONCE;
    return n < MIN_AT_ONCE ? MIN_AT_ONCE : n > CALIB_MAX_AT_ONCE ? CALIB_MAX_AT_ONCE : (uint32_t)n;
}

// ---- the next token

static double weight(float logit, float max) {
    return (double)expf(logit - max);
}

static enum wl_status draw(const struct calib_writer *w, const float *logits, struct rng *rng,
                           int32_t *out, struct wl_err *err) {
    uint32_t n = w->model->n_vocab;
    float max = logits[0];
    double total = 0;
    for (uint32_t i = 1; i < n; i++) {
        max = logits[i] > max ? logits[i] : max;
    }
    for (uint32_t i = 0; i < n; i++) {
        total += weight(logits[i], max);
    }
    if (!isfinite(max) || !isfinite(total)) {
        return wl_err_set(err, WL_INPUT,
                          "'%s' computes probabilities that are not numbers; the file is broken",
                          w->model->path);
    }
    double left = rng_uniform(rng) * total;
    for (uint32_t i = 0; i < n; i++) {
        double mass = weight(logits[i], max);
        *out = mass > 0 ? (int32_t)i : *out;
        left -= mass;
        if (left < 0) {
            break;
        }
    }
    return WL_OK;
}

// ---- beginnings

static const struct calib_unit *next_unit(struct calib_writer *w, int *which) {
    const struct calib_units *text = w->starts[0];
    const struct calib_units *tasks = w->starts[1];
    if (text->n + tasks->n == 0) {
        return NULL;
    }
    *which = rng_below(&w->rng, (uint32_t)(text->n + tasks->n)) < text->n ? 0 : 1;
    const struct calib_units *units = w->starts[*which];
    return &units->items[rng_below(&w->rng, (uint32_t)units->n)];
}

// The beginning of a text, to be replied to or gone on with.
static enum wl_status begin_text(struct calib_writer *w, const struct calib_unit *unit,
                                 struct calib_tokens *out, struct wl_err *err) {
    struct calib_tokens text = {0};
    uint32_t eighth = w->max_length / 8;
    size_t n = eighth + rng_below(&w->rng, eighth + 1);
    enum wl_status status =
        calib_chat_text(w->chat, buf_text(&w->documents->text) + unit->at, unit->len, &text, err);
    n = n < text.n ? n : text.n;
    if (status == WL_OK) {
        status = calib_tokens_add(out, w->chat->before.ids, w->chat->before.n, err);
    }
    if (status == WL_OK) {
        status = calib_tokens_add(out, text.ids, n, err);
    }
    if (status == WL_OK) {
        status = calib_tokens_add(out, w->chat->after.ids, w->chat->after.n, err);
    }
    calib_tokens_release(&text);
    return status;
}

static enum wl_status begin_document(struct calib_writer *w, struct writing *writing,
                                     struct wl_err *err) {
    int which = 0;
    const struct calib_unit *unit = next_unit(w, &which);
    if (!unit) {
        return WL_OK;
    }
    writing->origin.document = unit->document;
    return which == 0 ? begin_text(w, unit, &writing->tokens, err)
                      : calib_chat_prompt(w->chat, buf_text(&w->documents->text) + unit->at,
                                          &writing->tokens, err);
}

static bool is_next_from_nothing(const struct calib_writer *w, const struct writings *all) {
    bool has_documents = w->starts[0]->n + w->starts[1]->n > 0;
    bool has_begin = w->chat->begin >= 0;
    return has_begin && (!has_documents || all->n_from_nothing <= all->n_from_documents);
}

static enum wl_status begin(struct calib_writer *w, struct writings *all, struct writing *writing,
                            struct wl_err *err) {
    *writing = (struct writing){.origin = {.source = CALIB_SELF}};
    rng_seed(&writing->rng, rng_next(&w->rng));
    writing->is_from_nothing = is_next_from_nothing(w, all);
    if (!writing->is_from_nothing) {
        return begin_document(w, writing, err);
    }
    writing->origin.document = (*w->next_document)++;
    return calib_tokens_add(&writing->tokens, &w->chat->begin, 1, err);
}

static size_t *count_of(struct writings *all, const struct writing *writing) {
    return writing->is_from_nothing ? &all->n_from_nothing : &all->n_from_documents;
}

static enum wl_status make_room(struct writings *all, struct wl_err *err) {
    if (all->n < all->capacity) {
        return WL_OK;
    }
    size_t capacity = 2 * all->capacity + 64;
    struct writing *items = realloc(all->items, capacity * sizeof *items);
    if (!items) {
        return wl_err_set(err, WL_MEMORY, "no memory for %zu texts", capacity);
    }
    all->items = items;
    all->capacity = capacity;
    return WL_OK;
}

// A text in a free slot. One that cannot be begun (too long a question) counts as fruitless.
static enum wl_status begin_in(struct calib_writer *w, struct writings *all, size_t slot,
                               struct wl_err *err) {
    enum wl_status status = make_room(all, err);
    if (status != WL_OK) {
        return status;
    }
    struct writing *writing = &all->items[all->n];
    status = begin(w, all, writing, err);
    if (status != WL_OK || writing->tokens.n == 0 ||
        writing->tokens.n + MIN_WRITTEN > w->max_length) {
        calib_tokens_release(&writing->tokens);
        all->n_fruitless++;
        return status;
    }
    all->slots[slot] = all->n++;
    all->n_waiting += writing->tokens.n;
    *count_of(all, writing) += writing->tokens.n;
    text_model_forget(w->model, (uint32_t)slot);
    return WL_OK;
}

// Tokens of those not taken when they are finished, if they become as long as those before.
static size_t expect(const struct calib_writer *w, const struct writings *all) {
    size_t length = all->n_taken > 0 ? all->n_done / all->n_taken : w->max_length / 2;
    size_t n = all->n_waiting;
    for (size_t slot = 0; slot < w->n_at_once; slot++) {
        size_t n_written =
            all->slots[slot] != FREE ? all->items[all->slots[slot]].tokens.n : length;
        n += length > n_written ? length - n_written : 0;
    }
    return n;
}

static enum wl_status begin_more(struct calib_writer *w, struct writings *all,
                                 const struct calib_part *part, size_t end, struct wl_err *err) {
    enum wl_status status = WL_OK;
    for (size_t slot = 0; slot < w->n_at_once && status == WL_OK; slot++) {
        while (all->slots[slot] == FREE && status == WL_OK && all->n_fruitless < MAX_FRUITLESS &&
               part->n_tokens + expect(w, all) < end) {
            status = begin_in(w, all, slot, err);
        }
    }
    return status;
}

// ---- one step

// Puts what is not computed yet into the batch, as far as there is room.
static uint32_t feed(struct calib_writer *w, struct writings *all) {
    uint32_t n = 0;
    for (size_t slot = 0; slot < w->n_at_once; slot++) {
        if (all->slots[slot] == FREE) {
            continue;
        }
        struct writing *writing = &all->items[all->slots[slot]];
        while (writing->n_fed < writing->tokens.n && n < w->model->max_batch) {
            size_t at = writing->n_fed++;
            bool is_last = writing->n_fed == writing->tokens.n;
            text_model_add(w->model, writing->tokens.ids[at], (uint32_t)at, (uint32_t)slot,
                           is_last);
            writing->last_in_batch = n++;
            writing->is_in_batch = is_last;
        }
    }
    return n;
}

static enum wl_status draw_next(struct calib_writer *w, struct writings *all, size_t slot,
                                struct wl_err *err) {
    struct writing *writing = &all->items[all->slots[slot]];
    const float *logits;
    int32_t token = 0;
    writing->is_in_batch = false;
    enum wl_status status = text_model_logits(w->model, writing->last_in_batch, &logits, err);
    if (status == WL_OK) {
        status = draw(w, logits, &writing->rng, &token, err);
    }
    if (status == WL_OK) {
        status = calib_tokens_add(&writing->tokens, &token, 1, err);
    }
    if (status != WL_OK) {
        return status;
    }
    all->n_waiting++;
    *count_of(all, writing) += 1;
    if (llama_vocab_is_eog(w->model->vocab, token) || writing->tokens.n >= w->max_length) {
        writing->is_finished = true;
        all->slots[slot] = FREE;
    }
    return WL_OK;
}

static enum wl_status step(struct calib_writer *w, struct writings *all, struct wl_err *err) {
    enum wl_status status = text_model_run(w->model, err);
    for (size_t slot = 0; slot < w->n_at_once && status == WL_OK; slot++) {
        if (all->slots[slot] != FREE && all->items[all->slots[slot]].is_in_batch) {
            status = draw_next(w, all, slot, err);
        }
    }
    return status;
}

// Moves the finished ones, in order, to the part.
static void take(struct calib_writer *w, struct writings *all, struct calib_part *part,
                 size_t end) {
    while (all->n_taken < all->n && all->items[all->n_taken].is_finished) {
        struct writing *writing = &all->items[all->n_taken++];
        bool is_new = see(w->seen, &writing->tokens);
        if (is_new) {
            calib_part_add(part, writing->origin, writing->tokens.ids, writing->tokens.n, end);
        }
        all->n_fruitless = is_new ? 0 : all->n_fruitless + 1;
        all->n_waiting -= writing->tokens.n;
        all->n_done += writing->tokens.n;
        calib_tokens_release(&writing->tokens);
    }
}

// Tokens in the part and those that wait, which may become fewer again: the bar never goes back.
static void tell(struct calib_writer *w, const struct writings *all, double begin, size_t n_done,
                 size_t n_wanted) {
    size_t n = n_done + all->n_waiting;
    double share = begin + (double)(n < n_wanted ? n : n_wanted) * w->share_per_token;
    struct text_watch *watch = w->model->watch;
    watch->share_done = share > watch->share_done ? share : watch->share_done;
    watch->share_done = watch->share_done < 1 ? watch->share_done : 1;
}

enum wl_status calib_write(struct calib_writer *w, struct calib_part *part, size_t end,
                           struct wl_err *err) {
    struct writings all = {0};
    double share_before = w->model->watch->share_done;
    size_t n_before = part->n_tokens;
    enum wl_status status = WL_OK;
    for (size_t slot = 0; slot < CALIB_MAX_AT_ONCE; slot++) {
        all.slots[slot] = FREE;
    }
    while (status == WL_OK && part->n_tokens + 1 < end) {
        status = begin_more(w, &all, part, end, err);
        if (status != WL_OK || feed(w, &all) == 0) {
            break;
        }
        status = step(w, &all, err);
        take(w, &all, part, end);
        tell(w, &all, share_before, part->n_tokens - n_before, end - n_before);
    }
    for (size_t i = 0; i < all.n; i++) {
        calib_tokens_release(&all.items[i].tokens);
    }
    free(all.items);
    return status;
}
