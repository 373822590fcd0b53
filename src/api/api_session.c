/*
 * api_session.c - sessions, samplers and drafts.
 */
#include "api/api_options.h"
#include "engine/engine.h"
#include "sampling/draft.h"
#include "sampling/sampler.h"

entro_status entro_session_open(entro_session **out, const entro_model *model,
                                const entro_session_options *opt, entro_error *err)
{
    entro_session_options full;
    entro_session_options_init(&full);
    EN_TRY(en_options_merge(&full, sizeof full, opt, err));
    return en_session_open(out, model, &full, err);
}

void entro_session_close(entro_session *session)
{
    en_session_close(session);
}

entro_status entro_session_decode(entro_session *session, const entro_token *tokens,
                                  size_t n_tokens, entro_error *err)
{
    return en_session_decode(session, tokens, n_tokens, err);
}

entro_status entro_session_decode_all(entro_session *session, const entro_token *tokens,
                                      size_t n_tokens, float *logits, entro_error *err)
{
    return en_session_decode_all(session, tokens, n_tokens, logits, err);
}

const float *entro_session_logits(const entro_session *session)
{
    return en_session_logits(session);
}

uint32_t entro_session_n_past(const entro_session *session)
{
    return en_session_n_past(session);
}

uint32_t entro_session_n_ctx(const entro_session *session)
{
    return en_session_n_ctx(session);
}

void entro_session_truncate(entro_session *session, uint32_t n_keep)
{
    en_session_truncate(session, n_keep);
}

void entro_session_get_memory(const entro_session *session, entro_memory *memory)
{
    en_session_get_memory(session, memory);
}

entro_status entro_sampler_new(entro_sampler **out, uint32_t n_vocab,
                               const entro_sampler_options *opt, entro_error *err)
{
    entro_sampler_options full;
    entro_sampler_options_init(&full);
    EN_TRY(en_options_merge(&full, sizeof full, opt, err));
    return en_sampler_new(out, n_vocab, &full, err);
}

void entro_sampler_free(entro_sampler *sampler)
{
    en_sampler_free(sampler);
}

void entro_sampler_accept(entro_sampler *sampler, entro_token token)
{
    en_sampler_accept(sampler, token);
}

entro_token entro_sampler_sample(entro_sampler *sampler, const float *logits)
{
    return en_sampler_sample(sampler, logits);
}

entro_status entro_drafter_new(entro_drafter **out, entro_error *err)
{
    return en_drafter_new(out, err);
}

void entro_drafter_free(entro_drafter *drafter)
{
    en_drafter_free(drafter);
}

entro_status entro_drafter_accept(entro_drafter *drafter, const entro_token *tokens,
                                  size_t n_tokens, entro_error *err)
{
    return en_drafter_accept(drafter, tokens, n_tokens, err);
}

void entro_drafter_truncate(entro_drafter *drafter, size_t n_keep)
{
    en_drafter_truncate(drafter, n_keep);
}

size_t entro_drafter_propose(const entro_drafter *drafter, entro_token *draft, size_t n_max)
{
    return en_drafter_propose(drafter, draft, n_max);
}
