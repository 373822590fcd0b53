/*
 * merge_table.c - reading the order of merges from metadata.
 *
 * A merge is stored as the texts of its two halves; here it becomes a pair of ids in a hash table,
 * so that no text is compared while merging.
 */
#include "base/memory.h"
#include "text/bpe_merge.h"

/* Splits "left right" and takes the disguise off: left's bytes, then right's, in 'buffer'. */
static bool split_merge(const en_vocab *vocab, en_span merge, char *buffer, size_t *n_left,
                        size_t *n_both)
{
    if (merge.n < 3)
        return false;
    /* From the second byte on: a half is never empty, but may be the separator itself. */
    const char *gap = memchr(merge.p + 1, ' ', merge.n - 1);
    if (gap == NULL)
        return false;
    en_span left = {merge.p, (size_t)(gap - merge.p)};
    en_span right = {gap + 1, merge.n - left.n - 1};
    size_t n_right;
    if (!en_vocab_undisguise(vocab->kind, left, buffer, n_left) ||
        !en_vocab_undisguise(vocab->kind, right, buffer + *n_left, &n_right))
        return false;
    *n_both = *n_left + n_right;
    return *n_left > 0 && n_right > 0;
}

static void insert_pair(en_merges *merges, int32_t left, int32_t right, uint32_t rank,
                        int32_t result)
{
    uint32_t i = en_merge_pair_hash(left, right) & merges->pair_mask;
    while (merges->pairs[i].left >= 0) {
        if (merges->pairs[i].left == left && merges->pairs[i].right == right)
            return; /* listed twice: the first counts */
        i = (i + 1) & merges->pair_mask;
    }
    merges->pairs[i] = (struct en_merge_pair){left, right, rank, result};
}

/* Tokens usually stand in the order in which merges made them, which saves most look-ups. */
static int32_t find_result(const en_vocab *vocab, const char *p, size_t n, int32_t guess)
{
    if (guess > 0 && (uint32_t)guess < vocab->n && en_vocab_type(vocab, guess) == EN_TOKEN_NORMAL) {
        en_span token = en_vocab_token(vocab, guess);
        if (token.n == n && memcmp(token.p, p, n) == 0)
            return guess;
    }
    return en_vocab_find(vocab, p, n);
}

/* Merges that name no token cannot happen and are left out. */
static void read_pairs(en_merges *merges, const en_meta_value *list, char *buffer)
{
    const en_vocab *vocab = merges->vocab;
    int32_t guess = -1;
    for (uint32_t rank = 0; rank < list->n; rank++) {
        size_t n_left, n_both;
        if (!split_merge(vocab, list->strings[rank], buffer, &n_left, &n_both))
            continue;
        int32_t left = en_vocab_find(vocab, buffer, n_left);
        int32_t right = en_vocab_find(vocab, buffer + n_left, n_both - n_left);
        int32_t result = find_result(vocab, buffer, n_both, guess);
        guess = result + 1;
        if (left >= 0 && right >= 0 && result >= 0)
            insert_pair(merges, left, right, rank, result);
    }
}

static entro_status load_pairs(en_merges *merges, const en_meta_value *list, entro_error *err)
{
    if (!list->is_array || list->type != EN_META_STRING || list->n > EN_MERGES_MAX)
        return en_fail(err, ENTRO_ERR_FORMAT,
                       "tokenizer.ggml.merges must be an array of at most %d strings",
                       EN_MERGES_MAX);
    size_t n_slots = 64, longest = 0;
    while (n_slots < list->n * 3 / 2)
        n_slots *= 2;
    for (uint64_t i = 0; i < list->n; i++) {
        if (list->strings[i].n > longest)
            longest = list->strings[i].n;
    }
    if (longest > EN_VOCAB_MAX_BYTES)
        return en_fail(err, ENTRO_ERR_FORMAT, "tokenizer.ggml.merges has an entry of %zu bytes",
                       longest);
    merges->pair_mask = (uint32_t)n_slots - 1;
    merges->pairs = en_alloc(n_slots, sizeof merges->pairs[0]);
    char *buffer = en_alloc(longest, 1);
    if (merges->pairs == NULL || buffer == NULL) {
        en_free(buffer);
        return en_fail_memory(err);
    }
    memset(merges->pairs, 0xFF, n_slots * sizeof merges->pairs[0]);
    read_pairs(merges, list, buffer);
    en_free(buffer);
    return ENTRO_OK;
}

/* A number that is smaller the higher the score is. */
static uint32_t rank_of_score(float score)
{
    uint32_t bits;
    if (score != score)
        return EN_NO_MERGE - 1;
    score += 0.0f; /* -0 is 0 */
    memcpy(&bits, &score, sizeof bits);
    bits = bits >> 31 ? ~bits : bits | 0x80000000u;
    return ~bits;
}

static entro_status load_scores(en_merges *merges, const en_meta_value *scores, entro_error *err)
{
    uint32_t n = merges->vocab->n;
    if (scores == NULL || !scores->is_array || scores->type == EN_META_STRING || scores->n != n)
        return en_fail(err, ENTRO_ERR_FORMAT,
                       "a SentencePiece tokenizer needs tokenizer.ggml.merges, or "
                       "tokenizer.ggml.scores with %u numbers; convert the model again",
                       n);
    merges->score_rank = en_alloc(n, sizeof merges->score_rank[0]);
    if (merges->score_rank == NULL)
        return en_fail_memory(err);
    for (uint32_t i = 0; i < n; i++)
        merges->score_rank[i] = rank_of_score(en_meta_array_f32(scores, i));
    return ENTRO_OK;
}

entro_status en_merges_load(en_merges *merges, const en_vocab *vocab, const en_meta *meta,
                            entro_error *err)
{
    const en_meta_value *list = en_meta_get(meta, "tokenizer.ggml.merges");
    merges->vocab = vocab;
    if (list != NULL)
        return load_pairs(merges, list, err);
    if (vocab->kind == EN_VOCAB_SENTENCEPIECE)
        return load_scores(merges, en_meta_get(meta, "tokenizer.ggml.scores"), err);
    return en_fail(err, ENTRO_ERR_FORMAT,
                   "a byte-level BPE tokenizer needs tokenizer.ggml.merges, which the file lacks; "
                   "convert the model again");
}

void en_merges_free(en_merges *merges)
{
    en_free(merges->pairs);
    en_free(merges->score_rank);
}
