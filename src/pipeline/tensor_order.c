/* tensor_order.c - see tensor_order.h. */
#include "pipeline/tensor_order.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

typedef struct ranked {
    uint64_t rank;
    uint32_t tensor;
} ranked;

/* Steps of a layer. */
static unsigned step_of(const char *matrix)
{
    static const char *const steps[][4] = {
        {"attn_qkv.weight", "attn_q.weight", "attn_k.weight", "attn_v.weight"},
        {"attn_output.weight"},
        {"ffn_gate.weight", "ffn_up.weight"},
        {"ffn_down.weight"},
    };
    enum { N_STEPS = sizeof steps / sizeof *steps };
    for (unsigned s = 0; s < N_STEPS; s++)
        for (unsigned i = 0; i < 4 && steps[s][i] != NULL; i++)
            if (strcmp(matrix, steps[s][i]) == 0)
                return s;
    return N_STEPS;
}

static uint64_t rank_of(const char *name)
{
    enum { MOST_STEPS = 8, FIRST_LAYER = 2 };
    unsigned layer;
    int n_head = 0;
    if (strcmp(name, "token_embd.weight") == 0)
        return 0;
    if (sscanf(name, "blk.%6u.%n", &layer, &n_head) != 1 || n_head == 0)
        return 1;
    return FIRST_LAYER + (uint64_t)layer * MOST_STEPS + step_of(name + n_head);
}

static int compare(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    if (x->rank != y->rank)
        return x->rank < y->rank ? -1 : 1;
    return x->tensor < y->tensor ? -1 : x->tensor > y->tensor;
}

entro_status en_tensor_order(uint32_t *order, const en_source *source, bool as_tokens_meet_them,
                             entro_error *err)
{
    uint32_t n = en_source_n_tensors(source);
    ranked *all = en_alloc(n, sizeof *all);
    if (all == NULL)
        return en_fail_memory(err);
    for (uint32_t i = 0; i < n; i++) {
        all[i].tensor = i;
        all[i].rank = as_tokens_meet_them ? rank_of(en_source_tensor(source, i)->name) : 0;
    }
    qsort(all, n, sizeof *all, compare);
    for (uint32_t i = 0; i < n; i++)
        order[i] = all[i].tensor;
    en_free(all);
    return ENTRO_OK;
}
