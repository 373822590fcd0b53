/*
 * linear_pack.c - the decoded form of a matrix in coding 2, kept in memory; see linear_strips.h.
 */
#include "base/memory.h"
#include "linear/linear_strips.h"

static const en_strip_matrix *strips_of(const en_linear *matrix)
{
    return matrix->coded != NULL ? matrix->coded->strips : NULL;
}

/* Where each row class starts; returns the bytes of all. */
static uint64_t place_classes(const en_strip_matrix *m, uint64_t starts[EN_STRIP_MAX_ROW_CLASSES])
{
    uint64_t n_bytes = 0;
    for (uint32_t i = 0, first = 0; i < m->n_row_classes; first = m->row_class_end[i++]) {
        starts[i] = n_bytes;
        n_bytes += (uint64_t)(m->row_class_end[i] - first) * en_strips_strip_bytes(m, i);
    }
    return n_bytes;
}

uint64_t en_linear_pack_bytes(const en_linear *matrix)
{
    uint64_t starts[EN_STRIP_MAX_ROW_CLASSES];
    const en_strip_matrix *m = strips_of(matrix);
    return m != NULL ? place_classes(m, starts) : 0;
}

typedef struct pack_job {
    const en_strip_matrix *matrix;
    en_linear_packed *packed;
    bool *sound; /* of each chunk */
} pack_job;

/* The chunk's exceptions stand where they would if each took three bytes, the fewest, in the file. */
static uint64_t rest_at(const en_strip_matrix *m, uint32_t chunk)
{
    return en_load64(m->index + 24 * (size_t)chunk + 16) / 3;
}

static void pack_chunk(void *context, uint32_t chunk, uint32_t thread)
{
    pack_job *j = context;
    const en_strip_matrix *m = j->matrix;
    (void)thread;
    en_strips_decoder d;
    en_strips_decoder_start(&d, m, chunk);
    uint32_t row_class = d.place.row_class;
    uint32_t first = row_class == 0 ? 0 : m->row_class_end[row_class - 1];
    size_t strip_bytes = en_strips_strip_bytes(m, row_class), n_rest = 0;
    uint8_t *units = j->packed->units + j->packed->class_start[row_class] +
                     (d.place.first_strip - first) * strip_bytes;
    for (uint32_t s = 0; s < d.place.n_strips; s++)
        en_strips_decode(&d, units + s * strip_bytes, j->packed->rest + rest_at(m, chunk), &n_rest);
    j->packed->rest_start[chunk] = n_rest; /* their number, for now */
    j->sound[chunk] = en_strips_decoder_ended(&d);
}

/* Closes the gaps between the chunks' exceptions. */
static void gather_rest(const en_strip_matrix *m, en_linear_packed *p)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < m->n_chunks; i++) {
        uint64_t here = p->rest_start[i];
        memmove(p->rest + n, p->rest + rest_at(m, i), here * sizeof *p->rest);
        p->rest_start[i] = n;
        n += here;
    }
    p->rest_start[m->n_chunks] = n;
    en_strip_exception *less = en_realloc(p->rest, n, sizeof *less);
    p->rest = less != NULL ? less : p->rest;
}

static void free_packed(en_linear_packed *p)
{
    en_free(p->units);
    en_free(p->rest);
    en_free(p->rest_start);
    en_free(p);
}

static entro_status pack(en_linear *matrix, en_linear_packed *p, en_pool *pool, entro_error *err)
{
    const en_strip_matrix *m = strips_of(matrix);
    p->units = en_alloc_huge(place_classes(m, p->class_start), 1);
    p->rest = en_alloc(rest_at(m, m->n_chunks), sizeof *p->rest);
    p->rest_start = en_alloc((size_t)m->n_chunks + 1, sizeof *p->rest_start);
    pack_job j = {.matrix = m, .packed = p, .sound = en_alloc(m->n_chunks, sizeof *j.sound)};
    entro_status status = ENTRO_OK;
    if (p->units == NULL || p->rest == NULL || p->rest_start == NULL || j.sound == NULL)
        status = en_fail_memory(err);
    else
        en_pool_run(pool, pack_chunk, &j, m->n_chunks);
    for (uint32_t i = 0; status == ENTRO_OK && i < m->n_chunks; i++)
        if (!j.sound[i])
            status = en_strips_fail(matrix, i, err);
    en_free(j.sound);
    if (status == ENTRO_OK)
        gather_rest(m, p);
    return status;
}

entro_status en_linear_pack(en_linear *matrix, en_pool *pool, entro_error *err)
{
    if (strips_of(matrix) == NULL)
        return en_fail(err, ENTRO_ERR_ARGUMENT, "matrix '%s' is not in coding 2", matrix->name);
    if (matrix->packed != NULL)
        return ENTRO_OK;
    en_linear_packed *p = en_alloc_zero(1, sizeof *p);
    if (p == NULL)
        return en_fail_memory(err);
    entro_status status = pack(matrix, p, pool, err);
    if (status != ENTRO_OK)
        free_packed(p);
    else
        matrix->packed = p;
    return status;
}

void en_linear_unpack(en_linear *matrix)
{
    if (matrix->packed == NULL)
        return;
    free_packed(matrix->packed);
    matrix->packed = NULL;
}
