/* block.c - memory of blocks and tapes, and weights as f32; the passes have files of their own. */
#include "calib/block.h"

#include <stdatomic.h>
#include <string.h>

#include "base/memory.h"
#include "quant/blas.h"
#include "calib/block_parts.h"
#include "container/weight_rows.h"

/* ---- one matrix -------------------------------------------------------------------------- */

typedef struct load {
    en_weight_rows weights;
    en_weight_rows_scratch scratch; /* of a coded one */
    float *out;
    atomic_bool failed;
    entro_status status; /* written by the thread that sets 'failed' */
    entro_error err;
} load;

static entro_status read_block(const load *l, uint32_t block, uint32_t thread, entro_error *err)
{
    const en_weight_rows *w = &l->weights;
    size_t n_cols = (size_t)w->n_cols;
    uint64_t row = en_weight_rows_block_row(w, block), n_rows = en_weight_rows_block_rows(w, block);
    if (w->coded == NULL)
        return en_source_read_rows(w->source, w->tensor, row, n_rows, l->out + row * n_cols, err);
    float *rows = en_weight_rows_scratch_rows(&l->scratch, thread);
    EN_TRY(en_weight_rows_read(w, block, rows, &l->scratch, thread, err));
    for (uint64_t r = 0; r < n_rows; r++)
        memcpy(l->out + en_weight_rows_row(w, row + r) * n_cols, rows + r * n_cols,
               n_cols * sizeof *rows);
    return ENTRO_OK;
}

static void load_block(void *context, uint32_t item, uint32_t thread)
{
    load *l = context;
    entro_error err;
    if (atomic_load_explicit(&l->failed, memory_order_relaxed))
        return;
    entro_status status = read_block(l, item, thread, &err);
    if (status == ENTRO_OK || atomic_exchange(&l->failed, true))
        return;
    l->status = status;
    l->err = err;
}

entro_status en_matrix_load(const en_linear *matrix, float *out, en_pool *pool, entro_error *err)
{
    const en_tensor shape = {.n_dims = 2, .dims = {matrix->n_cols, matrix->n_rows, 1, 1}};
    load l = {.out = out};
    l.weights = en_weight_rows_of(matrix->source, matrix->plain != NULL ? matrix->plain : &shape,
                                  matrix->coded);
    if (matrix->coded != NULL)
        EN_TRY(en_weight_rows_scratch_fit(&l.scratch, &l.weights, en_pool_n_threads(pool), err));
    en_pool_run(pool, load_block, &l, l.weights.n_blocks);
    en_weight_rows_scratch_free(&l.scratch);
    if (l.status != ENTRO_OK) {
        if (err != NULL)
            *err = l.err;
        en_error_place(err, "tensor '%s'", matrix->name);
    }
    return l.status;
}

/* ---- a layer's --------------------------------------------------------------------------- */

entro_status en_block_new(en_block *block, const en_hparams *hp, entro_error *err)
{
    size_t q = en_block_q_floats(hp), n_embd = hp->n_embd, n_ff = hp->n_ff;
    *block = (en_block){.hp = hp};
    EN_TRY(en_blas_open(err));
    block->qkv = en_alloc_huge(en_block_qkv_floats(hp), n_embd * sizeof *block->qkv);
    block->attn_output = en_alloc_huge(n_embd, q * sizeof *block->attn_output);
    block->gate_up = en_alloc_huge(2 * n_ff, n_embd * sizeof *block->gate_up);
    block->ffn_down = en_alloc_huge(n_embd, n_ff * sizeof *block->ffn_down);
    if (block->qkv && block->attn_output && block->gate_up && block->ffn_down)
        return ENTRO_OK;
    en_block_free(block);
    return en_fail_memory(err);
}

void en_block_free(en_block *block)
{
    en_free(block->qkv);
    en_free(block->attn_output);
    en_free(block->gate_up);
    en_free(block->ffn_down);
    *block = (en_block){0};
}

/* Rows of one matrix behind the other. */
static entro_status load_all(const en_linear *matrices, uint32_t n, float *out, en_pool *pool,
                             entro_error *err)
{
    for (uint32_t i = 0; i < n; i++) {
        EN_TRY(en_matrix_load(&matrices[i], out, pool, err));
        out += matrices[i].n_rows * matrices[i].n_cols;
    }
    return ENTRO_OK;
}

entro_status en_block_load(en_block *block, const en_layer *layer, en_pool *pool, entro_error *err)
{
    const en_arch *arch = block->hp->arch;
    block->layer = layer;
    EN_TRY(load_all(layer->qkv, en_arch_n_qkv(arch), block->qkv, pool, err));
    EN_TRY(load_all(&layer->attn_output, 1, block->attn_output, pool, err));
    EN_TRY(load_all(layer->gate_up, en_arch_n_gate_up(arch), block->gate_up, pool, err));
    return load_all(&layer->ffn_down, 1, block->ffn_down, pool, err);
}

/* ---- the tape ---------------------------------------------------------------------------- */

entro_status en_block_tape_new(en_block_tape *tape, const en_hparams *hp, uint32_t n_sequences,
                               uint32_t n_positions, entro_error *err)
{
    size_t n_tokens = (size_t)n_sequences * n_positions, row = sizeof(float) * hp->n_embd;
    *tape = (en_block_tape){.n_sequences = n_sequences, .n_positions = n_positions};
    tape->x = en_alloc_huge(n_tokens, row);
    tape->attn_in = en_alloc_huge(n_tokens, row);
    tape->qkv = en_alloc_huge(n_tokens, sizeof(float) * en_block_qkv_floats(hp));
    tape->attn_out = en_alloc_huge(n_tokens, sizeof(float) * en_block_q_floats(hp));
    tape->middle = en_alloc_huge(n_tokens, row);
    tape->ffn_in = en_alloc_huge(n_tokens, row);
    tape->gate_up = en_alloc_huge(n_tokens, 2 * sizeof(float) * hp->n_ff);
    tape->ffn_out = en_alloc_huge(n_tokens, sizeof(float) * hp->n_ff);
    if (tape->x && tape->attn_in && tape->qkv && tape->attn_out && tape->middle && tape->ffn_in &&
        tape->gate_up && tape->ffn_out)
        return ENTRO_OK;
    en_block_tape_free(tape);
    return en_fail_memory(err);
}

void en_block_tape_free(en_block_tape *tape)
{
    en_free(tape->x);
    en_free(tape->attn_in);
    en_free(tape->qkv);
    en_free(tape->attn_out);
    en_free(tape->middle);
    en_free(tape->ffn_in);
    en_free(tape->gate_up);
    en_free(tape->ffn_out);
    *tape = (en_block_tape){0};
}
