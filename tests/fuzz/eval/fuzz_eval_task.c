/*
 * fuzz_eval_task.c - any bytes as a file of questions.
 *
 * What was accepted must be questions with choices, texts inside the task's text and a right answer
 * among the choices.  Small allocations may fail on the way; nothing may leak either way.
 */
#include "base/memory.h"
#include "eval/eval_number.h"
#include "eval/eval_task.h"
#include "fuzz_entry.h"

static void check_text(const entro_eval_task *task, en_eval_text t)
{
    REQUIRE(t.at <= task->n_text && t.n <= task->n_text - t.at);
}

static void use(const entro_eval_task *task)
{
    entro_eval_task_info info;
    en_eval_task_get_info(task, &info);
    REQUIRE(info.n_questions > 0 && info.n_metrics >= 1 && info.metrics[0] != NULL);
    for (size_t i = 0; i < task->n_questions; i++) {
        const en_eval_question *q = &task->questions[i];
        REQUIRE(q->n_pairs >= 1 && q->first_pair + q->n_pairs <= task->n_pairs);
        REQUIRE(q->gold < q->n_pairs && q->n_pairs <= EN_EVAL_MAX_CHOICES);
        for (uint32_t k = 0; k < q->n_pairs; k++) {
            const en_eval_pair *pair = &task->pairs[q->first_pair + k];
            check_text(task, pair->context);
            check_text(task, pair->continuation);
            REQUIRE(pair->continuation.n > 0);
            REQUIRE(task->kind == ENTRO_EVAL_NUMBER || pair->n_norm > 0);
            en_eval_number_last(en_eval_task_text(task, pair->continuation));
            en_eval_number_strict(en_eval_task_text(task, pair->continuation));
        }
        check_text(task, q->gold_text);
        REQUIRE(task->kind != ENTRO_EVAL_NUMBER || q->gold_text.n > 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    entro_eval_task *task = NULL;
    entro_error err = {0};
    uint8_t last = n_bytes > 0 ? data[n_bytes - 1] : 0;
    bool failing = (last & 3) == 3 && last != '}' && last != '\n';
    en_memory_fail_at(failing ? last >> 2 : UINT64_MAX);
    entro_status status = en_eval_task_parse(&task, "fuzz.jsonl", (const char *)data,
                                             failing ? n_bytes - 1 : n_bytes, &err);
    en_memory_fail_at(UINT64_MAX);
    if (status == ENTRO_OK)
        use(task);
    else
        REQUIRE(task == NULL && err.status == status && err.message[0] != '\0');
    en_eval_task_close(task);
    REQUIRE(en_memory_in_use() == 0);
    return 0;
}
