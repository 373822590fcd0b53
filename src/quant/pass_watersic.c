/* pass_watersic.c - watersic.h as a pass. */
#include <math.h>

#include "base/memory.h"
#include "quant/pass.h"
#include "quant/watersic.h"

static en_watersic_problem problem_of(const en_pass_problem *p)
{
    return (en_watersic_problem){.n_rows = p->n_rows,
                                 .n_cols = p->n_cols,
                                 .weights = p->weights,
                                 .importance = p->importance,
                                 .factor = p->factor,
                                 .row_factor = p->row_factor,
                                 .pool = p->pool};
}

static void spreads(const en_pass_problem *p, float *row_spread, float *col_spread)
{
    en_watersic_problem problem = problem_of(p);
    en_watersic_row_weights(&problem, row_spread);
    en_watersic_spreads(&problem, row_spread, col_spread);
    en_watersic_row_spreads(&problem, row_spread);
}

static entro_status run(const en_pass_problem *p, en_pass_result *out, entro_error *err)
{
    en_watersic_problem problem = problem_of(p);
    en_watersic_result result = {
        .z = out->z, .row_steps = out->row_steps, .col_scales = out->col_scales};
    bool half;
    EN_TRY(en_watersic(&problem, p->slope, &result, &half, err));
    if (!half) /* thirty octaves between columns: no trained layer has that */
        return en_fail(err, ENTRO_ERR_UNSUPPORTED,
                       "has columns whose scales do not fit 16 bits; use method rtn for it with "
                       "'--set NAME=rtn', or store it as it is with '--keep NAME'");
    out->has_offsets = false;
    out->has_col_scales = true;
    out->half_steps = true;
    out->loss = p->importance != NULL ? result.error : NAN;
    return ENTRO_OK;
}

const en_pass en_pass_watersic = {.needs_statistics = true, .spreads = spreads, .run = run};
