/*
 * pretokenizer_scan.c - see pretokenizer_scan.h for the patterns.
 *
 * \s+(?!\S) gives back one character of a run of spaces when something else follows, so that the
 * last space goes with the next word; \s*[\r\n]+ ends a run of spaces at its last line end.
 */
#include "text/pretokenizer_scan.h"

#include <string.h>

#include "text/unicode_class.h"

#define BIT(class) (1u << (class))
enum {
    LETTERS = BIT(EN_CLASS_UPPER) | BIT(EN_CLASS_LOWER) | BIT(EN_CLASS_LETTER),
    NUMBERS = BIT(EN_CLASS_NUMBER),
    DIGITS = BIT(EN_CLASS_NUMBER) | BIT(EN_CLASS_DIGIT),
    SPACES = BIT(EN_CLASS_SPACE),
    ANY = 0xFFFF,
    OTHERS = ANY & ~(LETTERS | NUMBERS | SPACES),
    /* o200k's two halves of a word; marks and letters without case belong to both. */
    UPPERS = BIT(EN_CLASS_UPPER) | BIT(EN_CLASS_LETTER) | BIT(EN_CLASS_MARK),
    LOWERS = BIT(EN_CLASS_LOWER) | BIT(EN_CLASS_LETTER) | BIT(EN_CLASS_MARK)
};

/* Is the character at i one of 'set'?  Its length goes to *length; false at the end. */
static inline bool at(const char *p, size_t n, size_t i, unsigned set, size_t *length)
{
    return i < n && (BIT(en_class_at(p + i, n - i, length)) & set) != 0;
}

/* The end of the run of 'set' that starts at i. */
static inline size_t run(const char *p, size_t n, size_t i, unsigned set)
{
    size_t length;
    while (at(p, n, i, set, &length))
        i += length;
    return i;
}

static size_t run_at_most(const char *p, size_t n, size_t i, unsigned set, unsigned count)
{
    size_t length;
    while (count > 0 && at(p, n, i, set, &length)) {
        i += length;
        count--;
    }
    return i;
}

static bool is_line_end(char c)
{
    return c == '\n' || c == '\r';
}

static size_t run_line_ends(const char *p, size_t n, size_t i, char also)
{
    while (i < n && (is_line_end(p[i]) || p[i] == also))
        i++;
    return i;
}

/* \s+(?!\S)|\s+ on the run of spaces p[0, end), whose last character starts at 'last'. */
static size_t give_back_space(size_t end, size_t last, bool at_end)
{
    return at_end || last == 0 ? end : last;
}

static size_t space_run(const char *p, size_t n, size_t *last)
{
    size_t end = 0, length;
    while (at(p, n, end, SPACES, &length)) {
        *last = end;
        end += length;
    }
    return end;
}

/* 's 't 'm 'd 're 've 'll at 'p'; 0 when there is none. */
static size_t contraction(const char *p, size_t n)
{
    if (n < 2 || p[0] != '\'')
        return 0;
    switch (p[1]) {
    case 's':
    case 't':
    case 'm':
    case 'd': return 2;
    case 'r':
    case 'v': return n > 2 && p[2] == 'e' ? 3 : 0;
    case 'l': return n > 2 && p[2] == 'l' ? 3 : 0;
    default: return 0;
    }
}

/* The same without regard to case.  U+017F (long s) is an s in Unicode's case folding. */
static size_t contraction_any_case(const char *p, size_t n)
{
    if (n < 2 || p[0] != '\'')
        return 0;
    if (n > 2 && p[1] == '\xC5' && p[2] == '\xBF')
        return 3;
    char lower[3] = {'\'', 0, 0};
    size_t n_lower = n < 3 ? n : 3;
    for (size_t i = 1; i < n_lower; i++)
        lower[i] = p[i] >= 'A' && p[i] <= 'Z' ? (char)(p[i] + 32) : p[i];
    return contraction(lower, n_lower);
}

/* GPT-2's words; a character of 'bound' counts as the end of the text. */
static inline size_t gpt2_word(const char *p, size_t n, unsigned bound)
{
    size_t i = p[0] == ' ' ? 1 : 0, length, last = 0;
    if (i < n) {
        unsigned set = BIT(en_class_at(p + i, n - i, &length)) & ~bound;
        if (set & LETTERS)
            return run(p, n, i + length, LETTERS & ~bound);
        if (set & NUMBERS)
            return run(p, n, i + length, NUMBERS & ~bound);
        if (set & OTHERS)
            return run(p, n, i + length, OTHERS & ~bound);
    }
    size_t end = space_run(p, n, &last);
    return give_back_space(end, last, end == n || at(p, n, end, bound, &length));
}

size_t en_scan_gpt2(const char *p, size_t n, unsigned max_numbers)
{
    (void)max_numbers;
    size_t end = contraction(p, n);
    return end > 0 ? end : gpt2_word(p, n, 0);
}

size_t en_scan_gpt2_digits(const char *p, size_t n, unsigned max_numbers)
{
    (void)max_numbers;
    size_t length, end = contraction(p, n);
    if (end > 0)
        return end;
    if (at(p, n, 0, DIGITS, &length))
        return length;
    return gpt2_word(p, n, DIGITS);
}

/* \s*[\r\n]+|\s+(?!\S)|\s+ */
static size_t space_or_lines(const char *p, size_t n)
{
    size_t last = 0, end = space_run(p, n, &last);
    for (size_t i = end; i > 0; i--) {
        if (is_line_end(p[i - 1]))
            return i;
    }
    return give_back_space(end, last, end == n);
}

/* What follows the words of letters in cl100k and o200k: numbers, symbols, spaces. */
static inline size_t numbers_symbols_spaces(const char *p, size_t n, unsigned max_numbers,
                                            char also)
{
    size_t length, i = p[0] == ' ' ? 1 : 0;
    if (at(p, n, 0, NUMBERS, &length))
        return run_at_most(p, n, 0, NUMBERS, max_numbers > 0 ? max_numbers : ~0u);
    if (at(p, n, i, OTHERS, &length))
        return run_line_ends(p, n, run(p, n, i + length, OTHERS), also);
    return space_or_lines(p, n);
}

size_t en_scan_cl100k(const char *p, size_t n, unsigned max_numbers)
{
    size_t length, next, end = contraction_any_case(p, n);
    if (end > 0)
        return end;
    unsigned set = BIT(en_class_at(p, n, &length));
    if (set & LETTERS)
        return run(p, n, length, LETTERS);
    if (!(set & NUMBERS) && !is_line_end(p[0]) && at(p, n, length, LETTERS, &next))
        return run(p, n, length + next, LETTERS);
    return numbers_symbols_spaces(p, n, max_numbers, '\n');
}

/*
 * [Upper]*[Lower]+ from i, as a backtracking matcher finds it; 0 when there is no match.  When no
 * lower follows the uppers, the last of them that is both is given back and serves as the lower.
 */
static size_t uppers_lowers(const char *p, size_t n, size_t i)
{
    size_t length, given_back = 0;
    while (at(p, n, i, UPPERS, &length)) {
        i += length;
        if (BIT(en_class_at(p + i - length, length, &length)) & LOWERS)
            given_back = i;
    }
    size_t end = run(p, n, i, LOWERS);
    return end > i ? end : given_back;
}

/* The words of o200k: with one leading character that is neither letter nor number, or without. */
static size_t cased_word(const char *p, size_t n)
{
    size_t length = 0, end;
    bool prefix = !is_line_end(p[0]) && at(p, n, 0, ANY & ~(LETTERS | NUMBERS), &length);
    size_t start = prefix ? length : 0;
    end = uppers_lowers(p, n, start);
    if (end == 0 && prefix)
        end = uppers_lowers(p, n, 0);
    if (end == 0) { /* [Upper]+[Lower]*, and there is no lower */
        end = run(p, n, start, UPPERS);
        end = end > start ? end : 0;
    }
    return end;
}

size_t en_scan_o200k(const char *p, size_t n, unsigned max_numbers)
{
    size_t end = cased_word(p, n);
    if (end > 0)
        return end + (end < n ? contraction_any_case(p + end, n - end) : 0);
    return numbers_symbols_spaces(p, n, max_numbers, '/');
}

size_t en_scan_tekken(const char *p, size_t n, unsigned max_numbers)
{
    size_t end = cased_word(p, n);
    return end > 0 ? end : numbers_symbols_spaces(p, n, max_numbers, '/');
}

/* [\p{P}$+<=>^~|] at i. */
static bool is_default_punct(const char *p, size_t n, size_t i, size_t *length)
{
    if (at(p, n, i, BIT(EN_CLASS_PUNCT), length))
        return true;
    return i < n && p[i] != 0 && strchr("$+<=>^~|", p[i]) != NULL;
}

static bool three_digits(const char *p, size_t n)
{
    return n >= 3 && p[0] >= '0' && p[0] <= '9' && p[1] >= '0' && p[1] <= '9' && p[2] >= '0' &&
           p[2] <= '9';
}

/* A run of numbers: three ASCII digits, or what lies in front of the next three. */
static size_t default_numbers(const char *p, size_t n)
{
    size_t i = 0, length;
    if (three_digits(p, n))
        return 3;
    while (at(p, n, i, NUMBERS, &length) && (i == 0 || !three_digits(p + i, n - i)))
        i += length;
    return i;
}

static size_t default_others(const char *p, size_t n, size_t i)
{
    size_t length, ignored;
    while (at(p, n, i, OTHERS, &length) && !is_default_punct(p, n, i, &ignored))
        i += length;
    return i;
}

size_t en_scan_default(const char *p, size_t n, unsigned max_numbers)
{
    (void)max_numbers;
    size_t i = 0, length, last = 0;
    while (is_default_punct(p, n, i, &length))
        i += length;
    if (i > 0)
        return i;
    i = p[0] == ' ' ? 1 : 0;
    if (at(p, n, i, LETTERS, &length))
        return run(p, n, i, LETTERS);
    if (at(p, n, i, NUMBERS, &length))
        return i > 0 ? i : default_numbers(p, n);
    size_t end = default_others(p, n, i);
    if (end > i)
        return end;
    end = space_run(p, n, &last);
    return give_back_space(end, last, end == n || is_default_punct(p, n, end, &length));
}
