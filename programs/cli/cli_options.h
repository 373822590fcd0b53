/*
 * cli_options.h - one table of options per command.
 *
 * The table gives the parsing, the defaults, the ranges, --help, the near-miss suggestions and (by
 * tests/cli/test_docs.py) the tables of docs/cli.md.  A command's settings are a plain struct; each
 * option names the field it fills by its offset:
 *
 *   CLI_FLAG -> bool      CLI_INT -> int64_t     CLI_REAL -> double
 *   CLI_TEXT -> const char *                     CLI_LIST -> cli_list, one item a use
 *
 * Options that several commands have are rows of cli_shared.c; a command's row then says where to.
 */
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum cli_kind { CLI_FLAG, CLI_INT, CLI_REAL, CLI_TEXT, CLI_LIST } cli_kind;

typedef struct cli_list {
    const char **items; /* freed by cli_list_free(), with those that carry a suffix */
    bool *owned;
    size_t n;
} cli_list;

typedef struct cli_option {
    const char *name;  /* long name without the dashes */
    char letter;       /* short name, 0 when there is none */
    const char *alias; /* another long name people know, or NULL */
    cli_kind kind;
    size_t offset;
    const char *value;    /* what --help calls the value: "N"; NULL for a flag */
    const char *fallback; /* the default as the user would type it; NULL when there is none */
    const char *help;
    double min, max;     /* range of CLI_INT and CLI_REAL */
    const char *choices; /* CLI_TEXT: the words allowed, "u8|u4"; NULL: any text */
    const char *suffix;  /* CLI_LIST: put behind each item ("=keep"); NULL: nothing */
    const char *alone;   /* CLI_INT: what it means when no number follows; NULL: one must */
    /* What several commands have: all but 'offset', and 'help' if given, is there; else NULL. */
    const struct cli_option *shared;
} cli_option;

/* CLI_MANY: the last one, takes all words that are left, one at least. */
typedef enum cli_need { CLI_OPTIONAL = false, CLI_REQUIRED = true, CLI_MANY } cli_need;

/* An argument known by its place; fills the field, or is left to -m and the like. */
typedef struct cli_positional {
    const char *name; /* "MODEL" */
    size_t offset;    /* const char *; cli_list for CLI_MANY */
    cli_need need;
    const char *help;
} cli_positional;

typedef struct cli_command {
    const char *name;
    const char *summary;  /* one line */
    const char *about;    /* the paragraph below it in --help */
    const char *examples; /* lines, each indented by two */
    const cli_option *options;
    size_t n_options;
    const cli_positional *positionals;
    size_t n_positionals;
    size_t settings_bytes;
    int (*run)(void *settings); /* returns the exit code */
} cli_command;

enum { CLI_EXIT_OK = 0, CLI_EXIT_FAILED = 1, CLI_EXIT_USAGE = 2, CLI_EXIT_HELP = -1 };

/*
 * Fills 'settings' (settings_bytes, zeroed) from the arguments behind the command's name.  Returns
 * CLI_EXIT_OK; CLI_EXIT_USAGE after saying what was wrong; CLI_EXIT_HELP when --help was there.
 */
int cli_options_parse(const cli_command *command, int argc, char **argv, void *settings);

/* A row of the table, with what a shared option says (cli_shared.h). */
cli_option cli_option_of(const cli_option *row);

/* Whether the settings have that flag set; false too where the command has none of the name. */
bool cli_options_flag(const cli_command *command, const void *settings, const char *name);

/* Frees the lists inside the settings. */
void cli_options_release(const cli_command *command, void *settings);

/* --help of one command, to stdout. */
void cli_options_help(const cli_command *command);

/* Says "what was wrong" and where help is, returns CLI_EXIT_USAGE. */
int cli_usage_error(const cli_command *command, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Appends to a list; false when out of memory. */
bool cli_list_add(cli_list *list, const char *item, const char *suffix);
void cli_list_free(cli_list *list);

/* The one of 'names' that 'word' most likely meant, or NULL when none is near. */
const char *cli_nearest(const char *word, const char *const *names, size_t n_names);

#endif
