/*
 * cli_input.h - what commands read: models, text files, standard input.
 */
#ifndef CLI_INPUT_H
#define CLI_INPUT_H

#include "cli_options.h"

#include <entrollm/entrollm.h>

typedef struct cli_buffer {
    char *data; /* terminated; free() it */
    size_t n;
} cli_buffer;

/* All of a file, or of standard input for "-".  Says what is wrong and returns an exit code. */
int cli_read_text(cli_buffer *out, const char *path);
/* The same for a text that a model is measured on, which must not be empty. */
int cli_read_measured(cli_buffer *out, const char *path);

/* "600MB", "1.5GiB", "800000000"; false when it is no size. */
bool cli_parse_bytes(const char *text, uint64_t *n_bytes);

/* Opens the model with all weights as they are in the file; says what is wrong and returns an exit
 * code. */
int cli_open_model(entro_model **out, const char *path, bool metadata_only);
/* The same for generation: 'ram' is what --ram was given; remarks unless 'quiet'. */
int cli_open_to_run(entro_model **out, const cli_command *command, const char *path,
                    const char *ram, int64_t threads, bool quiet);

/* Whether the model was trained for more than 'n_ctx' tokens, or does not say for how many. */
bool cli_context_can_grow(const entro_model *model, uint32_t n_ctx);
/* Says so when 'n_ctx' tokens, of a context or a window, are more than it was trained for. */
void cli_note_context(const entro_model *model, uint32_t n_ctx);

/* What --kv-type was given. */
entro_kv_type cli_kv_type(const char *name);

/* What names of files made from the model begin with: "x/model-u8.gguf" -> "x/model-u8", "x/model" and
 * "x/model/config.json" -> "x/model"; "." -> the folder's name, which puts the file into the current folder,
 * as ".." does.  free() it. */
char *cli_stem(const char *path);

/* Where calibration of SOURCE is kept: 'given', or (NULL) its name with .calib beside 'model', where other sizes
 * of it find it.  free() it. */
char *cli_statistics_folder(const char *given, const char *source, const char *model);

/* The part behind the last slash (trailing slashes do not count as one). */
const char *cli_base_name(const char *path);

/* Can a file be written there at all?  Its folder must exist, and it must not be the model that is
 * read, which would be lost.  Says what is wrong and returns an exit code. */
int cli_check_output(const char *output, const char *model);

/* Replaces \n, \t, \r, \", \', \\ in place. */
void cli_unescape(cli_buffer *text);

/* Text to tokens; *tokens is free()d by the caller. */
int cli_tokenize(const entro_model *model, const char *text, size_t n_text, bool add_special,
                 bool parse_special, entro_token **tokens, size_t *n_tokens);

/* Bytes of weights one generated token reads: all tensors, but of an embedding that is not the
 * output matrix as well only a row. */
uint64_t cli_bytes_per_token(const entro_model *model);

#endif
