/*
 * metadata.h - an ordered map of keys to typed values, as in the head of a GGUF file.
 *
 * Whatever a model came from, its metadata is kept in GGUF's terms ("llama.block_count",
 * "tokenizer.ggml.tokens" ...).  Values parsed from a mapped GGUF file borrow from the mapping;
 * values set by hand are copied and owned.  Keys are unique; setting one again replaces it.
 */
#ifndef EN_FORMATS_METADATA_H
#define EN_FORMATS_METADATA_H

#include "base/bytes.h"
#include "base/status.h"

/* GGUF's numbers. */
typedef enum en_meta_type {
    EN_META_U8 = 0,
    EN_META_I8 = 1,
    EN_META_U16 = 2,
    EN_META_I16 = 3,
    EN_META_U32 = 4,
    EN_META_I32 = 5,
    EN_META_F32 = 6,
    EN_META_BOOL = 7,
    EN_META_STRING = 8,
    EN_META_ARRAY = 9, /* in files only; here 'is_array' says it */
    EN_META_U64 = 10,
    EN_META_I64 = 11,
    EN_META_F64 = 12
} en_meta_type;

typedef struct en_meta_value {
    en_meta_type type; /* of the elements, when is_array */
    bool is_array;
    uint64_t n; /* elements; 1 for a scalar */
    union {
        uint64_t u;             /* unsigned scalars and bool */
        int64_t i;              /* signed scalars */
        double f;               /* F32, F64 */
        en_span string;         /* STRING */
        const uint8_t *data;    /* array of numbers: packed little-endian, maybe unaligned */
        const en_span *strings; /* array of strings */
    };
} en_meta_value;

typedef struct en_meta en_meta;

entro_status en_meta_new(en_meta **out, entro_error *err);
void en_meta_free(en_meta *meta);

size_t en_meta_count(const en_meta *meta);
/* Key number i in file order (terminated, borrowed). */
const char *en_meta_key(const en_meta *meta, size_t i);
const en_meta_value *en_meta_at(const en_meta *meta, size_t i);
/* NULL when absent. */
const en_meta_value *en_meta_get(const en_meta *meta, const char *key);

/* Scalars with a fallback for 'absent or of another kind'.  Integers of every width, signed and
 * unsigned, are accepted for each other when the value fits; f32 also takes f64 and integers. */
uint32_t en_meta_u32(const en_meta *meta, const char *key, uint32_t fallback);
float en_meta_f32(const en_meta *meta, const char *key, float fallback);
bool en_meta_bool(const en_meta *meta, const char *key, bool fallback);
en_span en_meta_string(const en_meta *meta, const char *key); /* {NULL, 0} when absent */
/* Element i of a numeric array. */
int64_t en_meta_array_int(const en_meta_value *array, uint64_t i);
float en_meta_array_f32(const en_meta_value *array, uint64_t i);

/* Bytes of one scalar of the type; 0 for strings and arrays. */
size_t en_meta_type_bytes(en_meta_type type);

/* Setters copy what they are given. */
entro_status en_meta_set(en_meta *meta, const char *key, const en_meta_value *value,
                         entro_error *err);
entro_status en_meta_set_u32(en_meta *meta, const char *key, uint32_t value, entro_error *err);
entro_status en_meta_set_f32(en_meta *meta, const char *key, float value, entro_error *err);
entro_status en_meta_set_bool(en_meta *meta, const char *key, bool value, entro_error *err);
entro_status en_meta_set_string(en_meta *meta, const char *key, const char *value,
                                entro_error *err);
/* As en_meta_set without the copy: the value's memory must outlive 'meta'. */
entro_status en_meta_set_borrowed(en_meta *meta, const char *key, const en_meta_value *value,
                                  entro_error *err);
/* As en_meta_set_borrowed, and 'owned' (from en_alloc, the memory the value points into; NULL is
 * fine) is freed with the entry, or at once on failure. */
entro_status en_meta_set_adopted(en_meta *meta, const char *key, const en_meta_value *value,
                                 void *owned, entro_error *err);
void en_meta_remove(en_meta *meta, const char *key); /* absent is fine */

/* Of the same type, with the same bits. */
bool en_meta_equal(const en_meta_value *a, const en_meta_value *b);

/* The value as text for people: arrays shortened.  Returns the whole length; writes at most n_out
 * bytes, always terminated. */
size_t en_meta_format(const en_meta_value *value, char *out, size_t n_out);

#endif
