/* Vectors of sixteen floats: AVX-512 (F, DQ, BW, VL). */
#include "lanes_x86.h"

#define LANES 16
#define ACCUMULATORS 28
#define WEIGHTS_IN_REGISTERS 21 /* accumulators that leave room for the nine weights of a 3x3 kernel */

typedef __m512 vec;

INLINE vec splat(float a) { return _mm512_set1_ps(a); }
INLINE void stream(float *p, vec v) { _mm512_stream_ps(p, v); } /* non-temporal; p is aligned */

/* Transpose the 4x4 blocks of four vectors. */
INLINE void transpose_blocks(vec v[4])
{
    vec a = _mm512_unpacklo_ps(v[0], v[1]), b = _mm512_unpackhi_ps(v[0], v[1]);
    vec c = _mm512_unpacklo_ps(v[2], v[3]), d = _mm512_unpackhi_ps(v[2], v[3]);
    v[0] = _mm512_shuffle_ps(a, c, 0x44);
    v[1] = _mm512_shuffle_ps(a, c, 0xEE);
    v[2] = _mm512_shuffle_ps(b, d, 0x44);
    v[3] = _mm512_shuffle_ps(b, d, 0xEE);
}

/* quads[lane] are four columns of each lane, columns[c] is one column of all lanes. */
INLINE void columns_of(const quad quads[LANES], vec columns[4])
{
    for (int i = 0; i < 4; i++) {
        vec v = _mm512_castps128_ps512(quads[i]);
        v = _mm512_insertf32x4(v, quads[4 + i], 1);
        v = _mm512_insertf32x4(v, quads[8 + i], 2);
        columns[i] = _mm512_insertf32x4(v, quads[12 + i], 3);
    }
    transpose_blocks(columns);
}
INLINE void quads_of(const vec columns[4], quad quads[LANES])
{
    vec v[4] = {columns[0], columns[1], columns[2], columns[3]};
    transpose_blocks(v);
    for (int i = 0; i < 4; i++) {
        quads[i] = _mm512_castps512_ps128(v[i]);
        quads[4 + i] = _mm512_extractf32x4_ps(v[i], 1);
        quads[8 + i] = _mm512_extractf32x4_ps(v[i], 2);
        quads[12 + i] = _mm512_extractf32x4_ps(v[i], 3);
    }
}

/* The sums of four vectors, as partial sums per 128-bit block. */
INLINE vec four_sums(vec a, vec b, vec c, vec d)
{
    vec ab = _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
    vec cd = _mm512_add_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
    return _mm512_add_ps(_mm512_shuffle_ps(ab, cd, 0x44), _mm512_shuffle_ps(ab, cd, 0xEE));
}
INLINE void sums_of(const vec v[8], float sums[8])
{
    vec a = four_sums(v[0], v[1], v[2], v[3]), b = four_sums(v[4], v[5], v[6], v[7]);
    vec halves = _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xDD));
    vec whole = _mm512_add_ps(halves, _mm512_shuffle_f32x4(halves, halves, 0xB1));
    _mm_storeu_ps(sums, _mm512_castps512_ps128(whole));
    _mm_storeu_ps(sums + 4, _mm512_extractf32x4_ps(whole, 2));
}
