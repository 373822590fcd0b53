/* watersic_feedback.c - see watersic_feedback.h. */
#include "quant/watersic_feedback.h"

#include <math.h>
#include <string.h>

#include "quant/blas.h"

#include "base/memory.h"
#include "kernels/kernels.h"
#include "quant/method.h"
#include "quant/row_blocks.h"
#include "tensor/half.h"
#include "tensor/short_float.h"

enum { SUPER_BLOCK = 512, LEAST_SUPER_BLOCK = 128, TILE = 16, LANES = 8, ROW_BLOCK = 32 };
#define SUPER_BLOCK_FLOATS ((size_t)1 << 25) /* tall matrices get narrower super-blocks */

entro_status en_feedback_init(en_feedback *f, entro_error *err)
{
    size_t n_rows = f->p->n_rows, n_cols = f->p->n_cols, n_floats;
    f->width = SUPER_BLOCK;
    while (f->width > LEAST_SUPER_BLOCK && f->width > SUPER_BLOCK_FLOATS / n_rows)
        f->width /= 2;
    /* Whole cache lines, and neighbours not in the same sets of the caches. */
    f->stride = (n_rows + TILE - 1) / TILE * TILE;
    if (f->stride % 256 == 0)
        f->stride += TILE;
    f->n_pieces = en_row_blocks(n_rows);
    size_t n_super = n_cols < f->width ? n_cols : f->width;
    size_t n_block = n_cols < EN_FEEDBACK_BLOCK ? n_cols : EN_FEEDBACK_BLOCK;
    if (!en_mul(f->stride, n_cols, &n_floats))
        return en_fail_memory(err);
    f->d = en_alloc_huge(n_floats, sizeof *f->d);
    f->y = en_alloc_huge(f->stride * n_super, sizeof *f->y);
    f->z_block = en_alloc(f->stride * n_block, sizeof *f->z_block);
    f->sums = en_alloc(f->n_pieces, sizeof *f->sums);
    f->errors = en_alloc_zero(f->n_pieces, sizeof *f->errors);
    if (f->p->row_factor != NULL) {
        f->row_shares = en_alloc_huge(en_row_blocks_floats(n_rows), sizeof *f->row_shares);
        if (f->row_shares == NULL)
            return en_fail_memory(err);
    }
    if (!f->d || !f->y || !f->z_block || !f->sums || !f->errors)
        return en_fail_memory(err);
    return ENTRO_OK;
}

void en_feedback_free(en_feedback *f)
{
    en_free(f->d);
    en_free(f->y);
    en_free(f->z_block);
    en_free(f->sums);
    en_free(f->errors);
    en_free(f->row_shares);
}

static size_t piece_first(const en_feedback *f, size_t piece)
{
    return en_row_block_first(f->p->n_rows, piece);
}

void en_feedback_set_rows(en_feedback *f, const float *r)
{
    const float *m = f->p->row_factor;
    float *share = f->row_shares;
    for (size_t b = 0; m != NULL && b < f->n_pieces; b++) {
        size_t first = piece_first(f, b), n = piece_first(f, b + 1) - first;
        const float *inverse = f->inverse_steps + first;
        for (size_t i = 0; i < n; i++)
            for (size_t k = 0; k < n; k++)
                share[i * n + k] = k < i    ? (float)((double)m[i * n + k] * (double)inverse[k] /
                                                   ((double)r[first + k] * (double)inverse[i]))
                                   : k == i ? (float)((double)r[first + i] / (double)inverse[i])
                                            : 0.0f;
        m += n * n;
        share += n * n;
    }
}

void en_feedback_pieces(const en_feedback *f, en_pool_fn fn, void *context)
{
    if (f->p->pool != NULL && f->n_pieces > 1) {
        en_pool_run(f->p->pool, fn, context, (uint32_t)f->n_pieces);
        return;
    }
    for (size_t i = 0; i < f->n_pieces; i++)
        fn(context, (uint32_t)i, 0);
}

bool en_feedback_half(const en_watersic_problem *p, double x, float *half)
{
    float x32 = (float)(p->row_factor != NULL ? en_short_round(x) : x);
    uint16_t bits;
    x = (double)x32;
    en_kernels_get()->f32_to_f16(&x32, &bits, 1);
    *half = en_half_to_f32(bits);
    return fabs((double)*half - x) <= 0x1p-9 * fabs(x) && *half != 0;
}

/* ---- one column -------------------------------------------------------------------------- */

static float *column_of_y(const en_feedback *f, size_t col)
{
    return f->y + (col - f->super_first) * f->stride;
}

static int32_t *column_of_z(const en_feedback *f, size_t col)
{
    /* Blocks are counted from the super-block's first column, whose width they divide. */
    return f->z_block + (col - f->super_first) % EN_FEEDBACK_BLOCK * f->stride;
}

/* y += the weights themselves and the errors of the group's columns to the right. */
static void gather(const en_feedback *f, float *restrict y, size_t row, size_t n)
{
    const size_t n_cols = f->p->n_cols, j = f->col, stride = f->stride;
    const float *l = f->p->factor + j; /* of column j, by row */
    const float *d = f->d + row;
    size_t k = j;
    for (; k + 3 < f->group_end; k += 4) {
        const float *d0 = d + k * stride, *d1 = d0 + stride, *d2 = d1 + stride, *d3 = d2 + stride;
        float l0 = l[k * n_cols], l1 = l[(k + 1) * n_cols], l2 = l[(k + 2) * n_cols],
              l3 = l[(k + 3) * n_cols];
        for (size_t i = 0; i < n; i++)
            y[i] += (d0[i] * l0 + d1[i] * l1) + (d2[i] * l2 + d3[i] * l3);
    }
    for (; k < f->group_end; k++) {
        const float *d0 = d + k * stride;
        float l0 = l[k * n_cols];
        for (size_t i = 0; i < n; i++)
            y[i] += d0[i] * l0;
    }
}

/* z = rint(y / c) and its sums, in double: integers reach 2^30. */
static void round_column(const float *restrict y, int32_t *restrict z, size_t n, double c,
                         en_feedback_sums *sums)
{
    const double inverse = 1.0 / c, magic = 0x1.8p52;
    float lo, hi;
    *sums = (en_feedback_sums){.fits = en_kernels_get()->min_max(y, n, &lo, &hi)};
    sums->fits = sums->fits && fmax((double)hi, -(double)lo) * inverse <= EN_QUANT_MAX_INTEGER;
    if (!sums->fits)
        return;
    double zy[LANES] = {0}, zz[LANES] = {0};
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        for (size_t lane = 0; lane < LANES; lane++) {
            double value = (double)y[i + lane];
            double q = (value * inverse + magic) - magic;
            z[i + lane] = (int32_t)q;
            zy[lane] += q * value;
            zz[lane] += q * q;
        }
    }
    for (; i < n; i++) {
        double value = (double)y[i], q = (value * inverse + magic) - magic;
        z[i] = (int32_t)q;
        zy[0] += q * value;
        zz[0] += q * q;
    }
    for (size_t lane = 0; lane < LANES; lane++) {
        sums->zy += zy[lane];
        sums->zz += zz[lane];
    }
}

/* Leaves the errors of a column whose scale is known now: in weights, and in Y. */
static void close_column(const en_feedback *f, size_t col, size_t row, size_t n)
{
    const int32_t *restrict z = column_of_z(f, col) + row;
    float *restrict d = f->d + col * f->stride + row, *restrict y = column_of_y(f, col) + row;
    const double scale = f->closing_scale;
    const double step = scale * (double)f->p->factor[col * f->p->n_cols + col];
    for (size_t i = 0; i < n; i++) {
        double q = (double)z[i];
        d[i] = (float)((double)d[i] - q * scale);
        y[i] = (float)((double)y[i] - q * step);
    }
}

/* The sums that rows 'first' to first + n_block - 1 of a piece of n rows get from those behind them. */
static void gather_rows(const float *shares, const float *errors, size_t n, size_t first,
                        size_t n_block, float sums[ROW_BLOCK])
{
    for (size_t k = 0; k < ROW_BLOCK; k++)
        sums[k] = 0;
    if (n_block < ROW_BLOCK) { /* the last rows of the piece: none behind them */
        return;
    }
    for (size_t i = first + n_block; i < n; i++) {
        const float *share = shares + i * n + first, e = errors[i];
        for (size_t k = 0; k < ROW_BLOCK; k++)
            sums[k] += share[k] * e;
    }
}

/*
 * close_column() with two-sided feedback: integers are rounded once more, rows from the last to the
 * first.  What Y was becomes its error, as there; what rounding leaves is added up.
 */
static void close_two_sided(const en_feedback *f, size_t col, size_t piece, size_t row, size_t n)
{
    int32_t *restrict z = column_of_z(f, col) + row;
    float *restrict d = f->d + col * f->stride + row, *restrict y = column_of_y(f, col) + row;
    const double scale = f->closing_scale, inverse = 1.0 / f->closing_step;
    const double step = scale * (double)f->p->factor[col * f->p->n_cols + col];
    const float *shares = f->row_shares;
    for (size_t b = 0; b < piece; b++) {
        size_t rows = piece_first(f, b + 1) - piece_first(f, b);
        shares += rows * rows;
    }
    double left = 0;
    /* Whole blocks lie at the front; what is over comes first. */
    for (size_t end = n, first; end > 0; end = first) {
        first = (end - 1) / ROW_BLOCK * ROW_BLOCK;
        float sums[ROW_BLOCK];
        gather_rows(shares, y, n, first, end - first, sums);
        for (size_t i = end; i-- > first;) {
            double value = (double)y[i] + (double)sums[i - first];
            double q = rint(value * inverse);
            q = fmin(fmax(q, -(double)EN_QUANT_MAX_INTEGER), (double)EN_QUANT_MAX_INTEGER);
            double e = value - q * step, weighted = e * (double)shares[i * n + i];
            left += weighted * weighted;
            z[i] = (int32_t)q;
            d[i] = (float)((double)d[i] - q * scale);
            y[i] = (float)((double)y[i] - q * step);
            const float *share = shares + i * n + first;
            for (size_t k = 0; k < i - first; k++)
                sums[k] += share[k] * y[i];
        }
    }
    f->errors[piece] += left;
}

/* One visit of the rows closes a column and rounds the next one. */
static void visit_piece(void *context, uint32_t item, uint32_t thread)
{
    (void)thread;
    const en_feedback *f = context;
    size_t row = piece_first(f, item), n = piece_first(f, item + 1u) - row;
    if (f->is_closing && f->row_shares != NULL)
        close_two_sided(f, f->col + 1, item, row, n);
    else if (f->is_closing)
        close_column(f, f->col + 1, row, n);
    if (!f->is_rounding)
        return;
    float *y = column_of_y(f, f->col) + row;
    gather(f, y, row, n);
    round_column(y, column_of_z(f, f->col) + row, n, f->c, &f->sums[item]);
}

static entro_status choose_scale(en_feedback *f, entro_error *err)
{
    double zy = 0, zz = 0;
    for (size_t i = 0; i < f->n_pieces; i++) {
        if (!f->sums[i].fits)
            return en_fail(err, ENTRO_ERR_UNSUPPORTED,
                           "column %zu has weights of more than 2^30 steps, which cannot be "
                           "stored; ask for fewer bits, or store this tensor as it is with "
                           "'--keep NAME'",
                           f->col);
        zy += f->sums[i].zy;
        zz += f->sums[i].zz;
    }
    double pivot = (double)f->p->factor[f->col * f->p->n_cols + f->col];
    double scale = zz > 0 ? zy / zz / pivot : f->typical_scale;
    float half;
    f->closing_step = f->c;
    if (f->half_scales && en_feedback_half(f->p, scale, &half)) {
        f->closing_step *= (double)half / scale;
        scale = (double)half;
    } else {
        f->half_scales = false;
    }
    f->col_scales[f->col] = (float)scale;
    f->closing_scale = (double)f->col_scales[f->col];
    if (!isfinite(f->col_scales[f->col]))
        return en_fail(err, ENTRO_ERR_UNSUPPORTED,
                       "the scale of column %zu is beyond f32; store this tensor as it is with "
                       "'--keep NAME'",
                       f->col);
    return ENTRO_OK;
}

static entro_status round_group(en_feedback *f, size_t first, size_t end, entro_error *err)
{
    f->group_end = end;
    f->is_rounding = true;
    f->is_closing = false;
    for (f->col = end; f->col-- > first;) {
        en_feedback_pieces(f, visit_piece, f);
        EN_TRY(choose_scale(f, err));
        f->is_closing = true;
    }
    f->col = first - 1; /* wraps at 0, and back where it is used */
    f->is_rounding = false;
    en_feedback_pieces(f, visit_piece, f);
    return ENTRO_OK;
}

/* ---- blocks ------------------------------------------------------------------------------ */

/* Y of columns [first, end) += D of columns [from, to) times their rows of L. */
static void feed_back(const en_feedback *f, size_t first, size_t end, size_t from, size_t to,
                      float beta)
{
    if (from < to)
        en_blas_get()->sgemm(CblasColMajor, CblasNoTrans, CblasTrans, (blasint)f->p->n_rows,
                             (blasint)(end - first), (blasint)(to - from), 1.0f,
                             f->d + from * f->stride, (blasint)f->stride,
                             f->p->factor + from * f->p->n_cols + first, (blasint)f->p->n_cols,
                             beta, column_of_y(f, first), (blasint)f->stride);
}

typedef struct block_visit {
    const en_feedback *f;
    size_t first, end; /* columns */
} block_visit;

/* W / row_step of a block, by columns. */
static void load_piece(void *context, uint32_t item, uint32_t thread)
{
    (void)thread;
    const block_visit *v = context;
    const en_feedback *f = v->f;
    size_t row = piece_first(f, item), row_end = piece_first(f, item + 1u), n_cols = f->p->n_cols;
    for (; row < row_end; row++) {
        const float inverse = f->inverse_steps[row], *w = f->p->weights + row * n_cols;
        for (size_t k = v->first; k < v->end; k++)
            f->d[k * f->stride + row] = w[k] * inverse;
    }
}

static void store_piece(void *context, uint32_t item, uint32_t thread)
{
    (void)thread;
    const block_visit *v = context;
    const en_feedback *f = v->f;
    size_t row = piece_first(f, item), row_end = piece_first(f, item + 1u);
    const int32_t *from = column_of_z(f, v->first);
    for (; row < row_end; row++) {
        int32_t *z = f->z + row * f->p->n_cols + v->first;
        for (size_t k = 0; k < v->end - v->first; k++)
            z[k] = from[k * f->stride + row];
    }
}

static size_t start_of(size_t first, size_t end, size_t width)
{
    return first + (end - 1 - first) / width * width;
}

static entro_status round_block(en_feedback *f, size_t first, size_t end, entro_error *err)
{
    block_visit visit = {f, first, end};
    en_feedback_pieces(f, load_piece, &visit);
    for (size_t group_end = end; group_end > first;) {
        size_t group = start_of(first, group_end, EN_FEEDBACK_GROUP);
        feed_back(f, group, group_end, group_end, end, 1.0f);
        EN_TRY(round_group(f, group, group_end, err));
        group_end = group;
    }
    en_feedback_pieces(f, store_piece, &visit);
    return ENTRO_OK;
}

entro_status en_feedback_run(en_feedback *f, size_t first, size_t end, entro_error *err)
{
    f->super_first = first;
    if (end == f->p->n_cols)
        memset(f->y, 0, f->stride * (end - first) * sizeof *f->y);
    feed_back(f, first, end, end, f->p->n_cols, 0.0f);
    for (size_t block_end = end; block_end > first;) {
        size_t block = start_of(first, block_end, EN_FEEDBACK_BLOCK);
        feed_back(f, block, block_end, block_end, end, 1.0f);
        EN_TRY(round_block(f, block, block_end, err));
        block_end = block;
    }
    return ENTRO_OK;
}
