/* Vectors of eight floats: AVX2 with fused multiply-add. */
#include "lanes_x86.h"

#define LANES 8
#define ACCUMULATORS 12

typedef __m256 vec;

INLINE vec splat(float a) { return _mm256_set1_ps(a); }
INLINE void stream(float *p, vec v) { _mm256_stream_ps(p, v); } /* non-temporal; p is aligned */

/* Transpose the 4x4 blocks of four vectors. */
INLINE void transpose_blocks(vec v[4])
{
    vec a = _mm256_unpacklo_ps(v[0], v[1]), b = _mm256_unpackhi_ps(v[0], v[1]);
    vec c = _mm256_unpacklo_ps(v[2], v[3]), d = _mm256_unpackhi_ps(v[2], v[3]);
    v[0] = _mm256_shuffle_ps(a, c, 0x44);
    v[1] = _mm256_shuffle_ps(a, c, 0xEE);
    v[2] = _mm256_shuffle_ps(b, d, 0x44);
    v[3] = _mm256_shuffle_ps(b, d, 0xEE);
}

/* quads[lane] are four columns of each lane, columns[c] is one column of all lanes. */
INLINE void columns_of(const quad quads[LANES], vec columns[4])
{
    for (int i = 0; i < 4; i++) columns[i] = _mm256_insertf128_ps(_mm256_castps128_ps256(quads[i]), quads[4 + i], 1);
    transpose_blocks(columns);
}
INLINE void quads_of(const vec columns[4], quad quads[LANES])
{
    vec v[4] = {columns[0], columns[1], columns[2], columns[3]};
    transpose_blocks(v);
    for (int i = 0; i < 4; i++) {
        quads[i] = _mm256_castps256_ps128(v[i]);
        quads[4 + i] = _mm256_extractf128_ps(v[i], 1);
    }
}

INLINE void sums_of(const vec v[8], float sums[8])
{
    vec a = _mm256_hadd_ps(_mm256_hadd_ps(v[0], v[1]), _mm256_hadd_ps(v[2], v[3]));
    vec b = _mm256_hadd_ps(_mm256_hadd_ps(v[4], v[5]), _mm256_hadd_ps(v[6], v[7]));
    _mm_storeu_ps(sums, _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1)));
    _mm_storeu_ps(sums + 4, _mm_add_ps(_mm256_castps256_ps128(b), _mm256_extractf128_ps(b, 1)));
}
