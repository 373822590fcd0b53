/* linear_planes.c - see linear_planes.h. */
#include "linear/linear_planes.h"

#include "base/memory.h"

/* Some rows of a segment, from planes to the product. */
typedef struct work {
    const en_plain_product *product;
    const en_planes *planes;
    uint8_t *room, *numbers; /* decoded planes; 16-bit numbers of a tile */
    float *tile;
    uint32_t tile_rows;
    uint64_t row;    /* that the tile begins with */
    uint32_t n_held; /* rows in the tile */
} work;

bool en_linear_planes_bytes(const en_planes *m, size_t *n_bytes)
{
    size_t numbers;
    return en_mul(m->n_cols, en_linear_tile_rows(m->n_cols, true) * sizeof(uint16_t), &numbers) &&
           en_add(en_planes_room_bytes(m), numbers, n_bytes);
}

static entro_status decode(const en_linear *m, uint32_t segment, uint8_t *room, entro_error *err)
{
    if (en_planes_decode(m->coded->planes, segment, room))
        return ENTRO_OK;
    en_fail(err, ENTRO_ERR_CHECKSUM,
            "coded segment %u of %u is damaged; check the file with 'entrollm verify' and copy or "
            "make it again",
            segment, m->coded->n_segments);
    en_error_place(err, "tensor '%s'", m->name);
    return ENTRO_ERR_CHECKSUM;
}

/* One token of F16 is multiplied without making f32 of it first. */
static bool takes_halves(const work *w)
{
    return w->product->n_tokens == 1 && w->planes->dtype == EN_DTYPE_F16;
}

/* n rows of a segment, from its row 'first' on, behind those in the tile. */
static void add_rows(work *w, uint32_t segment, uint64_t first, uint32_t n)
{
    const en_planes *m = w->planes;
    size_t n_cols = (size_t)m->n_cols, at = w->n_held * n_cols, n_elems = n * n_cols;
    if (m->dtype == EN_DTYPE_F32) {
        en_planes_join(m, segment, w->room, (size_t)first * n_cols, n_elems, w->tile + at);
    } else {
        uint8_t *numbers = w->numbers + at * sizeof(uint16_t);
        en_planes_join(m, segment, w->room, (size_t)first * n_cols, n_elems, numbers);
        if (!takes_halves(w))
            en_kernels_get()->dequantize[m->dtype](numbers, w->tile + at, n_elems);
    }
    w->n_held += n;
}

static void multiply_tile(work *w)
{
    const en_plain_product *p = w->product;
    const en_kernels *k = en_kernels_get();
    size_t n_cols = (size_t)w->planes->n_cols;
    float *y = p->y + w->row;
    if (takes_halves(w)) {
        for (uint32_t r = 0; r < w->n_held; r++)
            y[r] =
                k->dot_f16((const uint16_t *)(const void *)w->numbers + r * n_cols, p->x, n_cols);
    } else if (p->n_tokens == 1 && w->planes->dtype == EN_DTYPE_F32) {
        for (uint32_t r = 0; r < w->n_held; r++)
            y[r] = k->dot_f32(w->tile + r * n_cols, p->x, n_cols);
    } else {
        k->matmul_f32(w->tile, w->n_held, n_cols, p->x, p->x_stride, p->n_tokens, y, p->y_stride);
    }
    w->row += w->n_held;
    w->n_held = 0;
}

entro_status en_linear_planes_run(const en_plain_product *p, uint32_t first, uint32_t end,
                                  uint8_t *codes, float *tile, entro_error *err)
{
    const en_planes *m = p->matrix->coded->planes;
    work w = {.product = p,
              .planes = m,
              .room = codes,
              .numbers = codes + en_planes_room_bytes(m),
              .tile = tile,
              .tile_rows = en_linear_tile_rows(m->n_cols, p->n_tokens > 1),
              .row = (uint64_t)first * m->rows_per_segment};
    for (uint32_t s = first; s < end; s++) {
        EN_TRY(decode(p->matrix, s, w.room, err));
        uint64_t n_rows = en_coded_segment_rows(p->matrix->coded, s);
        for (uint64_t r = 0; r < n_rows;) {
            uint64_t n = w.tile_rows - w.n_held;
            n = n < n_rows - r ? n : n_rows - r;
            add_rows(&w, s, r, (uint32_t)n);
            r += n;
            if (w.n_held == w.tile_rows)
                multiply_tile(&w);
        }
    }
    if (w.n_held > 0)
        multiply_tile(&w);
    return ENTRO_OK;
}

entro_status en_linear_planes_read_row(const en_linear *matrix, uint64_t row, float *out,
                                       uint8_t *codes, entro_error *err)
{
    const en_planes *m = matrix->coded->planes;
    size_t n_cols = (size_t)m->n_cols;
    uint32_t segment = (uint32_t)(row / m->rows_per_segment);
    EN_TRY(decode(matrix, segment, codes, err));
    size_t first = (size_t)(row % m->rows_per_segment) * n_cols;
    if (m->dtype == EN_DTYPE_F32) {
        en_planes_join(m, segment, codes, first, n_cols, out);
        return ENTRO_OK;
    }
    uint8_t *numbers = codes + en_planes_room_bytes(m);
    en_planes_join(m, segment, codes, first, n_cols, numbers);
    en_kernels_get()->dequantize[m->dtype](numbers, out, n_cols);
    return ENTRO_OK;
}
