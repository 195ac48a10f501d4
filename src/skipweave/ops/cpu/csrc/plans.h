/* Plan of a convolution: regions, windows and tiles, and the positions and sizes of their inputs and outputs. */
#pragma once
#include "tiles.h"
#include "windows.h"

typedef struct {
    grid cells;
    int64_t image_groups;
    int64_t region_height, region_width, regions_down, regions_across; /* of a cell; the input fits into CACHE */
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
        if (q->packed_height * q->packed_width <= limit) break;
        if (q->region_height > 4 || (q->region_width <= 4 && q->region_height > 1))
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

/* Estimated number of cycles of a plan. */
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
    const double images = 1 + 0.05 * (double)q->cells.images; /* distant windows: fewer shared lines */
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

/* Windows of the output; with `alone` of the planes of one channel, consecutive images from the region's first. */
static void look_at_output(windows *w, const convolution *p, const plan *q, const region *r, int alone)
{
    w->rows = r->height;
    w->columns = r->width;
    w->spread_height = w->spread_width = 1;
    look(w, &q->cells, alone ? 0 : r->image, alone ? p->batch - r->image : p->batch, alone ? 1 : p->out_channels,
         p->out_height, p->out_width, q->cells.height, q->cells.width, r->top, r->left);
    tabulate(w, q->regions_across == 1 ? r->width + 3 : r->width); /* one region: another window is on the right */
}

/* Distance of channels of packed windows, in floats: an odd number of vectors, so that channels use all cache sets. */
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

/* Offset of each tap from the first in a packed input of the given width in vectors. */
static void place_taps(const convolution *p, int64_t columns, int64_t *tap)
{
    for (int64_t y = 0; y < p->kernel_height; y++)
        for (int64_t x = 0; x < p->kernel_width; x++)
            *tap++ = (y * p->dilation_height * columns + x * p->dilation_width) * LANES;
}

static double mean_links(const convolution *p, const links *l)
{
    int64_t sum = 0;
    for (int64_t o = 0; o < p->out_channels; o++) sum += l->count[o];
    return (double)sum / (double)p->out_channels;
}

#define LARGE (2 << 20) /* bytes of an output larger than second-level caches */

/* Whether the output is large and its planes are whole cache lines: then non-temporal stores are fastest. */
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
