/*
 * bench_kernels.c - speed of the kernels and of the products built on them, for the variant in use:
 *
 *   bench_kernels                              the best this processor has
 *   ENTRO_CPU_DISABLE=avx512 bench_kernels     the one below
 *   bench_kernels strips                       products in coding 2 only ("kernels", "words")
 *
 * Each figure is the best of several runs of about a tenth of a second.  Single kernels are timed
 * and products on one thread by the thread's processor time, so that a busy machine matters less.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/cpu.h"
#include "base/memory.h"
#include "container/strip_payload.h"
#include "container/strip_write.h"
#include "kernels/kernels.h"
#include "linear/linear.h"
#include "thread_clock.h"

enum { RUNS = 3 };

static void *need(void *p)
{
    if (p == NULL) {
        fprintf(stderr, "out of memory\n");
        exit(1);
    }
    return p;
}

static void need_ok(entro_status status)
{
    if (status != ENTRO_OK) {
        fprintf(stderr, "failed: %s\n", entro_status_name(status));
        exit(1);
    }
}

static float random_float(void)
{
    static uint32_t state = 1;
    float sum = 0;
    for (int i = 0; i < 4; i++) {
        state = state * 1664525u + 1013904223u;
        sum += (float)(int32_t)state * 0x1p-31f;
    }
    return sum;
}

static float *random_floats(size_t n)
{
    float *x = need(en_alloc(n, sizeof *x));
    for (size_t i = 0; i < n; i++)
        x[i] = random_float();
    return x;
}

/* Calls per second of work(context) by that clock, the best of RUNS. */
static double rate_by(double (*clock_now)(void), void (*work)(void *context), void *context)
{
    double best = 0;
    size_t n_calls = 1;
    for (int run = 0; run < RUNS; run++) {
        double start = clock_now(), seconds;
        size_t n = 0;
        do {
            for (size_t i = 0; i < n_calls; i++)
                work(context);
            n += n_calls;
            seconds = clock_now() - start;
            if (seconds < 0.01)
                n_calls *= 2;
        } while (seconds < 0.1);
        if ((double)n / seconds > best)
            best = (double)n / seconds;
    }
    return best;
}

/* ---- single kernels --------------------------------------------------------------------------- */

typedef struct operands {
    const en_kernels *k;
    size_t n, n_rows, n_tokens;
    float *w, *x, *y;
    uint8_t *codes;
    uint16_t *halves;
    float *scales;
    float sink;
} operands;

static void run_matmul(void *context)
{
    operands *o = context;
    o->k->matmul_f32(o->w, o->n_rows, o->n, o->x, o->n, o->n_tokens, o->y, o->n_rows);
}

static void run_dot_codes(void *context)
{
    operands *o = context;
    o->sink += o->k->dot_codes(o->codes, 127.0f, o->x, o->n);
}

static void run_expand(void *context)
{
    operands *o = context;
    o->k->expand_codes(o->codes, 0.01f, -1.0f, o->y, o->n);
}

static void run_dot_f32(void *context)
{
    operands *o = context;
    o->sink += o->k->dot_f32(o->w, o->x, o->n);
}

static void run_dot_f16(void *context)
{
    operands *o = context;
    o->sink += o->k->dot_f16(o->halves, o->x, o->n);
}

static void run_axpy_f16(void *context)
{
    operands *o = context;
    o->k->axpy_f16(1e-9f, o->halves, o->y, o->n);
}

/* As attention does: 64 positions of a head. */
static void run_dot_i8(void *context)
{
    operands *o = context;
    o->k->dot_i8((const int8_t *)o->codes, o->scales, 64, 64, o->n / 64, o->x, o->y);
}

static void run_axpy_i8(void *context)
{
    operands *o = context;
    o->k->axpy_i8((const int8_t *)o->codes, o->scales, 64, 64, o->n / 64, o->y);
}

static void run_quantize(void *context)
{
    operands *o = context;
    float lo, hi;
    o->k->min_max(o->x, o->n, &lo, &hi);
    o->k->quantize(o->x, lo, 255.0f / (hi - lo), 255, o->codes, o->n);
}

static void run_softmax(void *context)
{
    operands *o = context;
    o->k->softmax(o->y, o->n);
}

static void run_silu(void *context)
{
    operands *o = context;
    o->k->silu_mul(o->x, o->w, o->y, o->n);
}

static void run_f16(void *context)
{
    operands *o = context;
    o->k->dequantize[EN_DTYPE_F16]((const uint8_t *)o->halves, o->y, o->n);
}

static void run_q4_k(void *context)
{
    operands *o = context;
    o->k->dequantize[EN_DTYPE_Q4_K](o->codes, o->y, o->n);
}

static void bench_matmul(const en_kernels *k)
{
    static const struct {
        size_t n_rows, n_cols, n_tokens;
    } shapes[] = {{16, 576, 12},   {32, 576, 512}, {32, 1536, 512},
                  {32, 8960, 512}, {64, 64, 64},   {4, 1536, 1}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        operands o = {.k = k,
                      .n = shapes[i].n_cols,
                      .n_rows = shapes[i].n_rows,
                      .n_tokens = shapes[i].n_tokens};
        o.w = random_floats(o.n_rows * o.n);
        o.x = random_floats(o.n_tokens * o.n);
        o.y = random_floats(o.n_tokens * o.n_rows);
        double flops = 2.0 * (double)o.n_rows * (double)o.n * (double)o.n_tokens;
        printf("matmul_f32   %3zu rows %5zu columns %4zu tokens %8.1f GFLOP/s\n", o.n_rows, o.n,
               o.n_tokens, rate_by(thread_seconds, run_matmul, &o) * flops * 1e-9);
        en_free(o.w);
        en_free(o.x);
        en_free(o.y);
    }
}

static void bench_rows(const en_kernels *k)
{
    static const size_t head_dims[] = {64, 128};
    for (size_t i = 0; i < 2; i++) {
        operands o = {.k = k, .n = 64 * head_dims[i]};
        o.x = random_floats(head_dims[i]);
        o.y = random_floats(head_dims[i]);
        o.scales = random_floats(64 * head_dims[i] / EN_SCALE_COLS);
        o.codes = need(en_alloc_zero(o.n, 1));
        double dot = rate_by(thread_seconds, run_dot_i8, &o) * (double)o.n * 1e-9;
        double axpy = rate_by(thread_seconds, run_axpy_i8, &o) * (double)o.n * 1e-9;
        printf("dot_i8, axpy_i8       64 rows of %3zu          %8.2f %8.2f G/s\n", head_dims[i],
               dot, axpy);
        en_free(o.x);
        en_free(o.y);
        en_free(o.scales);
        en_free(o.codes);
    }
}

static void bench_vectors(const en_kernels *k)
{
    static const struct {
        const char *name;
        void (*work)(void *context);
    } kernels[] = {{"dot_codes", run_dot_codes}, {"expand_codes", run_expand},
                   {"dot_f32", run_dot_f32},     {"dot_f16", run_dot_f16},
                   {"axpy_f16", run_axpy_f16},   {"min_max + quantize", run_quantize},
                   {"softmax", run_softmax},     {"silu_mul", run_silu},
                   {"dequantize F16", run_f16},  {"dequantize Q4_K", run_q4_k}};
    operands o = {.k = k, .n = 1536};
    o.w = random_floats(o.n);
    o.x = random_floats(o.n);
    o.y = random_floats(o.n);
    o.codes = need(en_alloc_zero(o.n, 1));
    o.halves = need(en_alloc_zero(o.n, 2));
    for (size_t i = 0; i < sizeof kernels / sizeof *kernels; i++)
        printf("%-20s %5zu elements            %8.2f G/s\n", kernels[i].name, o.n,
               rate_by(thread_seconds, kernels[i].work, &o) * (double)o.n * 1e-9);
    en_free(o.w);
    en_free(o.x);
    en_free(o.y);
    en_free(o.codes);
    en_free(o.halves);
}

/* ---- coded matrices ----------------------------------------------------------------------------- */

typedef struct coded_matrix {
    en_coded coded;
    en_linear linear;
    en_code *code;
    float grid[2];
    uint8_t *bytes;
} coded_matrix;

static void make_coded(coded_matrix *m, const char *method, uint64_t n_rows, uint64_t n_cols)
{
    enum { SEGMENT = 32768 };
    *m = (coded_matrix){.coded = {.method = need((void *)(uintptr_t)en_quant_method_find(method)),
                                  .n_rows = n_rows,
                                  .n_cols = n_cols,
                                  .n_grids = 1}};
    en_coded *c = &m->coded;
    c->rows_per_segment = n_cols < SEGMENT ? (uint32_t)(SEGMENT / n_cols) : 1;
    c->n_segments = (uint32_t)((n_rows + c->rows_per_segment - 1) / c->rows_per_segment);
    const en_kernels *k = en_kernels_get();
    uint64_t n = n_rows * n_cols, each = c->rows_per_segment * n_cols;
    float *weights = random_floats(n), lo, hi;
    uint8_t *codes = need(en_alloc(n, 1));
    k->min_max(weights, n, &lo, &hi);
    en_grid g = en_quant_grid(1.6f * lo, 1.6f * hi, c->method->bits); /* tails, as in real ones */
    k->quantize(weights, g.offset, g.inverse_step, g.max_code, codes, n);
    en_free(weights);
    m->grid[0] = g.step;
    m->grid[1] = g.offset;
    c->steps = &m->grid[0];
    c->offsets = &m->grid[1];

    en_histogram *h = NULL;
    need_ok(en_histogram_new(&h, 1u << c->method->bits, NULL));
    for (uint64_t i = 0; i < n; i += each)
        en_histogram_add(h, codes + i, n - i < each ? n - i : each);
    need_ok(en_code_build(&m->code, h, NULL));
    en_histogram_free(h);
    size_t index_bytes = (c->n_segments + 1) * 8, used = 0;
    m->bytes = need(en_alloc(1, index_bytes + EN_CODE_IN_PAD +
                                    c->n_segments * en_code_encode_bound(m->code, each)));
    for (uint32_t s = 0; s < c->n_segments; s++) {
        uint64_t first = s * each, here = n - first < each ? n - first : each;
        en_store64(m->bytes + 8 * s, used);
        used += en_code_encode(m->code, codes + first, here, m->bytes + index_bytes + used);
    }
    en_store64(m->bytes + 8 * c->n_segments, used);
    memset(m->bytes + index_bytes + used, 0, EN_CODE_IN_PAD);
    en_free(codes);
    c->code = m->code;
    c->index = m->bytes;
    c->segments = m->bytes + index_bytes;
    c->n_segment_bytes = used;
    m->linear = (en_linear){.n_rows = n_rows, .n_cols = n_cols, .name = method, .coded = c};
}

typedef struct product {
    en_linear_product product;
    en_pool *pool;
    en_linear_scratch *scratch;
    const float *x;
    size_t n_tokens;
} product;

static void run_product(void *context)
{
    product *p = context;
    need_ok(en_linear_apply(&p->product, 1, p->x, (size_t)p->product.matrix->n_cols, p->n_tokens,
                            p->pool, p->scratch, NULL));
}

static void bench_product(const en_linear *l, const char *what, double bits, uint32_t n_threads,
                          size_t n_tokens)
{
    float *x = random_floats(n_tokens * l->n_cols), *y = random_floats(n_tokens * l->n_rows);
    product p = {.product = {l, y, (size_t)l->n_rows}, .x = x, .n_tokens = n_tokens};
    need_ok(en_pool_new(&p.pool, n_threads, NULL));
    need_ok(en_linear_scratch_new(&p.scratch, &l, 1, n_threads, NULL));
    double weights = (double)(l->n_rows * l->n_cols),
           per_second =
               rate_by(n_threads == 1 ? thread_seconds : en_clock_seconds, run_product, &p);
    printf("linear %-6s %5zux%-5zu %4.2f bits %3zu tokens %u threads ", what, (size_t)l->n_rows,
           (size_t)l->n_cols, bits, n_tokens, n_threads);
    if (n_tokens == 1)
        printf("%8.2f G weights/s\n", per_second * weights * 1e-9);
    else
        printf("%8.1f GFLOP/s\n", per_second * weights * 2e-9 * (double)n_tokens);
    fflush(stdout);
    en_linear_scratch_free(p.scratch);
    en_pool_free(p.pool);
    en_free(x);
    en_free(y);
}

static void bench_products(const en_linear *l, const char *what, double bits)
{
    static const size_t token_counts[] = {1, 2, 4, 8, 128};
    uint32_t n_threads = en_cpu_count();
    for (size_t t = 0; t < sizeof token_counts / sizeof *token_counts; t++) {
        bench_product(l, what, bits, 1, token_counts[t]);
        if (n_threads > 1)
            bench_product(l, what, bits, n_threads, token_counts[t]);
    }
}

static void bench_words(const char *method)
{
    coded_matrix m;
    make_coded(&m, method, 4608, 1536);
    bench_products(&m.linear, method, 8.0 * (double)m.coded.n_segment_bytes / (4608.0 * 1536.0));
    en_free(m.bytes);
    en_code_free(m.code);
}

/* ---- matrices in coding 2 ----------------------------------------------------------------------- */

static void write_strips(en_strip_writer *w, uint64_t n_rows, uint64_t n_cols, float sigma)
{
    const float step = 0.01f;
    en_strip_plan plan;
    en_pair_code code;
    en_chunk_encoder e;
    double bits;
    en_strip_plan_init(&plan, en_quant_method_find("u8"), n_rows, n_cols, false);
    size_t padded = en_strip_padded_cols(&plan.shape),
           n = (size_t)plan.shape.n_strips * EN_STRIP_ROWS * padded;
    int32_t *z = need(en_alloc(n, sizeof *z));
    for (size_t i = 0; i < n; i++)
        z[i] = (int32_t)lrintf(random_float() * sigma / 1.1547f); /* 4 times 1/3 */
    plan.codes = &code;
    plan.n_grids = 1;
    plan.steps = &step;
    need_ok(en_strip_choose(&plan.shape.layouts[0], &code, z, padded, 16, padded, &bits, NULL));
    need_ok(en_chunk_encoder_open(&e, NULL));
    need_ok(en_strip_writer_begin(w, &plan, NULL));
    for (uint32_t i = 0; i < plan.shape.n_chunks; i++) {
        size_t row = (size_t)en_strip_chunk_at(&plan.shape, i).first_strip * EN_STRIP_ROWS;
        need_ok(en_strip_encode_chunk(&e, &plan, i, z + row * padded, NULL));
        need_ok(en_strip_writer_add(w, &e, NULL));
    }
    need_ok(en_strip_writer_finish(w, NULL));
    en_chunk_encoder_close(&e);
    en_free(z);
}

/* As it lies in a file, then packed. */
static void bench_strips(uint64_t n_rows, uint64_t n_cols, float sigma)
{
    en_strip_writer w = {0};
    en_coded coded;
    en_strip_matrix *strips;
    en_pool *pool;
    write_strips(&w, n_rows, n_cols, sigma);
    need_ok(en_strip_payload_parse(&coded, &strips, w.front, w.n_front, NULL));
    en_linear l = {.n_rows = n_rows, .n_cols = n_cols, .name = "strips", .coded = &coded};
    double each = 8.0 / (double)(n_rows * n_cols);
    bench_products(&l, "strips", each * (double)w.n_front);
    need_ok(en_pool_new(&pool, 0, NULL));
    need_ok(en_linear_pack(&l, NULL, NULL, pool, NULL));
    en_pool_free(pool);
    bench_products(&l, "packed", each * (double)en_linear_pack_bytes(&l));
    en_linear_unpack(&l);
    en_strip_matrix_free(strips);
    en_strip_writer_close(&w);
}

int main(int argc, char **argv)
{
    const en_kernels *k = en_kernels_get();
    const char *only = argc > 1 ? argv[1] : "kernels words strips";
    printf("%s, %u processors\n", entro_cpu_name(), en_cpu_count());
    if (strstr(only, "kernels")) {
        bench_matmul(k);
        bench_vectors(k);
        bench_rows(k);
    }
    if (strstr(only, "words")) {
        bench_words("u8");
        bench_words("u4");
    }
    if (strstr(only, "strips")) {
        bench_strips(8960, 1536, 10.0f);
        bench_strips(8960, 1536, 2.7f);
        bench_strips(8960, 1536, 2.0f);
        bench_strips(8960, 1536, 1.0f);
    }
    return 0;
}
