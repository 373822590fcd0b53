/*
 * collect.c - the plan and the pass for covariances; see collect.h.
 *
 *   x (all tokens) -> blk.0 -> x -> blk.1 -> x ...      a batch of sequences at a time, in place;
 *                       |             |
 *                  layer-000.gguf  layer-001.gguf       sums of x x^T of four inputs, in f32
 */
#include "calib/collect.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "base/memory.h"
#include "calib/fisher.h"
#include "calib/gram.h"
#include "calib/products.h"
#include "kernels/kernels.h"

typedef struct inputs {
    en_collect_run *run;
    float *x;                     /* the residual stream of all tokens */
    float *sums[EN_LAYER_GROUPS]; /* n x n */
    bool *is_there;               /* of each layer's file */
    bool *has_gradients;          /* likewise */
    bool fisher_is_there, output_is_there;
    en_fisher_start start; /* of importances */
} inputs;

/* ---- what is there already ------------------------------------------------------------------- */

/* Whether the file need not be made again. */
static entro_status look(const en_collect_run *r, en_statistics_kind kind, uint32_t layer,
                         bool *is_there, entro_error *err)
{
    en_statistics_file f;
    *is_there = false;
    char *path = en_statistics_path(r->folder, kind, layer);
    if (path == NULL)
        return en_fail_memory(err);
    entro_error damage = {0};
    entro_status status = en_statistics_file_open(&f, path, kind, layer, &damage);
    if (status == ENTRO_OK) {
        if (!en_statistics_same_model(&f.id, &r->id)) {
            status = en_fail(err, ENTRO_ERR_ARGUMENT,
                             "statistics of another model: of a %s; name another folder, or remove "
                             "this one",
                             f.id.model);
            en_error_place(err, "%s", path);
        } else {
            *is_there = en_statistics_same_text(&f.id, &r->id);
        }
        en_statistics_file_close(&f);
    } else if (status != ENTRO_ERR_NOMEM) {
        status = ENTRO_OK; /* none, or damaged: it will be overwritten */
    } else {
        status = en_fail_memory(err);
    }
    en_free(path);
    return status;
}

static entro_status look_at_all(inputs *in, entro_error *err)
{
    en_collect_run *r = in->run;
    bool ignored; /* unless it is of another model */
    EN_TRY(look(r, EN_STATISTICS_FISHER, 0, &in->fisher_is_there, err));
    EN_TRY(look(r, EN_STATISTICS_UNFINISHED_FISHER, 0, &ignored, err));
    for (uint32_t i = 0; i < r->decoder->hp.n_layers; i++) {
        EN_TRY(look(r, EN_STATISTICS_LAYER, i, &in->is_there[i], err));
        EN_TRY(look(r, EN_STATISTICS_GRADIENTS, i, &in->has_gradients[i], err));
        in->fisher_is_there &= in->has_gradients[i];
    }
    return look(r, EN_STATISTICS_OUTPUT, 0, &in->output_is_there, err);
}

/* Layers that must be run through. */
static uint32_t n_layers_to_run(const inputs *in)
{
    uint32_t n = in->run->decoder->hp.n_layers;
    if (!in->output_is_there)
        return n;
    while (n > 0 && in->is_there[n - 1])
        n--;
    return n;
}

/* Of covariances: layers that need theirs, and those that are run through for that. */
static double covariance_pass_flops(const inputs *in, uint32_t n_layers, bool all)
{
    const en_hparams *hp = &in->run->decoder->hp;
    double flops = n_layers * en_collect_forward_flops(hp);
    for (uint32_t i = 0; i < n_layers; i++)
        if (all || !in->is_there[i])
            flops += en_collect_covariance_flops(hp);
    return (double)in->run->id.n_tokens * flops;
}

static void note_where(const inputs *in)
{
    static const char goes_on[] = "goes on with statistics that an earlier run began, at";
    const en_collect_run *r = in->run;
    const en_fisher_place *at = &in->start.place;
    uint32_t n_layers = r->decoder->hp.n_layers, layer = 0;
    while (layer < n_layers && in->is_there[layer])
        layer++;
    if (in->fisher_is_there && layer < n_layers)
        en_job_note(r->job, "%s the covariances of layer %" PRIu32 " (the last is %" PRIu32 ")",
                    goes_on, layer, n_layers - 1);
    else if (in->fisher_is_there)
        en_job_note(r->job, "%s the covariances of the output", goes_on);
    else if (at->n_left > 0)
        en_job_note(r->job,
                    "%s the importances of layer %" PRIu32 " (the last is 0) of sequence %" PRIu64
                    " of %" PRIu64 " and on",
                    goes_on, at->n_left - 1, at->n_done + 1, r->n_fisher);
    else if (at->n_done > 0)
        en_job_note(r->job, "%s the importances of sequence %" PRIu64 " of %" PRIu64 " and on",
                    goes_on, at->n_done + 1, r->n_fisher);
}

/* All work is counted, so that what an earlier run has done shows. */
static void plan_progress(inputs *in)
{
    static const en_fisher_place beginning;
    en_collect_run *r = in->run;
    uint32_t n_layers = r->decoder->hp.n_layers, n_to_run = n_layers_to_run(in);
    double left = covariance_pass_flops(in, n_to_run, false);
    left += in->fisher_is_there ? 0 : en_fisher_flops(r, &in->start.place);
    r->flops_total = en_fisher_flops(r, &beginning) + covariance_pass_flops(in, n_layers, true);
    r->flops_done = r->flops_total - left;
    r->job->state.unit = "tok";
    en_job_stage(r->job, "statistics", r->id.n_tokens + r->id.n_fisher_tokens);
    en_job_resume(r->job, en_collect_done(r));
    note_where(in);
}

/* ---- covariances --------------------------------------------------------------------------- */

static void add_covariance(inputs *in, const float *x, size_t n_tokens, uint32_t group, bool add)
{
    size_t n = en_layer_group_of(&in->run->decoder->hp, group).n_inputs;
    en_gram(x, n, n_tokens, n, in->run->precision, add, in->sums[group], in->run->job->pool);
}

static entro_status collect_batch(inputs *in, uint64_t first, uint32_t n, bool with_sums,
                                  entro_error *err)
{
    en_collect_run *r = in->run;
    const en_hparams *hp = &r->decoder->hp;
    size_t n_tokens = (size_t)n * r->text->n_positions;
    float *x = in->x + first * en_collect_sequence_floats(r);
    EN_TRY(en_collect_forward(r, x, n, x, err));
    const float *sites[EN_LAYER_GROUPS] = {r->tape.attn_in, r->tape.attn_out, r->tape.ffn_in,
                                           r->tape.ffn_out};
    for (uint32_t g = 0; g < EN_LAYER_GROUPS && with_sums; g++)
        add_covariance(in, sites[g], n_tokens, g, first > 0);
    double flops = en_collect_forward_flops(hp);
    if (with_sums)
        flops += en_collect_covariance_flops(hp);
    return en_collect_reach(r, (double)n_tokens * flops, err);
}

static entro_status write_file(inputs *in, en_statistics_kind kind, uint32_t layer,
                               const en_statistics_item *items, size_t n_items, entro_error *err)
{
    en_collect_run *r = in->run;
    char *path = en_statistics_path(r->folder, kind, layer);
    if (path == NULL)
        return en_fail_memory(err);
    entro_status status =
        en_statistics_file_write(path, &r->id, kind, layer, items, n_items, r->job->pool, err);
    if (status != ENTRO_OK)
        en_error_place(err, "%s", path);
    en_free(path);
    return status;
}

static entro_status write_layer(inputs *in, uint32_t layer, entro_error *err)
{
    en_statistics_item items[EN_LAYER_GROUPS];
    for (uint32_t g = 0; g < EN_LAYER_GROUPS; g++) {
        en_layer_group group = en_layer_group_of(&in->run->decoder->hp, g);
        items[g] = (en_statistics_item){.name = group.inputs,
                                        .n = group.n_inputs,
                                        .sums = in->sums[g],
                                        .scale = 1.0 / (double)in->run->id.n_tokens};
    }
    return write_file(in, EN_STATISTICS_LAYER, layer, items, EN_LAYER_GROUPS, err);
}

static entro_status collect_layer(inputs *in, uint32_t layer, entro_error *err)
{
    en_collect_run *r = in->run;
    bool with_sums = !in->is_there[layer];
    EN_TRY(en_collect_load(r, layer, err));
    for (uint64_t s = 0, n; s < r->n_sequences; s += n) {
        n = r->n_sequences - s < r->n_batch ? r->n_sequences - s : r->n_batch;
        EN_TRY(collect_batch(in, s, (uint32_t)n, with_sums, err));
    }
    return with_sums ? write_layer(in, layer, err) : ENTRO_OK;
}

typedef struct norming {
    const en_decoder *decoder;
    float *x;
} norming;

static void norm_token(void *context, uint32_t t, uint32_t thread)
{
    (void)thread;
    const norming *n = context;
    const en_hparams *hp = &n->decoder->hp;
    float *x = n->x + (size_t)t * hp->n_embd;
    en_kernels_get()->rms_norm(x, n->decoder->weights.output_norm, hp->norm_epsilon, x, hp->n_embd);
}

/* The stream has left the last layer. */
static entro_status collect_output(inputs *in, entro_error *err)
{
    en_collect_run *r = in->run;
    size_t n = r->decoder->hp.n_embd, step = (size_t)r->n_batch * r->text->n_positions;
    norming norm = {r->decoder, in->x};
    en_pool_run(r->job->pool, norm_token, &norm, (uint32_t)r->id.n_tokens);
    for (size_t t = 0; t < r->id.n_tokens; t += step)
        en_gram(in->x + t * n, n, r->id.n_tokens - t < step ? r->id.n_tokens - t : step, n,
                r->precision, t > 0, in->sums[0], r->job->pool);
    en_statistics_item item = {.name = EN_OUTPUT_COVARIANCE,
                               .n = n,
                               .sums = in->sums[0],
                               .scale = 1.0 / (double)r->id.n_tokens};
    return write_file(in, EN_STATISTICS_OUTPUT, 0, &item, 1, err);
}

static entro_status prepare_inputs(inputs *in, entro_error *err)
{
    const en_collect_run *r = in->run;
    in->x = en_alloc_huge((size_t)r->n_sequences, en_collect_sequence_floats(r) * sizeof *in->x);
    if (in->x == NULL)
        return en_fail_memory(err);
    for (uint32_t g = 0; g < EN_LAYER_GROUPS; g++) {
        size_t n = en_layer_group_of(&r->decoder->hp, g).n_inputs;
        in->sums[g] = en_alloc_huge(n, n * sizeof *in->sums[g]);
        if (in->sums[g] == NULL)
            return en_fail_memory(err);
    }
    return ENTRO_OK;
}

static entro_status collect_inputs(inputs *in, entro_error *err)
{
    en_collect_run *r = in->run;
    uint32_t n_layers = n_layers_to_run(in);
    if (n_layers == 0)
        return ENTRO_OK;
    EN_TRY(prepare_inputs(in, err));
    EN_TRY(en_collect_embed(r, 0, r->n_sequences, in->x, err));
    for (uint32_t i = 0; i < n_layers; i++)
        EN_TRY(collect_layer(in, i, err));
    return in->output_is_there ? ENTRO_OK : collect_output(in, err);
}

/* ---- plan ------------------------------------------------------------------------------------ */

static uint64_t sequences_for(uint64_t n_tokens, uint64_t usual, uint32_t n_positions)
{
    uint64_t n = n_tokens != 0 ? n_tokens : usual;
    return n / n_positions + (n % n_positions != 0);
}

/* Which sequences serve for what. */
static entro_status plan_text(en_collect_run *r, const en_collect_options *opt, entro_error *err)
{
    const en_calib_text *text = r->text;
    if (text->n_positions == 0 || text->n_positions > (1 << 20))
        return en_fail(err, ENTRO_ERR_ARGUMENT, "sequences of %" PRIu32 " tokens, expected 1 to %d",
                       text->n_positions, 1 << 20);
    if (text->n_sequences == 0)
        return en_fail(err, ENTRO_ERR_ARGUMENT,
                       "the calibration text is shorter than one sequence of %" PRIu32
                       " tokens; use a longer text",
                       text->n_positions);
    uint64_t want = sequences_for(opt->n_tokens, EN_COLLECT_TOKENS, text->n_positions);
    uint64_t want_fisher =
        sequences_for(opt->n_fisher_tokens, EN_COLLECT_FISHER_TOKENS, text->n_positions);
    r->n_sequences = want < text->n_sequences ? want : text->n_sequences;
    uint64_t left = text->n_sequences - r->n_sequences;
    uint64_t n_used = r->n_sequences + (left < want_fisher ? left : want_fisher);
    r->n_fisher = want_fisher < n_used ? want_fisher : n_used;
    r->first_fisher = n_used - r->n_fisher;
    r->id.n_positions = text->n_positions;
    r->id.n_tokens = r->n_sequences * text->n_positions;
    r->id.n_fisher_tokens = r->n_fisher * text->n_positions;
    r->id.seed = opt->seed;
    r->precision = opt->precision;
    r->kept_bytes = opt->kept_bytes != 0 ? opt->kept_bytes : EN_COLLECT_KEPT_BYTES;
    r->id.text_hash = en_hash64(text->tokens, n_used * text->n_positions * sizeof *text->tokens);
    snprintf(r->id.text, sizeof r->id.text, "%s", text->name);
    for (uint64_t t = 0; t < n_used * text->n_positions; t++)
        if (text->tokens[t] < 0 || (uint32_t)text->tokens[t] >= r->decoder->hp.n_vocab)
            return en_fail(err, ENTRO_ERR_ARGUMENT,
                           "token %" PRIu64 " of the text is %" PRId32 ", the model has %" PRIu32,
                           t, text->tokens[t], r->decoder->hp.n_vocab);
    return ENTRO_OK;
}

static uint32_t batch_sequences(const en_calib_text *text)
{
    uint32_t n = EN_COLLECT_BATCH_TOKENS / text->n_positions;
    return n > 0 ? n : 1;
}

static entro_status run_passes(inputs *in, uint64_t seed, entro_error *err)
{
    en_collect_run *r = in->run;
    EN_TRY(look_at_all(in, err));
    if (in->fisher_is_there && n_layers_to_run(in) == 0)
        return ENTRO_OK;
    EN_TRY(en_collect_prepare(r, batch_sequences(r->text), err));
    if (!in->fisher_is_there)
        EN_TRY(en_fisher_find(&in->start, r, in->has_gradients, err));
    plan_progress(in);
    EN_TRY(en_collect_reach(r, 0, err));
    if (!in->fisher_is_there)
        EN_TRY(en_fisher_collect(r, &in->start, seed, err));
    return collect_inputs(in, err);
}

static void inputs_free(inputs *in)
{
    en_free(in->is_there);
    en_free(in->has_gradients);
    en_free(in->x);
    for (uint32_t g = 0; g < EN_LAYER_GROUPS; g++)
        en_free(in->sums[g]);
    en_statistics_file_close(&in->start.file);
}

static entro_status collect(en_collect_run *r, const en_collect_options *opt, entro_error *err)
{
    EN_TRY(plan_text(r, opt, err));
    EN_TRY(en_statistics_identify(&r->id, r->decoder, err));
    EN_TRY(en_statistics_make_folder(r->folder, err));
    inputs in = {.run = r};
    uint32_t n_layers = r->decoder->hp.n_layers;
    in.is_there = en_alloc_zero(n_layers, sizeof *in.is_there);
    in.has_gradients = en_alloc_zero(n_layers, sizeof *in.has_gradients);
    entro_status status = in.is_there != NULL && in.has_gradients != NULL
                              ? run_passes(&in, opt->seed, err)
                              : en_fail_memory(err);
    if (status == ENTRO_OK) /* of another text as well */
        status = en_unfinished_remove_all(r->folder, err);
    inputs_free(&in);
    en_collect_release(r);
    return status;
}

entro_status en_statistics_collect(const char *folder, const en_decoder *decoder,
                                   const en_calib_text *text, const en_collect_options *opt,
                                   en_job *job, entro_error *err)
{
    static const en_collect_options usual;
    en_collect_run r = {.decoder = decoder, .folder = folder, .text = text, .job = job};
    const char *unit = job->state.unit;
    int n_blas_threads = en_blas_take();
    entro_status status = collect(&r, opt != NULL ? opt : &usual, err);
    en_blas_give_back(n_blas_threads);
    job->state.unit = unit;
    return status;
}
