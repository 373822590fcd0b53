/*
 * statistics_file.h - one file of the folder that statistics.h reads: a GGUF file (docs/statistics.md).
 *
 *   fisher.gguf      importances of all layers' outputs, of logits, of the embedding's rows; and the
 *                    covariance of gradients at the embedding
 *   gradients-003.gguf  covariances of the gradients at a layer's outputs, in blocks of rows (gradients.h)
 *   layer-003.gguf   covariances of the four inputs of a layer
 *   output.gguf      covariance of the output matrix's input
 *   text.gguf        ids of a text that the model wrote itself (calib_writer.h)
 *   unfinished-*.gguf   what a stage has done so far (unfinished.h)
 *
 * A covariance NAME is two tensors, NAME.correlation and NAME.diagonal (correlation.h).  Each file says
 * what model, text and settings it is from, and has a checksum of each tensor.
 */
#ifndef EN_CALIB_STATISTICS_FILE_H
#define EN_CALIB_STATISTICS_FILE_H

#include "base/file.h"
#include "base/pool.h"
#include "formats/gguf.h"
#include "model/decoder.h"

enum { EN_STATISTICS_VERSION = 1, EN_STATISTICS_TEXT = 160, EN_STATISTICS_MODEL = 160 };

typedef struct en_statistics_identity {
    char model[EN_STATISTICS_MODEL]; /* "qwen2, 28 layers, ...", for messages */
    uint64_t model_hash;             /* of shapes and a sample of the weights */
    char text[EN_STATISTICS_TEXT];   /* "wiki.train.txt", for people */
    uint64_t text_hash;              /* of the ids that were used */
    uint32_t n_positions;
    uint64_t n_tokens, n_fisher_tokens, seed;
} en_statistics_identity;

/*
 * Fills in the model's part.  A sample is the first, middle and last row of each matrix, as f32: the
 * same model in another 16-bit type is another model.  ENTRO_ERR_ARGUMENT when weights are coded.
 */
entro_status en_statistics_identify(en_statistics_identity *id, const en_decoder *decoder,
                                    entro_error *err);
/* Whether both are of the same model; of the same text and settings. */
bool en_statistics_same_model(const en_statistics_identity *a, const en_statistics_identity *b);
bool en_statistics_same_text(const en_statistics_identity *a, const en_statistics_identity *b);

/* The matrices of a layer, in groups that share an input: q k v; attn_output; gate up; ffn_down. */
enum { EN_LAYER_GROUPS = 4 };
typedef struct en_layer_group {
    const char *inputs;  /* name of the covariance: "attn_in", "attn_out", "ffn_in", "ffn_out" */
    const char *outputs; /* name of the importances behind "blk.3.": "qkv", "attn_output" ... */
    size_t n_inputs, n_outputs;
} en_layer_group;
en_layer_group en_layer_group_of(const en_hparams *hp, uint32_t group);
/* "blk.3.qkv.importance"; returns out. */
const char *en_importance_name(char *out, size_t n_out, const en_layer_group *group,
                               uint32_t layer);

/* What fisher.gguf and output.gguf hold beside. */
#define EN_OUTPUT_IMPORTANCE "output.importance"
#define EN_TOKENS_IMPORTANCE "token_embd.importance"
#define EN_TOKENS_COVARIANCE "token_embd.gradient"
#define EN_OUTPUT_COVARIANCE "output.in"
#define EN_GRADIENT_TOKENS   "tokens" /* behind a file's gradients: a vector of one */
/* "qkv.0.1": block 1 of matrix 0; returns 'out'. */
const char *en_gradient_name(char *out, size_t n_out, const en_layer_group *group, uint32_t matrix,
                             size_t block);

typedef enum en_statistics_kind {
    EN_STATISTICS_FISHER,
    EN_STATISTICS_GRADIENTS,
    EN_STATISTICS_LAYER,
    EN_STATISTICS_OUTPUT,
    EN_STATISTICS_TEXT_IDS,
    EN_STATISTICS_UNFINISHED_FISHER,
    EN_STATISTICS_UNFINISHED_TEXT,
    EN_STATISTICS_UNFINISHED_CACHE, /* numbered like layers */
    EN_STATISTICS_KINDS
} en_statistics_kind;

/* "layer-003.gguf"; returns 'out'. */
const char *en_statistics_name(char *out, size_t n_out, en_statistics_kind kind, uint32_t layer);
/* "FOLDER/layer-003.gguf"; NULL when out of memory, else freed with en_free(). */
char *en_statistics_path(const char *folder, en_statistics_kind kind, uint32_t layer);

/* Makes it when it is not there. */
entro_status en_statistics_make_folder(const char *folder, entro_error *err);

/* What is written: a vector, a covariance, or numbers as they are. */
typedef struct en_statistics_item {
    const char *name;
    size_t n;
    const float *vector; /* n floats */
    const float *sums;   /* n x n, lower triangle of sums of x x^T */
    double scale;        /* 1 / tokens behind the sums */
    const void *raw;     /* n plain numbers */
    en_dtype dtype;      /* of them */
} en_statistics_item;

/*
 * Appears whole or not at all; overwrites.  Beside the items, it needs the largest one in f16.
 * ENTRO_ERR_FORMAT when there is NaN or infinity, with the item's name.
 */
entro_status en_statistics_file_write(const char *path, const en_statistics_identity *id,
                                      en_statistics_kind kind, uint32_t layer,
                                      const en_statistics_item *items, size_t n_items,
                                      en_pool *pool, entro_error *err);

typedef struct en_statistics_file {
    en_map map; /* empty when parsed from memory */
    en_gguf gguf;
    const uint8_t *hashes; /* u64 a tensor, borrowed */
    en_statistics_identity id;
} en_statistics_file;

/* ENTRO_ERR_NOT_FOUND when there is no such file, ENTRO_ERR_FORMAT when it is none of this kind and
 * layer.  The names of errors begin with 'path'. */
entro_status en_statistics_file_open(en_statistics_file *f, const char *path,
                                     en_statistics_kind kind, uint32_t layer, entro_error *err);
/* The same from bytes that outlive 'f'. */
entro_status en_statistics_file_parse(en_statistics_file *f, const uint8_t *data, size_t n_bytes,
                                      en_statistics_kind kind, uint32_t layer, entro_error *err);
void en_statistics_file_close(en_statistics_file *f); /* a zeroed one is fine */

/* ENTRO_ERR_FORMAT unless the item is there, in this size. */
entro_status en_statistics_file_check(const en_statistics_file *f, const char *name, bool is_vector,
                                      size_t n, entro_error *err);
/* n floats, all finite and >= 0.  ENTRO_ERR_CHECKSUM when they are damaged. */
entro_status en_statistics_file_vector(const en_statistics_file *f, const char *name, size_t n,
                                       float *out, entro_error *err);
/* n plain numbers as they were written: borrowed bytes that may lie anywhere.  ENTRO_ERR_CHECKSUM when
 * they are damaged. */
entro_status en_statistics_file_raw(const en_statistics_file *f, const char *name, en_dtype dtype,
                                    size_t n, const uint8_t **out, entro_error *err);
/* n x n floats, both triangles. */
entro_status en_statistics_file_covariance(const en_statistics_file *f, const char *name, size_t n,
                                           float *h, en_pool *pool, entro_error *err);

#endif
