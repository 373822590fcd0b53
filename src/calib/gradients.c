/* gradients.c - see gradients.h. */
#include "calib/gradients.h"

#include "calib/gram.h"
#include "model/model_weights.h"
#include "quant/row_blocks.h"

en_gradient_group en_gradient_group_of(const en_hparams *hp, uint32_t group)
{
    size_t q = (size_t)hp->n_heads * hp->n_head_dim, kv = (size_t)hp->n_kv_heads * hp->n_head_dim;
    size_t n_ff = hp->n_ff;
    switch (group) {
    case 0:
        if (en_arch_n_qkv(hp->arch) == 1)
            return (en_gradient_group){1, {q + 2 * kv}};
        return (en_gradient_group){3, {q, kv, kv}};
    case 2:
        if (en_arch_n_gate_up(hp->arch) == 1)
            return (en_gradient_group){1, {2 * n_ff}};
        return (en_gradient_group){2, {n_ff, n_ff}};
    default: return (en_gradient_group){1, {hp->n_embd}};
    }
}

size_t en_gradient_floats(const en_hparams *hp, uint32_t group)
{
    en_gradient_group g = en_gradient_group_of(hp, group);
    size_t n = 0;
    for (uint32_t m = 0; m < g.n_matrices; m++)
        n += en_row_blocks_floats(g.n_rows[m]);
    return n;
}

size_t en_gradient_layer_floats(const en_hparams *hp)
{
    size_t n = 0;
    for (uint32_t group = 0; group < EN_GRADIENT_GROUPS; group++)
        n += en_gradient_floats(hp, group);
    return n;
}

void en_gradient_add(const en_hparams *hp, uint32_t group, const float *dy, size_t n_tokens,
                     en_precision precision, float *blocks, en_pool *pool)
{
    en_gradient_group g = en_gradient_group_of(hp, group);
    size_t stride = 0, first = 0;
    for (uint32_t m = 0; m < g.n_matrices; m++)
        stride += g.n_rows[m];
    for (uint32_t m = 0; m < g.n_matrices; first += g.n_rows[m++])
        for (size_t b = 0; b < en_row_blocks(g.n_rows[m]); b++) {
            size_t row = en_row_block_first(g.n_rows[m], b);
            size_t n = en_row_block_first(g.n_rows[m], b + 1) - row;
            en_gram(dy + first + row, stride, n_tokens, n, precision, true, blocks, pool);
            blocks += n * n;
        }
}
