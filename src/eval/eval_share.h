/*
 * eval_share.h - shares of right answers and their errors.
 *
 *   error = deviation of the sample (divided by n - 1) / sqrt(n)
 *
 * the standard error of a mean, as lm-evaluation-harness gives it.
 */
#ifndef EN_EVAL_EVAL_SHARE_H
#define EN_EVAL_EVAL_SHARE_H

#include "base/status.h"

/* Sum and sum of squares of n values. */
entro_eval_share en_eval_share(double sum, double squares, size_t n);

#endif
