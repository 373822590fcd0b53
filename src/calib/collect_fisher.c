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
 */
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "calib/collect.h"
#include "calib/collect_run.h"
#include "calib/gram.h"
#include "quant/row_blocks.h"

/* Tokens seen this often have half of their own gradient's size, half of all tokens' mean. */
static const double prior_tokens = 4;

typedef struct fisher {
    en_collect_run *run;
    uint64_t n_group; /* sequences of the largest group */
    float *kept, *dx; /* n_layers times a group's residuals; one time */
    double *rows;     /* sums of all layers, one behind the other */
    size_t n_layer_rows;
    double *output;    /* n_vocab */
    double *energy;    /* n_vocab: sums of |g|^2 at the embedding of each token */
    uint64_t *counts;  /* n_vocab: tokens behind that */
    float *gradients;  /* n_embd x n_embd: sums of g g^T at the embedding */
    float *blocks;     /* of the layer at hand: the same at its outputs (gradients.h) */
    float *out_matrix; /* n_vocab x n_embd, while the head is at work */
    float *written;    /* everything above as f32 */
} fisher;

double en_collect_fisher_flops(const en_collect_run *r)
{
    const en_hparams *hp = &r->decoder->hp;
    double n = (double)r->n_fisher * r->text->n_positions;
    return n * (3 * en_collect_forward_flops(hp) * hp->n_layers +
                4.0 * (double)hp->n_vocab * (double)hp->n_embd);
}

static size_t group_floats(const fisher *f)
{
    return (size_t)f->n_group * en_collect_sequence_floats(f->run);
}

/* Groups of equal size that keep no more than EN_COLLECT_KEPT_BYTES, but a batch at least. */
static uint64_t choose_group(const en_collect_run *r)
{
    size_t bytes = en_collect_sequence_floats(r) * sizeof(float) * (r->decoder->hp.n_layers + 1);
    uint64_t most = EN_COLLECT_KEPT_BYTES / bytes;
    most = most > r->n_batch ? most : r->n_batch;
    uint64_t n_groups = (r->n_fisher + most - 1) / most;
    return (r->n_fisher + n_groups - 1) / n_groups;
}

static entro_status prepare(fisher *f, entro_error *err)
{
    const en_hparams *hp = &f->run->decoder->hp;
    size_t n_floats = group_floats(f), n_vocab = hp->n_vocab, n_rows = 0;
    for (uint32_t g = 0; g < EN_LAYER_GROUPS; g++)
        f->n_layer_rows += en_layer_group_of(hp, g).n_outputs;
    n_rows = f->n_layer_rows * hp->n_layers;
    f->kept = en_alloc(hp->n_layers, n_floats * sizeof *f->kept);
    f->dx = en_alloc(n_floats, sizeof *f->dx);
    f->rows = en_alloc_zero(n_rows, sizeof *f->rows);
    f->output = en_alloc_zero(n_vocab, sizeof *f->output);
    f->energy = en_alloc_zero(n_vocab, sizeof *f->energy);
    f->counts = en_alloc_zero(n_vocab, sizeof *f->counts);
    f->gradients = en_alloc_zero((size_t)hp->n_embd * hp->n_embd, sizeof *f->gradients);
    f->blocks = en_alloc_huge(en_gradient_layer_floats(hp), sizeof *f->blocks);
    f->written = en_alloc(n_rows + 2 * n_vocab, sizeof *f->written);
    return f->kept && f->dx && f->rows && f->output && f->energy && f->counts && f->gradients &&
                   f->blocks && f->written
               ? ENTRO_OK
               : en_fail_memory(err);
}

static void fisher_free(fisher *f)
{
    en_free(f->kept);
    en_free(f->dx);
    en_free(f->rows);
    en_free(f->output);
    en_free(f->energy);
    en_free(f->counts);
    en_free(f->gradients);
    en_free(f->blocks);
    en_free(f->out_matrix);
    en_free(f->written);
}

/* ---- a group --------------------------------------------------------------------------------- */

static float *kept_at(const fisher *f, uint32_t layer, uint64_t sequence)
{
    return f->kept + layer * group_floats(f) + sequence * en_collect_sequence_floats(f->run);
}

static uint32_t batch_at(const fisher *f, uint64_t sequence, uint64_t n)
{
    uint64_t left = n - sequence;
    return left < f->run->n_batch ? (uint32_t)left : f->run->n_batch;
}

static double batch_flops(const fisher *f, uint32_t n_batch)
{
    const en_collect_run *r = f->run;
    return (double)n_batch * r->text->n_positions * en_collect_forward_flops(&r->decoder->hp);
}

static entro_status forward(fisher *f, uint64_t n, entro_error *err)
{
    en_collect_run *r = f->run;
    uint32_t n_layers = r->decoder->hp.n_layers;
    for (uint32_t i = 0; i < n_layers; i++) {
        EN_TRY(en_collect_load(r, i, err));
        for (uint64_t s = 0, b; s < n; s += b) {
            b = batch_at(f, s, n);
            float *out =
                i + 1 < n_layers ? kept_at(f, i + 1, s) : f->dx + s * en_collect_sequence_floats(r);
            EN_TRY(en_collect_forward(r, kept_at(f, i, s), (uint32_t)b, out, err));
            EN_TRY(en_collect_reach(r, batch_flops(f, (uint32_t)b), err));
        }
    }
    return ENTRO_OK;
}

static entro_status head_with(fisher *f, uint64_t n, uint64_t seed, entro_error *err)
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
        EN_TRY(en_head_backward(&head, n_tokens, f->dx + s * en_collect_sequence_floats(r),
                                r->tape.attn_in, NULL, seed + s, f->output, &loss, r->job->pool,
                                err));
        if (!isfinite(loss))
            return en_fail(err, ENTRO_ERR_FORMAT,
                           "the model's loss on the calibration text is %g, expected a finite "
                           "number (damaged weights?)",
                           loss);
        EN_TRY(en_collect_reach(r, 4.0 * n_tokens * (double)hp->n_vocab * (double)hp->n_embd, err));
    }
    return ENTRO_OK;
}

static entro_status head(fisher *f, uint64_t n, uint64_t seed, entro_error *err)
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

static en_block_sums layer_sums(const fisher *f, uint32_t layer)
{
    const en_hparams *hp = &f->run->decoder->hp;
    double *at = f->rows + layer * f->n_layer_rows, *groups[EN_LAYER_GROUPS];
    for (uint32_t g = 0; g < EN_LAYER_GROUPS; g++) {
        groups[g] = at;
        at += en_layer_group_of(hp, g).n_outputs;
    }
    return (en_block_sums){
        .qkv = groups[0], .attn_output = groups[1], .gate_up = groups[2], .ffn_down = groups[3]};
}

static void start_blocks(fisher *f, en_block_sums *sums)
{
    const en_hparams *hp = &f->run->decoder->hp;
    float *at = f->blocks;
    memset(at, 0, en_gradient_layer_floats(hp) * sizeof *at);
    for (uint32_t g = 0; g < EN_GRADIENT_GROUPS; g++) {
        sums->gradients[g] = at;
        at += en_gradient_floats(hp, g);
    }
}

static entro_status write_items_of_blocks(fisher *f, uint32_t layer, en_statistics_item *items,
                                          char (*names)[48], uint64_t n_tokens, entro_error *err)
{
    const en_hparams *hp = &f->run->decoder->hp;
    float tokens = (float)n_tokens, *at = f->blocks;
    size_t n_items = 0;
    items[n_items++] = (en_statistics_item){EN_GRADIENT_TOKENS, 1, &tokens, NULL, 0};
    for (uint32_t g = 0; g < EN_GRADIENT_GROUPS; g++) {
        en_layer_group group = en_layer_group_of(hp, g);
        en_gradient_group matrices = en_gradient_group_of(hp, g);
        for (uint32_t m = 0; m < matrices.n_matrices; m++)
            for (size_t b = 0; b < en_row_blocks(matrices.n_rows[m]); b++, n_items++) {
                size_t first = en_row_block_first(matrices.n_rows[m], b);
                size_t n = en_row_block_first(matrices.n_rows[m], b + 1) - first;
                items[n_items] = (en_statistics_item){
                    en_gradient_name(names[n_items], sizeof names[n_items], &group, m, b), n, NULL,
                    at, 1 / (double)n_tokens};
                at += n * n;
            }
    }
    char *path = en_statistics_path(f->run->folder, EN_STATISTICS_GRADIENTS, layer);
    if (path == NULL)
        return en_fail_memory(err);
    entro_status status = en_statistics_file_write(path, &f->run->id, EN_STATISTICS_GRADIENTS,
                                                   layer, items, n_items, f->run->job->pool, err);
    en_free(path);
    return status;
}

static entro_status write_blocks(fisher *f, uint32_t layer, uint64_t n_tokens, entro_error *err)
{
    const en_hparams *hp = &f->run->decoder->hp;
    size_t n = 1;
    for (uint32_t g = 0; g < EN_GRADIENT_GROUPS; g++) {
        en_gradient_group matrices = en_gradient_group_of(hp, g);
        for (uint32_t m = 0; m < matrices.n_matrices; m++)
            n += en_row_blocks(matrices.n_rows[m]);
    }
    en_statistics_item *items = en_alloc(n, sizeof *items);
    char(*names)[48] = en_alloc(n, sizeof *names);
    entro_status status = items != NULL && names != NULL
                              ? write_items_of_blocks(f, layer, items, names, n_tokens, err)
                              : en_fail_memory(err);
    en_free(items);
    en_free(names);
    return status;
}

/* Covariances of gradients are those of the first group: one layer's at a time are in memory. */
static entro_status backward(fisher *f, uint64_t n, bool with_blocks, entro_error *err)
{
    en_collect_run *r = f->run;
    for (uint32_t i = r->decoder->hp.n_layers; i-- > 0;) {
        en_block_sums sums = layer_sums(f, i);
        if (with_blocks)
            start_blocks(f, &sums);
        EN_TRY(en_collect_load(r, i, err));
        for (uint64_t s = 0, b; s < n; s += b) {
            b = batch_at(f, s, n);
            EN_TRY(en_collect_forward(r, kept_at(f, i, s), (uint32_t)b, NULL, err));
            EN_TRY(en_block_backward(&r->block, &r->rope, &r->tape, (uint32_t)b,
                                     f->dx + s * en_collect_sequence_floats(r), &sums, r->job->pool,
                                     err));
            EN_TRY(en_collect_reach(r, 2 * batch_flops(f, (uint32_t)b), err));
        }
        if (with_blocks)
            EN_TRY(write_blocks(f, i, n * r->text->n_positions, err));
    }
    return ENTRO_OK;
}

/* What the gradient at the embedding says about its rows. */
static void add_gradients(fisher *f, uint64_t first, uint64_t n)
{
    const en_collect_run *r = f->run;
    size_t n_embd = r->decoder->hp.n_embd, n_tokens = (size_t)n * r->text->n_positions;
    const int32_t *ids = en_calib_text_sequence(r->text, first);
    for (size_t t = 0; t < n_tokens; t++) {
        const float *g = f->dx + t * n_embd;
        double sum = 0;
        for (size_t i = 0; i < n_embd; i++)
            sum += (double)g[i] * (double)g[i];
        f->energy[ids[t]] += sum;
        f->counts[ids[t]]++;
    }
    en_gram(f->dx, n_embd, n_tokens, n_embd, r->precision, true, f->gradients, r->job->pool);
}

static entro_status run_group(fisher *f, uint64_t first, uint64_t n, uint64_t seed,
                              entro_error *err)
{
    EN_TRY(en_collect_embed(f->run, first, n, f->kept, err));
    EN_TRY(forward(f, n, err));
    EN_TRY(head(f, n, seed, err));
    EN_TRY(backward(f, n, first == f->run->first_fisher, err));
    add_gradients(f, first, n);
    return ENTRO_OK;
}

/* ---- results --------------------------------------------------------------------------------- */

/*
 * Share of each token, times how its gradients' size compares with the mean; what was seen seldom is drawn
 * towards 1.  A share is the mean of the text's own and of the probability that the model gives the
 * token on it: most tokens of a vocabulary do not occur in a text of this length, but will in others.
 */
static void token_importances(const fisher *f, float *out)
{
    const en_collect_run *r = f->run;
    size_t n_vocab = r->decoder->hp.n_vocab;
    uint64_t n_all = (r->first_fisher + r->n_fisher) * r->text->n_positions, n_fisher = 0;
    double energy = 0;
    for (size_t v = 0; v < n_vocab; v++) {
        energy += f->energy[v];
        n_fisher += f->counts[v];
        out[v] = 0;
    }
    double mean = energy / (double)n_fisher;
    for (uint64_t t = 0; t < n_all; t++)
        out[r->text->tokens[t]] += 1;
    for (size_t v = 0; v < n_vocab; v++) {
        double size = mean > 0 ? (f->energy[v] + prior_tokens * mean) /
                                     (((double)f->counts[v] + prior_tokens) * mean)
                               : 1;
        double share = ((double)out[v] / (double)n_all + f->output[v] / (double)n_fisher) / 2;
        out[v] = (float)(share * size);
    }
}

static void means(const double *sums, size_t n, double n_tokens, float *out)
{
    for (size_t i = 0; i < n; i++)
        out[i] = (float)(sums[i] / n_tokens);
}

static entro_status write_items(fisher *f, en_statistics_item *items, char (*names)[48],
                                entro_error *err)
{
    en_collect_run *r = f->run;
    const en_hparams *hp = &r->decoder->hp;
    double n_tokens = (double)r->n_fisher * r->text->n_positions;
    size_t n_rows = f->n_layer_rows * hp->n_layers, n_items = 0;
    float *rows = f->written, *output = rows + n_rows, *tokens = output + hp->n_vocab;
    means(f->rows, n_rows, n_tokens, rows);
    means(f->output, hp->n_vocab, n_tokens, output);
    token_importances(f, tokens);
    for (uint32_t i = 0; i < hp->n_layers * EN_LAYER_GROUPS; i++) {
        en_layer_group group = en_layer_group_of(hp, i % EN_LAYER_GROUPS);
        items[n_items++] = (en_statistics_item){
            .name = en_importance_name(names[i], sizeof names[i], &group, i / EN_LAYER_GROUPS),
            .n = group.n_outputs,
            .vector = rows};
        rows += group.n_outputs;
    }
    items[n_items++] = (en_statistics_item){EN_OUTPUT_IMPORTANCE, hp->n_vocab, output, NULL, 0};
    items[n_items++] = (en_statistics_item){EN_TOKENS_IMPORTANCE, hp->n_vocab, tokens, NULL, 0};
    items[n_items++] =
        (en_statistics_item){EN_TOKENS_COVARIANCE, hp->n_embd, NULL, f->gradients, 1 / n_tokens};
    char *path = en_statistics_path(r->folder, EN_STATISTICS_FISHER, 0);
    if (path == NULL)
        return en_fail_memory(err);
    entro_status status = en_statistics_file_write(path, &r->id, EN_STATISTICS_FISHER, 0, items,
                                                   n_items, r->job->pool, err);
    en_free(path);
    return status;
}

static entro_status write_file(fisher *f, entro_error *err)
{
    size_t n = (size_t)f->run->decoder->hp.n_layers * EN_LAYER_GROUPS;
    en_statistics_item *items = en_alloc(n + 3, sizeof *items);
    char(*names)[48] = en_alloc(n, sizeof *names);
    entro_status status =
        items != NULL && names != NULL ? write_items(f, items, names, err) : en_fail_memory(err);
    en_free(items);
    en_free(names);
    return status;
}

static entro_status run_all(fisher *f, uint64_t seed, entro_error *err)
{
    const en_collect_run *r = f->run;
    EN_TRY(prepare(f, err));
    for (uint64_t s = 0, n; s < r->n_fisher; s += n) {
        n = r->n_fisher - s < f->n_group ? r->n_fisher - s : f->n_group;
        /* labels of a batch depend on the seed and the token's number in it */
        EN_TRY(run_group(f, r->first_fisher + s, n, (seed << 32) + s, err));
    }
    return write_file(f, err);
}

entro_status en_collect_fisher(en_collect_run *r, uint64_t seed, entro_error *err)
{
    fisher f = {.run = r, .n_group = choose_group(r)};
    entro_status status = run_all(&f, seed, err);
    fisher_free(&f);
    return status;
}
