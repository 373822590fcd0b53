/*
 * eval_generate.c - questions whose answer is a number to be generated (GSM8K).
 *
 *   plain:  "Question: ...\nAnswer: ... #### 18\n\n" a shot, then "Question: ...\nAnswer:"
 *   chat:   user and assistant in turns, by the model's template; what is wanted is said in words
 *
 * Greedy; it ends where the model ends, with the tokens allowed, or where a plain prompt's answer goes
 * on with another "Question:".
 */
#include "eval/eval_ask.h"

#include "base/memory.h"
#include "eval/eval_number.h"
#include "text/chat.h"

static const char instruction[] =
    "\n\nReason step by step. Then end with a line that holds \"#### \" "
    "and the answer as a number.";
static const char next_question[] = "Question:";

static en_span span_of(const char *text)
{
    return (en_span){text, strlen(text)};
}

/* Example i, or the question itself for i == n_shots. */
static const en_eval_pair *pair_of(const en_eval_job *job, uint32_t question, uint32_t i,
                                   const entro_eval_task **task)
{
    uint32_t n_shots = job->opt->n_shots;
    bool own = job->opt->examples == NULL || i == n_shots;
    *task = own ? job->task : job->opt->examples;
    size_t at = i == n_shots ? question : own ? (*task)->n_questions - n_shots + i : i;
    return &(*task)->pairs[(*task)->questions[at].first_pair];
}

static entro_status put_plain(en_eval_job *job, uint32_t question, entro_error *err)
{
    const entro_eval_task *task;
    for (uint32_t i = 0; i <= job->opt->n_shots; i++) {
        const en_eval_pair *pair = pair_of(job, question, i, &task);
        EN_TRY(en_eval_put(job, span_of("Question: "), err));
        EN_TRY(en_eval_put(job, en_eval_task_text(task, pair->context), err));
        EN_TRY(en_eval_put(job, span_of("\nAnswer:"), err));
        if (i == job->opt->n_shots)
            break;
        EN_TRY(en_eval_put(job, span_of(" "), err));
        EN_TRY(en_eval_put(job, en_eval_task_text(task, pair->continuation), err));
        EN_TRY(en_eval_put(job, span_of("\n\n"), err));
    }
    return ENTRO_OK;
}

/* The texts of a conversation, each terminated; at[] is where they begin. */
static entro_status put_turns(en_eval_job *job, uint32_t question, size_t *at, entro_error *err)
{
    const entro_eval_task *task;
    for (uint32_t i = 0; i <= job->opt->n_shots; i++) {
        const en_eval_pair *pair = pair_of(job, question, i, &task);
        at[2 * i] = job->n_text;
        EN_TRY(en_eval_put(job, en_eval_task_text(task, pair->context), err));
        EN_TRY(en_eval_put(job, (en_span){instruction, sizeof instruction}, err));
        at[2 * i + 1] = job->n_text;
        EN_TRY(en_eval_put(job, en_eval_task_text(task, pair->continuation), err));
        EN_TRY(en_eval_put(job, (en_span){"", 1}, err));
    }
    return ENTRO_OK;
}

static entro_status tokenize_chat(en_eval_job *job, uint32_t question, entro_error *err)
{
    size_t at[2 * EN_EVAL_MAX_SHOTS + 2], n_messages = 2 * (size_t)job->opt->n_shots + 1;
    entro_chat_message messages[2 * EN_EVAL_MAX_SHOTS + 1];
    char *prompt;
    EN_TRY(put_turns(job, question, at, err));
    for (size_t i = 0; i < n_messages; i++)
        messages[i] = (entro_chat_message){i % 2 == 0 ? "user" : "assistant", job->text + at[i]};
    EN_TRY(en_chat_format(en_source_meta(job->model->source), messages, n_messages, true, &prompt,
                          err));
    entro_status status = en_eval_tokenize(job->model, span_of(prompt), true, &job->tokens, err);
    en_free(prompt);
    return status;
}

static entro_status evaluate_prompt(en_eval_job *job, uint32_t question, entro_error *err)
{
    job->n_text = 0;
    if (job->opt->chat) {
        EN_TRY(tokenize_chat(job, question, err));
    } else {
        EN_TRY(put_plain(job, question, err));
        EN_TRY(en_eval_tokenize(job->model, (en_span){job->text, job->n_text}, false, &job->tokens,
                                err));
    }
    size_t n = job->tokens.n, room = job->scorer.n_ctx - job->opt->n_predict;
    size_t skip = n > room ? n - room : 0;
    job->n_cut += skip > 0;
    return en_eval_scorer_prompt(&job->scorer, job->tokens.ids + skip, (uint32_t)(n - skip), err);
}

static int32_t likeliest(const float *logits, uint32_t n)
{
    uint32_t top = 0;
    for (uint32_t i = 1; i < n; i++)
        top = logits[i] > logits[top] ? i : top;
    return (int32_t)top;
}

/* Where another question begins in the text, or its length. */
static size_t end_of_answer(const en_eval_job *job)
{
    size_t n = sizeof next_question - 1;
    for (size_t i = 0; i + n <= job->n_text; i++)
        if (memcmp(job->text + i, next_question, n) == 0)
            return i;
    return job->n_text;
}

static entro_status generate(en_eval_job *job, en_text_stream *stream, entro_error *err)
{
    const char *text;
    size_t n_text;
    job->n_text = 0;
    for (uint32_t i = 0; i < job->opt->n_predict; i++) {
        int32_t token = likeliest(en_session_logits(job->scorer.session), job->scorer.n_vocab);
        if (en_tokenizer_ends(job->model->tokenizer, token))
            break;
        EN_TRY(en_text_stream_put(stream, token, &text, &n_text, err));
        EN_TRY(en_eval_put(job, (en_span){text, n_text}, err));
        if (!job->opt->chat && end_of_answer(job) < job->n_text)
            break;
        EN_TRY(en_eval_scorer_append(&job->scorer, token, err));
        EN_TRY(en_eval_job_reach(job, err));
    }
    EN_TRY(en_text_stream_finish(stream, &text, &n_text, err));
    EN_TRY(en_eval_put(job, (en_span){text, n_text}, err));
    if (!job->opt->chat)
        job->n_text = end_of_answer(job);
    return en_eval_put(job, (en_span){"", 1}, err);
}

entro_status en_eval_ask_number(en_eval_job *job, entro_eval_answer *answer, entro_error *err)
{
    const en_eval_question *q = &job->task->questions[answer->question];
    en_text_stream *stream;
    EN_TRY(evaluate_prompt(job, answer->question, err));
    EN_TRY(en_text_stream_new(&stream, job->model->tokenizer, false, err));
    entro_status status = generate(job, stream, err);
    en_text_stream_free(stream);
    EN_TRY(status);
    en_span text = {job->text, job->n_text - 1}, gold = en_eval_task_text(job->task, q->gold_text);
    en_span last = en_eval_number_last(text);
    answer->right[0] = en_eval_number_equal(last, gold);
    answer->right[1] = en_eval_number_equal(en_eval_number_strict(text), gold);
    en_eval_number_plain(gold, job->expected, sizeof job->expected);
    en_eval_number_plain(last, job->found, sizeof job->found);
    answer->text = job->text;
    answer->expected = job->expected;
    answer->found = job->found;
    return ENTRO_OK;
}
