/*
 * matrix_coding.h - which of codings 2 (strips) and 4 (rans) is asked of a matrix.
 */
#ifndef EN_PIPELINE_MATRIX_CODING_H
#define EN_PIPELINE_MATRIX_CODING_H

typedef enum en_matrix_coding {
    EN_MATRIX_STRIPS,
    EN_MATRIX_RANS,
    EN_MATRIX_BY_RATE /* strips, unless they take more bits than they are worth (matrix_encoder.h) */
} en_matrix_coding;

#endif
