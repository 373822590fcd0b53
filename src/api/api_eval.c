/*
 * api_eval.c - tasks of questions, and how models answer them.
 */
#include "api/api_options.h"
#include "eval/eval_run.h"
#include "eval/eval_share.h"

entro_status entro_eval_task_open(entro_eval_task **out, const char *path, entro_error *err)
{
    return en_eval_task_open(out, path, err);
}

void entro_eval_task_close(entro_eval_task *task)
{
    en_eval_task_close(task);
}

void entro_eval_task_get_info(const entro_eval_task *task, entro_eval_task_info *info)
{
    en_eval_task_get_info(task, info);
}

entro_status entro_eval_run(const entro_eval_task *task, const entro_model *model,
                            const entro_eval_options *opt, entro_eval_report *report,
                            entro_error *err)
{
    entro_eval_options full;
    entro_eval_report all;
    entro_eval_options_init(&full);
    EN_TRY(en_options_merge(&full, sizeof full, opt, err));
    if (report != NULL)
        EN_TRY(en_report_check(report, sizeof all, err));
    EN_TRY(en_eval_run(task, model, &full, &all, err));
    if (report != NULL)
        en_report_give(report, &all);
    return ENTRO_OK;
}

entro_eval_share entro_eval_mean(const bool *outcomes, size_t n_questions)
{
    double n_right = 0;
    for (size_t i = 0; i < n_questions; i++)
        n_right += outcomes[i];
    return en_eval_share(n_right, n_right, n_questions);
}

entro_eval_share entro_eval_difference(const bool *a, const bool *b, size_t n_questions)
{
    double sum = 0, squares = 0;
    for (size_t i = 0; i < n_questions; i++) {
        int d = b[i] - a[i];
        sum += d;
        squares += d * d;
    }
    return en_eval_share(sum, squares, n_questions);
}
