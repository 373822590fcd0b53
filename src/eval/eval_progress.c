/* eval_progress.c - see eval_progress.h. */
#include "eval/eval_progress.h"

#include "base/cpu.h"

static const double seconds_between_calls = 0.1;

entro_status en_eval_progress_reach(en_eval_progress *p, uint64_t done, uint64_t total,
                                    double value, entro_error *err)
{
    double now = en_clock_seconds();
    if (p->fn == NULL || (done < total && now - p->last < seconds_between_calls))
        return ENTRO_OK;
    p->last = now;
    entro_progress progress = {
        .stage = p->stage, .unit = p->unit, .done = done, .total = total, .value = value};
    if (!p->fn(p->user, &progress))
        return en_fail(err, ENTRO_ERR_CANCELLED, "cancelled after %llu of %llu %ss",
                       (unsigned long long)done, (unsigned long long)total, p->unit);
    return ENTRO_OK;
}
