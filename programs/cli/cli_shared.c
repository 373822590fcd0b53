/* cli_shared.c - see cli_shared.h. */
#include "cli_shared.h"

const cli_option cli_shared_model = {.name = "model",
                                     .letter = 'm',
                                     .kind = CLI_TEXT,
                                     .value = "MODEL",
                                     .help = "the model, instead of the argument"};

const cli_option cli_shared_output = {
    .name = "output",
    .letter = 'o',
    .kind = CLI_TEXT,
    .value = "FILE",
    .help = "the file to write, instead of the argument",
};

const cli_option cli_shared_seed = {
    .name = "seed",
    .letter = 's',
    .kind = CLI_INT,
    .value = "N",
    .fallback = "1",
    .min = 0,
    .max = 9e15,
};

const cli_option cli_shared_threads = {.name = "threads",
                                       .letter = 't',
                                       .kind = CLI_INT,
                                       .value = "N",
                                       .fallback = "0",
                                       .min = 0,
                                       .max = 1024,
                                       .help = "threads; 0: one a processor"};

const cli_option cli_shared_json = {
    .name = "json", .letter = 'j', .kind = CLI_FLAG, .help = "report as JSON on standard output"};

const cli_option cli_shared_quiet = {
    .name = "quiet", .letter = 'q', .kind = CLI_FLAG, .help = "no progress, no remarks"};

const cli_option cli_shared_force = {
    .name = "force", .letter = 'F', .kind = CLI_FLAG, .help = "overwrite the output"};

const cli_option cli_shared_ram = {
    .name = "ram",
    .kind = CLI_TEXT,
    .value = "SIZE",
    .fallback = "auto",
    .help =
        "memory for weights: those in strips run coded (min), or packed in memory at 1 to 8 "
        "bits (max), or packed as far as SIZE goes; auto: packed where that measures faster and "
        "memory is free.  Those in rans, compress's own choice, are packed in every case but a "
        "SIZE that is too small for it, which takes seconds a token"};

const cli_option cli_shared_kv_type = {
    .name = "kv-type",
    .kind = CLI_TEXT,
    .value = "TYPE",
    .fallback = "f16",
    .choices = "f16|int8",
    .help = "keys and values of the context are kept as f16, or as int8 in half the memory "
            "(53 %, with a scale for every 32; llama.cpp's q8_0)"};

const cli_option cli_shared_batch = {
    .name = "batch-size",
    .letter = 'b',
    .kind = CLI_INT,
    .value = "N",
    .fallback = "0",
    .min = 0,
    .max = 1 << 16,
    .help = "tokens of a prompt or text evaluated together; 0: chosen by the library"};

const cli_option cli_shared_file = {
    .name = "file",
    .letter = 'f',
    .kind = CLI_TEXT,
    .value = "TEXT",
    .help = "the text, instead of the last argument; - reads standard input"};

const cli_option cli_shared_n_ctx = {.name = "ctx-size",
                                     .letter = 'c',
                                     .kind = CLI_INT,
                                     .value = "N",
                                     .fallback = "512",
                                     .min = 8,
                                     .max = 1 << 20,
                                     .help = "tokens a window"};

const cli_option cli_shared_windows = {.name = "windows",
                                       .letter = 'n',
                                       .alias = "chunks",
                                       .kind = CLI_INT,
                                       .value = "N",
                                       .fallback = "0",
                                       .min = 0,
                                       .max = 1 << 30,
                                       .help = "only the first N windows; 0: all"};
