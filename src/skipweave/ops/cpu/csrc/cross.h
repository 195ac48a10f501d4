/* Weighted sums of nodes, with one weight per channel and node, and their gradients. Every node is read once, tile by
 * tile; the sum of a tile, or its gradient, stays in the cache. */
#pragma once
#include "read_pixels.h"

#define TILE 4096 /* floats of one map */
#define AHEAD 512 /* prefetch distance in floats of memory to be written */
#define ROWS 4    /* pixels per step */

/* ---- contiguous: threads share the channels ---------------------------------------------------------------------- */

/* A tile: of one image the channels first to last - 1, with `many` pixels each from pixel `at`. */
typedef struct {
    int64_t n, first, last, at, many;
} plane_tile;

INLINE int64_t tile_channels(const reading *r) { return larger(1, TILE / larger(1, r->pixels)); }

/* Number of tiles of the channels begin to end - 1. */
static int64_t plane_tiles(const reading *r, int64_t begin, int64_t end)
{
    return r->batch * parts(end - begin, tile_channels(r)) * parts(r->pixels, TILE);
}

/* Tile i, in the order of memory. */
static plane_tile plane_tile_of(const reading *r, int64_t begin, int64_t end, int64_t i)
{
    const int64_t across = parts(r->pixels, TILE), down = parts(end - begin, tile_channels(r));
    const int64_t first = begin + i / across % down * tile_channels(r), at = i % across * TILE;
    const int64_t last = smaller(end, first + tile_channels(r));
    return (plane_tile){i / across / down, first, last, at, smaller(TILE, r->pixels - at)};
}

INLINE const float *node_plane(const reading *r, int64_t k, int64_t n, int64_t c, int64_t at)
{
    return r->node[k] + n * r->image[k] + c * r->pixels + at;
}

INLINE void add_scaled(const float *restrict x, float weight, int64_t many, float *restrict sum)
{
    for (int64_t i = 0; i < many; i++) sum[i] += weight * x[i];
}

static void cross_planes_slot(void *data, room memory, int64_t slot, int64_t slots)
{
    const read_job *job = data;
    const reading *r = job->r;
    const int64_t begin = r->channels * slot / slots, end = r->channels * (slot + 1) / slots;
    for (int64_t i = 0, tiles = plane_tiles(r, begin, end); i < tiles; i++) {
        const plane_tile t = plane_tile_of(r, begin, end, i);
        float *sum = job->activated + t.n * r->channels * r->pixels + t.at;
        for (int64_t c = t.first; c < t.last; c++)
            for (int64_t p = 0; p < t.many; p++) sum[c * r->pixels + p] = r->bias[c];
        for (int64_t k = 0; k < r->count; k++)
            for (int64_t c = t.first; c < t.last; c++)
                add_scaled(node_plane(r, k, t.n, c, t.at), r->gain[k * r->channels + c], t.many, sum + c * r->pixels);
    }
}

/* Write the gradient of x, if needed; return that of its weight, as partial sums in the lanes. */
INLINE vec cross_plane_gradients(const float *x, const float *gradient, float weight, int64_t many, float *by_x)
{
    const vec weights = splat(weight);
    vec by_weight = splat(0);
    float rest = 0;
    int64_t i = 0;
    for (; i + LANES <= many; i += LANES) {
        const vec g = (vec) * (const loose *)(gradient + i);
        by_weight += g * (vec) * (const loose *)(x + i);
        if (by_x) {
            __builtin_prefetch(by_x + i + AHEAD, 1);
            *(loose *)(by_x + i) = (loose)(g * weights);
        }
    }
    for (; i < many; i++) {
        rest += gradient[i] * x[i];
        if (by_x) by_x[i] = gradient[i] * weight;
    }
    by_weight[0] += rest;
    return by_weight;
}

/* The same for all channels of a tile of node k. */
static void cross_tile_gradients(const reading *r, int64_t k, plane_tile t, const float *gradient, float *by_node,
                                 double *sums)
{
    for (int64_t first = t.first; first < t.last; first += 8) {
        const int64_t channels = smaller(8, t.last - first);
        vec parts_of[8];
        float by_weight[8];
        for (int64_t j = 0; j < 8; j++) {
            const int64_t c = first + j, plane = c * r->pixels;
            parts_of[j] = j < channels ? cross_plane_gradients(node_plane(r, k, t.n, c, t.at), gradient + plane,
                                                               r->gain[k * r->channels + c], t.many,
                                                               by_node ? by_node + plane : NULL)
                                       : splat(0);
        }
        sums_of(parts_of, by_weight);
        for (int64_t j = 0; j < channels; j++) sums[k * r->channels + first + j] += by_weight[j];
    }
}

static double plane_sum(const float *x, int64_t many)
{
    vec some = splat(0);
    double sum = 0;
    int64_t i = 0;
    for (; i + LANES <= many; i += LANES) some += (vec) * (const loose *)(x + i);
    for (int lane = 0; lane < LANES; lane++) sum += ((loose)some)[lane];
    for (; i < many; i++) sum += x[i];
    return sum;
}

static void cross_planes_gradients_slot(void *data, room memory, int64_t slot, int64_t slots)
{
    const pixel_gradients_job *job = data;
    const reading *r = job->of.r;
    const int64_t begin = r->channels * slot / slots, end = r->channels * (slot + 1) / slots;
    double *by_bias = job->sums + r->count * r->channels;
    for (int64_t i = 0, tiles = plane_tiles(r, begin, end); i < tiles; i++) {
        const plane_tile t = plane_tile_of(r, begin, end, i);
        const int64_t image = t.n * r->channels * r->pixels + t.at;
        const float *gradient = job->of.gradient + image;
        for (int64_t c = t.first; c < t.last; c++) by_bias[c] += plane_sum(gradient + c * r->pixels, t.many);
        for (int64_t k = 0; k < r->count; k++)
            cross_tile_gradients(r, k, t, gradient, job->of.by_node[k] ? job->of.by_node[k] + image : NULL, job->sums);
    }
}

/* ---- channels-last: threads share the pixels --------------------------------------------------------------------- */

/* Number of pixels of the tile that starts at pixel `at`: within one image, and before `end`. */
INLINE int64_t tile_pixels(const reading *r, int64_t at, int64_t end)
{
    const int64_t most = smaller(larger(1, TILE / larger(1, r->channels)), AT_ONCE), of_image = r->pixels - at % r->pixels;
    return smaller(most, smaller(of_image, end - at));
}

INLINE const float *node_pixel(const reading *r, int64_t k, int64_t at)
{
    return r->node[k] + at / r->pixels * r->image[k] + at % r->pixels * r->step[k];
}

static void cross_pixels_slot(void *data, room memory, int64_t slot, int64_t slots)
{
    const read_job *job = data;
    const reading *r = job->r;
    const int64_t all = r->batch * r->pixels, end = all * (slot + 1) / slots;
    for (int64_t at = all * slot / slots, many; at < end; at += many) {
        many = tile_pixels(r, at, end);
        float *sum = job->activated + at * r->channels;
        for (int64_t i = 0; i < many; i++) memcpy(sum + i * r->channels, r->bias, (size_t)r->channels * sizeof(float));
        for (int64_t k = 0; k < r->count; k++) {
            const float *x = node_pixel(r, k, at), *restrict weight = r->gain + k * r->channels;
            for (int64_t i = 0; i < many; i++) {
                const float *restrict from = x + i * r->step[k];
                float *restrict to = sum + i * r->channels;
                for (int64_t c = 0; c < r->channels; c++) to[c] += weight[c] * from[c];
            }
        }
    }
}

/* Gradients of some pixels: of x, `by_step` floats apart, and of the weights, added to the sums. */
INLINE void cross_pixel_gradients(int pixels, const float *x, int64_t step, const float *gradient, const float *weight,
                                  int64_t channels, float *by_x, int64_t by_step, float *by_weight)
{
    int64_t c = 0;
    for (; c + LANES <= channels; c += LANES) {
        const vec w = (vec) * (const loose *)(weight + c);
        vec sum = (vec) * (loose *)(by_weight + c);
        UNROLL for (int i = 0; i < pixels; i++)
        {
            const vec g = (vec) * (const loose *)(gradient + i * channels + c);
            sum += g * (vec) * (const loose *)(x + i * step + c);
            __builtin_prefetch(by_x + (i + ROWS) * by_step + c, 1);
            *(loose *)(by_x + i * by_step + c) = (loose)(g * w);
        }
        *(loose *)(by_weight + c) = (loose)sum;
    }
    for (; c < channels; c++)
        for (int i = 0; i < pixels; i++) {
            by_weight[c] += gradient[i * channels + c] * x[i * step + c];
            by_x[i * by_step + c] = gradient[i * channels + c] * weight[c];
        }
}

static void cross_pixels_gradients_slot(void *data, room memory, int64_t slot, int64_t slots)
{
    const pixel_gradients_job *job = data;
    const reading *r = job->of.r;
    const int64_t all = r->batch * r->pixels, end = all * (slot + 1) / slots, channels = r->channels;
    double *sums = job->sums + slot * (r->count + 1) * channels, *by_bias = sums + r->count * channels;
    float *some = take(&memory, 2 * channels, sizeof(float)), *unwanted = some + channels;
    for (int64_t at = all * slot / slots, many; at < end; at += many) {
        many = tile_pixels(r, at, end);
        const float *gradient = job->of.gradient + at * channels;
        for (int64_t k = 0; k < r->count; k++) {
            const float *x = node_pixel(r, k, at), *weight = r->gain + k * channels;
            const int64_t by_step = job->of.by_node[k] ? channels : 0;
            float *by_node = job->of.by_node[k] ? job->of.by_node[k] + at * channels : unwanted;
            int64_t i = 0;
            memset(some, 0, (size_t)channels * sizeof(float));
            for (; i + ROWS <= many; i += ROWS)
                cross_pixel_gradients(ROWS, x + i * r->step[k], r->step[k], gradient + i * channels, weight, channels,
                                      by_node + i * by_step, by_step, some);
            for (; i < many; i++)
                cross_pixel_gradients(1, x + i * r->step[k], r->step[k], gradient + i * channels, weight, channels,
                                      by_node + i * by_step, by_step, some);
            for (int64_t c = 0; c < channels; c++) sums[k * channels + c] += some[c];
        }
        memset(some, 0, (size_t)channels * sizeof(float));
        for (int64_t i = 0; i < many; i++)
            for (int64_t c = 0; c < channels; c++) some[c] += gradient[i * channels + c];
        for (int64_t c = 0; c < channels; c++) by_bias[c] += some[c];
    }
}

/* ---- either memory format ---------------------------------------------------------------------------------------- */

static void cross(const reading *r, float *sum)
{
    read_job job = {r, sum};
    if (r->planes)
        share(r->workers, slots_of(r, r->channels), 0, cross_planes_slot, &job);
    else
        share(r->workers, slots_of(r, r->batch * r->pixels), 0, cross_pixels_slot, &job);
}

/* Threads that share the channels write to disjoint parts of the sums; those that share the pixels have sums each. */
static int cross_gradients(const reading *r, const float *gradient, float *const *by_node, float *by_weight,
                           float *by_bias)
{
    const int64_t slots = slots_of(r, r->planes ? r->channels : r->batch * r->pixels);
    const int64_t size = (r->count + 1) * r->channels, copies = r->planes ? 1 : slots;
    pixel_gradients_job job = {{r, gradient, by_node, by_weight, by_bias},
                               calloc((size_t)(copies * size), sizeof(double))};
    if (!job.sums) return NO_MEMORY;
    room memory = {NULL, 0};
    take(&memory, r->planes ? 0 : 2 * r->channels, sizeof(float));
    const int failed = share(r->workers, slots, memory.size,
                             r->planes ? cross_planes_gradients_slot : cross_pixels_gradients_slot, &job);
    for (int64_t i = 0; i < size; i++) {
        double sum = 0;
        for (int64_t copy = 0; copy < copies; copy++) sum += job.sums[copy * size + i];
        *(i < r->count * r->channels ? by_weight + i : by_bias + i - r->count * r->channels) = (float)sum;
    }
    free(job.sums);
    return failed;
}
