/*
 * linear_tiles.h - GGUF's blocks times the tokens of a prompt, in integers.
 *
 *   some rows of the file -> strips of 16 rows, units of bytes (kernels/scaled_units.h) -> all tokens
 *
 * Like strips (linear_strips.h), but with scales inside a row.
 */
#ifndef EN_LINEAR_LINEAR_TILES_H
#define EN_LINEAR_LINEAR_TILES_H

#include "linear/linear_plain.h"

/* Is there a kernel for blocks of this type? */
bool en_tiles_can(uint32_t dtype);
/* Rows of an item: whole strips. */
uint64_t en_tiles_rows(uint64_t n_cols);
/* 'tile' holds en_linear_tile_rows(n_cols, true) rows of f32, in which that many rows have room. */
void en_tiles_run(const en_plain_product *p, uint64_t first, uint64_t n_rows, float *tile);

#endif
