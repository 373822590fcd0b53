/* gram.c - see gram.h. */
#include "calib/gram.h"

#include "base/memory.h"
#include "calib/bf16_product.h"
#include "quant/blas.h"

/* Inputs of a tile: products are at full speed, and a small matrix still makes enough tiles for all threads. */
enum { MAX_TILE = 640, MIN_TILES = 4, TILE_STEP = 16 };

typedef struct gram {
    const float *x;
    size_t stride, n_tokens, n, tile, n_tiles;
    float beta;
    float *sums;
    uint32_t *scratch; /* NULL: in f32 */
} gram;

static size_t tile_of(size_t n)
{
    size_t n_tiles = (n + MAX_TILE - 1) / MAX_TILE;
    n_tiles = n_tiles > MIN_TILES ? n_tiles : MIN_TILES;
    size_t tile = (n + n_tiles - 1) / n_tiles;
    return (tile + TILE_STEP - 1) / TILE_STEP * TILE_STEP;
}

static void run_short_tile(const gram *g, size_t first, size_t n_rows, size_t second,
                           uint32_t thread)
{
    bool is_diagonal = first == second;
    en_bf16_product product = {.a = {g->x + first, g->stride, false},
                               .b = {g->x + second, g->stride, false},
                               .n_rows = n_rows,
                               .n_cols = is_diagonal ? n_rows : g->tile,
                               .n = g->n_tokens,
                               .c = g->sums + first * g->n + second,
                               .stride = g->n,
                               .add = g->beta != 0,
                               .is_lower = is_diagonal};
    en_bf16_product_run(&product, g->scratch, thread);
}

static void run_tile(void *context, uint32_t item, uint32_t thread)
{
    const gram *g = context;
    size_t row = 0, col = item;
    while (col > row) /* item = row (row + 1) / 2 + col */
        col -= ++row;
    size_t first = row * g->tile, second = col * g->tile;
    int n = (int)g->n, n_tokens = (int)g->n_tokens, stride = (int)g->stride;
    int n_rows = (int)(g->n - first < g->tile ? g->n - first : g->tile);
    float *out = g->sums + first * g->n + second;
    if (g->scratch != NULL)
        run_short_tile(g, first, (size_t)n_rows, second, thread);
    else if (row == col)
        en_blas_get()->ssyrk(CblasRowMajor, CblasLower, CblasTrans, n_rows, n_tokens, 1,
                             g->x + first, stride, g->beta, out, n);
    else
        en_blas_get()->sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, n_rows, (int)g->tile,
                             n_tokens, 1, g->x + first, stride, g->x + second, stride, g->beta, out,
                             n);
}

void en_gram(const float *x, size_t stride, size_t n_tokens, size_t n, en_precision precision,
             bool add, float *sums, en_pool *pool)
{
    gram g = {
        .x = x, .stride = stride, .n_tokens = n_tokens, .n = n, .tile = tile_of(n), .sums = sums};
    g.beta = add ? 1.0f : 0.0f;
    g.n_tiles = (n + g.tile - 1) / g.tile;
    g.scratch = en_precision_scratch(precision, pool);
    en_pool_run(pool, run_tile, &g, (uint32_t)(g.n_tiles * (g.n_tiles + 1) / 2));
    en_free(g.scratch);
}

/* ---- of two -------------------------------------------------------------------------------- */

typedef struct cross {
    const float *x, *y;
    size_t n_x, n_y, n_tokens, tile_x, tile_y, n_tiles_y;
    float beta;
    float *sums;
} cross;

static void run_cross_tile(void *context, uint32_t item, uint32_t thread)
{
    (void)thread;
    const cross *c = context;
    size_t i = item / c->n_tiles_y * c->tile_x, j = item % c->n_tiles_y * c->tile_y;
    size_t n_i = c->n_x - i < c->tile_x ? c->n_x - i : c->tile_x;
    size_t n_j = c->n_y - j < c->tile_y ? c->n_y - j : c->tile_y;
    en_blas_get()->sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (int)n_i, (int)n_j,
                         (int)c->n_tokens, 1, c->x + i, (int)c->n_x, c->y + j, (int)c->n_y, c->beta,
                         c->sums + i * c->n_y + j, (int)c->n_y);
}

void en_gram_cross(const float *x, size_t n_x, const float *y, size_t n_y, size_t n_tokens,
                   bool add, float *sums, en_pool *pool)
{
    cross c = {.x = x,
               .y = y,
               .n_x = n_x,
               .n_y = n_y,
               .n_tokens = n_tokens,
               .tile_x = tile_of(n_x),
               .tile_y = tile_of(n_y),
               .beta = add ? 1.0f : 0.0f,
               .sums = sums};
    c.n_tiles_y = (n_y + c.tile_y - 1) / c.tile_y;
    size_t n_tiles_x = (n_x + c.tile_x - 1) / c.tile_x;
    en_pool_run(pool, run_cross_tile, &c, (uint32_t)(n_tiles_x * c.n_tiles_y));
}
