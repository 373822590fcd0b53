/*
 * arch.c - the table of architectures.
 */
#include "model/arch.h"

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

const char *en_arch_names(void)
{
    return "llama, mistral, phi3, qwen2";
}
