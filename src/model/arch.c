/*
 * arch.c - the table of architectures.
 */
#include "model/arch.h"

#include <stdio.h>

static const en_arch *const table[] = {
    &en_arch_llama,
    &en_arch_mistral,
    &en_arch_phi3,
    &en_arch_qwen2,
};

const en_arch *en_arch_find(en_span name)
{
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        if (en_span_is(name, table[i]->name))
            return table[i];
    }
    return NULL;
}

void en_arch_list(char *out, size_t n_out)
{
    size_t n = 0;
    out[0] = '\0';
    for (size_t i = 0; i < sizeof table / sizeof table[0] && n < n_out; i++)
        n += (size_t)snprintf(out + n, n_out - n, "%s%s", i > 0 ? ", " : "", table[i]->name);
}
