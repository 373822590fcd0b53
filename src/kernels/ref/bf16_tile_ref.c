/* bf16_tile_ref.c - see bf16_tile.h. */
#include "kernels/kernels.h"
#include "tensor/half.h"

static float low(uint32_t pair)
{
    return en_bf16_to_f32((uint16_t)pair);
}

static float high(uint32_t pair)
{
    return en_bf16_to_f32((uint16_t)(pair >> 16));
}

static void tile(const uint32_t *a, const uint32_t *b, size_t n_pairs, bool add, float *c,
                 size_t stride)
{
    for (size_t i = 0; i < EN_BF16_ROWS; i++)
        for (size_t j = 0; j < EN_BF16_COLS; j++) {
            float sum = add ? c[i * stride + j] : 0;
            for (size_t p = 0; p < n_pairs; p++) {
                uint32_t x = a[p * EN_BF16_ROWS + i], y = b[p * EN_BF16_COLS + j];
                sum += low(x) * low(y) + high(x) * high(y);
            }
            c[i * stride + j] = sum;
        }
}

/* Numbers k and k + 1 of a line, 'step' apart. */
static uint32_t pair_at(const float *x, size_t step, size_t k, size_t n)
{
    float both[2] = {x[k * step], k + 1 < n ? x[(k + 1) * step] : 0};
    uint16_t rounded[2];
    en_kernels_ref()->f32_to_bf16(both, rounded, 2);
    return rounded[0] | (uint32_t)rounded[1] << 16;
}

static void pack(const float *x, size_t line_step, size_t number_step, size_t n_lines, size_t n,
                 size_t width, uint32_t *panels, size_t panel_words)
{
    for (size_t i = 0; i < (n_lines + width - 1) / width * width; i++)
        for (size_t k = 0; k < n; k += 2)
            panels[i / width * panel_words + k / 2 * width + i % width] =
                i < n_lines ? pair_at(x + i * line_step, number_step, k, n) : 0;
}

static void pack_along(const float *x, size_t stride, size_t n_lines, size_t n, size_t width,
                       uint32_t *panels, size_t panel_words)
{
    pack(x, stride, 1, n_lines, n, width, panels, panel_words);
}

static void pack_across(const float *x, size_t stride, size_t n_lines, size_t n, size_t width,
                        uint32_t *panels, size_t panel_words)
{
    pack(x, 1, stride, n_lines, n, width, panels, panel_words);
}

void en_kernels_init_bf16_ref(en_kernels *table)
{
    table->bf16_tile = tile;
    table->bf16_pack_along = pack_along;
    table->bf16_pack_across = pack_across;
}
