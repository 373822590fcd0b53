/*
 * distill.c - see distill.h.
 *
 * A step, a layer's weights in memory at a time:
 *
 *   source:   embedded -> blk.0 -> blk.1 -> ... -> norm                    inputs of the output matrix
 *   student:  embedded = kept[0] -> blk.0 -> kept[1] -> ... -> x -> head, judged -> gradient at x
 *             kept[i] -> tape of blk.i (again), gradient through it, for i from the last to the first
 *   Adam
 */
#include "calib/distill.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "calib/collect_run.h"
#include "calib/distill_vectors.h"
#include "calib/products.h"

/* A sequence a step: the smaller steps are, the more of them a text has. */
enum { BATCH = 1, WARM_UP = 4 /* steps */ };

/* A model's embedding and output matrix; everything between goes through the run's one block. */
typedef struct side {
    const en_decoder *decoder;
    float *embedded; /* of all sequences */
    float *output;   /* n_vocab x n_embd */
} side;

typedef struct distillation {
    en_collect_run run; /* its decoder is the side's at hand */
    side source, student;
    en_distill_vectors vectors;
    uint64_t n_learn, n_check; /* sequences; those to check lie behind those to learn from */
    float *kept;               /* n_layers times a batch's residuals */
    float *x;                  /* of a batch */
    float *wanted;             /* the source's inputs of its output matrix, of a batch */
    float *wanted_checks;      /* and of all sequences to check */
    double rate;
} distillation;

/* ---- what is there beforehand -------------------------------------------------------------- */

static size_t batch_floats(const distillation *d)
{
    return BATCH * en_collect_sequence_floats(&d->run);
}

static const en_hparams *numbers(const distillation *d)
{
    return &d->run.decoder->hp;
}

/* The embedding of all tokens; 'matrix' has room for it as f32. */
static entro_status embed(distillation *d, side *s, float *matrix, entro_error *err)
{
    size_t n_embd = numbers(d)->n_embd;
    uint64_t n_tokens = (d->n_learn + d->n_check) * d->run.text->n_positions;
    memcpy(d->run.item, "token_embd", sizeof "token_embd");
    EN_TRY(en_collect_read_matrix(&d->run, &s->decoder->weights.token_embd, matrix, err));
    for (uint64_t t = 0; t < n_tokens; t++)
        memcpy(s->embedded + t * n_embd, matrix + (size_t)d->run.text->tokens[t] * n_embd,
               n_embd * sizeof *matrix);
    return ENTRO_OK;
}

static entro_status open_side(distillation *d, side *s, const en_decoder *decoder, entro_error *err)
{
    const en_weights *w = &decoder->weights;
    size_t n_tokens = (size_t)(d->n_learn + d->n_check) * d->run.text->n_positions;
    s->decoder = decoder;
    s->embedded = en_alloc_huge(n_tokens, decoder->hp.n_embd * sizeof *s->embedded);
    s->output =
        en_alloc_huge((size_t)w->output.n_rows, (size_t)w->output.n_cols * sizeof *s->output);
    if (s->embedded == NULL || s->output == NULL)
        return en_fail_memory(err);
    /* the embedding is as large, and done with before the output matrix is needed */
    EN_TRY(embed(d, s, s->output, err));
    memcpy(d->run.item, "output", sizeof "output");
    return en_collect_read_matrix(&d->run, &w->output, s->output, err);
}

static void close_side(side *s)
{
    en_free(s->embedded);
    en_free(s->output);
}

static double step_flops(const distillation *d, double n_forward, double n_heads)
{
    const en_hparams *hp = numbers(d);
    double head = 2.0 * (double)hp->n_vocab * (double)hp->n_embd;
    return BATCH * (double)d->run.text->n_positions *
           (n_forward * hp->n_layers * en_collect_forward_flops(hp) + n_heads * head);
}

/* ---- forward and backward ------------------------------------------------------------------ */

static entro_status forward_layer(distillation *d, uint32_t layer, const float *from, float *to,
                                  entro_error *err)
{
    EN_TRY(en_collect_load(&d->run, layer, err));
    return en_collect_forward(&d->run, from, BATCH, to, err);
}

/* What the source makes of a sequence, to 'wanted'. */
static entro_status run_source(distillation *d, uint64_t sequence, float *wanted, entro_error *err)
{
    const side *s = &d->source;
    const en_head head = {
        .hp = &s->decoder->hp, .norm = s->decoder->weights.output_norm, .output = s->output};
    const float *from = s->embedded + sequence * en_collect_sequence_floats(&d->run);
    d->run.decoder = s->decoder;
    for (uint32_t i = 0; i < numbers(d)->n_layers; i++, from = d->x)
        EN_TRY(forward_layer(d, i, from, d->x, err));
    en_head_norm(&head, BATCH * d->run.text->n_positions, d->x, wanted, d->run.job->pool);
    return en_collect_reach(&d->run, step_flops(d, 1, 0), err);
}

/* The student's layers, their inputs kept; x is what the last one gives. */
static entro_status run_student(distillation *d, uint64_t sequence, entro_error *err)
{
    const side *s = &d->student;
    uint32_t n_layers = numbers(d)->n_layers;
    memcpy(d->kept, s->embedded + sequence * en_collect_sequence_floats(&d->run),
           batch_floats(d) * sizeof *d->kept);
    d->run.decoder = s->decoder;
    for (uint32_t i = 0; i < n_layers; i++) {
        const float *from = d->kept + i * batch_floats(d);
        float *to = i + 1 < n_layers ? d->kept + (i + 1) * batch_floats(d) : d->x;
        EN_TRY(forward_layer(d, i, from, to, err));
    }
    return en_collect_reach(&d->run, step_flops(d, 1, 0), err);
}

/* The KLD of a batch, summed over tokens; with gradients x becomes the gradient at itself. */
static entro_status judge(distillation *d, const float *wanted, bool with_gradients, double *kld,
                          entro_error *err)
{
    const side *s = &d->student;
    const en_head head = {
        .hp = &s->decoder->hp, .norm = s->decoder->weights.output_norm, .output = s->output};
    const en_head_teacher teacher = {d->source.output, wanted};
    EN_TRY(en_head_distill(&head, &teacher, BATCH * d->run.text->n_positions, d->x,
                           with_gradients ? d->vectors.output_norm : NULL, kld, d->run.job->pool,
                           err));
    if (!isfinite(*kld))
        return en_fail(err, ENTRO_ERR_FORMAT,
                       "the divergence on the text is %g, expected a finite number (damaged "
                       "weights?)",
                       *kld);
    return en_collect_reach(&d->run, step_flops(d, 0, with_gradients ? 3 : 2), err);
}

static entro_status backward(distillation *d, entro_error *err)
{
    en_collect_run *r = &d->run;
    for (uint32_t i = numbers(d)->n_layers; i-- > 0;) {
        const en_block_sums sums = {.vectors = d->vectors.layers[i]};
        EN_TRY(forward_layer(d, i, d->kept + i * batch_floats(d), NULL, err));
        EN_TRY(en_block_backward(&r->block, &r->rope, &r->tape, BATCH, d->x, &sums, r->job->pool,
                                 err));
    }
    return en_collect_reach(r, step_flops(d, 2, 0), err);
}

/* ---- all of it ----------------------------------------------------------------------------- */

/*
 * Errors of rounding are of either sign; vectors can correct what they do on average, which is of second order in
 * them, as the KLD is.  With the same rate for all, models of small KLD are moved about for nothing.
 */
static double usual_rate(double kld)
{
    return EN_DISTILL_RATE * (kld < EN_DISTILL_RATE_KLD ? kld / EN_DISTILL_RATE_KLD : 1);
}

/* Few large steps first, then smaller and smaller ones. */
static double rate_at(const distillation *d, uint64_t step)
{
    double rise = (double)(step + 1) / WARM_UP;
    double fall = 0.5 + 0.5 * cos(3.14159265358979 * (double)step / (double)d->n_learn);
    return d->rate * (rise < 1 ? rise : 1) * fall;
}

static entro_status learn(distillation *d, entro_error *err)
{
    for (uint64_t step = 0; step < d->n_learn; step += BATCH) {
        double kld;
        EN_TRY(run_source(d, step, d->wanted, err));
        EN_TRY(run_student(d, step, err));
        EN_TRY(judge(d, d->wanted, true, &kld, err));
        EN_TRY(backward(d, err));
        en_distill_vectors_step(&d->vectors, rate_at(d, step),
                                BATCH * (uint64_t)d->run.text->n_positions);
    }
    return ENTRO_OK;
}

/* The mean KLD on the sequences to check. */
static entro_status check(distillation *d, double *kld, entro_error *err)
{
    double sum = 0, of_batch;
    for (uint64_t i = 0; i < d->n_check; i++) {
        EN_TRY(run_student(d, d->n_learn + i, err));
        EN_TRY(judge(d, d->wanted_checks + i * en_collect_sequence_floats(&d->run), false,
                     &of_batch, err));
        sum += of_batch;
    }
    *kld = sum / (double)(d->n_check * d->run.text->n_positions);
    return ENTRO_OK;
}

static entro_status prepare(distillation *d, en_decoder *student, const en_decoder *teacher,
                            entro_error *err)
{
    size_t n = batch_floats(d);
    EN_TRY(en_collect_prepare(&d->run, BATCH, err));
    EN_TRY(en_distill_vectors_open(&d->vectors, student, err));
    d->kept = en_alloc_huge(teacher->hp.n_layers, n * sizeof *d->kept);
    d->x = en_alloc_huge(n, sizeof *d->x);
    d->wanted = en_alloc_huge(n, sizeof *d->wanted);
    d->wanted_checks =
        en_alloc_huge((size_t)d->n_check, en_collect_sequence_floats(&d->run) * sizeof *d->wanted);
    if (!d->kept || !d->x || !d->wanted || !d->wanted_checks)
        return en_fail_memory(err);
    EN_TRY(open_side(d, &d->source, teacher, err));
    return open_side(d, &d->student, student, err);
}

static entro_status run(distillation *d, en_decoder *student, const en_decoder *teacher,
                        en_distill_report *report, entro_error *err)
{
    EN_TRY(prepare(d, student, teacher, err));
    for (uint64_t i = 0; i < d->n_check; i++)
        EN_TRY(run_source(d, d->n_learn + i,
                          d->wanted_checks + i * en_collect_sequence_floats(&d->run), err));
    EN_TRY(check(d, &report->kld_before, err));
    if (d->rate == 0)
        d->rate = usual_rate(report->kld_before);
    EN_TRY(learn(d, err));
    EN_TRY(check(d, &report->kld_after, err));
    report->is_better = report->kld_after < report->kld_before;
    return ENTRO_OK;
}

static entro_status check_shapes(const en_decoder *student, const en_decoder *teacher,
                                 entro_error *err)
{
    const en_hparams *a = &student->hp, *b = &teacher->hp;
    if (a->arch == b->arch && a->n_layers == b->n_layers && a->n_embd == b->n_embd &&
        a->n_ff == b->n_ff && a->n_heads == b->n_heads && a->n_kv_heads == b->n_kv_heads &&
        a->n_head_dim == b->n_head_dim && a->n_vocab == b->n_vocab)
        return ENTRO_OK;
    return en_fail(
        err, ENTRO_ERR_ARGUMENT,
        "the models are of different shapes (%s, %u layers of %u, %u tokens; the source: "
        "%s, %u layers of %u, %u tokens): one was not made from the other",
        a->arch->name, a->n_layers, a->n_embd, a->n_vocab, b->arch->name, b->n_layers, b->n_embd,
        b->n_vocab);
}

/* The last sequences are kept apart: as many as are usual, but no more than a quarter. */
static entro_status plan_text(distillation *d, const en_distill_options *opt, entro_error *err)
{
    const en_calib_text *text = d->run.text;
    if (text->n_sequences < 2)
        return en_fail(err, ENTRO_ERR_ARGUMENT,
                       "the text is shorter than two sequences of %u tokens, one to learn from and "
                       "one to check with; use a longer text",
                       text->n_positions);
    uint64_t n_tokens = opt->n_tokens != 0 ? opt->n_tokens : EN_DISTILL_TOKENS;
    uint64_t want = (n_tokens - 1) / text->n_positions + 1;
    uint64_t checks = (EN_DISTILL_CHECK_TOKENS - 1) / text->n_positions + 1;
    d->n_check = text->n_sequences / 4 < checks ? text->n_sequences / 4 : checks;
    d->n_check = d->n_check > 0 ? d->n_check : 1;
    d->n_learn = text->n_sequences - d->n_check;
    d->n_learn = d->n_learn < want ? d->n_learn : want;
    for (uint64_t t = 0; t < (d->n_learn + d->n_check) * text->n_positions; t++)
        if (text->tokens[t] < 0 || (uint32_t)text->tokens[t] >= numbers(d)->n_vocab)
            return en_fail(err, ENTRO_ERR_ARGUMENT, "a token of the text is %d, the model has %u",
                           text->tokens[t], numbers(d)->n_vocab);
    return ENTRO_OK;
}

/* Done and all of it, for the time left. */
static void plan_progress(distillation *d)
{
    double learning = step_flops(d, 4, 3), checking = step_flops(d, 3, 4);
    en_job_stage(d->run.job, "tune", (d->n_learn + d->n_check) * d->run.text->n_positions);
    d->run.job->state.unit = "tok";
    d->run.flops_total = (double)d->n_learn * learning + (double)d->n_check * checking;
}

static void close_all(distillation *d)
{
    en_collect_release(&d->run);
    en_distill_vectors_close(&d->vectors);
    close_side(&d->source);
    close_side(&d->student);
    en_free(d->kept);
    en_free(d->x);
    en_free(d->wanted);
    en_free(d->wanted_checks);
}

entro_status en_distill(en_decoder *student, const en_decoder *teacher, const en_calib_text *text,
                        const en_distill_options *opt, en_job *job, en_distill_report *report,
                        entro_error *err)
{
    static const en_distill_options usual;
    distillation d = {.run = {.decoder = teacher, .text = text, .job = job}};
    const char *unit = job->state.unit;
    opt = opt != NULL ? opt : &usual;
    d.rate = opt->rate;
    EN_TRY(check_shapes(student, teacher, err));
    EN_TRY(plan_text(&d, opt, err));
    plan_progress(&d);
    *report = (en_distill_report){.n_tokens = d.n_learn * text->n_positions,
                                  .n_check_tokens = d.n_check * text->n_positions};
    int n_blas_threads = en_blas_take();
    entro_status status = run(&d, student, teacher, report, err);
    en_blas_give_back(n_blas_threads);
    if (status != ENTRO_OK || !report->is_better)
        en_distill_vectors_restore(&d.vectors);
    job->state.unit = unit;
    close_all(&d);
    return status;
}
