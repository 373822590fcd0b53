/*
 * compress_plan.h - what a compression will write, known before any weight is read.
 *
 *   choices:  what becomes of each source tensor (recipe.h)
 *   stored:   the tensors of the file: shared tables first, then one for each of the source, then
 *             what is needed to restore its files
 *   meta:     the file's metadata; it borrows 'hashes', filled in while tensors are written
 *
 *   collected: when nothing is lost, what else the source's files hold
 *
 * A payload's length in 'stored' is filled in likewise, which is why the head is written last.
 */
#ifndef EN_PIPELINE_COMPRESS_PLAN_H
#define EN_PIPELINE_COMPRESS_PLAN_H

#include "formats/metadata.h"
#include "formats/source.h"
#include "pipeline/original_collect.h"
#include "pipeline/quantizer.h"
#include "pipeline/recipe.h"

typedef struct en_compress_plan {
    en_source *source;
    uint32_t n_source; /* tensors there */
    uint32_t *order;   /* in which they are gone through and stored (tensor_order.h) */
    en_recipe recipe;
    en_store_choice *choices; /* of each source tensor */
    en_quantizer_need need;   /* of those with codes of 8 or 4 bits */
    bool word_alphabets[2];   /* of those in coding 1; by en_model_codes_slot() */
    uint32_t n_coded_tensors, n_strip_tensors;
    uint32_t n_unlimited_tensors; /* without a Huffman rate: integers of any size, passes */
    bool needs_statistics;
    uint32_t n_exact_tensors; /* in coding 3 */
    uint64_t n_params, n_coded_params, n_strip_params;
    uint64_t n_coded_bytes, n_all_bytes; /* of the source's tensors */

    en_tensor *stored;
    uint32_t n_stored;
    uint64_t *hashes; /* of each stored tensor */
    bool keeps_files; /* the source's files can be restored: 'collected' is set */
    en_collected collected;
    en_meta *meta;
    uint8_t *packed_meta; /* container/packed_meta.h; NULL: none */
    size_t n_packed_meta;
} en_compress_plan;

/* Opens the source too.  'plan' must be zeroed; en_compress_plan_close is right in every case. */
entro_status en_compress_plan_open(en_compress_plan *plan, const char *source,
                                   const entro_compress_options *opt, entro_error *err);
void en_compress_plan_close(en_compress_plan *plan);

/* Called again when all tensors are coded: only then it is known which of codings 2 and 4 they are in, and
 * which grids fit 16 or 8 bits. */
entro_status en_compress_plan_features(en_compress_plan *plan, uint64_t of_payloads,
                                       entro_error *err);

#endif
