/*
 * statistics.c - see statistics.h.
 *
 * Importances are small and kept; covariances stay in their files, which are opened, checked and closed
 * again with each question.
 */
#include "calib/statistics.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "calib/gradients.h"
#include "calib/statistics_file.h"
#include "calib/statistics_tied.h"
#include "quant/row_blocks.h"

/* What is known about a matrix, and where. */
typedef struct entry {
    const char *name;
    size_t site; /* EN_LAYER_GROUPS a layer, then output, then embedding */
    size_t n_rows, n_cols;
    const float *importance; /* NULL: the sum of two uses */
    uint32_t matrix;         /* its number in the group */
} entry;

struct en_statistics {
    char *folder;
    en_pool *pool;
    const en_hparams *hp;
    en_statistics_identity id;
    bool is_tied;
    entry *entries;
    size_t n_entries;
    float *layer_rows;               /* importances of all layers, one behind the other */
    float *output_rows, *token_rows; /* n_vocab each */
    bool is_weighed;
    en_tied_weights tied;
};

static size_t output_site(const en_statistics *s)
{
    return (size_t)EN_LAYER_GROUPS * s->hp->n_layers;
}

/* ---- opening --------------------------------------------------------------------------------- */

static void add_entries(en_statistics *s, const en_linear *matrices, uint32_t n_matrices,
                        size_t site, const float *importance)
{
    for (uint32_t i = 0; i < n_matrices; i++) {
        const en_linear *m = &matrices[i];
        s->entries[s->n_entries++] = (entry){.name = m->name,
                                             .site = site,
                                             .n_rows = (size_t)m->n_rows,
                                             .n_cols = (size_t)m->n_cols,
                                             .importance = importance,
                                             .matrix = i};
        importance += m->n_rows;
    }
}

static void list_layer(en_statistics *s, const en_layer *l, uint32_t layer, const float *rows)
{
    const en_linear *matrices[] = {l->qkv, &l->attn_output, l->gate_up, &l->ffn_down};
    const uint32_t counts[] = {en_arch_n_qkv(s->hp->arch), 1, en_arch_n_gate_up(s->hp->arch), 1};
    for (uint32_t g = 0; g < EN_LAYER_GROUPS; g++) {
        add_entries(s, matrices[g], counts[g], (size_t)EN_LAYER_GROUPS * layer + g, rows);
        rows += en_layer_group_of(s->hp, g).n_outputs;
    }
}

static size_t layer_rows(const en_hparams *hp)
{
    size_t n = 0;
    for (uint32_t g = 0; g < EN_LAYER_GROUPS; g++)
        n += en_layer_group_of(hp, g).n_outputs;
    return n;
}

static entro_status list_matrices(en_statistics *s, const en_decoder *decoder, entro_error *err)
{
    const en_weights *w = &decoder->weights;
    enum { PER_LAYER = 3 + 1 + 2 + 1 };
    s->entries = en_alloc((size_t)PER_LAYER * w->n_layers + 2, sizeof *s->entries);
    s->layer_rows = en_alloc(w->n_layers * layer_rows(s->hp), sizeof *s->layer_rows);
    s->output_rows = en_alloc(s->hp->n_vocab, sizeof *s->output_rows);
    s->token_rows = en_alloc(s->hp->n_vocab, sizeof *s->token_rows);
    if (!s->entries || !s->layer_rows || !s->output_rows || !s->token_rows)
        return en_fail_memory(err);
    for (uint32_t i = 0; i < w->n_layers; i++)
        list_layer(s, &w->layers[i], i, s->layer_rows + i * layer_rows(s->hp));
    s->is_tied = w->output.plain == w->token_embd.plain;
    add_entries(s, &w->output, 1, output_site(s), s->output_rows);
    if (s->is_tied)
        s->entries[s->n_entries - 1].importance = NULL;
    else
        add_entries(s, &w->token_embd, 1, output_site(s) + 1, s->token_rows);
    return ENTRO_OK;
}

static entro_status read_fisher(en_statistics *s, const en_statistics_file *f, entro_error *err)
{
    float *rows = s->layer_rows;
    char name[64];
    for (uint32_t i = 0; i < s->hp->n_layers; i++) {
        for (uint32_t g = 0; g < EN_LAYER_GROUPS; g++) {
            en_layer_group group = en_layer_group_of(s->hp, g);
            en_importance_name(name, sizeof name, &group, i);
            EN_TRY(en_statistics_file_vector(f, name, group.n_outputs, rows, err));
            rows += group.n_outputs;
        }
    }
    EN_TRY(en_statistics_file_vector(f, EN_OUTPUT_IMPORTANCE, s->hp->n_vocab, s->output_rows, err));
    EN_TRY(en_statistics_file_vector(f, EN_TOKENS_IMPORTANCE, s->hp->n_vocab, s->token_rows, err));
    return en_statistics_file_check(f, EN_TOKENS_COVARIANCE, false, s->hp->n_embd, err);
}

static entro_status check_gradients(const en_statistics *s, const en_statistics_file *f,
                                    entro_error *err)
{
    char name[64];
    EN_TRY(en_statistics_file_check(f, EN_GRADIENT_TOKENS, true, 1, err));
    for (uint32_t g = 0; g < EN_GRADIENT_GROUPS; g++) {
        en_layer_group group = en_layer_group_of(s->hp, g);
        en_gradient_group matrices = en_gradient_group_of(s->hp, g);
        for (uint32_t m = 0; m < matrices.n_matrices; m++)
            for (size_t b = 0; b < en_row_blocks(matrices.n_rows[m]); b++) {
                size_t n = en_row_block_first(matrices.n_rows[m], b + 1) -
                           en_row_block_first(matrices.n_rows[m], b);
                en_gradient_name(name, sizeof name, &group, m, b);
                EN_TRY(en_statistics_file_check(f, name, false, n, err));
            }
    }
    return ENTRO_OK;
}

static entro_status check_items(en_statistics *s, const en_statistics_file *f,
                                en_statistics_kind kind, entro_error *err)
{
    if (kind == EN_STATISTICS_FISHER)
        return read_fisher(s, f, err);
    if (kind == EN_STATISTICS_GRADIENTS)
        return check_gradients(s, f, err);
    if (kind == EN_STATISTICS_OUTPUT)
        return en_statistics_file_check(f, EN_OUTPUT_COVARIANCE, false, s->hp->n_embd, err);
    for (uint32_t g = 0; g < EN_LAYER_GROUPS; g++) {
        en_layer_group group = en_layer_group_of(s->hp, g);
        EN_TRY(en_statistics_file_check(f, group.inputs, false, group.n_inputs, err));
    }
    return ENTRO_OK;
}

/* fisher.gguf comes first; the others must be of the same text as it. */
static entro_status check_identity(en_statistics *s, const en_statistics_identity *found,
                                   en_statistics_kind kind, entro_error *err)
{
    if (!en_statistics_same_model(found, &s->id))
        return en_fail(err, ENTRO_ERR_ARGUMENT,
                       "statistics of another model: of a %s (weights %016" PRIx64
                       "), expected a %s (weights %016" PRIx64
                       "); name another folder, or remove this one and collect again",
                       found->model, found->model_hash, s->id.model, s->id.model_hash);
    if (kind == EN_STATISTICS_FISHER)
        s->id = *found;
    else if (!en_statistics_same_text(found, &s->id))
        return en_fail(
            err, ENTRO_ERR_NOT_FOUND,
            "is of another text (%s) or other settings than fisher.gguf (%s): collecting "
            "was not finished; collect again",
            found->text, s->id.text);
    return ENTRO_OK;
}

static entro_status open_file(const en_statistics *s, en_statistics_file *f,
                              en_statistics_kind kind, uint32_t layer, entro_error *err)
{
    char *path = en_statistics_path(s->folder, kind, layer);
    if (path == NULL)
        return en_fail_memory(err);
    entro_status status = en_statistics_file_open(f, path, kind, layer, err);
    en_free(path);
    return status;
}

static entro_status check_file(en_statistics *s, en_statistics_kind kind, uint32_t layer,
                               entro_error *err)
{
    en_statistics_file f;
    EN_TRY(open_file(s, &f, kind, layer, err));
    entro_status status = check_identity(s, &f.id, kind, err);
    if (status == ENTRO_OK)
        status = check_items(s, &f, kind, err);
    if (status != ENTRO_OK) {
        char *path = en_statistics_path(s->folder, kind, layer);
        if (path != NULL)
            en_error_place(err, "%s", path);
        en_free(path);
    }
    en_statistics_file_close(&f);
    return status;
}

static entro_status open_new(en_statistics *s, const char *folder, const en_decoder *decoder,
                             entro_error *err)
{
    s->folder = en_strndup(folder, strlen(folder));
    if (s->folder == NULL)
        return en_fail_memory(err);
    EN_TRY(en_statistics_identify(&s->id, decoder, err));
    EN_TRY(list_matrices(s, decoder, err));
    EN_TRY(check_file(s, EN_STATISTICS_FISHER, 0, err));
    for (uint32_t i = 0; i < s->hp->n_layers; i++) {
        EN_TRY(check_file(s, EN_STATISTICS_GRADIENTS, i, err));
        EN_TRY(check_file(s, EN_STATISTICS_LAYER, i, err));
    }
    return check_file(s, EN_STATISTICS_OUTPUT, 0, err);
}

entro_status en_statistics_open(en_statistics **out, const char *folder, const en_decoder *decoder,
                                en_pool *pool, entro_error *err)
{
    en_statistics *s = en_alloc_zero(1, sizeof *s);
    if (s == NULL)
        return en_fail_memory(err);
    s->pool = pool;
    s->hp = &decoder->hp;
    entro_status status = open_new(s, folder, decoder, err);
    if (status != ENTRO_OK) {
        en_statistics_close(s);
        return status;
    }
    *out = s;
    return ENTRO_OK;
}

void en_statistics_close(en_statistics *s)
{
    if (s == NULL)
        return;
    en_free(s->folder);
    en_free(s->entries);
    en_free(s->layer_rows);
    en_free(s->output_rows);
    en_free(s->token_rows);
    en_free(s);
}

/* ---- asking ---------------------------------------------------------------------------------- */

void en_statistics_get_info(const en_statistics *s, en_statistics_info *info)
{
    *info = (en_statistics_info){.n_tokens = s->id.n_tokens,
                                 .n_fisher_tokens = s->id.n_fisher_tokens,
                                 .n_positions = s->id.n_positions};
    snprintf(info->text, sizeof info->text, "%s", s->id.text);
}

static const entry *find(const en_statistics *s, const char *tensor)
{
    for (size_t i = 0; i < s->n_entries; i++)
        if (strcmp(s->entries[i].name, tensor) == 0)
            return &s->entries[i];
    return NULL;
}

bool en_statistics_has(const en_statistics *s, const char *tensor)
{
    return find(s, tensor) != NULL;
}

size_t en_statistics_site(const en_statistics *s, const char *tensor)
{
    const entry *e = find(s, tensor);
    return e != NULL ? e->site : SIZE_MAX;
}

/* A covariance of a file, which must still be the one that was opened. */
static entro_status read_covariance(const en_statistics *s, en_statistics_kind kind, uint32_t layer,
                                    const char *name, size_t n, float *h, entro_error *err)
{
    en_statistics_file f;
    EN_TRY(open_file(s, &f, kind, layer, err));
    entro_status status = ENTRO_OK;
    if (!en_statistics_same_model(&f.id, &s->id) || !en_statistics_same_text(&f.id, &s->id))
        status = en_fail(err, ENTRO_ERR_ARGUMENT, "was replaced while it was in use");
    if (status == ENTRO_OK)
        status = en_statistics_file_covariance(&f, name, n, h, s->pool, err);
    en_statistics_file_close(&f);
    char *path = status != ENTRO_OK ? en_statistics_path(s->folder, kind, layer) : NULL;
    if (path != NULL)
        en_error_place(err, "%s", path);
    en_free(path);
    return status;
}

static entro_status site_covariance(const en_statistics *s, size_t site, float *h, entro_error *err)
{
    if (site == output_site(s))
        return read_covariance(s, EN_STATISTICS_OUTPUT, 0, EN_OUTPUT_COVARIANCE, s->hp->n_embd, h,
                               err);
    if (site > output_site(s))
        return read_covariance(s, EN_STATISTICS_FISHER, 0, EN_TOKENS_COVARIANCE, s->hp->n_embd, h,
                               err);
    en_layer_group group = en_layer_group_of(s->hp, (uint32_t)(site % EN_LAYER_GROUPS));
    return read_covariance(s, EN_STATISTICS_LAYER, (uint32_t)(site / EN_LAYER_GROUPS), group.inputs,
                           group.n_inputs, h, err);
}

/* The three buffers are n_embd x n_embd floats; 'covariance' is the result. */
static entro_status weigh_tied(en_statistics *s, float *covariance, float *importance,
                               float *gradients, float *work, entro_error *err)
{
    size_t n = s->hp->n_embd, n_vocab = s->hp->n_vocab;
    EN_TRY(site_covariance(s, output_site(s), covariance, err));
    EN_TRY(site_covariance(s, output_site(s) + 1, gradients, err));
    const en_tied_use uses[2] = {{covariance, s->output_rows, s->id.n_tokens},
                                 {gradients, s->token_rows, s->id.n_fisher_tokens}};
    if (!s->is_weighed)
        EN_TRY(en_tied_weigh(&s->tied, uses, n, n_vocab, work, err));
    s->is_weighed = true;
    en_tied_importance(&s->tied, uses, n_vocab, importance);
    en_tied_covariance(&s->tied, uses, n, covariance);
    return ENTRO_OK;
}

static entro_status tied(en_statistics *s, float *covariance, float *importance, entro_error *err)
{
    size_t n = (size_t)s->hp->n_embd * s->hp->n_embd;
    float *scratch = en_alloc(3 * n, sizeof *scratch);
    if (scratch == NULL)
        return en_fail_memory(err);
    entro_status status = weigh_tied(s, covariance != NULL ? covariance : scratch + 2 * n,
                                     importance, scratch, scratch + n, err);
    en_free(scratch);
    return status;
}

entro_status en_statistics_of(en_statistics *s, const char *tensor, float *covariance,
                              float *importance, uint64_t *n_tokens, entro_error *err)
{
    const entry *e = find(s, tensor);
    if (e == NULL)
        return en_fail(err, ENTRO_ERR_NOT_FOUND, "there are no statistics of a tensor %s", tensor);
    if (e->importance == NULL) {
        EN_TRY(tied(s, covariance, importance, err));
        *n_tokens = s->tied.n_tokens;
        return ENTRO_OK;
    }
    if (covariance != NULL)
        EN_TRY(site_covariance(s, e->site, covariance, err));
    memcpy(importance, e->importance, e->n_rows * sizeof *importance);
    *n_tokens = e->site > output_site(s) ? s->id.n_fisher_tokens : s->id.n_tokens;
    return ENTRO_OK;
}

bool en_statistics_is_embedding(const en_statistics *s, const char *tensor)
{
    const entry *e = find(s, tensor);
    return e != NULL && (e->site > output_site(s) || e->importance == NULL);
}

/* ---- gradients ------------------------------------------------------------------------------- */

bool en_statistics_has_gradients(const en_statistics *s, const char *tensor)
{
    const entry *e = find(s, tensor);
    return e != NULL && e->site < output_site(s);
}

static entro_status read_blocks(const en_statistics *s, const entry *e, en_statistics_file *f,
                                float *blocks, uint64_t *n_tokens, entro_error *err)
{
    char name[64];
    float tokens;
    en_layer_group group = en_layer_group_of(s->hp, (uint32_t)(e->site % EN_LAYER_GROUPS));
    if (!en_statistics_same_model(&f->id, &s->id) || !en_statistics_same_text(&f->id, &s->id))
        return en_fail(err, ENTRO_ERR_ARGUMENT, "was replaced while it was in use");
    EN_TRY(en_statistics_file_vector(f, EN_GRADIENT_TOKENS, 1, &tokens, err));
    *n_tokens = tokens < 0x1p60f ? (uint64_t)tokens : 0;
    for (size_t b = 0; b < en_row_blocks(e->n_rows); b++) {
        size_t n = en_row_block_first(e->n_rows, b + 1) - en_row_block_first(e->n_rows, b);
        en_gradient_name(name, sizeof name, &group, e->matrix, b);
        EN_TRY(en_statistics_file_covariance(f, name, n, blocks, s->pool, err));
        blocks += n * n;
    }
    return ENTRO_OK;
}

entro_status en_statistics_gradients(const en_statistics *s, const char *tensor, float *blocks,
                                     uint64_t *n_tokens, entro_error *err)
{
    const entry *e = find(s, tensor);
    if (e == NULL || e->site >= output_site(s))
        return en_fail(err, ENTRO_ERR_NOT_FOUND, "there are no gradients of a tensor %s", tensor);
    uint32_t layer = (uint32_t)(e->site / EN_LAYER_GROUPS);
    en_statistics_file f;
    EN_TRY(open_file(s, &f, EN_STATISTICS_GRADIENTS, layer, err));
    entro_status status = read_blocks(s, e, &f, blocks, n_tokens, err);
    en_statistics_file_close(&f);
    char *path =
        status != ENTRO_OK ? en_statistics_path(s->folder, EN_STATISTICS_GRADIENTS, layer) : NULL;
    if (path != NULL)
        en_error_place(err, "%s", path);
    en_free(path);
    return status;
}
