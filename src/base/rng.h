// A small seeded generator (splitmix64 seeding xoshiro256**, both public domain algorithms), so
// that orders, bootstraps and random weights repeat exactly from a stated seed.
#ifndef WATTLAW_BASE_RNG_H
#define WATTLAW_BASE_RNG_H

#include <stddef.h>
#include <stdint.h>

struct rng {
    uint64_t state[4];
};

void rng_seed(struct rng *rng, uint64_t seed);
uint64_t rng_next(struct rng *rng);
uint32_t rng_below(struct rng *rng, uint32_t bound); // uniform in [0, bound); 0 when bound is 0
double rng_uniform(struct rng *rng);                 // [0, 1)
double rng_normal(struct rng *rng);                  // mean 0, sd 1
void rng_shuffle_u32(struct rng *rng, uint32_t *items, size_t n);

#endif
