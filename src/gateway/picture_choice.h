// Which size a picture is given so that it keeps within a budget. What sizes cost is asked for, one
// after the other, and never taken for a function that only rises: encoders that cut pictures into
// tiles take more for some small ones than for larger ones. PURE.
#ifndef WATTLAW_GATEWAY_PICTURE_CHOICE_H
#define WATTLAW_GATEWAY_PICTURE_CHOICE_H

#include <stdbool.h>
#include <stdint.h>

struct picture_size {
    uint32_t width, height;
};

enum picture_choice_stage {
    CHOICE_ORIGINAL, // the picture as it came
    CHOICE_CAPPED,   // with no more pixels than the nominal limit
    CHOICE_DESCEND,  // down the ladder of sizes, by large steps, to the first that fits
    CHOICE_REFINE,   // between that one and the one above it
    CHOICE_MADE
};

struct picture_choice {
    struct picture_size size;      // the result: the original's, or a smaller one
    int64_t tokens_in, tokens_out; // as counted; 0: not counted

    // Its own.
    enum picture_choice_stage stage;
    struct picture_size original, top; // top: not beyond the nominal limit
    int64_t max_tokens;
    int rung, low, high; // asked for; taken so far; known not to fit
    int fewest_rung;
    int64_t fewest;
    bool is_capped;
};

// Limits of 0 are none.
void picture_choice_begin(struct picture_choice *choice, struct picture_size original,
                          int64_t max_tokens, uint64_t max_pixels);
// The size whose tokens are to be told next, by picture_choice_take; false: the choice is made.
// About ten for a picture that is too expensive, of which others of the same shape have all but the
// first in common; one for a picture that fits.
bool picture_choice_next(const struct picture_choice *choice, struct picture_size *out);
void picture_choice_take(struct picture_choice *choice, int64_t n_tokens);
// Tokens cannot be told: the nominal limit alone is kept, whatever it saves.
void picture_choice_give_up(struct picture_choice *choice);

#endif
