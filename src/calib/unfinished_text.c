/* unfinished_text.c - see unfinished_text.h. */
#include "calib/unfinished_text.h"

#include <inttypes.h>
#include <string.h>

#include "base/bytes.h"
#include "base/memory.h"
#include "model/kv_piece.h"

enum { N_PLACE = 3, N_PIECE_PLACE = 2 };

/* ---- reading ------------------------------------------------------------------------------- */

static entro_status read_place(const en_statistics_file *f, const en_text_state *s,
                               en_text_place *place, entro_error *err)
{
    const uint8_t *p;
    EN_TRY(en_statistics_file_raw(f, "place", EN_DTYPE_I64, N_PLACE, &p, err));
    uint64_t n_done = en_load64(p), position = en_load64(p + 8), n_batch = en_load64(p + 16);
    if (n_batch != s->n_batch)
        return en_fail(err, ENTRO_ERR_FORMAT,
                       "it has %" PRIu64 " texts at once, expected %" PRIu32
                       " (another version of the program?)",
                       n_batch, s->n_batch);
    if (n_done >= s->n_texts || n_done % n_batch != 0 || position >= s->n_steps ||
        position % EN_TEXT_PIECE != 0)
        return en_fail(err, ENTRO_ERR_FORMAT,
                       "it is at text %" PRIu64 " of %" PRIu64 ", token %" PRIu64 " of %" PRIu32
                       ", which cannot be",
                       n_done, s->n_texts, position, s->n_steps);
    *place = (en_text_place){.n_done = n_done, .position = (uint32_t)position};
    return ENTRO_OK;
}

/* Rows of n_cols ids, to rows that are n_apart apart. */
static entro_status read_ids(const en_statistics_file *f, const char *name, const en_text_state *s,
                             size_t n_rows, size_t n_cols, int32_t *out, size_t n_apart,
                             entro_error *err)
{
    const uint8_t *p;
    if (n_rows * n_cols == 0)
        return ENTRO_OK;
    EN_TRY(en_statistics_file_raw(f, name, EN_DTYPE_I32, n_rows * n_cols, &p, err));
    for (size_t i = 0; i < n_rows * n_cols; i++) {
        uint32_t id = en_load32(p + 4 * i);
        if (id >= s->n_vocab)
            return en_fail(err, ENTRO_ERR_FORMAT,
                           "it has a token %" PRIu32 ", the model has %" PRIu32, id, s->n_vocab);
        out[i / n_cols * n_apart + i % n_cols] = (int32_t)id;
    }
    return ENTRO_OK;
}

entro_status en_unfinished_text_read(const en_statistics_file *f, en_text_state *s,
                                     en_text_place *place, entro_error *err)
{
    EN_TRY(read_place(f, s, place, err));
    size_t n = place->position > 0 ? en_text_batch_at(s, place->n_done) : 0;
    EN_TRY(read_ids(f, "done", s, (size_t)place->n_done, s->n_positions, s->done, s->n_positions,
                    err));
    return read_ids(f, "begun", s, n, (size_t)place->position + 1, s->tokens, s->n_steps, err);
}

entro_status en_unfinished_cache_read(const en_statistics_file *f, en_text_state *s,
                                      const en_text_place *place, uint32_t piece, entro_error *err)
{
    const uint8_t *p;
    uint32_t n = en_text_batch_at(s, place->n_done);
    size_t n_bytes = en_kv_piece_bytes(&s->caches[0], EN_TEXT_PIECE);
    EN_TRY(en_statistics_file_raw(f, "place", EN_DTYPE_I64, N_PIECE_PLACE, &p, err));
    if (en_load64(p) != place->n_done || en_load64(p + 8) != n)
        return en_fail(err, ENTRO_ERR_FORMAT, "it is of other texts");
    EN_TRY(en_statistics_file_raw(f, "caches", EN_DTYPE_I8, n * n_bytes, &p, err));
    for (uint32_t i = 0; i < n; i++)
        en_kv_piece_put(&s->caches[i], piece * EN_TEXT_PIECE, EN_TEXT_PIECE, p + i * n_bytes);
    return ENTRO_OK;
}

/* Without its keys and values the batch begins again. */
static entro_status load_piece(en_text_state *s, en_text_place *place, uint32_t piece,
                               const char *folder, const en_statistics_identity *id, en_job *job,
                               entro_error *err)
{
    en_statistics_file f;
    entro_error why = {0};
    EN_TRY(en_unfinished_open(&f, folder, EN_STATISTICS_UNFINISHED_CACHE, piece, id, job, err));
    entro_status status = en_unfinished_is_there(&f)
                              ? en_unfinished_cache_read(&f, s, place, piece, &why)
                              : en_fail(&why, ENTRO_ERR_NOT_FOUND, "it cannot be read");
    if (status != ENTRO_OK) {
        en_unfinished_refuse(&f, EN_STATISTICS_UNFINISHED_CACHE, piece, &why, job);
        place->position = 0;
    }
    en_statistics_file_close(&f);
    return ENTRO_OK;
}

entro_status en_unfinished_text_load(en_text_state *s, en_text_place *place, const char *folder,
                                     const en_statistics_identity *id, en_job *job,
                                     entro_error *err)
{
    en_statistics_file f;
    entro_error why = {0};
    *place = (en_text_place){0};
    EN_TRY(en_unfinished_open(&f, folder, EN_STATISTICS_UNFINISHED_TEXT, 0, id, job, err));
    if (!en_unfinished_is_there(&f))
        return ENTRO_OK;
    if (en_unfinished_text_read(&f, s, place, &why) != ENTRO_OK) {
        en_unfinished_refuse(&f, EN_STATISTICS_UNFINISHED_TEXT, 0, &why, job);
        *place = (en_text_place){0};
    }
    en_statistics_file_close(&f);
    for (uint32_t k = 0; k * EN_TEXT_PIECE < place->position; k++)
        EN_TRY(load_piece(s, place, k, folder, id, job, err));
    return ENTRO_OK;
}

/* ---- writing ------------------------------------------------------------------------------- */

static void get_piece(const en_text_state *s, uint32_t n, uint32_t piece, uint8_t *out)
{
    size_t n_bytes = en_kv_piece_bytes(&s->caches[0], EN_TEXT_PIECE);
    for (uint32_t i = 0; i < n; i++)
        en_kv_piece_get(&s->caches[i], piece * EN_TEXT_PIECE, EN_TEXT_PIECE, out + i * n_bytes);
}

static entro_status save_pieces(const en_text_state *s, const en_text_place *place,
                                uint32_t first_piece, const char *folder,
                                const en_statistics_identity *id, entro_error *err)
{
    uint32_t n = en_text_batch_at(s, place->n_done);
    uint64_t numbers[N_PIECE_PLACE] = {place->n_done, n};
    size_t n_bytes = n * en_kv_piece_bytes(&s->caches[0], EN_TEXT_PIECE);
    uint8_t *bytes = en_alloc(n_bytes, 1);
    if (bytes == NULL)
        return en_fail_memory(err);
    entro_status status = ENTRO_OK;
    const en_statistics_item items[] = {
        {.name = "place", .n = N_PIECE_PLACE, .raw = numbers, .dtype = EN_DTYPE_I64},
        {.name = "caches", .n = n_bytes, .raw = bytes, .dtype = EN_DTYPE_I8}};
    for (uint32_t k = first_piece; k * EN_TEXT_PIECE < place->position && status == ENTRO_OK; k++) {
        get_piece(s, n, k, bytes);
        status = en_unfinished_write(folder, EN_STATISTICS_UNFINISHED_CACHE, k, id, items, 2, err);
    }
    en_free(bytes);
    return status;
}

static entro_status save_ids(const en_text_state *s, const en_text_place *place, int32_t *begun,
                             const char *folder, const en_statistics_identity *id, entro_error *err)
{
    size_t n = en_text_batch_at(s, place->n_done), n_each = (size_t)place->position + 1,
           n_items = 0;
    for (size_t i = 0; i < n; i++)
        memcpy(begun + i * n_each, s->tokens + i * s->n_steps, n_each * sizeof *begun);
    const uint64_t numbers[N_PLACE] = {place->n_done, place->position, s->n_batch};
    en_statistics_item items[3];
    items[n_items++] =
        (en_statistics_item){.name = "place", .n = N_PLACE, .raw = numbers, .dtype = EN_DTYPE_I64};
    if (place->n_done > 0)
        items[n_items++] = (en_statistics_item){.name = "done",
                                                .n = (size_t)place->n_done * s->n_positions,
                                                .raw = s->done,
                                                .dtype = EN_DTYPE_I32};
    if (place->position > 0)
        items[n_items++] = (en_statistics_item){
            .name = "begun", .n = n * n_each, .raw = begun, .dtype = EN_DTYPE_I32};
    return en_unfinished_write(folder, EN_STATISTICS_UNFINISHED_TEXT, 0, id, items, n_items, err);
}

/* Pieces first: the ids say how many there are. */
entro_status en_unfinished_text_save(const en_text_state *s, const en_text_place *place,
                                     uint32_t first_piece, const char *folder,
                                     const en_statistics_identity *id, entro_error *err)
{
    EN_TRY(save_pieces(s, place, first_piece, folder, id, err));
    int32_t *begun = en_alloc((size_t)s->n_batch * s->n_steps, sizeof *begun);
    entro_status status =
        begun != NULL ? save_ids(s, place, begun, folder, id, err) : en_fail_memory(err);
    en_free(begun);
    return status;
}
