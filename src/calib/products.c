/*
 * products.c - see products.h.
 *
 * A tile costs its products and, once each, the packing of its rows of x and columns of W: the larger
 * the tile, the less.  Measured with one thread of OpenBLAS 0.3.21 on Zen 4, 1,536 and 8,960 inputs:
 * 89 to 91 GFLOP/s for tiles of 512 x 512, 94 to 98 for 1024 x 1024, 98 to 100 for 2048 x 2048 and for
 * the whole.
 */
#include "calib/products.h"

#include <assert.h>

#include "base/cpu.h"
#include "base/memory.h"
#include "calib/bf16_product.h"
#include "quant/blas.h"

int en_blas_take(void)
{
    int before = en_blas_get()->get_num_threads();
    en_blas_get()->set_num_threads(1);
    return before;
}

void en_blas_give_back(int n_threads)
{
    en_blas_get()->set_num_threads(n_threads);
}

uint32_t *en_precision_scratch(en_precision precision, en_pool *pool)
{
    bool is_faster = en_cpu_features() & EN_CPU_BF16;
    return precision == EN_PRECISION_BF16 && is_faster ? en_bf16_scratch(en_pool_n_threads(pool))
                                                       : NULL;
}

/* ---- products ---------------------------------------------------------------------------- */

/* Tiles above GOOD_TILE are cut until there are ENOUGH, smaller ones only until there are FEW. */
enum { MOST_TILE = 2048, GOOD_TILE = 1024, LEAST_TILE = 256, TILE_STEP = 16 };
enum { ENOUGH = 16, FEW = 4 };

typedef struct tiling {
    const en_product *p;
    size_t tile_tokens, tile_out; /* of one tile */
    uint32_t n_token_tiles, n_out_tiles;
    uint32_t *scratch; /* NULL: in f32 */
} tiling;

/* How many tiles of at most 'most' there are; their size is evened out. */
static uint32_t cut(size_t n, size_t most, size_t *tile)
{
    size_t n_tiles = (n + most - 1) / most;
    *tile = ((n + n_tiles - 1) / n_tiles + TILE_STEP - 1) / TILE_STEP * TILE_STEP;
    return (uint32_t)((n + *tile - 1) / *tile);
}

static tiling plan(const en_product *p)
{
    tiling t = {.p = p};
    size_t most_tokens = MOST_TILE, most_out = MOST_TILE;
    for (;;) {
        t.n_token_tiles = cut(p->n_tokens, most_tokens, &t.tile_tokens);
        t.n_out_tiles = cut(p->n_out, most_out, &t.tile_out);
        size_t larger = t.tile_tokens > t.tile_out ? t.tile_tokens : t.tile_out;
        size_t wanted = larger > GOOD_TILE ? ENOUGH : larger > LEAST_TILE ? FEW : 1;
        if ((size_t)t.n_token_tiles * t.n_out_tiles >= wanted)
            return t;
        if (t.tile_tokens > t.tile_out)
            most_tokens = t.tile_tokens / 2;
        else
            most_out = t.tile_out / 2;
    }
}

static size_t at_most(size_t n, size_t limit)
{
    return n < limit ? n : limit;
}

/* Neighbours share their columns of W. */
static void run_tile(void *context, uint32_t item, uint32_t thread)
{
    const tiling *t = context;
    const en_product *p = t->p;
    size_t token = item % t->n_token_tiles * t->tile_tokens;
    size_t out = item / t->n_token_tiles * t->tile_out;
    size_t n_tokens = at_most(p->n_tokens - token, t->tile_tokens);
    size_t n_out = at_most(p->n_out - out, t->tile_out);
    const float *x = p->x + token * p->n_in, *w = p->w + (p->is_transposed ? out * p->n_in : out);
    size_t w_stride = p->is_transposed ? p->n_in : p->n_out;
    float *y = p->y + token * p->n_out + out;
    if (t->scratch == NULL) {
        en_blas_get()->sgemm(CblasRowMajor, CblasNoTrans,
                             p->is_transposed ? CblasTrans : CblasNoTrans, (blasint)n_tokens,
                             (blasint)n_out, (blasint)p->n_in, 1.0f, x, (blasint)p->n_in, w,
                             (blasint)w_stride, p->beta, y, (blasint)p->n_out);
        return;
    }
    en_bf16_product product = {.a = {x, p->n_in, true},
                               .b = {w, w_stride, p->is_transposed},
                               .n_rows = n_tokens,
                               .n_cols = n_out,
                               .n = p->n_in,
                               .c = y,
                               .stride = p->n_out,
                               .add = p->beta != 0};
    en_bf16_product_run(&product, t->scratch, thread);
}

void en_product_run(const en_product *product, en_pool *pool)
{
    assert(product->beta == 0 || product->beta == 1);
    tiling t = plan(product);
    t.scratch = en_precision_scratch(product->precision, pool);
    en_pool_run(pool, run_tile, &t, t.n_token_tiles * t.n_out_tiles);
    en_free(t.scratch);
}

/* ---- sums of columns --------------------------------------------------------------------- */

enum { PIECE = 128 }; /* columns of an item */

typedef struct columns {
    const float *x, *y, *scales;
    size_t n_tokens, n_cols;
    double *sums;
    void (*add)(const struct columns *c, size_t token, size_t first, size_t n);
} columns;

static void add_square(const columns *c, size_t token, size_t first, size_t n)
{
    const float *restrict x = c->x + token * c->n_cols + first;
    double *restrict sums = c->sums + first;
    for (size_t i = 0; i < n; i++)
        sums[i] += (double)x[i] * (double)x[i];
}

static void add_number(const columns *c, size_t token, size_t first, size_t n)
{
    const float *restrict x = c->x + token * c->n_cols + first;
    double *restrict sums = c->sums + first;
    for (size_t i = 0; i < n; i++)
        sums[i] += (double)x[i];
}

static void add_product(const columns *c, size_t token, size_t first, size_t n)
{
    const float *restrict x = c->x + token * c->n_cols + first;
    const float *restrict y = c->y + token * c->n_cols + first;
    double *restrict sums = c->sums + first, scale = (double)c->scales[token];
    for (size_t i = 0; i < n; i++)
        sums[i] += scale * (double)x[i] * (double)y[i];
}

static void sum_piece(void *context, uint32_t item, uint32_t thread)
{
    (void)thread;
    const columns *c = context;
    size_t first = (size_t)item * PIECE, n = at_most(c->n_cols - first, PIECE);
    for (size_t t = 0; t < c->n_tokens; t++)
        c->add(c, t, first, n);
}

static void sum(columns c, en_pool *pool)
{
    en_pool_run(pool, sum_piece, &c, (uint32_t)((c.n_cols + PIECE - 1) / PIECE));
}

void en_sum_squares(const float *x, size_t n_tokens, size_t n_cols, double *sums, en_pool *pool)
{
    sum((columns){x, NULL, NULL, n_tokens, n_cols, sums, add_square}, pool);
}

void en_sum_columns(const float *x, size_t n_tokens, size_t n_cols, double *sums, en_pool *pool)
{
    sum((columns){x, NULL, NULL, n_tokens, n_cols, sums, add_number}, pool);
}

void en_sum_products(const float *x, const float *y, const float *scales, size_t n_tokens,
                     size_t n_cols, double *sums, en_pool *pool)
{
    sum((columns){x, y, scales, n_tokens, n_cols, sums, add_product}, pool);
}
