/* Maps of bfloat16, the upper half of a float32: computed in float32, stored to the nearest, ties to even. */
#include "floats.h"

typedef uint16_t element;

typedef uint16_t halves __attribute__((vector_size(LANES * sizeof(uint16_t)), aligned(2), may_alias)); /* unaligned */
typedef uint32_t words __attribute__((vector_size(LANES * sizeof(uint32_t)), may_alias));

#define BFLOAT16_NAN 0x7FC0 /* rounding could carry a NaN to infinity */

INLINE halves narrowed(vec v)
{
#ifdef __AVX512BF16__
    return (halves)_mm512_cvtneps_pbh(v);
#else
    const words bits = (words)v, nan = (words)((loose)v != (loose)v);
    const words nearest = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16;
    return __builtin_convertvector((nearest & ~nan) | (nan & BFLOAT16_NAN), halves);
#endif
}
INLINE vec widened(halves v) { return (vec)(__builtin_convertvector(v, words) << 16); }

/* The first n of LANES elements; zeros for the others, which are not accessed. */
INLINE vec load(const element *p, int64_t n)
{
    if (n >= LANES) return widened(*(const halves *)p);
#ifdef __AVX512BW__
    return widened((halves)_mm256_maskz_loadu_epi16((__mmask16)((1u << n) - 1), p));
#else
    element some[LANES] = {0};
    for (int64_t i = 0; i < n; i++) some[i] = p[i];
    return widened(*(const halves *)some);
#endif
}
INLINE void store(element *p, vec v, int64_t n)
{
    if (n >= LANES) {
        *(halves *)p = narrowed(v);
        return;
    }
    const halves some = narrowed(v);
#ifdef __AVX512BW__
    _mm256_mask_storeu_epi32(p, (__mmask8)((1u << n / 2) - 1), (__m256i)some); /* by pairs: faster than by elements */
    if (n & 1) p[n - 1] = some[n - 1];
#else
    for (int64_t i = 0; i < n; i++) p[i] = some[i];
#endif
}
