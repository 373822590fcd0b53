/*
 * linear_scratch.h - what one thread needs to turn a piece of a matrix into numbers.
 *
 *   codes: one decoded segment         tile: the f32 rows that are multiplied next
 *          or some decoded strips            or a token's inputs in stored order
 *   rest:  exceptions of those strips         reader: what their decoder needs
 *
 * A tile is a few rows, so that it stays in the core's L2 cache while all tokens pass by; in the
 * other direction it is long enough for the micro-kernels of matmul_f32.
 */
#ifndef EN_LINEAR_LINEAR_SCRATCH_H
#define EN_LINEAR_LINEAR_SCRATCH_H

#include "linear/linear_strips.h"

struct en_linear_scratch {
    uint32_t n_threads;
    size_t codes_bytes, tile_bytes, rest_bytes, reader_bytes; /* of each thread */
    uint8_t *memory;      /* codes, tile, rest, reader of thread 0, codes of thread 1 ... */
    uint8_t *activations; /* linear_inputs.h; grows with the number of tokens */
    size_t activation_bytes;
    uint64_t n_jobs;
    struct {
        _Alignas(64) uint64_t job; /* that the thread last made its own inputs for */
    } * made;
};

/* Room for so many bytes of activations; what was there is lost. */
entro_status en_linear_grow_activations(en_linear_scratch *s, size_t n_bytes, entro_error *err);

static inline uint8_t *en_linear_codes(const en_linear_scratch *s, uint32_t thread)
{
    return s->memory +
           (size_t)thread * (s->codes_bytes + s->tile_bytes + s->rest_bytes + s->reader_bytes);
}

static inline float *en_linear_tile(const en_linear_scratch *s, uint32_t thread)
{
    return (float *)(en_linear_codes(s, thread) + s->codes_bytes);
}

static inline en_strips_room en_linear_strips_room(const en_linear_scratch *s, uint32_t thread)
{
    uint8_t *codes = en_linear_codes(s, thread), *tile = codes + s->codes_bytes;
    return (en_strips_room){.units = codes,
                            .ordered = (float *)(void *)tile,
                            .rest = (en_strip_exception *)(void *)(tile + s->tile_bytes),
                            .reader = tile + s->tile_bytes + s->rest_bytes};
}

/*
 * Rows of a tile, a multiple of 4.  A prompt's inputs stream by from L3 or memory once a tile, so
 * its tiles are tall; 32 rows of 8960 columns are 1.1 MB, but matmul_f32 works on pieces of the
 * columns that fit in L2 (measured: 62 GFLOP/s with 16 such rows, 72 with 32).  For a single token
 * a tile is used once and had better stay in L1.
 */
static inline uint32_t en_linear_tile_rows(uint64_t n_cols, bool many_tokens)
{
    enum { MANY_ROWS = 32, SMALL_TILE_BYTES = 32 << 10, MIN_ROWS = 4 };
    if (many_tokens || n_cols == 0)
        return MANY_ROWS;
    uint64_t rows = SMALL_TILE_BYTES / sizeof(float) / n_cols & ~(uint64_t)(MIN_ROWS - 1);
    return rows < MIN_ROWS ? MIN_ROWS : rows > MANY_ROWS ? MANY_ROWS : (uint32_t)rows;
}

#endif
