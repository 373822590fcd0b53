/*
 * kv_piece.h - some positions of a cache as bytes, to keep them in a file and to go on from them.
 *
 *   keys, then values, of each:   numbers [layer][kv head][position][n_head_dim]
 *                                 scales  [layer][kv head][block][position]        with int8
 */
#ifndef EN_MODEL_KV_PIECE_H
#define EN_MODEL_KV_PIECE_H

#include "model/kv_cache.h"

/* Positions first .. first + n - 1, which lie in the cache. */
size_t en_kv_piece_bytes(const en_kv_cache *cache, uint32_t n);
void en_kv_piece_get(const en_kv_cache *cache, uint32_t first, uint32_t n, uint8_t *out);
void en_kv_piece_put(en_kv_cache *cache, uint32_t first, uint32_t n, const uint8_t *bytes);

#endif
