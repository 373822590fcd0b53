/*
 * kernels_ref.c - every kernel in plain C: the truth that variants are compared with.
 *
 * Sums are kept in double, so that a difference between this and a variant is the variant's.
 * Conversions of stored blocks are in dequantize_ref.c.
 */
#include "kernels/kernels.h"

#include <math.h>
#include <string.h>

#include "kernels/planes_template.h"
#include "tensor/half.h"

/* ---- conversions --------------------------------------------------------------------------- */

static uint32_t bits_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

/* 'value' >> shift, rounded to nearest, ties to even; 1 <= shift <= 31. */
static uint32_t shift_to_nearest(uint32_t value, unsigned shift)
{
    uint32_t half = 1u << (shift - 1), odd = (value >> shift) & 1;
    return (value + half - 1 + odd) >> shift;
}

static uint16_t f16_of(float x)
{
    uint32_t bits = bits_of(x), sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffff;
    if (magnitude > 0x7f800000) /* NaN: keep its upper bits, make it quiet, as processors do */
        return (uint16_t)(sign | 0x7e00 | (magnitude >> 13 & 0x3ff));
    if (magnitude >= 0x477ff000) /* 65520 and above round to infinity */
        return (uint16_t)(sign | 0x7c00);
    if (magnitude >= 0x38800000) /* normal: shift the mantissa, move the exponent's bias */
        return (uint16_t)(sign | (shift_to_nearest(magnitude, 13) - (112u << 10)));
    if (magnitude < 0x33000000) /* below half of the smallest subnormal */
        return (uint16_t)sign;
    unsigned exponent = magnitude >> 23;
    uint32_t mantissa = (magnitude & 0x7fffff) | 0x800000;
    return (uint16_t)(sign | shift_to_nearest(mantissa, 126 - exponent));
}

static void f32_to_f16(const float *in, uint16_t *out, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = f16_of(in[i]);
}

static void f32_to_bf16(const float *in, uint16_t *out, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t bits = bits_of(in[i]);
        if ((bits & 0x7fffffff) > 0x7f800000)
            out[i] = (uint16_t)(bits >> 16 | 0x40); /* quiet NaN */
        else
            out[i] = (uint16_t)shift_to_nearest(bits, 16);
    }
}

/* ---- quantization -------------------------------------------------------------------------- */

static bool min_max(const float *x, size_t n, float *lo, float *hi)
{
    float low = x[0], high = x[0];
    bool finite = true;
    for (size_t i = 0; i < n; i++) {
        finite = finite && isfinite(x[i]);
        low = x[i] < low ? x[i] : low;
        high = x[i] > high ? x[i] : high;
    }
    /* Adding 0 turns -0 into +0: which zero of a tensor came first must not show in a file. */
    *lo = low + 0.0f;
    *hi = high + 0.0f;
    return finite;
}

static void quantize(const float *x, float offset, float inverse_step, unsigned max_code,
                     uint8_t *codes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        float code = rintf((x[i] - offset) * inverse_step);
        code = code > 0.0f ? code : 0.0f; /* also for NaN */
        codes[i] = (uint8_t)(code < (float)max_code ? code : (float)max_code);
    }
}

static void expand_codes(const uint8_t *codes, float step, float offset, float *out, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = (float)codes[i] * step + offset;
}

static void error_sums(const float *w, const float *back, size_t n, en_error_lanes *sums)
{
    memset(sums, 0, sizeof *sums);
    for (size_t i = 0; i < n; i++) {
        size_t lane = i % EN_ERROR_LANES;
        float d = w[i] - back[i], a = fabsf(d);
        sums->error[lane] += d * d;
        sums->weight[lane] += w[i] * w[i];
        sums->largest[lane] = a > sums->largest[lane] ? a : sums->largest[lane];
    }
}

static void quantize_planes(const float *x, float inverse, size_t n_units, int8_t *high,
                            int8_t *low, int32_t *sums)
{
    for (size_t i = 0; i < n_units * EN_UNIT_COLS; i++) {
        float q = rintf(x[i] * inverse), h = rintf(q * (1.0f / 128));
        high[i] = (int8_t)h;
        low[i] = (int8_t)(q - 128.0f * h);
        int32_t before = i % EN_UNIT_COLS == 0 ? 0 : sums[i / EN_UNIT_COLS];
        sums[i / EN_UNIT_COLS] = before + (int32_t)q;
    }
}

/* ---- products ------------------------------------------------------------------------------ */

static float dot_codes(const uint8_t *codes, float centre, const float *x, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += ((double)codes[i] - (double)centre) * (double)x[i];
    return (float)sum;
}

static float dot_f32(const float *a, const float *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)a[i] * (double)b[i];
    return (float)sum;
}

static void matmul_f32(const float *w, size_t n_rows, size_t n_cols, const float *x,
                       size_t x_stride, size_t n_tokens, float *y, size_t y_stride)
{
    for (size_t t = 0; t < n_tokens; t++)
        for (size_t r = 0; r < n_rows; r++)
            y[t * y_stride + r] = dot_f32(w + r * n_cols, x + t * x_stride, n_cols);
}

static float dot_f16(const uint16_t *a, const float *x, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)en_half_to_f32(a[i]) * (double)x[i];
    return (float)sum;
}

static void axpy_f16(float a, const uint16_t *x, float *y, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] += a * en_half_to_f32(x[i]);
}

static float sum_f32(const float *x, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)x[i];
    return (float)sum;
}

/* ---- rows of int8 with scales ----------------------------------------------------------------- */

static void round_i8(const float *x, float inverse, int8_t *out, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        float q = rintf(x[i] * inverse);
        out[i] = (int8_t)(q > 127.0f ? 127.0f : q < -127.0f ? -127.0f : q);
    }
}

static void expand_i8(const int8_t *a, const float *scales, size_t scale_stride, size_t n_rows,
                      size_t n_cols, float *out)
{
    for (size_t r = 0; r < n_rows; r++)
        for (size_t c = 0; c < n_cols; c++)
            out[r * n_cols + c] =
                (float)a[r * n_cols + c] * scales[c / EN_SCALE_COLS * scale_stride + r];
}

static void dot_i8(const int8_t *a, const float *scales, size_t scale_stride, size_t n_rows,
                   size_t n_cols, const float *x, float *out)
{
    for (size_t r = 0; r < n_rows; r++) {
        double sum = 0;
        for (size_t c = 0; c < n_cols; c++)
            sum += (double)scales[c / EN_SCALE_COLS * scale_stride + r] *
                   (double)a[r * n_cols + c] * (double)x[c];
        out[r] = (float)sum;
    }
}

static void axpy_i8(const int8_t *a, const float *scales, size_t scale_stride, size_t n_rows,
                    size_t n_cols, float *y)
{
    for (size_t c = 0; c < n_cols; c++) {
        double sum = (double)y[c];
        for (size_t r = 0; r < n_rows; r++)
            sum += (double)scales[c / EN_SCALE_COLS * scale_stride + r] * (double)a[r * n_cols + c];
        y[c] = (float)sum;
    }
}

/* ---- the small steps of a transformer ------------------------------------------------------ */

static void rms_norm(const float *x, const float *gain, float epsilon, float *out, size_t n)
{
    double squares = 0;
    for (size_t i = 0; i < n; i++)
        squares += (double)x[i] * (double)x[i];
    float scale = (float)(1.0 / sqrt(squares / (double)n + (double)epsilon));
    for (size_t i = 0; i < n; i++)
        out[i] = x[i] * scale * gain[i];
}

static void softmax(float *x, size_t n)
{
    float high = -INFINITY;
    for (size_t i = 0; i < n; i++)
        high = x[i] > high ? x[i] : high;
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        x[i] = expf(x[i] - high);
        sum += (double)x[i];
    }
    float scale = (float)(1.0 / sum);
    for (size_t i = 0; i < n; i++)
        x[i] *= scale;
}

static void silu_mul(const float *gate, const float *up, float *out, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = gate[i] / (1.0f + expf(-gate[i])) * up[i];
}

static void add(const float *x, float *y, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] += x[i];
}

void en_kernels_init_ref(en_kernels *table)
{
    init_planes_kernels(table);
    table->f32_to_f16 = f32_to_f16;
    table->f32_to_bf16 = f32_to_bf16;
    table->min_max = min_max;
    table->quantize = quantize;
    table->expand_codes = expand_codes;
    table->error_sums = error_sums;
    table->quantize_planes = quantize_planes;
    table->dot_codes = dot_codes;
    table->dot_f32 = dot_f32;
    table->matmul_f32 = matmul_f32;
    table->dot_f16 = dot_f16;
    table->axpy_f16 = axpy_f16;
    table->round_i8 = round_i8;
    table->expand_i8 = expand_i8;
    table->dot_i8 = dot_i8;
    table->axpy_i8 = axpy_i8;
    table->sum = sum_f32;
    table->rms_norm = rms_norm;
    table->softmax = softmax;
    table->silu_mul = silu_mul;
    table->add = add;
}
