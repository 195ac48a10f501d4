/* Whole and partial vectors of floats in memory. */
#pragma once
#include "base.h"

/* The first n of LANES floats; zeros for the others, which are not accessed. */
INLINE vec floats(const float *p, int64_t n)
{
    if (n >= LANES) return (vec) * (const loose *)p;
#ifdef __AVX512BW__
    return _mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p);
#else
    float some[LANES] = {0};
    for (int64_t i = 0; i < n; i++) some[i] = p[i];
    return (vec) * (const loose *)some;
#endif
}
INLINE void store_floats(float *p, vec v, int64_t n)
{
    if (n >= LANES) {
        *(loose *)p = (loose)v;
        return;
    }
#ifdef __AVX512BW__
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), v);
#else
    for (int64_t i = 0; i < n; i++) p[i] = ((loose)v)[i];
#endif
}
