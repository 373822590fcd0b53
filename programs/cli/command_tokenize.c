/*
 * command_tokenize.c - entrollm tokenize: the ids a model sees for a text.
 */
#include "cli_commands.h"
#include "cli_format.h"
#include "cli_input.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct settings {
    const char *model, *prompt, *file;
    bool ids, json, no_bos, no_special;
} settings;

static const cli_option options[] = {
    CLI_SHARED(settings, model),
    {.name = "prompt",
     .letter = 'p',
     .kind = CLI_TEXT,
     .offset = offsetof(settings, prompt),
     .value = "TEXT",
     .help = "the text"},
    {.name = "file",
     .letter = 'f',
     .kind = CLI_TEXT,
     .offset = offsetof(settings, file),
     .value = "FILE",
     .help = "read the text from a file; - reads standard input"},
    {.name = "ids",
     .kind = CLI_FLAG,
     .offset = offsetof(settings, ids),
     .help = "only the ids, on one line"},
    {.name = "no-bos",
     .kind = CLI_FLAG,
     .offset = offsetof(settings, no_bos),
     .help = "do not add the tokens the model wants around a text"},
    {.name = "no-parse-special",
     .kind = CLI_FLAG,
     .offset = offsetof(settings, no_special),
     .help = "take <|...|> and its like as plain text"},
    CLI_SHARED(settings, json),
};

static const cli_positional positionals[] = {
    {"MODEL", offsetof(settings, model), true, "a coded file, a GGUF file or a folder"},
};

/* A piece as one line: control characters, quotes and bytes that are no text escaped. */
static void print_piece(const char *text, size_t n)
{
    putchar('\'');
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c == '\n')
            fputs("\\n", stdout);
        else if (c == '\t')
            fputs("\\t", stdout);
        else if (c == '\\' || c == '\'')
            printf("\\%c", c);
        else if (c < ' ' || c == 127)
            printf("\\x%02x", c);
        else
            putchar(c);
    }
    putchar('\'');
}

static int print_pieces(const entro_model *model, const entro_token *tokens, size_t n)
{
    entro_text_stream *stream = NULL;
    entro_error err = {.status = ENTRO_OK};
    const char *text;
    size_t n_text;
    if (entro_text_stream_new(&stream, model, true, &err) != ENTRO_OK)
        return cli_fail(&err);
    int code = CLI_EXIT_OK;
    for (size_t i = 0; i < n && !code; i++) {
        if (entro_text_stream_put(stream, tokens[i], &text, &n_text, &err) != ENTRO_OK) {
            code = cli_fail(&err);
            break;
        }
        printf("%7d  ", tokens[i]);
        print_piece(text, n_text);
        putchar('\n');
    }
    entro_text_stream_free(stream);
    return code;
}

static int print_tokens(const settings *s, const entro_model *model, const entro_token *tokens,
                        size_t n)
{
    if (s->json) {
        json_t *o = json_object(), *list = json_array();
        for (size_t i = 0; i < n; i++)
            json_array_append_new(list, json_integer(tokens[i]));
        cli_json_int(o, "n_tokens", n);
        json_object_set_new(o, "tokens", list);
        return cli_json_print(o);
    }
    if (!s->ids)
        return print_pieces(model, tokens, n);
    for (size_t i = 0; i < n; i++)
        printf("%s%d", i ? " " : "", tokens[i]);
    putchar('\n');
    return CLI_EXIT_OK;
}

static int tokenize(void *p)
{
    const settings *s = p;
    cli_buffer text = {0};
    entro_model *model = NULL;
    entro_token *tokens = NULL;
    size_t n_tokens = 0;
    if (s->prompt && s->file)
        return cli_usage_error(&cli_tokenize_command, "-p and -f exclude each other");
    int code = CLI_EXIT_OK;
    if (!s->prompt)
        code = cli_read_text(&text, s->file ? s->file : "-");
    if (!code)
        code = cli_open_model(&model, s->model, false);
    if (!code)
        code = cli_tokenize(model, s->prompt ? s->prompt : text.data,
                            s->prompt ? strlen(s->prompt) : text.n, !s->no_bos, !s->no_special,
                            &tokens, &n_tokens);
    if (!code)
        code = print_tokens(s, model, tokens, n_tokens);
    free(tokens);
    entro_model_close(model);
    free(text.data);
    return code;
}

const cli_command cli_tokenize_command = {
    .name = "tokenize",
    .summary = "the token ids a model sees for a text",
    .about = "Prints one token a line, id and text.  Without -p and -f the text is read from "
             "standard input.",
    .examples = "  entrollm tokenize model-u8.gguf -p \"Hello world\"\n"
                "  entrollm tokenize model.gguf -f story.txt --ids | wc -w\n"
                "  echo Hello | entrollm tokenize model.gguf --json\n",
    .options = options,
    .n_options = CLI_COUNT(options),
    .positionals = positionals,
    .n_positionals = CLI_COUNT(positionals),
    .settings_bytes = sizeof(settings),
    .run = tokenize,
};
