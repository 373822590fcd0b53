/*
 * utf8.h - reading UTF-8 that may be broken.
 *
 * One rule for broken text everywhere: a byte that starts no valid sequence is a character of its
 * own with the code point U+FFFD.  Overlong forms, surrogates and code points above U+10FFFF are
 * not valid.
 */
#ifndef EN_TEXT_UTF8_H
#define EN_TEXT_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EN_UTF8_REPLACEMENT "\xEF\xBF\xBD" /* U+FFFD */

/* Bytes of the sequence at 'p' (n >= 1 bytes left) and its code point; 0 when it is not valid. */
size_t en_utf8_read(const char *p, size_t n, uint32_t *code);

/* Length of the character at 'p': of the valid sequence, or 1. */
static inline size_t en_utf8_length(const char *p, size_t n)
{
    uint32_t code;
    if ((uint8_t)*p < 0x80)
        return 1;
    size_t length = en_utf8_read(p, n, &code);
    return length > 0 ? length : 1;
}

/* True when 'p' holds the beginning of a valid sequence and nothing but that (n in 1..3). */
bool en_utf8_is_prefix(const char *p, size_t n);

/* Writes 1 to 4 bytes; returns how many. */
size_t en_utf8_write(char *out, uint32_t code);

#endif
