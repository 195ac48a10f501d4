/* Reading of contiguous nodes: concatenation, scale, shift (`bias`) and ReLU, and their gradients. Threads share
 * the channels. */
#pragma once
#include "team.h"

#include ELEMENT_HEADER

typedef int32_t mask __attribute__((vector_size(LANES * sizeof(float)), may_alias));

/* `v` where scale * x + bias is positive or NaN, else 0: the gradient of ReLU. */
INLINE vec let_through(vec before, vec v)
{
    const mask zero = {0}, stopped = (mask)((loose)before <= (loose)zero);
    return (vec)((mask)v & ~stopped);
}

INLINE const element *node_of(const reading *r, int64_t k) { return r->node[k]; }

/* Number of slots such that each has enough elements for a thread. */
static int64_t slots_of(const reading *r, int64_t pieces)
{
    const int64_t worth_it = parts(r->batch * r->channels * r->pixels, 16384);
    return larger(1, smaller(smaller(r->workers.threads, worth_it), pieces));
}

/* ---- forward --------------------------------------------------------------------------------------------------- */

static void read_plane(const element *x, float scale, float bias, int64_t pixels, element *y)
{
    const vec scales = splat(scale), biases = splat(bias);
    for (int64_t i = 0; i < pixels; i += LANES) {
        const int64_t n = smaller(LANES, pixels - i);
        const vec before = load(x + i, n) * scales + biases;
        store(y + i, let_through(before, before), n);
    }
}

typedef struct {
    const reading *r;
    element *activated;
} read_job;

static void read_planes_slot(void *data, room memory, int64_t slot, int64_t slots)
{
    const read_job *job = data;
    const reading *r = job->r;
    const int64_t begin = r->channels * slot / slots, end = r->channels * (slot + 1) / slots;
    for (int64_t n = 0; n < r->batch; n++)
        for (int64_t k = 0, first = 0; k < r->count; first += r->width[k++])
            for (int64_t c = larger(begin, first); c < smaller(end, first + r->width[k]); c++)
                read_plane(node_of(r, k) + n * r->image[k] + (c - first) * r->pixels, r->scale[c], r->bias[c], r->pixels,
                           job->activated + (n * r->channels + c) * r->pixels);
}

/* ---- gradients ------------------------------------------------------------------------------------------------- */

/* Gradients of a plane: of x, if needed, and of scale and bias, added to `sums`. */
static void plane_gradients(const element *x, const element *gradient, float scale, float bias, int64_t pixels,
                            element *by_x, double sums[2])
{
    const vec scales = splat(scale), biases = splat(bias);
    vec by_scale = splat(0), by_bias = splat(0);
    for (int64_t i = 0; i < pixels; i += LANES) {
        const int64_t n = smaller(LANES, pixels - i);
        const vec v = load(x + i, n), g = let_through(v * scales + biases, load(gradient + i, n)); /* 0 beyond n */
        by_scale += g * v;
        by_bias += g;
        if (by_x) store(by_x + i, g * scales, n);
    }
    for (int lane = 0; lane < LANES; lane++) sums[0] += ((loose)by_scale)[lane], sums[1] += ((loose)by_bias)[lane];
}

typedef struct {
    const reading *r;
    const element *gradient;
    void *const *by_node; /* (batch, width, pixels) each, or NULL if not needed */
    float *by_scale, *by_bias;
} read_gradients_job;

static void plane_gradients_slot(void *data, room memory, int64_t slot, int64_t slots)
{
    const read_gradients_job *job = data;
    const reading *r = job->r;
    const int64_t begin = r->channels * slot / slots, end = r->channels * (slot + 1) / slots;
    for (int64_t k = 0, first = 0; k < r->count; first += r->width[k++])
        for (int64_t c = larger(begin, first); c < smaller(end, first + r->width[k]); c++) {
            double sums[2] = {0, 0};
            for (int64_t n = 0; n < r->batch; n++) {
                const int64_t plane = (n * r->width[k] + c - first) * r->pixels;
                plane_gradients(node_of(r, k) + n * r->image[k] + (c - first) * r->pixels,
                                job->gradient + (n * r->channels + c) * r->pixels, r->scale[c], r->bias[c], r->pixels,
                                job->by_node[k] ? (element *)job->by_node[k] + plane : NULL, sums);
            }
            job->by_scale[c] = (float)sums[0];
            job->by_bias[c] = (float)sums[1];
        }
}
