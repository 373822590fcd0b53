/*
 * matmul_template.h - products of rows with rows, over the vector of vector_template.h.
 *
 *              k ->                       A block of MR rows of w and NR tokens of x keeps MR * NR
 *   w  rows    ....|....|....|....        sums in registers, each a vector along k; one step loads
 *   x  tokens  ....|....|....|....        MR + NR vectors for MR * NR multiply-adds.
 *
 * MATMUL_TOKENS says how many tokens leave room for all sums, one vector of each row and one of x.
 * Long rows are cut into pieces of at most PIECE so that the tokens of a block stay in L1 while the
 * rows of w pass by from L2; y collects the pieces.
 *
 * A sum depends on its row, its token and n_cols only, not on the block it falls in, so a token
 * gets the same numbers in any batch of two tokens or more, and in any cut of the matrix into tiles.
 */
#ifndef EN_KERNELS_MATMUL_TEMPLATE_H
#define EN_KERNELS_MATMUL_TEMPLATE_H

#include "kernels/kernels.h"

#ifdef __clang__
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 8")
#endif

enum { MATMUL_ROWS = 4, PIECE = 1280 };

/* One piece of one call. */
typedef struct piece {
    const float *w, *x;
    size_t w_stride, x_stride, n; /* n columns */
    float *y;
    size_t y_stride;
    bool is_first; /* y is set, not added to */
} piece;

static inline __attribute__((always_inline)) void add_step(const size_t n_rows,
                                                           const size_t n_tokens, const piece *p,
                                                           const float *w, const float *x, size_t m,
                                                           vec sums[MATMUL_TOKENS][MATMUL_ROWS])
{
    vec rows[MATMUL_ROWS];
    UNROLL
    for (size_t r = 0; r < n_rows; r++)
        rows[r] = load(w + r * p->w_stride, m);
    UNROLL
    for (size_t t = 0; t < n_tokens; t++) {
        vec token = load(x + t * p->x_stride, m);
        UNROLL
        for (size_t r = 0; r < n_rows; r++)
            sums[t][r] = v_fma(rows[r], token, sums[t][r]);
    }
}

/* 'n_rows' and 'n_tokens' are constants where this is inlined. */
static inline __attribute__((always_inline)) void
multiply_block(const size_t n_rows, const size_t n_tokens, const piece *p, size_t row, size_t token)
{
    vec sums[MATMUL_TOKENS][MATMUL_ROWS];
    const float *w = p->w + row * p->w_stride, *x = p->x + token * p->x_stride;
    UNROLL
    for (size_t t = 0; t < n_tokens; t++)
        UNROLL
    for (size_t r = 0; r < MATMUL_ROWS; r++)
        sums[t][r] = v_set(0.0f);
    size_t k = 0;
    for (; k + LANES <= p->n; k += LANES)
        add_step(n_rows, n_tokens, p, w + k, x + k, LANES, sums);
    if (k < p->n)
        add_step(n_rows, n_tokens, p, w + k, x + k, p->n - k, sums);
    UNROLL
    for (size_t t = 0; t < n_tokens; t++) {
        float out[MATMUL_ROWS], *y = p->y + (token + t) * p->y_stride + row;
        v_sum4(out, sums[t][0], sums[t][1], sums[t][2], sums[t][3]);
        for (size_t r = 0; r < n_rows; r++)
            y[r] = p->is_first ? out[r] : y[r] + out[r];
    }
}

static inline __attribute__((always_inline)) void
multiply_tokens(const size_t n_tokens, const piece *p, size_t n_rows, size_t token)
{
    size_t row = 0;
    for (; row + 4 <= n_rows; row += 4)
        multiply_block(4, n_tokens, p, row, token);
    if (row + 2 <= n_rows) {
        multiply_block(2, n_tokens, p, row, token);
        row += 2;
    }
    if (row < n_rows)
        multiply_block(1, n_tokens, p, row, token);
}

static void multiply_piece(const piece *p, size_t n_rows, size_t n_tokens)
{
    size_t token = 0;
    for (; token + MATMUL_TOKENS <= n_tokens; token += MATMUL_TOKENS)
        multiply_tokens(MATMUL_TOKENS, p, n_rows, token);
#if MATMUL_TOKENS > 4
    if (token + 4 <= n_tokens) {
        multiply_tokens(4, p, n_rows, token);
        token += 4;
    }
#endif
    if (token + 2 <= n_tokens) {
        multiply_tokens(2, p, n_rows, token);
        token += 2;
    }
    if (token < n_tokens)
        multiply_tokens(1, p, n_rows, token);
}

static void matmul_f32(const float *w, size_t n_rows, size_t n_cols, const float *x,
                       size_t x_stride, size_t n_tokens, float *y, size_t y_stride)
{
    size_t n_pieces = (n_cols + PIECE - 1) / PIECE, n = n_cols;
    if (n_pieces > 1) /* equal pieces of whole vectors */
        n = (n_cols / n_pieces + LANES) / LANES * LANES;
    piece p = {w, x, n_cols, x_stride, n, y, y_stride, true};
    size_t k = 0;
    do { /* once even without columns, to set y to 0 */
        p.w = w + k;
        p.x = x + k;
        p.n = n_cols - k < n ? n_cols - k : n;
        multiply_piece(&p, n_rows, n_tokens);
        p.is_first = false;
        k += n;
    } while (k < n_cols);
}

#endif
