#include <math.h>

#include "account/share.h"
#include "base/units.h"

// Of what was learned, this much is replaced by a faster value, and by a slower one.
static const double FALL = 0.5, RISE = 0.05;
// Fewer tokens are delivered together as often as not: their times would tell of the network.
static const uint64_t LEAST_TOKENS = 8;

static int64_t max_ns(int64_t a, int64_t b) {
    return a > b ? a : b;
}

void share_life_begin(struct share_life *life, int64_t t_ns, double prompt_s) {
    double known_s = prompt_s > 0 && isfinite(prompt_s) ? prompt_s : 0;
    *life = (struct share_life){.begin_ns = t_ns,
                                .seen_ns = t_ns,
                                .end_ns = INT64_MAX,
                                .prompt_s = known_s,
                                .prompt_left_s = known_s};
}

// The prompt's last step gives the first token, which is no work of its own.
void share_life_piece(struct share_life *life, int64_t t_ns, uint64_t n_tokens) {
    if (n_tokens == 0) {
        return;
    }
    if (life->has_first) {
        life->last_ns = max_ns(life->last_ns, t_ns);
        life->n_tokens += n_tokens;
        life->n_later_tokens += n_tokens;
    } else {
        life->has_first = true;
        life->first_ns = life->last_ns = max_ns(t_ns, life->begin_ns);
        life->n_tokens = n_tokens - 1;
    }
}

void share_life_end(struct share_life *life, int64_t t_ns) {
    life->end_ns = max_ns(t_ns, life->begin_ns);
}

// ---- learning

static void learn(double *known_s, double new_s, bool was_shared) {
    if (!(new_s > 0) || !isfinite(new_s)) {
        return;
    }
    if (!(*known_s > 0)) {
        *known_s = new_s;
    } else if (new_s < *known_s) {
        *known_s += FALL * (new_s - *known_s);
    } else if (!was_shared) {
        *known_s += RISE * (new_s - *known_s);
    }
}

void share_pace_learn(struct share_pace *pace, const struct share_life *life, double prompt_size) {
    if (!life->has_first) {
        return;
    }
    if (prompt_size > 0) {
        double prompt_s = (double)(life->first_ns - life->begin_ns) / UNITS_NS_PER_S;
        learn(&pace->prompt_s, prompt_s / prompt_size, life->was_shared);
    }
    if (life->n_later_tokens >= LEAST_TOKENS) {
        double answer_s = (double)(life->last_ns - life->first_ns) / UNITS_NS_PER_S;
        learn(&pace->token_s, answer_s / (double)life->n_later_tokens, life->was_shared);
    }
}
