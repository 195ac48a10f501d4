/* Reading of channels-last nodes: as in read_planes.h; threads share the pixels. */
#pragma once
#include "read_planes.h"

#define AT_ONCE 32   /* pixels of a tile, processed while in the cache */
#define IN_FLOAT 128 /* pixels accumulated in single precision */

/* Some pixels of one image, at most AT_ONCE, and before `end`. */
typedef struct {
    int64_t n, pixel, many;
} pixel_tile;

INLINE pixel_tile pixel_tile_at(const reading *r, int64_t at, int64_t end)
{
    const int64_t n = at / r->pixels, pixel = at % r->pixels;
    return (pixel_tile){n, pixel, smaller(AT_ONCE, smaller(r->pixels - pixel, end - at))};
}

INLINE const element *node_at(const reading *r, int64_t k, pixel_tile t)
{
    return node_of(r, k) + t.n * r->image[k] + t.pixel * r->step[k];
}

/* ---- forward --------------------------------------------------------------------------------------------------- */

/* Read n channels, at most `vectors` times LANES, of the pixels of a tile; `step` and `channels` apart. */
INLINE void read_channels(int vectors, int64_t n, const element *x, int64_t step, const float *scale, const float *bias,
                          int64_t many, element *y, int64_t channels)
{
    vec scales[2], biases[2];
    for (int v = 0; v < vectors; v++)
        scales[v] = floats(scale + v * LANES, n - v * LANES), biases[v] = floats(bias + v * LANES, n - v * LANES);
    for (int64_t i = 0; i < many; i++, x += step, y += channels) {
        __builtin_prefetch(x + AT_ONCE * step); /* of the next tile */
        __builtin_prefetch(y + AT_ONCE * channels, 1);
        UNROLL for (int v = 0; v < vectors; v++)
        {
            const vec before = load(x + v * LANES, n - v * LANES) * scales[v] + biases[v];
            store(y + v * LANES, let_through(before, before), n - v * LANES);
        }
    }
}

static void read_pixels_slot(void *data, room memory, int64_t slot, int64_t slots)
{
    const read_job *job = data;
    const reading *r = job->r;
    const int64_t all = r->batch * r->pixels, end = all * (slot + 1) / slots, channels = r->channels;
    pixel_tile t;
    for (int64_t at = all * slot / slots; at < end; at += t.many) {
        t = pixel_tile_at(r, at, end);
        for (int64_t k = 0, first = 0; k < r->count; first += r->width[k++]) {
            const element *x = node_at(r, k, t);
            const float *scale = r->scale + first, *bias = r->bias + first;
            element *y = job->activated + at * channels + first;
            int64_t n = r->width[k];
            for (; n >= 2 * LANES; n -= 2 * LANES, x += 2 * LANES, scale += 2 * LANES, bias += 2 * LANES, y += 2 * LANES)
                read_channels(2, 2 * LANES, x, r->step[k], scale, bias, t.many, y, channels);
            if (n > LANES)
                read_channels(2, n, x, r->step[k], scale, bias, t.many, y, channels);
            else if (n)
                read_channels(1, n, x, r->step[k], scale, bias, t.many, y, channels);
        }
    }
}

/* ---- gradients ------------------------------------------------------------------------------------------------- */

/* Gradients of n channels, at most `vectors` times LANES, of the pixels of a tile: of x, if needed, and of scale and bias,
 * added to the sums. */
INLINE void channel_gradients(int vectors, int64_t n, const element *x, int64_t step, const element *gradient,
                              int64_t channels, const float *scale, const float *bias, int64_t many, element *by_x,
                              int64_t by_step, float *by_scale, float *by_bias)
{
    vec scales[2], biases[2], scale_sums[2], bias_sums[2];
    for (int v = 0; v < vectors; v++) {
        const int64_t c = v * LANES;
        scales[v] = floats(scale + c, n - c), biases[v] = floats(bias + c, n - c);
        scale_sums[v] = floats(by_scale + c, n - c), bias_sums[v] = floats(by_bias + c, n - c);
    }
    for (int64_t i = 0; i < many; i++, x += step, gradient += channels) {
        __builtin_prefetch(x + AT_ONCE * step); /* of the next tile */
        __builtin_prefetch(gradient + AT_ONCE * channels);
        if (by_x) __builtin_prefetch(by_x + (i + AT_ONCE) * by_step, 1);
        UNROLL for (int v = 0; v < vectors; v++)
        {
            const int64_t c = v * LANES;
            const vec at = load(x + c, n - c), g = let_through(at * scales[v] + biases[v], load(gradient + c, n - c));
            scale_sums[v] += g * at;
            bias_sums[v] += g;
            if (by_x) store(by_x + i * by_step + c, g * scales[v], n - c);
        }
    }
    for (int v = 0; v < vectors; v++) {
        store_floats(by_scale + v * LANES, scale_sums[v], n - v * LANES);
        store_floats(by_bias + v * LANES, bias_sums[v], n - v * LANES);
    }
}

/* Gradients of a tile, of which the first pixel is `at` of all; those of scale and bias, (2, channels), are added. */
static void tile_gradients(const read_gradients_job *of, pixel_tile t, int64_t at, float *sums)
{
    const reading *r = of->r;
    for (int64_t k = 0, first = 0; k < r->count; first += r->width[k++]) {
        const element *x = node_at(r, k, t), *gradient = of->gradient + at * r->channels + first;
        element *by_x = of->by_node[k] ? (element *)of->by_node[k] + at * r->width[k] : NULL;
        for (int64_t c = 0; c < r->width[k]; c += 2 * LANES) {
            const int64_t n = r->width[k] - c;
            const float *scale = r->scale + first + c, *bias = r->bias + first + c;
            float *by_scale = sums + first + c, *by_bias = by_scale + r->channels;
            element *to = by_x ? by_x + c : NULL;
            if (n >= 2 * LANES)
                channel_gradients(2, 2 * LANES, x + c, r->step[k], gradient + c, r->channels, scale, bias, t.many, to,
                                  r->width[k], by_scale, by_bias);
            else if (n > LANES)
                channel_gradients(2, n, x + c, r->step[k], gradient + c, r->channels, scale, bias, t.many, to,
                                  r->width[k], by_scale, by_bias);
            else
                channel_gradients(1, n, x + c, r->step[k], gradient + c, r->channels, scale, bias, t.many, to,
                                  r->width[k], by_scale, by_bias);
        }
    }
}

typedef struct {
    read_gradients_job of;
    double *sums; /* gradients of scale and bias, (2, channels) per slot */
} pixel_gradients_job;

static void pixel_gradients_slot(void *data, room memory, int64_t slot, int64_t slots)
{
    const pixel_gradients_job *job = data;
    const reading *r = job->of.r;
    const int64_t all = r->batch * r->pixels, end = all * (slot + 1) / slots, size = 2 * r->channels;
    double *sums = job->sums + slot * size;
    float *some = take(&memory, size, sizeof(float));
    for (int64_t at = all * slot / slots; at < end;) {
        memset(some, 0, (size_t)size * sizeof(float));
        for (const int64_t next = at + IN_FLOAT; at < smaller(next, end);) {
            const pixel_tile t = pixel_tile_at(r, at, smaller(next, end));
            tile_gradients(&job->of, t, at, some);
            at += t.many;
        }
        for (int64_t c = 0; c < size; c++) sums[c] += some[c];
    }
}

static int gradients_by_pixels(read_gradients_job of)
{
    const reading *r = of.r;
    const int64_t slots = slots_of(r, r->batch * r->pixels);
    pixel_gradients_job job = {of, calloc((size_t)(2 * slots * r->channels), sizeof(double))};
    if (!job.sums) return NO_MEMORY;
    room memory = {NULL, 0};
    take(&memory, 2 * r->channels, sizeof(float));
    const int failed = share(r->workers, slots, memory.size, pixel_gradients_slot, &job);
    for (int64_t c = 0; c < r->channels; c++) {
        double by_scale = 0, by_bias = 0;
        for (int64_t slot = 0; slot < slots; slot++) {
            by_scale += job.sums[2 * slot * r->channels + c];
            by_bias += job.sums[(2 * slot + 1) * r->channels + c];
        }
        of.by_scale[c] = (float)by_scale;
        of.by_bias[c] = (float)by_bias;
    }
    free(job.sums);
    return failed;
}
