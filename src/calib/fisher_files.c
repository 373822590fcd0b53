/* fisher_files.c - see fisher.h. */
#include "base/memory.h"
#include "calib/fisher.h"
#include "quant/row_blocks.h"

/* Tokens seen this often have half of their own gradient's size, half of all tokens' mean. */
static const double prior_tokens = 4;

/* ---- gradients ------------------------------------------------------------------------------- */

static entro_status write_items_of_blocks(en_fisher *f, uint32_t layer, en_statistics_item *items,
                                          char (*names)[48], uint64_t n_tokens, entro_error *err)
{
    const en_hparams *hp = &f->run->decoder->hp;
    float tokens = (float)n_tokens, *at = f->blocks;
    size_t n_items = 0;
    items[n_items++] = (en_statistics_item){.name = EN_GRADIENT_TOKENS, .n = 1, .vector = &tokens};
    for (uint32_t g = 0; g < EN_GRADIENT_GROUPS; g++) {
        en_layer_group group = en_layer_group_of(hp, g);
        en_gradient_group matrices = en_gradient_group_of(hp, g);
        for (uint32_t m = 0; m < matrices.n_matrices; m++)
            for (size_t b = 0; b < en_row_blocks(matrices.n_rows[m]); b++, n_items++) {
                size_t first = en_row_block_first(matrices.n_rows[m], b);
                size_t n = en_row_block_first(matrices.n_rows[m], b + 1) - first;
                items[n_items] = (en_statistics_item){
                    .name = en_gradient_name(names[n_items], sizeof names[n_items], &group, m, b),
                    .n = n,
                    .sums = at,
                    .scale = 1 / (double)n_tokens};
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

entro_status en_fisher_write_gradients(en_fisher *f, uint32_t layer, uint64_t n_tokens,
                                       entro_error *err)
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

/* ---- importances ----------------------------------------------------------------------------- */

/*
 * Share of each token, times how its gradients' size compares with the mean; what was seen seldom is drawn
 * towards 1.  A share is the mean of the text's own and of the probability that the model gives the
 * token on it: most tokens of a vocabulary do not occur in a text of this length, but will in others.
 */
static void token_importances(const en_fisher *f, float *out)
{
    const en_collect_run *r = f->run;
    size_t n_vocab = r->decoder->hp.n_vocab;
    uint64_t n_all = (r->first_fisher + r->n_fisher) * r->text->n_positions, n_fisher = 0;
    double energy = 0;
    for (size_t v = 0; v < n_vocab; v++) {
        energy += f->sums.energy[v];
        n_fisher += f->sums.counts[v];
        out[v] = 0;
    }
    double mean = energy / (double)n_fisher;
    for (uint64_t t = 0; t < n_all; t++)
        out[r->text->tokens[t]] += 1;
    for (size_t v = 0; v < n_vocab; v++) {
        double size = mean > 0 ? (f->sums.energy[v] + prior_tokens * mean) /
                                     (((double)f->sums.counts[v] + prior_tokens) * mean)
                               : 1;
        double share = ((double)out[v] / (double)n_all + f->sums.output[v] / (double)n_fisher) / 2;
        out[v] = (float)(share * size);
    }
}

static void means(const double *sums, size_t n, double n_tokens, float *out)
{
    for (size_t i = 0; i < n; i++)
        out[i] = (float)(sums[i] / n_tokens);
}

static entro_status write_items(en_fisher *f, en_statistics_item *items, char (*names)[48],
                                entro_error *err)
{
    en_collect_run *r = f->run;
    const en_hparams *hp = &r->decoder->hp;
    double n_tokens = (double)r->n_fisher * r->text->n_positions;
    size_t n_rows = f->shape.n_rows, n_items = 0;
    float *rows = f->written, *output = rows + n_rows, *tokens = output + hp->n_vocab;
    means(f->sums.rows, n_rows, n_tokens, rows);
    means(f->sums.output, hp->n_vocab, n_tokens, output);
    token_importances(f, tokens);
    for (uint32_t i = 0; i < hp->n_layers * EN_LAYER_GROUPS; i++) {
        en_layer_group group = en_layer_group_of(hp, i % EN_LAYER_GROUPS);
        items[n_items++] = (en_statistics_item){
            .name = en_importance_name(names[i], sizeof names[i], &group, i / EN_LAYER_GROUPS),
            .n = group.n_outputs,
            .vector = rows};
        rows += group.n_outputs;
    }
    items[n_items++] =
        (en_statistics_item){.name = EN_OUTPUT_IMPORTANCE, .n = hp->n_vocab, .vector = output};
    items[n_items++] =
        (en_statistics_item){.name = EN_TOKENS_IMPORTANCE, .n = hp->n_vocab, .vector = tokens};
    items[n_items++] = (en_statistics_item){.name = EN_TOKENS_COVARIANCE,
                                            .n = hp->n_embd,
                                            .sums = f->sums.gradients,
                                            .scale = 1 / n_tokens};
    char *path = en_statistics_path(r->folder, EN_STATISTICS_FISHER, 0);
    if (path == NULL)
        return en_fail_memory(err);
    entro_status status = en_statistics_file_write(path, &r->id, EN_STATISTICS_FISHER, 0, items,
                                                   n_items, r->job->pool, err);
    en_free(path);
    return status;
}

entro_status en_fisher_write(en_fisher *f, entro_error *err)
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
