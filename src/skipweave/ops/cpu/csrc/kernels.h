/* Interface of the kernels, implemented once per instruction set.
 *
 * Plain C, without Python, torch and OpenMP at build time; the function that runs threads is an argument.
 */
#ifndef SKIPWEAVE_KERNELS_H
#define SKIPWEAVE_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#define PUBLIC __declspec(dllexport)
#else
#define PUBLIC __attribute__((visibility("default")))
#endif

/* GOMP_parallel of the OpenMP runtime that the process has loaded, or NULL for a single thread. */
typedef void (*parallel_function)(void (*body)(void *), void *data, unsigned threads, unsigned flags);

typedef struct {
    int64_t threads;
    parallel_function parallel;
} workers;

enum { DONE = 0, BAD_INDEX = 1, NO_MEMORY = 2 };

/* ---- a convolution whose outputs each read a few channels of the input ------------------------------------------- */

/* The links of each output: inputs source[first_source[o] + j], kernels weight[(first_weight[o] + j) * taps]. */
typedef struct {
    const int64_t *first_source, *first_weight, *count;
    const int32_t *source; /* ascending for each output */
    const float *weight;
} links;

/* Maps are (batch, channels, height, width), contiguous. */
typedef struct {
    int64_t batch, in_channels, out_channels;
    int64_t in_height, in_width, out_height, out_width;
    int64_t kernel_height, kernel_width, stride_height, stride_width;
    int64_t padding_height, padding_width, dilation_height, dilation_width;
    int64_t spread_height, spread_width; /* distances of the input's pixels, with zeros between them */
    workers workers;
} convolution;

/* ---- reading nodes ----------------------------------------------------------------------------------------------- */

/* Nodes are maps of `width` channels. `read` concatenates them and applies scale, shift (`bias`) and ReLU; `cross`
 * sums nodes of equal width, with scales per node and channel, and a bias. `planes` is 1 for contiguous and 0 for
 * channels-last maps. All maps, results and gradients of maps have elements of one type: `bfloat16` is 1 for bfloat16
 * and 0 for float32. Scales, biases and their gradients are float32. */
typedef struct {
    int64_t count, batch, channels, pixels; /* nodes; images; channels of the result; pixels per channel */
    int64_t planes, bfloat16;
    const void *const *node;
    const int64_t *width, *image, *step; /* widths; distances in elements of images, and of pixels in channels-last */
    const float *scale, *bias; /* (channels), for `cross` (count, channels); (channels), or NULL for gradients */
    workers workers;
} reading;

/* ---- instruction sets -------------------------------------------------------------------------------------------- */

/* The functions of one instruction set and type of elements that read nodes. Those that return int may return NO_MEMORY;
 * pointers in `by_node` are NULL for gradients that are not needed. */
typedef struct {
    void (*read)(const reading *, void *activated);
    int (*read_gradients)(const reading *, const void *gradient, void *const *by_node, float *by_scale, float *by_bias);
    int (*cross)(const reading *, void *sum);
    int (*cross_gradients)(const reading *, const void *gradient, void *const *by_node, float *by_weight, float *by_bias);
} reading_kernels;

/* The functions of one instruction set. `bias` may be NULL; `gradient` is (links, taps) and is overwritten. */
typedef struct {
    const char *name;
    const reading_kernels *float32, *bfloat16;
    int (*forward)(const convolution *, const links *, const float *x, const float *bias, float *y);
    int (*weight_gradient)(const convolution *, const links *, const float *x, const float *gy, float *gradient);
} kernels;

extern const kernels *chosen;

extern const kernels kernels_generic;
#if defined(__x86_64__) || defined(_M_X64)
extern const kernels kernels_avx2, kernels_avx512, kernels_avx512bf16;
#endif

#endif
