/*
 * cli_commands.h - the commands; each is one file command_NAME.c.
 */
#ifndef CLI_COMMANDS_H
#define CLI_COMMANDS_H

#include "cli_options.h"

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

/* Rows that most option tables share; 'type' is the settings struct. */
#define CLI_OPTION_MODEL(type)                                                                     \
    {                                                                                              \
        .name = "model", .letter = 'm', .kind = CLI_TEXT, .offset = offsetof(type, model),         \
        .value = "MODEL", .help = "the model, instead of the argument"                             \
    }
#define CLI_OPTION_THREADS(type)                                                                   \
    {                                                                                              \
        .name = "threads", .letter = 't', .kind = CLI_INT, .offset = offsetof(type, threads),      \
        .value = "N", .fallback = "0", .min = 0, .max = 1024,                                      \
        .help = "threads; 0: one a processor"                                                      \
    }
#define CLI_OPTION_RAM(type)                                                                       \
    {                                                                                              \
        .name = "ram", .kind = CLI_TEXT, .offset = offsetof(type, ram), .value = "SIZE",           \
        .fallback = "auto",                                                                        \
        .help = "memory for weights of strips: they run coded (min), or packed in memory at 1 to " \
                "8 bits (max), or packed as far as SIZE goes; auto: packed where that measures "   \
                "faster and memory is free"                                                        \
    }
#define CLI_OPTION_KV_TYPE(type)                                                                   \
    {                                                                                              \
        .name = "kv-type", .kind = CLI_TEXT, .offset = offsetof(type, kv_type), .value = "TYPE",   \
        .fallback = "f16", .choices = "f16|int8",                                                  \
        .help = "keys and values of the context are kept as f16, or as int8 in half the memory "   \
                "(53 %, with a scale for every 32; llama.cpp's q8_0)"                              \
    }
#define CLI_OPTION_JSON(type)                                                                      \
    {                                                                                              \
        .name = "json", .letter = 'j', .kind = CLI_FLAG, .offset = offsetof(type, json),           \
        .help = "report as JSON on standard output"                                                \
    }
#define CLI_OPTION_QUIET(type)                                                                     \
    {                                                                                              \
        .name = "quiet", .letter = 'q', .kind = CLI_FLAG, .offset = offsetof(type, quiet),         \
        .help = "no progress, no remarks"                                                          \
    }
#define CLI_OPTION_FORCE(type)                                                                     \
    {                                                                                              \
        .name = "force", .letter = 'F', .kind = CLI_FLAG, .offset = offsetof(type, force),         \
        .help = "overwrite the output"                                                             \
    }
#define CLI_COUNT(array) (sizeof(array) / sizeof((array)[0]))

#endif
