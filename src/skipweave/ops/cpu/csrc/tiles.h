/* Inner loops: a tile of vectors of one output stays in registers while all links of the output are accumulated. */
#pragma once
#include "base.h"

typedef struct {
    const float *packed;                      /* the tile's first input vector in channel 0 */
    int64_t channel, row;                     /* distances in floats of channels, and of inputs of output rows */
    const int64_t *tap;                       /* offset of each tap in floats */
    int64_t taps, count;
    const int32_t *source;
    const float *weight;
    float bias;
    float *out;
    int64_t out_row;                          /* distance of rows in floats */
} tile;

typedef void tile_function(const tile *);

#define MAX_ROWS 7
#define MAX_COLUMNS 7

/* Any taps. With few accumulators, links alternate between several sets of them, to hide latency. */
INLINE void any_tile(const tile *a, const int rows, const int columns, const int step)
{
    const int area = rows * columns, sets = area >= 7 ? 1 : area >= 4 ? 2 : area >= 2 ? 4 : 8;
    vec sum[ACCUMULATORS];
    UNROLL for (int i = 0; i < area * sets; i++) sum[i] = splat(i < area ? a->bias : 0);
    int64_t link = 0;
    for (; link + sets <= a->count; link += sets)
        for (int64_t t = 0; t < a->taps; t++)
            UNROLL for (int s = 0; s < sets; s++) {
                const vec weight = splat(a->weight[(link + s) * a->taps + t]);
                const float *x = a->packed + a->source[link + s] * a->channel + a->tap[t];
                UNROLL for (int r = 0; r < rows; r++)
                    UNROLL for (int c = 0; c < columns; c++)
                        sum[s * area + r * columns + c] += weight * *(const vec *)(x + r * a->row + c * step * LANES);
            }
    for (; link < a->count; link++)
        for (int64_t t = 0; t < a->taps; t++) {
            const vec weight = splat(a->weight[link * a->taps + t]);
            const float *x = a->packed + a->source[link] * a->channel + a->tap[t];
            UNROLL for (int r = 0; r < rows; r++)
                UNROLL for (int c = 0; c < columns; c++)
                    sum[r * columns + c] += weight * *(const vec *)(x + r * a->row + c * step * LANES);
        }
    UNROLL for (int r = 0; r < rows; r++)
        UNROLL for (int c = 0; c < columns; c++) {
            vec v = sum[r * columns + c];
            UNROLL for (int s = 1; s < sets; s++) v += sum[s * area + r * columns + c];
            *(vec *)(a->out + r * a->out_row + c * LANES) = v;
        }
}

#ifdef WEIGHTS_IN_REGISTERS
/* 3x3, stride and dilation 1: the nine weights stay in registers, and each input vector is loaded once. */
INLINE void tile_3x3(const tile *a, const int rows, const int columns)
{
    vec sum[WEIGHTS_IN_REGISTERS];
    UNROLL for (int i = 0; i < rows * columns; i++) sum[i] = splat(a->bias);
    for (int64_t link = 0; link < a->count; link++) {
        const float *x = a->packed + a->source[link] * a->channel;
        const float *w = a->weight + link * 9;
        const float *next = a->packed + a->source[link + (link + 1 < a->count)] * a->channel;
        vec weight[9];
        UNROLL for (int t = 0; t < 9; t++) weight[t] = splat(w[t]);
        UNROLL for (int i = 0; i < rows + 2; i++, x += a->row, next += a->row)
            UNROLL for (int j = 0; j < columns + 2; j++) {
                const vec v = *(const vec *)(x + j * LANES);
                __builtin_prefetch(next + j * LANES);
                UNROLL for (int dy = 0; dy < 3; dy++)
                    UNROLL for (int dx = 0; dx < 3; dx++)
                        if (i - dy >= 0 && i - dy < rows && j - dx >= 0 && j - dx < columns)
                            sum[(i - dy) * columns + j - dx] += weight[dy * 3 + dx] * v;
            }
    }
    UNROLL for (int r = 0; r < rows; r++)
        UNROLL for (int c = 0; c < columns; c++) {
            const vec v = sum[r * columns + c];
            *(vec *)(a->out + r * a->out_row + c * LANES) = v;
        }
}
#endif

/* EACH_TILE(M) is M(rows, columns) for the sizes that fit ACCUMULATORS. */
#define EACH_COLUMN(M, r) M(r, 1) M(r, 2) M(r, 3)
#if ACCUMULATORS >= 28
#define EACH_TILE(M)                                                                                                   \
    EACH_COLUMN(M, 1) M(1, 4) M(1, 5) M(1, 6) M(1, 7) EACH_COLUMN(M, 2) M(2, 4) M(2, 5) M(2, 6) M(2, 7)                \
    EACH_COLUMN(M, 3) M(3, 4) M(3, 5) M(3, 6) M(3, 7) EACH_COLUMN(M, 4) M(4, 4) M(4, 5)                                \
    EACH_COLUMN(M, 5) M(5, 4) EACH_COLUMN(M, 6) EACH_COLUMN(M, 7)
#define WIDEST(rows) ((rows) <= 3 ? 7 : (rows) == 4 ? 5 : (rows) == 5 ? 4 : 3)
#define TALLEST 7
#else
#define EACH_TILE(M)                                                                                                   \
    EACH_COLUMN(M, 1) M(1, 4) M(1, 5) M(1, 6) M(1, 7) EACH_COLUMN(M, 2) M(2, 4) M(2, 5) M(2, 6)                        \
    EACH_COLUMN(M, 3) M(3, 4) EACH_COLUMN(M, 4)
#define WIDEST(rows) ((rows) == 1 ? 7 : (rows) == 2 ? 6 : (rows) == 3 ? 4 : 3)
#define TALLEST 4
#endif

#define DEFINE(r, c)                                                                                                   \
    static void tile_##r##x##c##_1(const tile *a) { any_tile(a, r, c, 1); }                                            \
    static void tile_##r##x##c##_2(const tile *a) { any_tile(a, r, c, 2); }
EACH_TILE(DEFINE)
#undef DEFINE
#define ENTRY(r, c) [r][c] = {tile_##r##x##c##_1, tile_##r##x##c##_2},
static tile_function *const any_tiles[MAX_ROWS + 1][MAX_COLUMNS + 1][2] = {EACH_TILE(ENTRY)};
#undef ENTRY

#ifdef WEIGHTS_IN_REGISTERS
#define DEFINE(r, c) static void tile_##r##x##c##_3x3(const tile *a) { tile_3x3(a, r, c); }
EACH_TILE(DEFINE)
#undef DEFINE
#define ENTRY(r, c) [r][c] = tile_##r##x##c##_3x3,
static tile_function *const tiles_3x3[MAX_ROWS + 1][MAX_COLUMNS + 1] = {EACH_TILE(ENTRY)};
#undef ENTRY
#endif

static tile_function *tile_for(const convolution *p, int64_t rows, int64_t columns)
{
#ifdef WEIGHTS_IN_REGISTERS
    if (p->kernel_height == 3 && p->kernel_width == 3 && p->stride_height == 1 && p->stride_width == 1 &&
        p->dilation_height == 1 && p->dilation_width == 1)
        return tiles_3x3[rows][columns];
#endif
    return any_tiles[rows][columns][p->stride_width - 1];
}
