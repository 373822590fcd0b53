/*
 * eval_form.h - one JSON object of a task file becomes one question.
 */
#ifndef EN_EVAL_EVAL_FORM_H
#define EN_EVAL_EVAL_FORM_H

#include "eval/eval_task.h"
#include "formats/json_parse.h"

/* Adds the question; '*kind' is what it turned out to be.  The place of an error is the caller's. */
entro_status en_eval_form_read(entro_eval_task *task, const en_json_node *object,
                               entro_eval_kind *kind, entro_error *err);

#endif
