/* class_counts.c - see class_counts.h. */
#include "pipeline/class_counts.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"

entro_status en_class_counts_new(en_class_counts *c, entro_error *err)
{
    *c = (en_class_counts){
        .inside = en_alloc((size_t)EN_CLASS_PAIRS * EN_CLASS_VALUES, sizeof *c->inside)};
    return c->inside != NULL ? ENTRO_OK : en_fail_memory(err);
}

void en_class_counts_free(en_class_counts *c)
{
    en_free(c->inside);
    c->inside = NULL;
}

void en_class_counts_clear(en_class_counts *c, uint32_t n_pairs)
{
    memset(c->inside, 0, (size_t)n_pairs * EN_CLASS_VALUES * sizeof *c->inside);
    memset(c->outside, 0, n_pairs * sizeof *c->outside);
}

void en_class_counts_add(en_class_counts *c, uint32_t pair, const int32_t *z, size_t n)
{
    uint32_t *counts = c->inside + (size_t)pair * EN_CLASS_VALUES;
    for (size_t k = 0; k < n; k++) {
        uint32_t at = (uint32_t)z[k] + EN_CLASS_WINDOW;
        if (at < EN_CLASS_VALUES)
            counts[at]++;
        else
            c->outside[pair]++;
    }
}

void en_class_counts_merge(en_class_counts *c, const en_class_counts *other, uint32_t n_pairs)
{
    for (size_t i = 0; i < (size_t)n_pairs * EN_CLASS_VALUES; i++)
        c->inside[i] += other->inside[i];
    for (uint32_t i = 0; i < n_pairs; i++)
        c->outside[i] += other->outside[i];
}

void en_class_counts_join(en_class_counts *c, uint32_t n_pairs)
{
    for (uint32_t pair = 1; pair < n_pairs; pair++) {
        const uint32_t *counts = c->inside + (size_t)pair * EN_CLASS_VALUES;
        for (size_t v = 0; v < EN_CLASS_VALUES; v++)
            c->inside[v] += counts[v];
        c->outside[0] += c->outside[pair];
    }
}

double en_class_counts_entropy(const en_class_counts *c, uint32_t n_pairs)
{
    double all = 0, bits = 0;
    for (uint32_t pair = 0; pair < n_pairs; pair++) {
        const uint32_t *counts = c->inside + (size_t)pair * EN_CLASS_VALUES;
        double n = (double)c->outside[pair], sum = 0; /* of n log n; each one outside: 0 */
        for (size_t v = 0; v < EN_CLASS_VALUES; v++) {
            n += counts[v];
            sum += counts[v] > 1 ? counts[v] * log2((double)counts[v]) : 0.0;
        }
        all += n;
        bits += n > 0 ? n * log2(n) - sum : 0.0;
    }
    return all > 0 ? bits / all : 0.0;
}
