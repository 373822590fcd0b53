/*
 * units_amx.c - units of 8 bits a value times many vectors, in AMX tiles.
 *
 *   tile of vectors   16 vectors x 64 columns     signed
 *   tile of weights   two units: row j is group j, 4 columns of each of 16 rows      unsigned
 *   tile of sums      16 vectors x 16 rows        as unit_dot has them
 *
 * A unit of 8 bits lies in memory just as the instruction wants its second factor.  Units of fewer bits
 * are turned into bytes first, a block at a time.
 *
 * Tiles 0 to 3 are sums, 7 weights, 4 to 6 vectors; 3 and 6 belong to the last of a block's groups of
 * 16, which may have fewer vectors.
 */
#include "kernels/x86/units_avx512.h"

enum {
    TILE = 16,      /* vectors, and rows of 64 bytes */
    MAX_TILES = 4,  /* of vectors at a time */
    TILE_COLS = 64, /* columns */
    TILE_UNITS = 2, /* units in them */
    EXPAND_UNITS =
        32, /* turned into bytes at a time: 16 KB, beside which vectors are in L1 as well */
};

typedef struct tile_config {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t n_rows[16];
} tile_config;

static void configure(unsigned n_last)
{
    tile_config c = {.palette = 1};
    for (int i = 0; i < 8; i++) {
        c.row_bytes[i] = TILE_COLS;
        c.n_rows[i] = (uint8_t)(i == 3 || i == 6 ? n_last : TILE);
    }
    _tile_loadconfig(&c);
}

/* The intrinsics want literal numbers of tiles. */
#define LOAD_SUMS(T, I)                                                                            \
    _tile_loadd(T, sums + (I)*TILE * EN_STRIP_ROWS, EN_STRIP_ROWS * sizeof *sums)
#define STORE_SUMS(T, I)                                                                           \
    _tile_stored(T, sums + (I)*TILE * EN_STRIP_ROWS, EN_STRIP_ROWS * sizeof *sums)
#define MULTIPLY(T, V, I)                                                                          \
    _tile_loadd(V, x + (size_t)(I)*TILE * stride + col, stride);                                   \
    _tile_dpbsud(T, V, 7)

/* n_tiles groups of vectors, the last in tile 3. */
INLINED void dot_tiles(const uint8_t *units, size_t n_units, const int8_t *x, size_t stride,
                       int n_tiles, int32_t *sums)
{
    size_t n_cols = n_units * EN_UNIT_COLS;
    if (n_tiles > 1)
        LOAD_SUMS(0, 0);
    if (n_tiles > 2)
        LOAD_SUMS(1, 1);
    if (n_tiles > 3)
        LOAD_SUMS(2, 2);
    LOAD_SUMS(3, n_tiles - 1);
    for (size_t col = 0; col < n_cols; col += TILE_COLS) {
        _tile_loadd(7, units + col * EN_STRIP_ROWS, TILE_COLS);
        if (n_tiles > 1) {
            MULTIPLY(0, 4, 0);
        }
        if (n_tiles > 2) {
            MULTIPLY(1, 5, 1);
        }
        if (n_tiles > 3) {
            MULTIPLY(2, 4, 2);
        }
        MULTIPLY(3, 6, n_tiles - 1);
    }
    if (n_tiles > 1)
        STORE_SUMS(0, 0);
    if (n_tiles > 2)
        STORE_SUMS(1, 1);
    if (n_tiles > 3)
        STORE_SUMS(2, 2);
    STORE_SUMS(3, n_tiles - 1);
}

/* Whole pairs of units, as bytes. */
static void dot_bytes(const uint8_t *units, size_t n_units, const int8_t *x, size_t stride,
                      size_t n_tiles, int32_t *sums)
{
    switch (n_tiles) {
    case 1: dot_tiles(units, n_units, x, stride, 1, sums); break;
    case 2: dot_tiles(units, n_units, x, stride, 2, sums); break;
    case 3: dot_tiles(units, n_units, x, stride, 3, sums); break;
    default: dot_tiles(units, n_units, x, stride, 4, sums); break;
    }
}

static void dot_pairs(const uint8_t *units, unsigned bits, size_t n_units, const int8_t *x,
                      size_t stride, size_t n_tiles, int32_t *sums)
{
    _Alignas(64) uint8_t bytes[EXPAND_UNITS * EN_STRIP_LANES * 8];
    if (bits == 8) {
        dot_bytes(units, n_units, x, stride, n_tiles, sums);
        return;
    }
    for (size_t done = 0, n; done < n_units; done += n) {
        n = n_units - done < EXPAND_UNITS ? n_units - done : EXPAND_UNITS;
        en_units_avx512_expand(units + done * en_unit_bytes(bits), bits, n, 0, bytes);
        dot_bytes(bytes, n, x + done * EN_UNIT_COLS, stride, n_tiles, sums);
    }
}

static bool evenly_spaced(const int8_t *const *x, size_t n_vectors)
{
    for (size_t v = 1; v < n_vectors; v++)
        if ((uintptr_t)x[v] - (uintptr_t)x[v - 1] != (uintptr_t)x[1] - (uintptr_t)x[0])
            return false;
    return n_vectors > 1 && x[1] > x[0];
}

static void unit_dot(const uint8_t *units, unsigned bits, size_t n_units, const int8_t *const *x,
                     size_t n_vectors, int32_t *sums)
{
    size_t n_paired = n_units - n_units % TILE_UNITS;
    if (n_vectors < TILE || n_paired == 0 || !evenly_spaced(x, n_vectors)) {
        en_units_avx512_dot(units, bits, n_units, x, n_vectors, sums);
        return;
    }
    size_t stride = (size_t)(x[1] - x[0]);
    for (size_t v = 0, n; v < n_vectors; v += n) {
        n = n_vectors - v < MAX_TILES * TILE ? n_vectors - v : MAX_TILES * TILE;
        size_t n_tiles = (n + TILE - 1) / TILE;
        configure((unsigned)(n - (n_tiles - 1) * TILE));
        dot_pairs(units, bits, n_paired, x[v], stride, n_tiles, sums + v * EN_STRIP_ROWS);
    }
    _tile_release(); /* else every switch of threads saves 8 KB */
    if (n_paired < n_units) {
        const int8_t *rest[MAX_TILES * TILE];
        for (size_t v = 0, n; v < n_vectors; v += n) {
            n = n_vectors - v < MAX_TILES * TILE ? n_vectors - v : MAX_TILES * TILE;
            for (size_t i = 0; i < n; i++)
                rest[i] = x[v + i] + n_paired * EN_UNIT_COLS;
            en_units_avx512_dot(units + n_paired * en_unit_bytes(bits), bits, 1, rest, n,
                                sums + v * EN_STRIP_ROWS);
        }
    }
}

void en_kernels_init_units_amx(en_kernels *table)
{
    table->unit_dot = unit_dot;
}
