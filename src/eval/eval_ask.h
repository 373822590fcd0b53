/*
 * eval_ask.h - one question to one model; what the kinds of tasks do differently.
 */
#ifndef EN_EVAL_EVAL_ASK_H
#define EN_EVAL_EVAL_ASK_H

#include "eval/eval_progress.h"
#include "eval/eval_scorer.h"
#include "eval/eval_task.h"

enum { EN_EVAL_MAX_SHOTS = 64, EN_EVAL_MAX_NUMBER = 64 };

typedef struct en_eval_tokens {
    int32_t *ids;
    size_t n, cap;
} en_eval_tokens;

typedef struct en_eval_job {
    const entro_eval_task *task;
    const entro_model *model;
    const entro_eval_options *opt;
    en_eval_scorer scorer;
    en_eval_progress progress;
    uint32_t n_questions, n_asked; /* to be asked, and so far */
    uint64_t n_right[ENTRO_EVAL_MAX_METRICS];
    uint32_t n_cut;
    /* Of the question at hand: */
    en_eval_tokens tokens, whole;
    char *text; /* prompt, then the generated text */
    size_t n_text, text_cap;
    double log_likelihoods[EN_EVAL_MAX_CHOICES];
    char expected[EN_EVAL_MAX_NUMBER], found[EN_EVAL_MAX_NUMBER];
} en_eval_job;

/* Fill 'answer', whose 'question' is set; what it points to lives until the next question. */
entro_status en_eval_ask_choice(en_eval_job *job, entro_eval_answer *answer, entro_error *err);
entro_status en_eval_ask_number(en_eval_job *job, entro_eval_answer *answer, entro_error *err);

/* Tells of the progress; called while a question is being answered, too. */
entro_status en_eval_job_reach(en_eval_job *job, entro_error *err);

/* The job's text grows. */
entro_status en_eval_put(en_eval_job *job, en_span text, entro_error *err);

/* Tokens of a text, BOS in front where the model wants it. */
entro_status en_eval_tokenize(const entro_model *model, en_span text, bool parse_special,
                              en_eval_tokens *tokens, entro_error *err);

#endif
