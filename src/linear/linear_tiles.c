/* linear_tiles.c - see linear_tiles.h. */
#include "linear/linear_tiles.h"

#include <string.h>

#include "kernels/scaled_units.h"

enum {
    BLOCK_TOKENS = 32,       /* whose planes stay in the second-level cache while strips pass by */
    UNITS_BYTES = 128 << 10, /* of an item, which stay there too */
    MAX_STRIPS = 4,          /* 24 bytes a column and row beside the tile's 128 */
    PART_COLS = 16,          /* that have a scale of their own, at least */
};

bool en_tiles_can(uint32_t dtype)
{
    return en_kernels_get()->dot_scaled != NULL && en_scaled_parts(dtype) != 0;
}

uint64_t en_tiles_rows(uint64_t n_cols)
{
    uint64_t n = UNITS_BYTES / EN_STRIP_ROWS / (n_cols + 1);
    return EN_STRIP_ROWS * (n < 1 ? 1 : n > MAX_STRIPS ? MAX_STRIPS : n);
}

/* Up to 16 rows; those that are missing come out as zeros. */
static void take_strip(const en_plain_product *p, uint64_t first, uint64_t n_rows,
                       const en_scaled_units *units)
{
    const en_tensor *plain = p->matrix->plain;
    size_t n_cols = (size_t)p->matrix->n_cols, n_parts = n_cols / EN_UNIT_COLS * units->n_parts;
    uint64_t each = 0;
    en_dtype_bytes(plain->dtype, n_cols, &each); /* checked when it was read */
    if (n_rows < EN_STRIP_ROWS) {
        memset(units->bytes, 0, n_cols * EN_STRIP_ROWS);
        memset(units->scales, 0, n_parts * EN_STRIP_ROWS * sizeof *units->scales);
        memset(units->offsets, 0, n_parts * EN_STRIP_ROWS * sizeof *units->offsets);
    }
    for (uint64_t r = 0; r < n_rows; r++)
        en_scaled_take_apart(plain->dtype, plain->data + (first + r) * each, n_cols, (unsigned)r,
                             units);
}

/* One strip times some tokens. */
static void multiply_strip(const en_plain_product *p, uint64_t first, uint64_t n_rows,
                           const en_scaled_units *units, size_t first_token, size_t n)
{
    const double *scales = p->integers->integers.scales + first_token;
    float sums[BLOCK_TOKENS * EN_STRIP_ROWS] = {0};
    en_kernels_get()->dot_scaled(units, (size_t)p->matrix->n_cols / EN_UNIT_COLS,
                                 p->integers->vectors + first_token, n, sums);
    for (size_t t = 0; t < n; t++) {
        float *y = p->y + (first_token + t) * p->y_stride + first;
        for (uint64_t r = 0; r < n_rows; r++)
            y[r] = (float)(scales[t] * (double)sums[t * EN_STRIP_ROWS + r]);
    }
}

void en_tiles_run(const en_plain_product *p, uint64_t first, uint64_t n_rows, float *tile)
{
    en_scaled_units strips[MAX_STRIPS];
    size_t n_cols = (size_t)p->matrix->n_cols, n_floats = n_cols / PART_COLS * EN_STRIP_ROWS;
    uint64_t rows[MAX_STRIPS];
    size_t n_strips = 0;
    for (uint64_t done = 0; done < n_rows; done += EN_STRIP_ROWS, n_strips++) {
        float *at = tile + n_strips * (2 * n_floats + n_cols * EN_STRIP_ROWS / sizeof *tile);
        strips[n_strips] = (en_scaled_units){.bytes = (uint8_t *)(at + 2 * n_floats),
                                             .scales = at,
                                             .offsets = at + n_floats,
                                             .n_parts = en_scaled_parts(p->matrix->plain->dtype)};
        rows[n_strips] = n_rows - done < EN_STRIP_ROWS ? n_rows - done : EN_STRIP_ROWS;
        take_strip(p, first + done, rows[n_strips], &strips[n_strips]);
    }
    for (size_t t = 0; t < p->n_tokens; t += BLOCK_TOKENS) {
        size_t left = p->n_tokens - t, n = left < BLOCK_TOKENS ? left : BLOCK_TOKENS;
        for (size_t s = 0; s < n_strips; s++)
            multiply_strip(p, first + s * EN_STRIP_ROWS, rows[s], &strips[s], t, n);
    }
}
