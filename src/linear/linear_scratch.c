/* linear_scratch.c - see linear_scratch.h. */
#include "linear/linear_scratch.h"

#include "base/memory.h"
#include "linear/linear_planes.h"

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

static bool make_strips_room(en_linear_scratch *s, const en_strip_matrix *m)
{
    return grow_to(&s->codes_bytes, 1, en_strips_units_bytes(m), 0) &&
           grow_to(&s->tile_bytes, en_strip_padded_cols(m), sizeof(float), 0) &&
           grow_to(&s->rest_bytes, en_strips_max_rest(m), sizeof(en_strip_exception), 0) &&
           grow_to(&s->reader_bytes, 1, en_strip_reader_bytes(m), 0);
}

static bool make_room(en_linear_scratch *s, const en_linear *m)
{
    if (en_linear_in_strips(m))
        return make_strips_room(s, m->coded->strips);
    size_t row_bytes, n_codes = 0;
    const en_planes *planes = en_linear_planes_of(m);
    if (planes != NULL &&
        !(en_linear_planes_bytes(planes, &n_codes) && grow_to(&s->codes_bytes, 1, n_codes, 0)))
        return false;
    if (m->coded != NULL && planes == NULL &&
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
    if (fits && en_add(s->codes_bytes, s->tile_bytes, &each) &&
        en_add(each, s->rest_bytes, &each) && en_add(each, s->reader_bytes, &each))
        s->memory = en_alloc(n_threads, each);
    s->made = en_alloc_zero(n_threads, sizeof *s->made);
    if (s->memory == NULL || s->made == NULL) {
        en_linear_scratch_free(s);
        return en_fail_memory(err);
    }
    *out = s;
    return ENTRO_OK;
}

entro_status en_linear_grow_activations(en_linear_scratch *s, size_t n_bytes, entro_error *err)
{
    if (n_bytes <= s->activation_bytes)
        return ENTRO_OK;
    en_free(s->activations);
    s->activation_bytes = 0;
    s->activations = en_alloc(n_bytes, 1);
    if (s->activations == NULL)
        return en_fail_memory(err);
    s->activation_bytes = n_bytes;
    return ENTRO_OK;
}

void en_linear_scratch_free(en_linear_scratch *scratch)
{
    if (scratch == NULL)
        return;
    en_free(scratch->memory);
    en_free(scratch->made);
    en_free(scratch->activations);
    en_free(scratch);
}

size_t en_linear_scratch_bytes(const en_linear_scratch *scratch)
{
    return sizeof *scratch + scratch->activation_bytes +
           scratch->n_threads * (sizeof *scratch->made + scratch->codes_bytes +
                                 scratch->tile_bytes + scratch->rest_bytes + scratch->reader_bytes);
}
