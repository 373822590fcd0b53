/* compress_support.h - a compression that must succeed. */
#ifndef COMPRESS_SUPPORT_H
#define COMPRESS_SUPPORT_H

#include "pipeline/pipeline.h"
#include "test_support.h"

static inline entro_compress_report test_compress(const char *source, const char *path,
                                                  const entro_compress_options *opt)
{
    entro_compress_report r;
    entro_error err = {0};
    if (en_compress(source, path, opt, &r, &err) != ENTRO_OK)
        fail_msg("%s: %s", err.where, err.message);
    return r;
}

#endif
