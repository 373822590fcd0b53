/* written_text.c - see written_text.h. */
#include "calib/written_text.h"

#include <string.h>

#include "base/memory.h"

/* Ids as f32, which holds those of the largest vocabulary. */
entro_status en_written_text_store(const char *path, const en_statistics_identity *id,
                                   const en_calib_text *text, entro_error *err)
{
    size_t n = (size_t)(text->n_sequences * text->n_positions);
    float *ids = en_alloc(n, sizeof *ids);
    if (ids == NULL)
        return en_fail_memory(err);
    for (size_t i = 0; i < n; i++)
        ids[i] = (float)text->tokens[i];
    en_statistics_item item = {.name = "tokens", .n = n, .vector = ids};
    entro_status status =
        en_statistics_file_write(path, id, EN_STATISTICS_TEXT_IDS, 0, &item, 1, NULL, err);
    en_free(ids);
    return status;
}

static bool load_ids(const en_statistics_file *f, uint32_t n_vocab, en_calib_text *text)
{
    size_t n = (size_t)(text->n_sequences * text->n_positions);
    float *ids = en_alloc(n, sizeof *ids);
    bool is_good = ids != NULL && en_statistics_file_vector(f, "tokens", n, ids, NULL) == ENTRO_OK;
    for (size_t i = 0; i < n && is_good; i++) {
        is_good = ids[i] < (float)n_vocab;
        text->tokens[i] = (int32_t)ids[i];
    }
    en_free(ids);
    return is_good;
}

bool en_written_text_load(const char *path, const en_statistics_identity *id, uint32_t n_vocab,
                          en_calib_text *text)
{
    en_statistics_file f;
    if (en_statistics_file_open(&f, path, EN_STATISTICS_TEXT_IDS, 0, NULL) != ENTRO_OK)
        return false;
    bool is_there = en_statistics_same_model(&f.id, id) && en_statistics_same_text(&f.id, id) &&
                    load_ids(&f, n_vocab, text);
    en_statistics_file_close(&f);
    return is_there;
}

/* 'text' says how long a sequence is and how many are wanted. */
static entro_status load_longer(const en_statistics_file *f, const en_decoder *decoder,
                                en_calib_text *text, entro_error *err)
{
    en_statistics_identity id = {0};
    EN_TRY(en_statistics_identify(&id, decoder, err));
    en_calib_text whole = {.n_positions = text->n_positions,
                           .n_sequences = f->id.n_tokens / text->n_positions};
    if (!en_statistics_same_model(&f->id, &id) || f->id.n_positions != text->n_positions ||
        whole.n_sequences < text->n_sequences)
        return en_fail(err, ENTRO_ERR_NOT_FOUND, "is a text of another model or length");
    /* before memory is taken for as many as a file may say */
    EN_TRY(en_statistics_file_check(f, "tokens", true, (size_t)f->id.n_tokens, err));
    whole.tokens = en_alloc((size_t)whole.n_sequences, text->n_positions * sizeof *whole.tokens);
    if (whole.tokens == NULL)
        return en_fail_memory(err);
    if (!load_ids(f, decoder->hp.n_vocab, &whole)) {
        en_calib_text_free(&whole);
        return en_fail(err, ENTRO_ERR_FORMAT, "is damaged");
    }
    text->tokens = whole.tokens;
    return ENTRO_OK;
}

entro_status en_calib_text_find(en_calib_text *text, const char *folder, const en_decoder *decoder,
                                uint32_t n_positions, uint64_t n_tokens, entro_error *err)
{
    *text = (en_calib_text){.n_positions = n_positions,
                            .n_sequences = (n_tokens + n_positions - 1) / n_positions};
    memcpy(text->name, EN_WRITTEN_TEXT_NAME, sizeof EN_WRITTEN_TEXT_NAME);
    char *path = en_statistics_path(folder, EN_STATISTICS_TEXT_IDS, 0);
    if (path == NULL)
        return en_fail_memory(err);
    en_statistics_file f;
    entro_status status = en_statistics_file_open(&f, path, EN_STATISTICS_TEXT_IDS, 0, err);
    if (status == ENTRO_OK) {
        status = load_longer(&f, decoder, text, err);
        en_statistics_file_close(&f);
    }
    en_free(path);
    bool is_none = status == ENTRO_ERR_FORMAT || status == ENTRO_ERR_CHECKSUM;
    return is_none ? ENTRO_ERR_NOT_FOUND : status;
}
