/*
 * vector_template.h - the kernels written once over a vector of LANES floats.
 *
 * Included by one file for each instruction set, which first defines 'vec', LANES and, as static
 * inline functions (p points anywhere, m < LANES; *_part reads or writes m items only, and the
 * lanes beyond hold 0):
 *
 *   v_set(float)            v_load(p)         v_load_part(p, m)       f32
 *   v_add v_sub v_mul v_div v_load_codes(p)   v_load_codes_part(p, m) u8 to f32
 *   v_max v_min             v_load_f16(p)     v_load_f16_part(p, m)
 *   v_fma(a, b, c): a b + c v_load_bf16(p)    v_load_bf16_part(p, m)
 *   v_round: nearest even   v_store...        v_store..._part         the same four, codes from
 *   v_sum v_highest v_lowest: of all lanes                            whole numbers 0..255
 *   v_store_int8(p, v): whole numbers -128..127
 *   v_scale(x, n): x 2^n for whole n, -126 <= n <= 127
 *   v_zero_below(v, x, limit): v where x >= limit, else 0
 *   v_sum4(out, a, b, c, d): out[0] = v_sum(a) ...                    (matmul_template.h)
 *
 * When a or b is NaN, v_max(a, b) and v_min(a, b) give b or NaN.
 */
#ifndef EN_KERNELS_VECTOR_TEMPLATE_H
#define EN_KERNELS_VECTOR_TEMPLATE_H

#include <math.h>

#include "kernels/kernels.h"

/* Runs the statements for i = 0, LANES, ... with m = LANES, then once for the rest with m < LANES;
 * the loads and stores below choose by m, a constant in the loop. */
#define EACH_VECTOR(i, m, n, ...)                                                                  \
    do {                                                                                           \
        size_t i = 0;                                                                              \
        for (; i + LANES <= (n); i += LANES) {                                                     \
            const size_t m = LANES;                                                                \
            __VA_ARGS__                                                                            \
        }                                                                                          \
        if (i < (n)) {                                                                             \
            const size_t m = (n)-i;                                                                \
            __VA_ARGS__                                                                            \
        }                                                                                          \
    } while (0)

#define DEFINE_ACCESS(suffix, type)                                                                \
    static inline __attribute__((always_inline)) vec load##suffix(const type *p, size_t m)         \
    {                                                                                              \
        return m == LANES ? v_load##suffix(p) : v_load##suffix##_part(p, m);                       \
    }                                                                                              \
    static inline __attribute__((always_inline)) void store##suffix(type *p, vec v, size_t m)      \
    {                                                                                              \
        if (m == LANES)                                                                            \
            v_store##suffix(p, v);                                                                 \
        else                                                                                       \
            v_store##suffix##_part(p, v, m);                                                       \
    }

DEFINE_ACCESS(, float)
DEFINE_ACCESS(_codes, uint8_t)
DEFINE_ACCESS(_f16, uint16_t)
DEFINE_ACCESS(_bf16, uint16_t)

/* ---- conversions --------------------------------------------------------------------------- */

static void f32_to_f16(const float *in, uint16_t *out, size_t n)
{
    EACH_VECTOR(i, m, n, store_f16(out + i, load(in + i, m), m););
}

static void f32_to_bf16(const float *in, uint16_t *out, size_t n)
{
    EACH_VECTOR(i, m, n, store_bf16(out + i, load(in + i, m), m););
}

static void dequantize_f16(const uint8_t *blocks, float *out, size_t n)
{
    const uint16_t *in = (const uint16_t *)blocks; /* only passed on to loads of any alignment */
    EACH_VECTOR(i, m, n, store(out + i, load_f16(in + i, m), m););
}

static void dequantize_bf16(const uint8_t *blocks, float *out, size_t n)
{
    const uint16_t *in = (const uint16_t *)blocks;
    EACH_VECTOR(i, m, n, store(out + i, load_bf16(in + i, m), m););
}

/* ---- quantization -------------------------------------------------------------------------- */

/* x * 0 is NaN for NaN and infinity, and so is then the sum of them all. */
static bool min_max(const float *x, size_t n, float *lo, float *hi)
{
    const vec zero = v_set(0.0f);
    vec low0 = v_set(x[0]), low1 = low0, high0 = low0, high1 = low0, odd0 = zero, odd1 = zero;
    size_t i = 0;
    for (; i + 2 * LANES <= n; i += 2 * LANES) {
        vec a = v_load(x + i), b = v_load(x + i + LANES);
        low0 = v_min(low0, a);
        low1 = v_min(low1, b);
        high0 = v_max(high0, a);
        high1 = v_max(high1, b);
        odd0 = v_fma(a, zero, odd0);
        odd1 = v_fma(b, zero, odd1);
    }
    float low = v_lowest(v_min(low0, low1)), high = v_highest(v_max(high0, high1));
    float odd = v_sum(v_add(odd0, odd1));
    for (; i < n; i++) {
        low = x[i] < low ? x[i] : low;
        high = x[i] > high ? x[i] : high;
        odd += x[i] * 0.0f;
    }
    *lo = low + 0.0f; /* no -0; see kernels_ref.c */
    *hi = high + 0.0f;
    return odd == 0.0f;
}

static void quantize(const float *x, float offset, float inverse_step, unsigned max_code,
                     uint8_t *codes, size_t n)
{
    const vec zero = v_set(0.0f), most = v_set((float)max_code);
    const vec o = v_set(offset), s = v_set(inverse_step);
    EACH_VECTOR(i, m, n, vec code = v_round(v_mul(v_sub(load(x + i, m), o), s));
                store_codes(codes + i, v_min(v_max(code, zero), most), m););
}

static void expand_codes(const uint8_t *codes, float step, float offset, float *out, size_t n)
{
    const vec s = v_set(step), o = v_set(offset);
    EACH_VECTOR(i, m, n, store(out + i, v_add(v_mul(load_codes(codes + i, m), s), o), m););
}

/* Beyond the end are zeros, which add nothing. */
static void error_sums(const float *w, const float *back, size_t n, en_error_lanes *sums)
{
    enum { VECTORS = EN_ERROR_LANES / LANES };
    const vec zero = v_set(0.0f);
    vec error[VECTORS], weight[VECTORS], largest[VECTORS];
    for (size_t v = 0; v < VECTORS; v++)
        error[v] = weight[v] = largest[v] = zero;
    for (size_t i = 0; i < n; i += EN_ERROR_LANES)
        for (size_t v = 0; v < VECTORS; v++) {
            size_t at = i + v * LANES, left = at < n ? n - at : 0, m = left < LANES ? left : LANES;
            vec x = load(w + at, m), d = v_sub(x, load(back + at, m));
            error[v] = v_add(error[v], v_mul(d, d));
            weight[v] = v_add(weight[v], v_mul(x, x));
            largest[v] = v_max(v_max(d, v_sub(zero, d)), largest[v]);
        }
    for (size_t v = 0; v < VECTORS; v++) {
        v_store(sums->error + v * LANES, error[v]);
        v_store(sums->weight + v * LANES, weight[v]);
        v_store(sums->largest + v * LANES, largest[v]);
    }
}

/* A unit's sum stays below 2^24, so every float in it is exact. */
static void quantize_planes(const float *x, float inverse, size_t n_units, int8_t *high,
                            int8_t *low, int32_t *sums)
{
    const vec s = v_set(inverse), down = v_set(1.0f / 128), up = v_set(-128.0f);
    for (size_t unit = 0; unit < n_units; unit++) {
        vec sum = v_set(0.0f);
        for (size_t i = unit * EN_UNIT_COLS; i < (unit + 1) * EN_UNIT_COLS; i += LANES) {
            vec q = v_round(v_mul(v_load(x + i), s)), h = v_round(v_mul(q, down));
            v_store_int8(high + i, h);
            v_store_int8(low + i, v_fma(h, up, q));
            sum = v_add(sum, q);
        }
        sums[unit] = (int32_t)v_sum(sum);
    }
}

/* ---- products ------------------------------------------------------------------------------ */

/* Four sums hide the latency of the multiply-add.  'centre' is subtracted where x is 0, too. */
#define DEFINE_DOT(name, suffix, type)                                                             \
    static inline __attribute__((always_inline)) float name(const type *a, vec centre,             \
                                                            const float *x, size_t n)              \
    {                                                                                              \
        vec s0 = v_set(0.0f), s1 = s0, s2 = s0, s3 = s0;                                           \
        size_t i = 0;                                                                              \
        for (; i + 4 * LANES <= n; i += 4 * LANES) {                                               \
            const type *p = a + i;                                                                 \
            const float *q = x + i;                                                                \
            s0 = v_fma(v_sub(v_load##suffix(p), centre), v_load(q), s0);                           \
            s1 = v_fma(v_sub(v_load##suffix(p + LANES), centre), v_load(q + LANES), s1);           \
            s2 = v_fma(v_sub(v_load##suffix(p + 2 * LANES), centre), v_load(q + 2 * LANES), s2);   \
            s3 = v_fma(v_sub(v_load##suffix(p + 3 * LANES), centre), v_load(q + 3 * LANES), s3);   \
        }                                                                                          \
        for (; i + LANES <= n; i += LANES)                                                         \
            s0 = v_fma(v_sub(v_load##suffix(a + i), centre), v_load(x + i), s0);                   \
        if (i < n) {                                                                               \
            vec last = v_sub(v_load##suffix##_part(a + i, n - i), centre);                         \
            s1 = v_fma(last, v_load_part(x + i, n - i), s1);                                       \
        }                                                                                          \
        return v_sum(v_add(v_add(s0, s1), v_add(s2, s3)));                                         \
    }

DEFINE_DOT(dot_of_codes, _codes, uint8_t)
DEFINE_DOT(dot_of_f32, , float)
DEFINE_DOT(dot_of_f16, _f16, uint16_t)

static float dot_codes(const uint8_t *codes, float centre, const float *x, size_t n)
{
    return dot_of_codes(codes, v_set(centre), x, n);
}

/* x - 0 is x for every x, and the compiler knows. */
static float dot_f32(const float *a, const float *b, size_t n)
{
    return dot_of_f32(a, v_set(0.0f), b, n);
}

static float dot_f16(const uint16_t *a, const float *x, size_t n)
{
    return dot_of_f16(a, v_set(0.0f), x, n);
}

static void axpy_f16(float a, const uint16_t *x, float *y, size_t n)
{
    const vec av = v_set(a);
    EACH_VECTOR(i, m, n, store(y + i, v_fma(av, load_f16(x + i, m), load(y + i, m)), m););
}

static float sum_f32(const float *x, size_t n)
{
    vec s0 = v_set(0.0f), s1 = s0;
    size_t i = 0;
    for (; i + 2 * LANES <= n; i += 2 * LANES) {
        s0 = v_add(s0, v_load(x + i));
        s1 = v_add(s1, v_load(x + i + LANES));
    }
    for (; i < n; i += LANES)
        s0 = v_add(s0, load(x + i, n - i < LANES ? n - i : LANES));
    return v_sum(v_add(s0, s1));
}

/* ---- the small steps of a transformer ------------------------------------------------------ */

/*
 * e^x = 2^n e^r, n = round(x / ln 2), |r| <= ln 2 / 2; the polynomial is Cephes's expf.  About one
 * unit in the last place.  Below ln(2^-126) the result is 0; above 88 it is e^88.
 */
static inline vec v_exp(vec x)
{
    const float lowest = -87.33654f, highest = 88.0f;
    vec limited = v_min(v_set(highest), v_max(v_set(lowest), x)); /* keeps NaN */
    vec n = v_round(v_mul(limited, v_set(1.44269504088896f)));
    vec r = v_fma(n, v_set(-0.693359375f), limited); /* ln 2 in two parts */
    r = v_fma(n, v_set(2.12194440e-4f), r);
    vec p = v_set(1.9875691500e-4f);
    p = v_fma(p, r, v_set(1.3981999507e-3f));
    p = v_fma(p, r, v_set(8.3334519073e-3f));
    p = v_fma(p, r, v_set(4.1665795894e-2f));
    p = v_fma(p, r, v_set(1.6666665459e-1f));
    p = v_fma(p, r, v_set(5.0000001201e-1f));
    p = v_fma(p, v_mul(r, r), v_add(r, v_set(1.0f)));
    return v_zero_below(v_scale(p, n), x, v_set(lowest));
}

static void rms_norm(const float *x, const float *gain, float epsilon, float *out, size_t n)
{
    float squares = dot_f32(x, x, n);
    const vec scale = v_set(1.0f / sqrtf(squares / (float)n + epsilon));
    EACH_VECTOR(i, m, n,
                store(out + i, v_mul(v_mul(load(x + i, m), scale), load(gain + i, m)), m););
}

static float highest_of(const float *x, size_t n)
{
    float high = -INFINITY;
    size_t i = 0;
    if (n >= LANES) {
        vec v = v_load(x);
        for (i = LANES; i + LANES <= n; i += LANES)
            v = v_max(v, v_load(x + i));
        high = v_highest(v);
    }
    for (; i < n; i++)
        high = x[i] > high ? x[i] : high;
    return high;
}

static void softmax(float *x, size_t n)
{
    const vec high = v_set(highest_of(x, n));
    EACH_VECTOR(i, m, n, store(x + i, v_exp(v_sub(load(x + i, m), high)), m););
    const vec scale = v_set(1.0f / sum_f32(x, n));
    EACH_VECTOR(i, m, n, store(x + i, v_mul(load(x + i, m), scale), m););
}

static void silu_mul(const float *gate, const float *up, float *out, size_t n)
{
    const vec one = v_set(1.0f), zero = v_set(0.0f);
    EACH_VECTOR(i, m, n, vec g = load(gate + i, m);
                vec silu = v_div(g, v_add(one, v_exp(v_sub(zero, g))));
                store(out + i, v_mul(silu, load(up + i, m)), m););
}

static void add(const float *x, float *y, size_t n)
{
    EACH_VECTOR(i, m, n, store(y + i, v_add(load(y + i, m), load(x + i, m)), m););
}

/* ---- the table ----------------------------------------------------------------------------- */

static void init_vector_kernels(en_kernels *table)
{
    table->dequantize[EN_DTYPE_F16] = dequantize_f16;
    table->dequantize[EN_DTYPE_BF16] = dequantize_bf16;
    table->f32_to_f16 = f32_to_f16;
    table->f32_to_bf16 = f32_to_bf16;
    table->min_max = min_max;
    table->quantize = quantize;
    table->expand_codes = expand_codes;
    table->error_sums = error_sums;
    table->quantize_planes = quantize_planes;
    table->dot_codes = dot_codes;
    table->dot_f32 = dot_f32;
    table->dot_f16 = dot_f16;
    table->axpy_f16 = axpy_f16;
    table->sum = sum_f32;
    table->rms_norm = rms_norm;
    table->softmax = softmax;
    table->silu_mul = silu_mul;
    table->add = add;
}

#endif
