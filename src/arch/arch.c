/* arch.c - see arch.h. */
#include "arch/arch.h"

#include <stdio.h>
#include <string.h>

#define ADDRESS(name) &en_arch_##name,

static const en_arch *const table[] = {EN_ARCH_LIST(ADDRESS)};

enum { N_ARCHS = sizeof table / sizeof *table };

const en_arch *en_arch_find(en_span name)
{
    for (size_t i = 0; i < N_ARCHS; i++) {
        if (en_span_is(name, table[i]->name))
            return table[i];
    }
    return NULL;
}

const en_arch *en_arch_find_hf(const char *class_name, const char *model_type)
{
    for (size_t i = 0; i < N_ARCHS; i++) {
        const en_hf_form *hf = &table[i]->hf;
        if (class_name != NULL && strcmp(hf->class_name, class_name) == 0)
            return table[i];
        if (class_name == NULL && model_type != NULL && strcmp(hf->model_type, model_type) == 0)
            return table[i];
    }
    return NULL;
}

static size_t append(char *out, size_t n_out, size_t n, const char *name)
{
    if (n < n_out)
        n += (size_t)snprintf(out + n, n_out - n, "%s%s", n > 0 ? ", " : "", name);
    return n;
}

void en_arch_list(char *out, size_t n_out)
{
    size_t n = 0;
    for (size_t i = 0; i < N_ARCHS; i++)
        n = append(out, n_out, n, table[i]->name);
}

void en_arch_list_hf(char *out, size_t n_out)
{
    size_t n = 0;
    for (size_t i = 0; i < N_ARCHS; i++)
        n = append(out, n_out, n, table[i]->hf.class_name);
}
