/*
 * model_open.c - source, container, weights and tokenizer become one handle.
 */
#include "base/memory.h"
#include "engine/engine.h"
#include "model/decoder.h"

static entro_status copy_string(char **out, const en_meta *meta, const char *key, entro_error *err)
{
    en_span s = en_meta_string(meta, key);
    *out = en_strndup(s.n > 0 ? s.p : "", s.n);
    return *out != NULL ? ENTRO_OK : en_fail_memory(err);
}

static entro_status copy_strings(entro_model *m, entro_error *err)
{
    const en_meta *meta = en_source_meta(m->source);
    EN_TRY(copy_string(&m->architecture, meta, "general.architecture", err));
    EN_TRY(copy_string(&m->name, meta, "general.name", err));
    EN_TRY(copy_string(&m->recipe, meta, "entrollm.recipe", err));
    return copy_string(&m->tool, meta, "entrollm.tool", err);
}

static entro_status load(entro_model *m, const entro_model_options *opt, entro_error *err)
{
    if (en_container_is(m->source))
        EN_TRY(en_container_open(&m->container, m->source, err));
    EN_TRY(copy_strings(m, err));
    if (opt->metadata_only)
        return ENTRO_OK;
    EN_TRY(en_decoder_new(&m->decoder, m->source, m->container, err));
    if (m->container != NULL)
        EN_TRY(en_residency_choose(&m->residency, m->decoder, m->source, opt, err));
    entro_status status = en_tokenizer_new(&m->tokenizer, en_source_meta(m->source), err);
    /* A model without tokenizer opens; only text is refused, when it comes. */
    return status == ENTRO_ERR_NOT_FOUND ? ENTRO_OK : status;
}

entro_status en_model_open(entro_model **out, const char *path, const entro_model_options *opt,
                           entro_error *err)
{
    static const entro_model_options coded = {.keep = ENTRO_KEEP_CODED};
    entro_model *m = en_alloc_zero(1, sizeof *m);
    if (m == NULL)
        return en_fail_memory(err);
    if (opt == NULL)
        opt = &coded;
    /* A missing tokenizer fills an error that is then forgiven: the caller's stays untouched. */
    entro_error found = {0};
    entro_status status = en_source_open(&m->source, path, &found);
    if (status == ENTRO_OK) {
        status = load(m, opt, &found);
        if (status != ENTRO_OK)
            en_error_place(&found, "%s", path);
    }
    if (status != ENTRO_OK) {
        if (err != NULL)
            *err = found;
        en_model_close(m);
        return status;
    }
    *out = m;
    return ENTRO_OK;
}

void en_model_close(entro_model *model)
{
    if (model == NULL)
        return;
    en_tokenizer_free(model->tokenizer);
    en_decoder_free(model->decoder);
    en_container_close(model->container);
    en_source_close(model->source);
    en_free(model->architecture);
    en_free(model->name);
    en_free(model->recipe);
    en_free(model->tool);
    en_free(model);
}

uint32_t en_model_n_vocab(const entro_model *model)
{
    return model->decoder->hp.n_vocab;
}
