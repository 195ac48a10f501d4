/* The kernels of one instruction set. Included after INSTRUCTION_SET and LANES_HEADER are defined. */
#include <stdlib.h>
#include <string.h>
#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "kernels.h"

#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 32")

INLINE int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
INLINE int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
INLINE int64_t parts(int64_t whole, int64_t part) { return (whole + part - 1) / part; }

#include LANES_HEADER

typedef float loose __attribute__((vector_size(LANES * sizeof(float)), aligned(4), may_alias)); /* at any place */

#include "windows.h"

#include "tiles.h"

#ifndef CACHE
#define CACHE (1280 * 1024) /* bytes of packed input that a core's second-level cache holds beside the rest */
#endif

/* Scratch memory that a thread keeps from call to call: fresh memory would cost a page fault every 4096 bytes. */
static void *scratch(size_t bytes)
{
    static __thread void *kept;
    static __thread size_t size;
    const size_t page = (size_t)2 << 20;
    if (bytes > size) {
        free(kept);
        size = (bytes + page - 1) / page * page;
        if (posix_memalign(&kept, page, size)) kept = NULL, size = 0;
#if defined(__linux__) && defined(MADV_HUGEPAGE)
        if (kept) madvise(kept, size, MADV_HUGEPAGE);
#endif
    }
    return kept;
}

/* ---- sharing work among threads -------------------------------------------------------------------------------- */

typedef struct {
    int (*work)(void *job, int64_t slot, int64_t slots);
    void *job;
    int64_t slots, next;
    int failed;
} team;

static void team_body(void *data)
{
    team *t = data;
    for (int64_t slot; (slot = __atomic_fetch_add(&t->next, 1, __ATOMIC_RELAXED)) < t->slots;) {
        const int failed = t->work(t->job, slot, t->slots);
        if (failed) __atomic_store_n(&t->failed, failed, __ATOMIC_RELAXED);
    }
    streamed();
}

/* Call work(job, slot, slots) once for each slot. Which slot does what is fixed, so results do not depend on timing. */
static int share(workers w, int64_t slots, int (*work)(void *, int64_t, int64_t), void *job)
{
    team t = {work, job, slots, 0, DONE};
    if (slots > 1 && w.parallel)
        w.parallel(team_body, &t, (unsigned)slots, 0);
    else
        team_body(&t);
    return t.failed;
}

/* ---- plans ----------------------------------------------------------------------------------------------------- */

typedef struct {
    grid cells;
    int64_t image_groups;
    int64_t region_height, region_width, regions_down, regions_across; /* of a cell, such that the input fits CACHE */
    int64_t tile_height, tile_width;
    int64_t packed_height, packed_width; /* input of a region, halo included */
    int64_t tasks;
} plan;

static int64_t span(int64_t outputs, int64_t stride, int64_t kernel, int64_t dilation)
{
    return (outputs - 1) * stride + (kernel - 1) * dilation + 1;
}

static void fit(const convolution *p, int64_t down, int64_t across, plan *q)
{
    q->cells.down = down;
    q->cells.across = across;
    q->cells.images = smaller(LANES / (down * across), p->batch);
    q->cells.height = parts(p->out_height, down);
    q->cells.width = parts(p->out_width, across);
    q->image_groups = parts(p->batch, q->cells.images);
    const int64_t limit = larger(CACHE / (p->in_channels * LANES * 4), 1);
    q->regions_across = q->regions_down = 1;
    for (;;) {
        q->region_height = parts(q->cells.height, q->regions_down);
        q->region_width = parts(q->cells.width, q->regions_across);
        q->packed_height = span(q->region_height, p->stride_height, p->kernel_height, p->dilation_height);
        q->packed_width = span(q->region_width, p->stride_width, p->kernel_width, p->dilation_width);
        const int narrow = q->packed_width <= 4 * MOST_BLOCKS;
        if (q->packed_height * q->packed_width <= limit && q->packed_height <= MOST_ROWS && narrow) break;
        if ((q->region_height > 4 && narrow) || (q->region_width <= 4 && q->region_height > 1))
            q->regions_down++;
        else if (q->region_width > 1)
            q->regions_across++;
        else
            break;
    }
    q->regions_down = parts(q->cells.height, q->region_height);
    q->regions_across = parts(q->cells.width, q->region_width);
    q->tile_height = parts(q->region_height, parts(q->region_height, TALLEST));
    q->tile_width = parts(q->region_width, parts(q->region_width, WIDEST(q->tile_height)));
#ifdef WEIGHTS_IN_REGISTERS
    while (p->kernel_height == 3 && q->tile_height * q->tile_width > WEIGHTS_IN_REGISTERS) q->tile_width--;
#endif
    q->tasks = q->image_groups * q->regions_down * q->regions_across;
}

/* About how many cycles a plan takes, for choosing among plans. */
static double cycles(const convolution *p, const plan *q, double links_of_output)
{
    const double taps = (double)(p->kernel_height * p->kernel_width), area = (double)(q->tile_height * q->tile_width);
    const double tiles = (double)(parts(q->region_height, q->tile_height) * parts(q->region_width, q->tile_width));
    const double halo = (double)(span(q->tile_height, p->stride_height, p->kernel_height, p->dilation_height) *
                                 span(q->tile_width, p->stride_width, p->kernel_width, p->dilation_width));
    const double sums = taps * larger((int64_t)area, 7) / 2, loads = 2 * halo;
    const double link = (sums > loads ? sums : loads) + 4;
    const double packing = 4.0 * (double)(p->in_channels * q->packed_height * parts(q->packed_width, 4) * 4);
    const double unpacking = 5.0 * (double)(p->out_channels * q->region_height * parts(q->region_width, 4) * 4);
    const double images = 1 + 0.05 * (double)q->cells.images; /* windows far apart share less of the lines they touch */
    return (double)q->tasks * (tiles * (double)p->out_channels * links_of_output * link + images * (packing + unpacking));
}

static plan best_plan(const convolution *p, double links_of_output)
{
    plan best, q;
    double least = -1;
    for (int64_t down = 1; down <= LANES; down *= 2)
        for (int64_t across = 1; down * across <= LANES; across *= 2) {
            if (down > p->out_height || across > p->out_width) continue;
            fit(p, down, across, &q);
            const double cost = cycles(p, &q, links_of_output);
            if (least < 0 || cost < least) least = cost, best = q;
        }
    return best;
}

typedef struct {
    int64_t image, top, left, height, width; /* output pixels of this task, in every cell */
} region;

static region region_of(const plan *q, int64_t task)
{
    region r = {task / (q->regions_down * q->regions_across) * q->cells.images,
                task / q->regions_across % q->regions_down * q->region_height,
                task % q->regions_across * q->region_width, 0, 0};
    r.height = smaller(q->region_height, q->cells.height - r.top);
    r.width = smaller(q->region_width, q->cells.width - r.left);
    return r;
}

static void look_at_input(windows *w, const convolution *p, const plan *q, const region *r)
{
    w->rows = span(r->height, p->stride_height, p->kernel_height, p->dilation_height);
    w->columns = span(r->width, p->stride_width, p->kernel_width, p->dilation_width);
    w->spread_height = p->spread_height;
    w->spread_width = p->spread_width;
    look(w, &q->cells, r->image, p->batch, p->in_channels, p->in_height, p->in_width,
         q->cells.height * p->stride_height, q->cells.width * p->stride_width,
         r->top * p->stride_height - p->padding_height, r->left * p->stride_width - p->padding_width);
    tabulate(w, w->columns + 3);
}

/* Windows into the output; with `alone` into the planes of one channel, image after image from the region's first. */
static void look_at_output(windows *w, const convolution *p, const plan *q, const region *r, int alone)
{
    w->rows = r->height;
    w->columns = r->width;
    w->spread_height = w->spread_width = 1;
    look(w, &q->cells, alone ? 0 : r->image, alone ? p->batch - r->image : p->batch, alone ? 1 : p->out_channels,
         p->out_height, p->out_width, q->cells.height, q->cells.width, r->top, r->left);
    tabulate(w, q->regions_across == 1 ? r->width + 3 : r->width); /* with one region, to the right there is another window */
}

/* Floats from channel to channel of packed windows: an odd number of vectors, for they would share few cache sets. */
static int64_t channel_size(int64_t rows, int64_t columns)
{
    return (rows * columns | 1) * LANES;
}

static void pack_input(const convolution *p, const windows *w, const float *x, float *packed)
{
    const int64_t size = channel_size(w->rows, w->columns);
    const int spread = w->spread_height > 1 || w->spread_width > 1;
    for (int64_t c = 0; c < p->in_channels; c++)
        (spread ? pack_spread : pack)(w, x + c * w->plane, packed + c * size);
}

/* Where each tap is, from the first, in a packed input so many vectors wide. */
static void place_taps(const convolution *p, int64_t columns, int64_t *tap)
{
    for (int64_t y = 0; y < p->kernel_height; y++)
        for (int64_t x = 0; x < p->kernel_width; x++)
            *tap++ = (y * p->dilation_height * columns + x * p->dilation_width) * LANES;
}

/* ---- large outputs --------------------------------------------------------------------------------------------- */

#define LARGE (2 << 20) /* bytes of an output that no second-level cache keeps */

/* Whether the output is large and its planes are whole cache lines: then they are best written past the caches. */
static int streams(const convolution *p, const float *y)
{
    const int64_t plane = p->out_height * p->out_width;
    return plane % LANES == 0 && (uintptr_t)y % sizeof(vec) == 0 &&
           p->batch * p->out_channels * plane * (int64_t)sizeof(float) > LARGE;
}

static void stream_plane(const float *from, int64_t size, float *to)
{
    for (int64_t i = 0; i < size; i += LANES) stream(to + i, *(const vec *)(from + i));
}

/* ---- forward --------------------------------------------------------------------------------------------------- */

typedef struct {
    const convolution *p;
    const links *l;
    const plan *q;
    const float *x, *bias;
    float *y;
    int64_t output_parts;
    int stream; /* whether whole planes go past the caches, by way of a copy */
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

static int forward_slot(void *data, int64_t slot, int64_t slots)
{
    const forward_job *job = data;
    const convolution *p = job->p;
    const plan *q = job->q;
    const int64_t taps = p->kernel_height * p->kernel_width;
    const size_t in_size = (size_t)(p->in_channels * channel_size(q->packed_height, q->packed_width));
    const size_t out_size = (size_t)((q->region_height * q->region_width + 3) * LANES);
    const size_t planes_size = (size_t)(job->stream ? q->cells.images * p->out_height * p->out_width : 0);
    float *packed = scratch((in_size + out_size + planes_size) * sizeof(float) + (size_t)taps * sizeof(int64_t));
    if (!packed) return NO_MEMORY;
    float *out = packed + in_size, *planes = out + out_size;
    int64_t *tap = (int64_t *)(planes + planes_size);
    for (int64_t task = slot; task < q->tasks * job->output_parts; task += slots) {
        const region r = region_of(q, task / job->output_parts);
        const int64_t part = task % job->output_parts;
        windows in, made;
        look_at_input(&in, p, q, &r);
        look_at_output(&made, p, q, &r, job->stream);
        place_taps(p, in.columns, tap);
        pack_input(p, &in, job->x, packed);
        const int64_t images = smaller(q->cells.images, p->batch - r.image);
        const int64_t end = p->out_channels * (part + 1) / job->output_parts;
        for (int64_t output = p->out_channels * part / job->output_parts; output < end; output++) {
            if (!job->stream) fetch(&made, job->y + output * made.plane);
            forward_output(job, &in, tap, packed, output, out, r.height, r.width);
            unpack(&made, out, job->stream ? planes : job->y + output * made.plane);
            for (int64_t n = 0; n < images && job->stream; n++)
                stream_plane(planes + n * made.plane, made.plane,
                             job->y + ((r.image + n) * p->out_channels + output) * made.plane);
        }
    }
    return DONE;
}

static double mean_links(const convolution *p, const links *l)
{
    int64_t sum = 0;
    for (int64_t o = 0; o < p->out_channels; o++) sum += l->count[o];
    return (double)sum / (double)p->out_channels;
}

#include "strips.h"

static int forward(const convolution *p, const links *l, const float *x, const float *bias, float *y)
{
    if (is_strip(p)) return strip_forward(p, l, x, bias, y);
    const plan q = best_plan(p, mean_links(p, l));
    const int stream = q.regions_down * q.regions_across == 1 && streams(p, y);
    forward_job job = {p, l, &q, x, bias, y, smaller(parts(p->workers.threads, q.tasks), p->out_channels), stream};
    return share(p->workers, smaller(p->workers.threads, q.tasks * job.output_parts), forward_slot, &job);
}

/* ---- gradient of the weights ----------------------------------------------------------------------------------- */

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

#include "read_planes.h"

#include "read_pixels.h"

#include "read.h"

#include "cross.h"

#define JOIN(a, b) JOIN_(a, b)
#define JOIN_(a, b) a##b
#define NAME(a) NAME_(a)
#define NAME_(a) #a
const kernels JOIN(kernels_, INSTRUCTION_SET) = {NAME(INSTRUCTION_SET), forward, weight_gradient, read, read_gradients,
                                                 cross,                 cross_gradients};
