/*
 * cli_kinds.h - the coded tensors of an account, grouped: matrices of one name in all layers are a kind.
 *
 *   blk.0.attn_q.weight  blk.1.attn_q.weight ...   kind "attn_q", layers 0, 1 ...
 *   token_embd.weight                              kind "token_embd", no layer
 *
 * Names come from files: numbers of layers beyond CLI_MAX_LAYERS are part of a name, and the last kind takes
 * whatever is left.
 */
#ifndef CLI_KINDS_H
#define CLI_KINDS_H

#include "cli_account.h"

enum { CLI_MAX_KINDS = 16, CLI_MAX_LAYERS = 512 };
/* Of sums of histograms: each one's most frequent value stands here. */
enum { CLI_MIDDLE = ENTRO_HISTOGRAM_VALUES, CLI_SUMS = 2 * ENTRO_HISTOGRAM_VALUES };

typedef struct cli_matrix_kind {
    char name[64];
    cli_totals totals;
    double bits[CLI_MAX_LAYERS]; /* of each layer's matrix; NAN where there is none */
    size_t n_in_layers;
    uint64_t sums[CLI_SUMS], n_counted; /* of integers; n_counted with those beyond */
    int32_t middle_low, middle_high;    /* most frequent values of its tensors */
} cli_matrix_kind;

typedef struct cli_kinds {
    cli_matrix_kind *kinds;
    size_t n;
    int n_layers;
    double most_bits; /* of a matrix in a layer */
} cli_kinds;

/* false: out of memory. */
bool cli_kinds_collect(cli_kinds *k, const cli_account *a);
void cli_kinds_release(cli_kinds *k);

#endif
