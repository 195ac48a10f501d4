/* Packing of pixels into lanes: each lane of a vector is a separate window of the map, and the next vector has the next
 * pixel of every window. So every tap of every kernel is an aligned load. */
#pragma once
#include "team.h"

typedef struct {
    int64_t images, down, across; /* windows: images x rows of windows x columns of windows <= LANES */
    int64_t height, width;        /* output pixels of a window */
} grid;

/* Tables of the rows, and blocks of four columns, that are inside the map. */
typedef struct {
    int64_t (*begin)[LANES];  /* offset of each row in floats */
    uint8_t *whole;           /* whether the row is inside the map in all windows */
    uint8_t (*inside)[LANES]; /* all bits if it is, else none */
    uint8_t *whole_block;     /* the same for the columns, four at a time */
    uint8_t (*reach)[LANES];  /* which of the four are: argument of quad_part */
} tables;

typedef struct {
    int64_t rows, columns, width, plane; /* of every window; distances of rows and channels of the map in floats */
    int64_t spread_height, spread_width;
    int64_t origin[LANES], top[LANES], left[LANES];          /* of each window; may be outside the map */
    int64_t first_row[LANES], end_row[LANES];                /* the part inside the map */
    int64_t first_column[LANES], end_column[LANES];
    tables tables;
} windows;

static tables take_tables(int64_t rows, int64_t columns, room *memory)
{
    tables t;
    t.begin = take(memory, rows, sizeof *t.begin);
    t.whole = take(memory, rows, sizeof *t.whole);
    t.inside = take(memory, rows, sizeof *t.inside);
    t.whole_block = take(memory, parts(columns, 4), sizeof *t.whole_block);
    t.reach = take(memory, parts(columns, 4), sizeof *t.reach);
    return t;
}

/* Windows that start at (top, left) of the grid's cells, for images from `image`. Cells are step x step apart. */
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
        const int inside = lane < g->images * g->down * g->across && n < batch;
        w->top[lane] = y;
        w->left[lane] = x;
        w->origin[lane] = n * channels * w->plane + (spread ? 0 : y * width + x);
        w->first_row[lane] = larger(-y, 0);
        w->end_row[lane] = inside ? high - y : 0;
        w->first_column[lane] = larger(-x, 0);
        w->end_column[lane] = wide - x;
    }
}

/* Compute the tables of rows and blocks of columns. Columns from `end` count as outside. */
static void tabulate(windows *w, int64_t end)
{
    const tables t = w->tables;
    for (int64_t row = 0; row < w->rows; row++) {
        t.whole[row] = 1;
        for (int lane = 0; lane < LANES; lane++) {
            const int inside = row >= w->first_row[lane] && row < w->end_row[lane];
            t.begin[row][lane] = w->origin[lane] + row * w->width;
            t.inside[row][lane] = inside ? 255 : 0;
            t.whole[row] &= inside;
        }
    }
    for (int64_t block = 0; block * 4 < w->columns; block++) {
        t.whole_block[block] = 1;
        for (int lane = 0; lane < LANES; lane++) {
            const int64_t first = smaller(larger(w->first_column[lane] - block * 4, 0), 4);
            const int64_t last = smaller(larger(smaller(w->end_column[lane], end) - block * 4, 0), 4);
            t.reach[block][lane] = (uint8_t)(first < last ? first * 5 + last : 0);
            t.whole_block[block] &= first == 0 && last == 4;
        }
    }
}

/* Copy one channel of all windows, zeros outside the map: (rows, columns, LANES). */
static void pack(const windows *w, const float *map, float *packed)
{
    const tables t = w->tables;
    const int64_t columns = w->columns;
    for (int64_t row = 0; row < w->rows; row++, packed += columns * LANES) {
        const int64_t *begin = t.begin[row];
        for (int64_t block = 0; block * 4 < columns; block++) {
            const float *from = map + block * 4;
            vec column[4];
            quad quads[LANES];
            if (t.whole[row] && t.whole_block[block]) {
                UNROLL for (int lane = 0; lane < LANES; lane++) quads[lane] = quad_load(from + begin[lane]);
                columns_of(quads, column);
            } else {
                UNROLL for (int lane = 0; lane < LANES; lane++)
                    quads[lane] = quad_part(from + begin[lane], t.reach[block][lane] & t.inside[row][lane]);
                columns_of(quads, column);
            }
            vec *to = (vec *)packed + block * 4;
            const int64_t count = columns - block * 4;
            if (count >= 4)
                to[0] = column[0], to[1] = column[1], to[2] = column[2], to[3] = column[3];
            else
                for (int64_t c = 0; c < count; c++) to[c] = column[c];
        }
        for (int lane = 0; lane < LANES; lane++) __builtin_prefetch(map + begin[lane] + w->plane);
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

/* Prefetch the memory that `unpack` will write. */
static void fetch(const windows *w, const float *map)
{
    for (int64_t row = 0; row < w->rows; row++)
        for (int lane = 0; lane < LANES; lane++) __builtin_prefetch(map + w->tables.begin[row][lane], 1);
}

/* Copy a channel of all windows back into a map; `packed` is padded by three vectors.
 *
 * Columns are written from right to left: a window may write past its right edge into the next window of the row, whose
 * first columns are written later.
 */
static void unpack(const windows *w, const float *packed, float *map)
{
    const tables t = w->tables;
    for (int64_t row = 0; row < w->rows; row++, packed += w->columns * LANES) {
        const int64_t *begin = t.begin[row];
        for (int64_t block = (w->columns - 1) / 4; block >= 0; block--) {
            float *to = map + block * 4;
            quad quads[LANES];
            if (t.whole[row] && t.whole_block[block]) {
                quads_of((const vec *)packed + block * 4, quads);
                UNROLL for (int lane = 0; lane < LANES; lane++) quad_store(to + begin[lane], quads[lane]);
            } else {
                quads_of((const vec *)packed + block * 4, quads);
                UNROLL for (int lane = 0; lane < LANES; lane++)
                    quad_store_part(to + begin[lane], quads[lane], t.reach[block][lane] & t.inside[row][lane]);
            }
        }
    }
}
