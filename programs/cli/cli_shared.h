/*
 * cli_shared.h - options that several commands have: each is written once, in cli_shared.c.
 *
 * A command's table takes one as CLI_SHARED(settings, threads), at the place where --help is to show it;
 * its settings hold the field that the row is named after.
 */
#ifndef CLI_SHARED_H
#define CLI_SHARED_H

#include "cli_options.h"

extern const cli_option cli_shared_model;   /* const char * */
extern const cli_option cli_shared_output;  /* const char * */
extern const cli_option cli_shared_seed;    /* int64_t; each command says of what */
extern const cli_option cli_shared_threads; /* int64_t */
extern const cli_option cli_shared_json;    /* bool */
extern const cli_option cli_shared_quiet;   /* bool */
extern const cli_option cli_shared_force;   /* bool */

/* Of those that run a model. */
extern const cli_option cli_shared_ram;     /* const char *; see cli_open_to_run() */
extern const cli_option cli_shared_kv_type; /* const char *; see cli_kv_type() */
extern const cli_option cli_shared_batch;   /* int64_t */

/* Of those that measure on a text, window by window. */
extern const cli_option cli_shared_file;    /* const char * */
extern const cli_option cli_shared_n_ctx;   /* int64_t */
extern const cli_option cli_shared_windows; /* int64_t */

/* The row of a table; 'type' is the settings struct. */
#define CLI_SHARED(type, field)                                                                    \
    {                                                                                              \
        .shared = &cli_shared_##field, .offset = offsetof(type, field)                             \
    }
/* The same where the command has another word for it. */
#define CLI_SHARED_AS(type, field, text)                                                           \
    {                                                                                              \
        .shared = &cli_shared_##field, .offset = offsetof(type, field), .help = (text)             \
    }

#endif
