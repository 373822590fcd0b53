/* statistics_tied.c - see statistics_tied.h. */
#include "calib/statistics_tied.h"

#include <math.h>

#include "quant/blas.h"
#include "quant/cholesky.h"
#include "quant/watersic.h"

enum { MAX_ROUNDS = 12 };
static const double close_enough = 1e-3; /* of the shares of the two uses in H */

static double mean_diagonal(const float *h, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)h[i * n + i];
    return sum / (double)n;
}

/* tr(a b) of symmetric matrices, of b the lower triangle. */
static double trace_of_product(const float *a, const float *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        double row = 0;
        for (size_t j = 0; j < i; j++)
            row += (double)a[i * n + j] * (double)b[i * n + j];
        sum += 2 * row + (double)a[i * n + i] * (double)b[i * n + i];
    }
    return sum;
}

/* The inverse of H, ridge and all, to the lower triangle of 'work'. */
static entro_status invert(const en_tied_weights *w, const en_tied_use uses[2], size_t n,
                           float *work, entro_error *err)
{
    en_covariance_ridge ridge = en_covariance_ridge_for(n, w->n_tokens);
    int size = (int)n, info = 0;
    en_tied_covariance(w, uses, n, work);
    EN_TRY(en_cholesky(work, n, &ridge, NULL, err));
    en_blas_get()->spotri("U", &size, work, &size, &info);
    return info == 0 ? ENTRO_OK
                     : en_fail(err, ENTRO_ERR_FORMAT, "the covariance cannot be inverted");
}

/* How much of H each use is, as if every row had the same error.  Rows far below the mean are quantized
 * as if they were not (EN_WATERSIC_FLOOR). */
static void share_by_rows(const en_tied_weights *w, const en_tied_use uses[2], size_t n_rows,
                          double shares[2])
{
    double mean = 0;
    for (size_t v = 0; v < n_rows; v++)
        mean += w->importance[0] * (double)uses[0].importance[v] +
                w->importance[1] * (double)uses[1].importance[v];
    mean /= (double)n_rows;
    shares[0] = shares[1] = 0;
    for (size_t v = 0; v < n_rows; v++) {
        double f0 = (double)uses[0].importance[v], f1 = (double)uses[1].importance[v];
        double f = w->importance[0] * f0 + w->importance[1] * f1 + EN_WATERSIC_FLOOR * mean;
        shares[0] += f0 / f;
        shares[1] += f1 / f;
    }
}

/* Sets a and b so that H's mean diagonal is 1, by shares of matrices as they are. */
static void set_shares(en_tied_weights *w, const en_tied_use uses[2], const double diagonals[2],
                       const double shares[2])
{
    double parts[2] = {shares[0] * diagonals[0], shares[1] * diagonals[1]};
    double sum = parts[0] + parts[1];
    w->covariance[0] = shares[0] / sum;
    w->covariance[1] = shares[1] / sum;
    w->n_tokens = (uint64_t)(sum / (parts[0] / (double)uses[0].n_tokens +
                                    parts[1] / (double)uses[1].n_tokens));
}

static void sum_importances(const en_tied_use uses[2], size_t n_rows, double sums[2])
{
    for (int i = 0; i < 2; i++) {
        sums[i] = 0;
        for (size_t v = 0; v < n_rows; v++)
            sums[i] += (double)uses[i].importance[v];
    }
}

entro_status en_tied_weigh(en_tied_weights *w, const en_tied_use uses[2], size_t n, size_t n_rows,
                           float *work, entro_error *err)
{
    double diagonals[2], shares[2];
    for (int i = 0; i < 2; i++)
        diagonals[i] = mean_diagonal(uses[i].covariance, n);
    sum_importances(uses, n_rows, shares);
    *w = (en_tied_weights){.importance = {diagonals[0], diagonals[1]},
                           .covariance = {1, 0},
                           .n_tokens = uses[0].n_tokens};
    if (!(shares[0] * diagonals[0] + shares[1] * diagonals[1] > 0))
        return ENTRO_OK; /* nothing is known: importances of 0 */
    set_shares(w, uses, diagonals, shares);
    for (int round = 0; round < MAX_ROUNDS; round++) {
        double before = w->covariance[0] * diagonals[0];
        EN_TRY(invert(w, uses, n, work, err));
        for (int i = 0; i < 2; i++)
            w->importance[i] = trace_of_product(uses[i].covariance, work, n) / (double)n;
        share_by_rows(w, uses, n_rows, shares);
        set_shares(w, uses, diagonals, shares);
        if (fabs(w->covariance[0] * diagonals[0] - before) < close_enough)
            break;
    }
    return ENTRO_OK;
}

void en_tied_covariance(const en_tied_weights *w, const en_tied_use uses[2], size_t n, float *h)
{
    const float *a = uses[0].covariance, *b = uses[1].covariance;
    for (size_t i = 0; i < n * n; i++)
        h[i] = (float)(w->covariance[0] * (double)a[i] + w->covariance[1] * (double)b[i]);
}

void en_tied_importance(const en_tied_weights *w, const en_tied_use uses[2], size_t n_rows,
                        float *f)
{
    const float *a = uses[0].importance, *b = uses[1].importance;
    for (size_t v = 0; v < n_rows; v++)
        f[v] = (float)(w->importance[0] * (double)a[v] + w->importance[1] * (double)b[v]);
}
