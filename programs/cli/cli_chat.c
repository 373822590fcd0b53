/*
 * cli_chat.c - a conversation: messages, answers, the line prompt.
 *
 * Each turn the whole conversation is formatted and tokenized again; the generator evaluates only
 * what the context does not hold already.  That is simpler than formatting the last turn alone and
 * right for every template.
 */
#include "cli_chat.h"

#include "cli_format.h"
#include "cli_input.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

bool cli_chat_add(cli_chat *chat, const char *role, const char *content)
{
    char *copy = strdup(content);
    entro_chat_message *messages =
        realloc(chat->messages, (chat->n_messages + 1) * sizeof(*messages));
    if (messages)
        chat->messages = messages;
    if (!copy || !messages) {
        free(copy);
        return false;
    }
    messages[chat->n_messages++] = (entro_chat_message){role, copy};
    return true;
}

static void drop_messages(cli_chat *chat, size_t n_keep)
{
    while (chat->n_messages > n_keep)
        free((void *)chat->messages[--chat->n_messages].content);
}

void cli_chat_free(cli_chat *chat)
{
    drop_messages(chat, 0);
    free(chat->messages);
    chat->messages = NULL;
}

int cli_chat_answer(cli_chat *chat)
{
    char *text = NULL;
    entro_token *tokens = NULL;
    size_t n_tokens = 0;
    entro_error err = {.status = ENTRO_OK};
    if (entro_chat_format(chat->g->model, chat->messages, chat->n_messages, true, &text, &err) !=
        ENTRO_OK) {
        int failed = cli_fail(&err);
        if (err.status == ENTRO_ERR_UNSUPPORTED)
            cli_note("--raw takes the prompt literally, without the template");
        return failed;
    }
    int code = cli_tokenize(chat->g->model, text, strlen(text), true, true, &tokens, &n_tokens);
    entro_free(text);
    if (code)
        return code;
    /* Some templates write the BOS that the tokenizer adds as well; one is enough. */
    size_t skip = n_tokens > 1 && tokens[0] == tokens[1];
    chat->g->finish = CLI_FINISH_END;
    code = cli_generator_prompt(chat->g, tokens + skip, n_tokens - skip);
    free(tokens);
    if (code || chat->g->finish == CLI_FINISH_INTERRUPT)
        return code;
    code = cli_generator_run(chat->g);
    if (!code && !cli_chat_add(chat, "assistant", chat->g->text))
        code = cli_fail_text("out of memory");
    return code;
}

/* ---- the line prompt -------------------------------------------------------------------- */

/* "hello\" goes on in the next line.  Returns NULL at the end of input or on Ctrl-C. */
static char *read_message(void)
{
    char *all = NULL, *line = NULL;
    size_t n_all = 0, cap = 0;
    bool goes_on = true;
    while (goes_on) {
        fputs(all ? "... " : "\n> ", stderr);
        errno = 0;
        ssize_t n = getline(&line, &cap, stdin);
        if (n <= 0) {
            free(all);
            all = NULL;
            break;
        }
        if (line[n - 1] == '\n')
            line[--n] = 0;
        goes_on = n > 0 && line[n - 1] == '\\';
        if (goes_on)
            line[n - 1] = '\n';
        char *grown = realloc(all, n_all + (size_t)n + 1);
        if (!grown) {
            free(all);
            all = NULL;
            break;
        }
        all = grown;
        memcpy(all + n_all, line, (size_t)n + 1);
        n_all += (size_t)n;
    }
    free(line);
    return all;
}

typedef enum line_kind { LINE_MESSAGE, LINE_DONE, LINE_EXIT } line_kind;

static line_kind obey(cli_chat *chat, const char *line)
{
    if (strcmp(line, "/exit") == 0 || strcmp(line, "/quit") == 0 || strcmp(line, "/bye") == 0)
        return LINE_EXIT;
    if (strcmp(line, "/clear") == 0) {
        bool has_system = chat->n_messages && strcmp(chat->messages[0].role, "system") == 0;
        drop_messages(chat, has_system);
        cli_note("the conversation is forgotten");
        return LINE_DONE;
    }
    if (line[0] == '/') {
        cli_note("/exit ends, /clear starts afresh, \\ at the end of a line continues it; Ctrl-C "
                 "stops an answer");
        return LINE_DONE;
    }
    return *line ? LINE_MESSAGE : LINE_DONE;
}

static void note_full(const cli_generator *g)
{
    uint32_t n_ctx = entro_session_n_ctx(g->session);
    cli_note("the context of %u tokens is full; /clear starts afresh%s", n_ctx,
             cli_context_can_grow(g->model, n_ctx) ? ", -c sets a larger one" : "");
}

static int take_turn(cli_chat *chat, const char *line)
{
    size_t n_before = chat->n_messages;
    if (!cli_chat_add(chat, "user", line))
        return cli_fail_text("out of memory");
    int code = cli_chat_answer(chat);
    if (!chat->g->n_text || chat->g->text[chat->g->n_text - 1] != '\n')
        putchar('\n');
    fflush(stdout);
    if (code || chat->g->finish == CLI_FINISH_INTERRUPT) {
        /* An unanswered question would stand in the way of the next. */
        cli_interrupt_clear();
        if (chat->n_messages == n_before + 1)
            drop_messages(chat, n_before);
    }
    if (chat->g->finish == CLI_FINISH_CONTEXT)
        note_full(chat->g);
    return CLI_EXIT_OK;
}

int cli_chat_loop(cli_chat *chat)
{
    if (!chat->quiet)
        cli_note("type a message; /help lists what else there is, Ctrl-D ends");
    for (;;) {
        char *line = read_message();
        if (!line) {
            fputc('\n', stderr);
            return CLI_EXIT_OK;
        }
        line_kind kind = obey(chat, line);
        if (kind == LINE_MESSAGE)
            take_turn(chat, line);
        free(line);
        if (kind == LINE_EXIT)
            return CLI_EXIT_OK;
    }
}
