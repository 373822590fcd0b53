/*
 * blas.h - OpenBLAS, loaded when the first product is asked for.
 *
 * Only calibration needs it: a machine that runs models need not have it, and no program pays for the
 * threads and buffers that it makes when it is loaded.
 */
#ifndef EN_QUANT_BLAS_H
#define EN_QUANT_BLAS_H

#include <cblas.h>

#include "base/status.h"

typedef struct en_blas {
    void (*sgemm)(enum CBLAS_ORDER order, enum CBLAS_TRANSPOSE trans_a,
                  enum CBLAS_TRANSPOSE trans_b, blasint m, blasint n, blasint k, float alpha,
                  const float *a, blasint lda, const float *b, blasint ldb, float beta, float *c,
                  blasint ldc);
    void (*ssyrk)(enum CBLAS_ORDER order, enum CBLAS_UPLO uplo, enum CBLAS_TRANSPOSE trans,
                  blasint n, blasint k, float alpha, const float *a, blasint lda, float beta,
                  float *c, blasint ldc);
    void (*strsm)(enum CBLAS_ORDER order, enum CBLAS_SIDE side, enum CBLAS_UPLO uplo,
                  enum CBLAS_TRANSPOSE trans, enum CBLAS_DIAG diag, blasint m, blasint n,
                  float alpha, const float *a, blasint lda, float *b, blasint ldb);
    /* LAPACK's, by columns. */
    void (*spotrf)(const char *triangle, const int *n, float *a, const int *stride, int *info);
    void (*spotri)(const char *triangle, const int *n, float *a, const int *stride, int *info);
    void (*set_num_threads)(int n_threads);
    int (*get_num_threads)(void);
} en_blas;

/* ENTRO_ERR_UNSUPPORTED, with the package's name, when there is none.  Any thread; later calls cost nothing. */
entro_status en_blas_open(entro_error *err);

/* After en_blas_open() has succeeded somewhere. */
const en_blas *en_blas_get(void);

#endif
