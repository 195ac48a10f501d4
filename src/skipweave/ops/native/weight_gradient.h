/* The gradient of the weights. */
#pragma once
#include "plans.h"
#include "strips.h"
#include "team.h"

/* Eight sums of products of one map with eight others. */
static void products(const float *gradient, const float *const input[8], int64_t height, int64_t width, int64_t row,
                     int64_t step, float sums[8])
{
    vec sum[8];
    UNROLL for (int i = 0; i < 8; i++) sum[i] = splat(0);
    for (int64_t y = 0; y < height; y++) {
        int64_t at = y * row;
        for (int64_t x = 0; x < width; x++, at += step, gradient += LANES) {
            const vec g = *(const vec *)gradient;
            UNROLL for (int i = 0; i < 8; i++) sum[i] += g * *(const vec *)(input[i] + at);
        }
    }
    sums_of(sum, sums);
}

/* Add the products of an output's packed gradient with the packed inputs that it reads, tap by tap. */
static void add_products(const convolution *p, const links *l, int64_t output, const float *gradient, int64_t height,
                         int64_t width, const float *packed, int64_t channel, int64_t row, const int64_t *tap,
                         float *sums)
{
    const int64_t taps = p->kernel_height * p->kernel_width, total = l->count[output] * taps;
    const int32_t *source = l->source + l->first_source[output];
    sums += l->first_weight[output] * taps;
    for (int64_t first = 0, link = 0, t = 0; first < total; first += 8) {
        const float *input[8];
        float made[8];
        const int64_t count = smaller(total - first, 8);
        for (int64_t i = 0; i < 8; i++) {
            input[i] = i < count ? packed + source[link] * channel + tap[t] : input[0];
            if (i < count && ++t == taps) t = 0, link++;
        }
        products(gradient, input, height, width, row, p->stride_width * LANES, made);
        for (int64_t i = 0; i < count; i++) sums[first + i] += made[i];
    }
}

typedef struct {
    const convolution *p;
    const links *l;
    const plan *q;
    const float *x, *gy;
    float *sums; /* of each slot, one after the other */
    int64_t size;
} gradient_job;

static int gradient_slot(void *data, int64_t slot, int64_t slots)
{
    const gradient_job *job = data;
    const convolution *p = job->p;
    const plan *q = job->q;
    const int64_t taps = p->kernel_height * p->kernel_width;
    const size_t in_size = (size_t)(p->in_channels * channel_size(q->packed_height, q->packed_width));
    const size_t out_size = (size_t)(q->region_height * q->region_width * LANES);
    float *packed = scratch((in_size + out_size) * sizeof(float) + (size_t)taps * sizeof(int64_t));
    if (!packed) return NO_MEMORY;
    float *out = packed + in_size, *sums = job->sums + slot * job->size;
    int64_t *tap = (int64_t *)(out + out_size);
    memset(sums, 0, (size_t)job->size * sizeof(float));
    for (int64_t task = slot; task < q->tasks; task += slots) {
        const region r = region_of(q, task);
        windows in, made;
        look_at_input(&in, p, q, &r);
        look_at_output(&made, p, q, &r, 0);
        place_taps(p, in.columns, tap);
        pack_input(p, &in, job->x, packed);
        for (int64_t output = 0; output < p->out_channels; output++) {
            pack(&made, job->gy + output * made.plane, out);
            add_products(p, job->l, output, out, r.height, r.width, packed, channel_size(in.rows, in.columns),
                         p->stride_height * in.columns * LANES, tap, sums);
        }
    }
    return DONE;
}

static int strip_gradient_slot(void *data, int64_t slot, int64_t slots)
{
    const gradient_job *job = data;
    const convolution *p = job->p;
    const strip s = strip_plan(p, mean_links(p, job->l));
    const int64_t width = s.width * LANES, slice = p->in_channels * width, tap = 0;
    float *packed = scratch((size_t)(s.slices * (slice + width)) * sizeof(float));
    if (!packed) return NO_MEMORY;
    float *out = packed + s.slices * slice, *sums = job->sums + slot * job->size;
    memset(sums, 0, (size_t)job->size * sizeof(float));
    for (int64_t task = slot; task < s.tasks; task += slots) {
        const int64_t first = task * s.slices * s.width, slices = smaller(s.slices, parts(s.vectors - first, s.width));
        places at;
        find(&at, p, &s, first, slices * s.width);
        for (int64_t c = 0; c < p->in_channels; c++)
            strip_pack(&s, &at, at.in, job->x + c * s.plane, p->in_channels * s.plane, p->batch, 0, slices, slice,
                       packed + c * width);
        for (int64_t output = 0; output < p->out_channels; output++) {
            strip_pack(&s, &at, at.out, job->gy + output * s.plane, p->out_channels * s.plane, p->batch, 0, slices, width, out);
            add_products(p, job->l, output, out, slices, s.width, packed, width, slice, &tap, sums);
        }
    }
    return DONE;
}

static int weight_gradient(const convolution *p, const links *l, const float *x, const float *gy, float *gradient)
{
    const int strip = is_strip(p);
    const plan q = best_plan(p, mean_links(p, l));
    const int64_t tasks = strip ? strip_plan(p, mean_links(p, l)).tasks : q.tasks, slots = smaller(p->workers.threads, tasks);
    int64_t size = 0;
    for (int64_t o = 0; o < p->out_channels; o++) size += l->count[o];
    size *= p->kernel_height * p->kernel_width;
    float *sums = slots > 1 ? malloc((size_t)(slots * size) * sizeof(float)) : gradient;
    if (!sums) return NO_MEMORY;
    gradient_job job = {p, l, &q, x, gy, sums, size};
    const int failed = share(p->workers, slots, strip ? strip_gradient_slot : gradient_slot, &job);
    if (slots > 1) {
        memcpy(gradient, sums, (size_t)size * sizeof(float));
        for (int64_t i = size; i < slots * size; i++) gradient[i % size] += sums[i];
        free(sums);
    }
    return failed;
}
