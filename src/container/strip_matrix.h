/*
 * strip_matrix.h - a matrix in coding 2 (entropy/strips.h) or 4 (entropy/rans.h), as it lies in a payload;
 * docs/format.md, "Payload of coding 2", is the contract.
 *
 *   | header 320 | steps | offsets | column scales | column order | row order | tables | index |
 *   | raw bits | words | exceptions | >= 64 zeros |
 *
 *   w[row][col] = (step[row] z + offset[row]) scale[col]      z: integers of any size
 *
 * Rows and columns are stored in an order of their own ("stored row" s is row row_order[s]), so that
 * those with integers of like spread stand together: a run of strips is a row class, a run of units
 * a column class, and every pair of classes has its layout and its table.  Columns are padded with
 * zero weights to whole units, rows to whole strips.
 *
 * A chunk is some strips of one row class; any thread may decode it by itself.
 *
 * Coding 4 differs in its streams alone: states and words of rans.h, no raw bits, and a table of
 * frequencies a class.  It takes fewer bits and much longer, so that such a matrix is better packed
 * (linear/linear_pack.h) before it is used.
 */
#ifndef EN_CONTAINER_STRIP_MATRIX_H
#define EN_CONTAINER_STRIP_MATRIX_H

#include "base/bytes.h"
#include "entropy/rans.h"
#include "entropy/strip_list.h"

enum {
    EN_STRIP_MAX_ROW_CLASSES = 8,
    EN_STRIP_MAX_COL_CLASSES = 16,
    EN_STRIP_MAX_COLS = 1 << 16,      /* sums of products fit 32 bits */
    EN_STRIP_CHUNK_WEIGHTS = 1 << 17, /* what the encoder aims at ... */
    EN_STRIP_MIN_CHUNKS = 6,          /* ... unless there would be fewer chunks than this */
    EN_STRIP_MAX_CHUNK = 1 << 22,     /* weights; bounds what a decoder must allocate */
    EN_STRIP_MAX_BASE = 1 << 30,
    EN_STRIP_LIST_SHIFT_AT = 28, /* a list's head: number of entries, and above it the shift */
    EN_STRIP_MAX_SHIFT = 4,
    EN_RANS_LARGE = 1 << 22,               /* weights of a matrix of many chunks; in coding 4 ... */
    EN_RANS_LARGE_CHUNK_WEIGHTS = 1 << 18, /* ... they are longer then: each takes 152 bytes */
    EN_RANS_MIN_CHUNKS = 2, /* of coding 4, likewise: its chunks begin with 128 bytes, not 256 */
    EN_CODING_STRIPS = 2,
    EN_CODING_RANS = 4,
};

/* Points into the payload; the tables are owned by who parsed it.  Immutable. */
typedef struct en_strip_matrix {
    uint64_t n_rows, n_cols;
    uint32_t n_units;  /* of a strip: columns over EN_UNIT_COLS, rounded up */
    uint32_t n_strips; /* rows over EN_STRIP_ROWS, rounded up */
    uint32_t strips_per_chunk, n_chunks;
    uint64_t n_exceptions;
    uint32_t n_row_classes, n_col_classes;
    uint32_t row_class_end[EN_STRIP_MAX_ROW_CLASSES]; /* in strips; the last is n_strips */
    uint32_t col_class_end[EN_STRIP_MAX_COL_CLASSES]; /* in units; the last is n_units */
    /* [row class * n_col_classes + column class] */
    en_strip_layout layouts[EN_STRIP_MAX_ROW_CLASSES * EN_STRIP_MAX_COL_CLASSES];
    en_pair_table *tables;     /* of coding 2, else NULL */
    en_rans_code *rans;        /* of coding 4, else NULL */
    const uint8_t *col_scales; /* f16 x n_cols, in stored order; NULL: all 1 */
    uint8_t *own_grids; /* steps, offsets and column scales that were not stored as f16; owned */
    /* Stored column k is column col_order[k]: those of class 0 as they come, then class 1, ...; owned
     * by who parsed the payload, where only classes are stored.  NULL: as they are. */
    uint32_t *col_order, *row_order;
    const uint8_t *index; /* (n_chunks + 1) x { u64 words, u64 raw, u64 exceptions }, bytes */
    const uint8_t *words, *raw, *exceptions; /* EN_STRIP_IN_PAD readable bytes behind each */
} en_strip_matrix;

/* Stored columns including padding. */
static inline size_t en_strip_padded_cols(const en_strip_matrix *m)
{
    return (size_t)m->n_units * EN_UNIT_COLS;
}

static inline uint64_t en_strip_col(const en_strip_matrix *m, uint64_t stored)
{
    return m->col_order != NULL ? m->col_order[stored] : stored;
}

static inline uint64_t en_strip_row(const en_strip_matrix *m, uint64_t stored)
{
    return m->row_order != NULL ? m->row_order[stored] : stored;
}

/* Of all row classes, each cut into chunks by itself. */
uint32_t en_strip_count_chunks(const en_strip_matrix *m);
/* Bytes of raw bits of one strip. */
uint64_t en_strip_raw_bytes(const en_strip_matrix *m, uint32_t row_class);

/* Which strips a chunk holds. */
typedef struct en_strip_chunk {
    uint32_t first_strip, n_strips, row_class;
} en_strip_chunk;
en_strip_chunk en_strip_chunk_at(const en_strip_matrix *m, uint32_t chunk);

/* What chunks first to end - 1 have of each stream: words, raw bits, exceptions. */
enum { EN_STRIP_STREAMS = 3 };
typedef struct en_strip_span {
    const uint8_t *data;
    uint64_t n_bytes;
} en_strip_span;
void en_strip_spans_of(const en_strip_matrix *m, uint32_t first, uint32_t end,
                       en_strip_span spans[EN_STRIP_STREAMS]);

/* Reads the values of a chunk, run by run. */
typedef struct en_strip_reader {
    const en_strip_matrix *matrix;
    en_strip_chunk place;
    const uint8_t *end;
    en_strip_lanes lanes; /* of coding 2 */
    en_rans_lanes rans;   /* of coding 4 */
    en_rans_table *tables;
} en_strip_reader;

/* Memory that a reader needs, aligned to 64; 0 in coding 2. */
size_t en_strip_reader_bytes(const en_strip_matrix *m);
void en_strip_reader_start(en_strip_reader *r, const en_strip_matrix *m, uint32_t chunk,
                           void *memory);
/* The next n_units of the strip at hand, which belong to this column class, of n chunks (1 to
 * EN_STRIP_MAX_CHUNKS) of one row class, to units + chunk * stride.  Several hide each other's latency. */
void en_strip_readers_run(en_strip_reader *const *readers, size_t n, uint32_t col_class,
                          size_t n_units, uint8_t *units, size_t stride);
static inline void en_strip_reader_run(en_strip_reader *r, uint32_t col_class, size_t n_units,
                                       uint8_t *units)
{
    en_strip_readers_run(&r, 1, col_class, n_units, units, 0);
}
/* After the last strip: whether the stream ended where it should. */
bool en_strip_reader_ended(const en_strip_reader *r);

/* The lists of a chunk's strips lie one behind the other. */
typedef struct en_strip_lists {
    const uint8_t *p, *end;
    uint32_t padded_cols;
} en_strip_lists;
en_strip_lists en_strip_lists_of(const en_strip_matrix *m, uint32_t chunk);
/* The list of the next strip; false when it is damaged. */
bool en_strip_lists_next(en_strip_lists *lists, en_strip_list *list);
/* After the last strip: whether the lists end where they should. */
static inline bool en_strip_lists_ended(const en_strip_lists *lists)
{
    return lists->p == lists->end;
}

/*
 * All integers of a chunk: z[row in the chunk * n_cols + column], columns in the model's order, rows
 * in stored order (padding rows left out).  'scratch' is of en_strip_scratch_bytes(), aligned to 64.
 * False when the chunk is damaged.
 */
size_t en_strip_scratch_bytes(const en_strip_matrix *m);
bool en_strip_decode_chunk(const en_strip_matrix *m, uint32_t chunk, uint8_t *scratch, int32_t *z);

#endif
