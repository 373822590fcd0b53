/* hash.c - see hash.h.  The header-only form: one call, and no library to link. */
#include "base/hash.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

uint64_t en_hash64(const void *data, size_t n_bytes)
{
    return XXH3_64bits(data, n_bytes);
}
