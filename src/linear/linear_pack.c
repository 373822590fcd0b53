/*
 * linear_pack.c - see linear_pack.h.
 *
 * Chunks are decoded strip by strip, each thread in memory of its own, and cut to their bits.  A class
 * whose sample was not like the rest would give long lists: then the matrix is packed as it is decoded,
 * in 4 or 8 bits.
 */
#include "linear/linear_pack.h"

#include <stdatomic.h>

#include "base/memory.h"
#include "kernels/kernels.h"

enum {
    MAX_BITS = 8,
    UNIT_VALUES = EN_UNIT_COLS * EN_STRIP_ROWS,
    UNIT_GROUPS = EN_UNIT_COLS / 4,
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

/* ---- one strip --------------------------------------------------------------------------- */

/* What a thread works in. */
typedef struct pack_room {
    uint8_t *units; /* a decoded strip */
    void *reader;
    en_strip_exception *rest;   /* of its chunk */
    en_strip_exception *listed; /* of the strip */
    size_t n_listed, max_listed;
} pack_room;

/* Splits bytes below 1 << bits into pieces, see entropy/strips.h. */
static void put_pieces(const uint8_t *bytes, unsigned bits, uint8_t *out)
{
    memset(out, 0, en_unit_bytes(bits));
    for (unsigned piece = MAX_BITS, n_done = 0; piece > 0; piece /= 2) {
        if ((bits & piece) == 0)
            continue;
        for (unsigned j = 0; j < UNIT_GROUPS; j++) {
            unsigned up = j * piece % 8, mask = (1u << piece) - 1;
            uint8_t *to = out + j * piece / 8 * EN_STRIP_LANES;
            const uint8_t *from = bytes + j * EN_STRIP_LANES;
            for (unsigned lane = 0; lane < EN_STRIP_LANES; lane++)
                to[lane] = (uint8_t)(to[lane] | (from[lane] >> n_done & mask) << up);
        }
        n_done += piece;
        out += en_unit_bytes(piece);
    }
}

/* Bytes less 'lift' as far as so many bits hold them. */
static void cut(const uint8_t *bytes, unsigned bits, unsigned lift, uint8_t *held)
{
    uint8_t least = (uint8_t)lift, most = (uint8_t)((1u << bits) - 1);
    for (unsigned i = 0; i < UNIT_VALUES; i++) {
        uint8_t v = bytes[i] > least ? (uint8_t)(bytes[i] - least) : 0;
        held[i] = v < most ? v : most;
    }
}

/* Lists what was cut off.  False when there is no room. */
static bool list_cut(pack_room *room, const uint8_t *bytes, const uint8_t *held, unsigned lift,
                     uint32_t unit)
{
    for (unsigned i = 0; i < UNIT_VALUES; i++) {
        if (i % 8 == 0 &&
            en_load64(held + i) + lift * UINT64_C(0x0101010101010101) == en_load64(bytes + i)) {
            i += 7; /* all eight are whole */
            continue;
        }
        int32_t left = (int32_t)bytes[i] - (int32_t)lift - held[i];
        if (left == 0)
            continue;
        if (room->n_listed == room->max_listed)
            return false;
        uint32_t lane = i % EN_STRIP_LANES, group = i / EN_STRIP_LANES;
        room->listed[room->n_listed++] =
            (en_strip_exception){lane / 4, unit * EN_UNIT_COLS + group * 4 + lane % 4, left};
    }
    return true;
}

/* Units of one class.  False when there are too many values that do not fit. */
static bool pack_units(pack_room *room, const uint8_t *from, unsigned decoded_bits,
                       en_pack_layout layout, uint32_t first_unit, uint32_t n_units, uint8_t *out)
{
    uint8_t bytes[UNIT_VALUES], held[UNIT_VALUES];
    if (layout.bits == decoded_bits) {
        memcpy(out, from, n_units * en_unit_bytes(decoded_bits));
        return true;
    }
    for (uint32_t i = 0; i < n_units; i++) {
        en_kernels_get()->unit_expand(from, decoded_bits, 1, 0, bytes);
        cut(bytes, layout.bits, layout.lift, held);
        put_pieces(held, layout.bits, out);
        if (!list_cut(room, bytes, held, layout.lift, first_unit + i))
            return false;
        from += en_unit_bytes(decoded_bits);
        out += en_unit_bytes(layout.bits);
    }
    return true;
}

/* The strip in the room.  False as above. */
static bool pack_strip(const en_strip_matrix *m, const en_pack_layout *layouts, uint32_t row_class,
                       pack_room *room, uint8_t *out)
{
    const uint8_t *from = room->units;
    for (uint32_t i = 0, first = 0; i < m->n_col_classes; first = m->col_class_end[i++]) {
        uint32_t both = row_class * m->n_col_classes + i, n = m->col_class_end[i] - first;
        unsigned bits = en_strip_decoded_bits(m->layouts[both].mode);
        if (!pack_units(room, from, bits, layouts[both], first, n, out))
            return false;
        from += n * en_unit_bytes(bits);
        out += n * en_unit_bytes(layouts[both].bits);
    }
    return true;
}

/* ---- lists ------------------------------------------------------------------------------- */

/* The lists of a chunk's strips, while they grow. */
typedef struct chunk_lists {
    uint8_t *data;
    size_t n, cap;
} chunk_lists;

enum { SMALL_DELTA = 7, ENTRY_BYTES = 3, LARGE_BYTES = 4 };

static bool is_small(int32_t delta)
{
    return delta >= -SMALL_DELTA && delta <= SMALL_DELTA;
}

/* Large ones first, where they are found sooner.  Returns the bytes of the list; 0: no memory. */
static size_t add_list(chunk_lists *lists, const en_strip_exception *e, size_t n)
{
    size_t n_large = 0;
    for (size_t i = 0; i < n; i++)
        n_large += !is_small(e[i].delta);
    size_t n_bytes = sizeof(uint32_t) + n * ENTRY_BYTES + n_large * LARGE_BYTES;
    void *data = lists->data;
    if (!en_grow(&data, &lists->cap, lists->n + n_bytes, SIZE_MAX / 2, 1))
        return 0;
    lists->data = data;
    uint8_t *cols = lists->data + lists->n, *tags, *large;
    en_store32(cols, (uint32_t)n);
    cols += sizeof(uint32_t);
    tags = cols + 2 * n;
    large = tags + n;
    for (size_t i = 0, at_large = 0, at_small = n_large; i < n; i++) {
        bool small = is_small(e[i].delta);
        size_t at = small ? at_small++ : at_large++;
        en_store16(cols + 2 * at, (uint16_t)e[i].col);
        tags[at] = (uint8_t)(e[i].row | (small ? (uint32_t)(e[i].delta + 8) << 4 : 0));
        if (!small)
            en_store32(large + LARGE_BYTES * at, (uint32_t)e[i].delta);
    }
    lists->n += n_bytes;
    return n_bytes;
}

en_strip_list en_pack_list(const en_linear_packed *p, uint32_t strip)
{
    const uint8_t *at = p->lists + p->list_start[strip];
    en_strip_list list = {.n = en_load32(at), .cols = at + sizeof(uint32_t)};
    list.tags = list.cols + 2 * (size_t)list.n;
    list.large = list.tags + list.n;
    list.n_large = (uint32_t)(p->lists + p->list_start[strip + 1] - list.large) / LARGE_BYTES;
    return list;
}

/* ---- chunks ------------------------------------------------------------------------------ */

typedef struct pack_job {
    const en_strip_matrix *matrix;
    en_linear_packed *packed;
    pack_room *rooms;               /* of each thread */
    chunk_lists *chunks;            /* of each chunk */
    _Atomic uint32_t damaged_chunk; /* the first; n_chunks: none */
    atomic_bool crowded, no_memory;
    uint32_t first_chunk;    /* of those at hand */
    const en_source *source; /* 'stored' is its tensor; NULL: its pages are none of our business */
    const en_tensor *stored;
} pack_job;

static void note_damage(pack_job *j, uint32_t chunk)
{
    uint32_t first = atomic_load(&j->damaged_chunk);
    while (chunk < first && !atomic_compare_exchange_weak(&j->damaged_chunk, &first, chunk))
        ;
}

/* Behind what was cut off stands what the decoded form could not hold either. */
static bool finish_list(pack_job *j, uint32_t chunk, uint32_t strip, pack_room *room,
                        const en_strip_exception *rest, size_t n_rest)
{
    for (size_t i = 0; i < n_rest; i++) {
        en_strip_exception e = rest[i];
        e.row %= EN_STRIP_ROWS;
        room->listed[room->n_listed++] = e;
    }
    size_t n_bytes = add_list(&j->chunks[chunk], room->listed, room->n_listed);
    j->packed->list_start[strip] = n_bytes; /* their number, for now */
    return n_bytes > 0;
}

static void pack_chunk(void *context, uint32_t item, uint32_t thread)
{
    pack_job *j = context;
    uint32_t chunk = j->first_chunk + item;
    const en_strip_matrix *m = j->matrix;
    pack_room *room = &j->rooms[thread];
    en_strips_decoder d;
    en_strips_decoder_start(&d, m, chunk, room->reader);
    uint32_t row_class = d.place.row_class;
    uint32_t first = row_class == 0 ? 0 : m->row_class_end[row_class - 1];
    uint64_t n_bytes = en_pack_strip_bytes(m, j->packed->layouts, row_class);
    uint8_t *out = j->packed->units + j->packed->class_start[row_class] +
                   (d.place.first_strip - first) * n_bytes;
    for (uint32_t s = 0; s < d.place.n_strips; s++, out += n_bytes) {
        size_t n_rest = 0;
        room->n_listed = 0;
        en_strips_decode(&d, room->units, room->rest, &n_rest);
        if (!pack_strip(m, j->packed->layouts, row_class, room, out)) {
            atomic_store(&j->crowded, true);
            return;
        }
        if (!finish_list(j, chunk, d.place.first_strip + s, room, room->rest, n_rest)) {
            atomic_store(&j->no_memory, true);
            return;
        }
    }
    if (!en_strips_decoder_ended(&d))
        note_damage(j, chunk);
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
        en_pool_run(pool, pack_chunk, j, end - first);
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
        en_free(rooms[i].listed);
    }
    en_free(rooms);
}

static pack_room *make_rooms(const en_strip_matrix *m, uint32_t n_threads)
{
    pack_room *rooms = en_alloc_zero(n_threads, sizeof *rooms);
    size_t max_rest = en_strips_max_rest(m), n_values = (size_t)m->n_units * UNIT_VALUES;
    for (uint32_t i = 0; rooms != NULL && i < n_threads; i++) {
        pack_room *r = &rooms[i];
        r->max_listed = n_values / MAX_LISTED_OVER;
        r->units = en_alloc(n_values, 1);
        r->reader = en_alloc(en_strip_reader_bytes(m), 1);
        r->rest = en_alloc(max_rest, sizeof *r->rest);
        r->listed = en_alloc(r->max_listed + max_rest, sizeof *r->listed);
        if (r->units == NULL || r->reader == NULL || r->rest == NULL || r->listed == NULL) {
            free_rooms(rooms, n_threads);
            return NULL;
        }
    }
    return rooms;
}

static void free_lists(chunk_lists *chunks, uint32_t n_chunks)
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
    p->lists = en_alloc_huge(n, 1);
    for (uint32_t i = 0; p->lists != NULL && i < m->n_chunks; i++)
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
    double lists = (double)p->list_start[m->n_strips] * EN_PACK_LISTED_BITS / (8 * ENTRY_BYTES);
    uint64_t here = en_pack_place_classes(m, p->layouts, starts),
             there = en_pack_place_classes(m, decoded, starts);
    return here < there && (double)here + lists > (double)there;
}

static entro_status pack(const en_linear *matrix, en_linear_packed *p, const en_source *source,
                         const en_tensor *stored, en_pool *pool, entro_error *err)
{
    const en_strip_matrix *m = strips_of(matrix);
    uint32_t n_threads = en_pool_n_threads(pool);
    pack_job j = {.matrix = m,
                  .packed = p,
                  .rooms = make_rooms(m, n_threads),
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
