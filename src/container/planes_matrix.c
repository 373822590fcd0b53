/* planes_matrix.c - see planes_matrix.h. */
#include "container/planes_matrix.h"

#include "base/bytes.h"
#include "kernels/kernels.h"

uint32_t en_planes_of_dtype(uint32_t dtype)
{
    switch (dtype) {
    case EN_DTYPE_I8: return 1;
    case EN_DTYPE_F16:
    case EN_DTYPE_BF16: return 2;
    case EN_DTYPE_F32: return 4;
    }
    return 0;
}

bool en_planes_decode(const en_planes *m, uint32_t segment, uint8_t *room)
{
    uint64_t left = m->n_rows - (uint64_t)segment * m->rows_per_segment;
    size_t n = (size_t)((left < m->rows_per_segment ? left : m->rows_per_segment) * m->n_cols);
    const uint8_t *at = m->index + 8 * (size_t)segment * m->n_coded;
    for (uint32_t p = 0; p < m->n_planes; p++) {
        if (m->codes[p] == NULL)
            continue;
        uint64_t start = en_load64(at), end = en_load64(at + 8);
        if (!en_code_decode(m->codes[p], m->streams + start, (size_t)(end - start), room, n))
            return false;
        room += en_planes_room_stride(m);
        at += 8;
    }
    return true;
}

void en_planes_join(const en_planes *m, uint32_t segment, const uint8_t *room, size_t first,
                    size_t n, void *out)
{
    const uint8_t *planes[EN_MAX_PLANES] = {0};
    size_t before = (size_t)segment * en_planes_segment_elems(m);
    for (uint32_t p = 0; p < m->n_planes; p++) {
        if (m->codes[p] == NULL) {
            planes[p] = m->raw[p] + before + first;
        } else {
            planes[p] = room + first;
            room += en_planes_room_stride(m);
        }
    }
    if (m->n_planes == 1)
        memcpy(out, planes[0], n);
    else if (m->n_planes == 2)
        en_kernels_get()->join_planes_16(planes[0], planes[1], out, n);
    else
        en_kernels_get()->join_planes_32(planes[0], planes[1], planes[2], planes[3], out, n);
}

/* ---- the other way ------------------------------------------------------------------------- */

static void split_16(const uint16_t *v, size_t n, uint8_t *high, uint8_t *low)
{
    for (size_t i = 0; i < n; i++) {
        high[i] = (uint8_t)(v[i] >> 7);
        low[i] = (uint8_t)((v[i] >> 8 & 0x80) | (v[i] & 0x7f));
    }
}

static void split_32(const uint32_t *v, size_t n, uint8_t *high, uint8_t *low, uint8_t *third,
                     uint8_t *fourth)
{
    for (size_t i = 0; i < n; i++) {
        high[i] = (uint8_t)(v[i] >> 23);
        low[i] = (uint8_t)((v[i] >> 24 & 0x80) | (v[i] >> 16 & 0x7f));
        third[i] = (uint8_t)(v[i] >> 8);
        fourth[i] = (uint8_t)v[i];
    }
}

void en_planes_split(uint32_t dtype, const void *numbers, size_t n,
                     uint8_t *const planes[EN_MAX_PLANES])
{
    switch (en_planes_of_dtype(dtype)) {
    case 1: memcpy(planes[0], numbers, n); break;
    case 2: split_16(numbers, n, planes[0], planes[1]); break;
    default: split_32(numbers, n, planes[0], planes[1], planes[2], planes[3]);
    }
}
