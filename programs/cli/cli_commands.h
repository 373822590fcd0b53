/*
 * cli_commands.h - the commands; each is one file command_NAME.c.
 */
#ifndef CLI_COMMANDS_H
#define CLI_COMMANDS_H

#include "cli_options.h"
#include "cli_shared.h"

extern const cli_command cli_compress_command;
extern const cli_command cli_run_command;
extern const cli_command cli_perplexity_command;
extern const cli_command cli_compare_command;
extern const cli_command cli_eval_command;
extern const cli_command cli_inspect_command;
extern const cli_command cli_verify_command;
extern const cli_command cli_bench_command;
extern const cli_command cli_restore_command;
extern const cli_command cli_tokenize_command;
extern const cli_command cli_tune_command;

#define CLI_COUNT(array) (sizeof(array) / sizeof((array)[0]))

#endif
