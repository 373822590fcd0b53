/*
 * compress_account.h - sums over the coded tensors of a compression, for its report.
 */
#ifndef EN_PIPELINE_COMPRESS_ACCOUNT_H
#define EN_PIPELINE_COMPRESS_ACCOUNT_H

#include "pipeline/compress_plan.h"
#include "pipeline/compress_strips.h"
#include "pipeline/planes_encoder.h"

typedef struct en_compress_account {
    uint64_t n_weights, n_coded_bytes, n_exceptions;
    uint64_t n_table_bytes; /* of the tables in use */
    double entropy_bits, huffman_bits;
    double more_bits;  /* what one table a model takes more than one a tensor */
    double loss;       /* NAN once a tensor has none */
    uint64_t features; /* of the file, that matrices need: grids, codings 2 and 4 */
    uint32_t n_rans_tensors;
    uint64_t n_original_bytes; /* for the source's files, beyond the weights */
    en_error_sums errors;
    uint32_t pass;
    const entro_compress_options *opt; /* whose account function is told */
} en_compress_account;

/* What a loss estimated on the text of calibration is expected to be as KLD on other text: measured were
 * 1.5 to 2.0, more the fewer bits (docs/quality.md). */
#define EN_KLD_OF_LOSS 2.1

/* Empties it for pass number 'pass'. */
void en_compress_account_start(en_compress_account *a, const entro_compress_options *opt,
                               uint32_t pass);
/* The integers of the tensor that 'q' holds. */
void en_compress_account_histogram(const en_quantizer *q, entro_histogram *histogram);
/* The tensor that 'q' holds, coded in words of n_bytes. */
void en_compress_account_words(en_compress_account *a, const en_tensor *t, const en_quantizer *q,
                               size_t n_bytes);
/* What the quantizer of a matrix in strips knows beyond the encoder; losses are NAN when not known. */
typedef struct en_matrix_figures {
    const en_error_sums *errors;
    double loss, loss_alone, entropy_one_table;
    const entro_histogram *histogram;
} en_matrix_figures;
/* The tensor just coded in strips. */
void en_compress_account_strips(en_compress_account *a, const en_tensor *t,
                                const en_matrix_encoder *e, const en_matrix_figures *figures);

/* The tensor just coded as it is. */
void en_compress_account_exact(en_compress_account *a, const en_tensor *t,
                               const en_planes_encoder *e);

/* Everything but time, memory and the search. */
void en_compress_account_report(const en_compress_account *a, const en_compress_plan *plan,
                                uint64_t n_file_bytes, entro_compress_report *report);

#endif
