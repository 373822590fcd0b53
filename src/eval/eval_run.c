/* eval_run.c - see eval_run.h. */
#include "eval/eval_run.h"

#include <math.h>

#include "base/cpu.h"
#include "base/memory.h"
#include "eval/eval_ask.h"
#include "eval/eval_share.h"
#include "eval/windows.h"

entro_status en_eval_put(en_eval_job *job, en_span text, entro_error *err)
{
    if (!en_grow((void **)&job->text, &job->text_cap, job->n_text + text.n + 1, SIZE_MAX / 4, 1))
        return en_fail_memory(err);
    memcpy(job->text + job->n_text, text.p, text.n);
    job->n_text += text.n;
    return ENTRO_OK;
}

entro_status en_eval_tokenize(const entro_model *model, en_span text, bool parse_special,
                              en_eval_tokens *tokens, entro_error *err)
{
    const en_tokenizer *t = model->tokenizer;
    size_t bos = en_tokenizer_adds_bos(t), n;
    EN_TRY(en_tokenizer_encode(t, text.p, text.n, false, parse_special, NULL, 0, &n, err));
    if (!en_grow((void **)&tokens->ids, &tokens->cap, n + bos + 1, SIZE_MAX / 8,
                 sizeof *tokens->ids))
        return en_fail_memory(err);
    if (bos)
        tokens->ids[0] = en_tokenizer_bos(t);
    EN_TRY(en_tokenizer_encode(t, text.p, text.n, false, parse_special, tokens->ids + bos, n, &n,
                               err));
    /* Some chat templates write the BOS that goes in front anyway; one is enough. */
    if (bos && n > 0 && tokens->ids[1] == tokens->ids[0]) {
        n--;
        memmove(tokens->ids + 1, tokens->ids + 2, n * sizeof *tokens->ids);
    }
    tokens->n = n + bos;
    return en_windows_check_tokens(model, tokens->ids, tokens->n, err);
}

entro_status en_eval_job_reach(en_eval_job *job, entro_error *err)
{
    double share = job->n_asked > 0 ? (double)job->n_right[0] / job->n_asked : NAN;
    return en_eval_progress_reach(&job->progress, job->n_asked, job->n_questions, share, err);
}

/* ---- checks -------------------------------------------------------------------------------- */

static entro_status check_model(const entro_model *model, entro_error *err)
{
    if (model->decoder == NULL)
        return en_fail(err, ENTRO_ERR_ARGUMENT,
                       "the model was opened for its metadata only; open it without that option");
    if (model->tokenizer == NULL)
        return en_fail(err, ENTRO_ERR_NOT_FOUND,
                       "the model has no tokenizer, so it cannot be asked anything");
    return ENTRO_OK;
}

static entro_status check_shots(const en_eval_job *job, entro_error *err)
{
    const entro_eval_task *examples = job->opt->examples;
    size_t n_shots = job->opt->n_shots;
    if (n_shots > EN_EVAL_MAX_SHOTS)
        return en_fail(err, ENTRO_ERR_ARGUMENT, "%zu shots, expected at most %u", n_shots,
                       (unsigned)EN_EVAL_MAX_SHOTS);
    if (examples != NULL && examples->kind != ENTRO_EVAL_NUMBER)
        return en_fail(err, ENTRO_ERR_ARGUMENT,
                       "the examples in '%s' are no questions with worked answers", examples->name);
    if (examples != NULL && examples->n_questions < n_shots)
        return en_fail(err, ENTRO_ERR_ARGUMENT, "'%s' holds %zu examples, %zu shots are wanted",
                       examples->name, examples->n_questions, n_shots);
    if (examples == NULL && job->task->n_questions <= n_shots)
        return en_fail(err, ENTRO_ERR_ARGUMENT,
                       "'%s' holds %zu questions, and %zu of them would be examples",
                       job->task->name, job->task->n_questions, n_shots);
    return ENTRO_OK;
}

static entro_status plan(en_eval_job *job, entro_error *err)
{
    size_t n = job->task->n_questions;
    if (job->task->kind == ENTRO_EVAL_NUMBER) {
        EN_TRY(check_shots(job, err));
        n -= job->opt->examples == NULL ? job->opt->n_shots : 0;
        if (job->opt->n_predict == 0 || job->opt->n_predict >= job->scorer.n_ctx)
            return en_fail(err, ENTRO_ERR_ARGUMENT,
                           "answers of %u tokens do not go with a context of %u",
                           job->opt->n_predict, job->scorer.n_ctx);
    }
    if (job->opt->n_questions != 0 && job->opt->n_questions < n)
        n = job->opt->n_questions;
    job->n_questions = (uint32_t)n;
    return ENTRO_OK;
}

/* ---- the run ------------------------------------------------------------------------------- */

static entro_status ask(en_eval_job *job, uint32_t question, entro_error *err)
{
    entro_eval_answer answer = {.question = question};
    EN_TRY(job->task->kind == ENTRO_EVAL_NUMBER ? en_eval_ask_number(job, &answer, err)
                                                : en_eval_ask_choice(job, &answer, err));
    job->n_asked++;
    for (uint32_t m = 0; m < ENTRO_EVAL_MAX_METRICS; m++)
        job->n_right[m] += answer.right[m];
    if (job->opt->on_answer != NULL)
        job->opt->on_answer(job->opt->answer_user, &answer);
    return en_eval_job_reach(job, err);
}

static void fill_report(const en_eval_job *job, double seconds, entro_eval_report *report)
{
    entro_eval_task_info info;
    en_eval_task_get_info(job->task, &info);
    *report = (entro_eval_report){
        .struct_size = sizeof *report,
        .n_questions = job->n_asked,
        .n_metrics = info.n_metrics,
        .n_cut = job->n_cut,
        .n_tokens = job->scorer.n_evaluated,
        .seconds = seconds,
    };
    for (uint32_t m = 0; m < info.n_metrics; m++) {
        double n_right = (double)job->n_right[m];
        report->metrics[m] = en_eval_share(n_right, n_right, job->n_asked);
    }
}

static entro_status run(en_eval_job *job, entro_eval_report *report, entro_error *err)
{
    double start = en_clock_seconds();
    EN_TRY(en_eval_scorer_open(&job->scorer, job->model, job->opt->n_threads, job->opt->n_batch,
                               job->opt->kv_type, err));
    EN_TRY(plan(job, err));
    for (uint32_t i = 0; i < job->n_questions; i++)
        EN_TRY(ask(job, i, err));
    fill_report(job, en_clock_seconds() - start, report);
    return ENTRO_OK;
}

entro_status en_eval_run(const entro_eval_task *task, const entro_model *model,
                         const entro_eval_options *opt, entro_eval_report *report, entro_error *err)
{
    EN_TRY(check_model(model, err));
    en_eval_job *job = en_alloc_zero(1, sizeof *job);
    if (job == NULL)
        return en_fail_memory(err);
    job->task = task;
    job->model = model;
    job->opt = opt;
    job->progress =
        (en_eval_progress){opt->progress, opt->progress_user, task->name, "question", 0};
    entro_status status = run(job, report, err);
    en_eval_scorer_close(&job->scorer);
    en_free(job->tokens.ids);
    en_free(job->whole.ids);
    en_free(job->text);
    en_free(job);
    return status;
}
