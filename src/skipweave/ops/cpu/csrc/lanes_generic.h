/* Vectors of four floats for any processor; the compiler maps them to its registers. */
#define LANES 4
#define ACCUMULATORS 12

typedef float vec __attribute__((vector_size(16)));
typedef float quad __attribute__((vector_size(16)));

INLINE quad quad_load(const float *p) { quad v; memcpy(&v, p, sizeof v); return v; }
INLINE void quad_store(float *p, quad v) { memcpy(p, &v, sizeof v); }
INLINE vec splat(float a) { return (vec){a, a, a, a}; }
INLINE void stream(float *p, vec v) { memcpy(p, &v, sizeof v); }
INLINE void streamed(void) {}

/* Elements first to last - 1 of four, for reach = 5 * first + last; zeros for the others, which are not accessed. */
INLINE quad quad_part(const float *p, int reach)
{
    quad v = {0, 0, 0, 0};
    for (int c = reach / 5; c < reach % 5; c++) v[c] = p[c];
    return v;
}
INLINE void quad_store_part(float *p, quad v, int reach)
{
    for (int c = reach / 5; c < reach % 5; c++) p[c] = v[c];
}

/* quads[lane] are four columns of each lane, columns[c] is one column of all lanes. */
INLINE void columns_of(const quad quads[LANES], vec columns[4])
{
    for (int c = 0; c < 4; c++)
        for (int lane = 0; lane < LANES; lane++) columns[c][lane] = quads[lane][c];
}
INLINE void quads_of(const vec columns[4], quad quads[LANES])
{
    for (int lane = 0; lane < LANES; lane++)
        for (int c = 0; c < 4; c++) quads[lane][c] = columns[c][lane];
}

INLINE void sums_of(const vec v[8], float sums[8])
{
    for (int i = 0; i < 8; i++) sums[i] = v[i][0] + v[i][1] + v[i][2] + v[i][3];
}
