/*
 * eval_task.h - questions with known answers, as text ready to be asked.
 *
 *   file:  JSON lines, one question each; the forms are listed in entrollm.h
 *   here:  question -> n_pairs times (context, continuation)
 *
 * Multiple choice becomes pairs with one context and a continuation a choice; partial evaluation,
 * pairs with a context an option and one continuation.  A model is asked for the log-likelihood of
 * each continuation behind its context.  For a number, the pair is (question, worked answer), and
 * 'gold_text' what the answer ends with.
 *
 * Files are untrusted: sizes are limited, every refusal names file and line.
 */
#ifndef EN_EVAL_EVAL_TASK_H
#define EN_EVAL_EVAL_TASK_H

#include "base/bytes.h"
#include "base/status.h"

enum {
    EN_EVAL_MAX_FILE = 1 << 29,
    EN_EVAL_MAX_QUESTIONS = 1 << 22,
    EN_EVAL_MAX_CHOICES = 64,
};

/* A piece of the task's text. */
typedef struct en_eval_text {
    size_t at, n;
} en_eval_text;

typedef struct en_eval_pair {
    en_eval_text context, continuation;
    size_t n_norm; /* bytes of the choice, without the space in front: what acc_norm divides by */
} en_eval_pair;

typedef struct en_eval_question {
    size_t first_pair;
    uint32_t n_pairs;
    uint32_t gold;          /* of choices */
    en_eval_text gold_text; /* of numbers */
} en_eval_question;

struct entro_eval_task {
    char *name;
    entro_eval_kind kind;
    char *text;
    size_t n_text, text_cap;
    en_eval_pair *pairs;
    size_t n_pairs, pairs_cap;
    en_eval_question *questions;
    size_t n_questions, questions_cap;
};

entro_status en_eval_task_open(entro_eval_task **out, const char *path, entro_error *err);
/* From memory; 'name' is that of a file. */
entro_status en_eval_task_parse(entro_eval_task **out, const char *name, const char *data,
                                size_t n_bytes, entro_error *err);
void en_eval_task_close(entro_eval_task *task); /* NULL is fine */
void en_eval_task_get_info(const entro_eval_task *task, entro_eval_task_info *info);

static inline en_span en_eval_task_text(const entro_eval_task *task, en_eval_text t)
{
    return (en_span){task->text + t.at, t.n};
}

#endif
