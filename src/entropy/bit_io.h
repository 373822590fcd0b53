/*
 * bit_io.h - bits in bytes, most significant bit first: for code tables and for the few bits that
 * are not worth a fast loop.
 */
#ifndef EN_ENTROPY_BIT_IO_H
#define EN_ENTROPY_BIT_IO_H

#include "base/bytes.h"

/* Writes where 'p' is not NULL, else only counts. */
typedef struct en_bit_writer {
    uint8_t *p; /* zeroed by the caller */
    size_t n_bits;
} en_bit_writer;

static inline void en_bits_put(en_bit_writer *w, uint32_t value, unsigned n)
{
    for (unsigned i = n; i-- > 0; w->n_bits++)
        if (w->p && (value >> i & 1))
            w->p[w->n_bits >> 3] |= (uint8_t)(0x80 >> (w->n_bits & 7));
}

/* Reading past the end latches 'failed' and gives zeros. */
typedef struct en_bit_reader {
    const uint8_t *p;
    size_t n_bytes;
    size_t pos; /* in bits */
    bool failed;
} en_bit_reader;

static inline unsigned en_bits_get1(en_bit_reader *r)
{
    if (r->pos >> 3 >= r->n_bytes) {
        r->failed = true;
        return 0;
    }
    unsigned bit = r->p[r->pos >> 3] >> (7 - (r->pos & 7)) & 1;
    r->pos++;
    return bit;
}

static inline uint32_t en_bits_get(en_bit_reader *r, unsigned n)
{
    uint32_t v = 0;
    while (n-- > 0)
        v = v << 1 | en_bits_get1(r);
    return v;
}

/* The bytes end where the bits end: the last byte is begun, what is left of it is zero. */
static inline bool en_bits_done(const en_bit_reader *r)
{
    if (r->failed || (r->pos + 7) >> 3 != r->n_bytes)
        return false;
    return (r->pos & 7) == 0 || (uint8_t)(r->p[r->pos >> 3] << (r->pos & 7)) == 0;
}

#endif
