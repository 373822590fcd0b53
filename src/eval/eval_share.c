/* eval_share.c - see eval_share.h. */
#include "eval/eval_share.h"

#include <math.h>

entro_eval_share en_eval_share(double sum, double squares, size_t n)
{
    double count = (double)n, mean = n > 0 ? sum / count : NAN;
    double variance = n > 1 ? (squares - count * mean * mean) / (count - 1) : NAN;
    return (entro_eval_share){mean, variance < 0 ? 0 : sqrt(variance / count)};
}
