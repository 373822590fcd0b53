/*
 * test_eval_run.c - what a model is found to answer, against the definitions written out plainly: a new
 * session for every choice, every token decoded by itself, sums in double.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "test_support.h"

#include "base/file.h"
#include "base/memory.h"
#include "eval/eval_run.h"
#include "eval/eval_scorer.h"
#include "eval/eval_share.h"

#define MODELS  TEST_SHARED "/data/models/"
#define STORIES MODELS "stories260k/stories260K.gguf"

static const char choices[] =
    "{\"query\": \"Once upon a time, there was a little\", \"choices\": [\"girl named Lily.\", "
    "\"girl named Bob.\", \"spoon of sand.\"], \"gold\": 0}\n"
    "{\"query\": \"Question: What did Lily play with?\", \"choices\": [\"a ball\", \"the ball in "
    "the "
    "park\", \"ball\"], \"gold\": 2}\n"
    "{\"query\": \"Lily was sad. Her mom said,\", \"choices\": [\"\\\"Don't worry.\\\"\", "
    "\"red\"], "
    "\"gold\": 0}\n"
    "{\"query\": \"\", \"choices\": [\"Once upon a time\", \"Upon once\"], \"gold\": 0}\n"
    "{\"query\": \"The dog was very\", \"choices\": [\"happy\", \"happy\", \"quantized\"], "
    "\"gold\": 1}\n";

static const char partial[] = "{\"context_options\": [\"Tom gave the ball to Sue because Tom\", "
                              "\"Tom gave the ball to Sue because "
                              "Sue\"], \"continuation\": \"wanted to play.\", \"gold\": 1}\n"
                              "{\"context_options\": [\"The cat saw the dog and the cat\", \"The "
                              "cat saw the dog and the dog\"], "
                              "\"continuation\": \"ran away.\", \"gold\": 0}\n";

static entro_model *open_model(void)
{
    if (!en_path_exists(STORIES))
        skip();
    entro_model *model = NULL;
    assert_int_equal(en_model_open(&model, STORIES, NULL, NULL), ENTRO_OK);
    return model;
}

static entro_eval_task *parse(const char *text)
{
    entro_eval_task *task = NULL;
    entro_error err = {0};
    if (en_eval_task_parse(&task, "task", text, strlen(text), &err) != ENTRO_OK)
        fail_msg("%s: %s", err.where, err.message);
    return task;
}

static entro_eval_options options(void)
{
    return (entro_eval_options){
        .struct_size = sizeof(entro_eval_options), .n_threads = 1, .n_predict = 40};
}

/* ---- by definition ------------------------------------------------------------------------- */

static size_t encode(const entro_model *model, const char *text, int32_t *ids)
{
    size_t n;
    ids[0] = en_tokenizer_bos(model->tokenizer);
    assert_int_equal(en_tokenizer_encode(model->tokenizer, text, strlen(text), false, false,
                                         ids + 1, 255, &n, NULL),
                     ENTRO_OK);
    return n + 1;
}

static double log_likelihood(const entro_model *model, const char *context,
                             const char *continuation)
{
    int32_t ids[256], unused[256];
    char whole[512];
    snprintf(whole, sizeof whole, "%s%s", context, continuation);
    size_t n_context = encode(model, context, unused), n = encode(model, whole, ids);
    entro_session_options opt = {.struct_size = sizeof opt, .n_ctx = 256, .n_threads = 1};
    entro_session *s = NULL;
    assert_int_equal(en_session_open(&s, model, &opt, NULL), ENTRO_OK);
    double sum = 0;
    for (size_t i = 0; i + 1 < n; i++) {
        assert_int_equal(en_session_decode(s, &ids[i], 1, NULL), ENTRO_OK);
        const float *logits = en_session_logits(s);
        double mass = 0;
        for (uint32_t k = 0; k < en_model_n_vocab(model); k++)
            mass += exp((double)logits[k]);
        if (i + 1 >= n_context)
            sum += logits[ids[i + 1]] - log(mass);
    }
    en_session_close(s);
    return sum;
}

typedef struct watch {
    const entro_model *model;
    const entro_eval_task *task;
    double right[2];
    uint32_t n;
} watch;

static const char *copy_text(const entro_eval_task *task, en_eval_text t, char *out)
{
    memcpy(out, task->text + t.at, t.n);
    out[t.n] = 0;
    return out;
}

static void compare_with_definition(void *user, const entro_eval_answer *a)
{
    watch *w = user;
    const en_eval_question *q = &w->task->questions[a->question];
    uint32_t best = 0, best_norm = 0;
    double top = -INFINITY, top_norm = -INFINITY;
    assert_int_equal(a->question, w->n++);
    assert_int_equal(a->n_choices, q->n_pairs);
    for (uint32_t i = 0; i < q->n_pairs; i++) {
        char context[256], continuation[256];
        const en_eval_pair *pair = &w->task->pairs[q->first_pair + i];
        double want = log_likelihood(w->model, copy_text(w->task, pair->context, context),
                                     copy_text(w->task, pair->continuation, continuation));
        /* f16 in the cache against f32 in the batch */
        if (fabs(a->log_likelihoods[i] - want) > 2e-3 + 2e-4 * fabs(want))
            fail_msg("question %u, choice %u: %f, expected %f", a->question, i,
                     a->log_likelihoods[i], want);
        double norm = want / (double)(strlen(continuation) - (continuation[0] == ' '));
        if (want > top) {
            top = want;
            best = i;
        }
        if (norm > top_norm) {
            top_norm = norm;
            best_norm = i;
        }
    }
    assert_int_equal(a->right[0], best == q->gold);
    w->right[0] += a->right[0];
    if (w->task->kind == ENTRO_EVAL_CHOICE) {
        assert_int_equal(a->right[1], best_norm == q->gold);
        w->right[1] += a->right[1];
    }
}

static void check_against_definition(const char *text, uint32_t n_batch)
{
    entro_model *model = open_model();
    entro_eval_task *task = parse(text);
    watch w = {.model = model, .task = task};
    entro_eval_options opt = options();
    entro_eval_report r;
    opt.n_batch = n_batch;
    opt.on_answer = compare_with_definition;
    opt.answer_user = &w;
    assert_int_equal(en_eval_run(task, model, &opt, &r, NULL), ENTRO_OK);
    assert_int_equal(r.n_questions, task->n_questions);
    assert_int_equal(r.n_cut, 0);
    for (uint32_t m = 0; m < r.n_metrics; m++) {
        double n = r.n_questions, p = w.right[m] / n;
        assert_true(fabs(r.metrics[m].value - p) < 1e-12);
        assert_true(fabs(r.metrics[m].error - sqrt(p * (1 - p) / (n - 1))) < 1e-12);
    }
    en_eval_task_close(task);
    en_model_close(model);
}

static void choices_by_definition(void **state)
{
    (void)state;
    check_against_definition(choices, 0);
    check_against_definition(choices, 3);
}

static void partial_evaluation_by_definition(void **state)
{
    (void)state;
    check_against_definition(partial, 0);
}

/* ---- sharing ------------------------------------------------------------------------------- */

static void sequences_in_any_order_score_the_same(void **state)
{
    (void)state;
    enum { N = 40, VOCAB = 12 };
    entro_model *model = open_model();
    en_eval_scorer shared, fresh;
    int32_t tokens[N];
    uint64_t seed = 7;
    assert_int_equal(en_eval_scorer_open(&shared, model, 1, 4, ENTRO_KV_F16, NULL), ENTRO_OK);
    for (int round = 0; round < 60; round++) {
        /* Few different tokens and random cuts: much in common, of every length. */
        uint32_t keep = round == 0 ? 0 : (uint32_t)(test_random(&seed) >> 33) % N;
        for (uint32_t i = keep; i < N; i++)
            tokens[i] = 300 + (int32_t)((test_random(&seed) >> 33) % VOCAB);
        uint32_t n = 2 + (uint32_t)(test_random(&seed) >> 33) % (N - 1);
        uint32_t n_context = 1 + (uint32_t)(test_random(&seed) >> 33) % (n - 1);
        double a, b;
        assert_int_equal(en_eval_scorer_score(&shared, tokens, n, n_context, &a, NULL), ENTRO_OK);
        assert_int_equal(en_eval_scorer_open(&fresh, model, 1, 0, ENTRO_KV_F16, NULL), ENTRO_OK);
        assert_int_equal(en_eval_scorer_score(&fresh, tokens, n, n_context, &b, NULL), ENTRO_OK);
        en_eval_scorer_close(&fresh);
        if (fabs(a - b) > 2e-3 + 2e-4 * fabs(b))
            fail_msg("round %d: %f, alone %f", round, a, b);
        if (round % 7 == 3) { /* a generation in between */
            assert_int_equal(en_eval_scorer_prompt(&shared, tokens, n, NULL), ENTRO_OK);
            assert_int_equal(en_eval_scorer_append(&shared, 301, NULL), ENTRO_OK);
        }
    }
    en_eval_scorer_close(&shared);
    en_model_close(model);
}

static void a_context_is_evaluated_once(void **state)
{
    (void)state;
    entro_model *model = open_model();
    en_eval_scorer s;
    int32_t tokens[30];
    double sum;
    for (int i = 0; i < 30; i++)
        tokens[i] = 300 + i;
    assert_int_equal(en_eval_scorer_open(&s, model, 1, 0, ENTRO_KV_F16, NULL), ENTRO_OK);
    assert_int_equal(en_eval_scorer_score(&s, tokens, 30, 20, &sum, NULL), ENTRO_OK);
    assert_int_equal(s.n_evaluated, 29);
    tokens[20] = 400; /* another choice: the context's last token, then nine of ten */
    assert_int_equal(en_eval_scorer_score(&s, tokens, 30, 20, &sum, NULL), ENTRO_OK);
    assert_int_equal(s.n_evaluated, 29 + 10);
    tokens[29] = 400; /* it differs in the end only */
    assert_int_equal(en_eval_scorer_score(&s, tokens, 30, 20, &sum, NULL), ENTRO_OK);
    assert_int_equal(s.n_evaluated, 29 + 10 + 1);
    assert_int_equal(en_eval_scorer_score(&s, tokens, 30, 20, &sum, NULL), ENTRO_OK);
    assert_int_equal(s.n_evaluated, 29 + 10 + 1); /* the same again */
    en_eval_scorer_close(&s);
    en_model_close(model);
}

/* ---- numbers ------------------------------------------------------------------------------- */

static const char numbers[] = "{\"question\": \"Lily had 2 balls.\", \"answer\": \"2 #### 2\"}\n"
                              "{\"question\": \"Tom had 3 cats.\", \"answer\": \"#### 3\"}\n"
                              "{\"question\": \"Sue had 4 dogs.\", \"answer\": \"#### 4\"}\n"
                              "{\"question\": \"Ben had 5 hats.\", \"answer\": \"#### 5\"}\n";

/* The text that follows greedily, token by token, each time with the whole prompt anew. */
static void generate_plainly(const entro_model *model, const char *prompt, uint32_t n_predict,
                             char *out, size_t n_out)
{
    int32_t ids[256];
    size_t n = encode(model, prompt, ids);
    entro_session_options opt = {.struct_size = sizeof opt, .n_ctx = 256, .n_threads = 1};
    entro_session *s = NULL;
    en_text_stream *stream;
    assert_int_equal(en_session_open(&s, model, &opt, NULL), ENTRO_OK);
    assert_int_equal(en_text_stream_new(&stream, model->tokenizer, false, NULL), ENTRO_OK);
    out[0] = 0;
    for (uint32_t i = 0; i < n_predict; i++) {
        const char *text;
        size_t n_text;
        int32_t top = 0;
        en_session_truncate(s, 0);
        assert_int_equal(en_session_decode(s, ids, n, NULL), ENTRO_OK);
        const float *logits = en_session_logits(s);
        for (int32_t k = 1; k < (int32_t)en_model_n_vocab(model); k++)
            top = logits[k] > logits[top] ? k : top;
        if (en_tokenizer_ends(model->tokenizer, top))
            break;
        ids[n++] = top;
        assert_int_equal(en_text_stream_put(stream, top, &text, &n_text, NULL), ENTRO_OK);
        size_t used = strlen(out);
        snprintf(out + used, n_out - used, "%.*s", (int)n_text, text);
    }
    en_text_stream_free(stream);
    en_session_close(s);
    char *next = strstr(out, "Question:");
    if (next != NULL)
        *next = 0;
}

static void check_text(void *user, const entro_eval_answer *a)
{
    watch *w = user;
    static const char *const prompts[] = {
        "Question: Tom had 3 cats.\nAnswer: #### 3\n\nQuestion: Lily had 2 balls.\nAnswer:",
        "Question: Tom had 3 cats.\nAnswer: #### 3\n\nQuestion: Tom had 3 cats.\nAnswer:",
    };
    char want[1024];
    w->n++;
    generate_plainly(w->model, prompts[a->question], 12, want, sizeof want);
    assert_string_equal(a->text, want);
    assert_string_equal(a->expected, a->question == 0 ? "2" : "3");
    assert_int_equal(a->n_choices, 0);
    assert_int_equal(a->right[0], strcmp(a->found, a->expected) == 0);
}

static void numbers_are_generated_greedily(void **state)
{
    (void)state;
    entro_model *model = open_model();
    entro_eval_task *task = parse(numbers);
    entro_eval_task *examples =
        parse("{\"question\": \"Tom had 3 cats.\", \"answer\": \"#### 3\"}\n");
    watch w = {.model = model, .task = task};
    entro_eval_options opt = options();
    entro_eval_report r;
    opt.n_shots = 1;
    opt.n_questions = 2;
    opt.n_predict = 12;
    opt.examples = examples;
    opt.on_answer = check_text;
    opt.answer_user = &w;
    entro_error err = {0};
    if (en_eval_run(task, model, &opt, &r, &err) != ENTRO_OK)
        fail_msg("%s", err.message);
    assert_int_equal(w.n, 2);
    assert_int_equal(r.n_questions, 2);
    en_eval_task_close(examples);
    en_eval_task_close(task);
    en_model_close(model);
}

static void examples_are_not_asked(void **state)
{
    (void)state;
    entro_model *model = open_model();
    entro_eval_task *task = parse(numbers);
    entro_eval_options opt = options();
    entro_eval_report r;
    opt.n_shots = 3;
    opt.n_predict = 2;
    assert_int_equal(en_eval_run(task, model, &opt, &r, NULL), ENTRO_OK);
    assert_int_equal(r.n_questions, 1);
    opt.n_shots = 0;
    assert_int_equal(en_eval_run(task, model, &opt, &r, NULL), ENTRO_OK);
    assert_int_equal(r.n_questions, 4);
    en_eval_task_close(task);
    en_model_close(model);
}

/* ---- limits and refusals ------------------------------------------------------------------- */

static void long_contexts_lose_their_beginning(void **state)
{
    (void)state;
    entro_model *model = open_model(); /* context of 128 */
    char text[8192];
    size_t n = (size_t)snprintf(text, sizeof text, "{\"query\": \"");
    for (int i = 0; i < 600; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "ball ");
    snprintf(text + n, sizeof text - n,
             "\", \"choices\": [\"one\", \"two balls\"], \"gold\": 0}\n"
             "{\"query\": \"A\", \"choices\": [\"b\", \"c\"], \"gold\": 0}");
    entro_eval_task *task = parse(text);
    entro_eval_options opt = options();
    entro_eval_report r;
    assert_int_equal(en_eval_run(task, model, &opt, &r, NULL), ENTRO_OK);
    assert_int_equal(r.n_cut, 1);
    en_eval_task_close(task);
    en_model_close(model);
}

static void refuse(const entro_model *model, const char *text, entro_eval_options opt,
                   entro_status status, const char *message)
{
    entro_eval_task *task = parse(text);
    entro_eval_report r;
    entro_error err = {0};
    size_t in_use = en_memory_in_use();
    assert_int_equal(en_eval_run(task, model, &opt, &r, &err), status);
    if (strstr(err.message, message) == NULL)
        fail_msg("%s", err.message);
    assert_int_equal(en_memory_in_use(), in_use);
    en_eval_task_close(task);
}

static bool stop_at_once(void *user, const entro_progress *progress)
{
    (void)user;
    assert_string_equal(progress->stage, "task");
    assert_string_equal(progress->unit, "question");
    return false;
}

static void says_what_cannot_be_asked(void **state)
{
    (void)state;
    entro_model *model = open_model();
    entro_eval_options opt = options();
    entro_eval_task *other = parse(choices);
    opt.progress = stop_at_once;
    refuse(model, choices, opt, ENTRO_ERR_CANCELLED, "cancelled after");
    opt.n_shots = 1;
    refuse(model, numbers, opt, ENTRO_ERR_CANCELLED, "cancelled after");
    opt.progress = NULL;
    opt.n_shots = 4;
    refuse(model, numbers, opt, ENTRO_ERR_ARGUMENT, "would be examples");
    opt.n_shots = 65;
    refuse(model, numbers, opt, ENTRO_ERR_ARGUMENT, "at most 64");
    opt.n_shots = 1;
    opt.examples = other;
    refuse(model, numbers, opt, ENTRO_ERR_ARGUMENT, "no questions with worked answers");
    opt.examples = NULL;
    opt.n_predict = 512;
    refuse(model, numbers, opt, ENTRO_ERR_ARGUMENT, "do not go with a context of 128");
    opt.n_predict = 10;
    opt.chat = true;
    refuse(model, numbers, opt, ENTRO_ERR_NOT_FOUND, "template");
    opt.chat = false;
    /* a tokenizer with more tokens than the matrices have rows */
    model->decoder->hp.n_vocab = 300;
    refuse(model, choices, opt, ENTRO_ERR_FORMAT, "the tokenizer gives token");
    model->decoder->hp.n_vocab = 512;
    en_eval_task_close(other);
    en_model_close(model);
    if (!en_path_exists(TEST_FIXTURES "/models/llama"))
        return;
    assert_int_equal(en_model_open(&model, TEST_FIXTURES "/models/llama", NULL, NULL), ENTRO_OK);
    refuse(model, choices, opt, ENTRO_ERR_NOT_FOUND, "no tokenizer");
    en_model_close(model);
}

static void shares_have_the_error_of_a_mean(void **state)
{
    (void)state;
    /* 1 1 1 0: mean 3/4, deviation 1/2 */
    entro_eval_share s = en_eval_share(3, 3, 4);
    assert_true(s.value == 0.75 && fabs(s.error - 0.25) < 1e-15);
    /* 1 -1 0 0 1 */
    s = en_eval_share(1, 3, 5);
    assert_true(fabs(s.value - 0.2) < 1e-15 && fabs(s.error - sqrt(0.7 / 5)) < 1e-15);
    assert_true(isnan(en_eval_share(1, 1, 1).error));
    assert_true(en_eval_share(5, 5, 5).error == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(choices_by_definition),
        cmocka_unit_test(partial_evaluation_by_definition),
        cmocka_unit_test(sequences_in_any_order_score_the_same),
        cmocka_unit_test(a_context_is_evaluated_once),
        cmocka_unit_test(numbers_are_generated_greedily),
        cmocka_unit_test(examples_are_not_asked),
        cmocka_unit_test(long_contexts_lose_their_beginning),
        cmocka_unit_test(says_what_cannot_be_asked),
        cmocka_unit_test(shares_have_the_error_of_a_mean),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
