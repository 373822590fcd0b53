/*
 * table_choice.h - what the other choice of --table would have cost.
 *
 * From every coded tensor 64 Ki codes are kept, in sixteen pieces spread over it, and coded with the
 * tensor's own table and, at the end, with the model's.  (The cost could be computed from
 * histograms, but for words of several symbols that estimate is 5 % off where tables fit badly.)
 */
#ifndef EN_PIPELINE_TABLE_CHOICE_H
#define EN_PIPELINE_TABLE_CHOICE_H

#include "pipeline/quantizer.h"

typedef struct en_table_sample {
    uint8_t *symbols;
    size_t n_symbols;
    int slot; /* en_model_codes_slot */
    uint64_t n_weights;
    size_t own_bytes;       /* of the sample, coded with the tensor's own table */
    size_t own_table_bytes; /* that table as stored */
} en_table_sample;

typedef struct en_table_choice {
    en_table_sample *samples;
    size_t n_samples, cap;
    en_histogram *all[2]; /* over the model; NULL where the alphabet is not in use */
} en_table_choice;

entro_status en_table_choice_open(en_table_choice *choice, const bool alphabets[2],
                                  entro_error *err);
void en_table_choice_close(en_table_choice *choice); /* a zeroed one is fine */

/* The tensor that 'q' holds, with its own code. */
entro_status en_table_choice_add(en_table_choice *choice, const en_quantizer *q, const en_code *own,
                                 entro_error *err);
/* The model's codes, from all tensors added. */
entro_status en_table_choice_build(const en_table_choice *choice, en_model_codes *codes,
                                   entro_error *err);
/* Bits that all weights take more with the model's tables than with their own; tables included. */
entro_status en_table_choice_compare(const en_table_choice *choice, const en_model_codes *codes,
                                     double *more_bits, entro_error *err);

#endif
