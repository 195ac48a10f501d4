/* Vectors of four floats and partial accesses, common to AVX2 and AVX-512. */
#include <immintrin.h>

typedef __m128 quad;

INLINE quad quad_load(const float *p) { return _mm_loadu_ps(p); }
INLINE void quad_store(float *p, quad v) { _mm_storeu_ps(p, v); }
INLINE void streamed(void) { _mm_sfence(); } /* makes non-temporal stores visible to other threads */

/* Elements first to last - 1 of four, for reach = 5 * first + last; zeros for the others, which are not accessed. */
static const _Alignas(16) int32_t masks[25][4] = {
    {0, 0, 0, 0}, {-1, 0, 0, 0}, {-1, -1, 0, 0}, {-1, -1, -1, 0}, {-1, -1, -1, -1},
    {0, 0, 0, 0}, {0, 0, 0, 0},  {0, -1, 0, 0},  {0, -1, -1, 0},  {0, -1, -1, -1},
    {0, 0, 0, 0}, {0, 0, 0, 0},  {0, 0, 0, 0},   {0, 0, -1, 0},   {0, 0, -1, -1},
    {0, 0, 0, 0}, {0, 0, 0, 0},  {0, 0, 0, 0},   {0, 0, 0, 0},    {0, 0, 0, -1},
};
INLINE quad quad_part(const float *p, int reach) { return _mm_maskload_ps(p, *(const __m128i *)masks[reach]); }
INLINE void quad_store_part(float *p, quad v, int reach) { _mm_maskstore_ps(p, *(const __m128i *)masks[reach], v); }
