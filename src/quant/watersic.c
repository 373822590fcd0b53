/*
 * watersic.c - see watersic.h; the rounding itself is in watersic_feedback.c.
 *
 * With E = (W / row_step - z col_scale) L, which the rounding leaves behind column by column, and
 * P = W / row_step L, one more product, everything about a row follows from three sums:
 *
 *   ee = |e_i|^2   ep = <e_i, p_i>   pp = |p_i|^2        q_i = p_i - e_i, the coded row
 *   t_i = <p_i, q_i> / |q_i|^2 = 1 + <e_i, q_i> / |q_i|^2
 *   error of the row with t:  |e_i + (1 - t) q_i|^2
 */
#include "quant/watersic.h"

#include <limits.h>
#include <math.h>
#include <string.h>

#include "quant/blas.h"

#include "base/memory.h"
#include "quant/finite.h"
#include "quant/row_blocks.h"
#include "quant/watersic_feedback.h"

/* Beyond these a row is coded so badly that the best factor says nothing. */
#define LEAST_REFIT 0.0625
#define MOST_REFIT  2.0

typedef struct job {
    const en_watersic_problem *p;
    bool refits;
    en_feedback feedback;
    float *weights;       /* r, n_rows */
    float *inverse_steps; /* n_rows */
    float *product;       /* W L of a super-block, by columns like feedback.y; NULL: no refit */
    float *corner;        /* of L: a super-block's own rows, zeros above */
    double *ee, *ep, *pp; /* n_rows each */
    size_t n_block;       /* columns of the super-block in product and feedback.y */
    double unit;          /* a power of two: steps here are this much larger than 1 / r */
} job;

/* ---- what comes in ----------------------------------------------------------------------- */

/* Whole rows, or those of the lower triangle. */
static entro_status check_rows(const char *what, const float *m, size_t n_rows, size_t n_cols,
                               bool triangular, entro_error *err)
{
    for (size_t i = 0; i < n_rows; i++) {
        const float *row = m + i * n_cols;
        size_t n = triangular ? i + 1 : n_cols, k = en_finite_count(row, n);
        if (k == n)
            continue;
        return en_fail(err, ENTRO_ERR_FORMAT,
                       "%s is %g in row %zu, column %zu, expected a finite number", what,
                       (double)row[k], i, k);
    }
    return ENTRO_OK;
}

static entro_status check_row_factor(const en_watersic_problem *p, entro_error *err)
{
    const float *m = p->row_factor;
    for (size_t b = 0; m != NULL && b < en_row_blocks(p->n_rows); b++) {
        size_t n = en_row_block_first(p->n_rows, b + 1) - en_row_block_first(p->n_rows, b);
        EN_TRY(check_rows("the gradients' factor", m, n, n, true, err));
        for (size_t i = 0; i < n; i++)
            if (!(m[i * n + i] > 0))
                return en_fail(err, ENTRO_ERR_FORMAT,
                               "the gradients' factor is %g at row %zu of block %zu, expected more "
                               "than 0",
                               (double)m[i * n + i], i, b);
        m += n * n;
    }
    return ENTRO_OK;
}

static entro_status check(const en_watersic_problem *p, double c, entro_error *err)
{
    if (p->n_rows == 0 || p->n_cols == 0 || p->n_rows > INT_MAX / 2 || p->n_cols > INT_MAX / 2)
        return en_fail(err, ENTRO_ERR_ARGUMENT, "a matrix of %zu rows and %zu columns", p->n_rows,
                       p->n_cols);
    if (!(c > 0 && isfinite(c)))
        return en_fail(err, ENTRO_ERR_ARGUMENT, "a step of %g, expected one above 0", c);
    EN_TRY(check_rows("the weight", p->weights, p->n_rows, p->n_cols, false, err));
    EN_TRY(check_rows("the covariance's factor", p->factor, p->n_cols, p->n_cols, true, err));
    for (size_t j = 0; j < p->n_cols; j++)
        if (!(p->factor[j * p->n_cols + j] > 0))
            return en_fail(
                err, ENTRO_ERR_FORMAT,
                "the covariance's factor is %g at the diagonal's %zu, expected more than 0",
                (double)p->factor[j * p->n_cols + j], j);
    EN_TRY(check_row_factor(p, err));
    for (size_t i = 0; p->importance != NULL && i < p->n_rows; i++)
        if (!(p->importance[i] >= 0 && isfinite(p->importance[i])))
            return en_fail(err, ENTRO_ERR_FORMAT,
                           "the importance of row %zu is %g, expected a finite number from 0 on", i,
                           (double)p->importance[i]);
    return ENTRO_OK;
}

static entro_status allocate(job *s, entro_error *err)
{
    size_t n_rows = s->p->n_rows, n_cols = s->p->n_cols;
    s->weights = en_alloc(n_rows, sizeof *s->weights);
    s->inverse_steps = en_alloc(n_rows, sizeof *s->inverse_steps);
    s->ee = en_alloc_zero(n_rows, sizeof *s->ee);
    s->ep = en_alloc_zero(n_rows, sizeof *s->ep);
    s->pp = en_alloc_zero(n_rows, sizeof *s->pp);
    if (!s->weights || !s->inverse_steps || !s->ee || !s->ep || !s->pp)
        return en_fail_memory(err);
    EN_TRY(en_feedback_init(&s->feedback, err));
    if (!s->refits)
        return ENTRO_OK;
    size_t width = s->feedback.width < n_cols ? s->feedback.width : n_cols;
    s->product = en_alloc_huge(s->feedback.stride * width, sizeof *s->product);
    s->corner = en_alloc_zero(width * width, sizeof *s->corner);
    return s->product && s->corner ? ENTRO_OK : en_fail_memory(err);
}

static void release(job *s)
{
    en_feedback_free(&s->feedback);
    en_free(s->weights);
    en_free(s->inverse_steps);
    en_free(s->product);
    en_free(s->corner);
    en_free(s->ee);
    en_free(s->ep);
    en_free(s->pp);
}

/* ---- scales ------------------------------------------------------------------------------ */

/* All or none become values of f16, with two-sided feedback short ones. */
static bool round_to_half(const en_watersic_problem *p, float *steps, size_t n)
{
    float half;
    for (size_t i = 0; i < n; i++)
        if (!en_feedback_half(p, (double)steps[i], &half))
            return false;
    for (size_t i = 0; i < n; i++) {
        en_feedback_half(p, (double)steps[i], &half);
        steps[i] = half;
    }
    return true;
}

/*
 * Row steps unit / r_i and column scales around c / unit / L[j][j], with the power of two at which both
 * are about as large (in the mean of their logarithms).
 */
static entro_status choose_steps(job *s, double c, float *row_steps, entro_error *err)
{
    const en_watersic_problem *p = s->p;
    double row_log2 = 0, col_log2 = log2(c);
    en_watersic_row_weights(p, s->weights);
    for (size_t i = 0; i < p->n_rows; i++)
        row_log2 -= log2((double)s->weights[i]) / (double)p->n_rows;
    for (size_t j = 0; j < p->n_cols; j++)
        col_log2 -= log2((double)p->factor[j * p->n_cols + j]) / (double)p->n_cols;
    s->unit = exp2(rint((col_log2 - row_log2) / 2));
    s->feedback.c = c / s->unit;
    s->feedback.typical_scale = exp2(rint(col_log2 - log2(s->unit)));
    for (size_t i = 0; i < p->n_rows; i++)
        row_steps[i] = (float)(s->unit / (double)s->weights[i]);
    s->feedback.half_scales = round_to_half(p, row_steps, p->n_rows);
    for (size_t i = 0; i < p->n_rows; i++) {
        s->inverse_steps[i] = 1.0f / row_steps[i];
        if (!isnormal(row_steps[i]) || !isnormal(s->inverse_steps[i]))
            return en_fail(err, ENTRO_ERR_UNSUPPORTED,
                           "the step of row %zu is beyond f32; store this tensor as it is with "
                           "'--keep NAME'",
                           i);
    }
    return ENTRO_OK;
}

/* ---- sums of rows ------------------------------------------------------------------------ */

static void multiply_block(const job *s, size_t first, size_t end)
{
    const en_watersic_problem *p = s->p;
    const size_t n = end - first, n_cols = p->n_cols;
    const float *l = p->factor + first * n_cols + first;
    for (size_t k = 0; k < n; k++)
        memcpy(s->corner + k * n, l + k * n_cols, (k + 1) * sizeof *l);
    en_blas_get()->sgemm(CblasColMajor, CblasTrans, CblasTrans, (blasint)p->n_rows, (blasint)n,
                         (blasint)n, 1.0f, p->weights + first, (blasint)n_cols, s->corner,
                         (blasint)n, 0.0f, s->product, (blasint)s->feedback.stride);
    if (end < n_cols)
        en_blas_get()->sgemm(CblasColMajor, CblasTrans, CblasTrans, (blasint)p->n_rows, (blasint)n,
                             (blasint)(n_cols - end), 1.0f, p->weights + end, (blasint)n_cols,
                             l + n * n_cols, (blasint)n_cols, 1.0f, s->product,
                             (blasint)s->feedback.stride);
}

/* p here is without the row's step, which is the same all along the row: it comes last. */
static void sum_piece(void *context, uint32_t item, uint32_t thread)
{
    (void)thread;
    const job *s = context;
    size_t row = en_row_block_first(s->p->n_rows, item);
    size_t n = en_row_block_first(s->p->n_rows, item + 1) - row;
    double *restrict ee = s->ee + row, *restrict ep = s->ep + row, *restrict pp = s->pp + row;
    for (size_t k = 0; k < s->n_block; k++) {
        const float *restrict e = s->feedback.y + k * s->feedback.stride + row;
        for (size_t i = 0; i < n; i++)
            ee[i] += (double)e[i] * (double)e[i];
        if (s->product == NULL)
            continue;
        const float *restrict q = s->product + k * s->feedback.stride + row;
        for (size_t i = 0; i < n; i++) {
            ep[i] += (double)e[i] * (double)q[i];
            pp[i] += (double)q[i] * (double)q[i];
        }
    }
}

static entro_status round_all(job *s, entro_error *err)
{
    for (size_t end = s->p->n_cols, first; end > 0; end = first) {
        first = (end - 1) / s->feedback.width * s->feedback.width;
        EN_TRY(en_feedback_run(&s->feedback, first, end, err));
        s->n_block = end - first;
        if (s->product != NULL) {
            /* A clean corner: the last super-block may be narrower than this one. */
            memset(s->corner, 0, s->n_block * s->n_block * sizeof *s->corner);
            multiply_block(s, first, end);
        }
        en_feedback_pieces(&s->feedback, sum_piece, s);
    }
    return ENTRO_OK;
}

/* ---- what goes out ----------------------------------------------------------------------- */

typedef struct coded_row {
    double ee, eq, qq; /* q: as coded */
} coded_row;

static coded_row row_of(const job *s, size_t i)
{
    double inverse = (double)s->inverse_steps[i];
    double ee = s->ee[i], ep = s->ep[i] * inverse, pp = s->pp[i] * inverse * inverse;
    return (coded_row){ee, ep - ee, pp - 2 * ep + ee};
}

/* Steps of the best fit; then whatever they became by rounding counts in the error. */
static void refit_rows(job *s, float *row_steps)
{
    for (size_t i = 0; i < s->p->n_rows; i++) {
        coded_row row = row_of(s, i);
        double t = row.qq > 0 ? 1 + row.eq / row.qq : 1.0;
        t = t > LEAST_REFIT ? t < MOST_REFIT ? t : MOST_REFIT : LEAST_REFIT;
        row_steps[i] = (float)(t / (double)s->inverse_steps[i]);
    }
    s->feedback.half_scales =
        s->feedback.half_scales && round_to_half(s->p, row_steps, s->p->n_rows);
}

static double sum_errors(const job *s, const float *row_steps)
{
    double sum = 0;
    for (size_t i = 0; i < s->p->n_rows; i++) {
        coded_row row = row_of(s, i);
        double inverse = (double)s->inverse_steps[i], short_of = 1 - (double)row_steps[i] * inverse;
        double error =
            !s->refits ? row.ee : row.ee + 2 * short_of * row.eq + short_of * short_of * row.qq;
        double r = (double)s->weights[i] / inverse;
        sum += 0.5 * r * r * fmax(error, 0);
    }
    return sum;
}

/* Of two-sided feedback: (M^T (W - W') L)[i][j] is what rounding left, times M[i][i] row_step_i. */
static double sum_piece_errors(const job *s)
{
    double sum = 0;
    for (size_t i = 0; i < s->feedback.n_pieces; i++)
        sum += s->feedback.errors[i];
    return 0.5 * sum;
}

static entro_status run(job *s, double c, en_watersic_result *out, entro_error *err)
{
    EN_TRY(allocate(s, err));
    EN_TRY(choose_steps(s, c, out->row_steps, err));
    s->feedback.inverse_steps = s->inverse_steps;
    en_feedback_set_rows(&s->feedback, s->weights);
    EN_TRY(round_all(s, err));
    if (s->refits)
        refit_rows(s, out->row_steps);
    out->error = s->p->row_factor != NULL ? sum_piece_errors(s) : sum_errors(s, out->row_steps);
    return ENTRO_OK;
}

entro_status en_watersic(const en_watersic_problem *p, double c, en_watersic_result *out,
                         bool *half_scales, entro_error *err)
{
    EN_TRY(en_blas_open(err));
    EN_TRY(check(p, c, err));
    job s = {.p = p,
             .refits = !p->keep_rows && p->row_factor == NULL,
             .feedback = {.p = p, .z = out->z, .col_scales = out->col_scales}};
    entro_status status = run(&s, c, out, err);
    *half_scales = s.feedback.half_scales;
    release(&s);
    return status;
}
