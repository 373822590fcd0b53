/*
 * fuzz_code.c - hostile code tables and segments: both decoders must agree in verdict and symbols
 * and stay inside their memory.
 *
 *   | 0: 16 symbols, 1: 256 | n_symbols: 2 | table bytes: 1 | table | segment |
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "entropy/code.h"
#include "fuzz_entry.h"

enum { MOST_SYMBOLS = 2048 };

static void require(int ok)
{
    if (!ok)
        abort();
}

/* Bytes in memory of exactly the size the contract asks for. */
static uint8_t *copy_exact(const uint8_t *from, size_t n, size_t more)
{
    uint8_t *p = malloc(n + more > 0 ? n + more : 1);
    require(p != NULL);
    memcpy(p, from, n);
    memset(p + n, 0x5a, more);
    return p;
}

static int decode_both(const en_code *code, const uint8_t *segment, size_t n_bytes, uint8_t *a,
                       uint8_t *b, size_t n_symbols, unsigned alphabet)
{
    int ok = en_code_decode(code, segment, n_bytes, a, n_symbols);
    require(en_code_decode_ref(code, segment, n_bytes, b, n_symbols) == ok);
    require(memcmp(a, b, n_symbols) == 0);
    for (size_t i = 0; i < n_symbols; i++)
        require(a[i] < alphabet);
    return ok;
}

static void try_hostile(unsigned alphabet, size_t n_symbols, const uint8_t *data, size_t n_bytes)
{
    size_t table_bytes = data[0] < n_bytes - 1 ? data[0] : n_bytes - 1;
    uint8_t *table = copy_exact(data + 1, table_bytes, 0);
    en_code *code;
    entro_error err;
    if (en_code_load(&code, alphabet, table, table_bytes, &err) == ENTRO_OK) {
        size_t rest = n_bytes - 1 - table_bytes;
        uint8_t *segment = copy_exact(data + 1 + table_bytes, rest, EN_CODE_IN_PAD);
        uint8_t *a = malloc(n_symbols + EN_CODE_OUT_SLACK), *b = malloc(n_symbols + 1);
        require(a && b);
        decode_both(code, segment, rest, a, b, n_symbols, alphabet);
        require(en_code_stored_bytes(code) > 0 && en_code_memory_bytes(code) > 0);
        free(segment);
        free(a);
        free(b);
        en_code_free(code);
    }
    free(table);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    if (n_bytes >= 4)
        try_hostile(data[0] & 1 ? 256 : 16, en_load16(data + 1) % MOST_SYMBOLS, data + 3,
                    n_bytes - 3);
    return 0;
}
