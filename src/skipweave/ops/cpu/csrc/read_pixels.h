/* Reading of channels-last nodes: as in read_planes.h; threads share the pixels. */
#pragma once
#include "read_planes.h"

static void read_pixels_slot(void *data, room memory, int64_t slot, int64_t slots)
{
    const read_job *job = data;
    const reading *r = job->r;
    const int64_t all = r->batch * r->pixels, end = all * (slot + 1) / slots;
    for (int64_t at = all * slot / slots; at < end; at++) {
        const float *gain = r->gain, *bias = r->bias;
        float *y = job->activated + at * r->channels;
        for (int64_t k = 0; k < r->count; k++) {
            const float *x = r->node[k] + at / r->pixels * r->image[k] + at % r->pixels * r->step[k];
            for (int64_t c = 0; c < r->width[k]; c++) {
                const float before = x[c] * gain[c] + bias[c];
                y[c] = before <= 0 ? 0 : before;
            }
            y += r->width[k], gain += r->width[k], bias += r->width[k];
        }
    }
}

/* Gradients of one pixel: of x, and of gain and bias, added to the sums. */
INLINE void pixel_gradients(const float *restrict x, const float *restrict gradient, const float *restrict gain,
                            const float *restrict bias, int64_t channels, float *restrict by_x,
                            float *restrict by_gain, float *restrict by_bias)
{
    for (int64_t c = 0; c < channels; c++) {
        const float g = x[c] * gain[c] + bias[c] <= 0 ? 0 : gradient[c];
        by_gain[c] += g * x[c];
        by_bias[c] += g;
        by_x[c] = g * gain[c];
    }
}

typedef struct {
    read_gradients_job of;
    double *sums; /* gradients of gain and bias, (2, channels) per slot */
} pixel_gradients_job;

#define AT_ONCE 128 /* pixels accumulated in single precision */

static void pixel_gradients_slot(void *data, room memory, int64_t slot, int64_t slots)
{
    const pixel_gradients_job *job = data;
    const reading *r = job->of.r;
    const int64_t all = r->batch * r->pixels, end = all * (slot + 1) / slots;
    double *sums = job->sums + 2 * slot * r->channels;
    float *some = take(&memory, 3 * r->channels, sizeof(float)), *unwanted = some + 2 * r->channels;
    for (int64_t c = 0; c < 2 * r->channels; c++) sums[c] = 0;
    for (int64_t first = all * slot / slots; first < end; first += AT_ONCE) {
        memset(some, 0, (size_t)(2 * r->channels) * sizeof(float));
        for (int64_t at = first; at < smaller(first + AT_ONCE, end); at++) {
            const int64_t n = at / r->pixels, pixel = at % r->pixels;
            for (int64_t k = 0, c = 0; k < r->count; c += r->width[k++])
                pixel_gradients(r->node[k] + n * r->image[k] + pixel * r->step[k],
                                job->of.gradient + at * r->channels + c, r->gain + c, r->bias + c, r->width[k],
                                job->of.by_node[k] ? job->of.by_node[k] + at * r->width[k] : unwanted, some + c,
                                some + r->channels + c);
        }
        for (int64_t c = 0; c < 2 * r->channels; c++) sums[c] += some[c];
    }
}

static int gradients_by_pixels(read_gradients_job of)
{
    const reading *r = of.r;
    const int64_t slots = slots_of(r, r->batch * r->pixels);
    pixel_gradients_job job = {of, malloc((size_t)(2 * slots * r->channels) * sizeof(double))};
    if (!job.sums) return NO_MEMORY;
    room memory = {NULL, 0};
    take(&memory, 3 * r->channels, sizeof(float));
    const int failed = share(r->workers, slots, memory.size, pixel_gradients_slot, &job);
    for (int64_t c = 0; c < r->channels; c++) {
        double by_gain = 0, by_bias = 0;
        for (int64_t slot = 0; slot < slots; slot++) {
            by_gain += job.sums[2 * slot * r->channels + c];
            by_bias += job.sums[(2 * slot + 1) * r->channels + c];
        }
        of.by_gain[c] = (float)by_gain;
        of.by_bias[c] = (float)by_bias;
    }
    free(job.sums);
    return failed;
}
