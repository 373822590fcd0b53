/*
 * special_tokens.c - matching by narrowing a sorted list.
 *
 * At a byte that starts some token the range of tokens that agree with the text shrinks character
 * by character; a token that ends where the range still holds it is a match.
 */
#include "text/special_tokens.h"

#include <stdlib.h>

#include "base/memory.h"

struct sort_item {
    en_span text;
    int32_t id;
};

static int compare(const void *a, const void *b)
{
    const struct sort_item *x = a, *y = b;
    size_t n = x->text.n < y->text.n ? x->text.n : y->text.n;
    int order = memcmp(x->text.p, y->text.p, n);
    if (order != 0)
        return order;
    if (x->text.n != y->text.n)
        return x->text.n < y->text.n ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id; /* the later of two equal ones is found */
}

static bool is_member(const en_vocab *vocab, int32_t id, bool with_control)
{
    if (en_vocab_token(vocab, id).n == 0)
        return false;
    unsigned type = en_vocab_type(vocab, id);
    return type == EN_TOKEN_USER ||
           (with_control && (type == EN_TOKEN_CONTROL || type == EN_TOKEN_UNKNOWN));
}

static entro_status load_set(en_special_set *set, const en_vocab *vocab, bool with_control,
                             entro_error *err)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < vocab->n; i++)
        n += is_member(vocab, (int32_t)i, with_control);
    struct sort_item *items = en_alloc(n, sizeof items[0]);
    set->ids = en_alloc(n, sizeof set->ids[0]);
    if (items == NULL || set->ids == NULL) {
        en_free(items);
        return en_fail_memory(err);
    }
    for (uint32_t i = 0; i < vocab->n; i++) {
        if (is_member(vocab, (int32_t)i, with_control))
            items[set->n++] = (struct sort_item){en_vocab_token(vocab, (int32_t)i), (int32_t)i};
    }
    qsort(items, n, sizeof items[0], compare);
    for (uint32_t i = 0; i < n; i++) {
        set->ids[i] = items[i].id;
        set->first[(uint8_t)items[i].text.p[0]] = true;
    }
    en_free(items);
    return ENTRO_OK;
}

entro_status en_special_load(en_special_tokens *special, const en_vocab *vocab, entro_error *err)
{
    special->vocab = vocab;
    EN_TRY(load_set(&special->user, vocab, false, err));
    return load_set(&special->all, vocab, true, err);
}

void en_special_free(en_special_tokens *special)
{
    en_free(special->user.ids);
    en_free(special->all.ids);
}

/* Byte number 'depth' of a token, -1 past its end; tokens of a range agree up to there. */
static int byte_at(const en_vocab *vocab, int32_t id, size_t depth)
{
    en_span token = en_vocab_token(vocab, id);
    return depth < token.n ? (uint8_t)token.p[depth] : -1;
}

/* The first index in [low, high) whose byte at 'depth' is at least 'byte'. */
static uint32_t lower_bound(const en_special_tokens *special, const en_special_set *set,
                            uint32_t low, uint32_t high, size_t depth, int byte)
{
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (byte_at(special->vocab, set->ids[middle], depth) < byte)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The longest token at the start of 'p', -1 when there is none. */
static int32_t longest_at(const en_special_tokens *special, const en_special_set *set,
                          const char *p, size_t n)
{
    uint32_t low = 0, high = set->n;
    int32_t best = -1;
    for (size_t depth = 0; depth < n && low < high; depth++) {
        int byte = (uint8_t)p[depth];
        low = lower_bound(special, set, low, high, depth, byte);
        high = lower_bound(special, set, low, high, depth, byte + 1);
        /* Those that end here stand first, equal ones in the order of their ids. */
        for (; low < high && byte_at(special->vocab, set->ids[low], depth + 1) < 0; low++)
            best = set->ids[low];
    }
    return best;
}

size_t en_special_find(const en_special_tokens *special, bool with_control, const char *text,
                       size_t n, size_t from, int32_t *id)
{
    const en_special_set *set = with_control ? &special->all : &special->user;
    *id = -1;
    if (set->n == 0)
        return n;
    for (size_t i = from; i < n; i++) {
        if (!set->first[(uint8_t)text[i]])
            continue;
        *id = longest_at(special, set, text + i, n - i);
        if (*id >= 0)
            return i;
    }
    return n;
}
