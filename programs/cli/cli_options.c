/*
 * cli_options.c - arguments to settings, by the command's table.
 *
 * Understood: --name value, --name=value, -n value, -nvalue, flags together (-qf), "--" before
 * arguments that start with a dash, and options in any place.  A later use of an option wins.  An option
 * that can stand alone takes the next argument when that is digits and nothing else.
 */
#include "cli_options.h"

#include "cli_terminal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define N_NAMES_MAX 96

int cli_usage_error(const cli_command *command, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "%serror:%s ", cli_colour(CLI_RED), cli_colour(CLI_PLAIN));
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, "\nTry 'entrollm %s --help'.\n", command->name);
    return CLI_EXIT_USAGE;
}

bool cli_list_add(cli_list *list, const char *item, const char *suffix)
{
    const char **items = realloc(list->items, (list->n + 1) * sizeof(*items));
    if (!items)
        return false;
    list->items = items;
    bool *owned = realloc(list->owned, (list->n + 1) * sizeof(*owned));
    if (!owned)
        return false;
    list->owned = owned;
    if (suffix) {
        size_t n_item = strlen(item), n_suffix = strlen(suffix);
        char *joined = malloc(n_item + n_suffix + 1);
        if (!joined)
            return false;
        memcpy(joined, item, n_item);
        memcpy(joined + n_item, suffix, n_suffix + 1);
        item = joined;
    }
    items[list->n] = item;
    owned[list->n++] = suffix != NULL;
    return true;
}

void cli_list_free(cli_list *list)
{
    for (size_t i = 0; i < list->n; i++) {
        if (list->owned[i])
            free((void *)list->items[i]);
    }
    free(list->items);
    free(list->owned);
    *list = (cli_list){0};
}

cli_option cli_option_of(const cli_option *row)
{
    if (!row->shared)
        return *row;
    cli_option option = *row->shared;
    option.offset = row->offset;
    if (row->help)
        option.help = row->help;
    return option;
}

/* ---- near misses ------------------------------------------------------------------------ */

/* Edits (insert, delete, replace, swap neighbours) from 'a' to 'b'; long words count as far. */
static size_t edit_distance(const char *a, const char *b)
{
    enum { LONGEST = 40 };
    size_t n = strlen(a), m = strlen(b);
    size_t rows[3][LONGEST + 1];
    if (n > LONGEST || m > LONGEST)
        return LONGEST;
    for (size_t j = 0; j <= m; j++)
        rows[0][j] = j;
    for (size_t i = 1; i <= n; i++) {
        size_t *now = rows[i % 3], *last = rows[(i + 2) % 3], *before = rows[(i + 1) % 3];
        now[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t best = last[j - 1] + (a[i - 1] != b[j - 1]);
            if (last[j] + 1 < best)
                best = last[j] + 1;
            if (now[j - 1] + 1 < best)
                best = now[j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                before[j - 2] + 1 < best)
                best = before[j - 2] + 1;
            now[j] = best;
        }
    }
    return rows[n % 3][m];
}

const char *cli_nearest(const char *word, const char *const *names, size_t n_names)
{
    const char *nearest = NULL;
    size_t n_word = strlen(word), best = n_word < 4 ? 2 : n_word < 8 ? 3 : 4;
    for (size_t i = 0; i < n_names; i++) {
        size_t distance = edit_distance(word, names[i]);
        /* "--thread" means --threads, "--context" --ctx-size is beyond us. */
        if (n_word >= 3 && strncmp(word, names[i], n_word) == 0)
            distance = 1;
        if (distance < best) {
            best = distance;
            nearest = names[i];
        }
    }
    return nearest;
}

static const char *nearest_option(const cli_command *command, const char *word)
{
    const char *names[N_NAMES_MAX];
    size_t n = 0;
    names[n++] = "help";
    for (size_t i = 0; i < command->n_options && n + 2 < N_NAMES_MAX; i++) {
        cli_option option = cli_option_of(&command->options[i]);
        names[n++] = option.name;
        if (option.alias)
            names[n++] = option.alias;
    }
    return cli_nearest(word, names, n);
}

/* ---- values ----------------------------------------------------------------------------- */

static bool is_choice(const char *choices, const char *value)
{
    size_t n = strlen(value);
    for (const char *p = choices; *p;) {
        size_t n_word = strcspn(p, "|");
        if (n_word == n && memcmp(p, value, n) == 0)
            return true;
        p += n_word + (p[n_word] == '|');
    }
    return false;
}

/* Stores 'value' into the field; 'shown' is the option as the user typed it. */
static int store(const cli_command *command, const cli_option *option, const char *shown,
                 const char *value, void *settings)
{
    char *field = (char *)settings + option->offset, *end = NULL;
    errno = 0;
    switch (option->kind) {
    case CLI_FLAG: *(bool *)field = true; return CLI_EXIT_OK;
    case CLI_TEXT:
        if (option->choices && !is_choice(option->choices, value))
            return cli_usage_error(command, "%s wants one of %s, not '%s'", shown, option->choices,
                                   value);
        *(const char **)field = value;
        return CLI_EXIT_OK;
    case CLI_LIST:
        if (!cli_list_add((cli_list *)field, value, option->suffix))
            return cli_usage_error(command, "out of memory");
        return CLI_EXIT_OK;
    case CLI_INT: {
        long long number = strtoll(value, &end, 10);
        if (errno || end == value || *end)
            return cli_usage_error(command, "%s wants a whole number, not '%s'", shown, value);
        if ((double)number < option->min || (double)number > option->max)
            return cli_usage_error(command, "%s wants a number from %.0f to %.0f, not %s", shown,
                                   option->min, option->max, value);
        *(int64_t *)field = number;
        return CLI_EXIT_OK;
    }
    case CLI_REAL: {
        double number = strtod(value, &end);
        if (errno || end == value || *end)
            return cli_usage_error(command, "%s wants a number, not '%s'", shown, value);
        if (!(number >= option->min && number <= option->max))
            return cli_usage_error(command, "%s wants a number from %g to %g, not %s", shown,
                                   option->min, option->max, value);
        *(double *)field = number;
        return CLI_EXIT_OK;
    }
    }
    return CLI_EXIT_OK;
}

/* ---- arguments -------------------------------------------------------------------------- */

typedef struct arguments {
    const cli_command *command;
    char **argv;
    int argc, at;
    void *settings;
} arguments;

/* Without a name when there is none. */
static cli_option find_long(const cli_command *command, const char *name, size_t n_name)
{
    for (size_t i = 0; i < command->n_options; i++) {
        cli_option option = cli_option_of(&command->options[i]);
        if (strlen(option.name) == n_name && memcmp(option.name, name, n_name) == 0)
            return option;
        if (option.alias && strlen(option.alias) == n_name &&
            memcmp(option.alias, name, n_name) == 0)
            return option;
    }
    return (cli_option){0};
}

static cli_option find_short(const cli_command *command, char letter)
{
    for (size_t i = 0; i < command->n_options; i++) {
        cli_option option = cli_option_of(&command->options[i]);
        if (option.letter == letter)
            return option;
    }
    return (cli_option){0};
}

static bool is_number(const char *word)
{
    return *word && strspn(word, "0123456789") == strlen(word);
}

/* The next argument; NULL, and an error said, when there is none. */
static const char *next_value(arguments *args, const cli_option *option, const char *shown)
{
    bool is_there = args->at < args->argc;
    if (option->alone && (!is_there || !is_number(args->argv[args->at])))
        return option->alone;
    if (is_there)
        return args->argv[args->at++];
    cli_usage_error(args->command, "%s wants a value (%s)", shown, option->value);
    return NULL;
}

static int parse_long(arguments *args, char *word)
{
    const char *name = word + 2, *equals = strchr(name, '=');
    size_t n_name = equals ? (size_t)(equals - name) : strlen(name);
    cli_option option = find_long(args->command, name, n_name);
    if (!option.name) {
        char copy[64];
        snprintf(copy, sizeof(copy), "%.*s", (int)n_name, name);
        const char *meant = nearest_option(args->command, copy);
        if (meant)
            return cli_usage_error(args->command, "unknown option '--%s'; did you mean '--%s'?",
                                   copy, meant);
        return cli_usage_error(args->command, "unknown option '--%s'", copy);
    }
    char shown[64];
    snprintf(shown, sizeof(shown), "--%s", option.name);
    if (option.kind == CLI_FLAG) {
        if (equals)
            return cli_usage_error(args->command, "%s takes no value", shown);
        return store(args->command, &option, shown, NULL, args->settings);
    }
    const char *value = equals ? equals + 1 : next_value(args, &option, shown);
    return value ? store(args->command, &option, shown, value, args->settings) : CLI_EXIT_USAGE;
}

static int parse_short(arguments *args, char *word)
{
    /* "-temp" and "-model" are habits from other programs, not -t "emp" and -m "odel". */
    if (strlen(word) > 4 && find_long(args->command, word + 1, strlen(word + 1)).name)
        return cli_usage_error(args->command, "unknown option '%s'; did you mean '-%s'?", word,
                               word);
    for (const char *p = word + 1; *p; p++) {
        cli_option option = find_short(args->command, *p);
        if (!option.name)
            return cli_usage_error(args->command, "unknown option '-%c'", *p);
        char shown[4] = {'-', *p, 0, 0};
        if (option.kind == CLI_FLAG) {
            store(args->command, &option, shown, NULL, args->settings);
            continue;
        }
        const char *value = p + 1;
        if (*value == '=')
            value++;
        else if (!*value)
            value = next_value(args, &option, shown);
        return value ? store(args->command, &option, shown, value, args->settings) : CLI_EXIT_USAGE;
    }
    return CLI_EXIT_OK;
}

static int set_defaults(const cli_command *command, void *settings)
{
    for (size_t i = 0; i < command->n_options; i++) {
        cli_option option = cli_option_of(&command->options[i]);
        if (!option.fallback || option.kind == CLI_LIST)
            continue;
        int code = store(command, &option, option.name, option.fallback, settings);
        if (code)
            return code;
    }
    return CLI_EXIT_OK;
}

static bool is_filled(const cli_positional *place, void *settings)
{
    char *field = (char *)settings + place->offset;
    return place->need == CLI_MANY ? ((cli_list *)field)->n > 0 : *(const char **)field != NULL;
}

/* Gives words without a dash to the places that no option has filled. */
static int place_words(const cli_command *command, char **words, size_t n_words, void *settings)
{
    size_t next = 0;
    for (size_t i = 0; i < n_words; i++) {
        const cli_positional *place = &command->positionals[next];
        while (next < command->n_positionals && place->need != CLI_MANY &&
               is_filled(place, settings))
            place = &command->positionals[++next];
        if (next == command->n_positionals)
            return cli_usage_error(
                command, "unexpected argument '%s'%s", words[i],
                find_long(command, "prompt", 6).name ? "; a prompt goes behind -p, in quotes" : "");
        char *field = (char *)settings + place->offset;
        if (place->need != CLI_MANY)
            *(const char **)field = words[i];
        else if (!cli_list_add((cli_list *)field, words[i], NULL))
            return cli_usage_error(command, "out of memory");
    }
    for (size_t i = 0; i < command->n_positionals; i++) {
        const cli_positional *place = &command->positionals[i];
        if (place->need != CLI_OPTIONAL && !is_filled(place, settings))
            return cli_usage_error(command, "%s is missing: %s", place->name, place->help);
    }
    return CLI_EXIT_OK;
}

int cli_options_parse(const cli_command *command, int argc, char **argv, void *settings)
{
    arguments args = {command, argv, argc, 0, settings};
    size_t n_words = 0;
    bool only_words = false;
    char **words = calloc((size_t)argc + 1, sizeof(*words));
    if (!words)
        return cli_usage_error(command, "out of memory");
    int code = set_defaults(command, settings);
    while (!code && args.at < argc) {
        char *word = argv[args.at++];
        if (only_words || word[0] != '-' || !word[1])
            words[n_words++] = word;
        else if (strcmp(word, "--") == 0)
            only_words = true;
        else if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0)
            code = CLI_EXIT_HELP;
        else
            code = word[1] == '-' ? parse_long(&args, word) : parse_short(&args, word);
    }
    if (!code)
        code = place_words(command, words, n_words, settings);
    free(words);
    return code;
}

bool cli_options_flag(const cli_command *command, const void *settings, const char *name)
{
    cli_option option = find_long(command, name, strlen(name));
    return option.name && *(const bool *)((const char *)settings + option.offset);
}

void cli_options_release(const cli_command *command, void *settings)
{
    for (size_t i = 0; i < command->n_options; i++) {
        cli_option option = cli_option_of(&command->options[i]);
        if (option.kind == CLI_LIST)
            cli_list_free((cli_list *)((char *)settings + option.offset));
    }
    for (size_t i = 0; i < command->n_positionals; i++) {
        if (command->positionals[i].need == CLI_MANY)
            cli_list_free((cli_list *)((char *)settings + command->positionals[i].offset));
    }
}
