/* What is computed, and the functions of one instruction set. Shared by all files here.
 *
 * Every file is plain C: no Python, no torch, no OpenMP at build time. The one function that runs threads is handed in.
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

/* GOMP_parallel of the OpenMP runtime that the process has loaded already, or NULL for one thread. */
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
    int64_t spread_height, spread_width; /* the input's pixels stand so far apart, with zeros between them */
    workers workers;
} convolution;

/* ---- reading nodes: several maps become one ---------------------------------------------------------------------- */

/* Nodes are maps of `width` channels. `read` joins them, with gains, biases and ReLU; `cross` sums nodes of one width,
 * each with gains of its own, and biases. Either each channel's pixels are neighbors in memory (`planes`, as in
 * contiguous maps), or each pixel's channels are (as in channels-last maps). */
typedef struct {
    int64_t count, batch, channels, pixels; /* nodes; of each; of what they become; of each channel */
    int64_t planes;
    const float *const *node;
    const int64_t *width, *image, *step; /* floats from image to image; from pixel to pixel, where not planes */
    const float *gain, *bias; /* (channels), or (count, channels) for `cross`; (channels), NULL for its gradients */
    workers workers;
} reading;

/* ---- instruction sets -------------------------------------------------------------------------------------------- */

/* One set for each instruction set. `bias` may be NULL; `gradient` is (links, taps) and is overwritten. */
typedef struct {
    const char *name;
    int (*forward)(const convolution *, const links *, const float *x, const float *bias, float *y);
    int (*weight_gradient)(const convolution *, const links *, const float *x, const float *gy, float *gradient);
    void (*read)(const reading *, float *activated);
    int (*read_gradients)(const reading *, const float *gradient, float *const *by_node, float *by_gain, float *by_bias);
    void (*cross)(const reading *, float *sum);
    int (*cross_gradients)(const reading *, const float *gradient, float *const *by_node, float *by_weight,
                           float *by_bias);
} kernels;

extern const kernels *chosen;

extern const kernels kernels_generic;
#if defined(__x86_64__) || defined(_M_X64)
extern const kernels kernels_avx2, kernels_avx512;
#endif

#endif
