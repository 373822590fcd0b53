/*
 * class_choice.h - which rows and which columns of a matrix share a code table.
 *
 * Where rows and columns have steps of their own, their integers have spreads of their own, and one table
 * for all of them would be too wide for some.  So columns are sorted by the spread of their integers and
 * cut into classes, rows likewise; each pair of classes has its layout and its table (strip_matrix.h).
 *
 *   sorted:   |<- bin ->|<- bin ->| ...              of whole units (strips) each
 *   merged:   the two neighbours whose common table costs the fewest bits more, again and again, until a
 *             table of their own is worth its bytes to all that are left
 *
 * Bits are counted as the entropy of the integers of a sample of rows.
 */
#ifndef EN_PIPELINE_CLASS_CHOICE_H
#define EN_PIPELINE_CLASS_CHOICE_H

#include "base/job.h"
#include "container/strip_matrix.h"

typedef struct en_strip_classes {
    uint32_t n_row_classes, n_col_classes;
    uint32_t row_class_end[EN_STRIP_MAX_ROW_CLASSES]; /* in strips */
    uint32_t col_class_end[EN_STRIP_MAX_COL_CLASSES]; /* in units */
    uint32_t *row_order, *col_order;                  /* owned; NULL: as they are (one class) */
} en_strip_classes;

/* z: n_rows x n_cols; is_rans: for coding 4, whose tables are smaller.  The same for any number of threads. */
entro_status en_strip_classes_choose(en_strip_classes *out, const int32_t *z, size_t n_rows,
                                     size_t n_cols, bool is_rans, en_job *job, entro_error *err);
void en_strip_classes_free(en_strip_classes *c); /* a zeroed one is fine */

#endif
