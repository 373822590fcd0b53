/*
 * original.h - the files that a lossless container was made from, as a list of pieces.
 *
 *   file:   | literal bytes | a tensor | literal bytes | a tensor | a tensor | ...
 *
 * Literal bytes (heads, padding, config.json, tokenizers, tensors that no architecture asks for)
 * stand one after the other, in the order of the pieces, in the tensor entrollm.literals; tensors are
 * the container's own.  Each file has a checksum, so that who rebuilds it knows that it is the same.
 * docs/format.md, "The original", is the contract.
 */
#ifndef EN_CONTAINER_ORIGINAL_H
#define EN_CONTAINER_ORIGINAL_H

#include "base/status.h"

#define EN_ORIGINAL_FILES    "entrollm.files"    /* the list */
#define EN_ORIGINAL_LITERALS "entrollm.literals" /* the literal bytes, in coding 3 */
#define EN_ORIGINAL_MAGIC    "EntroOrg"

enum {
    EN_ORIGINAL_VERSION = 1,
    EN_ORIGINAL_HEAD_BYTES = 32,
    EN_ORIGINAL_FILE_BYTES = 24, /* and the name, with zeros to a multiple of 8 */
    EN_ORIGINAL_PIECE_BYTES = 16,
    EN_ORIGINAL_MAX_FILES = 8192,
    EN_ORIGINAL_MAX_PIECES = 1 << 22,
    EN_ORIGINAL_MAX_NAME = 255,
};

typedef enum en_piece_kind { EN_PIECE_LITERAL = 0, EN_PIECE_TENSOR = 1 } en_piece_kind;

typedef struct en_piece {
    en_piece_kind kind;
    uint64_t n_bytes;     /* of a literal */
    uint64_t tensor;      /* number of a tensor among the file's tensor infos */
    uint32_t n_head_rows; /* 0, or the order of its rows in the file: en_source_place */
} en_piece;

typedef struct en_original_file {
    char name[EN_ORIGINAL_MAX_NAME + 1]; /* without folders */
    uint64_t n_bytes, hash;              /* XXH3-64 */
    uint64_t first_piece, n_pieces;
} en_original_file;

typedef struct en_original {
    bool is_folder; /* else one GGUF file */
    uint32_t n_files;
    uint64_t n_pieces, n_literal_bytes;
    en_original_file *files;
    en_piece *pieces;
} en_original;

/* May a file of an original have this name?  Not when it could lead out of its folder, hide, or
 * confuse a terminal. */
bool en_original_name_fits(const char *name, size_t n_name);

/* Checks untrusted bytes; that tensors exist and sizes add up is for who knows them. */
entro_status en_original_parse(en_original **out, const uint8_t *bytes, size_t n_bytes,
                               entro_error *err);
void en_original_free(en_original *original); /* NULL is fine */

size_t en_original_stored_bytes(const en_original *original);
void en_original_store(const en_original *original, uint8_t *out);

#endif
