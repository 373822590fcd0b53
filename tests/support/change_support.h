/*
 * change_support.h - sound bytes with one number changed, and what a parser must say of them.
 */
#ifndef EN_TESTS_CHANGE_SUPPORT_H
#define EN_TESTS_CHANGE_SUPPORT_H

#include <string.h>

#include "base/memory.h"
#include "base/status.h"

typedef struct test_change {
    size_t offset, n_bytes;
    uint64_t value;
    entro_status status;
    const char *message; /* a part of it; NULL: it may only show when decoding */
} test_change;

static inline void
test_changes(const uint8_t *sound, size_t n, const test_change *changes, size_t n_changes,
             entro_status (*parse)(const uint8_t *bytes, size_t n_bytes, entro_error *err))
{
    uint8_t *copy = en_alloc(n, 1);
    assert_non_null(copy);
    for (size_t i = 0; i < n_changes; i++) {
        const test_change *c = &changes[i];
        entro_error err = {0};
        memcpy(copy, sound, n);
        memcpy(copy + c->offset, &c->value, c->n_bytes);
        entro_status status = parse(copy, n, &err);
        if (c->message != NULL && (status != c->status || strstr(err.message, c->message) == NULL))
            fail_msg("case %zu: status %d, message '%s'", i, status, err.message);
    }
    en_free(copy);
}

#endif
