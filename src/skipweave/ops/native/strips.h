/* 1x1 kernels: the pixels of all images in one strip, sixteen neighbours in a vector. A strip is cut into slices so
 * narrow that a slice of the channels stays in the first-level cache while all outputs read it. */

#define FIRST_CACHE (36 * 1024) /* bytes of it that a slice may take */
#define SLICES 16               /* at most, of a task */
#define GROUP 4                 /* outputs that are summed at once */

static int is_strip(const convolution *p)
{
    return p->kernel_height * p->kernel_width * p->stride_height * p->stride_width * p->spread_height *
                   p->spread_width == 1 && p->padding_height == 0 && p->padding_width == 0 &&
           p->in_height == p->out_height && p->in_width == p->out_width;
}

typedef struct {
    int64_t plane, pixels;  /* of an image; of all */
    int64_t width, slices;  /* vectors of a slice; slices of a task */
    int64_t chunk;          /* channels whose slice fits the first-level cache */
    int64_t vectors, tasks;
} strip;

static strip strip_plan(const convolution *p)
{
    strip s = {.plane = p->out_height * p->out_width};
    s.pixels = p->batch * s.plane;
    s.vectors = parts(s.pixels, LANES);
    const int64_t fitting = FIRST_CACHE / (p->in_channels * LANES * (int64_t)sizeof(float));
    s.width = fitting >= 8 ? 8 : fitting >= 4 ? 4 : 2;
    s.chunk = smaller(p->in_channels, FIRST_CACHE / (s.width * LANES * (int64_t)sizeof(float)));
    s.slices = CACHE / (p->in_channels * s.width * LANES * (int64_t)sizeof(float));
    s.slices = larger(1, smaller(smaller(s.slices, SLICES), parts(s.vectors, s.width)));
    s.tasks = parts(s.vectors, s.width * s.slices);
    return s;
}

/* Where the vectors of a task are. */
typedef struct {
    int64_t image[8 * SLICES], place[8 * SLICES]; /* the first pixel */
    int whole[8 * SLICES];                        /* whether the others follow it in the same image */
} places;

static void find(places *at, const strip *s, int64_t first, int64_t vectors)
{
    for (int64_t v = 0; v < vectors; v++) {
        const int64_t pixel = (first + v) * LANES;
        at->image[v] = pixel / s->plane;
        at->place[v] = pixel % s->plane;
        at->whole[v] = at->place[v] + LANES <= s->plane && pixel < s->pixels;
    }
}

/* Copy a vector that is not whole from a channel of the map, or to it; `image` is the floats from image to image. */
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

/* One channel of a task's slices, zeros behind the last pixel; `step` floats from slice to slice. */
static void strip_pack(const strip *s, const places *at, const float *channel, int64_t image, int64_t batch,
                       int64_t slices, int64_t step, float *packed)
{
    for (int64_t i = 0, v = 0; i < slices; i++, packed += step)
        for (int64_t j = 0; j < s->width; j++, v++)
            if (at->whole[v])
                memcpy(packed + j * LANES, channel + at->image[v] * image + at->place[v], LANES * sizeof(float));
            else
                load_broken(s, channel, image, at->image[v], at->place[v], batch, packed + j * LANES);
}

/* ---- forward --------------------------------------------------------------------------------------------------- */

typedef struct {
    const float *packed;          /* a slice */
    const int32_t *source[GROUP]; /* links of outputs summed together, those whose channels are in the chunk */
    const float *weight[GROUP];
    int64_t count[GROUP];
    float *sum[GROUP];            /* (width, LANES), which they are added to */
} bundle;

/* Add the links of `outputs` outputs to their sums over `width` vectors. */
INLINE void add_links(const bundle *b, const int outputs, const int width)
{
    vec sum[ACCUMULATORS];
    int64_t common = b->count[0];
    UNROLL for (int o = 0; o < outputs; o++) {
        common = smaller(common, b->count[o]);
        UNROLL for (int v = 0; v < width; v++) sum[o * width + v] = *(const vec *)(b->sum[o] + v * LANES);
    }
    for (int64_t link = 0; link < common; link++)
        UNROLL for (int o = 0; o < outputs; o++) {
            const float *x = b->packed + (int64_t)b->source[o][link] * (width * LANES);
            const vec weight = splat(b->weight[o][link]);
            UNROLL for (int v = 0; v < width; v++) sum[o * width + v] += weight * *(const vec *)(x + v * LANES);
        }
    UNROLL for (int o = 0; o < outputs; o++) {
        for (int64_t link = common; link < b->count[o]; link++) {
            const float *x = b->packed + (int64_t)b->source[o][link] * (width * LANES);
            const vec weight = splat(b->weight[o][link]);
            UNROLL for (int v = 0; v < width; v++) sum[o * width + v] += weight * *(const vec *)(x + v * LANES);
        }
        UNROLL for (int v = 0; v < width; v++) *(vec *)(b->sum[o] + v * LANES) = sum[o * width + v];
    }
}

/* The same for any number of outputs up to GROUP. Registers hold GROUP * 4 or 8 vectors; AVX2 has half of them. */
static void add_bundle(const bundle *b, int64_t outputs, int64_t width)
{
    const int whole = outputs == GROUP;
    if (whole && width == 2) { add_links(b, GROUP, 2); return; }
#if ACCUMULATORS >= 16
    if (whole && width == 4) { add_links(b, GROUP, 4); return; }
#endif
    for (int64_t o = 0; o < outputs; o++) {
        const bundle one = {b->packed, {b->source[o]}, {b->weight[o]}, {b->count[o]}, {b->sum[o]}};
        if (width == 2) add_links(&one, 1, 2);
        else if (width == 4) add_links(&one, 1, 4);
        else add_links(&one, 1, 8);
    }
}

typedef struct {
    const convolution *p;
    const links *l;
    const strip *s;
    const float *x, *bias;
    float *y;
    int64_t output_parts, chunks;
    const int32_t *bound; /* (out_channels, chunks + 1): the first link of each chunk of channels */
} strip_job;

static void strip_slice(const strip_job *job, const float *packed, float *sums, int64_t begin, int64_t end,
                        const places *at, int64_t vector)
{
    const convolution *p = job->p;
    const strip *s = job->s;
    const links *l = job->l;
    const int64_t size = s->width * LANES;
    for (int64_t o = begin; o < end; o++)
        for (int64_t v = 0; v < s->width; v++)
            *(vec *)(sums + (o - begin) * size + v * LANES) = splat(job->bias ? job->bias[o] : 0);
    for (int64_t chunk = 0; chunk < job->chunks; chunk++)
        for (int64_t first = begin; first < end; first += GROUP) {
            const int64_t outputs = smaller(GROUP, end - first);
            bundle b = {.packed = packed};
            for (int64_t i = 0; i < outputs; i++) {
                const int32_t *bound = job->bound + (first + i) * (job->chunks + 1) + chunk;
                b.source[i] = l->source + l->first_source[first + i] + bound[0];
                b.weight[i] = l->weight + l->first_weight[first + i] + bound[0];
                b.count[i] = bound[1] - bound[0];
                b.sum[i] = sums + (first + i - begin) * size;
            }
            add_bundle(&b, outputs, s->width);
        }
    for (int64_t o = begin; o < end; o++)
        for (int64_t v = vector; v < vector + s->width; v++, sums += LANES)
            if (at->whole[v])
                memcpy(job->y + (at->image[v] * p->out_channels + o) * s->plane + at->place[v], sums,
                       LANES * sizeof(float));
            else
                store_broken(s, sums, p->out_channels * s->plane, at->image[v], at->place[v], p->batch,
                             job->y + o * s->plane);
}

static int strip_slot(void *data, int64_t slot, int64_t slots)
{
    const strip_job *job = data;
    const convolution *p = job->p;
    const strip *s = job->s;
    const int64_t slice = p->in_channels * s->width * LANES;
    float *packed = scratch((size_t)(s->slices * slice + p->out_channels * s->width * LANES) * sizeof(float));
    if (!packed) return NO_MEMORY;
    for (int64_t task = slot; task < s->tasks * job->output_parts; task += slots) {
        const int64_t first = task / job->output_parts * s->slices * s->width, part = task % job->output_parts;
        const int64_t slices = smaller(s->slices, parts(s->vectors - first, s->width));
        places at;
        find(&at, s, first, slices * s->width);
        for (int64_t c = 0; c < p->in_channels; c++)
            strip_pack(s, &at, job->x + c * s->plane, p->in_channels * s->plane, p->batch, slices, slice,
                       packed + c * s->width * LANES);
        for (int64_t i = 0; i < slices; i++)
            strip_slice(job, packed + i * slice, packed + s->slices * slice,
                        p->out_channels * part / job->output_parts, p->out_channels * (part + 1) / job->output_parts,
                        &at, i * s->width);
    }
    return DONE;
}

static int strip_forward(const convolution *p, const links *l, const float *x, const float *bias, float *y)
{
    const strip s = strip_plan(p);
    strip_job job = {p, l, &s, x, bias, y, smaller(parts(p->threads, s.tasks), p->out_channels),
                     parts(p->in_channels, s.chunk), NULL};
    int32_t *bound = malloc((size_t)(p->out_channels * (job.chunks + 1)) * sizeof(int32_t));
    if (!bound) return NO_MEMORY;
    for (int64_t o = 0; o < p->out_channels; o++) {
        int32_t link = 0;
        for (int64_t chunk = 0; chunk <= job.chunks; chunk++) {
            while (link < l->count[o] && l->source[l->first_source[o] + link] < chunk * s.chunk) link++;
            bound[o * (job.chunks + 1) + chunk] = link;
        }
    }
    job.bound = bound;
    const int failed = share(p, smaller(p->threads, s.tasks * job.output_parts), strip_slot, &job);
    free(bound);
    return failed;
}
