/* linear_scratch.c - see linear_scratch.h. */
#include "linear/linear_scratch.h"

#include "base/memory.h"

enum { LINE = 64 };

/* Rounded up to whole cache lines, so that no two threads write to one. */
static bool grow_to(size_t *most, uint64_t n_items, uint64_t item_bytes, size_t slack)
{
    size_t n_bytes;
    if (!en_mul(n_items, item_bytes, &n_bytes) || !en_add(n_bytes, slack + LINE - 1, &n_bytes))
        return false;
    n_bytes &= ~(size_t)(LINE - 1);
    *most = n_bytes > *most ? n_bytes : *most;
    return true;
}

static bool make_room(en_linear_scratch *s, const en_linear *m)
{
    size_t row_bytes;
    if (m->coded != NULL &&
        !grow_to(&s->codes_bytes, m->coded->rows_per_segment, m->coded->n_cols, EN_CODE_OUT_SLACK))
        return false;
    return en_mul(m->n_cols, sizeof(float), &row_bytes) &&
           grow_to(&s->tile_bytes, en_linear_tile_rows(m->n_cols, true), row_bytes, 0);
}

entro_status en_linear_scratch_new(en_linear_scratch **out, const en_linear *const *matrices,
                                   size_t n_matrices, uint32_t n_threads, entro_error *err)
{
    en_linear_scratch *s = en_alloc_zero(1, sizeof *s);
    if (s == NULL)
        return en_fail_memory(err);
    s->n_threads = n_threads;
    bool fits = true;
    for (size_t i = 0; i < n_matrices && fits; i++)
        fits = make_room(s, matrices[i]);
    size_t each;
    if (fits && en_add(s->codes_bytes, s->tile_bytes, &each))
        s->memory = en_alloc(n_threads, each);
    if (s->memory == NULL) {
        en_free(s);
        return en_fail_memory(err);
    }
    *out = s;
    return ENTRO_OK;
}

void en_linear_scratch_free(en_linear_scratch *scratch)
{
    if (scratch == NULL)
        return;
    en_free(scratch->memory);
    en_free(scratch);
}

size_t en_linear_scratch_bytes(const en_linear_scratch *scratch)
{
    return sizeof *scratch + scratch->n_threads * (scratch->codes_bytes + scratch->tile_bytes);
}
