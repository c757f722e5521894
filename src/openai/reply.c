#include "openai/reply.h"

#include <math.h>

#include "base/json.h"
#include "base/units.h"

static const double Z95 = 1.959963984540054; // standard deviations of a 95 % interval
static const int64_t MAX_TOKENS = INT32_MAX; // more is no count, and sums must not overflow

// ---- what was used

void openai_usage_none(struct openai_usage *usage) {
    *usage = (struct openai_usage){.prompt_tokens = OPENAI_ABSENT,
                                   .cached_tokens = OPENAI_ABSENT,
                                   .completion_tokens = OPENAI_ABSENT,
                                   .prompt_ms = NAN,
                                   .predicted_ms = NAN};
}

static int64_t count_of(const json_t *object, const char *key) {
    int64_t n = wl_json_opt_i64(object, key, OPENAI_ABSENT);
    return n >= 0 && n <= MAX_TOKENS ? n : OPENAI_ABSENT;
}

static void take_ms(const json_t *timings, const char *key, double *out) {
    double ms = wl_json_opt_double(timings, key, NAN);
    if (ms >= 0) {
        *out = ms;
    }
}

static bool has_ended_choice(const json_t *reply) {
    struct openai_piece piece;
    openai_piece_read(reply, &piece);
    return piece.is_finish;
}

static int64_t larger(int64_t a, int64_t b) {
    return a > b ? a : b;
}

static void take_completion(const json_t *reply, int64_t n, struct openai_usage *usage) {
    if (json_array_size(json_object_get(reply, "choices")) == 0) {
        usage->usage_tokens += n;
        usage->completion_tokens = larger(usage->usage_tokens, usage->ended_tokens);
        return;
    }
    usage->completion_tokens = larger(usage->usage_tokens, usage->ended_tokens + n);
    usage->ended_tokens += has_ended_choice(reply) ? n : 0;
}

bool openai_usage_read(const json_t *reply, struct openai_usage *usage) {
    const json_t *used = json_object_get(reply, "usage");
    const json_t *timings = json_object_get(reply, "timings");
    int64_t prompt = count_of(used, "prompt_tokens");
    int64_t cached = count_of(json_object_get(used, "prompt_tokens_details"), "cached_tokens");
    int64_t completion = count_of(used, "completion_tokens");
    if (cached == OPENAI_ABSENT) {
        cached = count_of(timings, "cache_n");
    }
    if (prompt == OPENAI_ABSENT && count_of(timings, "prompt_n") != OPENAI_ABSENT) {
        prompt = count_of(timings, "prompt_n") + larger(cached, 0); // prompt_n is without them
    }
    if (completion == OPENAI_ABSENT) {
        completion = count_of(timings, "predicted_n");
    }
    take_ms(timings, "prompt_ms", &usage->prompt_ms);
    take_ms(timings, "predicted_ms", &usage->predicted_ms);
    usage->prompt_tokens = prompt == OPENAI_ABSENT ? usage->prompt_tokens : prompt;
    usage->cached_tokens = cached == OPENAI_ABSENT ? usage->cached_tokens : cached;
    if (completion != OPENAI_ABSENT) {
        take_completion(reply, completion, usage);
    }
    return prompt != OPENAI_ABSENT || completion != OPENAI_ABSENT;
}

// ---- what it cost

// Nine digits are more than any meter has. A number of 17 costs three times as much to write, and
// there are six of them in each answer.
static double nine_digits(double x) {
    double exponent = 8 - floor(log10(fabs(x)));
    if (!(exponent > 0 && exponent <= 22)) { // a power of ten beyond is not exact; 0 is not finite
        return x;
    }
    double scale = pow(10, exponent);
    return round(x * scale) / scale;
}

static json_t *wh_json(double joules) {
    return wl_json_real(nine_digits(joules / UNITS_J_PER_WH));
}

static json_t *interval_json(double joules, double sd_j) {
    double low = fmax(joules - Z95 * sd_j, 0), high = joules + Z95 * sd_j;
    return isfinite(low) && isfinite(high) ? json_pack("[o, o]", wh_json(low), wh_json(high))
                                           : json_null();
}

json_t *openai_energy_json(const struct openai_energy *energy) {
    return json_pack(
        "{s:o, s:o, s:o, s:o, s:s?, s:s?, s:s?, s:I}", "wh", wh_json(energy->gross_j), "wh_ci95",
        interval_json(energy->gross_j, energy->gross_sd_j), "net_wh", wh_json(energy->net_j),
        "net_wh_ci95", interval_json(energy->net_j, energy->net_sd_j), "source", energy->source,
        "scope", energy->scope, "label", energy->label, "shared_by", (json_int_t)energy->n_shared);
}

static bool set_count(json_t *object, const char *key, int64_t n) {
    return n == OPENAI_ABSENT || json_object_set_new(object, key, json_integer(n)) == 0;
}

static bool set_tokens(json_t *object, const struct openai_usage *usage) {
    int64_t prompt = usage->prompt_tokens, completion = usage->completion_tokens;
    int64_t total = prompt == OPENAI_ABSENT ? OPENAI_ABSENT : prompt + larger(completion, 0);
    if (!set_count(object, "prompt_tokens", prompt) ||
        !set_count(object, "completion_tokens", completion) ||
        !set_count(object, "total_tokens", total)) {
        return false;
    }
    return usage->cached_tokens == OPENAI_ABSENT ||
           json_object_set_new(
               object, "prompt_tokens_details",
               json_pack("{s:I}", "cached_tokens", (json_int_t)usage->cached_tokens)) == 0;
}

bool openai_reply_add_energy(json_t *reply, const struct openai_usage *usage,
                             const struct openai_energy *energy) {
    json_t *used = json_object_get(reply, "usage");
    if (!json_is_object(used)) {
        used = json_object();
        if (json_object_set_new(reply, "usage", used) != 0 || (usage && !set_tokens(used, usage))) {
            return false;
        }
    }
    return json_object_set_new(used, "energy", openai_energy_json(energy)) == 0;
}
