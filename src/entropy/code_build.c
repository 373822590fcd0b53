/*
 * code_build.c - from a histogram to the code that stores its symbols in the fewest bytes.
 *
 * Two choices are tried out and priced, table included: how many symbols are common (the others
 * share the escape), and how many words the tree has.  A tree grows by giving the likeliest leaf
 * children, for as long as its table can pay for itself.  Word probabilities come from runs of four
 * counted in the data, longer ones by chaining; for 256 symbols every word is one symbol.
 *
 * Measured on SmolLM2-135M, literal u4 per tensor: one-symbol codes lose 0.7 to 24 % against the
 * entropy (one tensor of 0.3 bits 236 %), words 0.4 to 0.9 %.  Without escapes codes of 11 bits
 * would lose 1 to 3 %: each of thousands of improbable words would take 2^-11 of the code space.
 */
#include <float.h>
#include <math.h>

#include "base/bytes.h"
#include "base/memory.h"
#include "entropy/code_words.h"
#include "entropy/histogram.h"

enum {
    MAX_WORDS = 512,
    SHORT_WORDS = 7,    /* longest words for which the decoder has compact entries ... */
    BITS_OF_A_WORD = 4, /* about what one word takes in the table */
};
/* ... and the entropy below which longer words pay (a word of 7 costs at least a bit) */
static const double long_words_below = 0.7;
/* Weights of words: probabilities in units of 2^-44, so that even 2048 of the largest add up. */
static const double weight_one = 17592186044416.0;

typedef struct leaf {
    double p;
    uint16_t run;   /* the last four symbols */
    uint8_t n_run;  /* length of the word so far */
    uint8_t letter; /* n_common: the escape */
    uint16_t slot;  /* index in child[] */
} leaf;

typedef struct builder {
    const en_run_model *model;
    en_code *code;
    leaf leaves[MAX_WORDS + EN_CODE_MAX_SYMBOLS];
    unsigned n_leaves;
    unsigned max_word;
    uint64_t weights[EN_HUFFMAN_MAX_ITEMS];
    uint8_t bits[EN_HUFFMAN_MAX_ITEMS];
    en_huffman_work work;
} builder;

/* ---- growing a tree ---------------------------------------------------------------------- */

static void letter_probabilities(const builder *b, const leaf *from, double *p)
{
    const en_code *code = b->code;
    const double *next = b->model->single;
    double following[16];
    if (from->n_run > 0) {
        en_run_model_next(b->model, from->run, from->n_run, following);
        next = following;
    }
    for (unsigned i = 0; i < code->n_common; i++)
        p[i] = next[code->common[i]];
    if (code->n_rare) {
        p[code->n_common] = 0;
        for (unsigned i = 0; i < code->n_rare; i++)
            p[code->n_common] += next[code->rare[i]];
    }
}

/* Adds the leaves below a node that just became an inner one. */
static void add_children(builder *b, unsigned node, const leaf *from)
{
    en_code *code = b->code;
    double p[EN_CODE_MAX_SYMBOLS + 1];
    letter_probabilities(b, from, p);
    for (unsigned i = 0; i < code->n_letters; i++) {
        unsigned symbol = i < code->n_common ? code->common[i] : 0;
        b->leaves[b->n_leaves++] = (leaf){.p = from->p * p[i],
                                          .run = (uint16_t)(from->run << 4 | (symbol & 15)),
                                          .n_run = (uint8_t)(from->n_run + 1),
                                          .letter = (uint8_t)(i < code->n_common ? 0 : 1),
                                          .slot = (uint16_t)(node * code->n_letters + i)};
        code->child[node * code->n_letters + i] = 0;
    }
}

static void plant(builder *b)
{
    b->n_leaves = 0;
    b->code->n_inner = 1;
    add_children(b, 0, &(leaf){.p = 1});
}

/* Gives the likeliest leaf children; false when no leaf may have any. */
static bool grow(builder *b)
{
    leaf *best = NULL;
    for (unsigned i = 0; i < b->n_leaves; i++) {
        leaf *l = &b->leaves[i];
        if (l->letter == 0 && l->n_run < b->max_word && (!best || l->p > best->p))
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

/* ---- prices ------------------------------------------------------------------------------ */

static uint64_t weight_of(double p)
{
    return (uint64_t)(p * weight_one) + 1;
}

/* Bits of the rare symbols' own codes, per symbol of the data. */
static double price_rare(builder *b)
{
    en_code *code = b->code;
    for (unsigned i = 0; i < code->n_rare; i++)
        b->weights[i] = weight_of(b->model->single[code->rare[i]]);
    if (code->n_rare)
        en_huffman_lengths(&b->work, b->weights, code->n_rare, code->max_bits, code->rare_bits);
    double bits = 0;
    for (unsigned i = 0; i < code->n_rare; i++)
        bits += b->model->single[code->rare[i]] * code->rare_bits[i];
    return bits;
}

/* Bits of the words' codes, per symbol of the data. */
static double price_words(builder *b)
{
    double bits = 0, symbols = 0;
    for (unsigned i = 0; i < b->n_leaves; i++)
        b->weights[i] = weight_of(b->leaves[i].p);
    en_huffman_lengths(&b->work, b->weights, b->n_leaves, b->code->max_bits, b->bits);
    for (unsigned i = 0; i < b->n_leaves; i++) {
        bits += b->leaves[i].p * b->bits[i];
        symbols += b->leaves[i].p * b->leaves[i].n_run;
    }
    return symbols > 0 ? bits / symbols : 0;
}

/* ---- choosing ---------------------------------------------------------------------------- */

typedef struct choice {
    double bits; /* of all the data and the table */
    unsigned n_common, n_inner;
} choice;

/* The n_common most frequent symbols become common, the rest rare. */
static void classify(builder *b, const uint8_t *by_count, unsigned n_seen, unsigned n_common)
{
    memset(b->code->class_of, EN_ABSENT, sizeof b->code->class_of);
    for (unsigned i = 0; i < n_seen; i++)
        b->code->class_of[by_count[i]] = i < n_common ? EN_COMMON : EN_RARE;
    en_code_set_letters(b->code);
}

static void try_trees(builder *b, unsigned n_common, choice *best)
{
    double total = (double)b->model->total, rare = price_rare(b);
    unsigned target = 2 * b->code->n_letters;
    plant(b);
    for (;;) {
        double bits = total * (price_words(b) + rare) +
                      BITS_OF_A_WORD * ((double)b->n_leaves + b->code->n_rare);
        if (bits < best->bits)
            *best = (choice){bits, n_common, b->code->n_inner};
        /* Doubling the words of a tree of some size gains a part of a percent at most. */
        if (b->max_word == 1 || (target > 32 && BITS_OF_A_WORD * target > 0.01 * best->bits))
            return;
        unsigned n_before = b->n_leaves;
        while (b->n_leaves < target && grow(b))
            continue;
        if (b->n_leaves == n_before)
            return;
        target = b->n_leaves * 2;
    }
}

/* Whether this many common symbols are worth trying: the symbol after them is 'share' of the data,
 * all after them together 'tail'. */
static bool worth_trying(const builder *b, unsigned n_common, unsigned n_seen, double share,
                         double last_share, double tail)
{
    if (n_common == n_seen)
        return true;
    if (b->code->alphabet == 16)
        return tail < 0.05;
    /* with 256 symbols: where a code as long as the limit, or a bit or two shorter, would do */
    for (double bits = b->code->max_bits - 2.0; bits < b->code->max_bits + 1.5; bits++)
        if (share < exp2(-bits) && last_share >= exp2(-bits))
            return true;
    return false;
}

static void choose(builder *b, const uint8_t *by_count, unsigned n_seen)
{
    choice best = {DBL_MAX, n_seen, 1};
    double tail = 1;
    for (unsigned n = 1; n <= n_seen; n++) {
        double last = b->model->single[by_count[n - 1]];
        double share = n < n_seen ? b->model->single[by_count[n]] : 0;
        tail -= last;
        if (!worth_trying(b, n, n_seen, share, last, tail))
            continue;
        classify(b, by_count, n_seen, n);
        try_trees(b, n, &best);
    }
    classify(b, by_count, n_seen, best.n_common);
    price_rare(b);
    plant(b);
    while (b->code->n_inner < best.n_inner && grow(b))
        continue;
    price_words(b);
}

static unsigned sort_symbols(const en_run_model *model, unsigned alphabet, uint8_t *by_count)
{
    unsigned n = 0;
    for (unsigned s = 0; s < alphabet; s++) {
        if (model->counts[s] == 0)
            continue;
        unsigned i = n++;
        for (; i > 0 && model->counts[by_count[i - 1]] < model->counts[s]; i--)
            by_count[i] = by_count[i - 1];
        by_count[i] = (uint8_t)s;
    }
    if (n == 0)
        by_count[n++] = 0;
    return n;
}

/* Depth-first order is the order of the slots' subtrees; lengths were found in leaf order. */
static unsigned set_word_bits(const builder *b, const uint8_t *bits_of_slot, unsigned node,
                              unsigned word)
{
    const en_code *code = b->code;
    for (unsigned i = 0; i < code->n_letters; i++) {
        unsigned slot = node * code->n_letters + i;
        if (code->child[slot])
            word = set_word_bits(b, bits_of_slot, code->child[slot], word);
        else
            code->words[word++].bits = bits_of_slot[slot];
    }
    return word;
}

static entro_status finish_code(builder *b, entro_error *err)
{
    uint8_t bits_of_slot[2 * MAX_WORDS + 2 * EN_CODE_MAX_SYMBOLS];
    for (unsigned i = 0; i < b->n_leaves; i++)
        bits_of_slot[b->leaves[i].slot] = b->bits[i];
    EN_TRY(en_code_list_words(b->code, err));
    set_word_bits(b, bits_of_slot, 0, 0);
    EN_TRY(en_code_assign(b->code, err));
    EN_TRY(en_code_make_decoder(b->code, err));
    return en_code_make_encoder(b->code, err);
}

entro_status en_code_build(en_code **out, const en_histogram *h, entro_error *err)
{
    unsigned alphabet = en_histogram_alphabet(h);
    en_run_model *model = NULL;
    en_code *code = NULL;
    uint8_t by_count[EN_CODE_MAX_SYMBOLS];
    builder *b = en_alloc_zero(1, sizeof *b);
    entro_status status = b ? en_code_new(&code, alphabet, err) : en_fail_memory(err);
    if (status == ENTRO_OK)
        status = en_run_model_new(&model, h, err);
    if (status != ENTRO_OK)
        goto done;
    /* every inner node but the root is a child: at most two slots for each word */
    code->child = en_alloc_zero(2 * MAX_WORDS + 2 * EN_CODE_MAX_SYMBOLS, sizeof *code->child);
    if (!code->child) {
        status = en_fail_memory(err);
        goto done;
    }
    b->code = code;
    b->model = model;
    b->max_word = alphabet == 256                              ? 1
                  : en_histogram_entropy(h) < long_words_below ? EN_WORD_MAX
                                                               : SHORT_WORDS;
    choose(b, by_count, sort_symbols(model, alphabet, by_count));
    status = finish_code(b, err);
done:
    en_free(model);
    en_free(b);
    if (status != ENTRO_OK) {
        en_code_free(code);
        return status;
    }
    *out = code;
    return ENTRO_OK;
}

/* ---- the price of a code for other data --------------------------------------------------- */

typedef struct pricing {
    const en_code *code;
    const en_run_model *model;
    unsigned word;
    double bits, symbols;
} pricing;

static void price_below(pricing *k, unsigned node, unsigned run, unsigned n_run, double p)
{
    const en_code *code = k->code;
    double following[16];
    const double *next = k->model->single;
    if (n_run > 0) {
        en_run_model_next(k->model, run, n_run, following);
        next = following;
    }
    for (unsigned i = 0; i < code->n_letters; i++) {
        unsigned child = code->child[node * code->n_letters + i];
        double here = 0;
        if (i < code->n_common)
            here = p * next[code->common[i]];
        else
            for (unsigned r = 0; r < code->n_rare; r++)
                here += p * next[code->rare[r]];
        if (child) {
            price_below(k, child, run << 4 | (code->common[i] & 15), n_run + 1, here);
            continue;
        }
        k->bits += here * code->words[k->word++].bits;
        k->symbols += here * (n_run + 1);
    }
}

double en_code_cost(const en_code *code, const en_histogram *h)
{
    en_run_model *model;
    if (en_run_model_new(&model, h, NULL) != ENTRO_OK)
        return NAN;
    double rare = 0;
    bool covered = true;
    for (unsigned s = 0; s < code->alphabet; s++)
        covered = covered && (model->counts[s] == 0 || code->class_of[s] != EN_ABSENT);
    for (unsigned i = 0; i < code->n_rare; i++)
        rare += model->single[code->rare[i]] * code->rare_bits[i];
    pricing k = {.code = code, .model = model};
    if (covered && model->total)
        price_below(&k, 0, 0, 0, 1);
    en_free(model);
    if (!covered)
        return INFINITY;
    return k.symbols > 0 ? k.bits / k.symbols + rare : 0;
}
