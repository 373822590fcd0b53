/*
 * recipe.h - which tensor is stored how.
 *
 *   no float numbers                   as they are
 *   one dimension (norms, biases)      f32
 *   two dimensions, >= 1024 weights    coded with the default method; embeddings included
 *   everything else                    as in the source
 *
 * With the default method "lossless" everything but matrices of plain numbers stays as it is.
 *
 * Coding 2 (strips) is used wherever the matrix fits, unless words were asked for; words otherwise.  Coding 4
 * (rans) takes its place when it was asked for, or when the method's aim is a size, or, where nothing was
 * asked for, in the matrices whose strips would take too many bits (matrix_encoder.h).
 *
 * Overrides "PATTERN=METHOD" (of rtn also "PATTERN=rtn:BITS") change the choice for tensors of two or
 * more dimensions; the first one that matches wins.
 */
#ifndef EN_PIPELINE_RECIPE_H
#define EN_PIPELINE_RECIPE_H

#include "pipeline/matrix_coding.h"
#include "quant/method.h"
#include "tensor/tensor.h"

typedef enum en_store_kind {
    EN_STORE_KEEP,
    EN_STORE_F32,
    EN_STORE_F16,
    EN_STORE_CODED
} en_store_kind;

typedef struct en_store_choice {
    en_store_kind kind;
    const en_quant_method *method; /* of a coded one */
    double bits;                   /* entropy asked of "rtn" */
    bool searched;                 /* how fine it is follows from the size of the file */
    bool strips;                   /* coding 2 or 4 ... */
    en_matrix_coding coding;       /* ... which; what the rate decides, the first pass does */
} en_store_choice;

typedef struct en_recipe_rule {
    char *pattern;
    en_store_choice choice;
    bool matched; /* some tensor has a name like this */
} en_recipe_rule;

typedef struct en_recipe {
    const en_quant_method *method;
    double bits;
    double bits_per_param; /* asked of the file; 0: file_bytes are, or nothing is */
    uint64_t file_bytes;
    double max_kld; /* asked instead of a size; 0: not */
    bool model_table, strips;
    en_matrix_coding coding; /* of strips */
    en_recipe_rule *rules;
    size_t n_rules;
    char *text; /* as stored in the file: "u8 coding=strips table=tensor output.weight=keep" */
} en_recipe;

entro_status en_recipe_init(en_recipe *recipe, const entro_compress_options *opt, entro_error *err);
void en_recipe_free(en_recipe *recipe); /* a zeroed one is fine */

en_store_choice en_recipe_choose(en_recipe *recipe, const en_tensor *tensor);
/* Whether the file is to have a certain size. */
static inline bool en_recipe_has_target(const en_recipe *recipe)
{
    return recipe->bits_per_param > 0 || recipe->file_bytes > 0 || recipe->max_kld > 0;
}
/* ENTRO_ERR_NOT_FOUND when a pattern has matched no tensor: likely a slip of the pen. */
entro_status en_recipe_check_used(const en_recipe *recipe, entro_error *err);

#endif
