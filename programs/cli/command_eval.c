/*
 * command_eval.c - entrollm eval: questions with known answers, to one model or several.
 *
 *   model by model, task by task; only one model is open at a time
 *   outcomes[task][model][metric][question] stay, for the differences between models
 */
#include "cli_commands.h"
#include "cli_format.h"
#include "cli_input.h"
#include "cli_terminal.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct settings {
    cli_list models, tasks;
    const char *examples, *details, *ram, *kv_type;
    int64_t limit, shots, predict, threads, batch;
    bool chat, json, quiet;
} settings;

static const cli_option options[] = {
    {.name = "task",
     .letter = 'f',
     .kind = CLI_LIST,
     .offset = offsetof(settings, tasks),
     .value = "FILE",
     .help = "questions as JSON lines; may be used again"},
    {.name = "limit",
     .letter = 'l',
     .kind = CLI_INT,
     .offset = offsetof(settings, limit),
     .value = "N",
     .fallback = "0",
     .min = 0,
     .max = 1 << 22,
     .help = "only the first N questions of each task; 0: all"},
    {.name = "shots",
     .kind = CLI_INT,
     .offset = offsetof(settings, shots),
     .value = "N",
     .fallback = "5",
     .min = 0,
     .max = 64,
     .help = "GSM8K: solved examples ahead of each question"},
    {.name = "examples",
     .kind = CLI_TEXT,
     .offset = offsetof(settings, examples),
     .value = "FILE",
     .help =
         "GSM8K: take them from the beginning of this file, instead of from the task's own last "
         "questions, which are then not asked"},
    {.name = "chat",
     .kind = CLI_FLAG,
     .offset = offsetof(settings, chat),
     .help = "GSM8K: ask in the form of a conversation, by the model's chat template"},
    {.name = "predict",
     .letter = 'n',
     .kind = CLI_INT,
     .offset = offsetof(settings, predict),
     .value = "N",
     .fallback = "256",
     .min = 1,
     .max = 1 << 16,
     .help = "GSM8K: tokens of an answer at most"},
    {.name = "details",
     .kind = CLI_TEXT,
     .offset = offsetof(settings, details),
     .value = "FILE",
     .help = "write how each question went, as JSON lines: log-likelihoods, texts"},
    CLI_SHARED(settings, batch),
    CLI_SHARED(settings, ram),
    CLI_SHARED(settings, kv_type),
    CLI_SHARED(settings, threads),
    CLI_SHARED(settings, json),
    CLI_SHARED(settings, quiet),
};

static const cli_positional positionals[] = {
    {"MODEL", offsetof(settings, models), CLI_MANY,
     "a coded file, a GGUF file or a folder; later ones are compared with the first"},
};

/* ---- what is collected --------------------------------------------------------------------- */

typedef struct result {
    entro_eval_report report;
    bool *right[ENTRO_EVAL_MAX_METRICS]; /* of each question */
} result;

typedef struct job {
    const settings *s;
    entro_eval_task **tasks;
    entro_eval_task *examples;
    result *results; /* of task t and model m: [t * n_models + m] */
    FILE *details;
    bool details_failed;
    /* at hand: */
    const char *model, *task;
    result *at;
} job;

static result *result_of(const job *j, size_t task, size_t model)
{
    return &j->results[task * j->s->models.n + model];
}

static void write_details(job *j, const entro_eval_answer *a, uint32_t n_metrics,
                          const char *const *metrics)
{
    json_t *o = json_object();
    cli_json_text(o, "model", j->model);
    cli_json_text(o, "task", j->task);
    cli_json_int(o, "question", a->question);
    for (uint32_t m = 0; m < n_metrics; m++)
        json_object_set_new(o, metrics[m], json_boolean(a->right[m]));
    if (a->n_choices) {
        json_t *list = json_array();
        for (uint32_t i = 0; i < a->n_choices; i++)
            json_array_append_new(list, json_real(a->log_likelihoods[i]));
        cli_json_int(o, "gold", a->gold);
        json_object_set_new(o, "log_likelihoods", list);
    } else {
        cli_json_text(o, "expected", a->expected);
        cli_json_text(o, "found", a->found);
        cli_json_text(o, "text", a->text);
    }
    if (json_dumpf(o, j->details, JSON_COMPACT | JSON_REAL_PRECISION(12)) != 0 ||
        fputc('\n', j->details) == EOF)
        j->details_failed = true;
    json_decref(o);
}

typedef struct listener {
    job *job;
    entro_eval_task_info info;
    uint32_t n;
} listener;

static void note_answer(void *user, const entro_eval_answer *answer)
{
    listener *l = user;
    for (uint32_t m = 0; m < l->info.n_metrics; m++)
        l->job->at->right[m][l->n] = answer->right[m];
    l->n++;
    if (l->job->details)
        write_details(l->job, answer, l->info.n_metrics, l->info.metrics);
}

/* ---- running ------------------------------------------------------------------------------- */

static int run_task(job *j, const entro_model *model, const entro_eval_task *task)
{
    const settings *s = j->s;
    cli_progress progress = {.quiet = s->quiet};
    listener l = {.job = j};
    entro_eval_options opt;
    entro_error err = {.status = ENTRO_OK};
    entro_eval_task_get_info(task, &l.info);
    j->task = l.info.name;
    for (uint32_t m = 0; m < l.info.n_metrics; m++)
        if (!(j->at->right[m] = calloc(l.info.n_questions, sizeof(bool))))
            return cli_fail_text("out of memory");
    entro_eval_options_init(&opt);
    opt.n_questions = (uint32_t)s->limit;
    opt.n_threads = (uint32_t)s->threads;
    opt.n_batch = (uint32_t)s->batch;
    opt.kv_type = cli_kv_type(s->kv_type);
    opt.n_shots = (uint32_t)s->shots;
    opt.examples = j->examples;
    opt.chat = s->chat;
    opt.n_predict = (uint32_t)s->predict;
    opt.progress = cli_progress_show;
    opt.progress_user = &progress;
    opt.on_answer = note_answer;
    opt.answer_user = &l;
    j->at->report.struct_size = sizeof(j->at->report);
    cli_progress_begin(&progress);
    entro_status status = entro_eval_run(task, model, &opt, &j->at->report, &err);
    cli_progress_clear(&progress);
    return status == ENTRO_OK ? CLI_EXIT_OK : cli_fail(&err);
}

static int run_all(job *j)
{
    const settings *s = j->s;
    int code = CLI_EXIT_OK;
    for (size_t m = 0; m < s->models.n && !code; m++) {
        entro_model *model = NULL;
        j->model = s->models.items[m];
        code = cli_open_to_run(&model, &cli_eval_command, j->model, s->ram, s->threads, s->quiet);
        for (size_t t = 0; t < s->tasks.n && !code; t++) {
            j->at = result_of(j, t, m);
            code = run_task(j, model, j->tasks[t]);
        }
        entro_model_close(model);
    }
    return code;
}

/* ---- the table ----------------------------------------------------------------------------- */

enum { NAME = 22, METRIC = 12, CELL = 20 };

static void print_share(entro_eval_share share, const char *sign)
{
    char text[40];
    snprintf(text, sizeof(text), isfinite(share.error) ? "%s%.2f +/- %.2f" : "%s%.2f", sign,
             100 * share.value, 100 * share.error);
    printf("  %*s", CELL, text);
}

static entro_eval_share difference(const job *j, size_t task, size_t model, uint32_t metric)
{
    const result *a = result_of(j, task, 0), *b = result_of(j, task, model);
    return entro_eval_difference(a->right[metric], b->right[metric], a->report.n_questions);
}

static void print_metric(const job *j, size_t task, uint32_t metric, const char *name,
                         const char *label)
{
    size_t n_models = j->s->models.n;
    printf("%-*s  %-*s", NAME, name, METRIC, label);
    for (size_t m = 0; m < n_models; m++)
        print_share(result_of(j, task, m)->report.metrics[metric], "");
    printf("\n");
    if (n_models == 1)
        return;
    printf("%-*s  %-*s  %*s", NAME, "", METRIC, "difference", CELL, "");
    for (size_t m = 1; m < n_models; m++) {
        entro_eval_share d = difference(j, task, m, metric);
        print_share(d, d.value > 0 ? "+" : "");
    }
    printf("\n");
}

static int print_table(const job *j)
{
    const settings *s = j->s;
    char shown[64];
    double seconds = 0;
    uint32_t n_cut = 0;
    printf("%-*s  %-*s", NAME, "task", METRIC, "%");
    for (size_t m = 0; m < s->models.n; m++) {
        cli_format_shortened(shown, sizeof(shown), cli_base_name(s->models.items[m]), CELL);
        printf("  %*s", CELL, shown);
    }
    printf("\n");
    for (size_t t = 0; t < s->tasks.n; t++) {
        entro_eval_task_info info;
        entro_eval_task_get_info(j->tasks[t], &info);
        for (uint32_t metric = 0; metric < info.n_metrics; metric++) {
            char count[32];
            cli_format_shortened(shown, sizeof(shown), info.name, NAME);
            snprintf(count, sizeof(count), "  (%u asked)", result_of(j, t, 0)->report.n_questions);
            print_metric(j, t, metric,
                         metric == 0   ? shown
                         : metric == 1 ? count
                                       : "",
                         info.metrics[metric]);
        }
        for (size_t m = 0; m < s->models.n; m++) {
            seconds += result_of(j, t, m)->report.seconds;
            n_cut += result_of(j, t, m)->report.n_cut;
        }
    }
    if (n_cut && !s->quiet)
        cli_note("%u questions did not fit into the context; their beginnings were left out",
                 n_cut);
    if (!s->quiet)
        cli_note("%.1f s", seconds);
    return CLI_EXIT_OK;
}

/* ---- JSON ---------------------------------------------------------------------------------- */

static json_t *json_share(entro_eval_share share)
{
    json_t *o = json_object();
    cli_json_real(o, "value", share.value);
    cli_json_real(o, "error", share.error);
    return o;
}

static json_t *json_result(const job *j, const entro_eval_task_info *info, size_t t, size_t m)
{
    const result *r = result_of(j, t, m);
    json_t *o = json_object();
    cli_json_text(o, "model", j->s->models.items[m]);
    for (uint32_t i = 0; i < info->n_metrics; i++) {
        json_t *metric = json_share(r->report.metrics[i]);
        if (m > 0)
            json_object_set_new(metric, "difference", json_share(difference(j, t, m, i)));
        json_object_set_new(o, info->metrics[i], metric);
    }
    cli_json_int(o, "n_cut", r->report.n_cut);
    cli_json_int(o, "n_tokens", r->report.n_tokens);
    cli_json_real(o, "seconds", r->report.seconds);
    return o;
}

static int print_json(const job *j)
{
    json_t *o = json_object(), *tasks = json_array();
    for (size_t t = 0; t < j->s->tasks.n; t++) {
        entro_eval_task_info info;
        json_t *task = json_object(), *models = json_array();
        entro_eval_task_get_info(j->tasks[t], &info);
        cli_json_text(task, "task", info.name);
        cli_json_text(task, "file", j->s->tasks.items[t]);
        cli_json_int(task, "n_questions", result_of(j, t, 0)->report.n_questions);
        if (info.kind == ENTRO_EVAL_NUMBER) {
            cli_json_int(task, "shots", (uint64_t)j->s->shots);
            json_object_set_new(task, "chat", json_boolean(j->s->chat));
        }
        for (size_t m = 0; m < j->s->models.n; m++)
            json_array_append_new(models, json_result(j, &info, t, m));
        json_object_set_new(task, "models", models);
        json_array_append_new(tasks, task);
    }
    json_object_set_new(o, "tasks", tasks);
    return cli_json_print(o);
}

/* ---- the command --------------------------------------------------------------------------- */

static int open_all(job *j)
{
    const settings *s = j->s;
    entro_error err = {.status = ENTRO_OK};
    j->tasks = calloc(s->tasks.n, sizeof(*j->tasks));
    j->results = calloc(s->tasks.n * s->models.n, sizeof(*j->results));
    if (!j->tasks || !j->results)
        return cli_fail_text("out of memory");
    for (size_t t = 0; t < s->tasks.n; t++)
        if (entro_eval_task_open(&j->tasks[t], s->tasks.items[t], &err) != ENTRO_OK)
            return cli_fail(&err);
    if (s->examples && entro_eval_task_open(&j->examples, s->examples, &err) != ENTRO_OK)
        return cli_fail(&err);
    if (s->details && !(j->details = fopen(s->details, "w")))
        return cli_fail_text("%s: %s", s->details, strerror(errno));
    return CLI_EXIT_OK;
}

static int close_all(job *j, int code)
{
    const settings *s = j->s;
    if (j->details && (fclose(j->details) != 0 || j->details_failed) && !code)
        code = cli_fail_text("%s: could not be written", s->details);
    for (size_t i = 0; j->results && i < s->tasks.n * s->models.n; i++)
        for (uint32_t m = 0; m < ENTRO_EVAL_MAX_METRICS; m++)
            free(j->results[i].right[m]);
    for (size_t t = 0; j->tasks && t < s->tasks.n; t++)
        entro_eval_task_close(j->tasks[t]);
    entro_eval_task_close(j->examples);
    free(j->results);
    free(j->tasks);
    return code;
}

static int eval(void *p)
{
    job j = {.s = p};
    if (j.s->tasks.n == 0)
        return cli_usage_error(&cli_eval_command, "no task: -f names a file of questions");
    int code = open_all(&j);
    if (!code)
        code = run_all(&j);
    if (!code)
        code = j.s->json ? print_json(&j) : print_table(&j);
    return close_all(&j, code);
}

const cli_command cli_eval_command = {
    .name = "eval",
    .summary = "how many questions models answer right",
    .about =
        "Asks each model the questions of each task: multiple choice (HellaSwag, ARC, PIQA, "
        "WinoGrande and others of their forms) by the likelihood of the choices, GSM8K by the "
        "number that the model writes.  Definitions are lm-evaluation-harness's.  Shares are in "
        "per cent with their standard errors; for a second model also the difference from the "
        "first with its own error, which is the smaller because both answered the same questions.",
    .examples =
        "  entrollm eval model-u8.gguf -f arc_easy.jsonl\n"
        "  entrollm eval model.gguf model-u8.gguf -f arc_easy.jsonl -f piqa.jsonl --limit 500\n"
        "  entrollm eval model-u8.gguf -f gsm8k_test.jsonl --chat --shots 0 -n 400 --json\n",
    .options = options,
    .n_options = CLI_COUNT(options),
    .positionals = positionals,
    .n_positionals = CLI_COUNT(positionals),
    .settings_bytes = sizeof(settings),
    .run = eval,
};
