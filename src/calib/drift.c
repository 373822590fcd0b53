/*
 * drift.c - see drift.h.
 *
 * What is kept of all tokens: x and y, the streams of the source and of the quantized model, and the heads' output of
 * the latter, which attention need not be run again for.  As a step of the quantized block, while its matrix of
 * the group still is the source's, gives y + W x', the difference to the source's step is W (x - x') + r - r' at once.
 */
#include "calib/drift.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "calib/block_parts.h"
#include "calib/collect_run.h"
#include "calib/gram.h"
#include "calib/products.h"
#include "quant/blas.h"
#include "quant/cholesky.h"

enum {
    BATCH_TOKENS = 1024,
    SOLVE_ROWS = 128 /* of an item */
};

/* The groups of statistics_file.h, in the order they are run through. */
enum { QKV, ATTN_OUTPUT, GATE_UP, FFN_DOWN, N_GROUPS };

struct en_drift {
    en_collect_run run; /* its block: the source's layer */
    en_block coded;     /* the quantized layer; what has not been taken yet is the source's */
    float *x, *y;       /* streams of all tokens: x ahead by the group at hand */
    float *heads;       /* of the quantized model, all tokens */
    float *wanted;      /* of a batch, tokens x n_embd: what is missing */
    float *out;         /* of a batch, tokens x n_embd */
    float *gram;        /* E[x' x'^T] of the group at hand, then its factor */
    float *cross;       /* QKV, GATE_UP: E[(x - x') x'^T]; else E[(W (x - x') + r - r') x'^T] */
    float *change;      /* of a matrix; see correct_inputs() */
    size_t change_cap;
    uint64_t reached; /* groups of all layers that were run through */
};

/* ---- memory -------------------------------------------------------------------------------- */

static const en_hparams *numbers(const en_drift *d)
{
    return &d->run.decoder->hp;
}

static size_t n_inputs(const en_drift *d, unsigned group)
{
    return en_layer_group_of(numbers(d), group).n_inputs;
}

static size_t cross_floats(const en_drift *d, unsigned group)
{
    size_t n = n_inputs(d, group);
    return (group == QKV || group == GATE_UP ? n : numbers(d)->n_embd) * n;
}

static entro_status make_room(en_drift *d, entro_error *err)
{
    const en_hparams *hp = numbers(d);
    size_t n_tokens = (size_t)(d->run.n_sequences * d->run.text->n_positions);
    size_t n_batch = (size_t)d->run.n_batch * d->run.text->n_positions;
    size_t stream = hp->n_embd * sizeof(float), most_inputs = 0, most_cross = 0;
    for (unsigned g = 0; g < N_GROUPS; g++) {
        most_inputs = n_inputs(d, g) > most_inputs ? n_inputs(d, g) : most_inputs;
        most_cross = cross_floats(d, g) > most_cross ? cross_floats(d, g) : most_cross;
    }
    d->x = en_alloc_huge(n_tokens, stream);
    d->y = en_alloc_huge(n_tokens, stream);
    d->heads = en_alloc_huge(n_tokens, en_block_q_floats(hp) * sizeof(float));
    d->wanted = en_alloc_huge(n_batch, stream);
    d->out = en_alloc_huge(n_batch, stream);
    d->gram = en_alloc_huge(most_inputs, most_inputs * sizeof(float));
    d->cross = en_alloc_huge(most_cross, sizeof(float));
    return d->x && d->y && d->heads && d->wanted && d->out && d->gram && d->cross
               ? ENTRO_OK
               : en_fail_memory(err);
}

static entro_status open_all(en_drift *d, entro_error *err)
{
    en_collect_run *r = &d->run;
    uint32_t n_batch = BATCH_TOKENS / r->text->n_positions;
    EN_TRY(en_collect_prepare(r, n_batch > 0 ? n_batch : 1, err));
    EN_TRY(en_block_new(&d->coded, numbers(d), err));
    EN_TRY(make_room(d, err));
    EN_TRY(en_collect_embed(r, 0, r->n_sequences, d->x, err));
    memcpy(d->y, d->x, (size_t)r->n_sequences * en_collect_sequence_floats(r) * sizeof *d->y);
    return ENTRO_OK;
}

entro_status en_drift_open(en_drift **out, const en_decoder *decoder, const en_calib_text *text,
                           uint64_t n_tokens, en_job *job, entro_error *err)
{
    uint64_t want = (n_tokens + text->n_positions - 1) / text->n_positions;
    *out = NULL;
    if (text->n_sequences == 0)
        return en_fail(err, ENTRO_ERR_ARGUMENT,
                       "the text is shorter than one sequence of %u tokens; use a longer one",
                       text->n_positions);
    en_drift *d = en_alloc_zero(1, sizeof *d);
    if (d == NULL)
        return en_fail_memory(err);
    d->run = (en_collect_run){.decoder = decoder, .text = text, .job = job};
    d->run.n_sequences = want < text->n_sequences ? want : text->n_sequences;
    entro_status status = open_all(d, err);
    if (status == ENTRO_OK)
        *out = d;
    else
        en_drift_close(d);
    return status;
}

void en_drift_close(en_drift *d)
{
    if (d == NULL)
        return;
    en_collect_release(&d->run);
    en_block_free(&d->coded);
    float *all[] = {d->x, d->y, d->heads, d->wanted, d->out, d->gram, d->cross, d->change};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        en_free(all[i]);
    en_free(d);
}

uint64_t en_drift_tokens(const en_drift *d)
{
    return d->run.n_sequences * d->run.text->n_positions;
}

/* ---- where a matrix belongs ------------------------------------------------------------------ */

typedef struct place {
    uint64_t step; /* layer * N_GROUPS + group */
    size_t row;    /* its first, among those of the group */
    size_t n_rows, n_cols;
} place;

static bool find_in(const en_linear *matrices, uint32_t n, const char *tensor, place *at)
{
    at->row = 0;
    for (uint32_t i = 0; i < n; i++) {
        at->n_rows = (size_t)matrices[i].n_rows;
        at->n_cols = (size_t)matrices[i].n_cols;
        if (strcmp(matrices[i].name, tensor) == 0)
            return true;
        at->row += at->n_rows;
    }
    return false;
}

/* False: of no layer. */
static bool find(const en_drift *d, const char *tensor, place *at)
{
    const en_hparams *hp = numbers(d);
    for (uint32_t i = 0; i < hp->n_layers; i++) {
        const en_layer *l = &d->run.decoder->weights.layers[i];
        const en_linear *matrices[N_GROUPS] = {l->qkv, &l->attn_output, l->gate_up, &l->ffn_down};
        const uint32_t counts[N_GROUPS] = {en_arch_n_qkv(hp->arch), 1, en_arch_n_gate_up(hp->arch),
                                           1};
        for (unsigned g = 0; g < N_GROUPS; g++) {
            at->step = (uint64_t)i * N_GROUPS + g;
            if (find_in(matrices[g], counts[g], tensor, at))
                return true;
        }
    }
    return false;
}

static float *group_weights(const en_block *block, unsigned group)
{
    float *const all[N_GROUPS] = {block->qkv, block->attn_output, block->gate_up, block->ffn_down};
    return all[group];
}

/* ---- both models, a group further ------------------------------------------------------------ */

/* A batch of sequences: the tape's arrays are of these tokens. */
typedef struct batch {
    uint32_t n_sequences;
    size_t first, n_tokens;
    float *x, *y, *heads; /* of the batch */
} batch;

static batch batch_at(const en_drift *d, uint64_t sequence)
{
    const en_collect_run *r = &d->run;
    uint64_t left = r->n_sequences - sequence;
    batch b = {.n_sequences = left < r->n_batch ? (uint32_t)left : r->n_batch};
    b.first = (size_t)sequence * r->text->n_positions;
    b.n_tokens = (size_t)b.n_sequences * r->text->n_positions;
    b.x = d->x + b.first * numbers(d)->n_embd;
    b.y = d->y + b.first * numbers(d)->n_embd;
    b.heads = d->heads + b.first * en_block_q_floats(numbers(d));
    return b;
}

static entro_status steps(en_drift *d, const en_block *block, const batch *b, en_block_step first,
                          en_block_step last, entro_error *err)
{
    return en_block_steps(block, &d->run.rope, &d->run.tape, b->n_sequences, first, last, d->out,
                          d->run.job->pool, err);
}

static void copy(float *to, const float *from, size_t n)
{
    memcpy(to, from, n * sizeof *to);
}

static void subtract(float *x, const float *y, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] -= y[i];
}

/* 'wanted' holds what the source has; less what the quantized model has, and with the inputs of a batch, it goes into
 * the sums of the group at hand. */
static void add_sums(en_drift *d, const batch *b, const float *coded, const float *inputs, size_t n)
{
    bool add = b->first > 0;
    subtract(d->wanted, coded, b->n_tokens * numbers(d)->n_embd);
    en_pool *pool = d->run.job->pool;
    en_gram_cross(d->wanted, numbers(d)->n_embd, inputs, n, b->n_tokens, add, d->cross, pool);
    en_gram(inputs, n, b->n_tokens, n, EN_PRECISION_F32, add, d->gram, pool);
}

static entro_status run_qkv(en_drift *d, const batch *b, entro_error *err)
{
    en_block_tape *tape = &d->run.tape;
    size_t n = b->n_tokens * numbers(d)->n_embd;
    copy(tape->x, b->x, n);
    EN_TRY(steps(d, &d->run.block, b, EN_BLOCK_ATTN_NORM, EN_BLOCK_ATTN_NORM, err));
    copy(d->wanted, tape->attn_in, n);
    copy(tape->x, b->y, n);
    EN_TRY(steps(d, &d->coded, b, EN_BLOCK_ATTN_NORM, EN_BLOCK_ATTN_NORM, err));
    add_sums(d, b, tape->attn_in, tape->attn_in, numbers(d)->n_embd);
    return ENTRO_OK;
}

static entro_status run_attention(en_drift *d, const batch *b, entro_error *err)
{
    en_block_tape *tape = &d->run.tape;
    size_t n = b->n_tokens * numbers(d)->n_embd, q = en_block_q_floats(numbers(d));
    copy(tape->x, b->x, n);
    EN_TRY(steps(d, &d->run.block, b, EN_BLOCK_ATTN_NORM, EN_BLOCK_ATTN_OUTPUT, err));
    copy(b->x, tape->middle, n);
    copy(tape->x, b->y, n);
    EN_TRY(steps(d, &d->coded, b, EN_BLOCK_ATTN_NORM, EN_BLOCK_ATTN_OUTPUT, err));
    copy(b->heads, tape->attn_out, b->n_tokens * q);
    copy(d->wanted, b->x, n);
    add_sums(d, b, tape->middle, tape->attn_out, q);
    return ENTRO_OK;
}

static entro_status run_gate_up(en_drift *d, const batch *b, entro_error *err)
{
    en_block_tape *tape = &d->run.tape;
    size_t n = b->n_tokens * numbers(d)->n_embd;
    copy(tape->middle, b->x, n);
    EN_TRY(steps(d, &d->run.block, b, EN_BLOCK_FFN_NORM, EN_BLOCK_FFN_NORM, err));
    copy(d->wanted, tape->ffn_in, n);
    copy(tape->x, b->y, n);
    copy(tape->attn_out, b->heads, b->n_tokens * en_block_q_floats(numbers(d)));
    EN_TRY(steps(d, &d->coded, b, EN_BLOCK_ATTN_OUTPUT, EN_BLOCK_FFN_NORM, err));
    copy(b->y, tape->middle, n);
    add_sums(d, b, tape->ffn_in, tape->ffn_in, numbers(d)->n_embd);
    return ENTRO_OK;
}

static entro_status run_ffn_down(en_drift *d, const batch *b, entro_error *err)
{
    en_block_tape *tape = &d->run.tape;
    size_t n = b->n_tokens * numbers(d)->n_embd;
    copy(tape->middle, b->x, n);
    EN_TRY(steps(d, &d->run.block, b, EN_BLOCK_FFN_NORM, EN_BLOCK_FFN_DOWN, err));
    copy(b->x, d->out, n);
    copy(tape->middle, b->y, n);
    EN_TRY(steps(d, &d->coded, b, EN_BLOCK_FFN_NORM, EN_BLOCK_FFN_DOWN, err));
    copy(d->wanted, b->x, n);
    add_sums(d, b, d->out, tape->ffn_out, numbers(d)->n_ff);
    return ENTRO_OK;
}

/* The layer's ffn_down was taken: y leaves it. */
static entro_status leave_layer(en_drift *d, const batch *b, entro_error *err)
{
    size_t n = b->n_tokens * numbers(d)->n_embd;
    copy(d->run.tape.middle, b->y, n);
    EN_TRY(steps(d, &d->coded, b, EN_BLOCK_FFN_NORM, EN_BLOCK_FFN_DOWN, err));
    copy(b->y, d->out, n);
    return ENTRO_OK;
}

static entro_status run_all(en_drift *d,
                            entro_status (*run)(en_drift *d, const batch *b, entro_error *err),
                            entro_error *err)
{
    en_job *job = d->run.job;
    for (uint64_t s = 0; s < d->run.n_sequences; s += d->run.n_batch) {
        batch b = batch_at(d, s);
        EN_TRY(run(d, &b, err));
        EN_TRY(en_job_reach(job, d->run.item, job->state.done, err));
    }
    return ENTRO_OK;
}

static entro_status enter_layer(en_drift *d, uint32_t layer, entro_error *err)
{
    if (layer > 0)
        EN_TRY(run_all(d, leave_layer, err));
    EN_TRY(en_collect_load(&d->run, layer, err));
    d->coded.layer = d->run.block.layer;
    for (unsigned g = 0; g < N_GROUPS; g++) {
        en_layer_group group = en_layer_group_of(numbers(d), g);
        copy(group_weights(&d->coded, g), group_weights(&d->run.block, g),
             group.n_inputs * group.n_outputs);
    }
    return ENTRO_OK;
}

/* gram becomes its factor; of n x n means. */
static entro_status factor(en_drift *d, size_t n, entro_error *err)
{
    const en_covariance_ridge ridge = {.shrink = 0, .ridge = EN_DRIFT_RIDGE};
    float scale = 1.0f / (float)en_drift_tokens(d);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j <= i; j++)
            d->gram[i * n + j] *= scale;
    return en_cholesky(d->gram, n, &ridge, NULL, err);
}

/* So that the matrices of this group can be corrected. */
static entro_status reach(en_drift *d, uint64_t step, entro_error *err)
{
    static entro_status (*const run[N_GROUPS])(en_drift * d, const batch *b, entro_error *err) = {
        run_qkv, run_attention, run_gate_up, run_ffn_down};
    for (; d->reached <= step; d->reached++) {
        unsigned group = (unsigned)(d->reached % N_GROUPS);
        if (group == QKV)
            EN_TRY(enter_layer(d, (uint32_t)(d->reached / N_GROUPS), err));
        EN_TRY(run_all(d, run[group], err));
    }
    return factor(d, n_inputs(d, (unsigned)(step % N_GROUPS)), err);
}

/* ---- a matrix -------------------------------------------------------------------------------- */

typedef struct solving {
    const float *factor;
    float *change, *weights;
    float scale;
    size_t n_rows, n;
} solving;

/* Some rows of weights += scale change (L L^T)^-1 */
static void solve_rows(void *context, uint32_t item, uint32_t thread)
{
    (void)thread;
    const solving *s = context;
    size_t first = (size_t)item * SOLVE_ROWS, left = s->n_rows - first;
    size_t rows = left < SOLVE_ROWS ? left : SOLVE_ROWS;
    float *change = s->change + first * s->n, *weights = s->weights + first * s->n;
    const en_blas *blas = en_blas_get();
    int n = (int)s->n;
    blas->strsm(CblasRowMajor, CblasRight, CblasLower, CblasTrans, CblasNonUnit, (int)rows, n,
                s->scale, s->factor, n, change, n);
    blas->strsm(CblasRowMajor, CblasRight, CblasLower, CblasNoTrans, CblasNonUnit, (int)rows, n,
                1.0f, s->factor, n, change, n);
    for (size_t i = 0; i < rows * s->n; i++)
        weights[i] += change[i];
}

/* Of q, k, v and gate, up, where W times a covariance takes less than outputs of all tokens: W E[(x - x') x'^T]. */
static entro_status correct_inputs(en_drift *d, const float *weights, const place *at,
                                   float **change, entro_error *err)
{
    size_t n = at->n_rows * at->n_cols;
    if (n > d->change_cap) {
        en_free(d->change);
        d->change = en_alloc_huge(n, sizeof *d->change);
        d->change_cap = d->change != NULL ? n : 0;
    }
    if (d->change == NULL)
        return en_fail_memory(err);
    en_product product = {.x = weights,
                          .w = d->cross,
                          .y = d->change,
                          .n_tokens = at->n_rows,
                          .n_in = at->n_cols,
                          .n_out = at->n_cols};
    en_product_run(&product, d->run.job->pool);
    *change = d->change;
    return ENTRO_OK;
}

static entro_status correct(en_drift *d, const place *at, float *weights, entro_error *err)
{
    unsigned group = (unsigned)(at->step % N_GROUPS);
    if (d->reached <= at->step)
        EN_TRY(reach(d, at->step, err));
    assert(d->reached == at->step + 1);
    float *change = d->cross; /* of the only matrix of its group */
    if (group == QKV || group == GATE_UP)
        EN_TRY(correct_inputs(d, weights, at, &change, err));
    solving s = {.factor = d->gram,
                 .change = change,
                 .weights = weights,
                 .scale = EN_DRIFT_BLEND / (float)en_drift_tokens(d),
                 .n_rows = at->n_rows,
                 .n = at->n_cols};
    en_pool_run(d->run.job->pool, solve_rows, &s,
                (uint32_t)((at->n_rows + SOLVE_ROWS - 1) / SOLVE_ROWS));
    return ENTRO_OK;
}

entro_status en_drift_correct(en_drift *d, const char *tensor, float *weights, entro_error *err)
{
    place at;
    if (!find(d, tensor, &at))
        return ENTRO_OK;
    int n_blas_threads = en_blas_take();
    entro_status status = correct(d, &at, weights, err);
    en_blas_give_back(n_blas_threads);
    return status;
}

/* ---- what has become of it ------------------------------------------------------------------- */

typedef struct taking {
    en_drift_read_fn read;
    void *context;
    const int32_t *rows; /* NULL: one after the other */
    float *to;
    size_t n_cols;
} taking;

static void take_row(void *context, uint32_t item, uint32_t thread)
{
    (void)thread;
    const taking *t = context;
    uint64_t row = t->rows != NULL ? (uint64_t)t->rows[item] : item;
    t->read(t->context, row, t->to + (size_t)item * t->n_cols);
}

void en_drift_take(en_drift *d, const char *tensor, en_drift_read_fn read, void *context)
{
    place at;
    taking t = {.read = read, .context = context, .n_cols = numbers(d)->n_embd};
    if (find(d, tensor, &at)) {
        t.n_cols = at.n_cols;
        t.to = group_weights(&d->coded, (unsigned)(at.step % N_GROUPS)) + at.row * at.n_cols;
        en_pool_run(d->run.job->pool, take_row, &t, (uint32_t)at.n_rows);
    } else if (strcmp(tensor, d->run.decoder->weights.token_embd.name) == 0) {
        t.rows = en_calib_text_sequence(d->run.text, 0);
        t.to = d->y;
        en_pool_run(d->run.job->pool, take_row, &t, (uint32_t)en_drift_tokens(d));
    }
}
