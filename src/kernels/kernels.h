/*
 * kernels.h - the table of hot loops.
 *
 * ref/ holds the truth in plain C.  x86/ and arm/ hold variants, one file a group and instruction
 * set, each with one init that overwrites entries; the last one that this processor supports wins.
 * Kernels on integers and codes, and conversions, are bit-exact across variants.  Sums of floats
 * may be added in another order: relative tolerance 1e-5 of the sum of magnitudes.
 *
 * Pointers need no alignment.  Nothing is read or written beyond the lengths given.
 */
#ifndef EN_KERNELS_KERNELS_H
#define EN_KERNELS_KERNELS_H

#include "entropy/rans.h"
#include "entropy/strip_list.h"
#include "kernels/bf16_tile.h"
#include "tensor/dtype.h"

/* A vector for dot_blocks: integers q of at most EN_PLANES_MAX, and sums that its blocks need. */
typedef struct en_block_vector {
    const int8_t *high, *low; /* q = 128 high + low, see quantize_planes */
    const float *fours;       /* of q[4 i] to q[4 i + 3] */
    const float *sums;        /* of q[32 i] to q[32 i + 31] */
} en_block_vector;

typedef struct en_scaled_units en_scaled_units;

enum { EN_ERROR_LANES = 16 };

/* Partial sums over weights w and what their codes stand for. */
typedef struct en_error_lanes {
    float error[EN_ERROR_LANES];   /* of (w - back)^2 */
    float weight[EN_ERROR_LANES];  /* of w^2 */
    float largest[EN_ERROR_LANES]; /* of |w - back| */
} en_error_lanes;

typedef struct en_kernels {
    /* ---- conversions (exact) ---- */
    /* n_elems (whole blocks) of a stored type to f32; NULL for types that are no floats. */
    void (*dequantize[EN_DTYPE_COUNT])(const uint8_t *blocks, float *out, size_t n_elems);
    void (*f32_to_f16)(const float *in, uint16_t *out, size_t n);  /* nearest even, +-inf above */
    void (*f32_to_bf16)(const float *in, uint16_t *out, size_t n); /* nearest even */

    /* Numbers from their bytes, see planes_template.h: 16 bits and 32 bits. */
    void (*join_planes_16)(const uint8_t *high, const uint8_t *low, uint16_t *out, size_t n);
    void (*join_planes_32)(const uint8_t *high, const uint8_t *low, const uint8_t *third,
                           const uint8_t *fourth, uint32_t *out, size_t n);

    /* ---- quantization (exact) ---- */
    /* *lo, *hi: smallest and largest value; returns false when there is a NaN or infinity.
     * n >= 1. */
    bool (*min_max)(const float *x, size_t n, float *lo, float *hi);
    /* codes[i] = clamp(rint((x[i] - offset) * inverse_step), 0, max_code): one subtraction, one
     * multiplication, each rounded to f32, then to nearest even. */
    void (*quantize)(const float *x, float offset, float inverse_step, unsigned max_code,
                     uint8_t *codes, size_t n);
    /* out[i] = codes[i] * step + offset: multiply, round, add, round (no fused multiply-add). */
    void (*expand_codes)(const uint8_t *codes, float step, float offset, float *out, size_t n);
    /* How far w lies from 'back': the sums of w and 'back' numbered i, i + EN_ERROR_LANES, ... go to
     * lane i % EN_ERROR_LANES, in this order, each operation rounded to f32. */
    void (*error_sums)(const float *w, const float *back, size_t n, en_error_lanes *sums);
    /* q = rint(x[i] * inverse) = 128 high[i] + low[i] for n_units * EN_UNIT_COLS values with |q| <=
     * EN_PLANES_MAX; high is the multiple nearest to q, of two the even one.  sums[u] = the sum of
     * unit u's q. */
    void (*quantize_planes)(const float *x, float inverse, size_t n_units, int8_t *high,
                            int8_t *low, int32_t *sums);

    /* ---- products ---- */
    /* sum (codes[i] - centre) x[i]; centre is a whole number from 0 to 255.  Codes lie far from 0
     * on one side: without a centre near zero weight the sum would lose bits by cancellation. */
    float (*dot_codes)(const uint8_t *codes, float centre, const float *x, size_t n);
    float (*dot_f32)(const float *a, const float *b, size_t n);
    /* y[t * y_stride + r] = sum_k w[r * n_cols + k] x[t * x_stride + k], r < n_rows, t < n_tokens */
    void (*matmul_f32)(const float *w, size_t n_rows, size_t n_cols, const float *x,
                       size_t x_stride, size_t n_tokens, float *y, size_t y_stride);
    float (*dot_f16)(const uint16_t *a, const float *x, size_t n);
    void (*axpy_f16)(float a, const uint16_t *x, float *y, size_t n); /* y += a x */
    float (*sum)(const float *x, size_t n);
    /* Products of bf16 (bf16_tile.h); packing is exact. */
    en_bf16_tile_fn bf16_tile;
    en_bf16_pack_fn bf16_pack_along, bf16_pack_across;

    /* ---- rows of int8 with scales (the KV cache) ----
     *
     * n_rows rows of n_cols numbers; columns c of row r are scaled by scales[c / EN_SCALE_COLS *
     * scale_stride + r].  A row's product does not depend on the rows beside it. */
    /* out[i] = rint(x[i] * inverse), at most 127 away from 0; no product is NaN.  Exact. */
    void (*round_i8)(const float *x, float inverse, int8_t *out, size_t n);
    /* out[r * n_cols + c] = scale * a[r * n_cols + c].  Exact. */
    void (*expand_i8)(const int8_t *a, const float *scales, size_t scale_stride, size_t n_rows,
                      size_t n_cols, float *out);
    /* out[r] = row r . x */
    void (*dot_i8)(const int8_t *a, const float *scales, size_t scale_stride, size_t n_rows,
                   size_t n_cols, const float *x, float *out);
    /* y[c] += sum over r of scale * a[r * n_cols + c] */
    void (*axpy_i8)(const int8_t *a, const float *scales, size_t scale_stride, size_t n_rows,
                    size_t n_cols, float *y);

    /* ---- the small steps of a transformer ---- */
    /* out = x / sqrt(mean(x^2) + epsilon) * gain; out may be x. */
    void (*rms_norm)(const float *x, const float *gain, float epsilon, float *out, size_t n);
    void (*softmax)(float *x, size_t n);
    void (*silu_mul)(const float *gate, const float *up, float *out,
                     size_t n);                      /* out may be gate */
    void (*add)(const float *x, float *y, size_t n); /* y += x */

    /*
     * ---- coding 2 (entropy/strips.h; integers, exact) ----
     *
     * x: n_vectors (1 to EN_STRIP_MAX_VECTORS) of n_units * EN_UNIT_COLS integers each.  Weights are
     * the values v, without their base.
     */
    /* sums[(chunk * n_vectors + vector) * 16 + row] += v . x of the next n_units of a strip of each
     * chunk.  n_chunks: 1 to EN_STRIP_MAX_CHUNKS, decoded side by side to hide latencies. */
    void (*strip_dot)(en_strip_lanes *const *lanes, size_t n_chunks, const en_pair_table *table,
                      en_strip_mode mode, size_t n_units, const int8_t *const *x, size_t n_vectors,
                      int32_t *sums);
    /* Decodes the next n_units of a strip of each chunk, en_strip_unit_bytes(mode) each, to
     * out + chunk * stride.  n_chunks as above. */
    void (*strip_decode)(en_strip_lanes *const *lanes, size_t n_chunks, const en_pair_table *table,
                         en_strip_mode mode, size_t n_units, uint8_t *out, size_t stride);
    /* sums[vector * 16 + row] += v . x of units of so many bits a value (any n_vectors). */
    void (*unit_dot)(const uint8_t *units, unsigned bits, size_t n_units, const int8_t *const *x,
                     size_t n_vectors, int32_t *sums);
    /* Units of fewer bits as units of 8, 'lift' added to each value; sums are below 256. */
    void (*unit_expand)(const uint8_t *units, unsigned bits, size_t n_units, unsigned lift,
                        uint8_t *out);
    /* And its encoding, for which entropy/strips.h has the reference. */
    en_strip_encode_fn strip_encode;
    en_strip_count_fn strip_count;

    /* sums[row] += difference * q[col] for all entries of a list.  q can be read for one more than the largest
     * column. */
    void (*list_add)(const en_strip_list *list, const int16_t *q, int64_t *sums);
    /* The largest column of a list, 0 of an empty one, and how many entries are large ones; 'large' and 'n_large'
     * need not be set. */
    uint32_t (*list_scan)(const en_strip_list *list, uint32_t *n_large);
    /* Of EN_STRIP_ROWS rows, from dots of the high plane and, behind them, of the low one:
     * sums[r] = 128 dots[r] + dots[16 + r] + base. */
    void (*strip_sums)(const int32_t *dots, int64_t base, int64_t *sums);
    /* out[r] = scale (steps[r] sums[r] + offsets[r] all) of as many rows, each operation rounded as doubles are,
     * the last one to f32. */
    void (*strip_outputs)(const int64_t *sums, const float *steps, const float *offsets,
                          double scale, double all, float *out);

    /* ---- coding 4 (entropy/rans.h, en_rans_decode(); exact, whatever the stream) ---- */
    void (*rans_decode)(en_rans_lanes *lanes, const en_rans_table *table, size_t n_units,
                        uint8_t *units);
    en_rans_encode_fn rans_encode;

    /*
     * ---- GGUF's blocks, multiplied as they are stored ----
     *
     * out[v] = sum of weight[k] q[k] of one row of whole blocks and vector v; n_vectors is 1 to
     * EN_BLOCKS_MAX_VECTORS, and a vector's result does not depend on the others.  NULL for types
     * without such a kernel.  Integers are exact, sums of scaled ones have the tolerance above, of
     * the magnitudes of both terms where a block has a minimum.
     */
    void (*dot_blocks[EN_DTYPE_COUNT])(const uint8_t *row, size_t n_cols, const en_block_vector *x,
                                       size_t n_vectors, float *out);
    /*
     * Sixteen rows of blocks taken apart (scaled_units.h), for many vectors:
     *
     *   out[v * 16 + row] += sum over units and parts of scale (bytes . q) + offset sum of q
     *
     * A vector's result does not depend on the others.  NULL in plain C (en_scaled_dot_ref() is for tests) and in
     * NEON without the dot product, where it would be slower than numbers in f32.
     * The tolerance is that of dot_blocks.
     */
    void (*dot_scaled)(const en_scaled_units *units, size_t n_units, const en_block_vector *x,
                       size_t n_vectors, float *out);
} en_kernels;

enum { EN_PLANES_MAX = 127 * 128 };
enum { EN_STRIP_MAX_VECTORS = 16, EN_STRIP_MAX_CHUNKS = 4 };
enum { EN_BLOCKS_MAX_VECTORS = 8 };
enum { EN_SCALE_COLS = 32 };

/* The table for this processor (see base/cpu.h); built once. */
const en_kernels *en_kernels_get(void);
/* Plain C only. */
const en_kernels *en_kernels_ref(void);
/* The table for a given set of features (tests); features the processor lacks must not be named. */
void en_kernels_fill(en_kernels *table, uint32_t cpu_features);

/* Each group's init; only those of the target's architecture exist. */
void en_kernels_init_ref(en_kernels *table);
void en_kernels_init_dequantize_ref(en_kernels *table);
void en_kernels_init_strips_ref(en_kernels *table);
void en_kernels_init_blocks_ref(en_kernels *table);
void en_kernels_init_bf16_ref(en_kernels *table);
void en_kernels_init_avx2(en_kernels *table);
void en_kernels_init_strips_avx2(en_kernels *table);
void en_kernels_init_strip_encode_avx2(en_kernels *table);
void en_kernels_init_strip_encode_avx512(en_kernels *table);
void en_kernels_init_units_avx2(en_kernels *table);
void en_kernels_init_strip_lists_avx2(en_kernels *table);
void en_kernels_init_strip_lists_avx512(en_kernels *table);
void en_kernels_init_rans_avx2(en_kernels *table);
void en_kernels_init_rans_encode_avx2(en_kernels *table);
void en_kernels_init_rans_avx512(en_kernels *table);
void en_kernels_init_rans_encode_avx512(en_kernels *table);
void en_kernels_init_blocks_avx2(en_kernels *table);
void en_kernels_init_avx512(en_kernels *table);
void en_kernels_init_strips_avx512(en_kernels *table);
void en_kernels_init_units_avx512(en_kernels *table);
void en_kernels_init_blocks_avx512(en_kernels *table);
void en_kernels_init_scaled_units_avx512(en_kernels *table);
void en_kernels_init_scaled_units_avx2(en_kernels *table);
void en_kernels_init_units_amx(en_kernels *table);
void en_kernels_init_tile_bf16(en_kernels *table);
void en_kernels_init_neon(en_kernels *table);
void en_kernels_init_strips_neon(en_kernels *table);
void en_kernels_init_blocks_neon(en_kernels *table);
void en_kernels_init_rans_neon(en_kernels *table);
void en_kernels_init_strips_dotprod(en_kernels *table);
void en_kernels_init_blocks_dotprod(en_kernels *table);
void en_kernels_init_scaled_units_dotprod(en_kernels *table);

#endif
