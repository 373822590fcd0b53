/*
 * fuzz_sentencepiece.c - any bytes as tokenizer.model, parsed and turned into GGUF keys.
 *
 * One input in four also has one allocation fail; nothing may leak either way.
 */
#include "base/memory.h"
#include "formats/hf_tokenizer.h"
#include "formats/sentencepiece.h"
#include "fuzz_entry.h"

static void use(const en_sentencepiece *sp, const uint8_t *data, size_t n_bytes)
{
    for (size_t i = 0; i < sp->n_pieces; i++) {
        const en_spm_piece *piece = &sp->pieces[i];
        const uint8_t *text = (const uint8_t *)piece->text.p;
        REQUIRE(text >= data && piece->text.n > 0 && piece->text.n <= n_bytes);
        REQUIRE(text + piece->text.n <= data + n_bytes);
        REQUIRE(piece->kind >= EN_HF_TOKEN_NORMAL && piece->kind <= EN_HF_TOKEN_BYTE);
    }
}

static entro_status build(const uint8_t *data, size_t n_bytes, entro_error *err)
{
    en_meta *meta;
    entro_status status = en_meta_new(&meta, err);
    if (status != ENTRO_OK)
        return status;
    en_hf_tokenizer_files files = {.sentencepiece = {(const char *)data, n_bytes}};
    status = en_hf_tokenizer_build(meta, &files, 0, err);
    en_meta_free(meta);
    return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    en_sentencepiece sp;
    entro_error err = {0};
    uint8_t last = n_bytes > 0 ? data[n_bytes - 1] : 0;
    entro_status status = en_sentencepiece_parse(&sp, data, n_bytes, &err);
    if (status == ENTRO_OK)
        use(&sp, data, n_bytes);
    else
        REQUIRE(err.status == status && err.message[0] != '\0');
    en_sentencepiece_free(&sp);
    en_memory_fail_at((last & 3) == 3 ? last >> 2 : UINT64_MAX);
    entro_status built = n_bytes > 0 ? build(data, n_bytes, &err) : status;
    en_memory_fail_at(UINT64_MAX);
    REQUIRE(built == status || built == ENTRO_ERR_NOMEM);
    REQUIRE(en_memory_in_use() == 0);
    return 0;
}
