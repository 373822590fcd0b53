/*
 * linear_round.c - see linear_round.h.
 *
 * A rounded matrix is one in coding 4 that is packed already: one class of rows and one of columns, 8 bits a
 * value, no lists, and no stream that it could be decoded from again.
 */
#include "linear/linear_round.h"

#include <math.h>
#include <stdatomic.h>

#include "base/memory.h"
#include "kernels/kernels.h"
#include "linear/linear_pack.h"

enum { MAX_CODE = 255, BITS = 8, STRIPS_PER_CHUNK = 2, INDEX_BYTES = 24 };

typedef struct rounded {
    en_coded coded;
    en_strip_matrix strips;
    float *steps, *offsets; /* of each row */
    uint8_t *index;         /* of streams that are empty */
} rounded;

/* What a thread works in: the rows of a strip, as numbers and as bytes. */
typedef struct room {
    float *rows;
    uint8_t *bytes;
} room;

typedef struct round_job {
    const en_linear *matrix;
    rounded *r;
    uint8_t *units;
    room *rooms;
    atomic_bool failed;
    entro_status status; /* written by the thread that sets 'failed' */
    entro_error err;
} round_job;

bool en_linear_can_round(const en_linear *matrix)
{
    return matrix->plain != NULL && matrix->n_cols > 0 && matrix->n_cols <= EN_STRIP_MAX_COLS &&
           matrix->n_rows > 0 && matrix->n_rows <= UINT32_MAX;
}

/* ---- one strip --------------------------------------------------------------------------- */

static void round_row(const float *x, size_t n, uint8_t *bytes, float *step, float *offset)
{
    const en_kernels *k = en_kernels_get();
    float hi, inverse;
    if (!k->min_max(x, n, offset, &hi)) {
        *step = NAN;
        return;
    }
    *step = (hi - *offset) / MAX_CODE;
    inverse = 1.0f / *step;
    if (isinf(inverse)) /* all numbers are the same, or nearly so */
        *step = inverse = 0.0f;
    k->quantize(x, *offset, inverse, MAX_CODE, bytes, n);
}

/* Rows of bytes to units: groups of four columns of all rows. */
static void put_units(const uint8_t *bytes, size_t n_padded, uint64_t n_rows, uint8_t *units)
{
    for (uint64_t r = 0; r < n_rows; r++)
        for (size_t k = 0; k < n_padded; k += 4)
            memcpy(units + k * EN_STRIP_ROWS + r * 4, bytes + r * n_padded + k, 4);
}

static entro_status round_strip(const round_job *j, uint32_t strip, const room *at,
                                entro_error *err)
{
    const en_linear *m = j->matrix;
    uint64_t first = (uint64_t)strip * EN_STRIP_ROWS, left = m->n_rows - first;
    uint64_t n_rows = left < EN_STRIP_ROWS ? left : EN_STRIP_ROWS;
    size_t n_cols = (size_t)m->n_cols, n_padded = en_strip_padded_cols(&j->r->strips);
    EN_TRY(en_source_read_rows(m->source, m->plain, first, n_rows, at->rows, err));
    memset(at->bytes, 0, n_padded * EN_STRIP_ROWS);
    for (uint64_t r = 0; r < n_rows; r++)
        round_row(at->rows + r * n_cols, n_cols, at->bytes + r * n_padded, &j->r->steps[first + r],
                  &j->r->offsets[first + r]);
    put_units(at->bytes, n_padded, EN_STRIP_ROWS, j->units + strip * n_padded * EN_STRIP_ROWS);
    return ENTRO_OK;
}

static void round_item(void *context, uint32_t item, uint32_t thread)
{
    round_job *j = context;
    entro_error err;
    if (atomic_load_explicit(&j->failed, memory_order_relaxed))
        return;
    entro_status status = round_strip(j, item, &j->rooms[thread], &err);
    if (status == ENTRO_OK || atomic_exchange(&j->failed, true))
        return;
    j->status = status;
    j->err = err;
}

/* ---- the matrix -------------------------------------------------------------------------- */

static en_strip_matrix shape_of(const en_linear *m)
{
    en_strip_matrix s = {.n_rows = m->n_rows,
                         .n_cols = m->n_cols,
                         .n_units = (uint32_t)((m->n_cols + EN_UNIT_COLS - 1) / EN_UNIT_COLS),
                         .n_strips = (uint32_t)((m->n_rows + EN_STRIP_ROWS - 1) / EN_STRIP_ROWS),
                         .strips_per_chunk = STRIPS_PER_CHUNK,
                         .n_row_classes = 1,
                         .n_col_classes = 1};
    s.row_class_end[0] = s.n_strips;
    s.col_class_end[0] = s.n_units;
    s.layouts[0] = (en_strip_layout){.mode = EN_STRIP_BYTES};
    s.n_chunks = en_strip_count_chunks(&s);
    return s;
}

static en_linear_packed *make_packed(const en_strip_matrix *s)
{
    en_linear_packed *p = en_alloc_zero(1, sizeof *p);
    if (p == NULL)
        return NULL;
    p->layouts[0] = (en_pack_layout){.bits = BITS};
    uint64_t n_units = en_pack_place_classes(s, p->layouts, p->class_start);
    p->units = en_alloc_huge(n_units, 1);
    p->list_start = en_alloc_zero(s->n_strips + (size_t)1, sizeof *p->list_start);
    p->n_bytes = sizeof *p + n_units + (s->n_strips + 1) * sizeof *p->list_start;
    return p;
}

static bool make_rounded(en_linear *out, const en_linear *matrix)
{
    *out = (en_linear){.n_rows = matrix->n_rows, .n_cols = matrix->n_cols, .name = matrix->name};
    rounded *r = en_alloc_zero(1, sizeof *r);
    if (r == NULL)
        return false;
    size_t n_rows = (size_t)matrix->n_rows;
    r->strips = shape_of(matrix);
    r->steps = en_alloc(n_rows, sizeof *r->steps);
    r->offsets = en_alloc(n_rows, sizeof *r->offsets);
    r->index = en_alloc_zero((size_t)r->strips.n_chunks + 1, INDEX_BYTES);
    r->strips.index = r->index;
    r->coded = (en_coded){.n_rows = matrix->n_rows,
                          .n_cols = matrix->n_cols,
                          .steps = r->steps,
                          .offsets = r->offsets,
                          .n_grids = matrix->n_rows,
                          .strips = &r->strips};
    out->coded = &r->coded;
    out->packed = make_packed(&r->strips);
    return r->steps && r->offsets && r->index && out->packed && out->packed->units &&
           out->packed->list_start;
}

static void free_rooms(room *rooms, uint32_t n_threads)
{
    for (uint32_t i = 0; rooms != NULL && i < n_threads; i++) {
        en_free(rooms[i].rows);
        en_free(rooms[i].bytes);
    }
    en_free(rooms);
}

static room *make_rooms(const en_strip_matrix *s, uint32_t n_threads)
{
    room *rooms = en_alloc_zero(n_threads, sizeof *rooms);
    for (uint32_t i = 0; rooms != NULL && i < n_threads; i++) {
        rooms[i].rows = en_alloc(EN_STRIP_ROWS, (size_t)s->n_cols * sizeof *rooms[i].rows);
        rooms[i].bytes = en_alloc(EN_STRIP_ROWS, en_strip_padded_cols(s));
        if (rooms[i].rows == NULL || rooms[i].bytes == NULL) {
            free_rooms(rooms, n_threads);
            return NULL;
        }
    }
    return rooms;
}

entro_status en_linear_round(en_linear *out, const en_linear *matrix, en_pool *pool,
                             entro_error *err)
{
    round_job j = {.matrix = matrix};
    if (!en_linear_can_round(matrix))
        return en_fail(err, ENTRO_ERR_ARGUMENT, "matrix '%s' is coded, or too wide to be rounded",
                       matrix->name);
    bool is_made = make_rounded(out, matrix);
    const en_strip_matrix *s = is_made ? out->coded->strips : NULL;
    j.rooms = is_made ? make_rooms(s, en_pool_n_threads(pool)) : NULL;
    if (j.rooms == NULL) {
        en_linear_round_free(out);
        return en_fail_memory(err);
    }
    j.r = (rounded *)(void *)out->coded;
    j.units = out->packed->units;
    en_pool_run(pool, round_item, &j, s->n_strips);
    free_rooms(j.rooms, en_pool_n_threads(pool));
    if (j.status != ENTRO_OK) {
        en_linear_round_free(out);
        if (err != NULL)
            *err = j.err;
    }
    return j.status;
}

void en_linear_round_free(en_linear *matrix)
{
    rounded *r = (rounded *)(void *)matrix->coded; /* which is its first member */
    en_linear_unpack(matrix);
    if (r != NULL) {
        en_free(r->steps);
        en_free(r->offsets);
        en_free(r->index);
        en_free(r);
    }
    *matrix = (en_linear){0};
}
