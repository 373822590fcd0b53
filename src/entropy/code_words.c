/*
 * code_words.c - the parts of a code and how they follow from each other: letters from symbols,
 * words from the tree, codes from lengths.
 */
#include "entropy/code_words.h"

#include "base/bytes.h"
#include "base/memory.h"

entro_status en_code_new(en_code **out, unsigned alphabet, entro_error *err)
{
    if (alphabet != 16 && alphabet != 256)
        return en_fail(err, ENTRO_ERR_ARGUMENT, "alphabet of %u symbols; expected 16 or 256",
                       alphabet);
    en_code *code = en_alloc_zero(1, sizeof *code);
    if (!code)
        return en_fail_memory(err);
    code->alphabet = alphabet;
    code->max_bits = en_code_max_bits(alphabet);
    *out = code;
    return ENTRO_OK;
}

void en_code_free(en_code *code)
{
    if (!code)
        return;
    en_free(code->child);
    en_free(code->words);
    en_free(code->by_code);
    en_free(code->entries);
    en_free(code->rare_lookup);
    en_free(code->singles);
    en_free(code->pairs);
    en_free(code->endings);
    en_free(code);
}

void en_code_set_letters(en_code *code)
{
    code->n_common = code->n_rare = 0;
    for (unsigned s = 0; s < code->alphabet; s++) {
        if (code->class_of[s] == EN_COMMON)
            code->common[code->n_common++] = (uint8_t)s;
        else if (code->class_of[s] == EN_RARE)
            code->rare[code->n_rare++] = (uint8_t)s;
    }
    code->n_letters = code->n_common + (code->n_rare > 0);
}

/* Depth is at most EN_WORD_MAX: whoever made the tree saw to that. */
static void list_below(en_code *code, unsigned node, en_word *prefix)
{
    for (unsigned letter = 0; letter < code->n_letters; letter++) {
        en_word word = *prefix;
        unsigned child = code->child[node * code->n_letters + letter];
        if (letter == code->n_common)
            word.escape = 1;
        else
            word.symbols[word.n_symbols++] = code->common[letter];
        if (child)
            list_below(code, child, &word);
        else
            code->words[code->n_words++] = word;
    }
}

entro_status en_code_list_words(en_code *code, entro_error *err)
{
    unsigned n_words = code->n_inner * (code->n_letters - 1) + 1;
    code->words = en_alloc_zero(n_words, sizeof *code->words);
    code->by_code = en_alloc_zero(n_words, sizeof *code->by_code);
    if (!code->words || !code->by_code)
        return en_fail_memory(err);
    en_word nothing = {.n_symbols = 0};
    list_below(code, 0, &nothing);
    return ENTRO_OK;
}

entro_status en_code_assign(en_code *code, entro_error *err)
{
    uint8_t *bits = en_alloc(code->n_words, 1);
    uint16_t *codes = en_alloc(code->n_words, sizeof *codes);
    entro_status status = ENTRO_OK;
    if (!bits || !codes) {
        status = en_fail_memory(err);
        goto done;
    }
    for (unsigned w = 0; w < code->n_words; w++)
        bits[w] = code->words[w].bits;
    if (!en_huffman_codes(bits, code->n_words, code->max_bits, codes, code->by_code) ||
        (code->n_rare && !en_huffman_codes(code->rare_bits, code->n_rare, code->max_bits,
                                           code->rare_code, code->rare_by_code))) {
        status = en_fail(err, ENTRO_ERR_FORMAT,
                         "code table: the lengths are not those of a complete prefix code");
        goto done;
    }
    for (unsigned w = 0; w < code->n_words; w++)
        code->words[w].code = codes[w];
    en_huffman_set_ranges(&code->word_ranges, bits, code->n_words);
    en_huffman_set_ranges(&code->rare_ranges, code->rare_bits, code->n_rare);
done:
    en_free(bits);
    en_free(codes);
    return status;
}

static size_t entries_bytes(const en_code *code)
{
    static const size_t entry[] = {
        [EN_ENTRY_FILL] = 0, [EN_ENTRY_2] = 4, [EN_ENTRY_7] = 8, [EN_ENTRY_14] = 16};
    return entry[code->layout] << code->max_bits;
}

size_t en_code_memory_bytes(const en_code *code)
{
    size_t n = sizeof *code + entries_bytes(code);
    n += (size_t)code->n_inner * code->n_letters * sizeof *code->child;
    n += code->n_words * (sizeof *code->words + sizeof *code->by_code);
    if (code->rare_lookup)
        n += sizeof *code->rare_lookup << code->rare_lookup_bits;
    if (code->singles)
        n += code->n_inner * (code->alphabet * sizeof *code->singles + sizeof *code->endings);
    if (code->pairs)
        n += code->n_inner * 256 * sizeof *code->pairs;
    return n;
}

/* ---- decoder tables ---------------------------------------------------------------------- */

/*
 * The entries of all bit strings that begin with the words gathered so far.  Words are visited in
 * the order of their codes, so those that still fit come first and the rest of the range, where no
 * further word fits, holds what was gathered.
 */
typedef struct gathered {
    uint8_t symbols[16];
    unsigned n_symbols, bits;
} gathered;

static void put_entries(en_code *code, const gathered *g, unsigned first, unsigned last)
{
    if (code->layout == EN_ENTRY_2) {
        uint32_t e = g->symbols[0] | g->symbols[1] << 8 | g->bits << 16 | g->n_symbols << 24;
        uint32_t *to = code->entries;
        for (unsigned i = first; i < last; i++)
            to[i] = e;
    } else if (code->layout == EN_ENTRY_7) {
        uint64_t meta = g->n_symbols << 4 | g->bits;
        uint64_t e = (en_load64(g->symbols) & 0x00ffffffffffffff) | meta << 56;
        uint64_t *to = code->entries;
        for (unsigned i = first; i < last; i++)
            to[i] = e;
    } else {
        uint8_t e[16];
        memcpy(e, g->symbols, 14);
        e[14] = (uint8_t)g->bits;
        e[15] = (uint8_t)g->n_symbols;
        for (unsigned i = first; i < last; i++)
            memcpy((uint8_t *)code->entries + 16 * (size_t)i, e, 16);
    }
}

static void fill_entries(en_code *code, unsigned max_symbols, const gathered *g, unsigned first,
                         unsigned last)
{
    unsigned room = code->max_bits - g->bits;
    for (unsigned i = 0; i < code->n_words; i++) {
        const en_word *w = &code->words[code->by_code[i]];
        if (w->bits > room)
            break;
        unsigned next = first + (1u << (room - w->bits));
        if (w->escape && g->n_symbols == 0) {
            gathered alone = {.symbols = {(uint8_t)code->by_code[i], code->by_code[i] >> 8}};
            put_entries(code, &alone, first, next);
        } else if (w->escape || g->n_symbols + w->n_symbols > max_symbols) {
            put_entries(code, g, first, next);
        } else {
            gathered more = *g;
            more.bits += w->bits;
            memcpy(more.symbols + more.n_symbols, w->symbols, w->n_symbols);
            more.n_symbols += w->n_symbols;
            fill_entries(code, max_symbols, &more, first, next);
        }
        first = next;
    }
    if (first < last)
        put_entries(code, g, first, last);
}

static entro_status make_rare_lookup(en_code *code, entro_error *err)
{
    unsigned width = 0;
    for (unsigned i = 0; i < code->n_rare; i++)
        width = code->rare_bits[i] > width ? code->rare_bits[i] : width;
    code->rare_lookup_bits = width;
    code->rare_lookup = en_alloc((size_t)1 << width, sizeof *code->rare_lookup);
    if (!code->rare_lookup)
        return en_fail_memory(err);
    unsigned at = 0;
    for (unsigned i = 0; i < code->n_rare; i++) {
        unsigned r = code->rare_by_code[i], n = 1u << (width - code->rare_bits[r]);
        for (unsigned end = at + n; at < end; at++)
            code->rare_lookup[at] = (uint16_t)(code->rare_bits[r] << 8 | code->rare[r]);
    }
    return ENTRO_OK;
}

entro_status en_code_make_decoder(en_code *code, entro_error *err)
{
    static const unsigned max_symbols[] = {
        [EN_ENTRY_FILL] = 0, [EN_ENTRY_2] = 2, [EN_ENTRY_7] = 7, [EN_ENTRY_14] = 14};
    unsigned longest = 0;
    for (unsigned w = 0; w < code->n_words; w++) {
        unsigned n = (unsigned)code->words[w].n_symbols + code->words[w].escape;
        longest = n > longest ? n : longest;
    }
    if (code->n_words == 1)
        code->layout = EN_ENTRY_FILL;
    else if (code->alphabet == 256)
        code->layout = EN_ENTRY_2;
    else
        code->layout = longest <= 7 ? EN_ENTRY_7 : EN_ENTRY_14;
    if (code->n_rare)
        EN_TRY(make_rare_lookup(code, err));
    if (code->layout == EN_ENTRY_FILL)
        return ENTRO_OK;
    code->entries = en_alloc(entries_bytes(code), 1);
    if (!code->entries)
        return en_fail_memory(err);
    gathered nothing = {.n_symbols = 0};
    fill_entries(code, max_symbols[code->layout], &nothing, 0, 1u << code->max_bits);
    return ENTRO_OK;
}
