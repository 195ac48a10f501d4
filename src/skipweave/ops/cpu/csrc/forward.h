/* Forward pass of the convolution. */
#pragma once
#include "plans.h"
#include "strips.h"
#include "team.h"

typedef struct {
    const convolution *p;
    const links *l;
    const plan *q;
    const float *x, *bias;
    float *y;
    int64_t output_parts;
    int stream; /* whether planes are copied, then stored non-temporally */
} forward_job;

static void forward_output(const forward_job *job, const windows *in, const int64_t *tap, const float *packed,
                           int64_t output, float *out, int64_t height, int64_t width)
{
    const convolution *p = job->p;
    tile a = {.channel = channel_size(in->rows, in->columns), .row = p->stride_height * in->columns * LANES, .tap = tap,
              .taps = p->kernel_height * p->kernel_width, .count = job->l->count[output],
              .source = job->l->source + job->l->first_source[output], .out_row = width * LANES};
    a.weight = job->l->weight + job->l->first_weight[output] * a.taps;
    a.bias = job->bias ? job->bias[output] : 0;
    const int64_t down = parts(height, job->q->tile_height), across = parts(width, job->q->tile_width);
    for (int64_t i = 0; i < down; i++)
        for (int64_t j = 0; j < across; j++) {
            const int64_t top = height * i / down, rows = height * (i + 1) / down - top;
            const int64_t left = width * j / across, columns = width * (j + 1) / across - left;
            a.packed = packed + top * a.row + left * p->stride_width * LANES;
            a.out = out + (top * width + left) * LANES;
            tile_for(p, rows, columns)(&a);
        }
}

typedef struct {
    float *packed, *out, *planes;
    int64_t *tap;
    windows in, made;
} forward_memory;

static forward_memory take_forward(const forward_job *job, room *memory)
{
    const convolution *p = job->p;
    const plan *q = job->q;
    forward_memory m;
    m.packed = take(memory, p->in_channels * channel_size(q->packed_height, q->packed_width), sizeof(float));
    m.out = take(memory, (q->region_height * q->region_width + 3) * LANES, sizeof(float));
    m.planes = take(memory, job->stream ? q->cells.images * p->out_height * p->out_width : 0, sizeof(float));
    m.tap = take(memory, p->kernel_height * p->kernel_width, sizeof(int64_t));
    m.in.tables = take_tables(q->packed_height, q->packed_width, memory);
    m.made.tables = take_tables(q->region_height, q->region_width, memory);
    return m;
}

static void forward_slot(void *data, room memory, int64_t slot, int64_t slots)
{
    const forward_job *job = data;
    const convolution *p = job->p;
    const plan *q = job->q;
    forward_memory m = take_forward(job, &memory);
    for (int64_t task = slot; task < q->tasks * job->output_parts; task += slots) {
        const region r = region_of(q, task / job->output_parts);
        const int64_t part = task % job->output_parts;
        look_at_input(&m.in, p, q, &r);
        look_at_output(&m.made, p, q, &r, job->stream);
        place_taps(p, m.in.columns, m.tap);
        pack_input(p, &m.in, job->x, m.packed);
        const int64_t images = smaller(q->cells.images, p->batch - r.image);
        const int64_t end = p->out_channels * (part + 1) / job->output_parts;
        for (int64_t output = p->out_channels * part / job->output_parts; output < end; output++) {
            float *plane = job->y + output * m.made.plane;
            if (!job->stream) fetch(&m.made, plane);
            forward_output(job, &m.in, m.tap, m.packed, output, m.out, r.height, r.width);
            unpack(&m.made, m.out, job->stream ? m.planes : plane);
            for (int64_t n = 0; n < images && job->stream; n++)
                stream_plane(m.planes + n * m.made.plane, m.made.plane,
                             plane + (r.image + n) * p->out_channels * m.made.plane);
        }
    }
}

static int forward(const convolution *p, const links *l, const float *x, const float *bias, float *y)
{
    if (is_strip(p)) return strip_forward(p, l, x, bias, y);
    const plan q = best_plan(p, mean_links(p, l));
    const int stream = q.regions_down * q.regions_across == 1 && streams(p, y);
    forward_job job = {p, l, &q, x, bias, y, smaller(parts(p->workers.threads, q.tasks), p->out_channels), stream};
    room memory = {NULL, 0};
    take_forward(&job, &memory);
    return share(p->workers, smaller(p->workers.threads, q.tasks * job.output_parts), memory.size, forward_slot, &job);
}
