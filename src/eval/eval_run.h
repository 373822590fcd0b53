/*
 * eval_run.h - asks a model the questions of a task.
 */
#ifndef EN_EVAL_EVAL_RUN_H
#define EN_EVAL_EVAL_RUN_H

#include "engine/engine.h"
#include "eval/eval_task.h"

/* 'opt' is complete. */
entro_status en_eval_run(const entro_eval_task *task, const entro_model *model,
                         const entro_eval_options *opt, entro_eval_report *report,
                         entro_error *err);

#endif
