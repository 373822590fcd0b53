/* hash.c - see hash.h.  The header-only form: one call, and no library to link. */
#include "base/hash.h"

#include "base/memory.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

struct en_hash {
    XXH3_state_t state;
};

uint64_t en_hash64(const void *data, size_t n_bytes)
{
    return XXH3_64bits(data, n_bytes);
}

en_hash *en_hash_new(void)
{
    return en_alloc_zero(1, sizeof(en_hash)); /* aligned to 64 bytes, as the state wants it */
}

void en_hash_free(en_hash *hash)
{
    en_free(hash);
}

void en_hash_start(en_hash *hash)
{
    XXH3_64bits_reset(&hash->state);
}

void en_hash_add(en_hash *hash, const void *data, size_t n_bytes)
{
    XXH3_64bits_update(&hash->state, data, n_bytes);
}

uint64_t en_hash_end(const en_hash *hash)
{
    return XXH3_64bits_digest(&hash->state);
}
