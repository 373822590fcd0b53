/*
 * fuzz_unfinished.c - any bytes as what an earlier run left of importances, of a text, or of its keys and values: a
 * place that cannot be is refused, and nothing is written beside the state.  Checksums keep hostile numbers
 * out; the corpus has right ones.
 */
#include <string.h>

#include "base/memory.h"
#include "calib/unfinished_fisher.h"
#include "calib/unfinished_text.h"
#include "fuzz_entry.h"

/* ---- importances --------------------------------------------------------------------------- */

enum { LAYERS = 2, SEQUENCES = 5, GROUP = 2, FLOATS = 4, ROWS = 6, VOCAB = 7, EMBD = 3 };

static const en_fisher_shape shape = {.n_sequences = SEQUENCES,
                                      .n_group = GROUP,
                                      .n_batch = 1,
                                      .n_layers = LAYERS,
                                      .n_sequence_floats = FLOATS,
                                      .n_rows = ROWS,
                                      .n_vocab = VOCAB,
                                      .n_embd = EMBD};

static void read_fisher(const en_statistics_file *f)
{
    entro_error err = {0};
    en_fisher_place place;
    entro_status status = en_unfinished_fisher_check(f, &shape, &place, &err);
    if (status != ENTRO_OK) {
        REQUIRE(err.status == status && err.message[0] != '\0');
        return;
    }
    REQUIRE(place.n_done < SEQUENCES && place.n_done % GROUP == 0 && place.n_left <= LAYERS);
    double rows[ROWS], output[VOCAB], energy[VOCAB]; /* a sanitizer sees what is beside them */
    uint64_t counts[VOCAB];
    float gradients[EMBD * EMBD], dx[GROUP * FLOATS];
    en_fisher_sums sums = {rows, output, energy, counts, gradients, dx};
    REQUIRE(en_unfinished_fisher_read(f, &shape, &sums, NULL) == ENTRO_OK);
}

/* ---- texts --------------------------------------------------------------------------------- */

enum { TEXTS = 3, BATCH = 2, POSITIONS = 40 };

static void read_text(const en_statistics_file *f, en_text_state *s)
{
    entro_error err = {0};
    en_text_place place;
    entro_status status = en_unfinished_text_read(f, s, &place, &err);
    if (status != ENTRO_OK) {
        REQUIRE(err.status == status && err.message[0] != '\0');
        return;
    }
    REQUIRE(place.n_done < TEXTS && place.n_done % BATCH == 0 && place.position < POSITIONS &&
            place.position % EN_TEXT_PIECE == 0);
    for (uint64_t i = 0; i < place.n_done * POSITIONS; i++)
        REQUIRE(s->done[i] >= 0 && s->done[i] < VOCAB);
}

static void read_cache(const en_statistics_file *f, en_text_state *s)
{
    for (uint64_t n_done = 0; n_done < TEXTS; n_done += BATCH) {
        const en_text_place place = {.n_done = n_done, .position = 2 * EN_TEXT_PIECE};
        entro_error err = {0};
        entro_status status = en_unfinished_cache_read(f, s, &place, 1, &err);
        REQUIRE(status == ENTRO_OK || (err.status == status && err.message[0] != '\0'));
    }
}

static void read_with_state(const en_statistics_file *f, en_statistics_kind kind)
{
    static const en_hparams hp = {.n_layers = 1, .n_kv_heads = 1, .n_head_dim = 4};
    int32_t done[TEXTS * POSITIONS], tokens[BATCH * POSITIONS];
    en_kv_cache caches[BATCH];
    en_text_state s = {.n_texts = TEXTS,
                       .n_positions = POSITIONS,
                       .n_vocab = VOCAB,
                       .n_steps = POSITIONS,
                       .n_batch = BATCH,
                       .done = done,
                       .tokens = tokens,
                       .caches = caches};
    bool is_made = true;
    for (int i = 0; i < BATCH; i++)
        is_made &= en_kv_cache_new(&caches[i], &hp, POSITIONS, ENTRO_KV_INT8, NULL) == ENTRO_OK;
    if (is_made && kind == EN_STATISTICS_UNFINISHED_TEXT)
        read_text(f, &s);
    else if (is_made)
        read_cache(f, &s);
    for (int i = 0; i < BATCH; i++)
        en_kv_cache_free(&caches[i]);
}

/* -------------------------------------------------------------------------------------------- */

static void open_kind(const uint8_t *bytes, size_t n_bytes, en_statistics_kind kind)
{
    uint32_t number = kind == EN_STATISTICS_UNFINISHED_CACHE;
    en_statistics_file f;
    if (en_statistics_file_parse(&f, bytes, n_bytes, kind, number, NULL) != ENTRO_OK)
        return;
    if (kind == EN_STATISTICS_UNFINISHED_FISHER)
        read_fisher(&f);
    else
        read_with_state(&f, kind);
    en_statistics_file_close(&f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    uint8_t last = n_bytes > 0 ? data[n_bytes - 1] : 0;
    uint8_t *bytes = en_alloc(n_bytes, 1); /* aligned like a mapped file */
    if (bytes == NULL)
        return 0;
    memcpy(bytes, data, n_bytes);
    for (int kind = EN_STATISTICS_UNFINISHED_FISHER; kind < EN_STATISTICS_KINDS; kind++) {
        en_memory_fail_at((last & 3) == 3 ? last >> 2 : UINT64_MAX);
        open_kind(bytes, n_bytes, (en_statistics_kind)kind);
        en_memory_fail_at(UINT64_MAX);
    }
    en_free(bytes);
    REQUIRE(en_memory_in_use() == 0);
    return 0;
}
