/* cli_speculation.c - see cli_speculation.h. */
#include "cli_speculation.h"

#include <stdlib.h>

enum { PAUSE = 24 };              /* tokens without guesses after they did not pay */
static const double forget = 0.2; /* weight of the latest pass in a mean */

entro_status cli_speculation_start(cli_speculation *s, const entro_token *past, size_t n_past,
                                   entro_error *err)
{
    s->n_passes = s->n_drafted = s->n_right = s->n_plain_left = 0;
    s->guessed = 0;
    if (s->mode == CLI_SPECULATE_OFF)
        return ENTRO_OK;
    if (!s->logits)
        s->logits = malloc((size_t)(CLI_MAX_DRAFT + 1) * s->n_vocab * sizeof(*s->logits));
    if (!s->logits) {
        *err = (entro_error){.status = ENTRO_ERR_NOMEM, .offset = UINT64_MAX};
        return ENTRO_ERR_NOMEM;
    }
    entro_status status = s->drafter ? ENTRO_OK : entro_drafter_new(&s->drafter, err);
    if (status != ENTRO_OK)
        return status;
    entro_drafter_truncate(s->drafter, 0);
    return entro_drafter_accept(s->drafter, past, n_past, err);
}

size_t cli_speculation_propose(cli_speculation *s, entro_token next, entro_token *draft,
                               size_t n_max)
{
    if (s->mode == CLI_SPECULATE_OFF)
        return 0;
    /* Without memory for one more token there are no more guesses, but the text goes on. */
    if (entro_drafter_accept(s->drafter, &next, 1, NULL) != ENTRO_OK) {
        s->mode = CLI_SPECULATE_OFF;
        return 0;
    }
    /* The first tokens tell what a pass without guesses takes. */
    if (s->mode == CLI_SPECULATE_AUTO && (s->plain == 0 || s->n_plain_left > 0))
        return 0;
    return entro_drafter_propose(s->drafter, draft, n_max);
}

static void mean_in(double *mean, double value)
{
    *mean = *mean == 0 ? value : *mean + forget * (value - *mean);
}

void cli_speculation_note(cli_speculation *s, const entro_token *draft, size_t n_draft,
                          size_t n_right, double seconds)
{
    if (n_right > 0 && entro_drafter_accept(s->drafter, draft, n_right, NULL) != ENTRO_OK)
        s->mode = CLI_SPECULATE_OFF;
    if (n_draft == 0) {
        mean_in(&s->plain, seconds);
        s->n_plain_left -= s->n_plain_left > 0;
        return;
    }
    s->n_passes++;
    s->n_drafted += (uint32_t)n_draft;
    s->n_right += (uint32_t)n_right;
    mean_in(&s->guessed, seconds / (double)(n_right + 1));
    if (s->mode == CLI_SPECULATE_AUTO && s->guessed > s->plain) {
        s->n_plain_left = PAUSE;
        s->guessed = 0; /* a new chance afterwards */
    }
}

void cli_speculation_free(cli_speculation *s)
{
    free(s->logits);
    entro_drafter_free(s->drafter);
    s->logits = NULL;
    s->drafter = NULL;
}
