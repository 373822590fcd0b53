/* correlation.c - see correlation.h. */
#include "calib/correlation.h"

#include <math.h>
#include <stdatomic.h>

#include "kernels/kernels.h"
#include "tensor/dtype.h"

/* Rows of a work item when packing; tiles of a mirrored triangle fill half of the first cache. */
enum { ROWS = 32, TILE = 32, CHUNK = 1024 };

typedef struct packing {
    const en_kernels *kernels;
    size_t n;
    double scale;
    const float *sums;
    uint16_t *packed;
    const uint8_t *packed_bytes;
    float *diagonal; /* packing: out */
    const float *given;
    float *h;
    _Atomic size_t bad_row;
} packing;

static void run(packing *p, en_pool_fn fn, size_t n_items, en_pool *pool)
{
    if (pool != NULL) {
        en_pool_run(pool, fn, p, (uint32_t)n_items);
        return;
    }
    for (size_t i = 0; i < n_items; i++)
        fn(p, (uint32_t)i, 0);
}

static size_t items_of(const packing *p)
{
    return (p->n + ROWS - 1) / ROWS;
}

/* Long rows first, so that threads finish together. */
static size_t first_row(const packing *p, uint32_t item)
{
    return (items_of(p) - 1 - item) * ROWS;
}

static size_t end_row(const packing *p, size_t row)
{
    return p->n - row < ROWS ? p->n : row + ROWS;
}

/* ---- packing ----------------------------------------------------------------------------- */

static bool take_diagonal(packing *p)
{
    for (size_t i = 0; i < p->n; i++) {
        p->diagonal[i] = (float)((double)p->sums[i * p->n + i] * p->scale);
        if (!(p->diagonal[i] >= 0 && isfinite(p->diagonal[i]))) {
            p->bad_row = i;
            return false;
        }
    }
    return true;
}

static double inverse_root(float d)
{
    return d > 0 ? 1.0 / sqrt((double)d) : 0.0;
}

static bool pack_row(const packing *p, size_t row)
{
    const float *sums = p->sums + row * p->n;
    uint16_t *out = p->packed + en_correlation_count(row);
    double mine = p->scale * inverse_root(p->diagonal[row]);
    for (size_t col = 0; col <= row; col += CHUNK) {
        float r[CHUNK], lo, hi;
        size_t n = row + 1 - col < CHUNK ? row + 1 - col : CHUNK;
        for (size_t j = 0; j < n; j++)
            r[j] = (float)((double)sums[col + j] * mine * inverse_root(p->diagonal[col + j]));
        if (!p->kernels->min_max(r, n, &lo, &hi))
            return false;
        for (size_t j = 0; j < n; j++) /* roundings of the sums may lead beyond */
            r[j] = fminf(fmaxf(r[j], -1.0f), 1.0f);
        p->kernels->f32_to_f16(r, out + col, n);
    }
    return true;
}

static void pack_item(void *context, uint32_t item, uint32_t thread)
{
    (void)thread;
    packing *p = context;
    size_t row = first_row(p, item), end = end_row(p, row);
    for (; row < end; row++)
        if (!pack_row(p, row))
            p->bad_row = row;
}

size_t en_correlation_pack(const float *sums, size_t n, double scale, uint16_t *packed,
                           float *diagonal, en_pool *pool)
{
    packing p = {.kernels = en_kernels_get(),
                 .n = n,
                 .scale = scale,
                 .sums = sums,
                 .packed = packed,
                 .diagonal = diagonal,
                 .bad_row = n};
    if (take_diagonal(&p))
        run(&p, pack_item, items_of(&p), pool);
    return p.bad_row;
}

/* ---- unpacking ------------------------------------------------------------------------------ */

/* The lower triangle and the diagonal, row by row. */
static void unpack_item(void *context, uint32_t item, uint32_t thread)
{
    (void)thread;
    packing *p = context;
    size_t row = first_row(p, item), end = end_row(p, row);
    for (; row < end; row++) {
        float *h = p->h + row * p->n, lo, hi, mine = sqrtf(p->given[row]);
        p->kernels->dequantize[EN_DTYPE_F16](p->packed_bytes + 2 * en_correlation_count(row), h,
                                             row + 1);
        if (!p->kernels->min_max(h, row + 1, &lo, &hi) || lo < -1.0f || hi > 1.0f)
            p->bad_row = row;
        for (size_t col = 0; col < row; col++)
            h[col] *= mine * sqrtf(p->given[col]);
        h[row] = p->given[row];
    }
}

/* One row of tiles: what is below the diagonal goes above it. */
static void mirror_item(void *context, uint32_t item, uint32_t thread)
{
    (void)thread;
    packing *p = context;
    size_t n = p->n, row0 = first_row(p, item), row_end = end_row(p, row0);
    for (size_t col0 = 0; col0 <= row0; col0 += TILE) {
        for (size_t col = col0; col < col0 + TILE && col < row_end; col++)
            for (size_t row = row0 > col ? row0 : col; row < row_end; row++)
                p->h[col * n + row] = p->h[row * n + col];
    }
}

size_t en_correlation_unpack(const uint8_t *packed, const float *diagonal, size_t n, float *h,
                             en_pool *pool)
{
    packing p = {.kernels = en_kernels_get(),
                 .n = n,
                 .packed_bytes = packed,
                 .given = diagonal,
                 .h = h,
                 .bad_row = n};
    for (size_t i = 0; i < n; i++)
        if (!(diagonal[i] >= 0 && isfinite(diagonal[i])))
            return i;
    run(&p, unpack_item, items_of(&p), pool);
    run(&p, mirror_item, items_of(&p), pool);
    return p.bad_row;
}
