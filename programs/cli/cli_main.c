/*
 * cli_main.c - the program 'entrollm': finds the command, hands it its settings.
 */
#include "cli_commands.h"
#include "cli_format.h"
#include "cli_terminal.h"

#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const cli_command *const commands[] = {
    &cli_compress_command, &cli_run_command,   &cli_perplexity_command, &cli_inspect_command,
    &cli_verify_command,   &cli_bench_command, &cli_restore_command,    &cli_tokenize_command,
    &cli_compare_command,  &cli_eval_command,  &cli_tune_command,
};

static const cli_command *find_command(const char *name)
{
    for (size_t i = 0; i < CLI_COUNT(commands); i++) {
        if (strcmp(commands[i]->name, name) == 0)
            return commands[i];
    }
    return NULL;
}

static int print_help(FILE *stream)
{
    fprintf(stream,
            "entrollm %s - language models stored as entropy-coded integers, run from the coded "
            "file\n\nusage: entrollm COMMAND [OPTIONS] ...\n\ncommands:\n",
            entro_version());
    for (size_t i = 0; i < CLI_COUNT(commands); i++)
        fprintf(stream, "  %-12s%s\n", commands[i]->name, commands[i]->summary);
    fprintf(
        stream,
        "  %-12s%s\n  %-12s%s\n\n"
        "'entrollm COMMAND --help' explains one.  Exit codes: 0 ok, 1 failed, 2 wrong usage.\n\n"
        "examples:\n"
        "  entrollm compress model.gguf model-u8.gguf\n"
        "  entrollm run model-u8.gguf -p \"What is entropy?\"\n",
        "help", "this text, or that of a command", "version",
        "version and processor features in use");
    return stream == stdout ? CLI_EXIT_OK : CLI_EXIT_USAGE;
}

static int unknown_command(const char *name)
{
    const char *names[CLI_COUNT(commands) + 2];
    size_t n = 0;
    for (size_t i = 0; i < CLI_COUNT(commands); i++)
        names[n++] = commands[i]->name;
    names[n++] = "help";
    names[n++] = "version";
    const char *meant = cli_nearest(name, names, n);
    fprintf(stderr, "%serror:%s unknown command '%s'", cli_colour(CLI_RED), cli_colour(CLI_PLAIN),
            name);
    if (meant)
        fprintf(stderr, "; did you mean '%s'?", meant);
    fprintf(stderr, "\nTry 'entrollm help'.\n");
    return CLI_EXIT_USAGE;
}

/* A misspelt name would compare a processor with itself. */
static void note_unknown_features(void)
{
    size_t n = 0;
    const char *name = entro_cpu_unknown(&n);
    if (name)
        cli_note("ENTRO_CPU_DISABLE names '%.*s', which is no feature; known are amx, bf16, "
                 "avx512, avx2, dotprod and neon",
                 (int)n, name);
}

static int run_command(const cli_command *command, int argc, char **argv)
{
    void *settings = calloc(1, command->settings_bytes);
    if (!settings)
        return cli_fail_text("out of memory");
    int code = cli_options_parse(command, argc, argv, settings);
    if (code == CLI_EXIT_HELP) {
        cli_options_help(command);
        code = CLI_EXIT_OK;
    } else if (code == CLI_EXIT_OK) {
        if (!cli_options_flag(command, settings, "quiet"))
            note_unknown_features();
        code = command->run(settings);
    }
    cli_options_release(command, settings);
    free(settings);
    return code;
}

static int dispatch(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : NULL;
    if (!name)
        return print_help(stderr);
    if (strcmp(name, "version") == 0 || strcmp(name, "--version") == 0) {
        note_unknown_features();
        printf("entrollm %s (%s)\n", entro_version(), entro_cpu_name());
        return CLI_EXIT_OK;
    }
    bool wants_help =
        strcmp(name, "help") == 0 || strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0;
    if (wants_help && argc < 3)
        return print_help(stdout);
    const cli_command *command = find_command(wants_help ? argv[2] : name);
    if (!command)
        return unknown_command(wants_help ? argv[2] : name);
    if (wants_help) {
        cli_options_help(command);
        return CLI_EXIT_OK;
    }
    return run_command(command, argc - 2, argv + 2);
}

int main(int argc, char **argv)
{
    /* Only the encoding of the terminal: numbers keep their point. */
    setlocale(LC_CTYPE, "");
    cli_signals_install();
    int code = cli_finish_output(dispatch(argc, argv));
    /* A job that was done before it heard of the signal has not failed. */
    if (code != CLI_EXIT_OK)
        cli_interrupt_die();
    return code;
}
