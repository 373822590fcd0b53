/*
 * bytes.h - little-endian values in memory, and a reader that checks bounds before each read.
 *
 * The reader latches its first failure: after that every read gives 0 and 'failed' stays true, so
 * a parser may read a group of fields and check once.
 */
#ifndef EN_BASE_BYTES_H
#define EN_BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* A borrowed string or blob; not terminated. */
typedef struct en_span {
    const char *p;
    size_t n;
} en_span;

static inline bool en_span_is(en_span s, const char *text)
{
    return s.n == strlen(text) && (s.n == 0 || memcmp(s.p, text, s.n) == 0);
}

/* All supported processors are little-endian; a big-endian one fails to compile here. */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "little-endian processors only");

static inline uint16_t en_load16(const void *p)
{
    uint16_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline uint32_t en_load32(const void *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline uint64_t en_load64(const void *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline float en_load_f32(const void *p)
{
    float v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline double en_load_f64(const void *p)
{
    double v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline void en_store16(void *p, uint16_t v)
{
    memcpy(p, &v, sizeof v);
}

static inline void en_store32(void *p, uint32_t v)
{
    memcpy(p, &v, sizeof v);
}

static inline void en_store64(void *p, uint64_t v)
{
    memcpy(p, &v, sizeof v);
}

static inline void en_store_f32(void *p, float v)
{
    memcpy(p, &v, sizeof v);
}

typedef struct en_reader {
    const uint8_t *data;
    size_t n_bytes;
    size_t pos; /* invariant: pos <= n_bytes */
    bool failed;
} en_reader;

static inline en_reader en_reader_of(const void *data, size_t n_bytes)
{
    return (en_reader){.data = data, .n_bytes = n_bytes, .pos = 0, .failed = false};
}

static inline size_t en_reader_left(const en_reader *r)
{
    return r->n_bytes - r->pos;
}

/* The next 'n' bytes, or NULL (and failed) when there are fewer. */
static inline const uint8_t *en_reader_take(en_reader *r, uint64_t n)
{
    if (r->failed || n > en_reader_left(r)) {
        r->failed = true;
        return NULL;
    }
    const uint8_t *p = r->data + r->pos;
    r->pos += (size_t)n;
    return p;
}

static inline uint8_t en_reader_u8(en_reader *r)
{
    const uint8_t *p = en_reader_take(r, 1);
    return p ? *p : 0;
}

static inline uint16_t en_reader_u16(en_reader *r)
{
    const uint8_t *p = en_reader_take(r, 2);
    return p ? en_load16(p) : 0;
}

static inline uint32_t en_reader_u32(en_reader *r)
{
    const uint8_t *p = en_reader_take(r, 4);
    return p ? en_load32(p) : 0;
}

static inline uint64_t en_reader_u64(en_reader *r)
{
    const uint8_t *p = en_reader_take(r, 8);
    return p ? en_load64(p) : 0;
}

static inline float en_reader_f32(en_reader *r)
{
    const uint8_t *p = en_reader_take(r, 4);
    return p ? en_load_f32(p) : 0.0f;
}

#endif
