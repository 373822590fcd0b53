/*
 * utf8.c - see utf8.h.
 */
#include "text/utf8.h"

/* Bytes of a sequence that starts with 'lead', and the range of its second byte, which is where
 * overlong forms, surrogates and too large code points show. */
static size_t lead_length(uint8_t lead, uint8_t *low, uint8_t *high)
{
    *low = 0x80;
    *high = 0xBF;
    if (lead < 0x80)
        return 1;
    if (lead < 0xC2 || lead > 0xF4)
        return 0;
    if (lead < 0xE0)
        return 2;
    if (lead < 0xF0) {
        if (lead == 0xE0)
            *low = 0xA0;
        if (lead == 0xED)
            *high = 0x9F;
        return 3;
    }
    if (lead == 0xF0)
        *low = 0x90;
    if (lead == 0xF4)
        *high = 0x8F;
    return 4;
}

/* Bytes that follow the lead and fit, at most length - 1. */
static size_t good_tail(const uint8_t *b, size_t n, size_t length, uint8_t low, uint8_t high)
{
    size_t i = 1;
    while (i < length && i < n && b[i] >= low && b[i] <= high) {
        low = 0x80;
        high = 0xBF;
        i++;
    }
    return i - 1;
}

size_t en_utf8_read(const char *p, size_t n, uint32_t *code)
{
    const uint8_t *b = (const uint8_t *)p;
    uint8_t low, high;
    size_t length = lead_length(b[0], &low, &high);
    if (length == 0 || length > n || good_tail(b, n, length, low, high) + 1 < length)
        return 0;
    switch (length) {
    case 1: *code = b[0]; break;
    case 2: *code = (uint32_t)(b[0] & 0x1F) << 6 | (b[1] & 0x3F); break;
    case 3:
        *code = (uint32_t)(b[0] & 0x0F) << 12 | (uint32_t)(b[1] & 0x3F) << 6 | (b[2] & 0x3F);
        break;
    default:
        *code = (uint32_t)(b[0] & 0x07) << 18 | (uint32_t)(b[1] & 0x3F) << 12 |
                (uint32_t)(b[2] & 0x3F) << 6 | (b[3] & 0x3F);
    }
    return length;
}

bool en_utf8_is_prefix(const char *p, size_t n)
{
    const uint8_t *b = (const uint8_t *)p;
    uint8_t low, high;
    size_t length = lead_length(b[0], &low, &high);
    return length > n && good_tail(b, n, length, low, high) + 1 == n;
}

size_t en_utf8_write(char *out, uint32_t code)
{
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        out[0] = (char)(0xC0 | code >> 6);
        out[1] = (char)(0x80 | (code & 0x3F));
        return 2;
    }
    if (code < 0x10000) {
        out[0] = (char)(0xE0 | code >> 12);
        out[1] = (char)(0x80 | (code >> 6 & 0x3F));
        out[2] = (char)(0x80 | (code & 0x3F));
        return 3;
    }
    out[0] = (char)(0xF0 | code >> 18);
    out[1] = (char)(0x80 | (code >> 12 & 0x3F));
    out[2] = (char)(0x80 | (code >> 6 & 0x3F));
    out[3] = (char)(0x80 | (code & 0x3F));
    return 4;
}
