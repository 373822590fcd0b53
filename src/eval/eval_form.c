/*
 * eval_form.c - see eval_form.h.
 *
 * Prompts are lm-evaluation-harness's: "Question: ...\nAnswer:" for ARC and PIQA, HellaSwag's texts
 * freed of WikiHow's marks, a space between context and continuation.
 */
#include "eval/eval_form.h"

#include <string.h>

#include <utf8proc.h>

#include "base/memory.h"
#include "text/utf8.h"

/* ---- text ---------------------------------------------------------------------------------- */

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool begins_with(en_span s, const char *text)
{
    size_t n = strlen(text);
    return s.n >= n && memcmp(s.p, text, n) == 0;
}

static bool ends_with(en_span s, const char *text)
{
    size_t n = strlen(text);
    return s.n >= n && memcmp(s.p + s.n - n, text, n) == 0;
}

static en_span trim_right(en_span s)
{
    while (s.n > 0 && is_space(s.p[s.n - 1]))
        s.n--;
    return s;
}

static entro_status put(entro_eval_task *task, const char *p, size_t n, entro_error *err)
{
    if (!en_grow((void **)&task->text, &task->text_cap, task->n_text + n + 1, SIZE_MAX / 4, 1))
        return en_fail_memory(err);
    memcpy(task->text + task->n_text, p, n);
    task->n_text += n;
    return ENTRO_OK;
}

static entro_status put_span(entro_eval_task *task, en_span s, entro_error *err)
{
    return put(task, s.p, s.n, err);
}

static entro_status put_text(entro_eval_task *task, const char *text, entro_error *err)
{
    return put(task, text, strlen(text), err);
}

/* The text put since 'at'. */
static en_eval_text since(const entro_eval_task *task, size_t at)
{
    return (en_eval_text){at, task->n_text - at};
}

/* " choice"; no space where there is nothing in front or the choice has its own. */
static entro_status put_continuation(entro_eval_task *task, en_span choice, en_eval_text context,
                                     en_eval_pair *pair, entro_error *err)
{
    size_t at = task->n_text;
    if (context.n > 0 && !is_space(choice.p[0]))
        EN_TRY(put_text(task, " ", err));
    EN_TRY(put_span(task, choice, err));
    *pair = (en_eval_pair){context, since(task, at), choice.n};
    return ENTRO_OK;
}

/* ---- HellaSwag's texts --------------------------------------------------------------------- */

/* As Python's str.capitalize(): the first letter large, the others small. */
static entro_status put_capitalized(entro_eval_task *task, en_span s, entro_error *err)
{
    for (size_t i = 0, n; i < s.n; i += n) {
        uint32_t code;
        char changed[4];
        n = en_utf8_read(s.p + i, s.n - i, &code); /* JSON is valid UTF-8 */
        if (n == 0)
            return en_fail(err, ENTRO_ERR_FORMAT, "holds text that is not valid UTF-8");
        int32_t c = (int32_t)code;
        c = i == 0 ? utf8proc_totitle(c) : utf8proc_tolower(c);
        EN_TRY(put(task, changed, en_utf8_write(changed, (uint32_t)c), err));
    }
    return ENTRO_OK;
}

static size_t replace(char *p, size_t n, const char *old, const char *new)
{
    size_t n_old = strlen(old), n_new = strlen(new), out = 0; /* n_new <= n_old */
    for (size_t i = 0; i < n;) {
        if (n - i >= n_old && memcmp(p + i, old, n_old) == 0) {
            memcpy(p + out, new, n_new);
            out += n_new;
            i += n_old;
        } else {
            p[out++] = p[i++];
        }
    }
    return out;
}

/* Without [marks], each within a line. */
static size_t drop_marks(char *p, size_t n)
{
    size_t out = 0;
    for (size_t i = 0; i < n;) {
        size_t end = i;
        if (p[i] == '[')
            while (end < n && p[end] != ']' && p[end] != '\n')
                end++;
        if (p[i] == '[' && end < n && p[end] == ']')
            i = end + 1;
        else
            p[out++] = p[i++];
    }
    return out;
}

/* The harness's preprocess() of the text since 'at': trimmed, " [title]" becomes ". ", other [marks]
 * go, double spaces become one. */
static void clean(entro_eval_task *task, size_t at)
{
    char *p = task->text + at;
    size_t n = trim_right((en_span){p, task->n_text - at}).n, front = 0;
    while (front < n && is_space(p[front]))
        front++;
    n -= front;
    memmove(p, p + front, n);
    n = replace(p, n, " [title]", ". ");
    n = drop_marks(p, n);
    n = replace(p, n, "  ", " ");
    task->n_text = at + n;
}

/* ---- forms --------------------------------------------------------------------------------- */

static entro_status get_text(const en_json_node *object, const char *key, en_span *out,
                             entro_error *err)
{
    if (!en_json_string(en_json_get(object, key), out))
        return en_fail(err, ENTRO_ERR_FORMAT, "'%s' is missing or no text", key);
    if (out->n > INT32_MAX / 8)
        return en_fail(err, ENTRO_ERR_FORMAT, "'%s' has %zu bytes, too many", key, out->n);
    return ENTRO_OK;
}

/* 2 or "2" */
static entro_status get_gold(const en_json_node *object, const char *key, uint32_t n_choices,
                             uint32_t *gold, entro_error *err)
{
    const en_json_node *node = en_json_get(object, key);
    int64_t i = -1;
    en_span s;
    if (en_json_string(node, &s) && s.n > 0 && s.n <= 2) {
        i = 0;
        for (size_t k = 0; k < s.n; k++)
            i = s.p[k] >= '0' && s.p[k] <= '9' && i >= 0 ? 10 * i + (s.p[k] - '0') : -1;
    } else if (!en_json_int(node, &i)) {
        return en_fail(err, ENTRO_ERR_FORMAT, "'%s' is missing or no whole number", key);
    }
    if (i < 0 || i >= n_choices)
        return en_fail(err, ENTRO_ERR_FORMAT,
                       "'%s' is not one of the %u choices, which are counted from 0", key,
                       n_choices);
    *gold = (uint32_t)i;
    return ENTRO_OK;
}

static entro_status check_list(const en_json_node *list, const char *key, entro_error *err)
{
    if (list->type != EN_JSON_ARRAY || list->n < 2 || list->n > EN_EVAL_MAX_CHOICES)
        return en_fail(err, ENTRO_ERR_FORMAT, "'%s' is no list of 2 to %u texts", key,
                       (unsigned)EN_EVAL_MAX_CHOICES);
    for (EN_JSON_EACH(item, list)) {
        en_span s;
        if (!en_json_string(item, &s) || trim_right(s).n == 0)
            return en_fail(err, ENTRO_ERR_FORMAT, "'%s' holds something that is no text, or empty",
                           key);
    }
    return ENTRO_OK;
}

static entro_status add_pair(entro_eval_task *task, const en_eval_pair *pair, entro_error *err)
{
    if (!en_grow((void **)&task->pairs, &task->pairs_cap, task->n_pairs + 1, SIZE_MAX / 4,
                 sizeof *task->pairs))
        return en_fail_memory(err);
    task->pairs[task->n_pairs++] = *pair;
    return ENTRO_OK;
}

static entro_status read_query(entro_eval_task *task, const en_json_node *object,
                               en_eval_question *q, entro_error *err)
{
    const en_json_node *choices = en_json_get(object, "choices");
    en_span query;
    EN_TRY(get_text(object, "query", &query, err));
    EN_TRY(check_list(choices, "choices", err));
    EN_TRY(get_gold(object, "gold", choices->n, &q->gold, err));
    query = trim_right(query);
    size_t at = task->n_text;
    EN_TRY(put_span(task, query, err));
    if (begins_with(query, "Question:") && !ends_with(query, "Answer:"))
        EN_TRY(put_text(task, "\nAnswer:", err));
    en_eval_text context = since(task, at);
    for (EN_JSON_EACH(choice, choices)) {
        en_eval_pair pair;
        EN_TRY(put_continuation(task, (en_span){choice->s, choice->n}, context, &pair, err));
        EN_TRY(add_pair(task, &pair, err));
    }
    return ENTRO_OK;
}

/* "activity: ctx_a Ctx_b", or "ctx" where these are not given. */
static entro_status put_scene(entro_eval_task *task, const en_json_node *object, entro_error *err)
{
    en_span a, b, label;
    bool has_label = en_json_string(en_json_get(object, "activity_label"), &label);
    if (has_label) {
        EN_TRY(put_span(task, label, err));
        EN_TRY(put_text(task, ": ", err));
    }
    if (!en_json_string(en_json_get(object, "ctx_a"), &a)) {
        EN_TRY(get_text(object, "ctx", &a, err));
        return put_span(task, a, err);
    }
    EN_TRY(get_text(object, "ctx_b", &b, err));
    EN_TRY(put_span(task, a, err));
    EN_TRY(put_text(task, " ", err));
    return put_capitalized(task, b, err);
}

static entro_status read_scene(entro_eval_task *task, const en_json_node *object,
                               en_eval_question *q, entro_error *err)
{
    const en_json_node *endings = en_json_get(object, "endings");
    EN_TRY(check_list(endings, "endings", err));
    EN_TRY(get_gold(object, "label", endings->n, &q->gold, err));
    size_t at = task->n_text;
    EN_TRY(put_scene(task, object, err));
    clean(task, at);
    task->n_text = at + trim_right((en_span){task->text + at, task->n_text - at}).n;
    en_eval_text context = since(task, at);
    for (EN_JSON_EACH(ending, endings)) {
        en_eval_pair pair = {.context = context};
        size_t start = task->n_text;
        EN_TRY(put_text(task, " ", err));
        EN_TRY(put(task, ending->s, ending->n, err));
        clean(task, start + 1);
        pair.continuation = since(task, start);
        pair.n_norm = pair.continuation.n - 1;
        if (pair.n_norm == 0)
            return en_fail(err, ENTRO_ERR_FORMAT, "'endings' holds one with nothing but marks");
        EN_TRY(add_pair(task, &pair, err));
    }
    return ENTRO_OK;
}

static entro_status read_partial(entro_eval_task *task, const en_json_node *object,
                                 en_eval_question *q, entro_error *err)
{
    const en_json_node *options = en_json_get(object, "context_options");
    en_span rest;
    EN_TRY(check_list(options, "context_options", err));
    EN_TRY(get_text(object, "continuation", &rest, err));
    EN_TRY(get_gold(object, "gold", options->n, &q->gold, err));
    if (trim_right(rest).n == 0)
        return en_fail(err, ENTRO_ERR_FORMAT, "'continuation' is empty");
    for (EN_JSON_EACH(option, options)) {
        en_eval_pair pair;
        size_t at = task->n_text;
        EN_TRY(put_span(task, trim_right((en_span){option->s, option->n}), err));
        EN_TRY(put_continuation(task, rest, since(task, at), &pair, err));
        EN_TRY(add_pair(task, &pair, err));
    }
    return ENTRO_OK;
}

static entro_status read_number(entro_eval_task *task, const en_json_node *object,
                                en_eval_question *q, entro_error *err)
{
    en_span question, answer;
    en_eval_pair pair = {0};
    EN_TRY(get_text(object, "question", &question, err));
    EN_TRY(get_text(object, "answer", &answer, err));
    size_t n = answer.n;
    while (n >= 5 && memcmp(answer.p + n - 5, "#### ", 5) != 0)
        n--;
    if (n < 5 || n == answer.n)
        return en_fail(err, ENTRO_ERR_FORMAT,
                       "'answer' does not end with the number behind \"#### \"");
    pair.context.at = task->n_text;
    pair.context.n = question.n;
    EN_TRY(put_span(task, question, err));
    pair.continuation = (en_eval_text){task->n_text, answer.n};
    EN_TRY(put_span(task, answer, err));
    q->gold_text = (en_eval_text){pair.continuation.at + n, answer.n - n};
    return add_pair(task, &pair, err);
}

typedef entro_status (*read_fn)(entro_eval_task *task, const en_json_node *object,
                                en_eval_question *q, entro_error *err);

static const struct form {
    const char *key; /* that no other form has */
    entro_eval_kind kind;
    read_fn read;
} forms[] = {
    {"choices", ENTRO_EVAL_CHOICE, read_query},
    {"endings", ENTRO_EVAL_CHOICE, read_scene},
    {"context_options", ENTRO_EVAL_PARTIAL, read_partial},
    {"answer", ENTRO_EVAL_NUMBER, read_number},
};

entro_status en_eval_form_read(entro_eval_task *task, const en_json_node *object,
                               entro_eval_kind *kind, entro_error *err)
{
    const struct form *form = NULL;
    for (size_t i = 0; i < sizeof forms / sizeof *forms && form == NULL; i++)
        if (object->type == EN_JSON_OBJECT && en_json_get(object, forms[i].key) != NULL)
            form = &forms[i];
    if (form == NULL)
        return en_fail(err, ENTRO_ERR_FORMAT,
                       "is no question of a known form: expected an object with 'query' and "
                       "'choices', 'endings', 'context_options', or 'question' and 'answer'");
    if (!en_grow((void **)&task->questions, &task->questions_cap, task->n_questions + 1,
                 EN_EVAL_MAX_QUESTIONS, sizeof *task->questions))
        return en_fail_memory(err);
    en_eval_question *q = &task->questions[task->n_questions];
    *q = (en_eval_question){.first_pair = task->n_pairs};
    EN_TRY(form->read(task, object, q, err));
    q->n_pairs = (uint32_t)(task->n_pairs - q->first_pair);
    task->n_questions++;
    *kind = form->kind;
    return ENTRO_OK;
}
