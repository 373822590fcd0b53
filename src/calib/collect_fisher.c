/*
 * collect_fisher.c - the pass for importances: forward, the model's own labels, backward.
 *
 * A group of sequences at a time:
 *
 *   forward:   kept[0] = embedding -> blk.0 -> kept[1] -> blk.1 -> ... -> dx
 *   head:      dx becomes the gradient of the summed loss at the last layer's output
 *   backward:  kept[i] -> tape of blk.i (again), dx through it, for i from the last to the first
 *
 * With labels drawn from the softmax of each token on its own, gradients of different tokens' losses are not
 * correlated; so one pass with the sum of losses gives the expected squares.
 *
 * Sums are saved where the gradient has come to a layer (unfinished_fisher.h).  From there on a later run needs the
 * inputs of the layers below, which forward finds again; to keep those, too, would take 1.5 GiB of disk for a third of
 * the time.
 */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "calib/fisher.h"
#include "calib/gram.h"

/* In a pass: a gigabyte in all for a model of 1.5 B, whose statistics take three. */
enum { MOST_SAVINGS = 16 };

/* ---- plan ---------------------------------------------------------------------------------- */

/* Groups of equal size that keep no more than r->kept_bytes, but a batch at least. */
static uint64_t choose_group(const en_collect_run *r)
{
    size_t bytes = en_collect_sequence_floats(r) * sizeof(float) * (r->decoder->hp.n_layers + 1);
    uint64_t most = r->kept_bytes / bytes;
    most = most > r->n_batch ? most : r->n_batch;
    uint64_t n_groups = (r->n_fisher + most - 1) / most;
    return (r->n_fisher + n_groups - 1) / n_groups;
}

static uint64_t group_at(uint64_t n_done, uint64_t n_group, uint64_t n_all)
{
    return n_all - n_done < n_group ? n_all - n_done : n_group;
}

/* Of a group that has been begun, forward goes up to the layers that are left, but for the last. */
double en_fisher_flops(const en_collect_run *r, const en_fisher_place *from)
{
    const en_hparams *hp = &r->decoder->hp;
    double layer = en_collect_forward_flops(hp), flops = 0;
    double whole = 3 * layer * hp->n_layers + 4.0 * (double)hp->n_vocab * (double)hp->n_embd;
    uint64_t n = r->n_fisher - from->n_done;
    if (from->n_left > 0) {
        uint64_t n_begun = group_at(from->n_done, choose_group(r), r->n_fisher);
        flops = (double)n_begun * layer * (3.0 * from->n_left - 1);
        n -= n_begun;
    }
    return (flops + (double)n * whole) * r->text->n_positions;
}

static size_t n_layer_rows(const en_hparams *hp)
{
    size_t n = 0;
    for (uint32_t g = 0; g < EN_LAYER_GROUPS; g++)
        n += en_layer_group_of(hp, g).n_outputs;
    return n;
}

static en_fisher_shape shape_of(const en_collect_run *r)
{
    const en_hparams *hp = &r->decoder->hp;
    return (en_fisher_shape){.n_sequences = r->n_fisher,
                             .n_group = choose_group(r),
                             .n_batch = r->n_batch,
                             .n_layers = hp->n_layers,
                             .n_sequence_floats = en_collect_sequence_floats(r),
                             .n_rows = n_layer_rows(hp) * hp->n_layers,
                             .n_vocab = hp->n_vocab,
                             .n_embd = hp->n_embd};
}

/* ---- what an earlier run left -------------------------------------------------------------- */

/* Gradients of layers that are done have files of their own. */
static entro_status check_gradients(const en_fisher_place *place, const bool *has_gradients,
                                    uint32_t n_layers, entro_error *err)
{
    uint32_t first = place->n_done > 0 ? 0 : place->n_left > 0 ? place->n_left : n_layers;
    for (uint32_t i = first; i < n_layers; i++)
        if (!has_gradients[i])
            return en_fail(err, ENTRO_ERR_NOT_FOUND,
                           "gradients of layer %" PRIu32 ", which it had done, are missing", i);
    return ENTRO_OK;
}

entro_status en_fisher_find(en_fisher_start *start, const en_collect_run *r,
                            const bool *has_gradients, entro_error *err)
{
    entro_error why;
    const en_fisher_shape shape = shape_of(r);
    *start = (en_fisher_start){0};
    EN_TRY(en_unfinished_open(&start->file, r->folder, EN_STATISTICS_UNFINISHED_FISHER, 0, &r->id,
                              r->job, err));
    if (!en_unfinished_is_there(&start->file))
        return ENTRO_OK;
    entro_status status = en_unfinished_fisher_check(&start->file, &shape, &start->place, &why);
    if (status == ENTRO_OK)
        status = check_gradients(&start->place, has_gradients, shape.n_layers, &why);
    if (status != ENTRO_OK) {
        en_unfinished_refuse(&start->file, EN_STATISTICS_UNFINISHED_FISHER, 0, &why, r->job);
        start->place = (en_fisher_place){0};
    }
    return ENTRO_OK;
}

/* ---- memory -------------------------------------------------------------------------------- */

static size_t group_floats(const en_fisher *f)
{
    return (size_t)f->shape.n_group * en_collect_sequence_floats(f->run);
}

static entro_status prepare(en_fisher *f, entro_error *err)
{
    const en_hparams *hp = &f->run->decoder->hp;
    size_t n_floats = group_floats(f), n_vocab = hp->n_vocab, n_rows = f->shape.n_rows;
    en_fisher_sums *s = &f->sums;
    f->kept = en_alloc(hp->n_layers, n_floats * sizeof *f->kept);
    s->dx = en_alloc(n_floats, sizeof *s->dx);
    s->rows = en_alloc_zero(n_rows, sizeof *s->rows);
    s->output = en_alloc_zero(n_vocab, sizeof *s->output);
    s->energy = en_alloc_zero(n_vocab, sizeof *s->energy);
    s->counts = en_alloc_zero(n_vocab, sizeof *s->counts);
    s->gradients = en_alloc_zero((size_t)hp->n_embd * hp->n_embd, sizeof *s->gradients);
    f->blocks = en_alloc_huge(en_gradient_layer_floats(hp), sizeof *f->blocks);
    f->written = en_alloc(n_rows + 2 * n_vocab, sizeof *f->written);
    return f->kept && s->dx && s->rows && s->output && s->energy && s->counts && s->gradients &&
                   f->blocks && f->written
               ? ENTRO_OK
               : en_fail_memory(err);
}

static void fisher_free(en_fisher *f)
{
    en_free(f->kept);
    en_free(f->sums.dx);
    en_free(f->sums.rows);
    en_free(f->sums.output);
    en_free(f->sums.energy);
    en_free(f->sums.counts);
    en_free(f->sums.gradients);
    en_free(f->blocks);
    en_free(f->out_matrix);
    en_free(f->written);
}

/* ---- a group --------------------------------------------------------------------------------- */

static float *kept_at(const en_fisher *f, uint32_t layer, uint64_t sequence)
{
    return f->kept + layer * group_floats(f) + sequence * en_collect_sequence_floats(f->run);
}

static uint32_t batch_at(const en_fisher *f, uint64_t sequence, uint64_t n)
{
    uint64_t left = n - sequence;
    return left < f->run->n_batch ? (uint32_t)left : f->run->n_batch;
}

static double batch_flops(const en_fisher *f, uint32_t n_batch)
{
    const en_collect_run *r = f->run;
    return (double)n_batch * r->text->n_positions * en_collect_forward_flops(&r->decoder->hp);
}

/* Through so many layers. */
static entro_status forward(en_fisher *f, uint64_t n, uint32_t n_through, entro_error *err)
{
    en_collect_run *r = f->run;
    uint32_t n_layers = r->decoder->hp.n_layers;
    for (uint32_t i = 0; i < n_through; i++) {
        EN_TRY(en_collect_load(r, i, err));
        for (uint64_t s = 0, b; s < n; s += b) {
            b = batch_at(f, s, n);
            float *out = i + 1 < n_layers ? kept_at(f, i + 1, s)
                                          : f->sums.dx + s * en_collect_sequence_floats(r);
            EN_TRY(en_collect_forward(r, kept_at(f, i, s), (uint32_t)b, out, err));
            EN_TRY(en_collect_reach(r, batch_flops(f, (uint32_t)b), err));
        }
    }
    return ENTRO_OK;
}

static entro_status head_with(en_fisher *f, uint64_t n, uint64_t seed, entro_error *err)
{
    en_collect_run *r = f->run;
    const en_hparams *hp = &r->decoder->hp;
    en_head head = {.hp = hp,
                    .norm = r->decoder->weights.output_norm,
                    .output = f->out_matrix,
                    .precision = r->precision};
    uint32_t n_positions = r->text->n_positions;
    memcpy(r->item, "output", sizeof "output");
    for (uint64_t s = 0, b; s < n; s += b) {
        b = batch_at(f, s, n);
        double loss;
        uint32_t n_tokens = (uint32_t)b * n_positions;
        /* the tape's attn_in is free for the norm's output */
        EN_TRY(en_head_backward(&head, n_tokens, f->sums.dx + s * en_collect_sequence_floats(r),
                                r->tape.attn_in, NULL, seed + s, f->sums.output, &loss,
                                r->job->pool, err));
        if (!isfinite(loss))
            return en_fail(err, ENTRO_ERR_FORMAT,
                           "the model's loss on the calibration text is %g, expected a finite "
                           "number (damaged weights?)",
                           loss);
        EN_TRY(en_collect_reach(r, 4.0 * n_tokens * (double)hp->n_vocab * (double)hp->n_embd, err));
    }
    return ENTRO_OK;
}

static entro_status head(en_fisher *f, uint64_t n, uint64_t seed, entro_error *err)
{
    const en_linear *m = &f->run->decoder->weights.output;
    f->out_matrix = en_alloc((size_t)m->n_rows, (size_t)m->n_cols * sizeof *f->out_matrix);
    entro_status status = f->out_matrix != NULL
                              ? en_collect_read_matrix(f->run, m, f->out_matrix, err)
                              : en_fail_memory(err);
    if (status == ENTRO_OK)
        status = head_with(f, n, seed, err);
    en_free(f->out_matrix);
    f->out_matrix = NULL;
    return status;
}

static en_block_sums layer_sums(const en_fisher *f, uint32_t layer)
{
    const en_hparams *hp = &f->run->decoder->hp;
    double *at = f->sums.rows + layer * n_layer_rows(hp), *groups[EN_LAYER_GROUPS];
    for (uint32_t g = 0; g < EN_LAYER_GROUPS; g++) {
        groups[g] = at;
        at += en_layer_group_of(hp, g).n_outputs;
    }
    return (en_block_sums){
        .qkv = groups[0], .attn_output = groups[1], .gate_up = groups[2], .ffn_down = groups[3]};
}

static void start_blocks(en_fisher *f, en_block_sums *sums)
{
    const en_hparams *hp = &f->run->decoder->hp;
    float *at = f->blocks;
    memset(at, 0, en_gradient_layer_floats(hp) * sizeof *at);
    for (uint32_t g = 0; g < EN_GRADIENT_GROUPS; g++) {
        sums->gradients[g] = at;
        at += en_gradient_floats(hp, g);
    }
}

static entro_status save(en_fisher *f, uint64_t n_done, uint32_t n_left, entro_error *err)
{
    en_collect_run *r = f->run;
    const en_fisher_place place = {n_done, n_left}, beginning = {0};
    double flops = r->flops_done - f->flops_saved;
    if (!en_job_save_is_due(r->job) || flops < en_fisher_flops(r, &beginning) / MOST_SAVINGS)
        return ENTRO_OK;
    EN_TRY(en_unfinished_fisher_write(r->folder, &r->id, &f->shape, &place, &f->sums, err));
    en_job_saved(r->job);
    f->flops_saved = r->flops_done;
    return ENTRO_OK;
}

static entro_status backward_through(en_fisher *f, uint64_t n, uint32_t layer, bool with_blocks,
                                     entro_error *err)
{
    en_collect_run *r = f->run;
    en_block_sums sums = layer_sums(f, layer);
    if (with_blocks)
        start_blocks(f, &sums);
    EN_TRY(en_collect_load(r, layer, err));
    for (uint64_t s = 0, b; s < n; s += b) {
        b = batch_at(f, s, n);
        EN_TRY(en_collect_forward(r, kept_at(f, layer, s), (uint32_t)b, NULL, err));
        EN_TRY(en_block_backward(&r->block, &r->rope, &r->tape, (uint32_t)b,
                                 f->sums.dx + s * en_collect_sequence_floats(r), &sums,
                                 r->job->pool, err));
        EN_TRY(en_collect_reach(r, 2 * batch_flops(f, (uint32_t)b), err));
    }
    if (with_blocks)
        EN_TRY(en_fisher_write_gradients(f, layer, n * r->text->n_positions, err));
    return ENTRO_OK;
}

/* Covariances of gradients are those of the first group: one layer's at a time are in memory. */
static entro_status backward(en_fisher *f, uint64_t n_done, uint64_t n, uint32_t n_left,
                             entro_error *err)
{
    while (n_left-- > 0) {
        EN_TRY(backward_through(f, n, n_left, n_done == 0, err));
        if (n_left > 0)
            EN_TRY(save(f, n_done, n_left, err));
    }
    return ENTRO_OK;
}

/* What the gradient at the embedding says about its rows. */
static void add_gradients(en_fisher *f, uint64_t first, uint64_t n)
{
    const en_collect_run *r = f->run;
    size_t n_embd = r->decoder->hp.n_embd, n_tokens = (size_t)n * r->text->n_positions;
    const int32_t *ids = en_calib_text_sequence(r->text, first);
    for (size_t t = 0; t < n_tokens; t++) {
        const float *g = f->sums.dx + t * n_embd;
        double sum = 0;
        for (size_t i = 0; i < n_embd; i++)
            sum += (double)g[i] * (double)g[i];
        f->sums.energy[ids[t]] += sum;
        f->sums.counts[ids[t]]++;
    }
    en_gram(f->sums.dx, n_embd, n_tokens, n_embd, r->precision, true, f->sums.gradients,
            r->job->pool);
}

static entro_status begin_group(en_fisher *f, uint64_t n_done, uint64_t n, uint64_t seed,
                                entro_error *err)
{
    uint32_t n_layers = f->shape.n_layers;
    EN_TRY(forward(f, n, n_layers, err));
    /* labels of a batch depend on the seed and the token's number in it */
    EN_TRY(head(f, n, (seed << 32) + n_done, err));
    return save(f, n_done, n_layers, err);
}

/* The one at 'place', from there on. */
static entro_status run_group(en_fisher *f, const en_fisher_place *place, uint64_t n, uint64_t seed,
                              entro_error *err)
{
    uint64_t first = f->run->first_fisher + place->n_done;
    uint32_t n_left = place->n_left;
    EN_TRY(en_collect_embed(f->run, first, n, f->kept, err));
    if (n_left == 0) {
        EN_TRY(begin_group(f, place->n_done, n, seed, err));
        n_left = f->shape.n_layers;
    } else {
        EN_TRY(forward(f, n, n_left - 1, err));
    }
    EN_TRY(backward(f, place->n_done, n, n_left, err));
    add_gradients(f, first, n);
    return ENTRO_OK;
}

static entro_status run_all(en_fisher *f, en_fisher_start *start, uint64_t seed, entro_error *err)
{
    const en_collect_run *r = f->run;
    en_fisher_place place = start->place;
    EN_TRY(prepare(f, err));
    if (en_unfinished_is_there(&start->file))
        EN_TRY(en_unfinished_fisher_read(&start->file, &f->shape, &f->sums, err));
    en_statistics_file_close(&start->file); /* it is going to be replaced */
    while (place.n_done < r->n_fisher) {
        uint64_t n = group_at(place.n_done, f->shape.n_group, r->n_fisher);
        EN_TRY(run_group(f, &place, n, seed, err));
        place = (en_fisher_place){.n_done = place.n_done + n};
        if (place.n_done < r->n_fisher)
            EN_TRY(save(f, place.n_done, 0, err));
    }
    EN_TRY(en_fisher_write(f, err));
    return en_unfinished_remove(r->folder, EN_STATISTICS_UNFINISHED_FISHER, 0, err);
}

entro_status en_fisher_collect(en_collect_run *r, en_fisher_start *start, uint64_t seed,
                               entro_error *err)
{
    en_fisher f = {.run = r, .shape = shape_of(r), .flops_saved = r->flops_done};
    entro_status status = run_all(&f, start, seed, err);
    fisher_free(&f);
    return status;
}
