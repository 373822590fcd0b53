/*
 * watersic_rate.c - what a step will cost in bits, before anything is rounded (see watersic.h).
 */
#include "quant/row_blocks.h"
#include "quant/watersic.h"

#include <math.h>
#include <pthread.h>

enum {
    OCTAVES = 4,           /* the table reaches from sigma = step / 16 to sigma = step */
    POINTS_AN_OCTAVE = 96, /* linear between them: right to 2e-5 bit */
    N_POINTS = OCTAVES * POINTS_AN_OCTAVE + 1,
    CHUNK_COLS = 256, /* whose sums are on the stack */
};

/* ---- rows -------------------------------------------------------------------------------- */

/* What is added to every F, 0 where all of them are; then a row's weight is 1. */
static double importance_floor(const float *importance, size_t n_rows)
{
    double sum = 0;
    for (size_t i = 0; importance != NULL && i < n_rows; i++)
        sum += (double)importance[i];
    return EN_WATERSIC_FLOOR * sum / (double)n_rows;
}

void en_watersic_row_weights(const en_watersic_problem *p, float *r)
{
    double floor = importance_floor(p->importance, p->n_rows);
    const float *m = p->row_factor;
    for (size_t b = 0; m != NULL && b < en_row_blocks(p->n_rows); b++) {
        size_t first = en_row_block_first(p->n_rows, b);
        size_t n = en_row_block_first(p->n_rows, b + 1) - first;
        for (size_t i = 0; i < n; i++)
            r[first + i] = m[i * n + i];
        m += n * n;
    }
    for (size_t i = 0; p->row_factor == NULL && i < p->n_rows; i++)
        r[i] = floor == 0 ? 1.0f : (float)sqrt((double)p->importance[i] + floor);
}

void en_watersic_row_spreads(const en_watersic_problem *p, float *r)
{
    double all = 0;
    for (size_t i = 0; i < p->n_rows; i++) {
        const float *w = p->weights + i * p->n_cols;
        double sum = 0;
        for (size_t k = 0; k < p->n_cols; k++)
            sum += (double)w[k] * (double)w[k];
        double spread = (double)r[i] * sqrt(sum);
        all += spread * spread;
        r[i] = (float)spread;
    }
    for (size_t i = 0; i < p->n_rows && all > 0; i++)
        r[i] = (float)((double)r[i] / sqrt(all / (double)p->n_rows));
}

/* ---- columns ----------------------------------------------------------------------------- */

void en_watersic_spreads(const en_watersic_problem *p, const float *r, float *spread)
{
    for (size_t first = 0; first < p->n_cols; first += CHUNK_COLS) {
        size_t n = p->n_cols - first < CHUNK_COLS ? p->n_cols - first : CHUNK_COLS;
        double sums[CHUNK_COLS] = {0};
        for (size_t i = 0; i < p->n_rows; i++) {
            const float *w = p->weights + i * p->n_cols + first;
            double r2 = (double)r[i] * (double)r[i];
            for (size_t k = 0; k < n; k++)
                sums[k] += r2 * (double)w[k] * (double)w[k];
        }
        for (size_t k = 0; k < n; k++) {
            size_t j = first + k;
            double pivot = (double)p->factor[j * p->n_cols + j];
            spread[j] = (float)(sqrt(sums[k] / (double)p->n_rows) * pivot);
        }
    }
}

/* ---- bits -------------------------------------------------------------------------------- */

static double entropy_table[N_POINTS];

static double information(double p)
{
    return p > 0 ? -p * log2(p) : 0.0;
}

/* By the definition: the sum over the integers a normal variable is rounded to. */
static double summed_entropy(double sigma_over_step)
{
    double scale = 1.0 / (sigma_over_step * sqrt(2.0));
    double above = erfc(0.5 * scale), sum = information(1.0 - above); /* of 0; both tails above */
    for (int k = 1; above > 1e-18; k++) {
        double beyond = erfc((k + 0.5) * scale);
        sum += 2 * information((above - beyond) / 2);
        above = beyond;
    }
    return sum;
}

static void fill_entropy_table(void)
{
    for (int i = 0; i < N_POINTS; i++)
        entropy_table[i] = summed_entropy(exp2((double)i / POINTS_AN_OCTAVE - OCTAVES));
}

double en_normal_entropy(double sigma_over_step)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    double x = sigma_over_step;
    /* From one step on, the integers have the entropy of the variable plus uniform noise, and that
     * is nearly normal: right to 1e-5 bit at 1 and better above. */
    if (x >= 1.0)
        return 0.5 * log2(17.079468445347132 * (x * x + 1.0 / 12)); /* 2 pi e */
    double at = (log2(x) + OCTAVES) * POINTS_AN_OCTAVE;
    if (!(at > 0)) /* also 0 and NaN; eight sigma to the first integer but 0 */
        return 0.0;
    pthread_once(&once, fill_entropy_table);
    int i = at < N_POINTS - 2 ? (int)at : N_POINTS - 2;
    return entropy_table[i] + (at - i) * (entropy_table[i + 1] - entropy_table[i]);
}
