/* Entry points of the channel-sparse convolution, called from Python: convert an index into links. */
#include <stdlib.h>
#include <string.h>

#include "kernels.h"

/* ---- links ----------------------------------------------------------------------------------------------------- */

/* The links of an index (rows, fan_in), each row shared by a block of outputs; 0 if out of memory. */
static int links_of_rows(links *l, const int32_t *index, const float *weight, int64_t outputs, int64_t rows,
                         int64_t fan_in)
{
    int64_t *memory = malloc((size_t)(3 * outputs) * sizeof *memory);
    *l = (links){memory, memory + outputs, memory + 2 * outputs, index, weight};
    for (int64_t o = 0; memory && o < outputs; o++) {
        memory[o] = o / (outputs / rows) * fan_in;
        memory[outputs + o] = o * fan_in;
        memory[2 * outputs + o] = fan_in;
    }
    return memory != NULL;
}

/* Transposed links: for each input the outputs that read it, with kernels rotated by 180 degrees. */
static int links_of_inputs(links *l, const int32_t *index, const float *weight, int64_t inputs, int64_t outputs,
                           int64_t rows, int64_t fan_in, int64_t taps)
{
    const int64_t total = outputs * fan_in, block = outputs / rows;
    const size_t per_link = sizeof(int32_t) + (size_t)taps * sizeof(float);
    int64_t *memory = malloc((size_t)(3 * inputs) * sizeof *memory + (size_t)total * per_link);
    if (!memory) return 0;
    int64_t *first = memory, *count = memory + 2 * inputs;
    float *turned = (float *)(memory + 3 * inputs);
    int32_t *source = (int32_t *)(turned + total * taps);
    memset(count, 0, (size_t)inputs * sizeof *count);
    for (int64_t i = 0; i < rows * fan_in; i++) count[index[i]] += block;
    for (int64_t i = 0, sum = 0; i < inputs; sum += count[i++]) first[i] = sum;
    memset(count, 0, (size_t)inputs * sizeof *count);
    for (int64_t o = 0; o < outputs; o++)
        for (int64_t j = 0; j < fan_in; j++) {
            const int32_t input = index[o / block * fan_in + j];
            const int64_t place = first[input] + count[input]++;
            source[place] = (int32_t)o;
            for (int64_t t = 0; t < taps; t++) turned[place * taps + t] = weight[(o * fan_in + j + 1) * taps - 1 - t];
        }
    memcpy(memory + inputs, first, (size_t)inputs * sizeof *first);
    *l = (links){first, memory + inputs, count, source, turned};
    return 1;
}

static int index_fits(const int32_t *index, int64_t size, int64_t inputs)
{
    uint32_t largest = 0; /* a negative index is a large unsigned one */
    for (int64_t i = 0; i < size; i++) largest = (uint32_t)index[i] > largest ? (uint32_t)index[i] : largest;
    return largest < (uint64_t)inputs;
}

/* ---- entry points ---------------------------------------------------------------------------------------------- */

PUBLIC int skipweave_forward(const convolution *p, int64_t rows, int64_t fan_in, const float *x, const float *weight,
                             const int32_t *index, const float *bias, float *y)
{
    links l;
    if (!index_fits(index, rows * fan_in, p->in_channels)) return BAD_INDEX;
    if (!links_of_rows(&l, index, weight, p->out_channels, rows, fan_in)) return NO_MEMORY;
    const int failed = chosen->forward(p, &l, x, bias, y);
    free((void *)l.first_source);
    return failed;
}

/* The gradient of the input: convolution of the output's gradient, dilated by the stride, with rotated kernels. */
PUBLIC int skipweave_input_gradient(const convolution *p, int64_t rows, int64_t fan_in, const float *gy,
                                    const float *weight, const int32_t *index, float *gx)
{
    links l;
    const int64_t taps = p->kernel_height * p->kernel_width;
    if (!index_fits(index, rows * fan_in, p->in_channels)) return BAD_INDEX;
    if (!links_of_inputs(&l, index, weight, p->in_channels, p->out_channels, rows, fan_in, taps)) return NO_MEMORY;
    convolution back = *p;
    back.in_channels = p->out_channels, back.out_channels = p->in_channels;
    back.in_height = p->out_height, back.in_width = p->out_width;
    back.out_height = p->in_height, back.out_width = p->in_width;
    back.spread_height = p->stride_height, back.spread_width = p->stride_width;
    back.stride_height = back.stride_width = 1;
    back.padding_height = (p->kernel_height - 1) * p->dilation_height - p->padding_height;
    back.padding_width = (p->kernel_width - 1) * p->dilation_width - p->padding_width;
    const int failed = chosen->forward(&back, &l, gy, NULL, gx);
    free((void *)l.first_source);
    return failed;
}

PUBLIC int skipweave_weight_gradient(const convolution *p, int64_t rows, int64_t fan_in, const float *x,
                                     const float *gy, const int32_t *index, float *gradient)
{
    links l;
    if (!index_fits(index, rows * fan_in, p->in_channels)) return BAD_INDEX;
    if (!links_of_rows(&l, index, NULL, p->out_channels, rows, fan_in)) return NO_MEMORY;
    const int failed = chosen->weight_gradient(p, &l, x, gy, gradient);
    free((void *)l.first_source);
    return failed;
}
