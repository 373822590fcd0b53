/*
 * unfinished_text.h - a text that a model is writing (calib_writer.c), saved in the course of it.
 *
 *   unfinished-text.gguf:       texts that are done; of the batch at hand, tokens 0 .. position of each
 *   unfinished-cache-KKK.gguf:  keys and values of the batch at positions K * EN_TEXT_PIECE and on, so
 *                               that each is written once
 *
 * With both the batch goes on at 'position', a multiple of EN_TEXT_PIECE; random numbers are drawn again up to there.
 */
#ifndef EN_CALIB_UNFINISHED_TEXT_H
#define EN_CALIB_UNFINISHED_TEXT_H

#include "calib/unfinished.h"
#include "model/kv_cache.h"

enum { EN_TEXT_PIECE = 16 }; /* positions */

typedef struct en_text_place {
    uint64_t n_done;   /* texts, of whole batches */
    uint32_t position; /* of the next batch */
} en_text_place;

typedef struct en_text_state {
    uint64_t n_texts;
    uint32_t n_positions, n_vocab;
    uint32_t n_steps;    /* tokens of a text in the batch: maybe one more in front */
    uint32_t n_batch;    /* texts at once; the last batch may be smaller */
    int32_t *done;       /* n_texts x n_positions */
    int32_t *tokens;     /* n_batch x n_steps */
    en_kv_cache *caches; /* n_batch */
} en_text_state;

static inline uint32_t en_text_batch_at(const en_text_state *s, uint64_t n_done)
{
    uint64_t left = s->n_texts - n_done;
    return left < s->n_batch ? (uint32_t)left : s->n_batch;
}

/* Fills in the state as it was at '*place'; that of the beginning when there is nothing that can serve. */
entro_status en_unfinished_text_load(en_text_state *s, en_text_place *place, const char *folder,
                                     const en_statistics_identity *id, en_job *job,
                                     entro_error *err);
/* Pieces from 'first_piece' on are not in the folder yet. */
entro_status en_unfinished_text_save(const en_text_state *s, const en_text_place *place,
                                     uint32_t first_piece, const char *folder,
                                     const en_statistics_identity *id, entro_error *err);

/* One file of each: ENTRO_ERR_FORMAT or _CHECKSUM when it cannot be of this state; 'place' is filled in, and
 * expected. */
entro_status en_unfinished_text_read(const en_statistics_file *f, en_text_state *s,
                                     en_text_place *place, entro_error *err);
entro_status en_unfinished_cache_read(const en_statistics_file *f, en_text_state *s,
                                      const en_text_place *place, uint32_t piece, entro_error *err);

#endif
