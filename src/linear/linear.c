/*
 * linear.c - see linear.h.
 *
 *   item of a coded matrix:  segments -> codes -> (one token)   dot product with the codes
 *                                              -> (many)        f32 rows, tile by tile -> matmul
 *   item of a plain matrix:  some rows, see linear_plain.h
 *   item of a matrix in coding 2:  see linear_strips.h
 *   item of a matrix in coding 3:  segments, see linear_planes.h
 *
 * Items of all products of a job stand in one sequence that the pool deals out.  How rows are
 * cut into items depends on the matrix and on 'one token or many' only, and each output is summed
 * by one kernel call, so the number of threads cannot show in a result.
 */
#include <math.h>
#include <stdatomic.h>

#include "base/memory.h"
#include "kernels/kernels.h"
#include "linear/linear_inputs.h"
#include "linear/linear_planes.h"

/* Tokens of one job of the pool: their activations take some memory. */
enum { MAX_PRODUCTS = EN_LINEAR_MAX_PRODUCTS, MAX_TOKENS = 512 };

typedef struct job {
    const en_kernels *k;
    en_linear_product products[MAX_PRODUCTS];
    uint32_t n_items[MAX_PRODUCTS];
    en_strips_product strips[MAX_PRODUCTS]; /* of those in coding 2 */
    size_t n_products;
    en_linear_inputs inputs;
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

/* But for matrices in coding 2. */
static uint64_t count_items(const en_linear *m, size_t n_tokens)
{
    uint64_t each = m->coded ? segments_per_item(m, n_tokens > 1) : en_plain_item_rows(m, n_tokens);
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

static en_plain_product plain_product(const job *j, const en_linear_product *p, uint32_t thread)
{
    return (en_plain_product){.matrix = p->matrix,
                              .integers = &en_linear_inputs_of(&j->inputs, thread)->integers,
                              .x = j->x,
                              .x_stride = j->x_stride,
                              .n_tokens = j->n_tokens,
                              .y = p->y,
                              .y_stride = p->y_stride};
}

static void run_plain(job *j, const en_linear_product *p, uint64_t item, uint32_t thread)
{
    const en_plain_product product = plain_product(j, p, thread);
    entro_error err;
    entro_status status =
        en_plain_run_item(&product, item, en_linear_tile(j->scratch, thread), &err);
    if (status != ENTRO_OK)
        record_failure(j, status, &err);
}

/* ---- matrices in coding 3 ------------------------------------------------------------------ */

static void run_planes(job *j, const en_linear_product *p, uint64_t item, uint32_t thread)
{
    const en_plain_product product = plain_product(j, p, thread);
    uint32_t n_segments = p->matrix->coded->n_segments;
    uint64_t each = segments_per_item(p->matrix, j->n_tokens > 1);
    uint64_t first = item * each, end = first + each < n_segments ? first + each : n_segments;
    entro_error err;
    entro_status status = en_linear_planes_run(&product, (uint32_t)first, (uint32_t)end,
                                               en_linear_codes(j->scratch, thread),
                                               en_linear_tile(j->scratch, thread), &err);
    if (status != ENTRO_OK)
        record_failure(j, status, &err);
}

/* ---- matrices in coding 2 ------------------------------------------------------------------ */

/* One token waits for the decoder (measured with bench_strips: 17, 26 and 29 G weights/s for 1, 2 and 3
 * chunks), two likewise (16 and 21 for 1 and 2).  With a few the products fill the time; more have strips decoded
 * before they pass by. */
static uint32_t choose_side_by_side(const job *j, uint32_t n_threads)
{
    if (j->n_tokens > 2 && j->n_tokens <= EN_STRIPS_FEW_TOKENS)
        return 1;
    uint32_t most = j->n_tokens == 1   ? EN_STRIPS_SIDE_BY_SIDE
                    : j->n_tokens == 2 ? EN_STRIPS_SIDE_TWO
                                       : EN_STRIPS_SIDE_MANY;
    uint64_t n_chunks = 0;
    for (size_t i = 0; i < j->n_products; i++)
        if (en_linear_in_strips(j->products[i].matrix))
            n_chunks += j->products[i].matrix->coded->strips->n_chunks;
    return en_strips_side_by_side(most, n_chunks, n_threads);
}

static void run_strips(job *j, size_t product, uint32_t item, uint32_t thread)
{
    en_strips_room room = en_linear_strips_room(j->scratch, thread);
    en_strips_product p = j->strips[product];
    p.x = &en_linear_inputs_of(&j->inputs, thread)->orders[j->inputs.order_of[product]];
    entro_error err;
    entro_status status = en_strips_run_item(&p, item, &room, &err);
    if (status != ENTRO_OK)
        record_failure(j, status, &err);
}

/* ---- jobs ---------------------------------------------------------------------------------- */

static void run_item(void *context, uint32_t item, uint32_t thread)
{
    job *j = context;
    if (atomic_load_explicit(&j->failed, memory_order_relaxed))
        return;
    size_t i = 0;
    for (; item >= j->n_items[i]; i++)
        item -= j->n_items[i];
    const en_linear_product *p = &j->products[i];
    if (en_linear_in_strips(p->matrix))
        run_strips(j, i, item, thread);
    else if (p->matrix->coded == NULL)
        run_plain(j, p, item, thread);
    else if (p->matrix->coded->planes != NULL)
        run_planes(j, p, item, thread);
    else if (j->n_tokens > 1)
        run_coded_many(j, p, item, thread);
    else
        run_coded_one(j, p, item, thread);
}

/* Chunks of an item of a packed matrix: more than one, for each item has some work of its own. */
static uint32_t chunks_in_a_row(const en_linear *matrix, uint32_t n_threads)
{
    enum { ITEMS_A_THREAD = 12 };
    uint32_t n = matrix->coded->strips->n_chunks / (ITEMS_A_THREAD * n_threads);
    return n > 0 ? n : 1;
}

/* Cuts the products into items. */
static entro_status plan_items(job *j, uint32_t n_threads, uint32_t *n_items, entro_error *err)
{
    uint64_t n_all = 0;
    uint32_t side_by_side = choose_side_by_side(j, n_threads);
    for (size_t i = 0; i < j->n_products; i++) {
        const en_linear_product *p = &j->products[i];
        uint64_t n;
        if (en_linear_in_strips(p->matrix)) {
            uint32_t each =
                p->matrix->packed != NULL ? chunks_in_a_row(p->matrix, n_threads) : side_by_side;
            n = en_strips_count_items(p->matrix->coded->strips, each);
            j->strips[i].matrix = p->matrix;
            j->strips[i].y = p->y;
            j->strips[i].y_stride = p->y_stride;
            j->strips[i].side_by_side = each;
        } else {
            n = count_items(p->matrix, j->n_tokens);
        }
        n_all += n;
        if (n_all > UINT32_MAX / 2)
            return en_fail(err, ENTRO_ERR_UNSUPPORTED, "matrix '%s' has too many rows",
                           p->matrix->name);
        j->n_items[i] = (uint32_t)n;
    }
    *n_items = (uint32_t)n_all;
    return ENTRO_OK;
}

static bool any_in_coding_1(const job *j)
{
    for (size_t i = 0; i < j->n_products; i++) {
        const en_coded *c = j->products[i].matrix->coded;
        if (c != NULL && c->strips == NULL && c->planes == NULL)
            return true;
    }
    return false;
}

/* At most MAX_PRODUCTS and MAX_TOKENS; the job's products and inputs are set. */
static entro_status run_job(job *j, en_pool *pool, entro_error *err)
{
    uint32_t n_items = 0;
    EN_TRY(plan_items(j, en_pool_n_threads(pool), &n_items, err));
    j->inputs = (en_linear_inputs){.x = j->x, .x_stride = j->x_stride, .n_tokens = j->n_tokens};
    EN_TRY(en_linear_inputs_plan(&j->inputs, j->products, j->n_products, j->scratch, err));
    en_linear_inputs_share(&j->inputs, pool);
    if (j->n_tokens == 1 && any_in_coding_1(j))
        j->x_sum = j->k->sum(j->x, (size_t)j->products[0].matrix->n_cols);
    en_pool_run(pool, run_item, j, n_items);
    if (atomic_load(&j->failed) && err != NULL)
        *err = j->err;
    return j->status;
}

entro_status en_linear_apply(const en_linear_product *products, size_t n_products, const float *x,
                             size_t x_stride, size_t n_tokens, en_pool *pool,
                             en_linear_scratch *scratch, entro_error *err)
{
    if (en_pool_n_threads(pool) > scratch->n_threads)
        return en_fail(err, ENTRO_ERR_ARGUMENT, "scratch is for %u threads, the pool has %u",
                       scratch->n_threads, en_pool_n_threads(pool));
    for (size_t first = 0; first < n_products; first += MAX_PRODUCTS)
        for (size_t t = 0; t < n_tokens; t += MAX_TOKENS) {
            size_t products_left = n_products - first, tokens_left = n_tokens - t;
            job j = {.k = en_kernels_get(),
                     .n_products = products_left < MAX_PRODUCTS ? products_left : MAX_PRODUCTS,
                     .x = x + t * x_stride,
                     .x_stride = x_stride,
                     .n_tokens = tokens_left < MAX_TOKENS ? tokens_left : MAX_TOKENS,
                     .scratch = scratch};
            for (size_t i = 0; i < j.n_products; i++) {
                j.products[i] = products[first + i];
                j.products[i].y += t * j.products[i].y_stride;
            }
            EN_TRY(run_job(&j, pool, err));
        }
    return ENTRO_OK;
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
    if (en_linear_in_strips(m)) {
        en_strips_room room = en_linear_strips_room(scratch, 0);
        return en_strips_read_row(m, row, out, &room, err);
    }
    uint8_t *codes = en_linear_codes(scratch, 0);
    if (c->planes != NULL)
        return en_linear_planes_read_row(m, row, out, codes, err);
    uint32_t segment = (uint32_t)(row / c->rows_per_segment);
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
