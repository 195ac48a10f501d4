/* 1x1 kernels: the pixels of all images form one strip, with neighboring pixels in a vector. A strip is divided into
 * slices; a task has as many as fit into the second-level cache. Channels that are read often are packed first, others
 * are read in place. */
#pragma once
#include "plans.h"
#include "team.h"

#define FEW 12    /* links of an output up to which wide slices are faster */
#define READ_OFTEN 16 /* number of readers from which an input is packed */
#define SLICES 16 /* maximum per task */
#define GROUP 4   /* outputs accumulated together */

static int is_strip(const convolution *p)
{
    return p->kernel_height * p->kernel_width * p->stride_height * p->stride_width * p->spread_height *
                   p->spread_width == 1 && p->padding_height == 0 && p->padding_width == 0 &&
           p->in_height == p->out_height && p->in_width == p->out_width;
}

typedef struct {
    int64_t plane, pixels;  /* per image; in total */
    int64_t width, slices;  /* vectors per slice; slices per task */
    int64_t vectors, tasks;
} strip;

static strip strip_plan(const convolution *p, double links_of_output)
{
    strip s = {.plane = p->out_height * p->out_width};
    s.pixels = p->batch * s.plane;
    s.vectors = parts(s.pixels, LANES);
    s.width = links_of_output < FEW ? 8 : 4;
    s.slices = CACHE / (p->in_channels * s.width * LANES * (int64_t)sizeof(float));
    s.slices = larger(1, smaller(smaller(s.slices, SLICES), parts(s.vectors, s.width)));
    s.tasks = parts(s.vectors, s.width * s.slices);
    return s;
}

/* Offsets of the vectors of a task, in floats from the first pixel of channel 0. */
typedef struct {
    int64_t in[8 * SLICES], out[8 * SLICES];
    int64_t image[8 * SLICES], place[8 * SLICES];
    int whole[8 * SLICES]; /* whether the vector is within one image */
} places;

static void find(places *at, const convolution *p, const strip *s, int64_t first, int64_t vectors)
{
    for (int64_t v = 0; v < vectors; v++) {
        const int64_t pixel = (first + v) * LANES;
        at->image[v] = pixel / s->plane;
        at->place[v] = pixel % s->plane;
        at->in[v] = at->image[v] * p->in_channels * s->plane + at->place[v];
        at->out[v] = at->image[v] * p->out_channels * s->plane + at->place[v];
        at->whole[v] = at->place[v] + LANES <= s->plane && pixel < s->pixels;
    }
}

/* Copy a vector that spans images from or to a channel of the map; `image` is the distance of images in floats. */
static void load_broken(const strip *s, const float *channel, int64_t image, int64_t n, int64_t place, int64_t batch,
                        float *to)
{
    for (int64_t i = 0; i < LANES; i++, place++) {
        if (place == s->plane) place = 0, n++;
        to[i] = n < batch ? channel[n * image + place] : 0;
    }
}
static void store_broken(const strip *s, const float *from, int64_t image, int64_t n, int64_t place, int64_t batch,
                         float *channel)
{
    for (int64_t i = 0; i < LANES; i++, place++) {
        if (place == s->plane) place = 0, n++;
        if (n < batch) channel[n * image + place] = from[i];
    }
}

/* One channel of slices first to end - 1 of a task, zeros after the last pixel; slices are `step` floats apart. */
static void strip_pack(const strip *s, const places *at, const int64_t *begin, const float *channel, int64_t image,
                       int64_t batch, int64_t first, int64_t end, int64_t step, float *packed)
{
    for (int64_t i = first, v = first * s->width; i < end; i++, packed += step)
        for (int64_t j = 0; j < s->width; j++, v++)
            if (at->whole[v]) {
                __builtin_prefetch(channel + begin[v] + 2 * s->plane);
                memcpy(packed + j * LANES, channel + begin[v], LANES * sizeof(float));
            } else
                load_broken(s, channel, image, at->image[v], at->place[v], batch, packed + j * LANES);
}

/* ---- forward --------------------------------------------------------------------------------------------------- */

typedef struct {
    const float *slice;           /* its first vector in channel 0 */
    int64_t channel;              /* distance of channels in floats */
    const int32_t *source[GROUP]; /* links of outputs accumulated together */
    const float *weight[GROUP];
    int64_t count[GROUP];
    float bias[GROUP];
    float *sum;                   /* (outputs, width, LANES) */
} bundle;

/* The sums of `outputs` outputs over `width` vectors. */
INLINE void add_links(const bundle *b, const int outputs, const int width)
{
    vec sum[ACCUMULATORS];
    int64_t common = b->count[0];
    UNROLL for (int o = 0; o < outputs; o++) {
        common = smaller(common, b->count[o]);
        UNROLL for (int v = 0; v < width; v++) sum[o * width + v] = splat(b->bias[o]);
    }
    for (int64_t link = 0; link < common; link++)
        UNROLL for (int o = 0; o < outputs; o++) {
            const float *x = b->slice + b->source[o][link] * b->channel;
            const vec weight = splat(b->weight[o][link]);
            UNROLL for (int v = 0; v < width; v++) sum[o * width + v] += weight * *(const loose *)(x + v * LANES);
        }
    UNROLL for (int o = 0; o < outputs; o++) {
        for (int64_t link = common; link < b->count[o]; link++) {
            const float *x = b->slice + b->source[o][link] * b->channel;
            const vec weight = splat(b->weight[o][link]);
            UNROLL for (int v = 0; v < width; v++) sum[o * width + v] += weight * *(const loose *)(x + v * LANES);
        }
        UNROLL for (int v = 0; v < width; v++) *(vec *)(b->sum + (o * width + v) * LANES) = sum[o * width + v];
    }
}

/* The same for any number of outputs up to GROUP. AVX2 has too few registers for several at once. */
static void add_bundle(const bundle *b, int64_t outputs, int64_t width)
{
#if ACCUMULATORS >= 4 * GROUP
    if (outputs == GROUP && width == 4) {
        add_links(b, GROUP, 4);
        return;
    }
#endif
    for (int64_t o = 0; o < outputs; o++) {
        const bundle one = {b->slice,      b->channel,   {b->source[o]}, {b->weight[o]},
                            {b->count[o]}, {b->bias[o]}, b->sum + o * width * LANES};
        if (width == 4) add_links(&one, 1, 4);
        else add_links(&one, 1, 8);
    }
}

typedef struct {
    const convolution *p;
    const links *l;
    const strip *s;
    const float *x, *bias;
    float *y;
    int stream; /* whether the output is stored non-temporally */
    int often;  /* whether inputs are packed */
    int64_t output_parts;
} strip_job;

/* Write the sums of an output to the vectors of the task from `vector`. */
static void strip_unpack(const strip_job *job, const places *at, int64_t output, int64_t vector, const float *sums)
{
    const int64_t plane = job->s->plane, image = job->p->out_channels * plane;
    float *channel = job->y + output * plane;
    for (int64_t v = vector; v < vector + job->s->width; v++, sums += LANES)
        if (!at->whole[v])
            store_broken(job->s, sums, image, at->image[v], at->place[v], job->p->batch, channel);
        else if (job->stream)
            stream(channel + at->out[v], *(const vec *)sums);
        else
            memcpy(channel + at->out[v], sums, LANES * sizeof(float));
}

static void strip_slice(const strip_job *job, const float *slice, int64_t channel, int64_t begin, int64_t end,
                        const places *at, int64_t vector)
{
    const links *l = job->l;
    _Alignas(sizeof(vec)) float sums[GROUP * 8 * LANES];
    for (int64_t first = begin; first < end; first += GROUP) {
        const int64_t outputs = smaller(GROUP, end - first);
        bundle b = {.slice = slice, .channel = channel, .sum = sums};
        for (int64_t i = 0; i < outputs; i++) {
            b.source[i] = l->source + l->first_source[first + i];
            b.weight[i] = l->weight + l->first_weight[first + i];
            b.count[i] = l->count[first + i];
            b.bias[i] = job->bias ? job->bias[first + i] : 0;
        }
        add_bundle(&b, outputs, job->s->width);
        for (int64_t i = 0; i < outputs; i++)
            strip_unpack(job, at, first + i, vector, sums + i * job->s->width * LANES);
    }
}

/* Whether a slice is within one image, so that its channels can be read in place. */
static int follows(const strip *s, const places *at, int64_t vector)
{
    int all = at->whole[vector];
    for (int64_t v = vector + 1; v < vector + s->width; v++)
        all &= at->whole[v] && at->image[v] == at->image[vector];
    return all;
}

static void strip_slot(void *data, room memory, int64_t slot, int64_t slots)
{
    const strip_job *job = data;
    const convolution *p = job->p;
    const strip *s = job->s;
    const int64_t slice = p->in_channels * s->width * LANES;
    float *packed = take(&memory, s->slices * slice, sizeof(float));
    for (int64_t task = slot; task < s->tasks * job->output_parts; task += slots) {
        const int64_t first = task / job->output_parts * s->slices * s->width, part = task % job->output_parts;
        const int64_t slices = smaller(s->slices, parts(s->vectors - first, s->width));
        places at;
        find(&at, p, s, first, slices * s->width);
        const int64_t begin = p->out_channels * part / job->output_parts;
        const int64_t end = p->out_channels * (part + 1) / job->output_parts;
        for (int64_t c = 0; c < p->in_channels && job->often; c++)
            strip_pack(s, &at, at.in, job->x + c * s->plane, p->in_channels * s->plane, p->batch, 0, slices, slice,
                       packed + c * s->width * LANES);
        for (int64_t i = 0; i < slices; i++) {
            const int64_t vector = i * s->width;
            if (!job->often && follows(s, &at, vector)) {
                strip_slice(job, job->x + at.in[vector], s->plane, begin, end, &at, vector);
                continue;
            }
            for (int64_t c = 0; c < p->in_channels && !job->often; c++)
                strip_pack(s, &at, at.in, job->x + c * s->plane, p->in_channels * s->plane, p->batch, i, i + 1, slice,
                           packed + i * slice + c * s->width * LANES);
            strip_slice(job, packed + i * slice, s->width * LANES, begin, end, &at, vector);
        }
    }
}

static int strip_forward(const convolution *p, const links *l, const float *x, const float *bias, float *y)
{
    const double of_output = mean_links(p, l), of_input = of_output * (double)p->out_channels / (double)p->in_channels;
    const strip s = strip_plan(p, of_output);
    strip_job job = {p, l, &s, x, bias, y, streams(p, y), of_input >= READ_OFTEN,
                     smaller(parts(p->workers.threads, s.tasks), p->out_channels)};
    room memory = {NULL, 0};
    take(&memory, s.slices * p->in_channels * s.width * LANES, sizeof(float));
    return share(p->workers, smaller(p->workers.threads, s.tasks * job.output_parts), memory.size, strip_slot, &job);
}
