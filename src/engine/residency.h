/*
 * residency.h - which matrices stay coded in memory, and which are kept packed.
 *
 * Packed ones take more memory and no decoding; where memory is slow against the processor, coded
 * ones are the faster.  The results are the same, bit for bit, so a choice may depend on a clock.
 */
#ifndef EN_ENGINE_RESIDENCY_H
#define EN_ENGINE_RESIDENCY_H

#include "model/decoder.h"

/* What became of the matrices in codings 2 and 4. */
typedef struct en_residency {
    uint32_t n_matrices, n_packed;
    uint64_t packed_bytes; /* kept besides the file */
    uint64_t weight_bytes; /* that a token reads: of matrices as they are kept */
} en_residency;

/* 'source' is the file that the decoder's weights lie in. */
entro_status en_residency_choose(en_residency *out, en_decoder *decoder, const en_source *source,
                                 const entro_model_options *opt, entro_error *err);

#endif
