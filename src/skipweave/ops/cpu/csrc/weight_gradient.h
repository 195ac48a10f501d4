/* Gradient of the weights. */
#pragma once
#include "plans.h"
#include "strips.h"
#include "team.h"

/* Dot products of one map with eight others. */
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

/* Accumulate the products of an output's packed gradient with its packed inputs, for each tap. */
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
    const strip *s;
    const float *x, *gy;
    float *sums; /* consecutive, per slot */
    int64_t size;
} gradient_job;

typedef struct {
    float *packed, *out;
    int64_t *tap;
    windows in, made;
} gradient_memory;

static gradient_memory take_gradient(const convolution *p, const plan *q, room *memory)
{
    gradient_memory m;
    m.packed = take(memory, p->in_channels * channel_size(q->packed_height, q->packed_width), sizeof(float));
    m.out = take(memory, q->region_height * q->region_width * LANES, sizeof(float));
    m.tap = take(memory, p->kernel_height * p->kernel_width, sizeof(int64_t));
    m.in.tables = take_tables(q->packed_height, q->packed_width, memory);
    m.made.tables = take_tables(q->region_height, q->region_width, memory);
    return m;
}

static void gradient_slot(void *data, room memory, int64_t slot, int64_t slots)
{
    const gradient_job *job = data;
    const convolution *p = job->p;
    const plan *q = job->q;
    gradient_memory m = take_gradient(p, q, &memory);
    float *sums = job->sums + slot * job->size;
    memset(sums, 0, (size_t)job->size * sizeof(float));
    for (int64_t task = slot; task < q->tasks; task += slots) {
        const region r = region_of(q, task);
        look_at_input(&m.in, p, q, &r);
        look_at_output(&m.made, p, q, &r, 0);
        place_taps(p, m.in.columns, m.tap);
        pack_input(p, &m.in, job->x, m.packed);
        for (int64_t output = 0; output < p->out_channels; output++) {
            pack(&m.made, job->gy + output * m.made.plane, m.out);
            add_products(p, job->l, output, m.out, r.height, r.width, m.packed, channel_size(m.in.rows, m.in.columns),
                         p->stride_height * m.in.columns * LANES, m.tap, sums);
        }
    }
}

static void strip_gradient_slot(void *data, room memory, int64_t slot, int64_t slots)
{
    const gradient_job *job = data;
    const convolution *p = job->p;
    const strip *s = job->s;
    const int64_t width = s->width * LANES, slice = p->in_channels * width, tap = 0;
    float *packed = take(&memory, s->slices * (slice + width), sizeof(float));
    float *out = packed + s->slices * slice, *sums = job->sums + slot * job->size;
    memset(sums, 0, (size_t)job->size * sizeof(float));
    for (int64_t task = slot; task < s->tasks; task += slots) {
        const int64_t first = task * s->slices * s->width;
        const int64_t slices = smaller(s->slices, parts(s->vectors - first, s->width));
        places at;
        find(&at, p, s, first, slices * s->width);
        for (int64_t c = 0; c < p->in_channels; c++)
            strip_pack(s, &at, at.in, job->x + c * s->plane, p->in_channels * s->plane, p->batch, 0, slices, slice,
                       packed + c * width);
        for (int64_t output = 0; output < p->out_channels; output++) {
            strip_pack(s, &at, at.out, job->gy + output * s->plane, p->out_channels * s->plane, p->batch, 0, slices,
                       width, out);
            add_products(p, job->l, output, out, slices, s->width, packed, width, slice, &tap, sums);
        }
    }
}

static int weight_gradient(const convolution *p, const links *l, const float *x, const float *gy, float *gradient)
{
    const int pointwise = is_strip(p);
    const plan q = best_plan(p, mean_links(p, l));
    const strip s = strip_plan(p, mean_links(p, l));
    const int64_t slots = smaller(p->workers.threads, pointwise ? s.tasks : q.tasks);
    int64_t size = 0;
    for (int64_t o = 0; o < p->out_channels; o++) size += l->count[o];
    size *= p->kernel_height * p->kernel_width;
    float *sums = slots > 1 ? malloc((size_t)(slots * size) * sizeof(float)) : gradient;
    if (!sums) return NO_MEMORY;
    gradient_job job = {p, l, &q, &s, x, gy, sums, size};
    room memory = {NULL, 0};
    if (pointwise)
        take(&memory, s.slices * s.width * LANES * (p->in_channels + 1), sizeof(float));
    else
        take_gradient(p, &q, &memory);
    const int failed = share(p->workers, slots, memory.size, pointwise ? strip_gradient_slot : gradient_slot, &job);
    if (slots > 1) {
        memcpy(gradient, sums, (size_t)size * sizeof(float));
        for (int64_t i = size; i < slots * size; i++) gradient[i % size] += sums[i];
        free(sums);
    }
    return failed;
}
