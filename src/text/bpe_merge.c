/*
 * bpe_merge.c - the merging itself.
 *
 * Most words are one token; the vocabulary notes for each token whether merges really lead to it,
 * so the second time the answer is one look-up.  Short words scan for the best pair each time,
 * long ones keep pairs in a heap: 100 kB without a space cost n log n.
 */
#include "text/bpe_merge.h"

#include "base/memory.h"
#include "text/utf8.h"

enum { SHORT_SYMBOLS = 40 };

/* Rank of joining the texts [begin, middle) and [middle, end) of p, and the token that results. */
static inline uint32_t rank_of_pair(const en_merges *m, const char *p, uint32_t begin, uint32_t end,
                                    int32_t left, int32_t right, int32_t *result)
{
    if (m->pairs == NULL) {
        *result = en_vocab_find(m->vocab, p + begin, end - begin);
        return *result >= 0 ? m->score_rank[*result] : EN_NO_MERGE;
    }
    if (left < 0 || right < 0)
        return EN_NO_MERGE;
    uint32_t i = en_merge_pair_hash(left, right) & m->pair_mask;
    while (m->pairs[i].left >= 0) {
        if (m->pairs[i].left == left && m->pairs[i].right == right) {
            *result = m->pairs[i].result;
            return m->pairs[i].rank;
        }
        i = (i + 1) & m->pair_mask;
    }
    return EN_NO_MERGE;
}

/*
 * Token of the first symbol at 'p' before any merge, and its length.  A byte for which a byte-level
 * vocabulary has no token is dropped before merging, so that its neighbours may be merged.
 */
static inline int32_t first_symbol(const en_merges *m, const char *p, size_t n, uint32_t *length)
{
    *length = 1;
    if (m->vocab->kind == EN_VOCAB_BYTE_LEVEL)
        return m->vocab->byte_id[(uint8_t)*p];
    *length = (uint32_t)en_utf8_length(p, n);
    return en_vocab_find(m->vocab, p, *length);
}

static inline bool is_dropped(const en_merges *m, int32_t id)
{
    return id < 0 && m->vocab->kind == EN_VOCAB_BYTE_LEVEL;
}

/*
 * A symbol at the end of merging: its token, or its bytes one by one.  When not all of these have
 * tokens it is unknown, and a run of unknown characters is one unknown token.
 */
static void put_symbol(const en_merges *m, int32_t id, const char *p, size_t n, en_id_sink *sink)
{
    if (id >= 0) {
        en_id_sink_put(sink, id);
        return;
    }
    bool has_bytes = true;
    for (size_t i = 0; i < n; i++)
        has_bytes &= m->vocab->byte_id[(uint8_t)p[i]] >= 0;
    if (has_bytes) {
        for (size_t i = 0; i < n; i++)
            en_id_sink_put(sink, m->vocab->byte_id[(uint8_t)p[i]]);
    } else if (m->unknown >= 0 && !sink->after_unknown) {
        en_id_sink_put(sink, m->unknown);
        sink->after_unknown = true;
    }
}

/* ---- short words ------------------------------------------------------------------------- */

typedef struct short_word {
    uint32_t n; /* symbols */
    uint32_t start[SHORT_SYMBOLS + 1];
    int32_t id[SHORT_SYMBOLS];
    uint32_t rank[SHORT_SYMBOLS]; /* of joining symbols i and i + 1 */
    int32_t result[SHORT_SYMBOLS];
} short_word;

static void rank_short(const en_merges *m, const char *p, short_word *w, uint32_t i)
{
    w->rank[i] = i + 1 < w->n ? rank_of_pair(m, p, w->start[i], w->start[i + 2], w->id[i],
                                             w->id[i + 1], &w->result[i])
                              : EN_NO_MERGE;
}

static void remove_symbol(short_word *w, uint32_t i)
{
    size_t n = w->n - i - 1;
    memmove(w->start + i, w->start + i + 1, (n + 1) * sizeof w->start[0]);
    memmove(w->id + i, w->id + i + 1, n * sizeof w->id[0]);
    memmove(w->rank + i, w->rank + i + 1, n * sizeof w->rank[0]);
    memmove(w->result + i, w->result + i + 1, n * sizeof w->result[0]);
    w->n--;
}

/* False when the word has too many symbols. */
static bool cut_short(const en_merges *m, const char *p, size_t n, short_word *w)
{
    uint32_t length;
    w->n = 0;
    for (size_t i = 0; i < n; i += length) {
        if (w->n == SHORT_SYMBOLS)
            return false;
        w->start[w->n] = (uint32_t)i;
        w->id[w->n] = first_symbol(m, p + i, n - i, &length);
        w->n += !is_dropped(m, w->id[w->n]);
    }
    w->start[w->n] = (uint32_t)n;
    return true;
}

static void merge_short(const en_merges *m, const char *p, short_word *w)
{
    for (uint32_t i = 0; i < w->n; i++)
        rank_short(m, p, w, i);
    while (w->n > 1) {
        uint32_t best = 0;
        for (uint32_t i = 1; i < w->n; i++) {
            if (w->rank[i] < w->rank[best])
                best = i;
        }
        if (w->rank[best] == EN_NO_MERGE)
            return;
        w->id[best] = w->result[best];
        remove_symbol(w, best + 1);
        rank_short(m, p, w, best);
        if (best > 0)
            rank_short(m, p, w, best - 1);
    }
}

/* ---- long words -------------------------------------------------------------------------- */

#define NO_NODE UINT32_MAX

/* A symbol of the list; a merged-away one has n == 0. */
typedef struct en_merge_node {
    uint32_t start, n; /* bytes */
    uint32_t next, prev;
    int32_t id, result;
    uint32_t rank; /* of joining it with the next */
} node;

/* The heap holds rank << 32 | node, the smallest at [0]. */
static void sift_down(uint64_t *heap, size_t n, size_t i)
{
    uint64_t item = heap[i];
    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && heap[child + 1] < heap[child])
            child++;
        if (item <= heap[child])
            break;
        heap[i] = heap[child];
    }
    heap[i] = item;
}

static void sift_up(uint64_t *heap, size_t i)
{
    uint64_t item = heap[i];
    for (; i > 0 && item < heap[(i - 1) / 2]; i = (i - 1) / 2)
        heap[i] = heap[(i - 1) / 2];
    heap[i] = item;
}

static void rank_node(const en_merges *m, const char *p, node *nodes, uint32_t i)
{
    node *a = &nodes[i];
    a->rank = EN_NO_MERGE;
    if (a->next != NO_NODE) {
        const node *b = &nodes[a->next];
        a->rank = rank_of_pair(m, p, a->start, b->start + b->n, a->id, b->id, &a->result);
    }
}

static uint64_t heap_item(const node *nodes, uint32_t i)
{
    return (uint64_t)nodes[i].rank << 32 | i;
}

/* Cuts the word into nodes; false when out of memory. */
static bool cut_long(const en_merges *m, en_merge_scratch *s, const char *p, size_t n,
                     size_t *n_nodes)
{
    size_t count = 0;
    uint32_t length;
    for (size_t i = 0; i < n; i += length) {
        if (!en_grow((void **)&s->nodes, &s->nodes_cap, count + 1, SIZE_MAX / 64, sizeof(node)))
            return false;
        node *a = &s->nodes[count];
        a->id = first_symbol(m, p + i, n - i, &length);
        a->start = (uint32_t)i;
        a->n = length;
        a->prev = count > 0 ? (uint32_t)count - 1 : NO_NODE;
        a->next = (uint32_t)count + 1;
        count += !is_dropped(m, a->id);
    }
    if (count > 0)
        s->nodes[count - 1].next = NO_NODE;
    *n_nodes = count;
    /* A merge takes one item and adds two at most, and there are fewer merges than nodes. */
    return en_grow((void **)&s->heap, &s->heap_cap, 2 * count, SIZE_MAX / 64, sizeof(uint64_t));
}

static size_t push_ranked(const en_merges *m, en_merge_scratch *s, const char *p, uint32_t i,
                          size_t n_heap)
{
    rank_node(m, p, s->nodes, i);
    if (s->nodes[i].rank == EN_NO_MERGE)
        return n_heap;
    s->heap[n_heap] = heap_item(s->nodes, i);
    sift_up(s->heap, n_heap);
    return n_heap + 1;
}

static void merge_long(const en_merges *m, en_merge_scratch *s, const char *p, size_t count)
{
    node *nodes = s->nodes;
    size_t n_heap = 0;
    for (uint32_t i = 0; i < count; i++) {
        rank_node(m, p, nodes, i);
        if (nodes[i].rank != EN_NO_MERGE)
            s->heap[n_heap++] = heap_item(nodes, i);
    }
    for (size_t i = n_heap / 2; i-- > 0;)
        sift_down(s->heap, n_heap, i);
    while (n_heap > 0) {
        uint64_t item = s->heap[0];
        s->heap[0] = s->heap[--n_heap];
        sift_down(s->heap, n_heap, 0);
        uint32_t i = (uint32_t)item;
        if (nodes[i].n == 0 || nodes[i].rank != (uint32_t)(item >> 32))
            continue; /* one of the two was merged with somebody else meanwhile */
        node *gone = &nodes[nodes[i].next];
        nodes[i].id = nodes[i].result;
        nodes[i].n += gone->n;
        nodes[i].next = gone->next;
        gone->n = 0;
        if (gone->next != NO_NODE)
            nodes[gone->next].prev = i;
        n_heap = push_ranked(m, s, p, i, n_heap);
        if (nodes[i].prev != NO_NODE)
            n_heap = push_ranked(m, s, p, nodes[i].prev, n_heap);
    }
}

static entro_status merge_long_word(const en_merges *m, en_merge_scratch *s, const char *p,
                                    size_t n, en_id_sink *sink, entro_error *err)
{
    size_t count;
    if (!cut_long(m, s, p, n, &count))
        return en_fail_memory(err);
    merge_long(m, s, p, count);
    for (uint32_t i = count > 0 ? 0 : NO_NODE; i != NO_NODE; i = s->nodes[i].next)
        put_symbol(m, s->nodes[i].id, p + s->nodes[i].start, s->nodes[i].n, sink);
    return ENTRO_OK;
}

/* ------------------------------------------------------------------------------------------- */

entro_status en_merge_word(const en_merges *m, en_merge_scratch *scratch, const char *p, size_t n,
                           en_id_sink *sink, entro_error *err)
{
    int32_t id = en_vocab_find(m->vocab, p, n);
    unsigned whole = EN_WHOLE_NO;
    if (id >= 0) {
        whole = atomic_load_explicit(&m->vocab->whole[id], memory_order_relaxed);
        if (m->whole_words || whole == EN_WHOLE_YES) {
            en_id_sink_put(sink, id);
            return ENTRO_OK;
        }
    }
    short_word w;
    if (!cut_short(m, p, n, &w))
        return merge_long_word(m, scratch, p, n, sink, err);
    merge_short(m, p, &w);
    if (whole == EN_WHOLE_UNKNOWN)
        atomic_store_explicit(&m->vocab->whole[id],
                              w.n == 1 && w.id[0] == id ? EN_WHOLE_YES : EN_WHOLE_NO,
                              memory_order_relaxed);
    for (uint32_t i = 0; i < w.n; i++)
        put_symbol(m, w.id[i], p + w.start[i], w.start[i + 1] - w.start[i], sink);
    return ENTRO_OK;
}

void en_merge_scratch_free(en_merge_scratch *scratch)
{
    en_free(scratch->nodes);
    en_free(scratch->heap);
}
