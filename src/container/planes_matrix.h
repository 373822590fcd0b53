/*
 * planes_matrix.h - a matrix in coding 3 ("planes"): numbers of 16 or 32 bits, every bit kept.
 *
 *   number   s hhhhhhhh lllllll | third | fourth         16 bits end at the bar
 *   planes     hhhhhhhh   slllllll   third   fourth      a byte of each number
 *
 * h is a bf16's or f32's exponent, an f16's exponent and the top of its mantissa.  It has few likely
 * values, so its plane is coded (Huffman words of entropy/code.h), segment by segment; planes that
 * would gain little lie as they are.  Which are coded is the file's choice, plane by plane: of f32
 * numbers that once were bf16 the lower two are all zeros and take nothing.
 *
 * Rows of single bytes (EN_DTYPE_I8) have one plane, the bytes themselves: files that are carried
 * along (original.h) are stored like this.  docs/format.md, "coding 3", is the contract.
 */
#ifndef EN_CONTAINER_PLANES_MATRIX_H
#define EN_CONTAINER_PLANES_MATRIX_H

#include "entropy/code.h"
#include "tensor/dtype.h"

enum { EN_CODING_PLANES = 3, EN_MAX_PLANES = 4 };

/* Points into the payload; the codes are owned by who parsed it.  Immutable. */
typedef struct en_planes {
    uint32_t dtype; /* BF16, F16, F32 or I8 */
    uint32_t n_planes, n_coded;
    uint64_t n_rows, n_cols;
    uint32_t rows_per_segment, n_segments; /* the last segment may have fewer rows */
    en_code *codes[EN_MAX_PLANES];         /* NULL: the plane is raw */
    const uint8_t *raw[EN_MAX_PLANES];     /* n_rows * n_cols bytes; NULL: coded */
    const uint8_t *index;   /* u64 x (n_segments * n_coded + 1): a segment's coded planes in turn */
    const uint8_t *streams; /* that the index counts from; EN_CODE_IN_PAD readable bytes behind */
} en_planes;

/* Planes of a type: its bytes; 0 for types that coding 3 cannot hold. */
uint32_t en_planes_of_dtype(uint32_t dtype);

/* Numbers of a full segment. */
static inline size_t en_planes_segment_elems(const en_planes *m)
{
    return (size_t)(m->rows_per_segment * m->n_cols);
}

/* Bytes of room that one of a segment's coded planes takes once decoded, and that all take: whole
 * cache lines. */
static inline size_t en_planes_room_stride(const en_planes *m)
{
    return (en_planes_segment_elems(m) + EN_CODE_OUT_SLACK + 63) / 64 * 64;
}

static inline size_t en_planes_room_bytes(const en_planes *m)
{
    return m->n_coded * en_planes_room_stride(m);
}

/* Decodes a segment's coded planes; false when a stream is damaged. */
bool en_planes_decode(const en_planes *m, uint32_t segment, uint8_t *room);

/* Numbers first .. first + n - 1 of a segment (counted within it) whose planes are decoded in
 * 'room', as they are stored in a file: n times the type's bytes. */
void en_planes_join(const en_planes *m, uint32_t segment, const uint8_t *room, size_t first,
                    size_t n, void *out);

/* Numbers to planes. */
void en_planes_split(uint32_t dtype, const void *numbers, size_t n,
                     uint8_t *const planes[EN_MAX_PLANES]);

#endif
