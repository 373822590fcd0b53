/*
 * cli_generate.h - prompt in, text out: the loop shared by one-shot runs and conversations.
 */
#ifndef CLI_GENERATE_H
#define CLI_GENERATE_H

#include "cli_options.h"
#include "cli_speculation.h"
#include "cli_terminal.h"

#include <entrollm/entrollm.h>

typedef enum cli_finish {
    CLI_FINISH_END,      /* the model said so */
    CLI_FINISH_STOP,     /* a stop string */
    CLI_FINISH_LENGTH,   /* -n tokens */
    CLI_FINISH_CONTEXT,  /* the context is full */
    CLI_FINISH_INTERRUPT /* Ctrl-C */
} cli_finish;

typedef struct cli_generator {
    /* set by the caller */
    const entro_model *model;
    entro_session *session;
    entro_sampler *sampler;
    const cli_list *stops;
    int64_t n_predict; /* -1: until the model ends */
    bool show;         /* write the text to stdout as it comes */
    bool show_special;
    bool ignore_end;
    cli_speculation speculation; /* 'mode' and 'n_vocab' */
    cli_progress progress;

    /* results; 'text' is cut before a stop string */
    char *text;
    size_t n_text;
    cli_finish finish;
    uint32_t n_prompt, n_generated, n_evaluated;
    double prompt_seconds, generate_seconds;

    /* tokens in the context, so that a conversation evaluates only what is new */
    entro_token *past;
    size_t n_past, past_cap;
    size_t text_cap, n_shown;
    bool stopped; /* by a stop string */
} cli_generator;

/* Makes the context hold exactly these tokens, keeping the beginning it has already.  Says what is
 * wrong and returns an exit code; 'finish' tells of an interruption. */
int cli_generator_prompt(cli_generator *g, const entro_token *tokens, size_t n_tokens);

/* Continues; returns an exit code. */
int cli_generator_run(cli_generator *g);

void cli_generator_free(cli_generator *g); /* the buffers, not the handles */

const char *cli_finish_name(cli_finish finish);

#endif
