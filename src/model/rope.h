/*
 * rope.h - rotary positions: sines and cosines for a run of positions, and their application.
 *
 * The angle of pair i at position p is p * base^(-2i / n_rot) / divisor_i / linear_factor.  The
 * divisors are Llama 3's rope_freqs, or the short or long factors of long-rope: long ones when
 * the session's context exceeds the one before extension (as llama.cpp chooses; transformers
 * chooses by the length so far, which would turn cached keys wrong in the middle of a text).
 *
 * Angles are computed in double, sines and cosines stored as f32.
 */
#ifndef EN_MODEL_ROPE_H
#define EN_MODEL_ROPE_H

#include "model/model_weights.h"

typedef struct en_rope {
    en_rope_style style;
    uint32_t n_rot;
    float magnitude;     /* factor of sine and cosine (long-rope), else 1 */
    double *frequencies; /* n_rot / 2 */
    float *table;        /* n_batch rows: n_rot / 2 cosines, then as many sines */
} en_rope;

entro_status en_rope_new(en_rope *rope, const en_hparams *hp, const en_weights *w, uint32_t n_ctx,
                         uint32_t n_batch, entro_error *err);
void en_rope_free(en_rope *rope); /* a zeroed one is fine */
size_t en_rope_bytes(const en_rope *rope, uint32_t n_batch);

/* Fills the table for positions 'first' to first + n - 1, n <= n_batch. */
void en_rope_fill(en_rope *rope, uint32_t first, uint32_t n);

/* Rotates the first n_rot floats of each of 'n_heads' heads in place, for row 'row' of the table.
 * Scaled by 'magnitude'. */
void en_rope_apply(const en_rope *rope, uint32_t row, float *x, uint32_t n_heads,
                   uint32_t n_head_dim);
/* The transposed matrix of it, for gradients: turns back, scaled by 'magnitude' again. */
void en_rope_apply_transposed(const en_rope *rope, uint32_t row, float *x, uint32_t n_heads,
                              uint32_t n_head_dim);

#endif
