/*
 * hash.h - XXH3-64, the checksum of every stored tensor.
 */
#ifndef EN_BASE_HASH_H
#define EN_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

/* XXH3 64-bit with seed 0 (xxhash 0.8). */
uint64_t en_hash64(const void *data, size_t n_bytes);

#endif
