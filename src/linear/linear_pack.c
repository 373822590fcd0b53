/*
 * linear_pack.c - see linear_pack.h.
 *
 * Chunks are decoded strip by strip, a few chunks side by side, each thread in memory of its own, and cut
 * to their bits (pack_strip.h).  A class whose sample was not like the rest would give long lists: then the
 * matrix is packed as it is decoded, in 4 or 8 bits.
 */
#include "linear/linear_pack.h"

#include <stdatomic.h>

#include "base/memory.h"
#include "kernels/kernels.h"
#include "linear/pack_strip.h"

enum {
    UNIT_VALUES = EN_UNIT_COLS * EN_STRIP_ROWS,
    MAX_LISTED_OVER = 16, /* at most one over this of a strip's values are cut */
};

static const en_strip_matrix *strips_of(const en_linear *matrix)
{
    return matrix->coded != NULL ? matrix->coded->strips : NULL;
}

bool en_linear_can_pack(const en_linear *matrix)
{
    return strips_of(matrix) != NULL;
}

uint64_t en_linear_pack_bytes(const en_linear *matrix)
{
    en_pack_layout layouts[EN_STRIP_MAX_ROW_CLASSES * EN_STRIP_MAX_COL_CLASSES];
    uint64_t starts[EN_STRIP_MAX_ROW_CLASSES];
    const en_strip_matrix *m = strips_of(matrix);
    if (matrix->packed != NULL)
        return matrix->packed->n_bytes;
    if (m == NULL)
        return 0;
    en_pack_plan(m, layouts);
    return en_pack_place_classes(m, layouts, starts);
}

/* ---- chunks ------------------------------------------------------------------------------ */

/* What a thread works in. */
typedef struct pack_room {
    uint8_t *units; /* decoded strips, one of each chunk side by side */
    size_t strip_bytes;
    void *reader;
    en_strip_exception *rest; /* of a strip */
    en_pack_cut_off off;      /* 'entries' has room for 'rest' behind 'max' */
} pack_room;

typedef struct pack_job {
    const en_strip_matrix *matrix;
    en_linear_packed *packed;
    pack_room *rooms;               /* of each thread */
    en_pack_lists *chunks;          /* of each chunk */
    _Atomic uint32_t damaged_chunk; /* the first; n_chunks: none */
    atomic_bool crowded, no_memory;
    uint32_t first_chunk, end_chunk; /* those at hand */
    uint32_t side_by_side;           /* chunks of an item */
    const en_source *source; /* 'stored' is its tensor; NULL: its pages are none of our business */
    const en_tensor *stored;
} pack_job;

static void note_damage(pack_job *j, uint32_t chunk)
{
    uint32_t first = atomic_load(&j->damaged_chunk);
    while (chunk < first && !atomic_compare_exchange_weak(&j->damaged_chunk, &first, chunk))
        ;
}

/* One decoded strip of a chunk.  False when that is the end of it all. */
static bool pack_strip(pack_job *j, en_strips_decoder *d, uint8_t *units, pack_room *room)
{
    const en_strip_matrix *m = j->matrix;
    uint32_t row_class = d->place.row_class, strip = d->place.first_strip + d->next_strip;
    uint32_t first = row_class == 0 ? 0 : m->row_class_end[row_class - 1];
    uint8_t *out = j->packed->units + j->packed->class_start[row_class] +
                   (strip - first) * en_pack_strip_bytes(m, j->packed->layouts, row_class);
    en_pack_cut_off *off = &room->off;
    size_t n_rest = 0;
    off->n = 0;
    en_strips_put_right(d, units, room->rest, &n_rest);
    if (!en_pack_cut_strip(m, j->packed->layouts, row_class, units, out, off)) {
        atomic_store(&j->crowded, true);
        return false;
    }
    /* Behind what was cut off stands what the decoded form could not hold either. */
    for (size_t i = 0; i < n_rest; i++) {
        off->entries[off->n] = room->rest[i];
        off->entries[off->n++].row %= EN_STRIP_ROWS;
    }
    en_pack_lists *lists = &j->chunks[d->chunk];
    size_t before = lists->n;
    bool ok = en_pack_lists_add(lists, off->entries, off->n);
    j->packed->list_start[strip] = lists->n - before; /* their number, for now */
    if (!ok)
        atomic_store(&j->no_memory, true);
    return ok;
}

/* Chunks side by side, of one row class. */
static void pack_together(pack_job *j, uint32_t first, uint32_t n_chunks, pack_room *room)
{
    en_strips_decoder decoders[EN_STRIP_MAX_CHUNKS];
    for (uint32_t i = 0; i < n_chunks; i++)
        en_strips_decoder_start(&decoders[i], j->matrix, first + i, room->reader);
    uint32_t n = n_chunks, n_strips = en_strip_chunk_at(j->matrix, first).n_strips;
    for (uint32_t s = 0; s < n_strips; s++) { /* only the last chunk may have fewer */
        n -= decoders[n - 1].place.n_strips == s;
        en_strips_decode_units(decoders, n, room->units, room->strip_bytes);
        for (uint32_t i = 0; i < n; i++)
            if (!pack_strip(j, &decoders[i], room->units + i * room->strip_bytes, room))
                return;
    }
    for (uint32_t i = 0; i < n_chunks; i++)
        if (!en_strips_decoder_ended(&decoders[i]))
            note_damage(j, first + i);
}

static void pack_item(void *context, uint32_t item, uint32_t thread)
{
    pack_job *j = context;
    uint32_t first = j->first_chunk + item * j->side_by_side, left = j->end_chunk - first;
    uint32_t end = first + (left < j->side_by_side ? left : j->side_by_side);
    for (uint32_t n; first < end; first += n) {
        uint32_t row_class = en_strip_chunk_at(j->matrix, first).row_class;
        for (n = 1; first + n < end;)
            if (en_strip_chunk_at(j->matrix, first + n).row_class == row_class)
                n++;
            else
                break;
        pack_together(j, first, n, &j->rooms[thread]);
    }
}

static void forget_coded(const pack_job *j, uint32_t first, uint32_t end)
{
    en_strip_span spans[EN_STRIP_STREAMS];
    en_strip_spans_of(j->matrix, first, end, spans);
    for (unsigned i = 0; j->source != NULL && i < EN_STRIP_STREAMS; i++)
        en_source_forget_part(j->source, j->stored, (uint64_t)(spans[i].data - j->stored->data),
                              spans[i].n_bytes);
}

/* Some at a time, so that memory need not hold all of a matrix twice: packed and, as pages of the file,
 * coded. */
static void pack_chunks(pack_job *j, en_pool *pool)
{
    enum { WEIGHTS_AT_ONCE = 1 << 24 };
    const en_strip_matrix *m = j->matrix;
    uint32_t n_chunks = m->n_chunks, chunk_weights = m->strips_per_chunk * m->n_units * UNIT_VALUES;
    uint32_t at_once = WEIGHTS_AT_ONCE / chunk_weights + 1;
    for (uint32_t first = 0, end; first < n_chunks; first = end) {
        end = n_chunks - first < at_once ? n_chunks : first + at_once;
        j->first_chunk = first;
        j->end_chunk = end;
        en_pool_run(pool, pack_item, j, (end - first + j->side_by_side - 1) / j->side_by_side);
        forget_coded(j, first, end);
    }
}

/* ---- the matrix -------------------------------------------------------------------------- */

static void free_rooms(pack_room *rooms, uint32_t n_threads)
{
    for (uint32_t i = 0; rooms != NULL && i < n_threads; i++) {
        en_free(rooms[i].units);
        en_free(rooms[i].reader);
        en_free(rooms[i].rest);
        en_free(rooms[i].off.entries);
    }
    en_free(rooms);
}

static pack_room *make_rooms(const en_strip_matrix *m, uint32_t side_by_side, uint32_t n_threads)
{
    pack_room *rooms = en_alloc_zero(n_threads, sizeof *rooms);
    size_t max_rest = en_strips_max_rest(m), n_values = (size_t)m->n_units * UNIT_VALUES;
    for (uint32_t i = 0; rooms != NULL && i < n_threads; i++) {
        pack_room *r = &rooms[i];
        r->strip_bytes = n_values;
        r->units = en_alloc(side_by_side, n_values);
        r->reader = en_alloc(en_strip_reader_bytes(m), 1);
        r->rest = en_alloc(max_rest, sizeof *r->rest);
        r->off.max = n_values / MAX_LISTED_OVER;
        r->off.entries = en_alloc(r->off.max + max_rest, sizeof *r->off.entries);
        if (r->units == NULL || r->reader == NULL || r->rest == NULL || r->off.entries == NULL) {
            free_rooms(rooms, n_threads);
            return NULL;
        }
    }
    return rooms;
}

static void free_lists(en_pack_lists *chunks, uint32_t n_chunks)
{
    for (uint32_t i = 0; chunks != NULL && i < n_chunks; i++)
        en_free(chunks[i].data);
    en_free(chunks);
}

/* Lists one behind the other. */
static bool gather_lists(const pack_job *j)
{
    const en_strip_matrix *m = j->matrix;
    en_linear_packed *p = j->packed;
    uint64_t n = 0;
    for (uint32_t i = 0; i < m->n_strips; i++) {
        uint64_t here = p->list_start[i];
        p->list_start[i] = n;
        n += here;
    }
    p->list_start[m->n_strips] = n;
    p->lists = en_alloc_huge(n > 0 ? n : 1, 1);
    for (uint32_t i = 0; p->lists != NULL && i < m->n_chunks; i++)
        if (j->chunks[i].n > 0) /* else it has no memory */
            memcpy(p->lists + p->list_start[en_strip_chunk_at(m, i).first_strip], j->chunks[i].data,
                   j->chunks[i].n);
    return p->lists != NULL;
}

static void free_packed(en_linear_packed *p)
{
    en_free(p->units);
    en_free(p->lists);
    en_free(p->list_start);
    en_free(p);
}

/* With the layouts that are set.  ENTRO_OK and 'crowded' where these do not suit. */
static entro_status pack_so(const en_linear *matrix, pack_job *j, en_pool *pool, entro_error *err)
{
    const en_strip_matrix *m = j->matrix;
    en_linear_packed *p = j->packed;
    uint64_t n_units_bytes = en_pack_place_classes(m, p->layouts, p->class_start);
    p->units = en_alloc_huge(n_units_bytes, 1);
    j->chunks = en_alloc_zero(m->n_chunks, sizeof *j->chunks);
    entro_status status = ENTRO_OK;
    atomic_store(&j->crowded, false);
    atomic_store(&j->damaged_chunk, m->n_chunks);
    if (p->units == NULL || j->chunks == NULL)
        status = en_fail_memory(err);
    else
        pack_chunks(j, pool);
    if (status == ENTRO_OK && atomic_load(&j->no_memory))
        status = en_fail_memory(err);
    else if (status == ENTRO_OK && atomic_load(&j->damaged_chunk) < m->n_chunks)
        status = en_strips_fail(matrix, atomic_load(&j->damaged_chunk), err);
    else if (status == ENTRO_OK && !atomic_load(&j->crowded) && !gather_lists(j))
        status = en_fail_memory(err);
    free_lists(j->chunks, m->n_chunks);
    if (status == ENTRO_OK && !atomic_load(&j->crowded))
        p->n_bytes = sizeof *p + n_units_bytes + p->list_start[m->n_strips] +
                     (m->n_strips + UINT64_C(1)) * sizeof *p->list_start;
    return status;
}

/* Would the decoded form be cheaper? */
static bool lists_are_dear(const en_strip_matrix *m, const en_linear_packed *p)
{
    en_pack_layout decoded[EN_STRIP_MAX_ROW_CLASSES * EN_STRIP_MAX_COL_CLASSES];
    uint64_t starts[EN_STRIP_MAX_ROW_CLASSES];
    en_pack_plan_as_decoded(m, decoded);
    double lists =
        (double)p->list_start[m->n_strips] * EN_PACK_LISTED_BITS / (8 * EN_PACK_ENTRY_BYTES);
    uint64_t here = en_pack_place_classes(m, p->layouts, starts),
             there = en_pack_place_classes(m, decoded, starts);
    return here < there && (double)here + lists > (double)there;
}

static entro_status pack(const en_linear *matrix, en_linear_packed *p, const en_source *source,
                         const en_tensor *stored, en_pool *pool, entro_error *err)
{
    const en_strip_matrix *m = strips_of(matrix);
    uint32_t n_threads = en_pool_n_threads(pool);
    uint32_t side_by_side =
        m->rans != NULL ? 1 : en_strips_side_by_side(EN_STRIP_MAX_CHUNKS, m->n_chunks, n_threads);
    pack_job j = {.matrix = m,
                  .packed = p,
                  .rooms = make_rooms(m, side_by_side, n_threads),
                  .side_by_side = side_by_side,
                  .source = source,
                  .stored = stored};
    p->list_start = en_alloc((size_t)m->n_strips + 1, sizeof *p->list_start);
    if (j.rooms == NULL || p->list_start == NULL) {
        free_rooms(j.rooms, n_threads);
        return en_fail_memory(err);
    }
    en_pack_plan(m, p->layouts);
    entro_status status = pack_so(matrix, &j, pool, err);
    if (status == ENTRO_OK && (atomic_load(&j.crowded) || lists_are_dear(m, p))) {
        en_free(p->units);
        en_free(p->lists);
        p->lists = NULL;
        en_pack_plan_as_decoded(m, p->layouts);
        status = pack_so(matrix, &j, pool, err);
    }
    free_rooms(j.rooms, n_threads);
    return status;
}

entro_status en_linear_pack(en_linear *matrix, const en_source *source, const en_tensor *stored,
                            en_pool *pool, entro_error *err)
{
    if (!en_linear_can_pack(matrix))
        return en_fail(err, ENTRO_ERR_ARGUMENT, "matrix '%s' is not in coding 2 or 4",
                       matrix->name);
    if (matrix->packed != NULL)
        return ENTRO_OK;
    en_linear_packed *p = en_alloc_zero(1, sizeof *p);
    if (p == NULL)
        return en_fail_memory(err);
    entro_status status = pack(matrix, p, source, stored, pool, err);
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

/* ---- access ------------------------------------------------------------------------------ */

const uint8_t *en_pack_strip(const en_linear *matrix, uint32_t row_class, uint32_t strip)
{
    const en_strip_matrix *m = strips_of(matrix);
    const en_linear_packed *p = matrix->packed;
    uint32_t first = row_class == 0 ? 0 : m->row_class_end[row_class - 1];
    return p->units + p->class_start[row_class] +
           (strip - first) * en_pack_strip_bytes(m, p->layouts, row_class);
}

en_pack_list en_pack_list_of(const en_linear_packed *p, uint32_t strip)
{
    uint64_t start = p->list_start[strip], n_bytes = p->list_start[strip + 1] - start;
    return n_bytes == 0 ? (en_pack_list){0} : en_pack_list_at(p->lists + start, (size_t)n_bytes);
}
