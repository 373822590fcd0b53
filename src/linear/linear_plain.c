/* linear_plain.c - see linear_plain.h. */
#include "linear/linear_plain.h"

#include "base/memory.h"
#include "linear/linear_tiles.h"

/* Up to so many tokens matrices are multiplied as they are stored. */
enum { FEW_TOKENS = EN_BLOCKS_MAX_VECTORS };

/* As the file has it, not computed or put in order while it is read. */
static bool in_place(const en_linear *m)
{
    return m->coded == NULL && m->plain->data != NULL;
}

static bool is_tiled(const en_linear *m, size_t n_tokens)
{
    return n_tokens > FEW_TOKENS && in_place(m) && en_tiles_can(m->plain->dtype);
}

bool en_plain_takes_integers(const en_linear *m, size_t n_tokens)
{
    return is_tiled(m, n_tokens) || (n_tokens <= FEW_TOKENS && in_place(m) &&
                                     en_kernels_get()->dot_blocks[m->plain->dtype] != NULL);
}

static bool takes_floats_in_place(const en_linear *m, size_t n_tokens)
{
    return n_tokens == 1 && in_place(m) &&
           (m->plain->dtype == EN_DTYPE_F16 || m->plain->dtype == EN_DTYPE_F32);
}

static size_t row_bytes(const en_linear *m)
{
    uint64_t n_bytes = 0;
    en_dtype_bytes(m->plain->dtype, m->n_cols, &n_bytes); /* checked when it was read */
    return (size_t)n_bytes;
}

/* Long enough to stream, for what products fetch ahead is the next item's; and several for each thread. */
uint64_t en_plain_item_rows(const en_linear *m, size_t n_tokens)
{
    enum { ITEMS = 48, LEAST_BYTES = 48 << 10, MOST_BYTES = 768 << 10 };
    if (is_tiled(m, n_tokens))
        return en_tiles_rows(m->n_cols);
    if (!en_plain_takes_integers(m, n_tokens) && !takes_floats_in_place(m, n_tokens))
        return en_linear_tile_rows(m->n_cols, n_tokens > 1);
    size_t each = row_bytes(m);
    uint64_t n_bytes = m->n_rows * each / ITEMS;
    n_bytes = n_bytes < LEAST_BYTES ? LEAST_BYTES : n_bytes > MOST_BYTES ? MOST_BYTES : n_bytes;
    return each < n_bytes && each > 0 ? n_bytes / each : 1;
}

/* ---- integers ------------------------------------------------------------------------------ */

enum { LINE = 64 };

static en_strip_matrix shape_of(uint64_t n_cols)
{
    return (en_strip_matrix){.n_cols = n_cols,
                             .n_units = (uint32_t)((n_cols + EN_UNIT_COLS - 1) / EN_UNIT_COLS)};
}

static size_t sums_of_token(const en_strip_matrix *shape)
{
    return (size_t)shape->n_units * (EN_UNIT_COLS / 4 + 1);
}

static size_t vectors_bytes(size_t n_tokens)
{
    return n_tokens * sizeof(en_block_vector);
}

bool en_plain_inputs_bytes(uint64_t n_cols, size_t n_tokens, size_t *n_bytes)
{
    en_strip_matrix shape = shape_of(n_cols);
    size_t integers, sums;
    if (!en_activations_bytes(&shape, n_tokens, &integers) ||
        !en_mul(sums_of_token(&shape) * sizeof(float), n_tokens, &sums) ||
        !en_add(sums, vectors_bytes(n_tokens) + LINE - 1, &sums) ||
        !en_add(integers, sums, n_bytes))
        return false;
    *n_bytes &= ~(size_t)(LINE - 1);
    return true;
}

void en_plain_inputs_place(en_plain_inputs *p, uint64_t n_cols, size_t n_tokens, uint8_t *memory)
{
    size_t n_bytes = 0;
    p->shape = shape_of(n_cols);
    en_activations_place(&p->integers, &p->shape, n_tokens, memory);
    en_activations_bytes(&p->shape, n_tokens, &n_bytes); /* did not overflow before */
    p->vectors = (en_block_vector *)(void *)(memory + n_bytes);
    float *sums = (float *)(void *)(memory + n_bytes + vectors_bytes(n_tokens));
    size_t n_fours = (size_t)p->shape.n_units * (EN_UNIT_COLS / 4);
    for (size_t t = 0; t < n_tokens; t++, sums += sums_of_token(&p->shape))
        p->vectors[t] = (en_block_vector){.high = en_activations_plane(&p->integers, t, 0),
                                          .low = en_activations_plane(&p->integers, t, 1),
                                          .fours = sums,
                                          .sums = sums + n_fours};
}

void en_plain_inputs_set(en_plain_inputs *p, size_t token, const float *x, float *ordered)
{
    const en_activations *a = &p->integers;
    size_t n_units = p->shape.n_units, n_fours = n_units * (EN_UNIT_COLS / 4);
    en_activations_set(a, token, x, ordered);
    const int8_t *high = p->vectors[token].high, *low = p->vectors[token].low;
    float *fours = (float *)(void *)p->vectors[token].fours, *sums = fours + n_fours;
    for (size_t i = 0; i < n_fours; i++, high += 4, low += 4)
        fours[i] = (float)(128 * (high[0] + high[1] + high[2] + high[3]) + low[0] + low[1] +
                           low[2] + low[3]);
    for (size_t u = 0; u < n_units; u++)
        sums[u] = (float)en_activations_sum(a, token, u, u + 1);
}

/* ---- products ------------------------------------------------------------------------------ */

static void multiply_integers(const en_plain_product *p, uint64_t first, uint64_t end)
{
    const en_linear *m = p->matrix;
    const double *scales = p->integers->integers.scales;
    size_t each = row_bytes(m);
    float sums[EN_BLOCKS_MAX_VECTORS];
    for (uint64_t r = first; r < end; r++) {
        en_kernels_get()->dot_blocks[m->plain->dtype](m->plain->data + r * each, (size_t)m->n_cols,
                                                      p->integers->vectors, p->n_tokens, sums);
        for (size_t t = 0; t < p->n_tokens; t++)
            p->y[t * p->y_stride + r] = (float)(scales[t] * (double)sums[t]);
    }
}

static void multiply_in_place(const en_plain_product *p, uint64_t first, uint64_t end)
{
    const en_kernels *k = en_kernels_get();
    const en_linear *m = p->matrix;
    size_t n = (size_t)m->n_cols, each = row_bytes(m);
    for (uint64_t r = first; r < end; r++) {
        const void *w = m->plain->data + r * each;
        p->y[r] = m->plain->dtype == EN_DTYPE_F16 ? k->dot_f16(w, p->x, n) : k->dot_f32(w, p->x, n);
    }
}

entro_status en_plain_run_item(const en_plain_product *p, uint64_t item, float *tile,
                               entro_error *err)
{
    const en_linear *m = p->matrix;
    uint64_t each = en_plain_item_rows(m, p->n_tokens), first = item * each;
    uint64_t n_rows = m->n_rows - first < each ? m->n_rows - first : each;
    if (is_tiled(m, p->n_tokens)) {
        en_tiles_run(p, first, n_rows, tile);
    } else if (en_plain_takes_integers(m, p->n_tokens)) {
        multiply_integers(p, first, first + n_rows);
    } else if (takes_floats_in_place(m, p->n_tokens)) {
        multiply_in_place(p, first, first + n_rows);
    } else {
        EN_TRY(en_source_read_rows(m->source, m->plain, first, n_rows, tile, err));
        en_kernels_get()->matmul_f32(tile, (size_t)n_rows, (size_t)m->n_cols, p->x, p->x_stride,
                                     p->n_tokens, p->y + first, p->y_stride);
    }
    return ENTRO_OK;
}
