/* method.c - see method.h. */
#include "quant/method.h"

#include <math.h>
#include <string.h>

#include "quant/pass.h"
#include "tensor/half.h"

static const en_quant_method methods[] = {
    {"u8", "8-bit codes, one grid a tensor (the EntroLLM paper's)", 8, false, false, NULL},
    {"u4", "4-bit codes, one grid a tensor (the EntroLLM paper's)", 4, false, false, NULL},
    {"u8-row", "8-bit codes, one grid a row", 8, true, false, NULL},
    {"u4-row", "4-bit codes, one grid a row", 4, true, false, NULL},
    {"rtn", "integers of any size, one step a row; the entropy is asked for", 0, true, false, NULL},
    {"watersic", "calibrated: integers of any size, steps for rows and columns, errors fed back", 0,
     true, false, &en_pass_watersic},
    {"u4-row-sparse", "4-bit codes, one grid a row, outliers apart", 4, true, false,
     &en_pass_sparse4},
    {EN_LOSSLESS, "the source's own numbers, every bit kept", 0, false, true, NULL},
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
    en_grid grid = {.step = 1.0f, .offset = lo, .inverse_step = 1.0f, .is_constant = true};
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
    grid.is_constant = false;
    grid.inverse_step = inverse;
    grid.step = 1.0f / inverse;
    return grid;
}

/* The f16 value nearest to x among those at least as far from zero; infinite beyond 65504. */
static float half_away_from_zero(float x)
{
    float magnitude = fabsf(x);
    uint32_t bits;
    memcpy(&bits, &magnitude, sizeof bits);
    uint16_t half;
    if (!(magnitude <= 65504.0f))
        half = 0x7c00;
    else if (magnitude < 0x1p-14f) /* multiples of 2^-24 */
        half = (uint16_t)ceilf(magnitude * 0x1p24f);
    else /* 10 bits of the mantissa stay, the exponent's bias goes from 127 to 15 */
        half = (uint16_t)(((bits + 0x1fff) >> 13) - (112u << 10));
    return copysignf(en_half_to_f32(half), x);
}

bool en_quant_grid_half(float lo, float hi, unsigned bits, en_grid *grid)
{
    *grid = en_quant_grid(lo, hi, bits);
    float offset = half_away_from_zero(grid->offset), f32_step = grid->step;
    if (grid->is_constant)
        return offset == grid->offset;
    /* Offsets are not positive here, so away from zero is down. */
    float reach = hi > 0.0f ? hi - offset : lo;
    grid->offset = offset;
    grid->step = half_away_from_zero(reach / (float)grid->max_code);
    grid->inverse_step = 1.0f / grid->step;
    return isfinite(grid->step) && fabsf(grid->step) <= fabsf(f32_step) * EN_HALF_GRID_COST;
}
