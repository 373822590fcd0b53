/*
 * bitmap_tree.c - lab: one bitmap for each inner node of the Huffman tree, merged by byte expands.
 *
 *   node of a block:  which of its symbols come from the right child, one bit each
 *   decoding:         children first; bits choose between the two runs of bytes: vpexpandb
 *
 * Symbols are bytes: one weight, or two of 4 bits (columns i and 64 + i of 128).  Equally long codes
 * are gathered into flat subtrees of up to 64 symbols, stored as plain numbers of some bits, which a
 * multishift and a permutation look up; only what is above them is merged.  There is no limit to a
 * code's length that costs time, so this layout comes nearest to entropy.  Blocks of 32 KiB are
 * decoded to the cache; the product reads them there.
 */
#include <immintrin.h>

#include "lab.h"

enum {
    BLOCK = 32768, /* symbols */
    MAX_NODES = 512,
    MAX_FLAT_BITS = 6,
    INNER = -1,
};

typedef struct node {
    int flat_bits; /* 0: one symbol; or INNER */
    int child[2];
    uint8_t symbols[64]; /* of a flat node, repeated */
    uint8_t number[256]; /* of a symbol in a flat node, or its side in an inner one */
    bool has[256];
    uint8_t *out;
} node;

typedef struct tree {
    node nodes[MAX_NODES];
    int n_nodes;
    const lab_matrix *matrix;
    bool pairs;
    size_t n_symbols, n_bytes;
    uint8_t *symbols, *bytes;
    int32_t sums[LAB_ROWS];
} tree;

/* ---- the tree ------------------------------------------------------------------------------ */

typedef struct subtree {
    int depth, flat_bits;
    const uint16_t *symbols;
} subtree;

static int by_depth(const void *a, const void *b)
{
    const subtree *x = a, *y = b;
    return x->depth != y->depth ? x->depth - y->depth : (x->symbols > y->symbols) * 2 - 1;
}

/* Takes subtrees in order, the least deep first, as canonical codes do. */
static int grow(tree *t, const subtree **next, int depth)
{
    int id = t->n_nodes++;
    node *x = &t->nodes[id];
    x->out = lab_alloc(BLOCK + 2 * LAB_PAD);
    if ((*next)->depth == depth) {
        const subtree *s = (*next)++;
        x->flat_bits = s->flat_bits;
        for (unsigned i = 0; i < 64; i++) {
            unsigned number = i & ((1u << s->flat_bits) - 1);
            x->symbols[i] = (uint8_t)s->symbols[number];
            x->has[s->symbols[number]] = true;
            x->number[s->symbols[number]] = (uint8_t)number;
        }
        return id;
    }
    x->flat_bits = INNER;
    for (int side = 0; side < 2; side++) {
        x->child[side] = grow(t, next, depth + 1);
        for (int s = 0; s < 256; s++)
            if (t->nodes[x->child[side]].has[s]) {
                x->has[s] = true;
                x->number[s] = (uint8_t)side;
            }
    }
    return id;
}

static void build(tree *t)
{
    static en_huffman_work work;
    uint64_t counts[256] = {0}, weights[256];
    uint16_t order[256], codes[256], used[256];
    uint8_t bits[256];
    unsigned n = 0;
    subtree subtrees[256];
    size_t n_subtrees = 0;
    for (size_t i = 0; i < t->n_symbols; i++)
        counts[t->symbols[i]]++;
    for (unsigned s = 0; s < 256; s++)
        if (counts[s] > 0) {
            used[n] = (uint16_t)s;
            weights[n++] = counts[s];
        }
    en_huffman_lengths(&work, weights, n, EN_HUFFMAN_MAX_BITS, bits);
    if (!en_huffman_codes(bits, n, EN_HUFFMAN_MAX_BITS, codes, order))
        lab_stop("no code");
    for (unsigned first = 0, end; first < n; first = end) {
        int length = bits[order[first]];
        for (end = first; end < n && bits[order[end]] == length;)
            end++;
        for (unsigned at = first; at < end;) { /* the largest subtrees of these codes */
            int flat = 0;
            while (flat < MAX_FLAT_BITS && at + (2u << flat) <= end)
                flat++;
            subtrees[n_subtrees++] = (subtree){length - flat, flat, order + at};
            at += 1u << flat;
        }
    }
    for (unsigned i = 0; i < n; i++)
        order[i] = used[order[i]];
    qsort(subtrees, n_subtrees, sizeof *subtrees, by_depth);
    const subtree *next = subtrees;
    grow(t, &next, 0);
}

/* ---- encoding ------------------------------------------------------------------------------ */

static void put_numbers(tree *t, const node *x, const uint8_t *symbols, size_t n, unsigned n_bits)
{
    uint8_t *to = t->bytes + t->n_bytes;
    to[0] = (uint8_t)n;
    to[1] = (uint8_t)(n >> 8);
    to += 2;
    for (size_t i = 0; i < n * n_bits; i++)
        to[i / 8] |= (uint8_t)((x->number[symbols[i / n_bits]] >> i % n_bits & 1) << i % 8);
    t->n_bytes += 2 + (n * n_bits + 7) / 8;
}

/* Children first, so that a decoder never goes back. */
static void encode_node(tree *t, int id, const uint8_t *symbols, size_t n)
{
    const node *x = &t->nodes[id];
    if (x->flat_bits != INNER) {
        if (x->flat_bits > 0)
            put_numbers(t, x, symbols, n, (unsigned)x->flat_bits);
        return;
    }
    for (int side = 0; side < 2; side++) {
        uint8_t *part = lab_alloc(n);
        size_t n_part = 0;
        for (size_t i = 0; i < n; i++)
            if (x->number[symbols[i]] == side)
                part[n_part++] = symbols[i];
        encode_node(t, x->child[side], part, n_part);
        en_free(part);
    }
    put_numbers(t, x, symbols, n, 1);
}

/* ---- decoding ------------------------------------------------------------------------------ */

/* Sides that are one symbol alone are constants, and need no expand. */
INLINED void merge(const uint8_t *bits, size_t n, const node *left, const node *right,
                   bool left_alone, bool right_alone, uint8_t *out)
{
    const uint8_t *l = left->out, *r = right->out;
    __m512i lefts = _mm512_set1_epi8((char)left->symbols[0]);
    __m512i rights = _mm512_set1_epi8((char)right->symbols[0]);
    for (size_t i = 0; i < n; i += 64) {
        uint64_t from_right;
        memcpy(&from_right, bits + i / 8, sizeof from_right);
        __m512i merged = lefts;
        if (!left_alone) {
            __m512i bytes = _mm512_loadu_si512(l);
            __asm__("" : "+v"(bytes)); /* expanding from memory is slow on Zen 4 */
            merged = right_alone ? _mm512_mask_expand_epi8(rights, ~from_right, bytes)
                                 : _mm512_maskz_expand_epi8(~from_right, bytes);
            l += 64 - _mm_popcnt_u64(from_right);
        }
        if (!right_alone) {
            __m512i bytes = _mm512_loadu_si512(r);
            __asm__("" : "+v"(bytes));
            merged = _mm512_mask_expand_epi8(merged, from_right, bytes);
            r += _mm_popcnt_u64(from_right);
        } else if (left_alone) {
            merged = _mm512_mask_blend_epi8(from_right, lefts, rights);
        }
        _mm512_storeu_si512(out + i, merged);
    }
}

INLINED void look_up(const uint8_t *numbers, size_t n, const node *x, uint8_t *out)
{
    uint8_t at[64], shift[64];
    for (int i = 0; i < 64; i++) { /* 8 numbers begin at a byte */
        at[i] = (uint8_t)(i / 8 * x->flat_bits + i % 8);
        shift[i] = (uint8_t)(i % 8 * x->flat_bits);
    }
    __m512i bytes_at = _mm512_loadu_si512(at), shifts = _mm512_loadu_si512(shift);
    __m512i table = _mm512_loadu_si512(x->symbols);
    for (size_t i = 0; i < n; i += 64) {
        __m512i bytes = _mm512_permutexvar_epi8(bytes_at, _mm512_loadu_si512(numbers));
        __m512i windows = _mm512_multishift_epi64_epi8(shifts, bytes);
        _mm512_storeu_si512(out + i, _mm512_permutexvar_epi8(windows, table));
        numbers += 8 * x->flat_bits;
    }
}

static const uint8_t *decode_node(tree *t, int id, const uint8_t *in)
{
    const node *x = &t->nodes[id];
    if (x->flat_bits == 0)
        return in;
    if (x->flat_bits == INNER)
        for (int side = 0; side < 2; side++)
            in = decode_node(t, x->child[side], in);
    size_t n = in[0] + 256u * in[1];
    in += 2;
    if (x->flat_bits != INNER) {
        look_up(in, n, x, x->out);
        return in + (n * (size_t)x->flat_bits + 7) / 8;
    }
    const node *left = &t->nodes[x->child[0]], *right = &t->nodes[x->child[1]];
    if (left->flat_bits != 0 && right->flat_bits != 0)
        merge(in, n, left, right, false, false, x->out);
    else if (left->flat_bits != 0)
        merge(in, n, left, right, false, true, x->out);
    else if (right->flat_bits != 0)
        merge(in, n, left, right, true, false, x->out);
    else
        merge(in, n, left, right, true, true, x->out);
    return in + (n + 7) / 8;
}

static void decode(void *arg)
{
    tree *t = arg;
    const uint8_t *in = t->bytes;
    for (size_t at = 0; at < t->n_symbols; at += BLOCK)
        in = decode_node(t, 0, in);
}

static void check_decoded(tree *t)
{
    const uint8_t *in = t->bytes;
    for (size_t at = 0; at < t->n_symbols; at += BLOCK) {
        in = decode_node(t, 0, in);
        if (memcmp(t->nodes[0].out, t->symbols + at, BLOCK) != 0)
            lab_stop("a symbol is wrong");
    }
}

/* ---- product ------------------------------------------------------------------------------- */

INLINED int32_t row_dot(const uint8_t *symbols, const int8_t *x, bool pairs)
{
    __m512i sums[2] = {_mm512_setzero_si512(), _mm512_setzero_si512()};
    const __m512i nibble = _mm512_set1_epi8(15);
    for (size_t c = 0; c < LAB_COLS; c += 128) {
        __m512i values[2];
        if (pairs) {
            __m512i both = _mm512_loadu_si512(symbols + c / 2);
            values[0] = _mm512_and_si512(both, nibble);
            values[1] = _mm512_and_si512(_mm512_srli_epi16(both, 4), nibble);
        } else {
            values[0] = _mm512_loadu_si512(symbols + c);
            values[1] = _mm512_loadu_si512(symbols + c + 64);
        }
        for (int i = 0; i < 2; i++)
            sums[i] = _mm512_dpbusd_epi32(sums[i], values[i], _mm512_loadu_si512(x + c + 64 * i));
    }
    return _mm512_reduce_add_epi32(_mm512_add_epi32(sums[0], sums[1]));
}

static void product(void *arg)
{
    tree *t = arg;
    const uint8_t *in = t->bytes, *out = t->nodes[0].out;
    size_t row_bytes = t->pairs ? LAB_COLS / 2 : LAB_COLS, row = 0;
    for (size_t at = 0; at < t->n_symbols; at += BLOCK) {
        in = decode_node(t, 0, in);
        for (size_t i = 0; i < BLOCK; i += row_bytes)
            t->sums[row++] = t->pairs ? row_dot(out + i, t->matrix->x, true)
                                      : row_dot(out + i, t->matrix->x, false);
    }
}

static void try_sigma(double sigma, bool pairs)
{
    lab_matrix *m = lab_matrix_new(sigma);
    if (pairs)
        lab_matrix_keep(m, LAB_ZERO - 8, 16);
    tree *t = lab_alloc(sizeof *t);
    t->matrix = m;
    t->pairs = pairs;
    t->n_symbols = pairs ? LAB_WEIGHTS / 2 : LAB_WEIGHTS;
    t->symbols = lab_alloc(t->n_symbols);
    t->bytes = lab_alloc(2 * t->n_symbols);
    for (size_t i = 0; i < t->n_symbols; i++) {
        const uint8_t *two = m->values + i / 64 * 128 + i % 64;
        t->symbols[i] = pairs ? (uint8_t)(two[0] | two[64] << 4) : m->values[i];
    }
    build(t);
    for (size_t at = 0; at < t->n_symbols; at += BLOCK)
        encode_node(t, 0, t->symbols + at, BLOCK);
    check_decoded(t);
    double decoded = lab_rate(decode, t), multiplied = lab_rate(product, t);
    lab_check_sums(m, t->sums);
    double stored = 8.0 * (double)t->n_bytes / LAB_WEIGHTS + lab_list_bits(m);
    printf("| %.2f | %s | %.3f | %.3f (+%.3f) | %.1f | %.1f |\n", sigma, pairs ? "pairs" : "bytes",
           m->entropy, stored, stored - m->entropy, decoded, multiplied);
    for (int i = 0; i < t->n_nodes; i++)
        en_free(t->nodes[i].out);
    en_free(t->symbols);
    en_free(t->bytes);
    en_free(t);
    lab_matrix_free(m);
}

int main(void)
{
    lab_need(EN_CPU_AVX512, "AVX-512");
    printf("bitmap tree, one core, G weights/s\n\n"
           "| sigma | symbols | entropy | stored | decode to cache | product |\n");
    for (size_t i = 0; i < LAB_SIGMAS && lab_sigmas[i] < 3; i++)
        try_sigma(lab_sigmas[i], true);
    for (size_t i = 0; i < LAB_SIGMAS; i++)
        if (lab_sigmas[i] > 2)
            try_sigma(lab_sigmas[i], false);
    return 0;
}
