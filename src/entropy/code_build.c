/*
 * code_build.c - from a histogram to the code that stores its symbols in the fewest bytes.
 *
 * Two choices are tried out and priced, table included: how many symbols are common (the others
 * share the escape), and how many words the tree has.  A tree grows by giving the likeliest leaf
 * children, for as long as its table can pay for itself.  Words are counted by parsing a sample of
 * the data: rows of a matrix differ, so words are neither independent draws of symbols nor, in
 * rows with long words, as many.  With 256 symbols every word is one symbol.
 *
 * Measured on SmolLM2-135M, literal u4 per tensor: one-symbol codes lose 0.7 to 24 % against the
 * entropy (one tensor of 0.3 bits 236 %), words about half a percent.  Without escapes, codes of
 * 11 bits would lose 1 to 3 %: each of hundreds of improbable words would take 2^-11 of the code.
 */
#include <float.h>
#include <math.h>

#include "base/bytes.h"
#include "base/memory.h"
#include "entropy/code_words.h"
#include "entropy/histogram.h"

enum {
    MAX_WORDS = 512,
    MAX_SLOTS = 2 * MAX_WORDS + 2 * EN_CODE_MAX_SYMBOLS,
    SHORT_WORDS = 7,    /* longest words for which the decoder has compact entries ... */
    BITS_OF_A_WORD = 3, /* about what one word takes in the table */
    TOGETHER = 8,       /* blocks parsed at a time: each step waits for the one before it */
    ENOUGH_BLOCKS = 16, /* to compare trees by */
};
/* ... and the entropy below which longer words pay (a word of 7 costs at least a bit) */
static const double long_words_below = 0.7;
/* Words that the sample lacks get their share of this many words, as if symbols were
 * independent. */
static const double prior_words = 16;
/* Bits that one escape is counted for beyond its code, because it slows the decoder down. */
static const double escape_toll = 0.5;
static const double weight_one = 1 << 20; /* of one word counted */
/* Bits, 1 / (2 ln 2), by which lengths fitted to a sample look better there than elsewhere, for every
 * word. */
static const double fitted_word = 0.72;

typedef struct leaf {
    double prior; /* probability of the word, were symbols independent */
    double count;
    uint8_t n_letters;
    bool escape;
    uint16_t slot; /* index in child[] */
} leaf;

typedef struct tree {
    leaf leaves[MAX_WORDS + EN_CODE_MAX_SYMBOLS];
    uint16_t child[MAX_SLOTS];
    unsigned n_leaves, n_inner, n_common;
} tree;

typedef struct builder {
    en_code *code;
    const en_sample *sample;
    uint64_t total;
    double entropy_bits;           /* of all symbols */
    double p[EN_CODE_MAX_SYMBOLS]; /* of single symbols */
    leaf leaves[MAX_WORDS + EN_CODE_MAX_SYMBOLS];
    unsigned n_leaves;
    unsigned max_word;
    uint16_t next[MAX_SLOTS]; /* child[] times the number of letters */
    uint32_t counts[TOGETHER * MAX_SLOTS];
    uint64_t weights[EN_HUFFMAN_MAX_ITEMS];
    uint8_t bits[EN_HUFFMAN_MAX_ITEMS];
    en_huffman_work work;
    double best_bits; /* of all the data and the table ... */
    tree best;        /* ... with this tree */
} builder;

/* ---- counting words ---------------------------------------------------------------------- */

/*
 * Walks the tree along up to eight blocks at a time and counts the slots passed, for each block in
 * counters of its own: otherwise increments would wait for each other.  The root's first slot is 0,
 * so a leaf leads back there by itself.
 */
static inline __attribute__((always_inline)) void
parse_blocks(const uint16_t *next, const uint8_t *letter_of, const uint8_t *const *blocks,
             unsigned n_blocks, size_t n, uint32_t *counts, size_t n_slots)
{
    unsigned at[TOGETHER] = {0};
    for (size_t i = 0; i < n; i++)
#pragma GCC unroll 8
        for (unsigned k = 0; k < n_blocks; k++) {
            unsigned slot = at[k] + letter_of[blocks[k][i] & 15];
            counts[k * n_slots + slot]++;
            at[k] = next[slot];
        }
}

/* counts[slot]: how often the sample's blocks of this level pass each slot of the code's tree.  The
 * counters beyond, TOGETHER times the slots in all, are scratch. */
static void count_slots(const en_code *code, const en_sample *sample, unsigned level,
                        uint16_t *next, uint32_t *counts)
{
    uint8_t letter_of[16] = {0};
    for (unsigned i = 0; i < code->n_rare; i++)
        letter_of[code->rare[i]] = (uint8_t)code->n_common;
    for (unsigned i = 0; i < code->n_common; i++)
        letter_of[code->common[i]] = (uint8_t)i;
    size_t n_slots = (size_t)code->n_inner * code->n_letters;
    memset(counts, 0, TOGETHER * n_slots * sizeof *counts);
    for (size_t i = 0; i < n_slots; i++)
        next[i] = (uint16_t)(code->child[i] * code->n_letters);
    const uint8_t *full[TOGETHER];
    unsigned n_full = 0;
    for (unsigned i = 0; i < sample->n_blocks; i++) {
        if (!en_sample_chosen(sample, i, level))
            continue;
        const uint8_t *block = sample->symbols[i];
        if (sample->n_symbols[i] < EN_SAMPLE_BLOCK)
            parse_blocks(next, letter_of, &block, 1, sample->n_symbols[i], counts, n_slots);
        else
            full[n_full++] = block;
        if (n_full == TOGETHER) {
            parse_blocks(next, letter_of, full, TOGETHER, EN_SAMPLE_BLOCK, counts, n_slots);
            n_full = 0;
        }
    }
    unsigned done = n_full & 4;
    if (done > 0)
        parse_blocks(next, letter_of, full, 4, EN_SAMPLE_BLOCK, counts, n_slots);
    for (; done < n_full; done++)
        parse_blocks(next, letter_of, &full[done], 1, EN_SAMPLE_BLOCK, counts, n_slots);
    for (unsigned k = 1; k < TOGETHER; k++)
        for (size_t i = 0; i < n_slots; i++)
            counts[i] += counts[k * n_slots + i];
}

static void count_words(builder *b, unsigned level)
{
    if (b->sample)
        count_slots(b->code, b->sample, level, b->next, b->counts);
    for (unsigned i = 0; i < b->n_leaves; i++) {
        leaf *l = &b->leaves[i];
        l->count =
            b->sample ? prior_words * l->prior + b->counts[l->slot] : (double)b->total * l->prior;
    }
}

/* ---- growing a tree ---------------------------------------------------------------------- */

/* Adds the leaves below a node that just became an inner one. */
static void add_children(builder *b, unsigned node, const leaf *from)
{
    en_code *code = b->code;
    for (unsigned i = 0; i < code->n_letters; i++) {
        double p = i < code->n_common ? b->p[code->common[i]] : 0;
        for (unsigned r = 0; i == code->n_common && r < code->n_rare; r++)
            p += b->p[code->rare[r]];
        unsigned slot = node * code->n_letters + i;
        b->leaves[b->n_leaves++] = (leaf){.prior = from->prior * p,
                                          .count = from->count * p,
                                          .n_letters = (uint8_t)(from->n_letters + 1),
                                          .escape = i == code->n_common,
                                          .slot = (uint16_t)slot};
        code->child[slot] = 0;
    }
}

static void plant(builder *b)
{
    b->n_leaves = 0;
    b->code->n_inner = 1;
    add_children(b, 0, &(leaf){.prior = 1, .count = 1});
}

/* Gives the likeliest leaf children; false when no leaf may have any. */
static bool grow(builder *b)
{
    leaf *best = NULL;
    for (unsigned i = 0; i < b->n_leaves; i++) {
        leaf *l = &b->leaves[i];
        if (!l->escape && l->n_letters < b->max_word && (!best || l->count > best->count))
            best = l;
    }
    if (!best || b->code->n_letters < 2 || b->n_leaves + b->code->n_letters - 1 > MAX_WORDS)
        return false;
    leaf from = *best;
    *best = b->leaves[--b->n_leaves];
    unsigned node = b->code->n_inner++;
    b->code->child[from.slot] = (uint16_t)node;
    add_children(b, node, &from);
    return true;
}

/* Grows to at least this many words, and counts; false when it cannot grow. */
static bool grow_to(builder *b, unsigned n_words, unsigned level)
{
    unsigned before = b->n_leaves;
    while (b->n_leaves < n_words && grow(b))
        continue;
    count_words(b, level);
    return b->n_leaves > before;
}

/* ---- prices, in bits per symbol of the data ---------------------------------------------- */

static double price_rare(builder *b)
{
    en_code *code = b->code;
    for (unsigned i = 0; i < code->n_rare; i++)
        b->weights[i] = (uint64_t)(b->p[code->rare[i]] * (double)b->total * 16) + 1;
    if (code->n_rare)
        en_huffman_lengths(&b->work, b->weights, code->n_rare, code->max_bits, code->rare_bits);
    double bits = 0;
    for (unsigned i = 0; i < code->n_rare; i++)
        bits += b->p[code->rare[i]] * (code->rare_bits[i] + escape_toll);
    return bits;
}

static double price_words(builder *b)
{
    double bits = 0, symbols = 0;
    for (unsigned i = 0; i < b->n_leaves; i++)
        b->weights[i] = (uint64_t)(b->leaves[i].count * weight_one) + 1;
    en_huffman_lengths(&b->work, b->weights, b->n_leaves, b->code->max_bits, b->bits);
    for (unsigned i = 0; i < b->n_leaves; i++) {
        bits += b->leaves[i].count * b->bits[i];
        symbols += b->leaves[i].count * b->leaves[i].n_letters;
    }
    if (b->sample)
        bits += fitted_word * b->n_leaves;
    return symbols > 0 ? bits / symbols : 0;
}

/* ---- choosing ---------------------------------------------------------------------------- */

/* The n_common most frequent symbols become common, the rest rare. */
static void classify(builder *b, const uint8_t *by_count, unsigned n_seen, unsigned n_common)
{
    memset(b->code->class_of, EN_ABSENT, sizeof b->code->class_of);
    for (unsigned i = 0; i < n_seen; i++)
        b->code->class_of[by_count[i]] = i < n_common ? EN_COMMON : EN_RARE;
    en_code_set_letters(b->code);
}

/* Trees of 1, 2, 4 ... times the words of the first: what is tried can be grown again. */
static unsigned words_after(const builder *b, unsigned n_doublings)
{
    unsigned first = b->code->n_letters < 8 ? 8 : b->code->n_letters;
    return first << n_doublings;
}

/* Whether so many words are worth trying: their table may cost half a percent, or a quarter of what
 * there is to gain. */
static bool may_grow(const builder *b, unsigned n_words, double bits)
{
    double table = BITS_OF_A_WORD * (double)n_words;
    return b->max_word > 1 && n_words <= MAX_WORDS &&
           (table < 0.005 * bits || table < 0.25 * (bits - b->entropy_bits));
}

static void keep_tree(builder *b, unsigned n_common)
{
    tree *t = &b->best;
    t->n_common = n_common;
    t->n_leaves = b->n_leaves;
    t->n_inner = b->code->n_inner;
    memcpy(t->leaves, b->leaves, b->n_leaves * sizeof *b->leaves);
    memcpy(t->child, b->code->child, t->n_inner * b->code->n_letters * sizeof *t->child);
}

/* Its letters are set already. */
static void take_best_tree(builder *b)
{
    const tree *t = &b->best;
    b->n_leaves = t->n_leaves;
    b->code->n_inner = t->n_inner;
    memcpy(b->leaves, t->leaves, t->n_leaves * sizeof *b->leaves);
    memcpy(b->code->child, t->child, t->n_inner * b->code->n_letters * sizeof *t->child);
}

static void try_trees(builder *b, unsigned n_common, unsigned level)
{
    double rare = price_rare(b), least = DBL_MAX;
    unsigned n_worse = 0; /* prices go up and down a little on their way */
    plant(b);
    for (unsigned n = 0; n_worse < 2; n++) {
        if (n > 0 && !grow_to(b, words_after(b, n), level))
            return;
        if (n == 0)
            count_words(b, level);
        double bits = (double)b->total * (price_words(b) + rare) +
                      BITS_OF_A_WORD * ((double)b->n_leaves + b->code->n_rare);
        if (bits < b->best_bits) {
            b->best_bits = bits;
            keep_tree(b, n_common);
        }
        n_worse = bits < least ? 0 : n_worse + 1;
        least = bits < least ? bits : least;
        if (!may_grow(b, words_after(b, n + 1), bits))
            return;
    }
}

/*
 * Whether this many common symbols are worth trying.  'tail' is the share of all symbols after
 * them, 'tail_before' the same with one common symbol less; 'share' and 'last' are those of the
 * most frequent rare and the least frequent common symbol.
 */
static bool worth_trying(const builder *b, double tail, double tail_before, double share,
                         double last)
{
    static const double tails[] = {0.004, 0.0015, 0.0006};
    if (share == 0)
        return b->code->alphabet == 256 || tail_before >= tails[2];
    for (unsigned i = 0; b->code->alphabet == 16 && i < 3; i++)
        if (tail < tails[i] && tail_before >= tails[i])
            return true;
    /* with 256 symbols: where a code of about the longest length would do */
    for (unsigned i = 0; b->code->alphabet == 256 && i < 4; i++) {
        double p = exp2(-(double)(b->code->max_bits + i) + 1);
        if (share < p && last >= p)
            return true;
    }
    return false;
}

static unsigned chosen_blocks(const en_sample *sample, unsigned level)
{
    unsigned n = 0;
    for (unsigned i = 0; i < sample->n_blocks; i++)
        n += en_sample_chosen(sample, i, level);
    return n;
}

static void choose(builder *b, const uint8_t *by_count, unsigned n_seen)
{
    b->best_bits = DBL_MAX;
    unsigned full = b->sample ? b->sample->level : 0, level = full;
    while (b->sample && level < full + 8 && chosen_blocks(b->sample, level + 1) >= ENOUGH_BLOCKS)
        level++;
    double tail = 1;
    for (unsigned n = 1; n <= n_seen; n++) {
        double last = b->p[by_count[n - 1]], share = n < n_seen ? b->p[by_count[n]] : 0;
        tail -= last;
        if (!worth_trying(b, tail, tail + last, share, last))
            continue;
        classify(b, by_count, n_seen, n);
        try_trees(b, n, level);
    }
    classify(b, by_count, n_seen, b->best.n_common);
    price_rare(b);
    take_best_tree(b);
    count_words(b, full);
    price_words(b);
}

static unsigned sort_symbols(const uint64_t *counts, unsigned alphabet, uint8_t *by_count)
{
    unsigned n = 0;
    for (unsigned s = 0; s < alphabet; s++) {
        if (counts[s] == 0)
            continue;
        unsigned i = n++;
        for (; i > 0 && counts[by_count[i - 1]] < counts[s]; i--)
            by_count[i] = by_count[i - 1];
        by_count[i] = (uint8_t)s;
    }
    if (n == 0)
        by_count[n++] = 0;
    return n;
}

/* Words are numbered depth-first, lengths were found in the order of the leaves. */
static unsigned set_word_bits(const en_code *code, const uint8_t *bits_of_slot, unsigned node,
                              unsigned word)
{
    for (unsigned i = 0; i < code->n_letters; i++) {
        unsigned slot = node * code->n_letters + i;
        if (code->child[slot])
            word = set_word_bits(code, bits_of_slot, code->child[slot], word);
        else
            code->words[word++].bits = bits_of_slot[slot];
    }
    return word;
}

static entro_status finish_code(builder *b, entro_error *err)
{
    uint8_t bits_of_slot[MAX_SLOTS];
    for (unsigned i = 0; i < b->n_leaves; i++)
        bits_of_slot[b->leaves[i].slot] = b->bits[i];
    EN_TRY(en_code_list_words(b->code, err));
    set_word_bits(b->code, bits_of_slot, 0, 0);
    EN_TRY(en_code_assign(b->code, err));
    EN_TRY(en_code_make_decoder(b->code, err));
    return en_code_make_encoder(b->code, err);
}

entro_status en_code_build(en_code **out, const en_histogram *h, entro_error *err)
{
    unsigned alphabet = en_histogram_alphabet(h);
    const uint64_t *counts = en_histogram_counts(h);
    uint8_t by_count[EN_CODE_MAX_SYMBOLS];
    en_code *code;
    EN_TRY(en_code_new(&code, alphabet, err));
    builder *b = en_alloc_zero(1, sizeof *b);
    code->child = en_alloc_zero(MAX_SLOTS, sizeof *code->child);
    if (!b || !code->child) {
        en_free(b);
        en_code_free(code);
        return en_fail_memory(err);
    }
    b->code = code;
    b->sample = en_histogram_sample(h);
    b->total = en_histogram_total(h);
    for (unsigned s = 0; s < alphabet && b->total > 0; s++)
        b->p[s] = (double)counts[s] / (double)b->total;
    double entropy = en_histogram_entropy(h);
    b->entropy_bits = (double)b->total * entropy;
    bool skewed = entropy < long_words_below;
    b->max_word = alphabet == 256 ? 1 : skewed ? EN_WORD_MAX : SHORT_WORDS;
    choose(b, by_count, sort_symbols(counts, alphabet, by_count));
    entro_status status = finish_code(b, err);
    en_free(b);
    if (status != ENTRO_OK) {
        en_code_free(code);
        return status;
    }
    *out = code;
    return ENTRO_OK;
}

/* ---- the price of a code for other data --------------------------------------------------- */

/* Bits of the words in the sample, and their symbols; returns the number of the next word. */
static unsigned sum_words(const en_code *code, const uint32_t *counts, unsigned node, unsigned word,
                          double *bits, double *symbols)
{
    for (unsigned i = 0; i < code->n_letters; i++) {
        unsigned slot = node * code->n_letters + i;
        if (code->child[slot]) {
            word = sum_words(code, counts, code->child[slot], word, bits, symbols);
            continue;
        }
        const en_word *w = &code->words[word++];
        *bits += (double)counts[slot] * w->bits;
        *symbols += (double)counts[slot] * (w->n_symbols + w->escape);
    }
    return word;
}

static double cost_of_words(const en_code *code, const en_histogram *h)
{
    const en_sample *sample = en_histogram_sample(h);
    size_t n_slots = (size_t)code->n_inner * code->n_letters;
    uint16_t *next = en_alloc(n_slots, sizeof *next);
    uint32_t *counts = en_alloc(TOGETHER * n_slots, sizeof *counts);
    double bits = 0, symbols = 0;
    if (next && counts) {
        count_slots(code, sample, sample->level, next, counts);
        sum_words(code, counts, 0, 0, &bits, &symbols);
    }
    en_free(next);
    en_free(counts);
    return symbols > 0 ? bits / symbols : NAN;
}

double en_code_cost(const en_code *code, const en_histogram *h)
{
    const uint64_t *counts = en_histogram_counts(h);
    double total = (double)en_histogram_total(h), bits = 0;
    for (unsigned s = 0; s < code->alphabet; s++)
        if (counts[s] > 0 && code->class_of[s] == EN_ABSENT)
            return INFINITY;
    if (total == 0)
        return 0;
    double rare = 0;
    for (unsigned i = 0; i < code->n_rare; i++) {
        bits += (double)counts[code->rare[i]] / total * code->rare_bits[i];
        rare += (double)counts[code->rare[i]] / total;
    }
    if (code->alphabet == 16)
        return bits + cost_of_words(code, h);
    for (unsigned w = 0; w < code->n_words; w++)
        bits += code->words[w].bits *
                (code->words[w].escape ? rare : (double)counts[code->words[w].symbols[0]] / total);
    return bits;
}
