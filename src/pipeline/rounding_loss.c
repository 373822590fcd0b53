/* rounding_loss.c - see rounding_loss.h. */
#include "pipeline/rounding_loss.h"

#include "base/memory.h"
#include "quant/row_blocks.h"
#include "quant/watersic.h"

static bool reserve(double **items, size_t *cap, size_t n)
{
    if (n <= *cap)
        return true;
    en_free(*items);
    *items = en_alloc(n, sizeof **items);
    *cap = *items != NULL ? n : 0;
    return *items != NULL;
}

/* Squares of the rows of a lower triangle: the diagonal of its product with its transpose. */
static void add_squares(double *diagonal, const float *lower, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        double sum = 0;
        for (size_t k = 0; k <= i; k++)
            sum += (double)lower[i * n + k] * (double)lower[i * n + k];
        diagonal[i] = sum;
    }
}

/* As en_watersic_row_weights() has them, where rows do not depend on each other. */
static void weigh_rows(double *outputs, const en_pass_problem *p)
{
    double mean = 0;
    for (size_t i = 0; i < p->n_rows; i++)
        mean += (double)p->importance[i] / (double)p->n_rows;
    for (size_t i = 0; i < p->n_rows; i++)
        outputs[i] = mean > 0 ? (double)p->importance[i] + EN_WATERSIC_FLOOR * mean : 1.0;
}

entro_status en_rounding_loss_prepare(en_rounding_loss *r, const en_pass_problem *p,
                                      entro_error *err)
{
    if (!reserve(&r->inputs, &r->inputs_cap, p->n_cols) ||
        !reserve(&r->outputs, &r->outputs_cap, p->n_rows))
        return en_fail_memory(err);
    r->n_cols = p->n_cols;
    add_squares(r->inputs, p->factor, p->n_cols);
    if (p->row_factor == NULL)
        weigh_rows(r->outputs, p);
    const float *block = p->row_factor;
    for (size_t b = 0; block != NULL && b < en_row_blocks(p->n_rows); b++) {
        size_t first = en_row_block_first(p->n_rows, b);
        size_t n = en_row_block_first(p->n_rows, b + 1) - first;
        add_squares(r->outputs + first, block, n);
        block += n * n;
    }
    return ENTRO_OK;
}

void en_rounding_loss_free(en_rounding_loss *r)
{
    en_free(r->inputs);
    en_free(r->outputs);
    *r = (en_rounding_loss){0};
}

double en_rounding_loss_row(const en_rounding_loss *r, size_t row, const float *w, float row_step,
                            const float *col_scales)
{
    enum { LANES = 8 };
    const double magic = 0x1.8p52;
    double sums[LANES] = {0}, sum = 0;
    for (size_t j = 0; j < r->n_cols; j += LANES) {
        size_t n = r->n_cols - j < LANES ? r->n_cols - j : LANES;
        for (size_t lane = 0; lane < n; lane++) {
            double step = (double)row_step * (double)col_scales[j + lane];
            double z = ((double)w[j + lane] / step + magic) - magic;
            double e = (double)w[j + lane] - z * step;
            sums[lane] += e * e * r->inputs[j + lane];
        }
    }
    for (size_t lane = 0; lane < LANES; lane++)
        sum += sums[lane];
    return 0.5 * r->outputs[row] * sum;
}
