#include "gateway/picture_choice.h"

#include <math.h>

// The ladder of long sides: 64 px, and each rung 2^(1/16) times the one below (so what is chosen is
// within 4.4 % of the largest side that fits). Rungs do not depend on the picture: pictures of the
// same shape share them, and what they cost is known already. Large steps go by a factor of 1.68.
static const double LOWEST_SIDE = 64, RUNGS_PER_DOUBLING = 16;
enum { LARGE_STEP = 12 };
// Encoders' cells are 28 to 48 px: below that there is nothing left to be seen.
enum { MIN_SIDE = 32 };
// A picture that does not fit anyway is worth losing detail for only where that saves this much.
static const double WORTHWHILE = 0.9;

static uint32_t long_side(struct picture_size size) {
    return size.width > size.height ? size.width : size.height;
}

static uint32_t short_side(struct picture_size size) {
    return size.width > size.height ? size.height : size.width;
}

// The same shape with another long side.
static struct picture_size shaped(struct picture_size shape, double side) {
    double longest = round(side);
    double shortest = round(longest * short_side(shape) / long_side(shape));
    uint32_t a = (uint32_t)longest, b = shortest < 1 ? 1 : (uint32_t)shortest;
    return shape.width > shape.height ? (struct picture_size){a, b} : (struct picture_size){b, a};
}

static struct picture_size at_rung(const struct picture_choice *choice, int rung) {
    return shaped(choice->original, LOWEST_SIDE * exp2(rung / RUNGS_PER_DOUBLING));
}

static uint64_t pixels(struct picture_size size) {
    return (uint64_t)size.width * size.height;
}

// The largest of the same shape with at most so many pixels.
static struct picture_size capped(struct picture_size original, uint64_t max_pixels) {
    double share = (double)long_side(original) / short_side(original);
    struct picture_size size = shaped(original, floor(sqrt((double)max_pixels * share)));
    while (pixels(size) > max_pixels && long_side(size) > 1) {
        size = shaped(original, long_side(size) - 1.0);
    }
    return size;
}

static int lowest_rung(const struct picture_choice *choice) {
    int rung = 0;
    while (short_side(at_rung(choice, rung)) < MIN_SIDE) {
        rung++;
    }
    return rung;
}

static void keep(struct picture_choice *choice) {
    choice->size = choice->original;
    choice->tokens_out = choice->tokens_in;
    choice->stage = CHOICE_MADE;
}

void picture_choice_begin(struct picture_choice *choice, struct picture_size original,
                          int64_t max_tokens, uint64_t max_pixels) {
    *choice = (struct picture_choice){.size = original,
                                      .original = original,
                                      .top = original,
                                      .max_tokens = max_tokens > 0 ? max_tokens : INT64_MAX,
                                      .fewest = INT64_MAX};
    if (max_pixels > 0 && pixels(original) > max_pixels) {
        choice->top = capped(original, max_pixels);
        choice->is_capped = true;
    }
    if (max_tokens <= 0 && !choice->is_capped) {
        keep(choice);
    }
}

bool picture_choice_next(const struct picture_choice *choice, struct picture_size *out) {
    switch (choice->stage) {
    case CHOICE_ORIGINAL: *out = choice->original; return true;
    case CHOICE_CAPPED: *out = choice->top; return true;
    case CHOICE_DESCEND:
    case CHOICE_REFINE: *out = at_rung(choice, choice->rung); return true;
    default: return false;
    }
}

// The highest rung that is smaller than the top.
static int rung_below(const struct picture_choice *choice) {
    double top = long_side(choice->top);
    int rung = (int)floor(log2(top / LOWEST_SIDE) * RUNGS_PER_DOUBLING);
    while (rung >= 0 && long_side(at_rung(choice, rung)) >= long_side(choice->top)) {
        rung--;
    }
    return rung;
}

static void refine(struct picture_choice *choice) {
    choice->stage = CHOICE_REFINE;
    choice->rung = choice->low + (choice->high - choice->low) / 2;
    if (choice->rung == choice->low) {
        choice->size = at_rung(choice, choice->low);
        choice->stage = CHOICE_MADE;
    }
}

static void descend(struct picture_choice *choice) {
    int highest = rung_below(choice), lowest = lowest_rung(choice);
    if (highest < lowest) {
        keep(choice);
        return;
    }
    int rung = highest / LARGE_STEP * LARGE_STEP;
    choice->stage = CHOICE_DESCEND;
    choice->high = highest + 1;
    choice->rung = rung > lowest ? rung : lowest;
}

static void take_original(struct picture_choice *choice, int64_t n_tokens) {
    choice->tokens_in = choice->tokens_out = n_tokens;
    if (choice->is_capped) {
        choice->stage = CHOICE_CAPPED;
    } else if (n_tokens <= choice->max_tokens) {
        keep(choice);
    } else {
        descend(choice);
    }
}

static void take_capped(struct picture_choice *choice, int64_t n_tokens) {
    if (n_tokens <= choice->max_tokens && n_tokens < choice->tokens_in) {
        choice->size = choice->top;
        choice->tokens_out = n_tokens;
        choice->stage = CHOICE_MADE;
    } else if (choice->tokens_in <= choice->max_tokens) {
        keep(choice); // fewer pixels that cost no less
    } else {
        descend(choice);
    }
}

static void take_low(struct picture_choice *choice, int rung, int64_t n_tokens) {
    choice->low = rung;
    choice->tokens_out = n_tokens;
}

// Nothing fits. What costs least may still be worthwhile, and there may be larger ones at the
// price.
static void settle_for_fewest(struct picture_choice *choice) {
    if ((double)choice->fewest > WORTHWHILE * (double)choice->tokens_in) {
        keep(choice);
        return;
    }
    choice->max_tokens = choice->fewest;
    take_low(choice, choice->fewest_rung, choice->fewest);
    int highest = rung_below(choice);
    int above = choice->fewest_rung + LARGE_STEP;
    choice->high = above < highest + 1 ? above : highest + 1;
    refine(choice);
}

static void take_descent(struct picture_choice *choice, int64_t n_tokens) {
    if (n_tokens <= choice->max_tokens) {
        take_low(choice, choice->rung, n_tokens);
        refine(choice);
        return;
    }
    if (n_tokens < choice->fewest) {
        choice->fewest = n_tokens;
        choice->fewest_rung = choice->rung;
    }
    choice->high = choice->rung;
    int lowest = lowest_rung(choice);
    if (choice->rung > lowest) {
        int rung = choice->rung - LARGE_STEP;
        choice->rung = rung > lowest ? rung : lowest;
    } else {
        settle_for_fewest(choice);
    }
}

static void take_refined(struct picture_choice *choice, int64_t n_tokens) {
    if (n_tokens <= choice->max_tokens) {
        take_low(choice, choice->rung, n_tokens);
    } else {
        choice->high = choice->rung;
    }
    refine(choice);
}

void picture_choice_take(struct picture_choice *choice, int64_t n_tokens) {
    switch (choice->stage) {
    case CHOICE_ORIGINAL: take_original(choice, n_tokens); break;
    case CHOICE_CAPPED: take_capped(choice, n_tokens); break;
    case CHOICE_DESCEND: take_descent(choice, n_tokens); break;
    case CHOICE_REFINE: take_refined(choice, n_tokens); break;
    case CHOICE_MADE: break;
    }
}

void picture_choice_give_up(struct picture_choice *choice) {
    choice->size = choice->top;
    choice->tokens_in = choice->tokens_out = 0;
    choice->stage = CHOICE_MADE;
}
