/*
 * fuzz_reference_cache.c - any bytes as a file of reference predictions.
 *
 * What was accepted must lie inside the file, hold numbers only, and serve no run it does not fit.
 */
#include <math.h>

#include "base/bytes.h"
#include "eval/reference_cache.h"
#include "fuzz_entry.h"

static void use(const en_reference_cache *c)
{
    entro_error err = {0};
    int32_t tokens[64] = {0};
    en_windows w = {.tokens = tokens, .n_ctx = 16, .n_windows = 4};
    entro_status status = en_reference_cache_check(c, &w, c->identity, c->n_embd, &err);
    REQUIRE(status == ENTRO_OK || (status == ENTRO_ERR_MISMATCH && err.message[0] != '\0'));
    REQUIRE(en_reference_cache_check(c, &w, c->identity + 1, c->n_embd, NULL) != ENTRO_OK);
    size_t n = (size_t)(c->n_ctx - 1 - c->n_ctx / 2) * c->n_embd;
    for (uint32_t i = 0; i < c->n_windows; i++) {
        const uint8_t *rows;
        status = en_reference_cache_window(c, i, &rows, &err);
        if (status != ENTRO_OK) {
            REQUIRE(status == ENTRO_ERR_CHECKSUM || status == ENTRO_ERR_FORMAT);
            continue;
        }
        REQUIRE(rows >= c->data && rows + n * sizeof(float) <= c->data + c->n_bytes);
        for (size_t k = 0; k < n; k++)
            REQUIRE(isfinite(en_load_f32(rows + k * sizeof(float))));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    en_reference_cache c;
    entro_error err = {0};
    entro_status status = en_reference_cache_parse(&c, data, n_bytes, &err);
    if (status == ENTRO_OK)
        use(&c);
    else
        REQUIRE(err.status == status && err.message[0] != '\0');
    return 0;
}
