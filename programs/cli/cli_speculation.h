/*
 * cli_speculation.h - whether and how far to guess ahead while generating.
 *
 * Guesses never change the text, only its speed; 'auto' measures both ways and guesses when that has
 * been faster lately.
 */
#ifndef CLI_SPECULATION_H
#define CLI_SPECULATION_H

#include <entrollm/entrollm.h>

/* With the token before sixteen a pass, and eight where matrices are not in strips: so many give the very
 * numbers that one by one would have given. */
enum { CLI_MAX_DRAFT = 15, CLI_MAX_DRAFT_PLAIN = 7 };

typedef enum cli_speculate {
    CLI_SPECULATE_AUTO,
    CLI_SPECULATE_ON,
    CLI_SPECULATE_OFF
} cli_speculate;

typedef struct cli_speculation {
    cli_speculate mode; /* set by the caller */
    uint32_t n_vocab;   /* set by the caller */
    uint32_t n_most;    /* guesses a pass, at most CLI_MAX_DRAFT; set by the caller */
    float *logits;      /* of all tokens of a pass */

    entro_drafter *drafter;
    uint32_t n_passes, n_drafted, n_right; /* with guesses; of this run */
    /* seconds a token, lately: guessing, and not; 0: not known */
    double guessed, plain;
    uint32_t n_plain_left; /* tokens until guessing is tried again */
} cli_speculation;

/* Before a text is generated; 'past' is the context. */
entro_status cli_speculation_start(cli_speculation *s, const entro_token *past, size_t n_past,
                                   entro_error *err);
/* Guesses of what follows 'next', itself not in the context yet; 0: none, or not worth it. */
size_t cli_speculation_propose(cli_speculation *s, entro_token next, entro_token *draft,
                               size_t n_max);
/* What came of it: the first n_right of n_draft guesses were right; the pass took so many seconds. */
void cli_speculation_note(cli_speculation *s, const entro_token *draft, size_t n_draft,
                          size_t n_right, double seconds);
void cli_speculation_free(cli_speculation *s);

#endif
