/*
 * draft.h - guesses the next tokens from the context: prompt-lookup speculation.
 *
 * Where the last few tokens occurred before, what followed them there is proposed.  Costs
 * nothing when wrong but the tokens evaluated in vain; summaries, edits and code repeat much.
 * Source: A. Saxena, "Prompt Lookup Decoding", 2023.
 */
#ifndef EN_SAMPLING_DRAFT_H
#define EN_SAMPLING_DRAFT_H

#include "base/status.h"

/* The public handle is this one. */
entro_status en_drafter_new(entro_drafter **out, entro_error *err);
void en_drafter_free(entro_drafter *d); /* NULL is fine */
/* The context grows by these tokens. */
entro_status en_drafter_accept(entro_drafter *d, const int32_t *tokens, size_t n, entro_error *err);
/* The context is cut to its first n_keep tokens. */
void en_drafter_truncate(entro_drafter *d, size_t n_keep);
/* At most n_max tokens that may follow the context; returns how many. */
size_t en_drafter_propose(const entro_drafter *d, int32_t *draft, size_t n_max);

#endif
