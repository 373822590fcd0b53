/*
 * test_dequantize.c - stored weights to f32.
 *
 * The layouts are compared with the gguf package in oracle/test_gguf_reader.py; here each format is
 * checked against a second, slow reading of single weights, and against figures done by hand.
 */
#include <math.h>

#include "base/bytes.h"
#include "kernels/kernels.h"
#include "tensor/half.h"
#include "test_support.h"

static en_kernels table;

static int setup(void **state)
{
    (void)state;
    en_kernels_init_dequantize_ref(&table);
    return 0;
}

static void every_float_type_has_a_kernel_and_no_other(void **state)
{
    (void)state;
    for (uint32_t t = 0; t < EN_DTYPE_COUNT; t++)
        assert_int_equal(table.dequantize[t] != NULL, en_dtype_get(t)->is_float);
}

/* The definition of a half, in double arithmetic. */
static double half_by_definition(uint16_t h)
{
    int exponent = h >> 10 & 31, fraction = h & 1023;
    double magnitude = exponent == 0    ? ldexp(fraction, -24)
                       : exponent == 31 ? INFINITY
                                        : ldexp(1024 + fraction, exponent - 25);
    return h & 0x8000 ? -magnitude : magnitude;
}

static void every_half_is_exact(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 65536; h++) {
        uint8_t bytes[2] = {(uint8_t)h, (uint8_t)(h >> 8)};
        float f;
        table.dequantize[EN_DTYPE_F16](bytes, &f, 1);
        uint32_t bits;
        memcpy(&bits, &f, sizeof bits);
        assert_int_equal(bits >> 31, h >> 15);
        if ((h & 0x7fff) > 0x7c00) /* payload kept, quiet bit set */
            assert_int_equal(bits & 0x7fffffff, 0x7fc00000 | (h & 1023) << 13);
        else
            assert_true((double)f == half_by_definition((uint16_t)h));
        table.dequantize[EN_DTYPE_BF16](bytes, &f, 1);
        memcpy(&bits, &f, sizeof bits);
        assert_int_equal(bits, h << 16);
    }
}

/* ---- one weight at a time -------------------------------------------------------------- */

static unsigned bit_field(const uint8_t *p, unsigned bit, unsigned n)
{
    unsigned v = 0;
    for (unsigned i = 0; i < n; i++)
        v |= (p[(bit + i) / 8] >> ((bit + i) % 8) & 1u) << i;
    return v;
}

static float scale_at(const uint8_t *p)
{
    return en_half_to_f32(en_load16(p));
}

static const int iq4[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                            1,    13,   25,  38,  53,  69,  89,  113};

/* Bit position of weight i among fields of n bits, 'apart' weights from field to field. */
static unsigned field(unsigned i, unsigned n, unsigned apart)
{
    unsigned per_byte = 8 / n, chunk = i / (apart * per_byte), rest = i % (apart * per_byte);
    return 8 * (chunk * apart + rest % apart) + n * (rest / apart);
}

static float k4_scale(const uint8_t *s, unsigned g, bool want_min)
{
    unsigned base = want_min ? 32 : 0;
    if (g < 4)
        return (float)bit_field(s, base + 8 * g, 6);
    return (float)(bit_field(s, 64 + 8 * (g - 4) + (want_min ? 4 : 0), 4) |
                   bit_field(s, base + 8 * (g - 4) + 6, 2) << 4);
}

static float weight(uint32_t dtype, const uint8_t *b, unsigned i)
{
    unsigned g16 = i / 16, g32 = i / 32;
    float low, high;
    switch (dtype) {
    case EN_DTYPE_Q4_0: return scale_at(b) * ((float)bit_field(b + 2, field(i, 4, 16), 4) - 8);
    case EN_DTYPE_Q4_1:
        low = scale_at(b) * (float)bit_field(b + 4, field(i, 4, 16), 4);
        return low + scale_at(b + 2);
    case EN_DTYPE_Q5_0:
        return scale_at(b) *
               ((float)(bit_field(b + 6, field(i, 4, 16), 4) | bit_field(b + 2, i, 1) << 4) - 16);
    case EN_DTYPE_Q5_1:
        low = scale_at(b) *
              (float)(bit_field(b + 8, field(i, 4, 16), 4) | bit_field(b + 4, i, 1) << 4);
        return low + scale_at(b + 2);
    case EN_DTYPE_Q8_0: return scale_at(b) * (float)(int8_t)b[2 + i];
    case EN_DTYPE_IQ4_NL: return scale_at(b) * (float)iq4[bit_field(b + 2, field(i, 4, 16), 4)];
    case EN_DTYPE_Q2_K:
        low = scale_at(b + 80) * (float)(b[g16] & 15);
        high = scale_at(b + 82) * (float)(b[g16] >> 4);
        low = low * (float)bit_field(b + 16, field(i, 2, 32), 2);
        return low - high;
    case EN_DTYPE_Q3_K: {
        unsigned s =
            bit_field(b + 96, field(g16, 4, 8), 4) | bit_field(b + 104, field(g16, 2, 4), 2) << 4;
        int q = (int)bit_field(b + 32, field(i, 2, 32), 2) | (int)bit_field(b, field(i, 1, 32), 1)
                                                                 << 2;
        low = scale_at(b + 108) * (float)((int)s - 32);
        return low * (float)(q - 4);
    }
    case EN_DTYPE_Q4_K:
        low = scale_at(b) * k4_scale(b + 4, g32, false);
        high = scale_at(b + 2) * k4_scale(b + 4, g32, true);
        low = low * (float)bit_field(b + 16, field(i, 4, 32), 4);
        return low - high;
    case EN_DTYPE_Q5_K:
        low = scale_at(b) * k4_scale(b + 4, g32, false);
        high = scale_at(b + 2) * k4_scale(b + 4, g32, true);
        low = low * (float)(bit_field(b + 48, field(i, 4, 32), 4) |
                            bit_field(b + 16, field(i, 1, 32), 1) << 4);
        return low - high;
    case EN_DTYPE_Q6_K:
        low = scale_at(b + 208) * (float)(int8_t)b[192 + g16];
        return low * ((float)(bit_field(b, field(i, 4, 64), 4) |
                              bit_field(b + 128, field(i, 2, 32), 2) << 4) -
                      32);
    case EN_DTYPE_IQ4_XS: {
        unsigned s = bit_field(b + 4, 4 * g32, 4) | bit_field(b + 2, 2 * g32, 2) << 4;
        low = scale_at(b) * (float)((int)s - 32);
        return low * (float)iq4[bit_field(b + 8 + 16 * g32, field(i % 32, 4, 16), 4)];
    }
    default: fail_msg("no slow reading of type %u", dtype); return 0;
    }
}

static void blocks_agree_with_a_slow_reading(void **state)
{
    (void)state;
    enum { BLOCKS = 5, CANARY = 8 };
    uint64_t seed = 1;
    for (uint32_t dtype = 0; dtype < EN_DTYPE_COUNT; dtype++) {
        const en_dtype_info *info = en_dtype_get(dtype);
        if (!info->is_float || info->block_elems == 1)
            continue;
        size_t n = (size_t)info->block_elems * BLOCKS;
        uint8_t blocks[1 + 256 * BLOCKS]; /* the first byte makes the blocks unaligned */
        float out[256 * BLOCKS + CANARY];
        for (size_t i = 0; i < sizeof blocks; i++)
            blocks[i] = (uint8_t)(test_random(&seed) >> 56);
        for (size_t i = 0; i < n + CANARY; i++)
            out[i] = 12345.0f;
        table.dequantize[dtype](blocks + 1, out, n);
        for (size_t i = 0; i < n; i++) {
            const uint8_t *block = blocks + 1 + i / info->block_elems * info->block_bytes;
            float expected = weight(dtype, block, (unsigned)(i % info->block_elems));
            assert_true(out[i] == expected || (isnan(out[i]) && isnan(expected)));
        }
        for (size_t i = n; i < n + CANARY; i++)
            assert_true(out[i] == 12345.0f);
    }
}

static void figures_done_by_hand(void **state)
{
    (void)state;
    /* d = 0.5, m = -1; first byte 0x3f: weight 0 is 15, weight 16 is 3. */
    uint8_t q4_1[20] = {0x00, 0x38, 0x00, 0xbc, 0x3f};
    float out[32];
    table.dequantize[EN_DTYPE_Q4_1](q4_1, out, 32);
    assert_true(out[0] == 6.5f && out[16] == 0.5f && out[1] == -1.0f);
    /* d = 2, weights -128 and 127. */
    uint8_t q8_0[34] = {0x00, 0x40, 0x80, 0x7f};
    table.dequantize[EN_DTYPE_Q8_0](q8_0, out, 32);
    assert_true(out[0] == -256.0f && out[1] == 254.0f && out[2] == 0.0f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_float_type_has_a_kernel_and_no_other),
        cmocka_unit_test(every_half_is_exact),
        cmocka_unit_test(blocks_agree_with_a_slow_reading),
        cmocka_unit_test(figures_done_by_hand),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
