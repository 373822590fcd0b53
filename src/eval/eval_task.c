/* eval_task.c - see eval_task.h. */
#include "eval/eval_task.h"

#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "eval/eval_form.h"

static entro_status read_line(entro_eval_task *task, const char *line, size_t n, entro_error *err)
{
    en_json json;
    entro_eval_kind kind = task->kind;
    if (task->n_questions == EN_EVAL_MAX_QUESTIONS)
        return en_fail(err, ENTRO_ERR_FORMAT, "more than %u questions",
                       (unsigned)EN_EVAL_MAX_QUESTIONS);
    EN_TRY(en_json_parse(&json, line, n, true, err));
    entro_status status = en_eval_form_read(task, json.nodes, &kind, err);
    en_json_close(&json);
    if (status == ENTRO_OK && task->n_questions > 1 && kind != task->kind)
        return en_fail(err, ENTRO_ERR_FORMAT,
                       "has another form than the lines before it; a file holds one task");
    task->kind = kind;
    return status;
}

static bool is_blank(const char *line, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (line[i] != ' ' && line[i] != '\t' && line[i] != '\r')
            return false;
    return true;
}

static entro_status read_lines(entro_eval_task *task, const char *data, size_t n_bytes,
                               entro_error *err)
{
    size_t line = 1;
    for (size_t at = 0, n; at < n_bytes; at += n + 1, line++) {
        const char *end = memchr(data + at, '\n', n_bytes - at);
        n = end != NULL ? (size_t)(end - data) - at : n_bytes - at;
        if (is_blank(data + at, n))
            continue;
        entro_status status = read_line(task, data + at, n, err);
        if (status != ENTRO_OK) {
            en_error_place(err, "line %zu", line);
            return status;
        }
    }
    if (task->n_questions == 0)
        return en_fail(err, ENTRO_ERR_FORMAT, "holds no questions");
    return ENTRO_OK;
}

/* "tasks/arc_easy.jsonl" -> "arc_easy" */
static char *name_of(const char *path)
{
    const char *base = en_path_base(path), *dot = strrchr(base, '.');
    return en_strndup(base, dot != NULL && dot > base ? (size_t)(dot - base) : strlen(base));
}

entro_status en_eval_task_parse(entro_eval_task **out, const char *name, const char *data,
                                size_t n_bytes, entro_error *err)
{
    entro_eval_task *task = en_alloc_zero(1, sizeof *task);
    if (task == NULL)
        return en_fail_memory(err);
    task->name = name_of(name);
    entro_status status =
        task->name != NULL ? read_lines(task, data, n_bytes, err) : en_fail_memory(err);
    if (status != ENTRO_OK) {
        en_error_place(err, "%s", name);
        en_eval_task_close(task);
        return status;
    }
    *out = task;
    return ENTRO_OK;
}

entro_status en_eval_task_open(entro_eval_task **out, const char *path, entro_error *err)
{
    char *data;
    size_t n_bytes;
    EN_TRY(en_file_read(&data, &n_bytes, path, EN_EVAL_MAX_FILE, err));
    entro_status status = en_eval_task_parse(out, path, data, n_bytes, err);
    en_free(data);
    return status;
}

void en_eval_task_close(entro_eval_task *task)
{
    if (task == NULL)
        return;
    en_free(task->name);
    en_free(task->text);
    en_free(task->pairs);
    en_free(task->questions);
    en_free(task);
}

void en_eval_task_get_info(const entro_eval_task *task, entro_eval_task_info *info)
{
    *info = (entro_eval_task_info){
        .name = task->name,
        .kind = task->kind,
        .n_questions = (uint32_t)task->n_questions,
        .n_metrics = task->kind == ENTRO_EVAL_PARTIAL ? 1 : 2,
        .metrics = {"acc", "acc_norm"},
    };
    if (task->kind == ENTRO_EVAL_PARTIAL)
        info->metrics[1] = NULL;
    if (task->kind == ENTRO_EVAL_NUMBER) {
        info->metrics[0] = "exact_match";
        info->metrics[1] = "strict_match";
    }
}
