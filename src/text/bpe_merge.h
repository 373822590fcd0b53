/*
 * bpe_merge.h - byte pair merges: from the characters of a word to tokens.
 *
 * Both families join, again and again, the neighbours that are best, the leftmost of equals.  What
 * is best differs: with tokenizer.ggml.merges the pair that stands first in that list, without it
 * (SentencePiece) the pair whose joined text is the token with the highest score.
 */
#ifndef EN_TEXT_BPE_MERGE_H
#define EN_TEXT_BPE_MERGE_H

#include "text/vocab.h"

enum { EN_MERGES_MAX = 1 << 22 };

typedef struct en_merges {
    const en_vocab *vocab;
    int32_t unknown;  /* for characters without token or byte tokens; -1: dropped */
    bool whole_words; /* a word that is a token is not split */
    struct en_merge_pair {
        int32_t left, right; /* left < 0: free */
        uint32_t rank;
        int32_t result;
    } * pairs; /* NULL: merges by score */
    uint32_t pair_mask;
    uint32_t *score_rank; /* of each token; a higher score has a lower rank */
} en_merges;

/* Ids on their way to the caller: those past n_max are counted only. */
typedef struct en_id_sink {
    int32_t *ids;
    size_t n_max;
    size_t n;
    bool after_unknown; /* the last one stands for unknown characters */
} en_id_sink;

static inline void en_id_sink_put(en_id_sink *sink, int32_t id)
{
    if (sink->n < sink->n_max)
        sink->ids[sink->n] = id;
    sink->n++;
    sink->after_unknown = false;
}

/* Memory for long words, kept from word to word; zeroed at first, en_merge_scratch_free at last. */
typedef struct en_merge_scratch {
    struct en_merge_node *nodes;
    size_t nodes_cap;
    uint64_t *heap;
    size_t heap_cap;
} en_merge_scratch;

/* 'merges' must be zeroed and is freed by en_merges_free in every case; vocab must outlive it. */
entro_status en_merges_load(en_merges *merges, const en_vocab *vocab, const en_meta *meta,
                            entro_error *err);
void en_merges_free(en_merges *merges);

/* The tokens of a word of n >= 1 bytes (at most 2^30). */
entro_status en_merge_word(const en_merges *merges, en_merge_scratch *scratch, const char *p,
                           size_t n, en_id_sink *sink, entro_error *err);
void en_merge_scratch_free(en_merge_scratch *scratch);

/* ---- between bpe_merge.c and merge_table.c ------------------------------------------------ */

#define EN_NO_MERGE UINT32_MAX

static inline uint32_t en_merge_pair_hash(int32_t left, int32_t right)
{
    uint64_t key = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) * 0x9E3779B97F4A7C15u;
    return (uint32_t)(key >> 32);
}

#endif
