/* method.c - see method.h. */
#include "quant/method.h"

#include <math.h>
#include <string.h>

static const en_quant_method methods[] = {
    {"u8", "8-bit codes, one grid a tensor (the EntroLLM paper's)", 8, false},
    {"u4", "4-bit codes, one grid a tensor (the EntroLLM paper's)", 4, false},
    {"u8-row", "8-bit codes, one grid a row", 8, true},
    {"u4-row", "4-bit codes, one grid a row", 4, true},
};

uint32_t en_quant_n_methods(void)
{
    return sizeof methods / sizeof methods[0];
}

const en_quant_method *en_quant_method_at(uint32_t i)
{
    return i < en_quant_n_methods() ? &methods[i] : NULL;
}

const en_quant_method *en_quant_method_find(const char *name)
{
    for (uint32_t i = 0; i < en_quant_n_methods(); i++)
        if (strcmp(methods[i].name, name) == 0)
            return &methods[i];
    return NULL;
}

en_grid en_quant_grid(float lo, float hi, unsigned bits)
{
    en_grid grid = {.step = 1.0f, .offset = lo, .inverse_step = 1.0f};
    grid.max_code = (1u << bits) - 1;
    if (lo == hi)
        return grid; /* constant: code 0 everywhere, and the offset is the weight */
    /* The sign test is on the bounds, not on their product, which may underflow. */
    bool one_sign = lo >= 0.0f || hi <= 0.0f;
    float range = !one_sign ? hi - lo : lo >= 0.0f ? hi : -lo;
    float inverse = (float)grid.max_code / range;
    if (isinf(inverse))
        return grid; /* all weights within 1e-36 of each other: as good as constant */
    if (one_sign) {
        grid.offset = 0.0f;
        inverse = lo >= 0.0f ? inverse : -inverse;
    }
    grid.inverse_step = inverse;
    grid.step = 1.0f / inverse;
    return grid;
}
