/*
 * test_kv_piece.c - positions that are taken out of a cache and put into another one are the same, and others stay.
 */
#include "model/kv_piece.h"

#include <string.h>

#include "test_support.h"

#include "base/memory.h"

enum {
    LAYERS = 2,
    KV_HEADS = 3,
    HEAD = 40,
    CTX = 12
}; /* a head of two blocks, one of them short */

static const en_hparams hp = {.n_layers = LAYERS, .n_kv_heads = KV_HEADS, .n_head_dim = HEAD};

static void fill(en_kv_cache *cache, uint64_t seed)
{
    float k[KV_HEADS * HEAD], v[KV_HEADS * HEAD];
    for (uint32_t layer = 0; layer < LAYERS; layer++)
        for (uint32_t p = 0; p < CTX; p++) {
            for (size_t i = 0; i < KV_HEADS * HEAD; i++) {
                k[i] = (float)(test_random(&seed) >> 40) - 8e6f;
                v[i] = (float)(test_random(&seed) >> 40) - 8e6f;
            }
            en_kv_cache_put(cache, en_kernels_get(), layer, p, k, v);
        }
}

static void pieces_make_the_same_cache(void **state)
{
    (void)state;
    static const entro_kv_type types[] = {ENTRO_KV_F16, ENTRO_KV_INT8};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        en_kv_cache from, to;
        uint8_t all[2][1 << 14], piece[1 << 12];
        assert_int_equal(en_kv_cache_new(&from, &hp, CTX, types[i], NULL), ENTRO_OK);
        assert_int_equal(en_kv_cache_new(&to, &hp, CTX, types[i], NULL), ENTRO_OK);
        fill(&from, 1);
        fill(&to, 2);
        size_t n_bytes = en_kv_piece_bytes(&from, CTX), n_piece = en_kv_piece_bytes(&from, 3);
        assert_int_equal(n_bytes, en_kv_cache_bytes(&from));
        assert_true(n_bytes <= sizeof all[0] && n_piece < sizeof piece);
        for (uint32_t first = 0; first < CTX; first += 3) {
            uint8_t before[1 << 12];
            en_kv_piece_get(&to, (first + 3) % CTX, 3, before);
            piece[n_piece] = 77;
            en_kv_piece_get(&from, first, 3, piece);
            assert_int_equal(piece[n_piece], 77);
            en_kv_piece_put(&to, first, 3, piece);
            en_kv_piece_get(&to, (first + 3) % CTX, 3, piece);
            assert_memory_equal(piece, before, n_piece);
        }
        en_kv_piece_get(&from, 0, CTX, all[0]);
        en_kv_piece_get(&to, 0, CTX, all[1]);
        assert_memory_equal(all[0], all[1], n_bytes);
        en_kv_cache_free(&from);
        en_kv_cache_free(&to);
    }
    assert_int_equal(en_memory_in_use(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(pieces_make_the_same_cache)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
