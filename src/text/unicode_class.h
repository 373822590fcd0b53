/*
 * unicode_class.h - the classes of code points that pre-tokenizers tell apart.
 *
 * The table is our own (unicode_ranges.h, generated) so that ids do not depend on the Unicode
 * version of an installed library.
 */
#ifndef EN_TEXT_UNICODE_CLASS_H
#define EN_TEXT_UNICODE_CLASS_H

#include "text/utf8.h"

/* scripts/make_unicode_classes.py knows these numbers. */
enum en_unicode_class {
    EN_CLASS_OTHER = 0,
    EN_CLASS_SPACE = 1,  /* \s */
    EN_CLASS_UPPER = 2,  /* Lu, Lt */
    EN_CLASS_LOWER = 3,  /* Ll */
    EN_CLASS_LETTER = 4, /* Lm, Lo */
    EN_CLASS_MARK = 5,
    EN_CLASS_NUMBER = 6,
    EN_CLASS_PUNCT = 7,
    EN_CLASS_SYMBOL = 8,
    EN_CLASS_DIGIT = 9,      /* OTHER for \p{N}, but a digit for the 'Digits' pre-tokenizer */
    EN_CLASS_MASK = 15,      /* the above */
    EN_CLASS_NORMALIZES = 16 /* flag: may change under NFC together with its neighbours */
};

/* To be called before anything below; any number of times, from any thread. */
void en_unicode_init(void);

/* For the two functions below: the basic plane, and the bisection that finds all others. */
extern uint8_t en_unicode_flat[0x10000];
uint8_t en_unicode_bisect(uint32_t code);

/* Class and flag of any code point up to U+10FFFF. */
static inline uint8_t en_unicode_class(uint32_t code)
{
    return code < 0x10000 ? en_unicode_flat[code] : en_unicode_bisect(code);
}

/* Class (without flag) and length of the character at 'p'; n >= 1. */
static inline uint8_t en_class_at(const char *p, size_t n, size_t *length)
{
    uint32_t code = (uint8_t)*p;
    *length = 1;
    if (code >= 0x80) {
        size_t l = en_utf8_read(p, n, &code);
        if (l == 0)
            return EN_CLASS_SYMBOL; /* as U+FFFD */
        *length = l;
    }
    return en_unicode_class(code) & EN_CLASS_MASK;
}

#endif
