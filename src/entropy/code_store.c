/*
 * code_store.c - a code as bytes: the classes of the symbols, the tree, the lengths of the words,
 * the lengths of the rare symbols.  docs/coding.md is the contract.
 */
#include "base/bytes.h"
#include "base/memory.h"
#include "entropy/bit_io.h"
#include "entropy/code_words.h"

enum { LENGTH_FIELD = 4, FIRST_LENGTH = 6 };

/* ---- writing ----------------------------------------------------------------------------- */

/* Elias' gamma code of v > 0. */
static void put_gamma(en_bit_writer *w, uint32_t v)
{
    unsigned n = 31 - (unsigned)__builtin_clz(v);
    en_bits_put(w, 0, n);
    en_bits_put(w, v, n + 1);
}

static void put_classes(en_bit_writer *w, const en_code *code)
{
    for (unsigned s = 0, run; s < code->alphabet; s += run) {
        for (run = 1; s + run < code->alphabet && code->class_of[s + run] == code->class_of[s];)
            run++;
        en_bits_put(w, code->class_of[s], 2);
        put_gamma(w, run);
    }
}

static void put_children(en_bit_writer *w, const en_code *code, unsigned node)
{
    for (unsigned letter = 0; letter < code->n_common; letter++) {
        unsigned child = code->child[node * code->n_letters + letter];
        en_bits_put(w, child != 0, 1);
        if (child)
            put_children(w, code, child);
    }
}

/* Differences of neighbours, unary: 0, +1, -1, +2, -2 ... */
static void put_differences(en_bit_writer *w, const en_code *code, bool of_words, unsigned n)
{
    int previous = FIRST_LENGTH;
    for (unsigned i = 0; i < n; i++) {
        int bits = of_words ? code->words[i].bits : code->rare_bits[i], d = bits - previous;
        en_bits_put(w, 0, (unsigned)(d > 0 ? 2 * d - 1 : -2 * d));
        en_bits_put(w, 1, 1);
        previous = bits;
    }
}

static void put_lengths(en_bit_writer *w, const en_code *code, bool of_words, unsigned n)
{
    if (n < 2)
        return;
    en_bit_writer trial = {.p = NULL};
    put_differences(&trial, code, of_words, n);
    bool differences = trial.n_bits < (size_t)n * LENGTH_FIELD;
    en_bits_put(w, differences, 1);
    if (differences)
        put_differences(w, code, of_words, n);
    for (unsigned i = 0; !differences && i < n; i++)
        en_bits_put(w, of_words ? code->words[i].bits : code->rare_bits[i], LENGTH_FIELD);
}

static size_t put_code(const en_code *code, uint8_t *out)
{
    en_bit_writer w = {.p = out};
    put_classes(&w, code);
    en_bits_put(&w, code->n_inner > 1, 1);
    if (code->n_inner > 1)
        put_children(&w, code, 0);
    put_lengths(&w, code, true, code->n_words);
    put_lengths(&w, code, false, code->n_rare);
    return (w.n_bits + 7) / 8;
}

size_t en_code_stored_bytes(const en_code *code)
{
    return put_code(code, NULL);
}

void en_code_store(const en_code *code, uint8_t *out)
{
    memset(out, 0, en_code_stored_bytes(code));
    put_code(code, out);
}

/* ---- reading ----------------------------------------------------------------------------- */

static bool get_classes(en_bit_reader *r, en_code *code)
{
    for (unsigned s = 0; s < code->alphabet;) {
        unsigned class_of = en_bits_get(r, 2), zeros = 0;
        while (zeros <= 8 && !en_bits_get1(r))
            zeros++;
        unsigned run = zeros > 8 ? 0 : 1u << zeros | en_bits_get(r, zeros);
        if (r->failed || class_of > EN_RARE || run == 0 || run > code->alphabet - s)
            return false;
        memset(code->class_of + s, (int)class_of, run);
        s += run;
    }
    en_code_set_letters(code);
    return code->n_common > 0;
}

static bool get_children(en_bit_reader *r, en_code *code, unsigned node, unsigned depth)
{
    for (unsigned letter = 0; letter < code->n_common; letter++) {
        if (!en_bits_get1(r))
            continue;
        /* more words than codes, or a word too long */
        unsigned n_words = (code->n_inner + 1) * (code->n_letters - 1) + 1;
        if (depth == EN_WORD_MAX || n_words > 1u << code->max_bits)
            return false;
        unsigned child = code->n_inner++;
        code->child[node * code->n_letters + letter] = (uint16_t)child;
        if (!get_children(r, code, child, depth + 1))
            return false;
    }
    return !r->failed;
}

static bool get_lengths(en_bit_reader *r, en_code *code, bool of_words, unsigned n)
{
    if (n < 2)
        return true;
    bool differences = en_bits_get1(r);
    int bits = FIRST_LENGTH;
    for (unsigned i = 0; i < n; i++) {
        if (differences) {
            unsigned v = 0;
            while (v <= 2 * EN_HUFFMAN_MAX_BITS && !en_bits_get1(r))
                v++;
            bits += v & 1 ? (int)(v + 1) / 2 : -(int)(v / 2);
        } else {
            bits = (int)en_bits_get(r, LENGTH_FIELD);
        }
        if (r->failed || bits < 1 || bits > (int)code->max_bits)
            return false;
        if (of_words)
            code->words[i].bits = (uint8_t)bits;
        else
            code->rare_bits[i] = (uint8_t)bits;
    }
    return true;
}

static entro_status get_code(en_code *code, en_bit_reader *r, entro_error *err)
{
    if (!get_classes(r, code))
        return en_fail(err, ENTRO_ERR_FORMAT, "code table: damaged list of symbols");
    /* Every inner node but the root is a child: at most two entries for each word. */
    unsigned most = 2u << code->max_bits;
    code->child = en_alloc_zero(most + code->n_letters, sizeof *code->child);
    if (!code->child)
        return en_fail_memory(err);
    code->n_inner = 1;
    bool long_words = en_bits_get1(r);
    if (long_words && (code->alphabet != 16 || code->n_letters < 2 || !get_children(r, code, 0, 1)))
        return en_fail(err, ENTRO_ERR_FORMAT, "code table: damaged tree of words");
    EN_TRY(en_code_list_words(code, err));
    if (!get_lengths(r, code, true, code->n_words) || !get_lengths(r, code, false, code->n_rare) ||
        !en_bits_done(r))
        return en_fail(err, ENTRO_ERR_FORMAT,
                       "code table: damaged lengths, or a length of %zu bytes that is not its own",
                       r->n_bytes);
    EN_TRY(en_code_assign(code, err));
    return en_code_make_decoder(code, err);
}

entro_status en_code_load(en_code **out, unsigned alphabet, const uint8_t *bytes, size_t n_bytes,
                          entro_error *err)
{
    en_code *code;
    EN_TRY(en_code_new(&code, alphabet, err));
    en_bit_reader r = {.p = bytes, .n_bytes = n_bytes};
    entro_status status = get_code(code, &r, err);
    if (status != ENTRO_OK) {
        en_code_free(code);
        return status;
    }
    /* give back what the tree does not need */
    uint16_t *child =
        en_realloc(code->child, (size_t)code->n_inner * code->n_letters, sizeof *code->child);
    code->child = child ? child : code->child;
    *out = code;
    return ENTRO_OK;
}
