/*
 * class_counts.h - the entropy of integers whose tables are those of their pair of classes.
 */
#ifndef EN_PIPELINE_CLASS_COUNTS_H
#define EN_PIPELINE_CLASS_COUNTS_H

#include "base/status.h"
#include "container/strip_matrix.h"

enum {
    EN_CLASS_WINDOW = 1 << 11, /* integers beyond are taken as all different */
    EN_CLASS_VALUES = 2 * EN_CLASS_WINDOW,
    EN_CLASS_PAIRS = EN_STRIP_MAX_ROW_CLASSES * EN_STRIP_MAX_COL_CLASSES
};

typedef struct en_class_counts {
    uint32_t *inside; /* [pair][z + EN_CLASS_WINDOW] */
    uint64_t outside[EN_CLASS_PAIRS];
} en_class_counts;

entro_status en_class_counts_new(en_class_counts *c, entro_error *err);
void en_class_counts_free(en_class_counts *c); /* a zeroed one is fine */
void en_class_counts_clear(en_class_counts *c, uint32_t n_pairs);
void en_class_counts_add(en_class_counts *c, uint32_t pair, const int32_t *z, size_t n);
void en_class_counts_merge(en_class_counts *c, const en_class_counts *other, uint32_t n_pairs);
/* Counts of all pairs together in those of the first one: what the integers are under one table. */
void en_class_counts_join(en_class_counts *c, uint32_t n_pairs);
/* Bits an integer; 0 when there is none. */
double en_class_counts_entropy(const en_class_counts *c, uint32_t n_pairs);

#endif
