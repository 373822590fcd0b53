/*
 * fuzz_entry.h - the entry that a fuzzer, or replay.c, calls, and what it may demand.
 */
#ifndef EN_TESTS_FUZZ_ENTRY_H
#define EN_TESTS_FUZZ_ENTRY_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

/* Holds whatever the input; unlike assert() in a release, too. */
#define REQUIRE(condition)                                                                         \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                        \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

#endif
