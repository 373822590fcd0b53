/* blas.c - see blas.h. */
#include "quant/blas.h"

#include <dlfcn.h>
#include <pthread.h>
#include <string.h>

static en_blas blas;
static bool is_there;
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* Functions come as object pointers; POSIX says that both are of one kind. */
static bool find(void *library, const char *name, void *function)
{
    void *symbol = dlsym(library, name);
    memcpy(function, &symbol, sizeof symbol);
    return symbol != NULL;
}

static void load(void)
{
    static const char *const names[] = {"libopenblas.so.0", "libopenblas.so"};
    void *library = NULL;
    for (size_t i = 0; library == NULL && i < sizeof names / sizeof names[0]; i++)
        library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
    is_there = library != NULL && find(library, "cblas_sgemm", &blas.sgemm) &&
               find(library, "cblas_ssyrk", &blas.ssyrk) &&
               find(library, "cblas_strsm", &blas.strsm) &&
               find(library, "spotrf_", &blas.spotrf) && find(library, "spotri_", &blas.spotri) &&
               find(library, "openblas_set_num_threads", &blas.set_num_threads) &&
               find(library, "openblas_get_num_threads", &blas.get_num_threads);
}

entro_status en_blas_open(entro_error *err)
{
    pthread_once(&once, load);
    return is_there ? ENTRO_OK
                    : en_fail(err, ENTRO_ERR_UNSUPPORTED,
                              "calibration needs OpenBLAS (libopenblas.so.0), which is not here; "
                              "install libopenblas0, or use a method without calibration (rtn)");
}

const en_blas *en_blas_get(void)
{
    pthread_once(&once, load);
    return &blas;
}
