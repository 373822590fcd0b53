/*
 * bf16_product.c - see bf16_product.h.
 *
 *   for BLOCK_COLS of b and DEPTH numbers:  packed, 0.5 MB of the second-level cache or more
 *     for BLOCK_ROWS of a:                  packed, 72 KB
 *       for 32 columns:                     a panel, 16 KB of the first-level cache
 *         for 12 rows:                      a tile
 */
#include "calib/bf16_product.h"

#include "base/memory.h"
#include "kernels/kernels.h"

enum { DEPTH = 256, PAIRS = DEPTH / 2, BLOCK_ROWS = 12 * EN_BF16_ROWS, BLOCK_COLS = 1024 };
enum { SCRATCH_WORDS = PAIRS * (BLOCK_ROWS + BLOCK_COLS) };

uint32_t *en_bf16_scratch(uint32_t n_threads)
{
    return en_alloc((size_t)n_threads * SCRATCH_WORDS, sizeof(uint32_t));
}

static size_t at_most(size_t n, size_t limit)
{
    return n < limit ? n : limit;
}

/* Numbers k to k + n of so many lines. */
static void pack(const en_bf16_factor *f, size_t line, size_t n_lines, size_t k, size_t n,
                 size_t width, uint32_t *panels)
{
    const en_kernels *kernels = en_kernels_get();
    if (f->is_along)
        kernels->bf16_pack_along(f->x + line * f->stride + k, f->stride, n_lines, n, width, panels,
                                 PAIRS * width);
    else
        kernels->bf16_pack_across(f->x + k * f->stride + line, f->stride, n_lines, n, width, panels,
                                  PAIRS * width);
}

/* A tile that is not all there. */
static void add_part(const uint32_t *a, const uint32_t *b, size_t n_pairs, bool add, float *c,
                     size_t stride, size_t n_rows, size_t n_cols)
{
    float whole[EN_BF16_ROWS * EN_BF16_COLS];
    en_kernels_get()->bf16_tile(a, b, n_pairs, false, whole, EN_BF16_COLS);
    for (size_t i = 0; i < n_rows; i++)
        for (size_t j = 0; j < n_cols; j++)
            c[i * stride + j] = whole[i * EN_BF16_COLS + j] + (add ? c[i * stride + j] : 0.0f);
}

typedef struct block {
    const uint32_t *a, *b;
    size_t row, n_rows, col, n_cols; /* of c */
    size_t n_pairs;
    bool add;
} block;

static void multiply(const en_bf16_product *p, const block *k)
{
    en_bf16_tile_fn tile = en_kernels_get()->bf16_tile;
    for (size_t j = 0; j < k->n_cols; j += EN_BF16_COLS)
        for (size_t i = 0; i < k->n_rows; i += EN_BF16_ROWS) {
            size_t row = k->row + i, col = k->col + j;
            if (p->is_lower && row + EN_BF16_ROWS <= col)
                continue;
            const uint32_t *a = k->a + i * PAIRS, *b = k->b + j * PAIRS;
            float *c = p->c + row * p->stride + col;
            size_t n_rows = at_most(k->n_rows - i, EN_BF16_ROWS);
            size_t n_cols = at_most(k->n_cols - j, EN_BF16_COLS);
            if (n_rows == EN_BF16_ROWS && n_cols == EN_BF16_COLS)
                tile(a, b, k->n_pairs, k->add, c, p->stride);
            else
                add_part(a, b, k->n_pairs, k->add, c, p->stride, n_rows, n_cols);
        }
}

void en_bf16_product_run(const en_bf16_product *p, uint32_t *scratch, uint32_t thread)
{
    uint32_t *a = scratch + (size_t)thread * SCRATCH_WORDS, *b = a + PAIRS * BLOCK_ROWS;
    block k = {.a = a, .b = b};
    for (k.col = 0; k.col < p->n_cols; k.col += BLOCK_COLS)
        for (size_t at = 0; at < p->n; at += DEPTH) {
            size_t n = at_most(p->n - at, DEPTH);
            k.n_cols = at_most(p->n_cols - k.col, BLOCK_COLS);
            k.n_pairs = (n + 1) / 2;
            k.add = p->add || at > 0;
            pack(&p->b, k.col, k.n_cols, at, n, EN_BF16_COLS, b);
            for (k.row = 0; k.row < p->n_rows; k.row += BLOCK_ROWS) {
                k.n_rows = at_most(p->n_rows - k.row, BLOCK_ROWS);
                pack(&p->a, k.row, k.n_rows, at, n, EN_BF16_ROWS, a);
                multiply(p, &k);
            }
        }
}
