/*
 * linear_planes.h - products with matrices in coding 3.
 *
 *   segments -> planes -> numbers as the source has them -> as in linear_plain.h
 *
 * Numbers and kernels are those of a plain matrix, and so are results, bit for bit; but a source whose
 * rows had to be put in order is multiplied by another kernel for one token of F16 or F32.
 */
#ifndef EN_LINEAR_LINEAR_PLANES_H
#define EN_LINEAR_LINEAR_PLANES_H

#include "linear/linear_plain.h"

static inline const en_planes *en_linear_planes_of(const en_linear *m)
{
    return m->coded != NULL ? m->coded->planes : NULL;
}

/* Bytes that a decoded segment and the numbers of a tile take; false on overflow. */
bool en_linear_planes_bytes(const en_planes *m, size_t *n_bytes);

/* Rows of segments first to end - 1.  'codes' is room of the bytes above, 'tile' holds
 * en_linear_tile_rows().  ENTRO_ERR_CHECKSUM when a stream is damaged. */
entro_status en_linear_planes_run(const en_plain_product *p, uint32_t first, uint32_t end,
                                  uint8_t *codes, float *tile, entro_error *err);

entro_status en_linear_planes_read_row(const en_linear *matrix, uint64_t row, float *out,
                                       uint8_t *codes, entro_error *err);

#endif
