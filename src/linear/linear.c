/*
 * linear.c - see linear.h.
 *
 *   item of a coded matrix:  segments -> codes -> (one token)   dot product with the codes
 *                                              -> (many)        f32 rows, tile by tile -> matmul
 *   item of a plain matrix:  a tile of rows -> f32 -> matmul
 *
 * Items of all products of a job stand in one sequence that the pool counts through.  How rows are
 * cut into items depends on the matrix and on 'one token or many' only, and each output is summed
 * by one kernel call, so the number of threads cannot show in a result.
 */
#include <math.h>
#include <stdatomic.h>

#include "kernels/kernels.h"
#include "linear/linear_scratch.h"

typedef struct job {
    const en_kernels *k;
    const en_linear_product *products;
    size_t n_products;
    const float *x;
    size_t x_stride, n_tokens;
    float x_sum; /* of the only token; else unused */
    en_linear_scratch *scratch;

    atomic_bool failed;
    entro_status status; /* written by the thread that sets 'failed' */
    entro_error err;
} job;

static void record_failure(job *j, entro_status status, const entro_error *err)
{
    if (!atomic_exchange(&j->failed, true)) {
        j->status = status;
        j->err = *err;
    }
}

/* ---- items --------------------------------------------------------------------------------- */

/* Segments of one item.  For a prompt enough rows to fill a tile, and a multiple of 4 of them. */
static uint32_t segments_per_item(const en_linear *m, bool many)
{
    if (!many)
        return 1;
    uint32_t rows = m->coded->rows_per_segment, tile = en_linear_tile_rows(m->n_cols, true);
    uint32_t n = rows >= tile ? 1 : (tile + rows - 1) / rows;
    while (n * (uint64_t)rows % 4 != 0)
        n++;
    return n;
}

static uint64_t count_items(const en_linear *m, bool many)
{
    uint32_t each = m->coded ? segments_per_item(m, many) : en_linear_tile_rows(m->n_cols, many);
    return ((m->coded ? m->coded->n_segments : m->n_rows) + each - 1) / each;
}

/* ---- coded matrices ------------------------------------------------------------------------ */

typedef struct grid {
    float step, offset, centre; /* centre: the code nearest to weight 0 */
} grid;

static grid grid_of_row(const en_coded *c, uint64_t row)
{
    grid g = {0};
    en_coded_grid(c, row, &g.step, &g.offset);
    float zero = rintf(-g.offset / g.step);
    if (zero > 0.0f) /* neither NaN nor below */
        g.centre = zero < 255.0f ? zero : 255.0f;
    return g;
}

static bool decode(job *j, const en_linear *m, uint32_t segment, uint8_t *codes)
{
    if (en_coded_decode_segment(m->coded, segment, codes))
        return true;
    entro_error err;
    en_fail(&err, ENTRO_ERR_CHECKSUM,
            "coded segment %u of %u is damaged; check the file with 'entrollm verify' and copy or "
            "make it again",
            segment, m->coded->n_segments);
    en_error_place(&err, "tensor '%s'", m->name);
    record_failure(j, ENTRO_ERR_CHECKSUM, &err);
    return false;
}

/* w x = sum (code step + offset) x = step sum (code - centre) x + (offset + step centre) sum x */
static void multiply_codes(const job *j, const en_linear_product *p, uint32_t segment,
                           const uint8_t *codes)
{
    const en_coded *c = p->matrix->coded;
    uint64_t first = en_coded_segment_row(c, segment), n_rows = en_coded_segment_rows(c, segment);
    for (uint64_t r = 0; r < n_rows; r++) {
        grid g = grid_of_row(c, first + r);
        float dot = j->k->dot_codes(codes + r * c->n_cols, g.centre, j->x, (size_t)c->n_cols);
        p->y[first + r] = g.step * dot + (g.offset + g.step * g.centre) * j->x_sum;
    }
}

static void multiply_tile(const job *j, const en_linear_product *p, uint64_t first_row,
                          uint64_t n_rows, const float *tile)
{
    j->k->matmul_f32(tile, (size_t)n_rows, (size_t)p->matrix->n_cols, j->x, j->x_stride,
                     j->n_tokens, p->y + first_row, p->y_stride);
}

static void run_coded_many(job *j, const en_linear_product *p, uint64_t item, uint32_t thread)
{
    const en_linear *m = p->matrix;
    const en_coded *c = m->coded;
    uint8_t *codes = en_linear_codes(j->scratch, thread);
    float *tile = en_linear_tile(j->scratch, thread);
    uint32_t tile_rows = en_linear_tile_rows(m->n_cols, true), each = segments_per_item(m, true);
    uint64_t first_segment = item * each, end_segment = first_segment + each;
    if (end_segment > c->n_segments)
        end_segment = c->n_segments;
    uint64_t row = en_coded_segment_row(c, (uint32_t)first_segment), n_filled = 0;

    for (uint64_t s = first_segment; s < end_segment; s++) {
        if (!decode(j, m, (uint32_t)s, codes))
            return;
        uint64_t n_rows = en_coded_segment_rows(c, (uint32_t)s);
        for (uint64_t r = 0; r < n_rows; r++) {
            grid g = grid_of_row(c, row + n_filled);
            j->k->expand_codes(codes + r * c->n_cols, g.step, g.offset, tile + n_filled * c->n_cols,
                               (size_t)c->n_cols);
            if (++n_filled == tile_rows) {
                multiply_tile(j, p, row, n_filled, tile);
                row += n_filled;
                n_filled = 0;
            }
        }
    }
    if (n_filled > 0)
        multiply_tile(j, p, row, n_filled, tile);
}

static void run_coded_one(job *j, const en_linear_product *p, uint64_t item, uint32_t thread)
{
    uint8_t *codes = en_linear_codes(j->scratch, thread);
    if (decode(j, p->matrix, (uint32_t)item, codes))
        multiply_codes(j, p, (uint32_t)item, codes);
}

/* ---- plain matrices ------------------------------------------------------------------------ */

static void run_plain(job *j, const en_linear_product *p, uint64_t item, uint32_t thread)
{
    const en_linear *m = p->matrix;
    float *tile = en_linear_tile(j->scratch, thread);
    uint64_t each = en_linear_tile_rows(m->n_cols, j->n_tokens > 1), row = item * each;
    uint64_t n_rows = m->n_rows - row < each ? m->n_rows - row : each;
    entro_error err;
    entro_status status = en_source_read_rows(m->source, m->plain, row, n_rows, tile, &err);
    if (status != ENTRO_OK)
        record_failure(j, status, &err);
    else
        multiply_tile(j, p, row, n_rows, tile);
}

/* ---- jobs ---------------------------------------------------------------------------------- */

static void run_item(void *context, uint32_t number, uint32_t thread)
{
    job *j = context;
    if (atomic_load_explicit(&j->failed, memory_order_relaxed))
        return;
    bool many = j->n_tokens > 1;
    uint64_t item = number, n;
    const en_linear_product *p = j->products;
    for (; item >= (n = count_items(p->matrix, many)); p++)
        item -= n;
    if (p->matrix->coded == NULL)
        run_plain(j, p, item, thread);
    else if (many)
        run_coded_many(j, p, item, thread);
    else
        run_coded_one(j, p, item, thread);
}

entro_status en_linear_apply(const en_linear_product *products, size_t n_products, const float *x,
                             size_t x_stride, size_t n_tokens, en_pool *pool,
                             en_linear_scratch *scratch, entro_error *err)
{
    if (n_products == 0 || n_tokens == 0)
        return ENTRO_OK;
    job j = {.k = en_kernels_get(),
             .products = products,
             .n_products = n_products,
             .x = x,
             .x_stride = x_stride,
             .n_tokens = n_tokens,
             .scratch = scratch};
    if (en_pool_n_threads(pool) > scratch->n_threads)
        return en_fail(err, ENTRO_ERR_ARGUMENT, "scratch is for %u threads, the pool has %u",
                       scratch->n_threads, en_pool_n_threads(pool));
    uint64_t n_items = 0;
    for (size_t i = 0; i < n_products; i++)
        n_items += count_items(products[i].matrix, n_tokens > 1);
    if (n_items > UINT32_MAX / 2)
        return en_fail(err, ENTRO_ERR_UNSUPPORTED, "matrix '%s' has too many rows",
                       products[0].matrix->name);
    if (n_tokens == 1)
        j.x_sum = j.k->sum(x, (size_t)products[0].matrix->n_cols);
    en_pool_run(pool, run_item, &j, (uint32_t)n_items);
    if (atomic_load(&j.failed) && err != NULL)
        *err = j.err;
    return j.status;
}

entro_status en_linear_read_row(const en_linear *m, uint64_t row, float *out,
                                en_linear_scratch *scratch, entro_error *err)
{
    if (row >= m->n_rows)
        return en_fail(err, ENTRO_ERR_ARGUMENT, "row %llu of matrix '%s', which has %llu",
                       (unsigned long long)row, m->name, (unsigned long long)m->n_rows);
    const en_coded *c = m->coded;
    if (c == NULL)
        return en_source_read_rows(m->source, m->plain, row, 1, out, err);
    uint32_t segment = (uint32_t)(row / c->rows_per_segment);
    uint8_t *codes = en_linear_codes(scratch, 0);
    job j = {.k = en_kernels_get()};
    if (!decode(&j, m, segment, codes)) {
        if (err != NULL)
            *err = j.err;
        return j.status;
    }
    grid g = grid_of_row(c, row);
    j.k->expand_codes(codes + (row - en_coded_segment_row(c, segment)) * c->n_cols, g.step,
                      g.offset, out, (size_t)c->n_cols);
    return ENTRO_OK;
}
