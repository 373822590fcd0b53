/*
 * fuzz_safetensors.c - any bytes as a safetensors file.
 *
 * What was accepted must lie inside the file, not overlap, and be found by its name.  One input in
 * four also has one allocation fail; nothing may leak either way.
 */
#include "base/memory.h"
#include "formats/safetensors.h"
#include "fuzz_entry.h"

static void use(const en_safetensors *st, const uint8_t *data, size_t n_bytes)
{
    for (uint32_t i = 0; i < st->n_entries; i++) {
        const en_safetensors_entry *e = &st->entries[i];
        entro_error err = {0};
        en_tensor t = {0};
        REQUIRE(en_safetensors_find(st, e->name) == e);
        REQUIRE(e->offset <= n_bytes && e->n_bytes <= n_bytes - e->offset);
        for (uint32_t k = 0; k < i; k++)
            REQUIRE(e->n_bytes == 0 || st->entries[k].n_bytes == 0 ||
                    e->offset >= st->entries[k].offset + st->entries[k].n_bytes ||
                    st->entries[k].offset >= e->offset + e->n_bytes);
        if (en_safetensors_tensor(e, &t, &err) == ENTRO_OK) {
            uint64_t n;
            REQUIRE(t.data == data + t.offset && t.offset == e->offset);
            REQUIRE(en_dtype_bytes(t.dtype, en_tensor_n_elems(&t), &n) && n == t.n_bytes);
        } else {
            REQUIRE(err.status == ENTRO_ERR_UNSUPPORTED);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    en_safetensors st;
    entro_error err = {0};
    uint8_t last = n_bytes > 0 ? data[n_bytes - 1] : 0;
    en_memory_fail_at((last & 3) == 3 ? last >> 2 : UINT64_MAX);
    entro_status status = en_safetensors_parse(&st, data, n_bytes, &err);
    en_memory_fail_at(UINT64_MAX);
    if (status == ENTRO_OK)
        use(&st, data, n_bytes);
    else
        REQUIRE(err.status == status && err.message[0] != '\0');
    en_safetensors_close(&st);
    REQUIRE(en_memory_in_use() == 0);
    return 0;
}
