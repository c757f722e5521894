// Which inputs go next, by elimination on small pieces of C^-1 and W (obs.h). PURE.
//
// An input's place is where its row of C^-1 and of W's columns is now: those that are left are kept
// together at the front.
#ifndef WATTLAW_COMPRESS_OBS_CHOOSE_H
#define WATTLAW_COMPRESS_OBS_CHOOSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Inputs that are weighed against each other for each that goes.
enum { OBS_POOL = 4 };

struct obs_state {
    size_t n_in, n_out, group;
    size_t n_left;   // inputs, at places 0 to n_left - 1; groups stay together and aligned
    float *inverse;  // C^-1 [n_in][n_in], lower triangle
    float *columns;  // of W: [n_in][n_out], a row for each input
    uint32_t *input; // [n_in] the number of the input at a place
    float *floor;    // [n_in] 1 / C_jj, which (C^-1)_jj falls below by rounding alone
};

struct obs_candidate {
    double score;
    size_t place;
    uint32_t input;
    bool is_gone;
};

// Inputs that go together, in the order in which they go.
struct obs_cut {
    size_t n;
    size_t *places; // [n]
    float *factor;  // [n][n], lower triangle L: L L^T = C^-1 at the places
    // Room to work in, for `room` inputs: OBS_POOL times as many as go, or one group.
    size_t room;
    struct obs_candidate *candidates; // [n_in]
    float *h, *g;                     // [room][room] C^-1 and W^T W, lower triangles
    float *steps;                     // [room][room] L^T of the pool, a row for each that goes
    float *row, *change;              // [room]
    float *columns;                   // [room][n_out]
};

// group == 1: `n` inputs, each the cheapest after those before it have gone, out of the
// OBS_POOL * n that are cheapest now. Exact for n == 1.
void obs_choose_inputs(const struct obs_state *state, size_t n, struct obs_cut *cut);
// group > 1: the cheapest group, exactly.
void obs_choose_group(const struct obs_state *state, struct obs_cut *cut);

#endif
