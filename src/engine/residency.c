/*
 * residency.c - see residency.h.
 *
 * Matrices in coding 4 are packed in every case, unless a budget forbids it; they come first.
 *
 * The automatic choice is one of those in coding 2, made kind by kind (all gate matrices, all down
 * matrices ...): one token's product with those of a few layers in turn, so that they come from memory and
 * not from a cache, is timed coded, then packed.
 */
#include "engine/residency.h"

#include "base/cpu.h"
#include "base/memory.h"

enum {
    MAX_KINDS = 16,
    LAYERS_TIMED = 6,
    ROUNDS = 2,
    SHARE_OF_FREE_MEMORY = 2 /* at most one over this is taken without being asked for */
};
static const double worth_it = 0.95; /* packed, of the time coded, at most */

/* The matrices of one kind and coding, at most one a layer. */
typedef struct kind {
    en_linear **matrices;
    uint32_t n;
} kind;

typedef struct choice {
    en_decoder *decoder;
    const en_source *source;
    en_pool *pool;
    en_linear **all; /* kind after kind */
    kind kinds[MAX_KINDS];
    uint32_t n_kinds, n_rans_kinds; /* the latter are the first of them */
    float *x, *y;
} choice;

static void add_kind(choice *c, en_linear **matrices, uint32_t n)
{
    if (n > 0)
        c->kinds[c->n_kinds++] = (kind){matrices, n};
}

static bool is_listed(const en_linear *m, bool is_rans)
{
    return en_linear_can_pack(m) && (m->coded->strips->rans != NULL) == is_rans;
}

/* Lists matrix number 'which' of every layer, where it is in this coding; returns the end of the list. */
static en_linear **list_kind(choice *c, en_linear **at, uint32_t which, bool is_rans)
{
    en_weights *w = &c->decoder->weights;
    uint32_t n_qkv = en_arch_n_qkv(c->decoder->hp.arch);
    uint32_t n_gate_up = en_arch_n_gate_up(c->decoder->hp.arch), n = 0;
    for (uint32_t i = 0; i < w->n_layers; i++) {
        en_layer *l = &w->layers[i];
        en_linear *m = which < n_qkv                ? &l->qkv[which]
                       : which < n_qkv + n_gate_up  ? &l->gate_up[which - n_qkv]
                       : which == n_qkv + n_gate_up ? &l->attn_output
                                                    : &l->ffn_down;
        if (is_listed(m, is_rans))
            at[n++] = m;
    }
    add_kind(c, at, n);
    return at + n;
}

/* Those in one coding. */
static en_linear **list_coding(choice *c, en_linear **at, uint32_t n_layer, bool is_rans)
{
    en_linear *output = &c->decoder->weights.output;
    for (uint32_t i = 0; i < n_layer; i++)
        at = list_kind(c, at, i, is_rans);
    /* Of the embedding a token reads one row, which is decoded wherever it lies. */
    uint32_t n_output = is_listed(output, is_rans);
    if (n_output > 0)
        *at = output;
    add_kind(c, at, n_output);
    return at + n_output;
}

static entro_status list_kinds(choice *c, entro_error *err)
{
    const en_arch *arch = c->decoder->hp.arch;
    uint32_t n_layer = en_arch_n_qkv(arch) + en_arch_n_gate_up(arch) + 2;
    c->all = en_alloc((size_t)c->decoder->weights.n_layers * n_layer + 1, sizeof *c->all);
    if (c->all == NULL)
        return en_fail_memory(err);
    en_linear **at = list_coding(c, c->all, n_layer, true);
    c->n_rans_kinds = c->n_kinds;
    list_coding(c, at, n_layer, false);
    return ENTRO_OK;
}

/* The coded form stays where it is, in the file; its pages need not stay in memory, but for steps and orders. */
static entro_status pack(const choice *c, en_linear *m, entro_error *err)
{
    const en_tensor *stored = en_source_find(c->source, m->name);
    EN_TRY(en_linear_pack(m, stored != NULL ? c->source : NULL, stored, c->pool, err));
    if (stored != NULL) {
        en_source_map_huge(c->source, stored, false);
        en_source_forget(c->source, stored);
    }
    return ENTRO_OK;
}

static void unpack(const choice *c, en_linear *m)
{
    const en_tensor *stored = en_source_find(c->source, m->name);
    en_linear_unpack(m);
    if (stored != NULL)
        en_source_map_huge(c->source, stored, true);
}

static entro_status pack_first(const choice *c, const kind *k, uint32_t n, entro_error *err)
{
    for (uint32_t i = 0; i < n; i++)
        EN_TRY(pack(c, k->matrices[i], err));
    return ENTRO_OK;
}

/* Coding 4 is for files: decoded for every token it would take seconds. */
static entro_status pack_rans(const choice *c, entro_error *err)
{
    for (uint32_t i = 0; i < c->n_rans_kinds; i++)
        EN_TRY(pack_first(c, &c->kinds[i], c->kinds[i].n, err));
    return ENTRO_OK;
}

/* ---- a budget ---------------------------------------------------------------------------- */

static uint64_t coded_bytes(const en_linear *m)
{
    return m->coded->n_segment_bytes + m->coded->n_side_bytes;
}

/* Packs from the first matrix on, as long as all weights together stay below 'budget'; of those in rans also
 * what takes less packed. */
static entro_status fill_budget(choice *c, uint64_t budget, entro_error *err)
{
    uint64_t used = 0;
    for (uint32_t k = 0; k < c->n_kinds; k++)
        for (uint32_t i = 0; i < c->kinds[k].n; i++)
            used += coded_bytes(c->kinds[k].matrices[i]);
    for (uint32_t k = 0; k < c->n_kinds; k++)
        for (uint32_t i = 0; i < c->kinds[k].n; i++) {
            en_linear *m = c->kinds[k].matrices[i];
            uint64_t after = used - coded_bytes(m) + en_linear_pack_bytes(m);
            bool is_rans = k < c->n_rans_kinds;
            if (after > budget && !(is_rans && after < used))
                continue;
            EN_TRY(pack(c, m, err));
            /* Before, its lists were not known. */
            after = used - coded_bytes(m) + en_linear_pack_bytes(m);
            if (after <= budget || (is_rans && after < used))
                used = after;
            else
                unpack(c, m);
        }
    return ENTRO_OK;
}

/* ---- by measurement ---------------------------------------------------------------------- */

/* Seconds of one product with each of the first n. */
static entro_status time_products(choice *c, const kind *k, uint32_t n, double *seconds,
                                  entro_error *err)
{
    en_linear_scratch *scratch;
    EN_TRY(en_linear_scratch_new(&scratch, (const en_linear *const *)k->matrices, n,
                                 en_pool_n_threads(c->pool), err));
    entro_status status = ENTRO_OK;
    *seconds = 0;
    for (uint32_t round = 0; round < ROUNDS && status == ENTRO_OK; round++) {
        double start = en_clock_seconds();
        for (uint32_t i = 0; i < n && status == ENTRO_OK; i++) {
            en_linear_product product = {.matrix = k->matrices[i], .y = c->y};
            status = en_linear_apply(&product, 1, c->x, 0, 1, c->pool, scratch, err);
        }
        double taken = en_clock_seconds() - start;
        *seconds = round == 0 || taken < *seconds ? taken : *seconds;
    }
    en_linear_scratch_free(scratch);
    return status;
}

static entro_status make_vectors(choice *c, entro_error *err)
{
    uint64_t n_in = 0, n_out = 0;
    for (uint32_t k = 0; k < c->n_kinds; k++) {
        const en_linear *m = c->kinds[k].matrices[0];
        n_in = m->n_cols > n_in ? m->n_cols : n_in;
        n_out = m->n_rows > n_out ? m->n_rows : n_out;
    }
    c->x = en_alloc(n_in, sizeof *c->x);
    c->y = en_alloc(n_out, sizeof *c->y);
    if (c->x == NULL || c->y == NULL)
        return en_fail_memory(err);
    for (uint64_t i = 0; i < n_in; i++)
        c->x[i] = (float)(i % 7) - 3.0f;
    return ENTRO_OK;
}

static entro_status measure_kind(choice *c, const kind *k, entro_error *err)
{
    uint32_t n = k->n < LAYERS_TIMED ? k->n : LAYERS_TIMED;
    double coded, packed;
    EN_TRY(time_products(c, k, n, &coded, err));
    EN_TRY(pack_first(c, k, n, err));
    EN_TRY(time_products(c, k, n, &packed, err));
    if (packed < worth_it * coded)
        return pack_first(c, k, k->n, err);
    for (uint32_t i = 0; i < n; i++)
        unpack(c, k->matrices[i]);
    return ENTRO_OK;
}

static entro_status measure(choice *c, entro_error *err)
{
    uint64_t room = en_memory_available() / SHARE_OF_FREE_MEMORY;
    EN_TRY(pack_rans(c, err));
    if (c->n_kinds > c->n_rans_kinds)
        EN_TRY(make_vectors(c, err));
    for (uint32_t i = c->n_rans_kinds; i < c->n_kinds; i++) {
        uint64_t n_bytes = 0;
        for (uint32_t m = 0; m < c->kinds[i].n; m++)
            n_bytes += en_linear_pack_bytes(c->kinds[i].matrices[m]);
        if (n_bytes > room)
            continue;
        EN_TRY(measure_kind(c, &c->kinds[i], err));
        room -= c->kinds[i].matrices[0]->packed != NULL ? n_bytes : 0;
    }
    return ENTRO_OK;
}

/* ---- all of it --------------------------------------------------------------------------- */

static entro_status choose(choice *c, const entro_model_options *opt, entro_error *err)
{
    EN_TRY(list_kinds(c, err));
    switch (opt->keep) {
    case ENTRO_KEEP_CODED: return pack_rans(c, err);
    case ENTRO_KEEP_PACKED:
        for (uint32_t i = 0; i < c->n_kinds; i++)
            EN_TRY(pack_first(c, &c->kinds[i], c->kinds[i].n, err));
        return ENTRO_OK;
    case ENTRO_KEEP_WITHIN: return fill_budget(c, opt->ram_bytes, err);
    case ENTRO_KEEP_AUTO: return measure(c, err);
    }
    return en_fail(err, ENTRO_ERR_ARGUMENT, "option 'keep' is %d", (int)opt->keep);
}

static void count(const choice *c, en_residency *out)
{
    *out = (en_residency){0};
    for (uint32_t k = 0; k < c->n_kinds; k++)
        for (uint32_t i = 0; i < c->kinds[k].n; i++) {
            const en_linear *m = c->kinds[k].matrices[i];
            uint64_t packed = m->packed != NULL ? en_linear_pack_bytes(m) : 0;
            out->n_matrices++;
            out->n_packed += m->packed != NULL;
            out->packed_bytes += packed;
            out->weight_bytes += m->packed != NULL ? packed : coded_bytes(m);
        }
}

entro_status en_residency_choose(en_residency *out, en_decoder *decoder, const en_source *source,
                                 const entro_model_options *opt, entro_error *err)
{
    choice c = {.decoder = decoder, .source = source};
    EN_TRY(en_pool_new(&c.pool, opt->n_threads, err));
    entro_status status = choose(&c, opt, err);
    if (status == ENTRO_OK)
        count(&c, out);
    en_pool_free(c.pool);
    en_free(c.all);
    en_free(c.x);
    en_free(c.y);
    return status;
}
