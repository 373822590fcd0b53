/*
 * hash.h - XXH3-64, the checksum of every stored tensor and of carried files.
 */
#ifndef EN_BASE_HASH_H
#define EN_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

/* XXH3 64-bit with seed 0 (xxhash 0.8). */
uint64_t en_hash64(const void *data, size_t n_bytes);

/* The same, of bytes that come piece by piece. */
typedef struct en_hash en_hash;
en_hash *en_hash_new(void); /* NULL when out of memory */
void en_hash_free(en_hash *hash);
void en_hash_start(en_hash *hash);
void en_hash_add(en_hash *hash, const void *data, size_t n_bytes);
uint64_t en_hash_end(const en_hash *hash);

#endif
