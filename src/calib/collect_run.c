/* collect_run.c - see collect_run.h. */
#include "calib/collect_run.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "quant/finite.h"

/* ---- memory -------------------------------------------------------------------------------- */

entro_status en_collect_prepare(en_collect_run *r, uint32_t n_batch, entro_error *err)
{
    const en_decoder *d = r->decoder;
    uint32_t n_positions = r->text->n_positions;
    r->n_batch = n_batch;
    EN_TRY(en_block_new(&r->block, &d->hp, err));
    EN_TRY(en_block_tape_new(&r->tape, &d->hp, n_batch, n_positions, err));
    r->tape.precision = r->precision;
    EN_TRY(en_rope_new(&r->rope, &d->hp, &d->weights, n_positions, n_positions, err));
    en_rope_fill(&r->rope, 0, n_positions);
    return ENTRO_OK;
}

void en_collect_release(en_collect_run *r)
{
    en_block_free(&r->block);
    en_block_tape_free(&r->tape);
    en_rope_free(&r->rope);
}

/* ---- progress ------------------------------------------------------------------------------ */

double en_collect_forward_flops(const en_hparams *hp)
{
    double n_weights = 0;
    for (uint32_t g = 0; g < EN_LAYER_GROUPS; g++) {
        en_layer_group group = en_layer_group_of(hp, g);
        n_weights += (double)group.n_inputs * (double)group.n_outputs;
    }
    return 2 * n_weights;
}

double en_collect_covariance_flops(const en_hparams *hp)
{
    double flops = 0;
    for (uint32_t g = 0; g < EN_LAYER_GROUPS; g++) {
        double n = (double)en_layer_group_of(hp, g).n_inputs;
        flops += n * n;
    }
    return flops;
}

uint64_t en_collect_done(const en_collect_run *r)
{
    double share = r->flops_total > 0 ? r->flops_done / r->flops_total : 1;
    uint64_t done = (uint64_t)(share * (double)r->job->state.total);
    return done < r->job->state.total ? done : r->job->state.total;
}

entro_status en_collect_reach(en_collect_run *r, double flops, entro_error *err)
{
    r->flops_done += flops;
    entro_status status = en_job_reach(r->job, r->item, en_collect_done(r), err);
    return status == ENTRO_ERR_CANCELLED && r->folder != NULL
               ? en_fail(err, status,
                         "cancelled; statistics collected so far stay in %s, the same "
                         "command goes on from there",
                         r->folder)
               : status;
}

/* ---- finite numbers -------------------------------------------------------------------------- */

enum { CHECK_FLOATS = 1 << 16 };

typedef struct checking {
    const float *x;
    size_t n;
    _Atomic size_t bad; /* a number that is not finite; n: none */
} checking;

static void check_piece(void *context, uint32_t item, uint32_t thread)
{
    (void)thread;
    checking *c = context;
    size_t first = (size_t)item * CHECK_FLOATS, left = c->n - first;
    size_t n = left < CHECK_FLOATS ? left : CHECK_FLOATS,
           n_finite = en_finite_count(c->x + first, n);
    if (n_finite < n)
        c->bad = first + n_finite;
}

static size_t find_not_finite(const en_collect_run *r, const float *x, size_t n)
{
    checking c = {.x = x, .n = n, .bad = n};
    en_pool_run(r->job->pool, check_piece, &c, (uint32_t)((n + CHECK_FLOATS - 1) / CHECK_FLOATS));
    return c.bad;
}

static entro_status check_matrix(const en_collect_run *r, const en_linear *m, const float *w,
                                 entro_error *err)
{
    size_t n = (size_t)(m->n_rows * m->n_cols), bad = find_not_finite(r, w, n);
    if (bad == n)
        return ENTRO_OK;
    entro_status status = en_fail(err, ENTRO_ERR_FORMAT,
                                  "the weight in row %" PRIu64 ", column %" PRIu64
                                  " is %g, expected a finite number (damaged file?)",
                                  bad / m->n_cols, bad % m->n_cols, (double)w[bad]);
    en_error_place(err, "%s", m->name);
    return status;
}

/* ---- layers -------------------------------------------------------------------------------- */

static void forget(const en_linear *m)
{
    if (m->plain != NULL)
        en_source_forget(m->source, m->plain);
}

entro_status en_collect_read_matrix(en_collect_run *r, const en_linear *m, float *out,
                                    entro_error *err)
{
    EN_TRY(en_matrix_load(m, out, r->job->pool, err));
    forget(m);
    return check_matrix(r, m, out, err);
}

static entro_status check_side_by_side(const en_collect_run *r, const en_linear *m, uint32_t n,
                                       const float *w, entro_error *err)
{
    for (uint32_t i = 0; i < n; i++) {
        EN_TRY(check_matrix(r, &m[i], w, err));
        forget(&m[i]);
        w += m[i].n_rows * m[i].n_cols;
    }
    return ENTRO_OK;
}

entro_status en_collect_load(en_collect_run *r, uint32_t layer, entro_error *err)
{
    const en_layer *l = &r->decoder->weights.layers[layer];
    const en_arch *arch = r->decoder->hp.arch;
    snprintf(r->item, sizeof r->item, "blk.%" PRIu32, layer);
    EN_TRY(en_block_load(&r->block, l, r->job->pool, err));
    EN_TRY(check_side_by_side(r, l->qkv, en_arch_n_qkv(arch), r->block.qkv, err));
    EN_TRY(check_side_by_side(r, &l->attn_output, 1, r->block.attn_output, err));
    EN_TRY(check_side_by_side(r, l->gate_up, en_arch_n_gate_up(arch), r->block.gate_up, err));
    return check_side_by_side(r, &l->ffn_down, 1, r->block.ffn_down, err);
}

static entro_status not_finite(const en_collect_run *r, const char *what, size_t token, float x,
                               entro_error *err)
{
    entro_status status = en_fail(err, ENTRO_ERR_FORMAT,
                                  "%s %zu of the calibration text is %g, expected finite numbers: "
                                  "the model cannot be run on this text (damaged weights?)",
                                  what, token, (double)x);
    en_error_place(err, "%s", r->item);
    return status;
}

entro_status en_collect_forward(en_collect_run *r, const float *x, uint32_t n_sequences, float *out,
                                entro_error *err)
{
    size_t n = n_sequences * en_collect_sequence_floats(r);
    memcpy(r->tape.x, x, n * sizeof *x);
    EN_TRY(en_block_forward(&r->block, &r->rope, &r->tape, n_sequences, out, r->job->pool, err));
    if (out == NULL)
        return ENTRO_OK;
    size_t bad = find_not_finite(r, out, n);
    return bad == n ? ENTRO_OK
                    : not_finite(r, "the layer's output at token", bad / r->decoder->hp.n_embd,
                                 out[bad], err);
}

/* ---- embedding ------------------------------------------------------------------------------- */

entro_status en_collect_embed(en_collect_run *r, uint64_t first, uint64_t n_sequences, float *x,
                              entro_error *err)
{
    const en_linear *m = &r->decoder->weights.token_embd;
    const int32_t *ids = en_calib_text_sequence(r->text, first);
    size_t n = (size_t)(n_sequences * r->text->n_positions), n_embd = r->decoder->hp.n_embd;
    snprintf(r->item, sizeof r->item, "token_embd");
    for (size_t t = 0; t < n; t++)
        EN_TRY(en_source_read_rows(m->source, m->plain, (uint64_t)ids[t], 1, x + t * n_embd, err));
    forget(m);
    size_t bad = find_not_finite(r, x, n * n_embd);
    return bad == n * n_embd ? ENTRO_OK
                             : not_finite(r, "the embedding of token", bad / n_embd, x[bad], err);
}
