/* Weighted sums of nodes, with one weight per channel and node, and their gradients. Every node is read once, tile by
 * tile; the sum of a tile, or its gradient, stays in the cache. */
#pragma once
#include "read_pixels.h"

#define TILE 4096 /* elements of one map */
#define AHEAD 4096 /* prefetch distance in bytes */
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

INLINE const element *node_plane(const reading *r, int64_t k, int64_t n, int64_t c, int64_t at)
{
    return node_of(r, k) + n * r->image[k] + c * r->pixels + at;
}

INLINE void add_scaled(const element *x, float weight, int64_t many, float *sum)
{
    const vec weights = splat(weight);
    for (int64_t i = 0; i < many; i += LANES) {
        const int64_t n = smaller(LANES, many - i);
        store_floats(sum + i, floats(sum + i, n) + weights * load(x + i, n), n);
    }
}

INLINE void write_sum(const float *sum, int64_t many, element *y)
{
    for (int64_t i = 0; i < many; i += LANES) {
        const int64_t n = smaller(LANES, many - i);
        store(y + i, floats(sum + i, n), n);
    }
}

/* Floats of the sum of a tile. */
INLINE int64_t tile_size(const reading *r) { return larger(TILE, r->channels); }

static void cross_planes_slot(void *data, room memory, int64_t slot, int64_t slots)
{
    const read_job *job = data;
    const reading *r = job->r;
    const int64_t begin = r->channels * slot / slots, end = r->channels * (slot + 1) / slots;
    float *sum = take(&memory, tile_size(r), sizeof(float));
    for (int64_t i = 0, tiles = plane_tiles(r, begin, end); i < tiles; i++) {
        const plane_tile t = plane_tile_of(r, begin, end, i);
        element *y = job->activated + t.n * r->channels * r->pixels + t.at;
        for (int64_t c = t.first; c < t.last; c++)
            for (int64_t p = 0; p < t.many; p++) sum[(c - t.first) * t.many + p] = r->bias[c];
        for (int64_t k = 0; k < r->count; k++)
            for (int64_t c = t.first; c < t.last; c++)
                add_scaled(node_plane(r, k, t.n, c, t.at), r->scale[k * r->channels + c], t.many,
                           sum + (c - t.first) * t.many);
        for (int64_t c = t.first; c < t.last; c++)
            write_sum(sum + (c - t.first) * t.many, t.many, y + c * r->pixels);
    }
}

/* Write the gradient of x, if needed; return that of its weight, as partial sums in the lanes. */
INLINE vec cross_plane_gradients(const element *x, const element *gradient, float weight, int64_t many, element *by_x)
{
    const vec weights = splat(weight);
    vec by_weight = splat(0);
    for (int64_t i = 0; i < many; i += LANES) {
        const int64_t n = smaller(LANES, many - i);
        const vec g = load(gradient + i, n);
        by_weight += g * load(x + i, n);
        if (by_x) {
            __builtin_prefetch((char *)(by_x + i) + AHEAD, 1);
            store(by_x + i, g * weights, n);
        }
    }
    return by_weight;
}

/* The same for all channels of a tile of node k. */
static void cross_tile_gradients(const reading *r, int64_t k, plane_tile t, const element *gradient, element *by_node,
                                 double *sums)
{
    for (int64_t first = t.first; first < t.last; first += 8) {
        const int64_t channels = smaller(8, t.last - first);
        vec parts_of[8];
        float by_weight[8];
        for (int64_t j = 0; j < 8; j++) {
            const int64_t c = first + j, plane = c * r->pixels;
            parts_of[j] = j < channels ? cross_plane_gradients(node_plane(r, k, t.n, c, t.at), gradient + plane,
                                                               r->scale[k * r->channels + c], t.many,
                                                               by_node ? by_node + plane : NULL)
                                       : splat(0);
        }
        sums_of(parts_of, by_weight);
        for (int64_t j = 0; j < channels; j++) sums[k * r->channels + first + j] += by_weight[j];
    }
}

static double plane_sum(const element *x, int64_t many)
{
    vec some = splat(0);
    double sum = 0;
    for (int64_t i = 0; i < many; i += LANES) some += load(x + i, smaller(LANES, many - i));
    for (int lane = 0; lane < LANES; lane++) sum += ((loose)some)[lane];
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
        const element *gradient = job->of.gradient + image;
        for (int64_t c = t.first; c < t.last; c++) by_bias[c] += plane_sum(gradient + c * r->pixels, t.many);
        for (int64_t k = 0; k < r->count; k++)
            cross_tile_gradients(r, k, t, gradient,
                                 job->of.by_node[k] ? (element *)job->of.by_node[k] + image : NULL, job->sums);
    }
}

/* ---- channels-last: threads share the pixels --------------------------------------------------------------------- */

/* Number of pixels of the tile that starts at pixel `at`: within one image, and before `end`. */
INLINE int64_t tile_pixels(const reading *r, int64_t at, int64_t end)
{
    const int64_t most = smaller(larger(1, TILE / larger(1, r->channels)), IN_FLOAT), of_image = r->pixels - at % r->pixels;
    return smaller(most, smaller(of_image, end - at));
}

INLINE const element *node_pixel(const reading *r, int64_t k, int64_t at)
{
    return node_of(r, k) + at / r->pixels * r->image[k] + at % r->pixels * r->step[k];
}

static void cross_pixels_slot(void *data, room memory, int64_t slot, int64_t slots)
{
    const read_job *job = data;
    const reading *r = job->r;
    const int64_t all = r->batch * r->pixels, end = all * (slot + 1) / slots;
    float *sum = take(&memory, tile_size(r), sizeof(float));
    for (int64_t at = all * slot / slots, many; at < end; at += many) {
        many = tile_pixels(r, at, end);
        for (int64_t i = 0; i < many; i++) memcpy(sum + i * r->channels, r->bias, (size_t)r->channels * sizeof(float));
        for (int64_t k = 0; k < r->count; k++) {
            const element *x = node_pixel(r, k, at);
            const float *weight = r->scale + k * r->channels;
            for (int64_t i = 0; i < many; i++) {
                const element *from = x + i * r->step[k];
                float *to = sum + i * r->channels;
                for (int64_t c = 0; c < r->channels; c += LANES) {
                    const int64_t n = smaller(LANES, r->channels - c);
                    __builtin_prefetch((const char *)(from + c) + AHEAD);
                    store_floats(to + c, floats(to + c, n) + floats(weight + c, n) * load(from + c, n), n);
                }
            }
        }
        write_sum(sum, many * r->channels, job->activated + at * r->channels);
    }
}

/* Gradients of some pixels: of x, `by_step` floats apart, and of the weights, added to the sums. */
INLINE void cross_pixel_gradients(int pixels, const element *x, int64_t step, const element *gradient,
                                  const float *weight, int64_t channels, element *by_x, int64_t by_step,
                                  float *by_weight)
{
    for (int64_t c = 0; c < channels; c += LANES) {
        const int64_t n = smaller(LANES, channels - c);
        const vec w = floats(weight + c, n);
        vec sum = floats(by_weight + c, n);
        UNROLL for (int i = 0; i < pixels; i++)
        {
            const vec g = load(gradient + i * channels + c, n);
            sum += g * load(x + i * step + c, n);
            __builtin_prefetch((char *)(by_x + i * by_step + c) + AHEAD, 1);
            __builtin_prefetch((const char *)(x + i * step + c) + AHEAD);
            store(by_x + i * by_step + c, g * w, n);
        }
        store_floats(by_weight + c, sum, n);
    }
}

static void cross_pixels_gradients_slot(void *data, room memory, int64_t slot, int64_t slots)
{
    const pixel_gradients_job *job = data;
    const reading *r = job->of.r;
    const int64_t all = r->batch * r->pixels, end = all * (slot + 1) / slots, channels = r->channels;
    double *sums = job->sums + slot * (r->count + 1) * channels, *by_bias = sums + r->count * channels;
    float *some = take(&memory, 2 * channels, sizeof(float));
    element *unwanted = (element *)(some + channels);
    for (int64_t at = all * slot / slots, many; at < end; at += many) {
        many = tile_pixels(r, at, end);
        const element *gradient = job->of.gradient + at * channels;
        for (int64_t k = 0; k < r->count; k++) {
            const element *x = node_pixel(r, k, at);
            const float *weight = r->scale + k * channels;
            const int64_t by_step = job->of.by_node[k] ? channels : 0;
            element *by_node = job->of.by_node[k] ? (element *)job->of.by_node[k] + at * channels : unwanted;
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
            add_scaled(gradient + i * channels, 1, channels, some);
        for (int64_t c = 0; c < channels; c++) by_bias[c] += some[c];
    }
}

/* ---- either memory format ---------------------------------------------------------------------------------------- */

static int cross(const reading *r, void *sum)
{
    read_job job = {r, sum};
    room memory = {NULL, 0};
    take(&memory, tile_size(r), sizeof(float));
    return share(r->workers, slots_of(r, r->planes ? r->channels : r->batch * r->pixels), memory.size,
                 r->planes ? cross_planes_slot : cross_pixels_slot, &job);
}

/* Threads that share the channels write to disjoint parts of the sums; those that share the pixels have sums each. */
static int cross_gradients(const reading *r, const void *gradient, void *const *by_node, float *by_weight,
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
