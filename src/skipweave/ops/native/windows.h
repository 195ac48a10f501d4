/* How pixels become lanes: each lane of a vector is a window of its own into the map, and a step to the next pixel is a
 * step to the next vector, in all windows at once. So every tap of every kernel is an aligned load. */

typedef struct {
    int64_t images, down, across; /* windows: images x rows of windows x columns of windows <= LANES */
    int64_t height, width;        /* output pixels of a window */
} grid;

#define MOST_COLUMNS 256 /* of a window */

typedef struct {
    int64_t rows, columns;        /* of every window */
    int64_t width, plane;         /* floats from row to row and channel to channel of the map */
    int64_t spread_height, spread_width;
    int64_t origin[LANES];        /* of the window in channel 0 of the map, in floats; may lie outside */
    int64_t top[LANES], left[LANES];
    int32_t first_row[LANES], end_row[LANES];  /* what lies inside the map */
    int32_t first_column[LANES], end_column[LANES];
    uint8_t reach[MOST_COLUMNS / 4][LANES];    /* of four columns, which lie inside: a number for quad_part */
    uint8_t whole[MOST_COLUMNS / 4];           /* whether they all do, in all windows */
} windows;

/* The windows that begin at (top, left) of the grid's cells, for images from `image` on. Cells are step x step apart. */
static void look(windows *w, const grid *g, int64_t image, int64_t batch, int64_t channels, int64_t height,
                 int64_t width, int64_t step_down, int64_t step_across, int64_t top, int64_t left)
{
    const int64_t high = (height - 1) * w->spread_height + 1, wide = (width - 1) * w->spread_width + 1;
    const int spread = w->spread_height > 1 || w->spread_width > 1;
    w->width = width;
    w->plane = height * width;
    for (int lane = 0; lane < LANES; lane++) {
        const int64_t across = lane % g->across, down = lane / g->across % g->down;
        const int64_t n = image + lane / (g->across * g->down);
        const int64_t y = top + down * step_down, x = left + across * step_across;
        const int inside = lane < g->images * g->down * g->across && n < batch && x < wide && y < high;
        w->top[lane] = y;
        w->left[lane] = x;
        w->origin[lane] = n * channels * w->plane + (spread ? 0 : y * width + x);
        w->first_row[lane] = (int32_t)larger(-y, 0);
        w->end_row[lane] = inside ? (int32_t)(high - y) : 0;
        w->first_column[lane] = (int32_t)larger(-x, 0);
        w->end_column[lane] = (int32_t)(wide - x);
    }
}

/* Note which columns lie inside, of those up to `end`: what is beyond them is neither read nor written. */
static void reach(windows *w, int64_t end)
{
    for (int64_t block = 0; block * 4 < w->columns; block++) {
        w->whole[block] = 1;
        for (int lane = 0; lane < LANES; lane++) {
            const int64_t first = smaller(larger(w->first_column[lane] - block * 4, 0), 4);
            const int64_t last = smaller(larger(smaller(w->end_column[lane], end) - block * 4, 0), 4);
            w->reach[block][lane] = (uint8_t)(first < last ? first * 5 + last : 0);
            w->whole[block] &= first == 0 && last == 4;
        }
    }
}

/* Where a row of each window begins in a channel of the map. */
typedef struct {
    const float *begin[LANES];
    uint8_t inside[LANES]; /* all bits or none */
    int whole;
} row_of_windows;

INLINE void look_at_row(row_of_windows *r, const windows *w, int64_t row, const float *map)
{
    r->whole = 1;
    for (int lane = 0; lane < LANES; lane++) {
        const int inside = row >= w->first_row[lane] && row < w->end_row[lane];
        r->begin[lane] = map + w->origin[lane] + row * w->width;
        r->inside[lane] = (uint8_t)-inside;
        r->whole &= inside;
    }
}

/* Copy one channel of all windows, zeros where there is no map: (rows, columns, LANES). */
static void pack(const windows *w, const float *map, float *packed)
{
    for (int64_t row = 0; row < w->rows; row++, packed += w->columns * LANES) {
        row_of_windows r;
        look_at_row(&r, w, row, map);
        for (int64_t block = 0; block * 4 < w->columns; block++) {
            vec columns[4];
            quad quads[LANES];
            if (r.whole && w->whole[block]) {
                UNROLL for (int lane = 0; lane < LANES; lane++) quads[lane] = quad_load(r.begin[lane] + block * 4);
                columns_of(quads, columns);
            } else {
                UNROLL for (int lane = 0; lane < LANES; lane++)
                    quads[lane] = quad_part(r.begin[lane] + block * 4, w->reach[block][lane] & r.inside[lane]);
                columns_of(quads, columns);
            }
            vec *to = (vec *)packed + block * 4;
            const int64_t count = w->columns - block * 4;
            if (count >= 4)
                to[0] = columns[0], to[1] = columns[1], to[2] = columns[2], to[3] = columns[3];
            else
                for (int64_t c = 0; c < count; c++) to[c] = columns[c];
        }
        for (int lane = 0; lane < LANES; lane++) __builtin_prefetch(r.begin[lane] + w->plane);
    }
}

/* The same with zeros between the map's pixels. */
static void pack_spread(const windows *w, const float *map, float *packed)
{
    for (int64_t row = 0; row < w->rows; row++)
        for (int64_t column = 0; column < w->columns; column++)
            for (int lane = 0; lane < LANES; lane++, packed++) {
                const int64_t y = row + w->top[lane], x = column + w->left[lane];
                const int there = row >= w->first_row[lane] && row < w->end_row[lane] &&
                                  column >= w->first_column[lane] && column < w->end_column[lane] &&
                                  y % w->spread_height == 0 && x % w->spread_width == 0;
                *packed = there ? map[w->origin[lane] + y / w->spread_height * w->width + x / w->spread_width] : 0;
            }
}

/* Fetch what `unpack` will write, while there is something else to do. */
static void fetch(const windows *w, const float *map)
{
    for (int64_t row = 0; row < w->rows; row++)
        for (int lane = 0; lane < LANES; lane++) __builtin_prefetch(map + w->origin[lane] + row * w->width, 1);
}

/* Copy a channel of all windows back into a map; `packed` has room for three vectors more than it holds.
 *
 * Columns go from right to left, so that a window may write past its right edge, into another one of the same row whose
 * first columns are written later.
 */
static void unpack(const windows *w, const float *packed, float *map)
{
    for (int64_t row = 0; row < w->rows; row++, packed += w->columns * LANES) {
        row_of_windows r;
        look_at_row(&r, w, row, map);
        for (int64_t block = (w->columns - 1) / 4; block >= 0; block--) {
            quad quads[LANES];
            if (r.whole && w->whole[block]) {
                quads_of((const vec *)packed + block * 4, quads);
                UNROLL for (int lane = 0; lane < LANES; lane++) quad_store((float *)r.begin[lane] + block * 4, quads[lane]);
            } else {
                quads_of((const vec *)packed + block * 4, quads);
                UNROLL for (int lane = 0; lane < LANES; lane++)
                    quad_store_part((float *)r.begin[lane] + block * 4, quads[lane],
                                    w->reach[block][lane] & r.inside[lane]);
            }
        }
    }
}
