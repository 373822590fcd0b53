/*
 * rope.c - see rope.h.
 */
#include "model/rope.h"

#include <math.h>

#include "base/memory.h"

/* The divisors in force, NULL for none; sets the magnitude. */
static const float *choose_divisors(en_rope *rope, const en_hparams *hp, const en_weights *w,
                                    uint32_t n_ctx)
{
    const en_rope_params *p = &hp->rope;
    rope->magnitude = 1.0f;
    if (w->rope_long == NULL || w->rope_short == NULL)
        return w->rope_freqs;
    uint32_t before = p->n_ctx_before != 0 ? p->n_ctx_before : hp->n_ctx_train;
    if (p->attn_factor > 0.0f) {
        rope->magnitude = p->attn_factor;
    } else if (before > 1 && hp->n_ctx_train > before) {
        double ratio = (double)hp->n_ctx_train / before;
        rope->magnitude = (float)sqrt(1.0 + log(ratio) / log(before));
    }
    return n_ctx > before ? w->rope_long : w->rope_short;
}

static entro_status set_frequencies(en_rope *rope, const en_rope_params *p, const float *divisors,
                                    entro_error *err)
{
    for (uint32_t i = 0; i < rope->n_rot / 2; i++) {
        double divisor = divisors != NULL ? (double)divisors[i] : 1.0;
        rope->frequencies[i] =
            pow(p->base, -2.0 * i / rope->n_rot) / divisor / (double)p->linear_factor;
        if (!isfinite(rope->frequencies[i]) || fabs(rope->frequencies[i]) > 1e6)
            return en_fail(err, ENTRO_ERR_FORMAT,
                           "rope factor %u is %g, expected a positive number near or above 1", i,
                           divisor);
    }
    return ENTRO_OK;
}

size_t en_rope_bytes(const en_rope *rope, uint32_t n_batch)
{
    return rope->n_rot / 2 * sizeof(double) + (size_t)n_batch * rope->n_rot * sizeof(float);
}

entro_status en_rope_new(en_rope *rope, const en_hparams *hp, const en_weights *w, uint32_t n_ctx,
                         uint32_t n_batch, entro_error *err)
{
    *rope = (en_rope){.style = hp->arch->rope, .n_rot = hp->n_rot};
    rope->frequencies = en_alloc(hp->n_rot / 2, sizeof *rope->frequencies);
    rope->table = en_alloc((size_t)n_batch * hp->n_rot, sizeof *rope->table);
    entro_status status;
    if (rope->frequencies == NULL || rope->table == NULL)
        status = en_fail_memory(err);
    else
        status = set_frequencies(rope, &hp->rope, choose_divisors(rope, hp, w, n_ctx), err);
    if (status != ENTRO_OK)
        en_rope_free(rope);
    return status;
}

void en_rope_free(en_rope *rope)
{
    en_free(rope->frequencies);
    en_free(rope->table);
    *rope = (en_rope){0};
}

void en_rope_fill(en_rope *rope, uint32_t first, uint32_t n)
{
    uint32_t half = rope->n_rot / 2;
    for (uint32_t row = 0; row < n; row++) {
        float *cosines = rope->table + (size_t)row * rope->n_rot, *sines = cosines + half;
        for (uint32_t i = 0; i < half; i++) {
            double angle = (double)(first + row) * rope->frequencies[i];
            cosines[i] = (float)cos(angle) * rope->magnitude;
            sines[i] = (float)sin(angle) * rope->magnitude;
        }
    }
}

/* 'sign': of the sines, -1 turns back. */
static void rotate_adjacent(float *x, const float *cosines, const float *sines, float sign,
                            uint32_t half)
{
    for (uint32_t i = 0; i < half; i++) {
        float a = x[2 * i], b = x[2 * i + 1], sine = sign * sines[i];
        x[2 * i] = a * cosines[i] - b * sine;
        x[2 * i + 1] = a * sine + b * cosines[i];
    }
}

static void rotate_half_split(float *x, const float *cosines, const float *sines, float sign,
                              uint32_t half)
{
    for (uint32_t i = 0; i < half; i++) {
        float a = x[i], b = x[i + half], sine = sign * sines[i];
        x[i] = a * cosines[i] - b * sine;
        x[i + half] = a * sine + b * cosines[i];
    }
}

static void rotate(const en_rope *rope, uint32_t row, float sign, float *x, uint32_t n_heads,
                   uint32_t n_head_dim)
{
    uint32_t half = rope->n_rot / 2;
    const float *cosines = rope->table + (size_t)row * rope->n_rot, *sines = cosines + half;
    for (uint32_t h = 0; h < n_heads; h++, x += n_head_dim) {
        if (rope->style == EN_ROPE_ADJACENT)
            rotate_adjacent(x, cosines, sines, sign, half);
        else
            rotate_half_split(x, cosines, sines, sign, half);
    }
}

void en_rope_apply(const en_rope *rope, uint32_t row, float *x, uint32_t n_heads,
                   uint32_t n_head_dim)
{
    rotate(rope, row, 1.0f, x, n_heads, n_head_dim);
}

void en_rope_apply_transposed(const en_rope *rope, uint32_t row, float *x, uint32_t n_heads,
                              uint32_t n_head_dim)
{
    rotate(rope, row, -1.0f, x, n_heads, n_head_dim);
}
