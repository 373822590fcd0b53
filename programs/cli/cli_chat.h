/*
 * cli_chat.h - prompts in the form of a conversation, and the interactive one.
 */
#ifndef CLI_CHAT_H
#define CLI_CHAT_H

#include "cli_generate.h"

typedef struct cli_chat {
    cli_generator *g;
    entro_chat_message *messages; /* roles are constants, contents are owned */
    size_t n_messages;
    bool quiet;
} cli_chat;

/* Adds a message; false when out of memory. */
bool cli_chat_add(cli_chat *chat, const char *role, const char *content);

/* Evaluates the conversation so far and generates the answer, which is added to it. */
int cli_chat_answer(cli_chat *chat);

/* Reads lines from the terminal until /exit or the end of input. */
int cli_chat_loop(cli_chat *chat);

void cli_chat_free(cli_chat *chat);

#endif
