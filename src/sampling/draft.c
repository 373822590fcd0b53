/* draft.c - see draft.h. */
#include "sampling/draft.h"

#include <string.h>

#include "base/memory.h"

enum {
    MIN_MATCH = 2,     /* tokens that must be the same; one alone guesses wrong too often */
    MAX_MATCH = 12,    /* a longer one is no better a reason */
    TOKENS_A_MATCH = 2 /* tokens proposed for each token that matched */
};

struct entro_drafter {
    int32_t *tokens;
    size_t n, cap;
};

entro_status en_drafter_new(entro_drafter **out, entro_error *err)
{
    *out = en_alloc_zero(1, sizeof **out);
    return *out != NULL ? ENTRO_OK : en_fail_memory(err);
}

void en_drafter_free(entro_drafter *d)
{
    if (d == NULL)
        return;
    en_free(d->tokens);
    en_free(d);
}

entro_status en_drafter_accept(entro_drafter *d, const int32_t *tokens, size_t n, entro_error *err)
{
    size_t n_needed;
    if (!en_add(d->n, n, &n_needed) ||
        (n_needed > d->cap &&
         !en_grow((void **)&d->tokens, &d->cap, n_needed, SIZE_MAX / 8, sizeof *d->tokens)))
        return en_fail_memory(err);
    if (n > 0)
        memcpy(d->tokens + d->n, tokens, n * sizeof *tokens);
    d->n += n;
    return ENTRO_OK;
}

void en_drafter_truncate(entro_drafter *d, size_t n_keep)
{
    if (n_keep < d->n)
        d->n = n_keep;
}

/* How many tokens before 'end' are those before the end of the context. */
static size_t match_length(const entro_drafter *d, size_t end)
{
    size_t n = 0;
    while (n < MAX_MATCH && n < end && d->tokens[end - 1 - n] == d->tokens[d->n - 1 - n])
        n++;
    return n;
}

size_t en_drafter_propose(const entro_drafter *d, int32_t *draft, size_t n_max)
{
    size_t best = 0, best_end = 0;
    for (size_t end = d->n; end-- > 1 && best < MAX_MATCH;) { /* the latest of the longest */
        size_t n = match_length(d, end);
        if (n > best) {
            best = n;
            best_end = end;
        }
    }
    if (best < MIN_MATCH)
        return 0;
    size_t n = TOKENS_A_MATCH * best;
    n = n < n_max ? n : n_max;
    /* A repetition may run into the end of the context, and goes on as it began. */
    for (size_t i = 0; i < n; i++)
        draft[i] = best_end + i < d->n ? d->tokens[best_end + i] : draft[best_end + i - d->n];
    return n;
}
