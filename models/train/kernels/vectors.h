/*
 * Vectors of 16 floats for the fused operations of the trainer. Written with GCC's vector
 * extensions, so it compiles anywhere; on AVX512-BF16 the dot product of pairs is one instruction.
 */
#ifndef WATTLAW_TRAIN_VECTORS_H
#define WATTLAW_TRAIN_VECTORS_H

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#ifdef __AVX512BF16__
#include <immintrin.h>
#endif

enum { LANES = 16 }; /* floats in a vector */

typedef float vf __attribute__((vector_size(64)));
typedef uint32_t vu __attribute__((vector_size(64)));
typedef uint16_t vh __attribute__((vector_size(32)));
typedef float vf_any __attribute__((vector_size(64), aligned(4), may_alias));
typedef uint32_t vu_any __attribute__((vector_size(64), aligned(4), may_alias));
typedef uint16_t vh_any __attribute__((vector_size(32), aligned(2), may_alias));

#define INLINE static inline __attribute__((always_inline))

/* ---- bf16 ---- */

INLINE float from_bf16(uint16_t x) {
    union {
        uint32_t bits;
        float value;
    } u = {(uint32_t)x << 16};
    return u.value;
}

/* round to nearest, ties to even */
INLINE uint16_t to_bf16(float x) {
    union {
        float value;
        uint32_t bits;
    } u = {x};
    return (uint16_t)((u.bits + 0x7fff + ((u.bits >> 16) & 1)) >> 16);
}

INLINE vf splat(float x) {
    return x - (vf){0};
}

INLINE vf load_bf16(const uint16_t *p) {
    return (vf)(__builtin_convertvector(*(const vh_any *)p, vu) << 16);
}

/* each lane rounded to bf16, which is its upper half; the lower half is rubbish */
INLINE vu rounded(vf x) {
    vu bits = (vu)x;
    return bits + 0x7fff + ((bits >> 16) & 1);
}

INLINE void store_bf16(uint16_t *p, vf x) {
#ifdef __AVX512BF16__
    *(vh_any *)p = (vh)_mm512_cvtneps_pbh((__m512)x);
#else
    *(vh_any *)p = __builtin_convertvector(rounded(x) >> 16, vh);
#endif
}

/* pairs (low, high) of two vectors */
INLINE vu pair_up(vf low, vf high) {
    return (rounded(low) >> 16) | (rounded(high) & 0xffff0000U);
}

/* acc + a.low * b.low + a.high * b.high, lane by lane */
INLINE vf dot_pairs(vf acc, vu a, vu b) {
#ifdef __AVX512BF16__
    return (vf)_mm512_dpbf16_ps((__m512)acc, (__m512bh)a, (__m512bh)b);
#else
    acc += (vf)(a << 16) * (vf)(b << 16);
    return acc + (vf)(a & 0xffff0000U) * (vf)(b & 0xffff0000U);
#endif
}

INLINE vf larger(vf a, vf b) {
#ifdef __AVX512F__
    return (vf)_mm512_max_ps((__m512)a, (__m512)b);
#else
    vu a_wins = (vu)(a > b);
    return (vf)(((vu)a & a_wins) | ((vu)b & ~a_wins));
#endif
}

INLINE float sum_lanes(vf x) {
    float sum = 0;
    for (int i = 0; i < LANES; i++) {
        sum += x[i];
    }
    return sum;
}

INLINE float largest_lane(vf x) {
    float most = x[0];
    for (int i = 1; i < LANES; i++) {
        most = x[i] > most ? x[i] : most;
    }
    return most;
}

/* 2 to the x, relative error below 3e-6; x at most 126, very negative x give about 1e-38 */
INLINE vf exp2_lanes(vf x) {
    const float to_integer = 12582912.0F; /* 1.5 * 2^23: adding it rounds to a whole number */
    x = larger(x, splat(-126.0F));
    vf shifted = x + to_integer;
    vf f = x - (shifted - to_integer);
    vf p = 0.0013333558F * f + 0.0096181291F;
    p = p * f + 0.055504109F;
    p = p * f + 0.24022651F;
    p = p * f + 0.69314718F;
    p = p * f + 1.0F;
    return (vf)((vu)p + ((vu)shifted << 23));
}

static const float LOG2_E = 1.44269504F;

#endif
