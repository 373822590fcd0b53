/*
 * cli_help.c - --help of a command, written from its table of options.
 *
 *   usage: entrollm run [OPTIONS] MODEL
 *
 *     -n, --predict N        help text, wrapped to the width of the terminal
 *
 * In a pipe the width is 80, so that the output is the same everywhere.
 */
#include "cli_options.h"

#include "cli_terminal.h"

#include <stdio.h>
#include <string.h>

enum { COLUMN = 28, NARROWEST = 60, WIDEST = 100 };

/* Prints 'text' in lines of at most 'width', each but the first behind 'indent' spaces. */
static void print_wrapped(const char *text, int column, int indent, int width)
{
    while (*text) {
        size_t n_space = strspn(text, " "), n_word = strcspn(text + n_space, " ");
        if (!n_word)
            break;
        if (column > indent && column + (int)(n_space + n_word) > width) {
            printf("\n%*s", indent, "");
            column = indent;
            n_space = 0;
            text += strspn(text, " ");
        }
        printf("%.*s", (int)(n_space + n_word), text);
        column += (int)(n_space + n_word);
        text += n_space + n_word;
    }
    printf("\n");
}

static void print_entry(const char *left, const char *help, int width)
{
    int n = (int)strlen(left);
    printf("  %s", left);
    if (n + 4 > COLUMN)
        printf("\n%*s", COLUMN, "");
    else
        printf("%*s", COLUMN - n - 2, "");
    print_wrapped(help, COLUMN, COLUMN, width);
}

static void print_option(const cli_option *option, int width)
{
    char left[96], help[512];
    char letter[5] = "    ";
    if (option->letter)
        snprintf(letter, sizeof(letter), "-%c, ", option->letter);
    snprintf(left, sizeof(left), "%s--%s%s%s%s", letter, option->name,
             option->alone   ? " ["
             : option->value ? " "
                             : "",
             option->value ? option->value : "", option->alone ? "]" : "");
    int n = snprintf(help, sizeof(help), "%s", option->help);
    if (option->choices && n < (int)sizeof(help))
        n += snprintf(help + n, sizeof(help) - (size_t)n, "; one of %s", option->choices);
    if (option->fallback && n < (int)sizeof(help))
        n += snprintf(help + n, sizeof(help) - (size_t)n, " [%s]", option->fallback);
    if (option->alias && n < (int)sizeof(help))
        snprintf(help + n, sizeof(help) - (size_t)n, " (also --%s)", option->alias);
    print_entry(left, help, width);
}

void cli_options_help(const cli_command *command)
{
    int width = cli_width(stdout);
    width = width < NARROWEST ? NARROWEST : width > WIDEST ? WIDEST : width;
    printf("entrollm %s - %s\n\nusage: entrollm %s [OPTIONS]", command->name, command->summary,
           command->name);
    for (size_t i = 0; i < command->n_positionals; i++) {
        const cli_positional *place = &command->positionals[i];
        printf(place->need != CLI_OPTIONAL ? " %s%s" : " [%s%s]", place->name,
               place->need == CLI_MANY ? "..." : "");
    }
    printf("\n\n");
    print_wrapped(command->about, 0, 0, width);
    printf("\n");
    for (size_t i = 0; i < command->n_positionals; i++)
        print_entry(command->positionals[i].name, command->positionals[i].help, width);
    if (command->n_positionals)
        printf("\n");
    for (size_t i = 0; i < command->n_options; i++) {
        cli_option option = cli_option_of(&command->options[i]);
        print_option(&option, width);
    }
    print_entry("-h, --help", "this text", width);
    printf("\nexamples:\n%s", command->examples);
}
