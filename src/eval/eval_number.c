/* eval_number.c - see eval_number.h. */
#include "eval/eval_number.h"

enum { LONGEST = 64 };

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_number_part(char c)
{
    return is_digit(c) || c == '.' || c == ',';
}

/* Bytes of a match that begins at 'p', 0: none. */
static size_t match(const char *p, size_t n)
{
    size_t sign = n > 0 && p[0] == '-', end = sign;
    while (end < n && (is_number_part(p[end]) || p[end] == '$'))
        end++;
    if (end - sign >= 2 || (end - sign == 1 && is_digit(p[sign])))
        return end;
    return 0;
}

en_span en_eval_number_last(en_span text)
{
    en_span last = {NULL, 0};
    for (size_t i = 0; i < text.n;) {
        size_t n = match(text.p + i, text.n - i);
        if (n > 0)
            last = (en_span){text.p + i, n};
        i += n > 0 ? n : 1;
    }
    return last;
}

en_span en_eval_number_strict(en_span text)
{
    for (size_t i = 0; i + 5 < text.n; i++) {
        if (memcmp(text.p + i, "#### ", 5) != 0)
            continue;
        const char *p = text.p + i + 5;
        size_t left = text.n - i - 5, sign = p[0] == '-', end = sign;
        while (end < left && is_number_part(p[end]))
            end++;
        if (end > sign)
            return (en_span){p, end};
    }
    return (en_span){NULL, 0};
}

void en_eval_number_plain(en_span number, char *out, size_t n_out)
{
    size_t n = 0, end = number.n;
    while (end > 0 && (number.p[end - 1] == ' ' || number.p[end - 1] == '\n'))
        end--;
    for (size_t i = 0; i < end && n + 1 < n_out; i++) {
        char c = number.p[i];
        if (c != ',' && c != '$' && !(c == '.' && i + 1 == end))
            out[n++] = c;
    }
    out[n] = 0;
}

bool en_eval_number_equal(en_span a, en_span b)
{
    char plain_a[LONGEST], plain_b[LONGEST];
    if (a.n == 0 || b.n == 0 || a.n >= LONGEST || b.n >= LONGEST)
        return false;
    en_eval_number_plain(a, plain_a, sizeof plain_a);
    en_eval_number_plain(b, plain_b, sizeof plain_b);
    return plain_a[0] != 0 && strcmp(plain_a, plain_b) == 0;
}
