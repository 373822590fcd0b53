/*
 * huffman_lengths.c - package-merge (Larmore and Hirschberg, 1990) and canonical codes.
 *
 * A code of limited length is a choice of coins: every item has one coin of each face value 2^-1 ..
 * 2^-max_bits, all at the price of its weight, and the cheapest set of total value n - 1 gives each
 * item as many bits as coins of it were taken.  From the smallest value up, coins are paired into
 * packages and merged with the coins of the next value.  Only "coin or package" is remembered of
 * each list: taking a prefix of the last list takes prefixes of all others.
 */
#include "entropy/huffman_lengths.h"

#include "base/bytes.h"

static bool heavier(const uint64_t *w, unsigned a, unsigned b)
{
    return w[a] > w[b] || (w[a] == w[b] && a > b);
}

/* Shell sort: no memory of its own, and the lists are short. */
static void sort_items(en_huffman_work *work, const uint64_t *weights, unsigned n)
{
    static const unsigned gaps[] = {701, 301, 132, 57, 23, 10, 4, 1};
    for (unsigned i = 0; i < n; i++)
        work->order[i] = (uint16_t)i;
    for (unsigned g = 0; g < sizeof gaps / sizeof *gaps; g++) {
        unsigned gap = gaps[g];
        for (unsigned i = gap; i < n; i++) {
            uint16_t item = work->order[i];
            unsigned j = i;
            for (; j >= gap && heavier(weights, work->order[j - gap], item); j -= gap)
                work->order[j] = work->order[j - gap];
            work->order[j] = item;
        }
    }
    for (unsigned i = 0; i < n; i++)
        work->sorted[i] = weights[work->order[i]];
}

/* Merges the n coins with the pairs of 'prev'; returns the length of the new list. */
static unsigned merge_level(const uint64_t *coins, unsigned n, const uint64_t *prev,
                            unsigned n_prev, uint64_t *list, uint8_t *is_package)
{
    unsigned n_pairs = n_prev / 2, coin = 0, pair = 0;
    for (unsigned i = 0; i < n + n_pairs; i++) {
        uint64_t package = pair < n_pairs ? prev[2 * pair] + prev[2 * pair + 1] : UINT64_MAX;
        bool take = coin == n || package < coins[coin];
        is_package[i] = take;
        list[i] = take ? package : coins[coin];
        pair += take;
        coin += !take;
    }
    return n + n_pairs;
}

void en_huffman_lengths(en_huffman_work *work, const uint64_t *weights, unsigned n,
                        unsigned max_bits, uint8_t *bits)
{
    memset(bits, 0, n);
    if (n < 2)
        return;
    sort_items(work, weights, n);
    unsigned n_list = 0;
    for (unsigned level = 0; level < max_bits; level++)
        n_list = merge_level(work->sorted, n, work->lists[level & 1], n_list,
                             work->lists[~level & 1], work->is_package[level]);

    unsigned taken = 2 * n - 2;
    for (unsigned level = max_bits; level-- > 0 && taken > 0;) {
        unsigned packages = 0;
        for (unsigned i = 0; i < taken; i++)
            packages += work->is_package[level][i];
        for (unsigned i = 0; i < taken - packages; i++)
            bits[work->order[i]]++;
        taken = 2 * packages;
    }
}

bool en_huffman_codes(const uint8_t *bits, unsigned n, unsigned max_bits, uint16_t *codes,
                      uint16_t *order)
{
    unsigned count[EN_HUFFMAN_MAX_BITS + 1] = {0};
    for (unsigned i = 0; i < n; i++) {
        if (bits[i] > max_bits || (bits[i] == 0 && n > 1))
            return false;
        count[bits[i]]++;
    }
    if (n == 1 && bits[0] == 0) {
        codes[0] = 0;
        if (order)
            order[0] = 0;
        return true;
    }
    uint32_t code = 0, rank = 0, next[EN_HUFFMAN_MAX_BITS + 1], place[EN_HUFFMAN_MAX_BITS + 1];
    for (unsigned b = 1; b <= max_bits; b++) {
        code <<= 1;
        next[b] = code;
        place[b] = rank;
        code += count[b];
        rank += count[b];
        if (code > (uint32_t)1 << b)
            return false;
    }
    if (code != (uint32_t)1 << max_bits)
        return false;
    for (unsigned i = 0; i < n; i++) {
        codes[i] = (uint16_t)next[bits[i]]++;
        if (order)
            order[place[bits[i]]++] = (uint16_t)i;
    }
    return true;
}

void en_huffman_set_ranges(en_huffman_ranges *r, const uint8_t *bits, unsigned n)
{
    memset(r, 0, sizeof *r);
    for (unsigned i = 0; i < n; i++)
        r->count[bits[i]]++;
    unsigned code = 0, place = r->count[0];
    for (unsigned b = 1; b <= EN_HUFFMAN_MAX_BITS; b++) {
        code <<= 1;
        r->first[b] = (uint16_t)code;
        r->place[b] = (uint16_t)place;
        code += r->count[b];
        place += r->count[b];
    }
}

uint64_t en_huffman_total(const uint64_t *counts, unsigned n)
{
    /* The sum of all inner nodes' weights; both queues are sorted, so the two least are at their
     * heads. */
    uint64_t leaf[256], node[256], total = 0;
    unsigned n_leaf = 0, n_node = 0, l = 0, m = 0;
    for (unsigned i = 0; i < n; i++) {
        if (counts[i] == 0)
            continue;
        unsigned j = n_leaf++;
        for (; j > 0 && leaf[j - 1] > counts[i]; j--)
            leaf[j] = leaf[j - 1];
        leaf[j] = counts[i];
    }
    if (n_leaf == 1)
        return leaf[0];
    while (n_leaf - l + n_node - m > 1) {
        uint64_t sum = 0;
        for (int k = 0; k < 2; k++)
            sum += m == n_node || (l < n_leaf && leaf[l] <= node[m]) ? leaf[l++] : node[m++];
        node[n_node++] = sum;
        total += sum;
    }
    return total;
}
