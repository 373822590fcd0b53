/*
 * cli_generate.c - the generation loop and its stop strings.
 *
 *   text:  | shown | held back |      what is held back may turn out to begin a stop string
 *
 * Invariant: no stop string begins in the shown part, because the longest end of the text that
 * begins a stop string is always held back.
 */
#include "cli_generate.h"

#include "cli_format.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PROMPT_STEP = 256 }; /* tokens between two looks at Ctrl-C */

const char *cli_finish_name(cli_finish finish)
{
    static const char *const names[] = {"end", "stop", "length", "context", "interrupted"};
    return names[finish];
}

void cli_generator_free(cli_generator *g)
{
    cli_speculation_free(&g->speculation);
    free(g->text);
    free(g->past);
    g->text = NULL;
    g->past = NULL;
}

static bool remember(cli_generator *g, const entro_token *tokens, size_t n)
{
    if (g->n_past + n > g->past_cap) {
        size_t cap = (g->n_past + n) * 2 + 64;
        entro_token *past = realloc(g->past, cap * sizeof(*past));
        if (!past)
            return false;
        g->past = past;
        g->past_cap = cap;
    }
    memcpy(g->past + g->n_past, tokens, n * sizeof(*tokens));
    g->n_past += n;
    return true;
}

static bool append_text(cli_generator *g, const char *text, size_t n)
{
    if (g->n_text + n + 1 > g->text_cap) {
        size_t cap = (g->n_text + n) * 2 + 256;
        char *grown = realloc(g->text, cap);
        if (!grown)
            return false;
        g->text = grown;
        g->text_cap = cap;
    }
    if (n)
        memcpy(g->text + g->n_text, text, n);
    g->n_text += n;
    g->text[g->n_text] = 0;
    return true;
}

/* ---- prompt ----------------------------------------------------------------------------- */

static int refuse_length(const cli_generator *g, size_t n_tokens)
{
    unsigned long long wanted = 256;
    entro_model_info info;
    entro_model_get_info(g->model, &info);
    while (wanted <= n_tokens)
        wanted *= 2;
    if (info.n_ctx_train > 0 && n_tokens >= info.n_ctx_train)
        return cli_fail_text("the prompt has %zu tokens, more than the %u that the model was "
                             "trained for; shorten it",
                             n_tokens, info.n_ctx_train);
    if (info.n_ctx_train > 0 && wanted > info.n_ctx_train)
        wanted = info.n_ctx_train;
    return cli_fail_text("the prompt has %zu tokens, the context holds %u and the text needs some "
                         "too; '-c %llu' makes room",
                         n_tokens, entro_session_n_ctx(g->session), wanted);
}

int cli_generator_prompt(cli_generator *g, const entro_token *tokens, size_t n_tokens)
{
    entro_error err = {.status = ENTRO_OK};
    g->n_prompt = g->n_generated = g->n_evaluated = 0;
    g->prompt_seconds = g->generate_seconds = 0;
    if (n_tokens == 0)
        return cli_fail_text("the prompt is empty");
    if (n_tokens >= entro_session_n_ctx(g->session))
        return refuse_length(g, n_tokens);
    size_t n_same = 0;
    while (n_same < g->n_past && n_same + 1 < n_tokens && g->past[n_same] == tokens[n_same])
        n_same++;
    entro_session_truncate(g->session, (uint32_t)n_same);
    g->n_past = n_same;
    double start = cli_now();
    cli_progress_begin(&g->progress);
    for (size_t at = n_same; at < n_tokens;) {
        size_t n = n_tokens - at < PROMPT_STEP ? n_tokens - at : PROMPT_STEP;
        entro_progress progress = {.stage = "prompt",
                                   .done = at - n_same,
                                   .total = n_tokens - n_same,
                                   .unit = "tok",
                                   .value = NAN};
        /* Nothing to show before the first step is done. */
        if (at == n_same ? cli_interrupted() != 0 : !cli_progress_show(&g->progress, &progress)) {
            g->finish = CLI_FINISH_INTERRUPT;
            break;
        }
        if (entro_session_decode(g->session, tokens + at, n, &err) != ENTRO_OK) {
            cli_progress_clear(&g->progress);
            return cli_fail(&err);
        }
        for (size_t i = 0; i < n; i++)
            entro_sampler_accept(g->sampler, tokens[at + i]);
        if (!remember(g, tokens + at, n))
            return cli_fail_text("out of memory");
        at += n;
        g->n_prompt += (uint32_t)n;
    }
    g->prompt_seconds = cli_now() - start;
    cli_progress_clear(&g->progress);
    return CLI_EXIT_OK;
}

/* ---- stop strings ----------------------------------------------------------------------- */

/* Where the first stop string begins in the part not shown; SIZE_MAX: nowhere. */
static size_t find_stop(const cli_generator *g)
{
    size_t first = SIZE_MAX;
    for (size_t i = 0; g->text && i < g->stops->n; i++) {
        const char *stop = g->stops->items[i];
        size_t n = strlen(stop);
        const char *hit = n ? memmem(g->text + g->n_shown, g->n_text - g->n_shown, stop, n) : NULL;
        if (hit && (size_t)(hit - g->text) < first)
            first = (size_t)(hit - g->text);
    }
    return first;
}

/* Length of the longest end of the text that begins a stop string. */
static size_t held_back(const cli_generator *g)
{
    size_t longest = 0, n_free = g->n_text - g->n_shown;
    for (size_t i = 0; i < g->stops->n; i++) {
        const char *stop = g->stops->items[i];
        size_t n = strlen(stop);
        for (size_t k = n > n_free ? n_free : n - (n > 0); k > longest; k--) {
            if (memcmp(g->text + g->n_text - k, stop, k) == 0)
                longest = k;
        }
    }
    return longest;
}

static void show_until(cli_generator *g, size_t end)
{
    if (g->show && end > g->n_shown) {
        fwrite(g->text + g->n_shown, 1, end - g->n_shown, stdout);
        fflush(stdout);
    }
    g->n_shown = end;
}

/* Takes in new text; true when a stop string came. */
static bool take_text(cli_generator *g, const char *text, size_t n, bool *out_of_memory)
{
    if (!append_text(g, text, n)) {
        *out_of_memory = true;
        return true;
    }
    size_t stop = find_stop(g);
    if (stop != SIZE_MAX) {
        show_until(g, stop);
        g->n_text = stop;
        g->text[stop] = 0;
        g->finish = CLI_FINISH_STOP;
        return true;
    }
    show_until(g, g->n_text - held_back(g));
    return false;
}

/* ---- loop ------------------------------------------------------------------------------- */

/* Is it time to stop before another token is sampled? */
static bool is_over(cli_generator *g)
{
    if (cli_interrupted())
        g->finish = CLI_FINISH_INTERRUPT;
    else if (g->n_predict >= 0 && g->n_generated >= g->n_predict)
        g->finish = CLI_FINISH_LENGTH;
    else if (entro_session_n_past(g->session) >= entro_session_n_ctx(g->session) &&
             g->n_generated > 0)
        g->finish = CLI_FINISH_CONTEXT;
    else
        return false;
    return true;
}

/* Shows a token; false when it ends the text ('finish' says why). */
static entro_status take_token(cli_generator *g, entro_text_stream *stream, entro_token token,
                               bool *goes_on, bool *out_of_memory, entro_error *err)
{
    const char *text = NULL;
    size_t n_text = 0;
    *goes_on = false;
    if (entro_token_ends(g->model, token) && !g->ignore_end) {
        g->finish = CLI_FINISH_END;
        return ENTRO_OK;
    }
    g->n_generated++;
    entro_status status = entro_text_stream_put(stream, token, &text, &n_text, err);
    if (status == ENTRO_OK) {
        g->stopped = take_text(g, text, n_text, out_of_memory);
        *goes_on = !g->stopped && !is_over(g);
    }
    return status;
}

/* How many drafts may follow 'next': room in the context, and tokens that are still wanted. */
static size_t draft_room(const cli_generator *g)
{
    size_t room = entro_session_n_ctx(g->session) - entro_session_n_past(g->session) - 1;
    if (g->n_predict >= 0) {
        size_t wanted = (size_t)(g->n_predict - (int64_t)g->n_generated);
        room = wanted == 0 ? 0 : wanted - 1 < room ? wanted - 1 : room;
    }
    return room < g->speculation.n_most ? room : g->speculation.n_most;
}

/* Decodes 'next' and guesses of what follows it, and takes the tokens up to the first that was
 * guessed wrong, which becomes 'next'. */
static entro_status step(cli_generator *g, entro_text_stream *stream, entro_token *next,
                         bool *goes_on, bool *out_of_memory, entro_error *err)
{
    entro_token tokens[CLI_MAX_DRAFT + 1] = {*next};
    uint32_t n_past = entro_session_n_past(g->session);
    size_t n_draft = cli_speculation_propose(&g->speculation, *next, tokens + 1, draft_room(g));
    double start = cli_now();
    const float *logits = g->speculation.logits;
    entro_status status;
    if (n_draft == 0) {
        status = entro_session_decode(g->session, tokens, 1, err);
        logits = entro_session_logits(g->session);
    } else {
        status =
            entro_session_decode_all(g->session, tokens, n_draft + 1, g->speculation.logits, err);
    }
    if (status != ENTRO_OK)
        return status;
    size_t n_right = 0; /* drafts that were */
    for (size_t i = 0;; i++) {
        *next = entro_sampler_sample(g->sampler, logits + i * g->speculation.n_vocab);
        bool right = i < n_draft && *next == tokens[i + 1];
        n_right += right;
        status = take_token(g, stream, *next, goes_on, out_of_memory, err);
        if (status != ENTRO_OK || !*goes_on || !right)
            break;
    }
    entro_session_truncate(g->session, n_past + 1 + (uint32_t)n_right);
    *out_of_memory |= !remember(g, tokens, n_right + 1);
    g->n_evaluated += (uint32_t)n_right + 1;
    cli_speculation_note(&g->speculation, tokens + 1, n_draft, n_right, cli_now() - start);
    return status;
}

static entro_status generate(cli_generator *g, entro_text_stream *stream, entro_error *err)
{
    const char *text = NULL;
    size_t n_text = 0;
    bool out_of_memory = false, goes_on = false;
    entro_status status = ENTRO_OK;
    g->stopped = false;
    if (!is_over(g)) {
        entro_token next = entro_sampler_sample(g->sampler, entro_session_logits(g->session));
        status = take_token(g, stream, next, &goes_on, &out_of_memory, err);
        /* The last token need not be evaluated when nothing follows it. */
        while (status == ENTRO_OK && goes_on && !out_of_memory)
            status = step(g, stream, &next, &goes_on, &out_of_memory, err);
    }
    if (status != ENTRO_OK)
        return status;
    if (!g->stopped && entro_text_stream_finish(stream, &text, &n_text, NULL) == ENTRO_OK)
        take_text(g, text, n_text, &out_of_memory);
    show_until(g, g->n_text);
    if (out_of_memory) {
        *err = (entro_error){.status = ENTRO_ERR_NOMEM, .offset = UINT64_MAX};
        return ENTRO_ERR_NOMEM;
    }
    return ENTRO_OK;
}

int cli_generator_run(cli_generator *g)
{
    entro_error err = {.status = ENTRO_OK};
    entro_text_stream *stream = NULL;
    g->n_text = g->n_shown = 0;
    if (!append_text(g, "", 0))
        return cli_fail_text("out of memory");
    if (entro_text_stream_new(&stream, g->model, g->show_special, &err) != ENTRO_OK)
        return cli_fail(&err);
    double start = cli_now();
    entro_status status = cli_speculation_start(&g->speculation, g->past, g->n_past, &err);
    if (status == ENTRO_OK)
        status = generate(g, stream, &err);
    g->generate_seconds = cli_now() - start;
    entro_text_stream_free(stream);
    return status == ENTRO_OK ? CLI_EXIT_OK : cli_fail(&err);
}
