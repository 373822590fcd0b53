/* test_eval_task.c - files of questions: prompts as they are published, refusals with their line. */
#include <string.h>

#include "test_support.h"

#include "base/file.h"
#include "base/memory.h"
#include "eval/eval_task.h"

#define TASKS TEST_SHARED "/data/eval/tasks/"

static entro_eval_task *parse(const char *text)
{
    entro_eval_task *task = NULL;
    entro_error err = {0};
    if (en_eval_task_parse(&task, "folder/a task.jsonl", text, strlen(text), &err) != ENTRO_OK)
        fail_msg("%s: %s", err.where, err.message);
    return task;
}

static void expect_pair(const entro_eval_task *task, size_t i, const char *context,
                        const char *continuation, size_t n_norm)
{
    const en_eval_pair *pair = &task->pairs[i];
    en_span a = en_eval_task_text(task, pair->context);
    en_span b = en_eval_task_text(task, pair->continuation);
    if (!en_span_is(a, context) || !en_span_is(b, continuation))
        fail_msg("'%.*s' + '%.*s'", (int)a.n, a.p, (int)b.n, b.p);
    assert_int_equal(pair->n_norm, n_norm);
}

static void questions_with_choices(void **state)
{
    (void)state;
    entro_eval_task *task = parse(
        "{\"query\": \"Question: What is wet?\\n\", \"choices\": [\"water\", \"dry sand\"], "
        "\"gold\": 1}\n\n"
        "{\"query\": \"Question: Who?\\nAnswer:\", \"choices\": [\"I\", \"you\"], \"gold\": 0}\n"
        "{\"query\": \"The sky is \", \"choices\": [\" bl\\u00fce\", \"red\"], \"gold\": \"0\"}");
    entro_eval_task_info info;
    en_eval_task_get_info(task, &info);
    assert_string_equal(info.name, "a task");
    assert_int_equal(info.kind, ENTRO_EVAL_CHOICE);
    assert_int_equal(info.n_questions, 3);
    assert_int_equal(info.n_metrics, 2);
    expect_pair(task, 0, "Question: What is wet?\nAnswer:", " water", 5);
    expect_pair(task, 1, "Question: What is wet?\nAnswer:", " dry sand", 8);
    expect_pair(task, 2, "Question: Who?\nAnswer:", " I", 1);
    expect_pair(task, 4, "The sky is",
                " bl\xc3\xbc"
                "e",
                6);
    assert_int_equal(task->questions[0].gold, 1);
    assert_int_equal(task->questions[2].gold, 0);
    en_eval_task_close(task);
}

static void hellaswag_as_it_is_published(void **state)
{
    (void)state;
    entro_eval_task *task = parse(
        "{\"activity_label\": \"Pole vault\", \"ctx_a\": \"A pole.\", \"ctx_b\": \"a few Women\", "
        "\"endings\": [\"sit.\", \" run [step] far  away. \"], \"label\": 1}\n"
        "{\"activity_label\": \"Health\", \"ctx_a\": \"[header] How to sleep [title] Lie down.\", "
        "\"ctx_b\": \"\", \"endings\": [\"Now [title] rest\", \"[open\\nline]\"], \"label\": "
        "\"0\"}\n"
        "{\"ctx\": \"A man is\", \"endings\": [\"here\", \"there\"], \"label\": 0}\n");
    expect_pair(task, 0, "Pole vault: A pole. A few women", " sit.", 4);
    expect_pair(task, 1, "Pole vault: A pole. A few women", " run far away.", 13);
    expect_pair(task, 2, "Health: How to sleep. Lie down.", " Now. rest", 9);
    expect_pair(task, 3, "Health: How to sleep. Lie down.", " [open\nline]", 11);
    expect_pair(task, 4, "A man is", " here", 4);
    en_eval_task_close(task);
}

static void options_that_stand_in_the_context(void **state)
{
    (void)state;
    entro_eval_task *task = parse("{\"context_options\": [\"so Ann\", \"so Bob \"], "
                                  "\"continuation\": \"waved.\", \"gold\": 1}");
    entro_eval_task_info info;
    en_eval_task_get_info(task, &info);
    assert_int_equal(info.kind, ENTRO_EVAL_PARTIAL);
    assert_int_equal(info.n_metrics, 1);
    assert_null(info.metrics[1]);
    expect_pair(task, 0, "so Ann", " waved.", 6);
    expect_pair(task, 1, "so Bob", " waved.", 6);
    en_eval_task_close(task);
}

static void numbers_behind_a_mark(void **state)
{
    (void)state;
    entro_eval_task *task =
        parse("{\"question\": \"How many?\", \"answer\": \"It is #### so.\\n#### 1,018\"}");
    expect_pair(task, 0, "How many?", "It is #### so.\n#### 1,018", 0);
    assert_true(en_span_is(en_eval_task_text(task, task->questions[0].gold_text), "1,018"));
    en_eval_task_close(task);
}

static void refuse(const char *text, const char *where, const char *message)
{
    entro_eval_task *task = NULL;
    entro_error err = {0};
    size_t in_use = en_memory_in_use();
    assert_int_equal(en_eval_task_parse(&task, "t.jsonl", text, strlen(text), &err),
                     ENTRO_ERR_FORMAT);
    assert_null(task);
    assert_int_equal(en_memory_in_use(), in_use);
    if (strcmp(err.where, where) != 0 || strstr(err.message, message) == NULL)
        fail_msg("%s: %s", err.where, err.message);
}

#define GOOD "{\"query\": \"q\", \"choices\": [\"a\", \"b\"], \"gold\": 0}\n"

static void names_the_line_that_is_wrong(void **state)
{
    (void)state;
    refuse("", "t.jsonl", "no questions");
    refuse("\n \n", "t.jsonl", "no questions");
    refuse("A man sits.\n3\n", "t.jsonl: line 1", "not valid JSON");
    refuse(GOOD "\n[1, 2]\n", "t.jsonl: line 3", "no question of a known form");
    refuse(GOOD "{\"text\": \"q\"}", "t.jsonl: line 2", "no question of a known form");
    refuse(GOOD "{\"query\": \"q\", \"choices\": [\"a\", \"b\"]}", "t.jsonl: line 2",
           "'gold' is missing");
    refuse("{\"query\": \"q\", \"choices\": [\"a\", \"b\"], \"gold\": 2}", "t.jsonl: line 1",
           "one of the 2 choices");
    refuse("{\"query\": \"q\", \"choices\": [\"a\", \"b\"], \"gold\": -1}", "t.jsonl: line 1",
           "one of the 2 choices");
    refuse("{\"query\": \"q\", \"choices\": [\"a\", \"b\"], \"gold\": \"x\"}", "t.jsonl: line 1",
           "one of the 2 choices");
    refuse("{\"query\": \"q\", \"choices\": [\"a\"], \"gold\": 0}", "t.jsonl: line 1",
           "list of 2 to 64");
    refuse("{\"query\": \"q\", \"choices\": \"ab\", \"gold\": 0}", "t.jsonl: line 1",
           "list of 2 to 64");
    refuse("{\"query\": \"q\", \"choices\": [\"a\", \" \"], \"gold\": 0}", "t.jsonl: line 1",
           "empty");
    refuse("{\"choices\": [\"a\", \"b\"], \"gold\": 0}", "t.jsonl: line 1", "'query' is missing");
    refuse("{\"ctx\": \"c\", \"endings\": [\"a\", \"[b]\"], \"label\": 0}", "t.jsonl: line 1",
           "nothing but marks");
    refuse("{\"context_options\": [\"a\", \"b\"], \"continuation\": \" \", \"gold\": 0}",
           "t.jsonl: line 1", "'continuation' is empty");
    refuse("{\"question\": \"q\", \"answer\": \"42\"}", "t.jsonl: line 1", "####");
    refuse("{\"question\": \"q\", \"answer\": \"#### \"}", "t.jsonl: line 1", "####");
    refuse(GOOD "{\"question\": \"q\", \"answer\": \"#### 1\"}", "t.jsonl: line 2", "another form");
    refuse("{\"query\": \"q\", \"query\": \"q\", \"choices\": [\"a\", \"b\"], \"gold\": 0}",
           "t.jsonl: line 1", "unique");
}

static void reads_the_published_files(void **state)
{
    (void)state;
    static const struct {
        const char *path;
        uint32_t n_questions;
        entro_eval_kind kind;
    } files[] = {
        {TASKS "arc_easy.jsonl", 2376, ENTRO_EVAL_CHOICE},
        {TASKS "arc_challenge.jsonl", 1172, ENTRO_EVAL_CHOICE},
        {TASKS "piqa.jsonl", 1838, ENTRO_EVAL_CHOICE},
        {TASKS "hellaswag_val_1000.jsonl", 1000, ENTRO_EVAL_CHOICE},
        {TASKS "winogrande.jsonl", 1267, ENTRO_EVAL_PARTIAL},
        {TASKS "gsm8k_test.jsonl", 1319, ENTRO_EVAL_NUMBER},
    };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        entro_eval_task *task = NULL;
        entro_eval_task_info info;
        if (!en_path_exists(files[i].path))
            skip();
        assert_int_equal(en_eval_task_open(&task, files[i].path, NULL), ENTRO_OK);
        en_eval_task_get_info(task, &info);
        assert_int_equal(info.n_questions, files[i].n_questions);
        assert_int_equal(info.kind, files[i].kind);
        en_eval_task_close(task);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(questions_with_choices),
        cmocka_unit_test(hellaswag_as_it_is_published),
        cmocka_unit_test(options_that_stand_in_the_context),
        cmocka_unit_test(numbers_behind_a_mark),
        cmocka_unit_test(names_the_line_that_is_wrong),
        cmocka_unit_test(reads_the_published_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
